//! Bytes that one connection may make the CA hold while nobody is known to be behind it: headers and messages of all its streams.

use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use proto::v1;
use runtime::clock::SystemClock;
use tests::{Ca, Frame, JoinToken, RawHttp2, TestBed, attested_connection, eventually, eventually_within, hello, request_block};

use super::{batch, options, reached};

const SOON: Duration = Duration::from_secs(60);
/// The default of `anonymous_bytes`.
const LIMIT: usize = 256 * 1024;
const ATTEST: &str = "/signet.v1.NodeAttestation/AttestJoinToken";

/// What a header list of [`request_block`] counts (RFC 9113 section 6.5.2), with a filler of so many bytes.
fn list_bytes(path: &str, filler: Option<usize>) -> usize {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let fixed: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    fixed + filler.map_or(0, |bytes| "x-filler".len() + bytes + 32)
}

/// A message of so many bytes is to come (gRPC over HTTP/2, "Length-Prefixed-Message").
fn announcement(bytes: usize) -> Vec<u8> {
    [&[0][..], &u32::try_from(bytes).unwrap().to_be_bytes()].concat()
}

/// Attestations that each announce a message of so many bytes, and say no more.
async fn announce(connection: &mut RawHttp2, streams: &[u32], messages: &[usize]) {
    let block = request_block(ATTEST, &[]);
    for (stream, bytes) in streams.iter().zip(messages) {
        assert!(connection.send(&[Frame::headers(*stream, &block), Frame::data(*stream, &announcement(*bytes))]).await);
    }
}

/// Ends streams in the middle of their messages, which is answered; there are `answers` then.
async fn end(connection: &mut RawHttp2, streams: &[u32], answers: u64) {
    let ends: Vec<_> = streams.iter().map(|stream| Frame::last_data(*stream, &[])).collect();
    assert!(connection.send(&ends).await);
    connection.wait("an answer to each", SOON, |heard| heard.answers == answers).await;
}

