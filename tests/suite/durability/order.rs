//! What the kernel was asked, in its order: no answer of any call that issues leaves before the sync that it stands on.
//!
//! The CA runs under strace with every sync held back, so that whoever does not wait for it is far ahead of it. The same check is shown
//! to refuse stores that sync too late or not at all.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::SpiffeId;
use pki::{Certificate, KeyAlgorithm, PrivateKey, Timestamp, X509Svid, build_request, certificates_from_pem, sha256};
use proto::istio::istio_ca_service_client::IstioCaServiceClient;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::istio::{CsrRequest, IstioCertificateRequest};
use proto::v1;
use runtime::clock::SystemClock;
use tests::{
    Answer, Ca, CaConnection, CaOptions, Cli, Process, Provisioner, Requirement, SyncTrace, TestBed, TokenIssuer,
    attested_connection, eventually, issue, needs, traced,
};
use tokio::task::JoinSet;
use tonic::Request;

/// How late each sync begins.
const SYNC_DELAY: Duration = Duration::from_millis(60);
/// The log of the CA's store.
const LOG: &str = "store.db-wal";

fn now() -> Duration {
    SystemClock::shared().now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

/// A certificate that a client has now.
fn held(what: &str, certificate: &Certificate) -> Answer {
    Answer { what: format!("{what} {}", certificate.serial()), intent: certificate.serial().as_bytes().to_vec(), received: now() }
}

fn request() -> (PrivateKey, Vec<u8>) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = build_request(&key, None).unwrap();
    (key, csr)
}

/// Only root may see which files are open in a process that hides its memory.
fn can_trace_a_ca(test: &str) -> bool {
    needs(test, Requirement::Strace) && needs(test, Requirement::Root)
}

/// A CA whose system calls are written to `ca.trace`.
async fn traced_ca(bed: &TestBed, options: CaOptions) -> Ca {
    let config = Ca::configure(bed, "ca", "127.0.0.1:0", &options);
    let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    Ca::run_under(&traced(&bed.path().join("ca.trace"), SYNC_DELAY), bed.path(), "ca", &options.trust_domain).await
}

/// What was traced, all of it: the CA ends first.
async fn trace_of(bed: &TestBed, ca: &mut Ca) -> SyncTrace {
    ca.process.signal(nix::sys::signal::Signal::SIGTERM);
    let _status = ca.process.exit(Duration::from_secs(60)).await;
    let read = async || std::fs::read_to_string(bed.path().join("ca.trace")).ok().filter(|text| text.contains("+++ exited with"));
    SyncTrace::parse(&eventually("the end of the trace", read).await)
}

async fn renewed(connection: &CaConnection) -> Certificate {
    let answer = connection.node().renew_agent(v1::RenewAgentRequest { csr: request().1 }).await.unwrap().into_inner();
    Certificate::from_der(&answer.svid.unwrap().chain[0]).unwrap()
}

/// A token, and what its intent says of it: the digest of what was to be signed, in hex.
async fn token(connection: &CaConnection, entry: &str) -> Answer {
    let request = v1::IssueJwtSvidRequest { entry_id: entry.to_owned(), audiences: vec!["db".to_owned()], service_account: None };
    let token = connection.node().issue_jwt_svid(request).await.unwrap().into_inner().token;
    let received = now();
    let (signing_input, _) = token.rsplit_once('.').unwrap();
    let intent = HEXLOWER.encode(&sha256(signing_input.as_bytes())).into_bytes();
    Answer { what: "IssueJwtSvid".to_owned(), intent, received }
}

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// By a token, or by the certificate of the connection.
async fn created(connection: &CaConnection, token: Option<&str>) -> Arc<X509Svid> {
    let (key, csr) = request();
    let message = IstioCertificateRequest { csr: pki::request_to_pem(&csr), ..IstioCertificateRequest::default() };
    let mut client = IstioCertificateServiceClient::new(connection.channel.clone());
    let answer = client.create_certificate(with_token(message, token)).await.unwrap().into_inner().cert_chain;
    // The last string is the roots.
    let (_, chain) = answer.split_last().unwrap();
    let chain = chain.iter().flat_map(|pem| certificates_from_pem(pem.as_bytes()).unwrap()).collect();
    Arc::new(X509Svid::new(chain, key, Timestamp::from(SystemClock::shared().now())).unwrap())
}

