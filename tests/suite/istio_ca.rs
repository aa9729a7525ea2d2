//! Callers in Istio's way at a CA that runs: by a token of an OIDC rule, by the certificate that it gave them, by the bytes that
//! Istio's own clients send, and by somebody else's gRPC.

pub(crate) mod raw_call;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pki::{Certificate, PrivateKey, X509Svid, certificates_from_pem};
use prost::Message;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::istio::{CsrResponse, IstioCertificateRequest, IstioCertificateResponse};
use tests::{Ca, CaConnection, CaOptions, Requirement, TestBed, TokenIssuer, istio_peer, needs};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

const HTTPBIN: &str = "system:serviceaccount:default:httpbin";
const HTTPBIN_ID: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn options(extra: String) -> CaOptions {
    CaOptions { trust_domain: "cluster.local".to_owned(), extra, ..CaOptions::default() }
}

/// A connection with this certificate or without one.
async fn connect(ca: &Ca, svid: Option<&Arc<X509Svid>>) -> CaConnection {
    let fingerprint = ca.create_token("unused").ca_fingerprint;
    CaConnection::open(ca.address, &ca.trust_domain, &fingerprint, svid.cloned()).await.unwrap()
}

pub(crate) fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request.metadata_mut().insert("clusterid", "Kubernetes".parse().unwrap());
    request
}

/// Runs the `openssl` command and gives what it prints.
fn openssl(arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A key `<name>.key` and a request `<name>.csr` for these alternative names, made by OpenSSL.
fn openssl_request(bed: &TestBed, name: &str, subject: &str, alternative_names: &str) -> (PrivateKey, String) {
    let [key, csr] = ["key", "csr"].map(|kind| format!("{name}.{kind}"));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key], bed.path());
    let names = format!("subjectAltName={alternative_names}");
    openssl(&["req", "-new", "-key", &key, "-subj", subject, "-addext", &names, "-out", &csr], bed.path());
    let read = |name| std::fs::read(bed.path().join(name)).unwrap();
    (PrivateKey::from_pem(&read(key)).unwrap(), String::from_utf8(read(csr)).unwrap())
}

async fn create(ca: &Ca, svid: Option<&Arc<X509Svid>>, token: Option<&str>, csr: &str) -> Result<Vec<String>, Status> {
    let connection = connect(ca, svid).await;
    let message = IstioCertificateRequest { csr: csr.to_owned(), ..IstioCertificateRequest::default() };
    let answer = IstioCertificateServiceClient::new(connection.channel).create_certificate(with_token(message, token)).await?;
    Ok(answer.into_inner().cert_chain)
}

/// The certificates of an answer, checked by OpenSSL against its own last string, with the key of the request.
fn verified(bed: &TestBed, chain: &[String], key: PrivateKey) -> Arc<X509Svid> {
    let (roots, rest) = chain.split_last().unwrap();
    bed.write("answer-roots.pem", roots);
    bed.write("answer-leaf.pem", &rest[0]);
    bed.write("answer-chain.pem", &rest[1..].concat());
    let arguments =
        ["verify", "-x509_strict", "-CAfile", "answer-roots.pem", "-untrusted", "answer-chain.pem", "answer-leaf.pem"];
    openssl(&arguments, bed.path());
    let parsed: Vec<Certificate> = rest.iter().flat_map(|pem| certificates_from_pem(pem.as_bytes()).unwrap()).collect();
    assert_eq!(parsed.len(), rest.len(), "one certificate a string");
    let issued_at = parsed[0].not_before().plus(Duration::from_secs(60));
    Arc::new(X509Svid::new(parsed, key, issued_at).unwrap())
}

