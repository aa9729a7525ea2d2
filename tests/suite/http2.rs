//! Attacks by HTTP/2 on the CA's port and on the agent's socket: each takes bounded memory, leaves others unharmed, and costs its
//! connection where a well-behaved peer never goes there.

use std::path::PathBuf;
use std::time::Duration;

use tests::{
    Agent, Ca, CaConnection, CaOptions, Frame, Heard, JoinToken, Process, RawHttp2, SdsClient, TestBed, attested_connection,
    issue, request_block,
};

/// How much more memory a service may have after all attacks than before them.
const GROWTH_KIB: u64 = 48 * 1024;

/// For whatever must come.
const LIMIT: Duration = Duration::from_secs(60);

/// ENHANCE_YOUR_CALM (RFC 9113 section 7).
const CALM: u32 = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Streams opened and reset in one breath (CVE-2023-44487).
    RapidReset,
    /// The same, each only when the server has taken the stream up: work without end, one piece at a time.
    SlowResets,
    /// A header block that does not end (CVE-2024-27316, CVE-2024-27919 and their like).
    Continuations,
    /// The same with nothing in it.
    EmptyContinuations,
    /// Frames of DATA with nothing in them (CVE-2019-9518).
    EmptyData,
    /// A message byte by byte, many at a time.
    DataByBytes,
    /// SETTINGS without end, each to be acknowledged (CVE-2019-9515).
    Settings,
    /// PING without end, each to be answered (CVE-2019-9512).
    Pings,
    /// A small block that stands for a large list: one entry of the table, named again and again (CVE-2016-6581).
    HpackBomb,
    /// Errors that make the server reset streams itself (CVE-2025-8671).
    MadeYouReset,
    /// Calls whose answers are not let through (CVE-2019-9517).
    ZeroWindow,
}

const ATTACKS: [Attack; 11] = [
    Attack::RapidReset,
    Attack::SlowResets,
    Attack::Continuations,
    Attack::EmptyContinuations,
    Attack::EmptyData,
    Attack::DataByBytes,
    Attack::Settings,
    Attack::Pings,
    Attack::HpackBomb,
    Attack::MadeYouReset,
    Attack::ZeroWindow,
];

/// Client streams, in their order.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

impl Attack {
    /// Whether the server must end the connection. The others are as if slow or wasteful, and only cost what they are served.
    fn costs_the_connection(self) -> bool {
        match self {
            Self::RapidReset
            | Self::Continuations
            | Self::EmptyContinuations
            | Self::EmptyData
            | Self::HpackBomb
            | Self::MadeYouReset => true,
            Self::SlowResets | Self::DataByBytes | Self::Settings | Self::Pings | Self::ZeroWindow => false,
        }
    }

    /// Goes on until the server ends the connection, or for as long as it takes to fill gigabytes of a server without bounds.
    async fn run(self, connection: &mut RawHttp2) {
        let block = request_block("/grpc.health.v1.Health/Check", &[]);
        let open = |id| Frame::headers(id, &block);
        let question = [0, 0, 0, 0, 0];
        match self {
            Self::RapidReset => {
                let pairs: Vec<_> = streams(50_000).map(|id| [open(id), Frame::reset(id)]).collect();
                in_batches(connection, &pairs.concat(), 400).await;
            }
            Self::SlowResets => {
                for (number, id) in (1..).zip(streams(300)) {
                    let opened = connection.send(&[open(id), Frame::ping()]).await;
                    let heard = connection.wait("an answer to PING", LIMIT, |heard| heard.pongs >= number || heard.closed).await;
                    // A connection to the CA without a certificate has a minute, whatever it does.
                    if heard.closed {
                        assert!(heard.goaway.is_none_or(|code| code == 0), "{heard:?}");
                        return;
                    }
                    let reset = connection.send(&[Frame::reset(id)]).await;
                    assert!((opened && reset) || connection.heard().closed, "{:?}", connection.heard());
                }
            }
            Self::Continuations => {
                let begin = Frame::new(1, 0, 1, &block);
                let more = Frame::continuation(1, &field("x-filler", &"f".repeat(8_000)));
                flood(connection, &[begin], &more, 20_000).await;
            }
            Self::EmptyContinuations => {
                flood(connection, &[Frame::new(1, 0, 1, &block)], &Frame::continuation(1, &[]), 1_000_000).await;
            }
            Self::EmptyData => flood(connection, &[open(1)], &Frame::data(1, &[]), 1_000_000).await,
            Self::DataByBytes => {
                let opened: Vec<_> = streams(90).flat_map(|id| [open(id), Frame::data(id, &[0, 0, 0, 15, 0])]).collect();
                assert!(connection.send(&opened).await);
                for _ in 0..100 {
                    let bytes: Vec<_> = streams(90).map(|id| Frame::data(id, &[0])).collect();
                    if !connection.send(&bytes).await {
                        return;
                    }
                }
            }
            Self::Settings => flood(connection, &[], &Frame::setting(4, 65_535), 100_000).await,
            Self::Pings => flood(connection, &[], &Frame::ping(), 100_000).await,
            Self::HpackBomb => {
                // A literal that the table keeps (RFC 7541 section 6.2.1), then its index, 62, to the end of the frame.
                let mut bomb = block.clone();
                bomb.push(0x40);
                bomb.extend(&field("x-bomb", &"b".repeat(3_900))[1..]);
                bomb.resize(16_000, 0x80 | 62);
                let frames: Vec<_> = streams(500).map(|id| Frame::headers(id, &bomb)).collect();
                in_batches(connection, &frames, 1).await;
            }
            Self::MadeYouReset => {
                // A window of more than 2^31 - 1 bytes is an error of its stream (RFC 9113 section 6.9.1).
                let pairs: Vec<_> = streams(20_000).map(|id| [open(id), Frame::window_update(id, 0x7fff_ffff)]).collect();
                in_batches(connection, &pairs.concat(), 20).await;
            }
            Self::ZeroWindow => {
                assert!(connection.send(&[Frame::setting(4, 0)]).await);
                let calls: Vec<_> = streams(90).map(|id| [open(id), Frame::last_data(id, &question)]).collect();
                assert!(connection.send(&calls.concat()).await);
                connection.wait("answers to begin", LIMIT, |heard| heard.answers >= 90).await;
            }
        }
    }
}