/// The same for callers of before Istio 1.5, who must ask for their name.
async fn created_by_handle_csr(connection: &CaConnection, token: &str, id: &SpiffeId) -> Certificate {
    let csr = build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), Some(id)).unwrap();
    let message = CsrRequest { csr_pem: pki::request_to_pem(&csr).into_bytes(), ..CsrRequest::default() };
    let mut client = IstioCaServiceClient::new(connection.channel.clone());
    let answer = client.handle_csr(with_token(message, Some(token))).await.unwrap().into_inner();
    certificates_from_pem(&answer.signed_cert).unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_any_issuing_call_precedes_the_sync_of_its_intent() {
    if !can_trace_a_ca("no_answer_of_any_issuing_call_precedes_the_sync_of_its_intent") {
        return;
    }
    let bed = TestBed::new();
    let (issuer, provisioner) = (TokenIssuer::new(&bed), Provisioner::new());
    let extra = format!("{}{}[istio]\nhandle_csr = true\n", issuer.rule(""), provisioner.lines(&bed));
    let mut ca = traced_ca(&bed, CaOptions { extra, ..CaOptions::default() }).await;
    let mut answers = Vec::new();

    // The serving certificate is shown to whoever connects.
    let status = ca.operate(&["status"]).ok().json();
    let serving = status["certificates"].as_array().unwrap().iter().find(|certificate| certificate["role"] == "serving").unwrap();
    let serial = HEXLOWER.decode(serving["serial"].as_str().unwrap().as_bytes()).unwrap();
    answers.push(Answer { what: "the serving certificate".to_owned(), intent: serial, received: now() });

    // One call at a time, each kind more than once.
    let join = ca.create_token("node-1");
    let open = async |svid| CaConnection::open(ca.address, &ca.trust_domain, &join.ca_fingerprint, svid).await.unwrap();
    let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let attested = open(None).await.attest(&join.token, &node_key).await.unwrap();
    answers.push(held("AttestJoinToken", attested.svid.leaf()));
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let connection = open(Some(attested.svid.clone())).await;
    let anonymous = open(None).await;
    let web_token = issuer.token("system:serviceaccount:default:web");
    for _ in 0..3 {
        answers.push(held("BatchIssue of one", issue(&connection, &[&entry]).await.unwrap()[0].leaf()));
        answers.extend(
            issue(&connection, &[entry.as_str(); 5]).await.unwrap().iter().map(|svid| held("BatchIssue of five", svid.leaf())),
        );
        answers.push(token(&connection, &entry).await);
        let web = created(&anonymous, Some(&web_token)).await;
        answers.push(held("CreateCertificate by token", web.leaf()));
        answers.push(held("HandleCSR", &created_by_handle_csr(&anonymous, &web_token, web.id()).await));
        let known = open(Some(web)).await;
        answers.push(held("CreateCertificate by certificate", created(&known, None).await.leaf()));
    }
    for machine in ["vm-1", "vm-2"] {
        let (certificate, key) = provisioner.issue(machine, Duration::ZERO);
        let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let attested = open(None).await.attest_certificate(&certificate, &key, &node_key).await.unwrap();
        answers.push(held("AttestCertificate", attested.svid.leaf()));
    }
    answers.push(held("RenewAgent", &renewed(&connection).await));
    let again = open(None).await.reattest(node_key.public_key(), &node_key).await.unwrap();
    answers.push(held("Reattest", again.svid.leaf()));

    let trace = trace_of(&bed, &mut ca).await;
    let findings = trace.check(LOG, &answers, true);
    assert!(findings.violations.is_empty(), "{}", findings.violations.join("\n"));
    println!("{} answers one by one, {} syncs of the log", answers.len(), findings.syncs);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_callers_no_answer_precedes_the_sync_of_its_intent() {
    if !can_trace_a_ca("among_many_callers_no_answer_precedes_the_sync_of_its_intent") {
        return;
    }
    let bed = TestBed::new();
    let mut ca = traced_ca(&bed, CaOptions::default()).await;
    let (connection, _attested) = attested_connection(&ca, "node-1").await;
    let connection = Arc::new(connection);
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let (connection, entry) = (connection.clone(), entry.clone());
        callers.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..6 {
                let svid = issue(&connection, &[&entry]).await.unwrap().remove(0);
                answers.push(held(&format!("caller {caller}:"), svid.leaf()));
                if caller % 4 == 0 {
                    answers.push(token(&connection, &entry).await);
                }
            }
            answers
        });
    }
    let answers: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.len(), 16 * 6 + 4 * 6);
    let trace = trace_of(&bed, &mut ca).await;
    let findings = trace.check(LOG, &answers, false);
    assert!(findings.violations.is_empty(), "{}", findings.violations.join("\n"));
    println!("{} answers to 16 callers, {} syncs of the log", answers.len(), findings.syncs);
}

