//! No secret leaves the process that it belongs to by a log, a record, a figure, its arguments or its environment.

use std::path::Path;
use std::time::Duration;

use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, SdsClient, TestBed, eventually};

/// A secret, and what to look for: any of these texts gives it away.
struct Secret {
    name: &'static str,
    traces: Vec<String>,
}

impl Secret {
    fn token(text: &str) -> Self {
        Self { name: "the join token", traces: vec![text.to_owned()] }
    }

    /// The lines between the PEM borders of each private key in a text: a part of a key is as bad as all of it.
    fn keys(name: &'static str, pem: &str) -> Self {
        let (mut inside, mut traces) = (false, Vec::new());
        for line in pem.lines() {
            match line.starts_with("-----") {
                true => inside = line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY"),
                false if inside => traces.push(line.to_owned()),
                false => {}
            }
        }
        assert!(!traces.is_empty(), "{name} is no private key");
        Self { name, traces }
    }

    fn keys_of_file(name: &'static str, path: &Path) -> Self {
        Self::keys(name, &std::fs::read_to_string(path).unwrap())
    }

    fn stands_in(&self, text: &str) -> bool {
        self.traces.iter().any(|trace| text.contains(trace.as_str()))
    }
}

fn at_level_trace(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains("level = \"debug\""), "{text}");
    std::fs::write(config, text.replace("level = \"debug\"", "level = \"trace\"")).unwrap();
}

fn of_kernel(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap()).into_owned()
}

/// At log level `trace`, over a join, an issuance, an ACK, a NACK and a refused token.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_logs_audit_metrics_arguments_or_environment() {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    at_level_trace(&config);
    let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    let token = ca.create_token("node-1");
    at_level_trace(&Agent::configure(&bed, &ca, "node-1", &token, AgentOptions::default()));
    let agent = Agent::run(bed.path(), "node-1").await;
    agent.ready().await;

    let uid = nix::unistd::getuid();
    ca.create_entry("spiffe://example.org/me", &[&format!("unix:uid:{uid}")], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&["default", "ROOTCA"]).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("an answer").unwrap();
    let key = answer.secrets.iter().find_map(|secret| secret.key_pem.clone()).expect("a private key");
    stream.acknowledge(&answer).await;
    let mut refusing = client.subscribe(&["default"]).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), refusing.next()).await.expect("an answer").unwrap();
    refusing.reject(&answer, "a test says no").await;
    eventually("the rejection to be in the log", async || agent.process.stderr().contains("a test says no").then_some(())).await;

    at_level_trace(&Agent::configure(&bed, &ca, "node-2", &token, AgentOptions::default()));
    let mut second = Agent::run(bed.path(), "node-2").await;
    assert!(!second.process.exit(Duration::from_secs(20)).await.success(), "a used token made a second node");

    let authority = ca.state_dir().join("authority/0001");
    let secrets = [
        Secret::token(&token.token),
        Secret::keys("the workload's key", &key),
        Secret::keys_of_file("the root key", &ca.state_dir().join("root-key.pem")),
        Secret::keys_of_file("the issuing key", &authority.join("ca-key.pem")),
        Secret::keys_of_file("the node key", &agent.state_dir().join("node-key.pem")),
        Secret::keys_of_file("the key of the agent SVID", &agent.state_dir().join("agent-svid.pem")),
    ];
    // The search finds what is there.
    assert!(secrets[0].stands_in(&std::fs::read_to_string(bed.path().join("node-1-token")).unwrap()));
    assert!(secrets[1].stands_in(&key));

    let audit = ca.operate(&["audit", "tail", "-n", "1000000"]).ok().stdout;
    let places = [
        ("the CA's standard output", ca.process.stdout(), "listening"),
        ("the CA's log", ca.process.stderr(), "attestation refused"),
        ("the agent's standard output", agent.process.stdout(), "api_socket"),
        ("the agent's log", agent.process.stderr(), "DEBUG"),
        ("the log of the agent that was refused", second.process.stderr(), "TOKEN_USED"),
        ("the audit record", audit, "token_redeemed"),
        ("the CA's metrics", ca.metrics().await, "signet_ca_issuance_total"),
        ("the agent's metrics", agent.metrics().await, "signet_sds_nacks_total"),
        ("the CA's arguments", of_kernel(ca.process.id(), "cmdline"), "ca.toml"),
        ("the agent's arguments", of_kernel(agent.process.id(), "cmdline"), "node-1.toml"),
        ("the CA's environment", of_kernel(ca.process.id(), "environ"), "PATH="),
        ("the agent's environment", of_kernel(agent.process.id(), "environ"), "PATH="),
    ];
    for (place, text, proof) in places {
        assert!(text.contains(proof), "{place} does not hold {proof:?}: {text}");
        assert!(!text.contains("PRIVATE KEY"), "{place} holds a private key");
        for secret in &secrets {
            assert!(!secret.stands_in(&text), "{place} holds {}", secret.name);
        }
    }
}
