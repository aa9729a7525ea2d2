//! What was secret and is no longer needed stands nowhere in a service's memory: looked for in `/proc/<pid>/mem`, as root.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey};
use tests::{
    Agent, Ca, CaOptions, Cli, Requirement, SdsClient, SdsStream, SecretForm, TestBed, attested_connection, eventually,
    eventually_within, found_in_memory, issue, needs,
};

/// How long a service may take to let go.
const LIMIT: Duration = Duration::from_secs(120);

fn names(found: &BTreeMap<String, Vec<String>>) -> Vec<&str> {
    found.keys().map(String::as_str).collect()
}

/// Whether nothing of this form may be left, by the backend of this build.
///
/// aws-lc-rs wipes what it frees, so there nothing may be left at all. ring wipes nothing of what it calculates with: copies of it that
/// moves have left on stacks and in tasks are told, and not held against us. SECURITY.md names them.
fn must_be_gone(form: &SecretForm) -> bool {
    if cfg!(feature = "aws-lc") { true } else { !form.is_the_backends() }
}

/// Waits until none of the forms that must go is left.
///
/// The service works meanwhile, as services do: what lies on the stack of an idle thread is written over by its next work only.
#[expect(clippy::print_stderr, reason = "what a backend leaves is told, and belongs to the output of a run")]
async fn gone(pid: u32, forms: &[SecretForm], mut work: impl AsyncFnMut()) {
    let (forms, backends): (Vec<_>, Vec<_>) = forms.iter().cloned().partition(must_be_gone);
    let forms = &forms[..];
    let last = std::sync::Mutex::new(BTreeMap::new());
    let nothing = async || {
        work().await;
        let found = found_in_memory(pid, forms);
        let clean = found.is_empty();
        *last.lock().unwrap() = found;
        clean.then_some(())
    };
    if tokio::time::timeout(LIMIT, eventually_within("memory without secrets", LIMIT * 2, nothing)).await.is_err() {
        panic!("left in memory: {:#?}", last.lock().unwrap());
    }
    let left = found_in_memory(pid, &backends);
    if !left.is_empty() {
        eprintln!("left by the backend: {left:?}");
    }
}

#[test]
fn what_may_be_left_is_one_form_with_ring_and_nothing_with_aws_lc() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mut forms = SecretForm::p256("a key", &key.to_pkcs8_pem());
    forms.push(SecretForm::text("a token", "a token"));
    let borne = forms.iter().filter(|form| !must_be_gone(form)).count();
    assert_eq!((forms.len(), borne), (5, usize::from(cfg!(feature = "ring"))));
}