/// A field as a literal that no table keeps.
fn field(name: &str, value: &str) -> Vec<u8> {
    let (plain, all) = (request_block("/", &[]), request_block("/", &[(name, value)]));
    all[plain.len()..].to_vec()
}

async fn in_batches(connection: &mut RawHttp2, frames: &[Frame], batch: usize) {
    for frames in frames.chunks(batch) {
        if !connection.send(frames).await {
            return;
        }
    }
}

async fn flood(connection: &mut RawHttp2, first: &[Frame], again: &Frame, times: usize) {
    assert!(connection.send(first).await);
    let batch = vec![again.clone(); 200];
    for _ in 0..times / batch.len() {
        if !connection.send(&batch).await {
            return;
        }
    }
}

/// All attacks, one after another, with a good client that goes on being served meanwhile.
#[expect(clippy::print_stderr, reason = "the figures of a run belong to its output")]
async fn withstands(process: &Process, connect: impl AsyncFn() -> RawHttp2, mut served: impl AsyncFnMut()) {
    served().await;
    let before = process.resident_kib();
    for attack in ATTACKS {
        let mut connection = connect().await;
        let mut good = 0;
        let attacking = async {
            attack.run(&mut connection).await;
            if attack.costs_the_connection() {
                let over = |heard: &Heard| heard.closed || heard.goaway.is_some();
                return Some(connection.wait("the end of the attacker's connection", LIMIT, over).await);
            }
            None
        };
        let serving = async {
            loop {
                tokio::time::timeout(LIMIT, served()).await.unwrap_or_else(|_| panic!("{attack:?}: a good client waits"));
                good += 1;
            }
        };
        let heard = tokio::select! {
            heard = attacking => heard,
            () = serving => unreachable!("it goes on for ever"),
        };
        if matches!(attack, Attack::RapidReset | Attack::EmptyData | Attack::MadeYouReset) {
            assert_eq!(heard.as_ref().and_then(|heard| heard.goaway), Some(CALM), "{attack:?}: {heard:?}");
        }
        if attack == Attack::MadeYouReset {
            let last = heard.as_ref().and_then(|heard| heard.last_stream);
            assert!(last.is_some_and(|last| last < 2 * 200), "128 resets by the server, and some streams on the way: {heard:?}");
        }
        // With the attacker's connection still there.
        served().await;
        let now = process.resident_kib();
        eprintln!("{attack:?}: {} KiB more than before, {good} good calls meanwhile, {heard:?}", now.saturating_sub(before));
        assert!(now < before + GROWTH_KIB, "{attack:?}: {now} KiB resident, {before} before all attacks");
        drop(connection);
    }
}

struct Target {
    ca: Ca,
    agent: Agent,
    token: JoinToken,
    bed: TestBed,
}

