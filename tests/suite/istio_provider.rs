//! An agent whose identities come from a CA that speaks Istio's certificate API: our own, through that door alone.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use pki::{
    Certificate, KeyAlgorithm, PrivateKey, X509Svid, build_request, certificates_from_pem, certificates_to_pem, request_to_pem,
};
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::workload;
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaConnection, CaOptions, SdsClient, TestBed, TokenIssuer, WorkloadClient, eventually};
use tonic::{Code, Request};

const SUBJECT: &str = "system:serviceaccount:default:web";
const ID: &str = "spiffe://example.org/ns/default/sa/web";

/// How a test's agent knows its CA.
enum KnownBy {
    Name,
    Id(&'static str),
}

/// A CA that takes tokens of the issuer and bears its address as a name.
async fn ca(bed: &TestBed, issuer: &TokenIssuer, leaf_ttl: &str) -> Ca {
    let (extra, server_names) = (issuer.rule(""), vec!["127.0.0.1".to_owned()]);
    Ca::start(bed, CaOptions { extra, server_names, leaf_ttl: leaf_ttl.to_owned(), ..CaOptions::default() }).await
}

/// Starts an agent with the one identity, shown to every process of this user; `credential` is its line.
async fn agent(bed: &TestBed, ca: &Ca, name: &str, known_by: KnownBy, credential: &str) -> Agent {
    let (at, uid) = (bed.path().display(), nix::unistd::getuid());
    let server_id = match known_by {
        KnownBy::Name => String::new(),
        KnownBy::Id(id) => format!("server_id = \"{id}\"\n"),
    };
    let content = format!(
        "trust_domain = \"example.org\"\nstate_dir = \"{at}/{name}-state\"\nprovider = \"istio\"\n\
         api_socket = \"{at}/{name}-public/api.sock\"\nadmin_socket = \"{at}/{name}-admin.sock\"\n\
         [telemetry]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n\
         [istio]\naddress = \"{}\"\nroots = \"{}\"\n{server_id}\
         [[istio.identity]]\nspiffe_id = \"{ID}\"\nselectors = [\"unix:uid:{uid}\"]\n{credential}\n",
        ca.address,
        ca.root_certificate().display(),
    );
    bed.write(&format!("{name}.toml"), &content);
    Agent::run(bed.path(), name).await
}

/// The serial of the one identity, when it is held.
fn serial(agent: &Agent) -> Option<String> {
    let status = agent.operate(&["agent", "status"]).ok().json();
    let serial = status["identities"][0]["serial"].as_str()?;
    (!serial.is_empty()).then(|| serial.to_owned())
}

fn last_error(agent: &Agent) -> String {
    let status = agent.operate(&["agent", "status"]).ok().json();
    status["identities"][0]["last_error"].as_str().unwrap_or_default().to_owned()
}

async fn renewed(agent: &Agent, former: &str) -> String {
    eventually("the identity to be renewed", async || serial(agent).filter(|now| now != former)).await
}

/// One sample of the CA's metrics.
async fn counted(ca: &Ca, name: &str) -> u64 {
    let text = ca.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("{name} in {text}"))
}

/// An identity by a token that is read anew for each call, served to SDS and to the Workload API; nothing of `signet.v1` is asked.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_by_token_is_served_and_renewed_without_one_call_of_our_own_protocol() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let ca = ca(&bed, &issuer, "6s").await;
    let token = bed.write("jwt", &issuer.token(SUBJECT));
    let agent = agent(&bed, &ca, "node-1", KnownBy::Name, &format!("token_file = \"{}\"", token.display())).await;
    agent.ready().await;

    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = sds.subscribe(&["default"]).await.unwrap();
    let first = stream.next().await.unwrap();
    assert!(first.secrets[0].chain_pem.is_some());
    stream.acknowledge(&first).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let svids = client.fetch_x509_svids().await.unwrap();
    let [svid] = svids.as_slice() else { panic!("one identity") };
    assert_eq!(svid.svid.id().as_str(), ID);
    svid.svid.verify(&svid.bundle, SystemClock::shared().now().into()).unwrap();

    // The token of the start is gone: what renews is the one that lies there then.
    let held = eventually("the identity to be held", async || serial(&agent)).await;
    std::fs::write(&token, "not.a.token").unwrap();
    eventually("a token that is no good to be told", async || last_error(&agent).contains("CREDENTIAL_INVALID").then_some(()))
        .await;
    std::fs::write(&token, issuer.token(SUBJECT)).unwrap();
    renewed(&agent, &held).await;
    assert_ne!(stream.next().await.unwrap().version, first.version, "renewals are pushed");

    let calls = "signet_ca_istio_calls_total{method=\"create_certificate\",credential=\"token\",reason=\"NONE\"}";
    assert!(counted(&ca, calls).await >= 2);
    for kind in ["join_token", "certificate", "reattestation"] {
        for outcome in ["attested", "refused"] {
            assert_eq!(counted(&ca, &format!("signet_ca_attestations_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}")).await, 0);
        }
    }
    assert_eq!(counted(&ca, "signet_ca_sync_streams").await, 0);
    let workload = "signet_ca_issuance_total{purpose=\"workload\",outcome=\"issued\",reason=\"NONE\"}";
    assert_eq!(counted(&ca, workload).await, 0, "entries are signed for agents only");
    assert!(ca.operate(&["node", "list"]).ok().json().as_array().unwrap().is_empty());
}