/// The key of this process's only identity, by SDS, over a connection that is closed again.
async fn fetch_key(agent: &Agent, path: &str) -> String {
    let id = format!("spiffe://example.org/{path}");
    let limit = Duration::from_secs(30);
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&[&id]).await.unwrap();
    let answer = tokio::time::timeout(limit, stream.next()).await.expect("an answer").unwrap();
    let key = answer.secrets.iter().find_map(|secret| secret.key_pem.clone()).expect("a private key");
    stream.acknowledge(&answer).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workloads_key_and_a_join_token_leave_nothing_in_the_agent_when_they_are_done_with() {
    if !needs("a_workloads_key_and_a_join_token_leave_nothing_in_the_agent_when_they_are_done_with", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let agent = Agent::launch(&bed, &ca, "node-1", &token, tests::AgentOptions::default()).await;
    agent.ready().await;
    let (pid, selector) = (agent.process.id(), format!("unix:uid:{}", nix::unistd::getuid()));
    let entry = ca.create_entry("spiffe://example.org/first", &[&selector], "node-1");
    let key = SecretForm::p256("the workload's key", &fetch_key(&agent, "first").await);

    // While it is held it is found, in whichever form: the search sees what is there.
    let live = found_in_memory(pid, &key);
    assert!(names(&live).contains(&"the workload's key, encoded"), "{live:?}");
    gone(pid, &[SecretForm::text("the join token", &token.token)], async || drop(fetch_key(&agent, "first").await)).await;

    let _deleted = ca.operate(&["entry", "delete", &entry]).ok();
    let held = "signet_agent_identities{state=\"available\"}";
    eventually("the identity to be withdrawn", async || (agent.metric(held).await == Some(0.0)).then_some(())).await;
    let _other = ca.create_entry("spiffe://example.org/second", &[&selector], "node-1");
    let second = SecretForm::p256("the second key", &fetch_key(&agent, "second").await);
    gone(pid, &key, async || drop(fetch_key(&agent, "second").await)).await;
    assert!(names(&found_in_memory(pid, &second)).contains(&"the second key, encoded"), "the search still sees");
}

/// The key of the next response, which is acknowledged. An SVID of twenty seconds is renewed after ten.
async fn next_key(stream: &mut SdsStream) -> String {
    let answer = tokio::time::timeout(Duration::from_secs(120), stream.next()).await.expect("a response").unwrap();
    stream.acknowledge(&answer).await;
    answer.secrets.iter().find_map(|secret| secret.key_pem.clone()).expect("a private key")
}

/// On a stream that stays open: its buffers, what was sent on it, and what it may fall back to. The SVID before the one of now is what
/// a peer that rejects that one would get again, so its key goes with the renewal after.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_key_leaves_nothing_in_the_agent_though_the_stream_that_brought_it_stays_open() {
    if !needs("a_renewed_key_leaves_nothing_in_the_agent_though_the_stream_that_brought_it_stays_open", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let (pid, selector) = (agent.process.id(), format!("unix:uid:{}", nix::unistd::getuid()));
    ca.create_entry_with("spiffe://example.org/brief", &[&selector], "node-1", &["--ttl", "20s"]);
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&["spiffe://example.org/brief"]).await.unwrap();
    let first = SecretForm::p256("the first key", &next_key(&mut stream).await);
    assert!(names(&found_in_memory(pid, &first)).contains(&"the first key, encoded"), "it is held");
    let second = next_key(&mut stream).await;
    let third = next_key(&mut stream).await;
    assert_ne!(second, third, "each renewal has a key of its own");
    let stream = tokio::sync::Mutex::new(stream);
    // The renewals go on, and are taken; and every thread has something to do.
    let working = async || {
        let mut stream = stream.lock().await;
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), stream.next()).await {
            stream.acknowledge(&answer.unwrap()).await;
        }
        futures_util::future::join_all((0..16).map(|_| fetch_key(&agent, "brief"))).await;
    };
    gone(pid, &first, working).await;
    gone(pid, &SecretForm::p256("the second key", &second), working).await;
    eventually_within("the search to see the newest key", LIMIT, async || {
        let newest = SecretForm::p256("the newest key", &fetch_key(&agent, "brief").await);
        (!found_in_memory(pid, &newest).is_empty()).then_some(())
    })
    .await;
}

