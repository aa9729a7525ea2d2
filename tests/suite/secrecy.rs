//! No secret leaves the process that it belongs to by a log, a record, a figure, an answer, its arguments or its environment, nor is
//! it in the store.

use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use pki::{KeyAlgorithm, PrivateKey, build_request, request_to_pem};
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use tests::{
    Agent, AgentOptions, Ca, CaConnection, CaOptions, Cli, Requirement, SdsClient, TestBed, TokenIssuer, eventually, needs,
};
use tonic::Request;

/// A secret, and what to look for: any of these pieces gives it away.
struct Secret {
    name: &'static str,
    traces: Vec<Vec<u8>>,
}

impl Secret {
    fn text(name: &'static str, text: &str) -> Self {
        Self { name, traces: vec![text.as_bytes().to_vec()] }
    }

    /// The lines between the PEM borders of each private key in a text, since a part of a key is as bad as all of it; and the private
    /// half as bytes. (The public half is in certificates, and may stand anywhere.)
    fn keys(name: &'static str, pem: &str) -> Self {
        let mut traces = Self::lines(pem, "PRIVATE KEY");
        assert!(!traces.is_empty(), "{name} is no private key");
        let der = BASE64.decode(&traces.concat()).expect("one key, in base64");
        // RFC 5958 and RFC 5915: the OCTET STRING with the scalar, of a key on P-256.
        assert_eq!(der.get(34..36), Some([0x04, 32].as_slice()), "{name}");
        traces.push(der[36..68].to_vec());
        Self { name, traces }
    }

    /// The lines of a request where the signature is, and its end as bytes.
    fn request(name: &'static str, pem: &str) -> Self {
        let lines = Self::lines(pem, "CERTIFICATE REQUEST");
        let der = BASE64.decode(&lines.concat()).expect("one request, in base64");
        // The very last line may be too short to tell anything.
        let mut traces = lines[lines.len() - 3..lines.len() - 1].to_vec();
        traces.push(der[der.len() - 32..].to_vec());
        Self { name, traces }
    }

    fn lines(pem: &str, label: &str) -> Vec<Vec<u8>> {
        let (mut inside, mut lines) = (false, Vec::new());
        for line in pem.lines() {
            match line.starts_with("-----") {
                true => inside = line.starts_with("-----BEGIN") && line.contains(label),
                false if inside => lines.push(line.as_bytes().to_vec()),
                false => {}
            }
        }
        lines
    }

    fn keys_of_file(name: &'static str, path: &Path) -> Self {
        Self::keys(name, &std::fs::read_to_string(path).unwrap())
    }

    fn stands_in(&self, bytes: &[u8]) -> bool {
        self.traces.iter().any(|trace| bytes.windows(trace.len()).any(|window| window == trace))
    }
}

fn request() -> String {
    request_to_pem(&build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), None).unwrap())
}

fn at_level_trace(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains("level = \"debug\""), "{text}");
    std::fs::write(config, text.replace("level = \"debug\"", "level = \"trace\"")).unwrap();
}

fn of_kernel(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap()).into_owned()
}

/// The files of the store, with what is not in its main file yet.
fn store_files(state_dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = ["store.db", "store.db-wal", "store.db-shm"].iter().map(|name| (*name, std::fs::read(state_dir.join(name))));
    files.map(|(name, bytes)| (format!("the CA's {name}"), bytes.unwrap())).collect()
}

/// What a service says of itself in its log without being asked for: each line's target, after its level.
fn foreign_detail(log: &str) -> Option<&str> {
    let ours = ["ca", "identity", "mtls", "node_agent", "pki", "proto", "runtime", "sds", "signet"];
    let mut plain = log.lines().filter(|line| line.contains(" TRACE ") || line.contains(" DEBUG ") || line.contains(" INFO "));
    plain.find(|line| {
        let rest = [" TRACE ", " DEBUG ", " INFO "].iter().find_map(|level| line.split_once(level)).map_or("", |(_, rest)| rest);
        // Spans stand between level and target, each with a colon and a space after it.
        !rest.split(": ").any(|part| ours.contains(&part.split("::").next().unwrap_or_default().trim()))
    })
}

/// Calls of an Istio client: one with a good token, and one with a bad one; both with a header that nobody knows. Gives what the CA
/// says of the second.
async fn istio_calls(ca: &Ca, fingerprint: &str, good: &str, bad: &str, header: &str, csr: &str) -> String {
    let connection = CaConnection::open(ca.address, &ca.trust_domain, fingerprint, None).await.unwrap();
    let mut client = IstioCertificateServiceClient::new(connection.channel);
    let mut call = async |token: &str| {
        let mut call = Request::new(IstioCertificateRequest { csr: csr.to_owned(), ..IstioCertificateRequest::default() });
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        call.metadata_mut().insert("x-canary", header.parse().unwrap());
        client.create_certificate(call).await
    };
    let _served = call(good).await.unwrap();
    let refused = call(bad).await.unwrap_err();
    format!("{refused:?} {refused}")
}

/// For whatever must come.
const LIMIT: Duration = Duration::from_secs(60);

const HEADER: &str = "canary-header-2f0a91c47be35d68";

