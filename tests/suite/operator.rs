//! What an operator types, and what comes back: documents, reasons, exit codes.

use std::path::Path;

use serde_json::Value;
use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, CliOutput, TestBed, eventually};

/// The error document that a refused command writes to standard error.
#[track_caller]
fn error_of(output: &CliOutput, code: i32) -> Value {
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    let document: Value = serde_json::from_str(&output.stderr).unwrap_or_else(|error| panic!("{error} in {:?}", output.stderr));
    assert_eq!(document["exit_code"], code, "{document}");
    document
}

#[track_caller]
fn refused(output: &CliOutput, reason: &str) {
    let document = error_of(output, 3);
    assert!(document["why"].as_str().is_some_and(|why| why.contains(reason)), "{reason} is missing in {document}");
    assert_eq!(output.stdout, "");
}

/// A reserved ID and one of another trust domain are refused; the same entry under a free name is made.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_not_the_operators_to_give_is_refused_with_its_reason() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let create = |id: &str| ca.operate(&["entry", "create", "--spiffe-id", id, "--node", "n1", "--selector", "unix:uid:7"]);
    for id in ["spiffe://example.org/signet/agent/n1", "spiffe://example.org/signet/x", "spiffe://other.org/web"] {
        refused(&create(id), "ENTRY_INVALID");
    }
    assert_eq!(ca.operate(&["entry", "list"]).ok().json(), Value::Array(Vec::new()));
    assert_eq!(create("spiffe://example.org/signets").ok().json()["spiffe_id"], "spiffe://example.org/signets");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_shown_and_deleted() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let further = ["--ttl", "30m", "--dns", "web.example.org"];
    let web = ca.create_entry_with("spiffe://example.org/web", &["unix:user:web", "unix:uid:7"], "n1", &further);
    let api = ca.create_entry("spiffe://example.org/api", &["unix:uid:8"], "n2");
    let listed = |arguments: &[&str]| -> Vec<String> {
        let list = ca.operate(arguments).ok().json();
        list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = listed(&["entry", "list"]);
    all.sort();
    let mut both = vec![web.clone(), api.clone()];
    both.sort();
    assert_eq!(all, both);
    assert_eq!(listed(&["entry", "list", "--node", "n1"]), std::slice::from_ref(&web));

    let shown = ca.operate(&["entry", "show", &web]).ok().json();
    assert_eq!(shown["spiffe_id"], "spiffe://example.org/web");
    assert_eq!(shown["node"], "n1");
    assert_eq!(shown["ttl_seconds"], 1800);
    assert_eq!(shown["dns_names"][0], "web.example.org");
    assert_eq!(shown["selectors"].as_array().map(Vec::len), Some(2));
    let twice = ["entry", "create", "--spiffe-id", "spiffe://example.org/api", "--node", "n2", "--selector", "unix:uid:8"];
    refused(&ca.operate(&twice), "ALREADY_EXISTS");

    assert_eq!(ca.operate(&["entry", "delete", &web]).ok().json()["deleted"], web.as_str());
    refused(&ca.operate(&["entry", "show", &web]), "ENTRY_NOT_FOUND");
    refused(&ca.operate(&["entry", "delete", &web]), "ENTRY_NOT_FOUND");
    refused(&ca.operate(&["entry", "show", "web"]), "ENTRY_ID_INVALID");
    assert_eq!(listed(&["entry", "list"]), [api]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_stands_in_the_list_and_keeps_tokens_from_the_name_until_it_is_lifted() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let _agent = Agent::start(&bed, &ca, "node-1").await;
    let state = |node: &str| {
        let list = ca.operate(&["node", "list"]).ok().json();
        let found = list.as_array().unwrap().iter().find(|record| record["node"] == node);
        found.map(|record| record["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state("node-1").as_deref(), Some("attested"));
    let _done = ca.operate(&["node", "ban", "node-1"]).ok();
    // A name that never joined can be banned too.
    let _done = ca.operate(&["node", "ban", "never-seen"]).ok();
    for node in ["node-1", "never-seen"] {
        assert_eq!(state(node).as_deref(), Some("banned"), "{node}");
        refused(&ca.operate(&["token", "create", "--node", node]), "NODE_BANNED");
        let _done = ca.operate(&["node", "unban", node]).ok();
        assert_ne!(state(node).as_deref(), Some("banned"), "{node}");
        assert_eq!(ca.create_token(node).token.len(), 32);
        refused(&ca.operate(&["node", "unban", node]), "NODE_NOT_FOUND");
    }
    refused(&ca.operate(&["node", "evict", "nobody"]), "NODE_NOT_FOUND");
}

/// What `node evict` says is so: a new token brings the node back, with the state directory that it has. The old one does not.
#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_node_comes_back_with_a_new_token_and_not_with_the_old_one() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    let _done = ca.operate(&["node", "evict", "node-1"]).ok();
    // It has the old token at hand still; that one is spent, and it is told what would help, and goes on running.
    eventually("the agent to be told that it is not known", async || {
        agent.readiness().await.1.contains("MUST_REATTEST").then_some(())
    })
    .await;
    assert!(agent.process.is_running());
    assert_eq!(ca.operate(&["node", "list"]).ok().json(), serde_json::json!([]), "the old token brought it back");
    // A new token in the same place is found without a restart.
    Agent::configure(&bed, &ca, "node-1", &ca.create_token("node-1"), AgentOptions::default());
    eventually("the node to be on record again", async || {
        let list = ca.operate(&["node", "list"]).ok().json();
        (list[0]["state"] == "attested" && list[0]["connected"] == true).then_some(())
    })
    .await;
    assert!(agent.process.is_running());
}

/// One changed byte in what was recorded: `audit verify` names the event. The untouched twin holds.
#[tokio::test(flavor = "multi_thread")]
async fn audit_verify_finds_the_event_that_was_edited() {
    let bed = TestBed::new();
    for name in ["sound", "edited"] {
        let config = Ca::configure(&bed, name, "127.0.0.1:0", &CaOptions::default());
        let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
        if name == "edited" {
            edit_caller_of_first_event(&bed.path().join("edited-state/store.db"));
        }
        let ca = Ca::run(bed.path(), name, "example.org").await;
        let verdict = ca.operate(&["audit", "verify"]);
        let document = verdict.json();
        if name == "sound" {
            assert_eq!(verdict.code, 0, "{}", verdict.stderr);
            assert_eq!(document["holds"], true, "{document}");
            continue;
        }
        assert_eq!(document["holds"], false, "{document}");
        assert_eq!(document["broken_at"], 1, "{document}");
        let error = error_of(&verdict, 1);
        assert!(error["why"].as_str().unwrap().contains("event 1 was edited"), "{error}");
    }
}

/// `signet ca init` wrote the first events and folded its write-ahead log into the file. There the text is changed in place, in
/// the records and in what the newest of them says, without SQLite's help.
fn edit_caller_of_first_event(store: &Path) {
    const CALLER: &[u8] = b"\"caller\":\"signet ca init\"";
    let mut bytes = std::fs::read(store).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(CALLER)).collect();
    assert!(!places.is_empty(), "the events of `ca init` are not in the file");
    for at in places {
        let last_letter = at + CALLER.len() - 2;
        bytes[last_letter] = b'T';
    }
    std::fs::write(store, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_code_is_the_documented_one_and_errors_are_documents_too() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let socket = ca.admin_socket();
    let socket = socket.to_str().unwrap();
    assert_eq!(Cli::run(&["status", "--socket", socket, "-o", "json"]).ok().json()["trust_domain"], "example.org");

    let absent = bed.path().join("absent.sock");
    let absent = absent.to_str().unwrap();
    for verb in [&["status"][..], &["agent", "status"], &["entry", "explain", "--pid", "1"], &["audit", "verify"]] {
        let error = error_of(&Cli::run(&[verb, &["--socket", absent, "-o", "json"]].concat()), 4);
        assert!(error["error"].as_str().unwrap().contains(absent), "{error}");
        assert!(error["try"].as_str().unwrap().contains("--socket"), "{error}");
        let told = Cli::run(&[verb, &["--socket", absent]].concat());
        assert_eq!(told.code, 4);
        assert!(told.stderr.starts_with("error: ") && told.stderr.contains("\n  try: "), "{}", told.stderr);
    }
    // The CA's socket, asked what only an agent knows.
    let error = error_of(&Cli::run(&["agent", "status", "--socket", socket, "-o", "json"]), 3);
    assert!(error["why"].as_str().unwrap().contains("another service's socket"), "{error}");

    let usage = error_of(&Cli::run(&["entry", "create", "--spiffe-id", "web", "-o", "json"]), 2);
    assert!(usage["error"].as_str().unwrap().contains("spiffe://"), "{usage}");
    let usage = error_of(&Cli::run(&["agent", "check", "--output=json"]), 2);
    assert!(usage["why"].as_str().unwrap().contains("trust_domain"), "{usage}");
    let failed = error_of(&Cli::run(&["ca", "check", "--config", absent, "-o", "json"]), 1);
    assert!(failed["why"].as_str().unwrap().contains(absent), "{failed}");
}

/// First contact under a bundle from a file. With another CA's root in it the token is not sent: the same token is good after.
#[tokio::test(flavor = "multi_thread")]
async fn first_contact_takes_a_trust_bundle_in_place_of_the_fingerprint() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let other = Ca::start_named(&bed, "other", CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let config = Agent::configure(&bed, &ca, "node-1", &token, AgentOptions::default());
    let pinned = std::fs::read_to_string(&config).unwrap();
    let line = format!("ca_fingerprint = \"{}\"", token.ca_fingerprint);
    assert!(pinned.contains(&line), "{pinned}");
    let trusting = |root: &Path| {
        let bundle = format!("trust_bundle = \"{}\"", root.display());
        std::fs::write(&config, pinned.replace(&line, &bundle)).unwrap();
    };

    trusting(&other.root_certificate());
    let mut agent = Agent::run(bed.path(), "node-1").await;
    eventually("the agent to refuse a CA that its bundle does not hold", async || {
        let (status, text) = agent.readiness().await;
        assert_ne!(status, 200, "it joined a CA that it does not trust");
        text.contains("no authority of the trust domain").then_some(())
    })
    .await;
    agent.process.stop().await;

    trusting(&ca.root_certificate());
    agent.start_again().await;
    agent.ready().await;
    assert_eq!(ca.operate(&["node", "list"]).ok().json()[0]["state"], "attested");
}
