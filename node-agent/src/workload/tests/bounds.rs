//! What one user may hold of a socket that is served.

use std::path::Path;

use futures_util::future::select_all;
use proto::envoy::envoy::service::discovery::v3::DiscoveryRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Code;

use super::super::WorkloadLimits;
use super::socket::{Host, Stream, channel};

const CONNECTIONS: &str = "signet_workload_connections";
const CALLS: &str = "signet_workload_calls";

fn with(limits: impl FnOnce(&mut WorkloadLimits)) -> Host {
    let mut few = WorkloadLimits::default();
    limits(&mut few);
    Host::start_with(few)
}

async fn served(socket: &Path) -> Result<(), tonic::Status> {
    Stream::open(&channel(socket).await, &["default"]).await?.next().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_connections_are_bounded_and_a_closed_one_makes_room() {
    let host = with(|limits| limits.connections_per_uid = 100);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(&host.socket).await.unwrap());
    }
    host.eventually(CONNECTIONS, 100).await;
    let mut refused = UnixStream::connect(&host.socket).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed without a byte");
    host.eventually("signet_workload_connections_refused_total{reason=\"too_many_of_user\"}", 1).await;
    silent.pop();
    host.eventually(CONNECTIONS, 99).await;
    served(&host.socket).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_streams_are_bounded_over_all_its_connections_and_an_ended_one_makes_room() {
    let host = with(|limits| limits.streams_per_uid = 12);
    let channels = [channel(&host.socket).await, channel(&host.socket).await];
    let mut streams = Vec::new();
    for channel in channels.iter().cycle().take(12) {
        let mut stream = Stream::open(channel, &["default"]).await.unwrap();
        stream.next().await.unwrap();
        streams.push(stream);
    }
    let refused = served(&host.socket).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("12") && refused.message().contains("limits.streams_per_uid"), "{refused:?}");
    assert_eq!(host.metric("signet_workload_calls_refused_total{reason=\"too_many_of_user\"}"), 1);
    streams.pop();
    host.eventually(CALLS, 11).await;
    served(&host.socket).await.unwrap();
    drop(streams);
    host.eventually(CALLS, 0).await;
}

/// One half-sent request: the frames of a call whose message is announced with `announced` bytes, of which `sent` come.
async fn half_sent(socket: &Path, announced: u32, sent: usize) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let path = b"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
    // :method POST and :scheme http by their indices; the others as literals without indexing (RFC 7541 section 6.2.2).
    let mut block = vec![0x83, 0x86];
    for (index, value) in [(4, path.as_slice()), (1, b"localhost")] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value);
    }
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        block.extend([0, u8::try_from(name.len()).unwrap()]);
        block.extend(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    let mut message = vec![0];
    message.extend(announced.to_be_bytes());
    message.resize(5 + sent, 0);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for (kind, flags, id, payload) in [(4, 0, 0, &Vec::new()), (1, 4, 1, &block), (0, 0, 1, &message)] {
        bytes.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        bytes.extend([kind, flags, 0, 0, 0, id]);
        bytes.extend(payload);
    }
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// Each holds 256 KiB by its announcement alone: four fill 1 MiB less what the prefixes take, a fifth does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_of_one_user_take_their_share_of_memory_and_no_more() {
    let host = with(|limits| limits.request_bytes_per_uid = 1 << 20);
    let (refused, announced) = ("signet_workload_calls_refused_total{reason=\"request_bytes_of_user\"}", (256 << 10) - 5);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(half_sent(&host.socket, announced, 100).await);
    }
    host.eventually(CALLS, 4).await;
    let _fifth = half_sent(&host.socket, announced, 100).await;
    host.eventually(refused, 1).await;
    host.eventually(CALLS, 4).await;
    // With the share spent to the last byte not even a small request fits.
    let refusal = served(&host.socket).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("limits.request_bytes_per_uid"), "{refusal:?}");
    held.pop();
    host.eventually(CALLS, 3).await;
    served(&host.socket).await.unwrap();
}

/// What a stream's largest message took stays taken while the stream lives, whether or not its reader keeps the room.
#[tokio::test(flavor = "multi_thread")]
async fn whole_requests_count_while_their_stream_lives() {
    let host = with(|limits| limits.request_bytes_per_uid = 1 << 20);
    let large = || vec!["x".repeat(200_000)];
    let mut streams = Vec::new();
    for _ in 0..5 {
        let stream = Stream::open(&channel(&host.socket).await, &["default"]).await.unwrap();
        let request =
            DiscoveryRequest { resource_names: vec!["default".into()], version_info: large().concat(), ..Default::default() };
        stream.requests.send(request).unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.next().await.unwrap();
    }
    let (mut sixth, request) = (Stream::open(&channel(&host.socket).await, &["default"]).await.unwrap(), large().concat());
    sixth.next().await.unwrap();
    sixth.requests.send(DiscoveryRequest { version_info: request, ..Default::default() }).unwrap();
    streams.push(sixth);
    // Five fit, whichever of the six came last.
    let refused = loop {
        let (next, _, _) = select_all(streams.iter_mut().map(|stream| Box::pin(stream.next()))).await;
        if let Err(status) = next {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(host.metric("signet_workload_calls_refused_total{reason=\"request_bytes_of_user\"}"), 1);
    assert_eq!(host.metric(CONNECTIONS), 6, "the connections are none the worse");
}