/// At log level `trace`, over a join, an issuance, an ACK, a NACK, a refused join token, and calls with good and bad bearer tokens.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_logs_store_audit_metrics_answers_arguments_or_environment() {
    let name = "no_secret_stands_in_logs_store_audit_metrics_answers_arguments_or_environment";
    // The environment of a service that lets nobody look into it is read by root alone.
    if !needs(name, Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions { extra: issuer.rule(""), ..CaOptions::default() });
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
    let key = loop {
        // The bundle may come before the identity.
        let answer = tokio::time::timeout(LIMIT, stream.next()).await.expect("an answer").unwrap();
        stream.acknowledge(&answer).await;
        if let Some(key) = answer.secrets.iter().find_map(|secret| secret.key_pem.clone()) {
            break key;
        }
    };
    let mut refusing = client.subscribe(&["default"]).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, refusing.next()).await.expect("an answer").unwrap();
    refusing.reject(&answer, "a test says no").await;
    eventually("the rejection to be in the log", async || agent.process.stderr().contains("a test says no").then_some(())).await;

    at_level_trace(&Agent::configure(&bed, &ca, "node-2", &token, AgentOptions::default()));
    let mut second = Agent::run(bed.path(), "node-2").await;
    assert!(!second.process.exit(LIMIT).await.success(), "a used token made a second node");

    let (good, csr) = (issuer.token("system:serviceaccount:default:web"), request());
    let bad = format!("{}x", issuer.token("system:serviceaccount:default:other"));
    let answer = istio_calls(&ca, &token.ca_fingerprint, &good, &bad, HEADER, &csr).await;
    // The agent takes no tokens, and says so.
    let refused = SdsClient::connect(&agent.api_socket()).await.unwrap().subscribe_as(&["default"], Some(&bad)).await;
    let of_agent = match refused {
        Ok(mut stream) => stream.next().await.map(|_| ()).unwrap_err(),
        Err(status) => status,
    };

    let authority = ca.state_dir().join("authority/0001");
    let secrets = [
        Secret::text("the join token", &token.token),
        Secret::text("a bearer token that is good", &good),
        Secret::text("the signature of a bearer token that is good", good.rsplit('.').next().unwrap()),
        Secret::text("a bearer token that is bad", &bad),
        Secret::text("a header", HEADER),
        Secret::request("a request for a certificate", &csr),
        Secret::keys("the workload's key", &key),
        Secret::keys_of_file("the root key", &ca.state_dir().join("root-key.pem")),
        Secret::keys_of_file("the issuing key", &authority.join("ca-key.pem")),
        Secret::keys_of_file("the node key", &agent.state_dir().join("node-key.pem")),
        Secret::keys_of_file("the key of the agent SVID", &agent.state_dir().join("agent-svid.pem")),
    ];
    // The search finds what is there, as text and as bytes, in the middle of other things.
    assert!(secrets[0].stands_in(&std::fs::read(bed.path().join("node-1-token")).unwrap()));
    for secret in &secrets {
        for trace in &secret.traces {
            let planted = [b"SQLite format 3\0 ...".as_slice(), trace, b"... DEBUG h2::codec"].concat();
            assert!(secret.stands_in(&planted), "{} is not found where it stands", secret.name);
        }
    }
    let key_file = std::fs::read(ca.state_dir().join("root-key.pem")).unwrap();
    assert!(secrets.iter().any(|secret| secret.name == "the root key" && secret.stands_in(&key_file)));
    assert_eq!(foreign_detail("2026 TRACE ca::rpc: x\n2026  INFO workload{pid=1}: sds::service::log: y"), None);
    assert!(foreign_detail("2026 DEBUG h2::codec: send frame=Headers").is_some());
    assert!(agent.process.stderr().contains(" DEBUG "), "the level is as it was set");
    for log in [ca.process.stderr(), agent.process.stderr()] {
        assert_eq!(foreign_detail(&log), None, "only our own crates say more than warnings");
    }

    let audit = ca.operate(&["audit", "tail", "-n", "1000000"]).ok().stdout;
    let places = [
        ("the CA's standard output", ca.process.stdout(), "listening"),
        ("the CA's log", ca.process.stderr(), "attestation refused"),
        ("the agent's standard output", agent.process.stdout(), "api_socket"),
        ("the agent's log", agent.process.stderr(), "DEBUG"),
        ("the log of the agent that was refused", second.process.stderr(), "TOKEN_USED"),
        ("the CA's answer to a bad token", answer, "Unauthenticated"),
        ("the agent's answer to a token", format!("{of_agent:?} {of_agent}"), "bearer"),
        ("the audit record", audit, "token_redeemed"),
        ("the CA's metrics", ca.metrics().await, "signet_ca_issuance_total"),
        ("the agent's metrics", agent.metrics().await, "signet_sds_nacks_total"),
        ("the CA's arguments", of_kernel(ca.process.id(), "cmdline"), "ca.toml"),
        ("the agent's arguments", of_kernel(agent.process.id(), "cmdline"), "node-1.toml"),
        ("the CA's environment", of_kernel(ca.process.id(), "environ"), "PATH="),
        ("the agent's environment", of_kernel(agent.process.id(), "environ"), "PATH="),
    ];
    let mut looked_at = Vec::new();
    for (place, text, proof) in places {
        assert!(text.contains(proof), "{place} does not hold {proof:?}: {text}");
        assert!(!text.contains("PRIVATE KEY"), "{place} holds a private key");
        looked_at.push((place.to_owned(), text.into_bytes()));
    }
    let store = store_files(&ca.state_dir());
    assert!(store.iter().any(|(_, bytes)| bytes.windows(7).any(|window| window == b"node-1\0" || window.starts_with(b"node-1"))));
    looked_at.extend(store);
    for (place, bytes) in looked_at {
        for secret in &secrets {
            assert!(!secret.stands_in(&bytes), "{place} holds {}", secret.name);
        }
    }
}