/// Whoever died here may have seen a sync fail: what the page cache shows of the log need not be on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_left_behind_is_written_again_and_synced_before_anything_is_added_to_it() {
    if !can_trace_a_ca("a_log_that_was_left_behind_is_written_again_and_synced_before_anything_is_added_to_it") {
        return;
    }
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let (_connection, _attested) = attested_connection(&ca, "node-1").await;
    ca.kill_hard().await;
    let left = std::fs::metadata(ca.state_dir().join(LOG)).unwrap().len();
    assert!(left > 100_000, "a log of {left} bytes");
    let words = traced(&bed.path().join("ca.trace"), SYNC_DELAY);
    let mut ca = Ca::run_under(&words, bed.path(), "ca", "example.org").await;
    let trace = trace_of(&bed, &mut ca).await;
    assert_eq!(trace.written_before_first_sync(LOG), Some(left));
}

/// Runs [`plays_a_store_for_the_check_of_syncs`] in a traced process of its own, and checks what it answers.
async fn violations_of(control: &str) -> Vec<String> {
    let bed = TestBed::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = bed.path().join("control.trace");
    let words = traced(&output, SYNC_DELAY);
    let mut command = Command::new(&words[0]);
    let play = format!("{}::plays_a_store_for_the_check_of_syncs", module_path!().split_once("::").unwrap().1);
    command.args(&words[1..]).arg(std::env::current_exe().unwrap()).args(["--exact", &play, "--nocapture"]);
    command.env(PLAY, format!("{control} {} {}", listener.local_addr().unwrap(), bed.path().join("store.db").display()));
    let mut process = Process::start("control", &mut command, bed.path());
    let receive = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut answers = Vec::new();
        let mut message = [0; 400];
        while std::io::Read::read_exact(&mut stream, &mut message).is_ok() {
            answers.push(Answer { what: format!("answer {}", answers.len()), intent: message[..16].to_vec(), received: now() });
        }
        answers
    };
    let answers = tokio::task::spawn_blocking(receive).await.unwrap();
    assert!(process.exit(Duration::from_secs(60)).await.success());
    assert_eq!(answers.len(), 8);
    let read = async || std::fs::read_to_string(&output).ok().filter(|text| text.contains("+++ exited with"));
    let trace = SyncTrace::parse(&eventually("the end of the trace", read).await);
    let violations = trace.check(LOG, &answers, true).violations;
    assert_eq!(trace.check(LOG, &answers, false).violations.is_empty(), violations.is_empty(), "{control}: {violations:?}");
    violations
}

/// The same check over stores that are not as ours: without it nobody would know that it can fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_syncs_refuses_a_store_with_synchronous_normal_or_off_and_one_that_answers_before_its_commit() {
    let name = "the_check_of_syncs_refuses_a_store_with_synchronous_normal_or_off_and_one_that_answers_before_its_commit";
    if !needs(name, Requirement::Strace) {
        return;
    }
    assert_eq!(violations_of("FULL").await, [""; 0], "what our store does is in order");
    // NORMAL syncs when the log is merged, which is at the end; OFF never does.
    for (control, found) in [("NORMAL", "before the sync of its intent was over"), ("OFF", "not synced after its intent")] {
        let violations = violations_of(control).await;
        for answer in 0..8 {
            let of_answer = |violation: &&String| violation.starts_with(&format!("answer {answer}:"));
            assert!(
                violations.iter().find(of_answer).is_some_and(|violation| violation.contains(found)),
                "{control}: {violations:?}"
            );
        }
    }
    let early = violations_of("EARLY").await;
    assert!(early.iter().any(|violation| violation.contains("before the sync of its intent was over")), "{early:?}");
}

const PLAY: &str = "SIGNET_TEST_PLAYS_STORE";

/// Eight times: a row, a commit, an answer. Plays only for its sibling above, which says how by the environment.
#[test]
#[expect(clippy::disallowed_methods, reason = "a process of our own is told what to play")]
fn plays_a_store_for_the_check_of_syncs() {
    let Ok(play) = std::env::var(PLAY) else { return };
    let [control, address, path] = play.split(' ').collect::<Vec<_>>()[..] else { panic!("{play}") };
    let store = rusqlite::Connection::open(path).unwrap();
    store.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    store.pragma_update(None, "synchronous", if control == "EARLY" { "FULL" } else { control }).unwrap();
    store.execute_batch("CREATE TABLE issuance (serial BLOB)").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    for number in 0..8_u8 {
        let serial = sha256(&[number]);
        let mut answer = serial[..16].to_vec();
        answer.resize(400, number);
        store.execute_batch("BEGIN IMMEDIATE").unwrap();
        store.execute("INSERT INTO issuance VALUES (?1)", [&serial[..16]]).unwrap();
        if control == "EARLY" {
            client.write_all(&answer).unwrap();
        }
        store.execute_batch("COMMIT").unwrap();
        if control != "EARLY" {
            client.write_all(&answer).unwrap();
        }
    }
}
