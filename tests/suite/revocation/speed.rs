//! From the command to the refusal by a real Envoy, while an agent has 200 streams open.

use std::time::Duration;

use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaOptions, Envoy, HttpService, Requirement, SdsClient, TestBed, eventually, needs};

use super::{Bearer, own_uid, served};
use crate::envoy_pair::{API, inbound_bootstrap};

const CONNECTIONS: usize = 25;
const STREAMS_EACH: usize = 8;

/// Revokes this many identities one after the other; the times, sorted.
async fn times(identities: usize) -> Vec<Duration> {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions { log_level: "info".to_owned(), ..CaOptions::default() }).await;
    let options = tests::AgentOptions { log_level: Some("info".to_owned()), ..tests::AgentOptions::default() };
    let agent = Agent::start_with(&bed, &ca, "node-1", options).await;
    ca.create_entry(API, &[&format!("unix:path:{}", Envoy::program(&bed, "api").display())], "node-1");
    let ids: Vec<String> = (0..identities).map(|number| format!("spiffe://example.org/w{number}")).collect();
    for id in &ids {
        ca.create_entry(id, &[&own_uid()], "node-1");
    }
    let service = HttpService::start().await;
    let clients: Vec<&str> = ids.iter().map(String::as_str).collect();
    let server = Envoy::start(&bed, "api", &inbound_bootstrap(API, service.address, &clients, &agent.api_socket())).await;
    server.ready().await;
    let inbound = server.listener("inbound").await;
    let svids = eventually("all identities", async || {
        let (_, _, svids) = served(&agent).await;
        (svids.len() == identities).then_some(svids)
    })
    .await;
    let _streams = streams(&agent).await;

    let clock = SystemClock::shared();
    let mut times = Vec::new();
    for svid in svids {
        let id = svid.svid.id().to_string();
        let bearer = Bearer::new(svid.svid, svid.bundle, API);
        assert_eq!(bearer.ask(inbound).await, 200, "{id} before");
        let begun = clock.boottime();
        let _revoked = ca.operate(&["revoke", "--spiffe-id", &id]).ok();
        eventually("the refusal", async || (bearer.ask(inbound).await == 0).then_some(())).await;
        times.push(clock.boottime().saturating_sub(begun));
    }
    times.sort();
    times
}

/// 200 streams that listen and acknowledge until the test is over.
async fn streams(agent: &Agent) -> tokio::task::JoinSet<()> {
    let mut listening = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
        for _ in 0..STREAMS_EACH {
            let mut stream = client.subscribe(&["ROOTCA"]).await.unwrap();
            let first = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("an answer").unwrap();
            stream.acknowledge(&first).await;
            listening.spawn(async move {
                while let Ok(answer) = stream.next().await {
                    stream.acknowledge(&answer).await;
                }
            });
        }
    }
    listening
}

fn told(times: &[Duration]) -> String {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!("{} revocations: p50 {:?}, p99 {:?}, most {:?}", times.len(), at(50), at(99), times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_arrives_at_a_real_envoy_while_200_streams_are_open() {
    if !needs("a_revocation_arrives_at_a_real_envoy_while_200_streams_are_open", Requirement::Envoy) {
        return;
    }
    println!("from command to refusal, 200 streams: {}", told(&times(5).await));
}

/// Enough of them for a 99th percentile; docs/performance.md has the figures.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_hundred_revocations_arrive_at_a_real_envoy_while_200_streams_are_open() {
    if !needs("full_a_hundred_revocations_arrive_at_a_real_envoy_while_200_streams_are_open", Requirement::Envoy) {
        return;
    }
    println!("from command to refusal, 200 streams: {}", told(&times(100).await));
}