impl Target {
    async fn start() -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions::default()).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let uid = nix::unistd::getuid();
        ca.create_entry("spiffe://example.org/me", &[&format!("unix:uid:{uid}")], "node-1");
        agent.ready().await;
        let token = ca.create_token("node-3");
        Self { ca, agent, token, bed }
    }

    async fn served_by_agent(socket: PathBuf) {
        let mut client = SdsClient::connect(&socket).await.expect("the agent accepts");
        let mut stream = client.subscribe(&["default"]).await.expect("the agent takes a stream");
        let answer = stream.next().await.expect("the agent answers");
        assert!(answer.secrets.iter().any(|secret| secret.key_pem.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_attacks_on_the_ca_take_bounded_memory_and_harm_nobody_else() {
    let target = Target::start().await;
    let (connection, _node): (CaConnection, _) = attested_connection(&target.ca, "node-2").await;
    let entry = target.ca.create_entry("spiffe://example.org/other", &["unix:uid:1"], "node-2");
    let served = async || drop(issue(&connection, &[&entry]).await.expect("an honest agent is served"));
    withstands(&target.ca.process, async || RawHttp2::to_ca(&target.ca, &target.token).await, served).await;
    drop(target.bed);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_attacks_on_the_agent_take_bounded_memory_and_harm_nobody_else() {
    let target = Target::start().await;
    let socket = target.agent.api_socket();
    let served = async || Target::served_by_agent(socket.clone()).await;
    withstands(&target.agent.process, async || RawHttp2::to_socket(&socket).await, served).await;
    drop(target.bed);
}

/// A peer that asks and never reads: the server stops reading from it, rather than keep what it does not take.
async fn stops_reading(process: &Process, mut connection: RawHttp2) -> RawHttp2 {
    let before = process.resident_kib();
    let batch = vec![Frame::ping(); 2_000];
    let mut sent = 0_u64;
    // A server that takes nothing for so long has stopped; one that took all of it would have to keep the answers: 340 MB.
    while let Some(true) = connection.send_within(&batch, Duration::from_secs(5)).await {
        sent += 1;
        assert!(sent < 10_000, "20 million answers and nobody reads");
    }
    let now = process.resident_kib();
    assert!(now < before + GROWTH_KIB, "{now} KiB resident, {before} before");
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_fills_nothing_and_its_connection_to_the_ca_ends() {
    let target = Target::start().await;
    let deaf = RawHttp2::deaf_to_ca(&target.ca, &target.token).await;
    let mut deaf = stops_reading(&target.ca.process, deaf).await;
    let _good = attested_connection(&target.ca, "node-2").await;
    // After half a minute in which it took nothing.
    let ended = async { while deaf.send(&[Frame::ping(); 1]).await {} };
    tokio::time::timeout(Duration::from_secs(150), ended).await.expect("the CA closes a connection that nobody reads");

    let socket = target.agent.api_socket();
    let _deaf = stops_reading(&target.agent.process, RawHttp2::deaf_to_socket(&socket).await).await;
    Target::served_by_agent(socket).await;
}

/// RFC 9113 section 6.5.2: what counts for a list is each name and value and 32 bytes more.
#[tokio::test(flavor = "multi_thread")]
async fn header_lists_of_16_kib_are_read_and_longer_ones_are_refused() {
    let target = Target::start().await;
    let path = "/grpc.health.v1.Health/Check";
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-filler", ""),
    ];
    let taken: usize = fixed.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let over_tls = RawHttp2::to_ca(&target.ca, &target.token).await;
    let over_socket = RawHttp2::to_socket(&target.agent.api_socket()).await;
    for mut connection in [over_tls, over_socket] {
        let mut ask = async |id, size: usize| {
            let block = request_block(path, &[("x-filler", &"f".repeat(size - taken))]);
            let (first, rest) = block.split_at(8_000);
            // In two frames: the list is longer than one frame may be.
            let rest = Frame::new(9, 4, id, rest);
            let before = connection.heard().answers;
            let frames = [Frame::new(1, 0, id, first), rest, Frame::last_data(id, &[0, 0, 0, 0, 0])];
            assert!(connection.send(&frames).await);
            connection.wait("an answer", LIMIT, |heard| heard.answers > before).await.first_of_last_answer
        };
        const OK: Option<u8> = Some(0x88);
        assert_eq!(ask(1, 16 * 1024).await, OK);
        assert_ne!(ask(3, 16 * 1024 + 1).await, OK, "a byte more");
        assert_eq!(ask(5, 16 * 1024).await, OK, "the connection is none the worse");
    }
}