async fn started() -> (TestBed, Ca, JoinToken) {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, options("")).await;
    let token = ca.create_token("node-1");
    (bed, ca, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_messages_take_256_kib_of_one_connection_and_one_byte_more_is_refused() {
    let (_bed, ca, token) = started().await;
    let mut connection = RawHttp2::to_ca(&ca, &token).await;
    let full = 64 * 1024;
    let rest = LIMIT - 4 * (list_bytes(ATTEST, None) + 5) - 3 * full;
    assert!(rest < full);
    announce(&mut connection, &[1, 3, 5, 7], &[full, full, full, rest]).await;
    end(&mut connection, &[1, 3, 5, 7], 4).await;
    assert_eq!(reached(&ca, "anonymous_bytes").await, 0, "at the limit all four were taken");

    let mut other = RawHttp2::to_ca(&ca, &token).await;
    announce(&mut other, &[1, 3, 5, 7], &[full, full, full, rest + 1]).await;
    other.wait("a refusal in the middle of a message", SOON, |heard| heard.answers == 1).await;
    assert_eq!(reached(&ca, "anonymous_bytes").await, 1, "one byte over");
    // Which of the four went over is for the order in which their tasks ran; the others go on.
    end(&mut other, &[1, 3, 5, 7], 4).await;

    // What they held is free again, a moment after their answers.
    let mut next = 9;
    eventually("room for as much again", async || {
        let (refused, streams) = (reached(&ca, "anonymous_bytes").await, [next, next + 2, next + 4, next + 6]);
        announce(&mut other, &streams, &[full, full, full, rest]).await;
        end(&mut other, &streams, u64::from(next) / 2 + 4).await;
        next += 8;
        (reached(&ca, "anonymous_bytes").await == refused).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lists_count_too() {
    let (_bed, ca, token) = started().await;
    let mut connection = RawHttp2::to_ca(&ca, &token).await;
    let list = 8 * 1024;
    let filler = list - list_bytes(ATTEST, Some(0));
    let block = request_block(ATTEST, &[("x-filler", &"f".repeat(filler))]);
    let streams: Vec<u32> = (0..32).map(|number| number * 2 + 1).collect();
    for stream in &streams {
        assert!(connection.send(&[Frame::headers(*stream, &block)]).await);
    }
    end(&mut connection, &streams, 32).await;
    assert_eq!(reached(&ca, "anonymous_bytes").await, 0, "at the limit");
    for stream in &streams {
        assert!(connection.send(&[Frame::headers(*stream + 64, &block)]).await);
    }
    assert!(connection.send(&[Frame::headers(129, &request_block(ATTEST, &[]))]).await);
    connection.wait("a refusal", SOON, |heard| heard.answers == 33).await;
    assert_eq!(reached(&ca, "anonymous_bytes").await, 1, "one list over");
}

/// Whoever shows no certificate has a minute, however much it asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_certificate_has_a_minute_and_no_more() {
    let (_bed, ca, token) = started().await;
    let (good, _) = attested_connection(&ca, "node-2").await;
    let clock = SystemClock::shared();
    let begun = clock.boottime();
    let mut connection = RawHttp2::to_ca(&ca, &token).await;
    let (block, mut stream) = (request_block("/grpc.health.v1.Health/Check", &[]), 1);
    eventually_within("the end of the connection", SOON * 3, async || {
        // Calls that are answered, so that it is not closed for its silence.
        let call = [Frame::headers(stream, &block), Frame::last_data(stream, &[0, 0, 0, 0, 0])];
        stream += 2;
        if connection.send(&call).await {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        connection.heard().closed.then_some(())
    })
    .await;
    let (lived, heard) = (clock.boottime() - begun, connection.heard());
    assert!(lived >= Duration::from_secs(59) && heard.goaway.is_none_or(|code| code == 0), "closed after {lived:?}: {heard:?}");
    assert!(heard.answers > 1 && batch(&good, &[], &[]).await.is_ok());
}

/// In pieces of 15,000 bytes, on as many streams as there may be: more than 80 MB without a bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_ends_its_messages_takes_bounded_memory() {
    let (_bed, ca, token) = started().await;
    let (good, _) = attested_connection(&ca, "node-2").await;
    let before = ca.process.resident_kib();
    let block = request_block(ATTEST, &[]);
    let piece = [announcement(64 * 1024), vec![0; 15_000]].concat();
    let clock = SystemClock::shared();
    let one_of_many = async || {
        let begun = clock.boottime();
        let mut connection = RawHttp2::to_ca(&ca, &token).await;
        for number in 0..95 {
            let stream = number * 2 + 1;
            let taken = connection.send(&[Frame::headers(stream, &block), Frame::data(stream, &piece), Frame::ping()]).await;
            // At this pace no window is ever spent.
            let heard = connection.wait("its turn", SOON, |heard| heard.pongs > u64::from(number) || heard.closed).await;
            if heard.closed {
                break;
            }
            assert!(taken, "{heard:?}");
        }
        (begun, connection)
    };
    let crowd = join_all((0..60).map(|_| one_of_many())).await;
    let now = ca.process.resident_kib();
    println!("{} KiB more for 60 connections with 95 half-sent messages each", now.saturating_sub(before));
    assert!(now < before + 48 * 1024, "{now} KiB resident, {before} before");
    // Who answers no PING has half a minute, and a machine that is busy may need more.
    let had_its_time = |begun: &Duration| clock.boottime() - *begun >= Duration::from_secs(29);
    assert!(crowd.iter().all(|(begun, connection)| !connection.heard().closed || had_its_time(begun)), "all of them are there");
    assert!(batch(&good, &[], &[]).await.is_ok());
}

/// A dialogue whose answers are not let through reads nothing: what HTTP/2 itself keeps then, in pieces that each pin a block of memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_takes_bounded_memory() {
    let (_bed, ca, token) = started().await;
    let (good, _) = attested_connection(&ca, "node-2").await;
    let before = ca.process.resident_kib();
    let block = request_block("/signet.v1.NodeAttestation/Reattest", &[]);
    const CROWD: usize = 16;
    let begin = v1::reattest_request::Begin { hello: Some(hello()), node_public_key: vec![0; 91] };
    let begin = v1::ReattestRequest { step: Some(v1::reattest_request::Step::Begin(begin)) }.encode_to_vec();
    let begin = [announcement(begin.len()), begin].concat();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut connection = RawHttp2::to_ca(&ca, &token).await;
        assert!(connection.send(&[Frame::setting(4, 0)]).await);
        for stream in [1, 3, 5, 7] {
            assert!(connection.send(&[Frame::headers(stream, &block), Frame::data(stream, &begin)]).await);
        }
        connection.wait("the dialogues to begin", SOON, |heard| heard.answers == 4).await;
        // A frame of a type that nobody knows is passed over (RFC 9113 section 4.1), and fills the block that the piece lies in.
        for stream in [1, 3, 5, 7] {
            let pieces = (0..200).flat_map(|_| [Frame::data(stream, &[0; 256]), Frame::new(0x50, 0, 0, &[0; 7_900])]);
            assert!(connection.send(&pieces.collect::<Vec<_>>()).await);
        }
        crowd.push(connection);
    }
    let now = ca.process.resident_kib();
    println!("{} KiB more for {CROWD} connections that read nothing", now.saturating_sub(before));
    assert!(now < before + 48 * 1024, "{now} KiB resident, {before} before");
    assert!(eventually("a good one to be served", async || batch(&good, &[], &[]).await.ok()).await.is_empty());
}
