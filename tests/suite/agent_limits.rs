//! What one user may hold of an agent, by its configuration, and what an agent does without descriptors; others are served all along.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::clock::SystemClock;
use tests::{
    Agent, AgentOptions, Ca, CaOptions, Frame, Process, RawHttp2, Requirement, SdsClient, TestBed, eventually, eventually_within,
    needs, request_block,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

const NOBODY: u32 = 65534;

/// A client of another user, which asks once and goes on listening.
struct Other {
    program: PathBuf,
    socket: PathBuf,
}

impl Other {
    fn new(bed: &TestBed, socket: PathBuf) -> Self {
        let program = bed.path().join("other");
        let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_sds-fetch")]).arg(&program).status().unwrap();
        assert!(copied.success());
        Self { program, socket }
    }

    async fn is_served(&self, bed: &TestBed, name: &str) {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.program);
        command.arg(&self.socket).args(["600", "default"]).uid(NOBODY).gid(NOBODY);
        let process = Process::start(name, &mut command, bed.path());
        eventually("another user to be served", async || process.stdout().contains("spiffe://example.org/other").then_some(()))
            .await;
    }
}

async fn ask(socket: &Path) -> Result<(), String> {
    let mut client = SdsClient::connect(socket).await?;
    let mut stream = client.subscribe(&["default"]).await.map_err(|status| status.to_string())?;
    let answer = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("an answer or a refusal");
    answer.map(drop).map_err(|status| status.to_string())
}

async fn count_of(agent: &Agent, name: &str, value: f64) {
    let what = format!("{name} to be {value}");
    eventually_within(&what, Duration::from_secs(60), async || (agent.metric(name).await == Some(value)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_holds_its_share_of_an_agent_and_not_more_and_another_is_served_meanwhile() {
    if !needs("one_user_holds_its_share_of_an_agent_and_not_more_and_another_is_served_meanwhile", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let extra = "[limits]\nrequest_bytes_per_uid = 8388608\nstreams_per_uid = 300\n".to_owned();
    let token = ca.create_token("node-1");
    let agent = Agent::launch(&bed, &ca, "node-1", &token, AgentOptions { extra, ..AgentOptions::default() }).await;
    agent.ready().await;
    ca.create_entry("spiffe://example.org/me", &[&format!("unix:uid:{}", nix::unistd::getuid())], "node-1");
    ca.create_entry("spiffe://example.org/other", &[&format!("unix:uid:{NOBODY}")], "node-1");
    count_of(&agent, "signet_agent_identities{state=\"available\"}", 2.0).await;
    let socket = agent.api_socket();
    let other = Other::new(&bed, socket.clone());
    ask(&socket).await.unwrap();
    count_of(&agent, "signet_workload_connections", 0.0).await;

    // Connections: the default, 1,024, and one more.
    let mut silent = Vec::new();
    for _ in 0..1024 {
        silent.push(UnixStream::connect(&socket).await.unwrap());
    }
    count_of(&agent, "signet_workload_connections", 1024.0).await;
    let mut refused = UnixStream::connect(&socket).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed without a byte");
    other.is_served(&bed, "beside-connections").await;
    drop(silent);
    count_of(&agent, "signet_workload_connections", 0.0).await;

    // Requests that are announced with 200,000 bytes each, and sent but for a part: 41 fit into 8 MiB.
    let before = agent.process.resident_kib();
    let block = request_block("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", &[]);
    let announced = [[0].as_slice(), &200_000_u32.to_be_bytes()].concat();
    let mut half_sent = Vec::new();
    for _ in 0..60 {
        let mut connection = RawHttp2::to_socket(&socket).await;
        for id in [1, 3] {
            // Less than the window of a connection that says nothing of it, for both streams together.
            let pieces = [announced.clone(), vec![0; 15_000], vec![0; 15_000]];
            let data: Vec<_> = pieces.iter().map(|piece| Frame::data(id, piece)).collect();
            assert!(connection.send(&[vec![Frame::headers(id, &block)], data].concat()).await);
        }
        half_sent.push(connection);
    }
    count_of(&agent, "signet_workload_calls_refused_total{reason=\"request_bytes_of_user\"}", 79.0).await;
    count_of(&agent, "signet_workload_calls", 41.0).await;
    let now = agent.process.resident_kib();
    assert!(now < before + 40 * 1024, "{now} KiB resident, {before} before");
    other.is_served(&bed, "beside-half-sent-requests").await;
    drop(half_sent);
    count_of(&agent, "signet_workload_calls", 0.0).await;

    // Streams, over all connections.
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    for number in 0..300 {
        if number % 75 == 0 {
            clients.push(SdsClient::connect(&socket).await.unwrap());
        }
        streams.push(clients.last_mut().unwrap().subscribe(&["default"]).await.unwrap());
    }
    let refused = ask(&socket).await.unwrap_err();
    assert!(refused.contains("limits.streams_per_uid"), "{refused}");
    other.is_served(&bed, "beside-streams").await;
    drop((streams, clients));
    count_of(&agent, "signet_workload_calls", 0.0).await;
    ask(&socket).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_descriptors_goes_on_serving_and_accepts_again_when_there_are_some() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let mut agent = Agent::launch(&bed, &ca, "node-1", &token, AgentOptions::default()).await;
    let selector = format!("unix:uid:{}", nix::unistd::getuid());
    ca.create_entry("spiffe://example.org/first", &[&selector], "node-1");
    agent.holds(1).await;
    let socket = agent.api_socket();
    let mut client = SdsClient::connect(&socket).await.unwrap();
    let mut stream = client.subscribe(&["spiffe://example.org/first", "spiffe://example.org/second"]).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("an answer").unwrap();
    stream.acknowledge(&answer).await;

    let clock = SystemClock::shared();
    let (mut silent, short_since) = (Vec::new(), clock.boottime());
    let limit = agent.process.open_descriptors() + 40;
    agent.process.limit_descriptors(limit);
    for _ in 0..300 {
        silent.push(UnixStream::connect(&socket).await.unwrap());
    }
    // A connection takes two descriptors: when one is left, it is accepted and closed, and so is each that waits after it. None is left then.
    agent.process.limit_descriptors(1);
    silent.push(UnixStream::connect(&socket).await.unwrap());
    eventually("the agent to be out of descriptors", async || {
        agent.process.stderr().contains("accepting connections is failing").then_some(())
    })
    .await;
    // Who was there before gets what is new.
    ca.create_entry("spiffe://example.org/second", &[&selector], "node-1");
    let pushed = async {
        loop {
            let answer = stream.next().await.expect("the stream goes on");
            stream.acknowledge(&answer).await;
            if answer.secrets.iter().any(|secret| secret.name.ends_with("/second")) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), pushed).await.expect("a stream that was open is served");
    assert!(agent.process.is_running());

    drop(silent);
    agent.process.limit_descriptors(limit);
    let served = async || ask(&socket).await.ok();
    eventually_within("a newcomer to be served again", Duration::from_secs(60), served).await;
    assert!(agent.process.is_running(), "without a restart");
    // Ten tries in a second and no more: a shortage must not take the processor too.
    let most = (clock.boottime() - short_since).as_millis() / 100 + 1;
    let tries = agent.process.stderr().matches("accepting connections is failing").count();
    assert!(u128::try_from(tries).unwrap() <= most, "{tries} tries, at most {most} in this time");
}