fn private_file(bed: &TestBed, name: &str, content: &str) -> std::path::PathBuf {
    let path = bed.write(name, content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn ca_verb(words: &[&str], config: &Path) -> tests::CliOutput {
    let words: Vec<_> = ["ca"].iter().chain(words).chain(&["--config"]).map(std::ffi::OsStr::new).collect();
    Cli::run(&[&words[..], &[config.as_os_str()]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuing_key_that_was_replaced_a_passphrase_and_a_join_token_leave_nothing_in_the_ca() {
    if !needs("an_issuing_key_that_was_replaced_a_passphrase_and_a_join_token_leave_nothing_in_the_ca", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    // The key is plain at first, so that the test can read it, and protected before the CA that is looked at starts.
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let _made = ca_verb(&["init"], &config).ok();
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    let pid = ca.process.id();
    let first = ca.state_dir().join("authority/0001/ca-key.pem");
    let issuing = SecretForm::p256("the issuing key", &std::fs::read_to_string(first).unwrap());
    let (connection, _node) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:1"], "node-1");
    let _issued = issue(&connection, &[&entry]).await.unwrap();
    let live = found_in_memory(pid, &issuing);
    assert!(!live.is_empty(), "the key that signs is in memory");

    let token = ca.create_token("node-2");
    let _redeemed = Agent::launch(&bed, &ca, "node-2", &token, tests::AgentOptions::default()).await;
    eventually("the token to be redeemed", async || ca.operate(&["node", "list"]).ok().stdout.contains("node-2").then_some(()))
        .await;
    let working = async || drop(issue(&connection, &[&entry]).await.unwrap());
    gone(pid, &[SecretForm::text("the join token", &token.token)], working).await;

    let _renewed = ca_verb(&["issuer", "renew"], &config).ok();
    let second = ca.state_dir().join("authority/0002/ca-key.pem");
    let renewed = SecretForm::p256("the renewed key", &std::fs::read_to_string(second).unwrap());
    let taken_up = async || {
        let _issued = issue(&connection, &[&entry]).await.unwrap();
        (!found_in_memory(pid, &renewed).is_empty()).then_some(())
    };
    eventually_within("the renewed key to be taken up", Duration::from_secs(120), taken_up).await;
    gone(pid, &issuing, working).await;
}

/// While it is used it is there for signing: encoded, and as the backend has it. The text that it was read from is not, and after it
/// was replaced nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn the_jwt_key_is_held_in_no_more_forms_than_signing_needs_and_a_replaced_one_in_none() {
    if !needs("the_jwt_key_is_held_in_no_more_forms_than_signing_needs_and_a_replaced_one_in_none", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    ca.ready().await;
    let file = ca.state_dir().join("jwt-key.pem");
    // Made by the process that ran until now, and by the next one read from its file.
    let forms = SecretForm::p256("the JWT key", &std::fs::read_to_string(&file).unwrap());
    let (text, used): (Vec<_>, Vec<_>) = forms.iter().cloned().partition(|form| form.name.ends_with(", PEM"));
    assert_eq!((text.len(), used.len()), (1, 3));
    let mut nodes = 0;
    for what in ["made", "read"] {
        let pid = ca.process.id();
        let signed = async || {
            nodes += 1;
            drop(attested_connection(&ca, &format!("node-{nodes}")).await);
        };
        assert!(!found_in_memory(pid, &used).is_empty(), "the key that was {what} is there");
        gone(pid, &text, signed).await;
        ca.process.stop().await;
        ca.start_again().await;
        ca.ready().await;
    }
    ca.process.stop().await;
    std::fs::remove_file(&file).unwrap();
    ca.start_again().await;
    ca.ready().await;
    let next = std::fs::read_to_string(ca.state_dir().join("jwt-keys/0002.pem")).unwrap();
    let next = SecretForm::p256("the next JWT key", &next);
    assert!(!found_in_memory(ca.process.id(), &next).is_empty(), "another key is in its place");
    gone(ca.process.id(), &forms, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passphrase_of_the_keys_leaves_nothing_in_the_ca_that_read_it() {
    if !needs("the_passphrase_of_the_keys_leaves_nothing_in_the_ca_that_read_it", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let passphrase = "canary-passphrase-7e1f0c5b9a2d";
    let file = private_file(&bed, "passphrase", passphrase);
    let extra = format!("[keys]\npassphrase_file = \"{}\"\n", file.display());
    let ca = Ca::start(&bed, CaOptions { extra, ..CaOptions::default() }).await;
    ca.ready().await;
    // The name of its file stays, in the configuration: the search sees what is there.
    let named = SecretForm::text("the file's name", "/passphrase");
    assert!(!found_in_memory(ca.process.id(), &[named]).is_empty());
    let forms = [SecretForm::text("the passphrase", passphrase)];
    let mut nodes = 0;
    let joining = async || {
        nodes += 1;
        drop(attested_connection(&ca, &format!("node-{nodes}")).await);
    };
    gone(ca.process.id(), &forms, joining).await;
}
