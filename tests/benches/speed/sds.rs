//! The agent's streams: a kept SVID to a new stream, and a push to two thousand of them.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3::Node;
use runtime::clock::SystemClock;
use tests::{Agent, AgentOptions, Ca, CaOptions, SdsClient, SdsStream, TestBed, eventually_within};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::cpu;
use crate::figures::{Figures, Latencies, milliseconds};
use crate::footprint::mebibytes;

const CONNECTIONS: usize = 250;
const STREAMS_EACH: usize = 8;
/// What a sidecar of a large mesh sends with the first message of each stream.
const NODE_BYTES: usize = 61_000;
const NEW_STREAMS: usize = 500;
const ID: &str = "spiffe://example.org/web";

pub(crate) async fn measure(figures: &mut Figures) {
    let clock = SystemClock::shared();
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions { log_level: "info".to_owned(), ..CaOptions::default() }).await;
    let agent =
        Agent::start_with(&bed, &ca, "node-1", AgentOptions { log_level: Some("info".to_owned()), ..AgentOptions::default() })
            .await;
    let entry = ca.create_entry(ID, &["unix:uid:0"], "node-1");
    let socket = agent.api_socket();
    let mut first = SdsClient::connect(&socket).await.unwrap();
    acknowledged(&mut first.subscribe(&[ID]).await.unwrap()).await;

    let mut fresh = Latencies::default();
    for _ in 0..NEW_STREAMS {
        let begin = clock.boottime();
        let mut stream = first.subscribe(&[ID]).await.unwrap();
        stream.next().await.unwrap();
        fresh.push(clock.boottime() - begin);
    }
    figures.row("kept SVID to a new SDS stream", &fresh.text(), "request to answer, one connection");

    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = agent.process.id();
    let idle = cpu::resident(pid);
    let mut streams = JoinSet::new();
    let opened = Arc::new(Barrier::new(CONNECTIONS + 1));
    for _ in 0..CONNECTIONS {
        let (socket, opened) = (socket.clone(), Arc::clone(&opened));
        streams.spawn(async move { hold(&socket, &opened).await });
    }
    opened.wait().await;
    let held = cpu::resident(pid);
    let memory = format!("{} above idle", mebibytes(held.saturating_sub(idle)));
    let node = format!("each with a Node of {} kB; below 64 MiB wanted", NODE_BYTES / 1000);
    figures.row(&format!("{} SDS streams on {CONNECTIONS} connections", CONNECTIONS * STREAMS_EACH), &memory, &node);

    let acks = agent.metric(ACKS).await.unwrap();
    let processor = cpu::of_process(pid);
    let _updated = ca.operate(&["entry", "update", &entry, "--dns", "web.example.org"]).ok();
    let (mut times, mut held) = (Vec::new(), Vec::new());
    while let Some(received) = streams.join_next().await {
        let (received, open) = received.unwrap();
        times.extend(received);
        // Open until the agent has read every ACK.
        held.push(open);
    }
    let all = f64::from(u32::try_from(CONNECTIONS * STREAMS_EACH).unwrap());
    eventually_within("every ACK", Duration::from_secs(30), async || {
        (agent.metric(ACKS).await.unwrap() >= acks + all).then_some(())
    })
    .await;
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let used = cpu::of_process(pid) - processor;
    figures.row(
        "a new SVID pushed to all of them",
        &format!("{} from the first push to the last ACK", milliseconds(*last - *first)),
        &format!("{} of the agent's processor time; clients on the same processors", milliseconds(used)),
    );
}

const ACKS: &str = "signet_sds_acks_total";

async fn acknowledged(stream: &mut SdsStream) {
    let response = stream.next().await.unwrap();
    stream.acknowledge(&response).await;
}

/// Opens its streams, waits until all others have theirs, and says when each got and acknowledged the next push.
async fn hold(socket: &std::path::Path, opened: &Barrier) -> (Vec<Duration>, Vec<SdsStream>) {
    let clock = SystemClock::shared();
    let mut client = SdsClient::connect(socket).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_EACH {
        let node = Node { id: "n".repeat(NODE_BYTES), ..Node::default() };
        let mut stream = client.subscribe_as_node(&[ID], node).await.unwrap();
        acknowledged(&mut stream).await;
        streams.push(stream);
    }
    opened.wait().await;
    let mut times = Vec::new();
    for stream in &mut streams {
        acknowledged(stream).await;
        times.push(clock.boottime());
    }
    (times, streams)
}