/// What such a CA cannot give is told as absent, and a call for it is refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_cannot_give_is_told_and_never_made_up() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let ca = ca(&bed, &issuer, "1h").await;
    let token = bed.write("jwt", &issuer.token(SUBJECT));
    let agent = agent(
        &bed,
        &ca,
        "node-1",
        KnownBy::Id("spiffe://example.org/signet/ca/ca-1"),
        &format!("token_file = \"{}\"", token.display()),
    )
    .await;
    agent.ready().await;
    let status = agent.operate(&["agent", "status"]).ok().json();
    assert_eq!(status["provider"], "istio");
    assert_eq!(status["absent"], serde_json::json!(["entry sync", "bundle push", "revocation", "JWT-SVID"]));
    // Ready is who was signed for once; what was signed is held a moment later.
    agent.holds(1).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    assert_eq!(client.fetch_x509_svids().await.unwrap().len(), 1);
    let ask = workload::JwtsvidRequest { audience: vec!["db".to_owned()], spiffe_id: String::new() };
    let refused = client.service().fetch_jwtsvid(client.request(ask)).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unimplemented | Code::Unavailable), "{refused:?}");
}

/// The CA must be who it is said to be before it sees a token, and its answers bring no root of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_not_the_one_configured_sees_no_token() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let ca = ca(&bed, &issuer, "1h").await;
    let token = format!("token_file = \"{}\"", bed.write("jwt", &issuer.token(SUBJECT)).display());
    let other = agent(&bed, &ca, "other", KnownBy::Id("spiffe://example.org/signet/ca/ca-2"), &token).await;
    eventually("the wrong CA to be told", async || last_error(&other).contains("is wanted").then_some(())).await;
    let calls = ca.metrics().await;
    let called: u64 = calls
        .lines()
        .filter(|line| line.starts_with("signet_ca_istio_calls_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(called, 0);
    let right = agent(&bed, &ca, "right", KnownBy::Id("spiffe://example.org/signet/ca/ca-1"), &token).await;
    right.ready().await;
}

/// An existing certificate starts the line, and the SVIDs issued by it carry it on when the certificate is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_by_certificate_renews_by_its_own_svid() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let ca = ca(&bed, &issuer, "8s").await;
    let svid = certificate_by_token(&ca, &issuer).await;
    let certificates = bed.path().join("certs");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::write(certificates.join("cert-chain.pem"), certificates_to_pem(svid.chain())).unwrap();
    std::fs::write(certificates.join("key.pem"), svid.key().to_pkcs8_pem().as_bytes()).unwrap();
    std::fs::set_permissions(certificates.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let line = format!("certificate_directory = \"{}\"", certificates.display());
    let agent = agent(&bed, &ca, "node-1", KnownBy::Name, &line).await;
    agent.ready().await;
    let first = eventually("the identity to be held", async || serial(&agent)).await;
    assert_ne!(first, svid.leaf().serial().to_string(), "the SVID is the agent's own");
    std::fs::remove_dir_all(&certificates).unwrap();
    let second = renewed(&agent, &first).await;
    renewed(&agent, &second).await;
}

/// What any client of Istio's API gets by a token.
async fn certificate_by_token(ca: &Ca, issuer: &TokenIssuer) -> Arc<X509Svid> {
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    let connection = CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, None).await.unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = request_to_pem(&build_request(&key, None).unwrap());
    let mut request = Request::new(IstioCertificateRequest { csr, validity_duration: 60, ..IstioCertificateRequest::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {}", issuer.token(SUBJECT)).parse().unwrap());
    let answer = IstioCertificateServiceClient::new(connection.channel).create_certificate(request).await.unwrap().into_inner();
    let (_roots, chain) = answer.cert_chain.split_last().unwrap();
    let chain: Vec<Certificate> = chain.iter().flat_map(|pem| certificates_from_pem(pem.as_bytes()).unwrap()).collect();
    Arc::new(X509Svid::new(chain, key, SystemClock::shared().now().into()).unwrap())
}