fn refusal(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_a_certificate_and_that_the_next_one_until_its_rule_is_gone() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let mut ca = Ca::start(&bed, options(issuer.rule(""))).await;
    let token = issuer.token(HTTPBIN);
    let (key, csr) =
        openssl_request(&bed, "first", "/O=Somebody else/CN=root", &format!("URI:{HTTPBIN_ID},DNS:bank.example,IP:10.0.0.1"));
    assert_eq!(refusal(&create(&ca, None, None, &csr).await.unwrap_err()).0, Code::Unauthenticated);
    let first = verified(&bed, &create(&ca, None, Some(&token), &csr).await.unwrap(), key);
    assert_eq!(first.leaf().uri_sans(), [HTTPBIN_ID]);
    let text = String::from_utf8(openssl(&["x509", "-in", "answer-leaf.pem", "-noout", "-text"], bed.path())).unwrap();
    for wish in ["Somebody else", "bank.example", "10.0.0.1"] {
        assert!(!text.contains(wish), "{wish} was copied:\n{text}");
    }
    let (_, other) = openssl_request(&bed, "other", "/", "URI:spiffe://cluster.local/ns/default/sa/bank");
    assert_eq!(
        refusal(&create(&ca, None, Some(&token), &other).await.unwrap_err()),
        (Code::InvalidArgument, "CSR_INVALID".to_owned())
    );

    let (key, csr) = openssl_request(&bed, "second", "/", &format!("URI:{HTTPBIN_ID}"));
    let second = verified(&bed, &create(&ca, Some(&first), None, &csr).await.unwrap(), key);
    assert_eq!(second.id(), first.id());
    // Still the same line after a restart: it is in the ledger.
    ca.kill_hard().await;
    ca.start_again().await;
    create(&ca, Some(&second), None, &csr).await.unwrap();
    ca.kill_hard().await;
    let config = bed.path().join("ca.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let without = text.replace(&issuer.rule(""), "");
    assert_ne!(text, without);
    std::fs::write(&config, without).unwrap();
    ca.start_again().await;
    let gone = create(&ca, Some(&second), None, &csr).await.unwrap_err();
    assert_eq!(refusal(&gone), (Code::PermissionDenied, "NO_LONGER_GRANTED".to_owned()));
    assert_eq!(refusal(&create(&ca, None, Some(&token), &csr).await.unwrap_err()).0, Code::Unauthenticated);
    let stderr = ca.process.stderr();
    assert!(!stderr.contains(&token), "a token stands in the log");
}

/// A request as a client of Istio sends it.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/istio").join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const HANDLE_CSR: &str = "/istio.v1.auth.IstioCAService/HandleCSR";

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_istios_own_clients_are_understood() {
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let ca = Ca::start(&bed, options(format!("{}[istio]\nhandle_csr = true\n", issuer.rule("")))).await;
    let connection = connect(&ca, None).await;
    let token = issuer.token(HTTPBIN);
    let send = async |method, name, token: &str| {
        raw_call::unary(connection.channel.clone(), method, with_token(recorded(name), Some(token))).await
    };
    for name in ["istio-agent", "istio-agent-1.1", "ztunnel-without-impersonation"] {
        let answer = IstioCertificateResponse::decode(&*send(CREATE_CERTIFICATE, name, &token).await.unwrap()).unwrap();
        assert_eq!(answer.cert_chain.len(), 3, "{name}: leaf, issuing CA, root");
        let leaf = &certificates_from_pem(answer.cert_chain[0].as_bytes()).unwrap()[0];
        assert_eq!(leaf.uri_sans(), [HTTPBIN_ID], "{name}");
        let life = leaf.not_after().since(leaf.not_before());
        assert_eq!(life, Duration::from_secs(86_400 + 60 - 1), "{name}: a day, back-dated by a minute");
    }
    let old = CsrResponse::decode(&*send(HANDLE_CSR, "node-agent-1.1", &token).await.unwrap()).unwrap();
    assert!(old.is_approved);
    assert_eq!(certificates_from_pem(&old.signed_cert).unwrap()[0].uri_sans(), [HTTPBIN_ID]);
    // That it asks for somebody on its node is not proved by such a token (`kubernetes_pods` has one that proves it).
    let refused = send(CREATE_CERTIFICATE, "ztunnel", &token).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::PermissionDenied, "IMPERSONATION_REFUSED".to_owned()));
    // The identity in the request is not the caller's.
    let other = issuer.token("system:serviceaccount:default:sleep");
    let refused = send(CREATE_CERTIFICATE, "istio-agent", &other).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "CSR_INVALID".to_owned()));
}

/// Calls the CA at `host` with the Python client, and gives the line that it prints.
fn call_by_python(python: &Path, bed: &TestBed, ca: &Ca, host: &str, token: &str) -> serde_json::Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/istio/call.py");
    let mut child = Command::new(python)
        .arg("-B")
        .arg(script)
        .arg(format!("{host}:{}", ca.address.port()))
        .arg(ca.root_certificate())
        .arg(bed.path().join("python.csr"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_reaches_the_ca_by_its_dns_name_and_by_its_address_and_by_no_other() {
    if !needs("grpcio_reaches_the_ca_by_its_dns_name_and_by_its_address_and_by_no_other", Requirement::IstioPeer) {
        return;
    }
    let python = istio_peer().unwrap();
    let bed = TestBed::new();
    let issuer = TokenIssuer::new(&bed);
    let named = |names: &[&str]| CaOptions {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..options(issuer.rule(""))
    };
    let both = Ca::start_named(&bed, "both", named(&["localhost", "127.0.0.1"])).await;
    let neither = Ca::start_named(&bed, "neither", named(&["ca.example"])).await;
    let token = issuer.token(HTTPBIN);
    let (_, _) = openssl_request(&bed, "python", "/", &format!("URI:{HTTPBIN_ID}"));
    for host in ["localhost", "127.0.0.1"] {
        let answer = call_by_python(&python, &bed, &both, host, &token);
        assert_eq!(answer["cert_chain"].as_array().map(Vec::len), Some(3), "{host}: {answer}");
        let leaf = certificates_from_pem(answer["cert_chain"][0].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(leaf[0].uri_sans(), [HTTPBIN_ID]);
        let stranger = call_by_python(&python, &bed, &neither, host, &token);
        assert_eq!(stranger["code"], "UNAVAILABLE", "{host}: {stranger}");
    }
    let refused = call_by_python(&python, &bed, &both, "localhost", "no.token.atall");
    assert_eq!(refused["code"], "UNAUTHENTICATED", "{refused}");
}
