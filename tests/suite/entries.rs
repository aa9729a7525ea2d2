//! Entries over their life: on aliases, with an end, changed, applied from documents, explained, deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use pki::Timestamp;
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Cli, CliOutput, TestBed, eventually, eventually_within, on_this_machine};

const WEB: &str = "spiffe://example.org/web";

/// Identities that the node's agent holds now.
fn held(agent: &Agent) -> BTreeSet<String> {
    let status = agent.operate(&["agent", "status"]).ok().json();
    let available = status["identities"].as_array().unwrap().iter().filter(|identity| identity["state"] == "available");
    available.map(|identity| identity["spiffe_id"].as_str().unwrap().to_owned()).collect()
}

async fn holds(agent: &Agent, identities: &[&str]) {
    eventually(&format!("{} to hold {identities:?}", agent.node), async || (held(agent) == set(identities)).then_some(())).await;
}

fn set(identities: &[&str]) -> BTreeSet<String> {
    identities.iter().map(|id| (*id).to_owned()).collect()
}

/// What a second is worth here now.
fn a_second(agent: &Agent) -> Duration {
    on_this_machine(Duration::from_secs(1), || drop(held(agent)))
}

async fn holds_within(agent: &Agent, identities: &[&str], second: Duration) {
    let what = format!("{} to hold {identities:?} within a second", agent.node);
    eventually_within(&what, second, async || (held(agent) == set(identities)).then_some(())).await;
}

#[track_caller]
fn refused(output: &CliOutput, code: i32, word: &str) {
    assert_eq!(output.code, code, "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains(word), "{word} is missing in {}", output.stderr);
}

/// RFC 3339, as documents have it: texts of times compare as the times do.
fn seconds_ago(seconds: u64) -> String {
    Timestamp::from(SystemClock::shared().now()).minus(Duration::from_secs(seconds)).to_string()
}

/// Two nodes by one alias, a third has nothing; a member that goes loses it within a second, one that comes gets it.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_gives_its_members_an_entry_and_takes_it_back_within_a_second() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (one, two, three) =
        (Agent::start(&bed, &ca, "n1").await, Agent::start(&bed, &ca, "n2").await, Agent::start(&bed, &ca, "n3").await);
    let _made = ca.operate(&["node", "alias", "create", "fleet", "--node", "n1", "--node", "n2"]).ok();
    let id = ca.operate(&["entry", "create", "--alias", "fleet", "--spiffe-id", WEB, "--selector", "unix:uid:7"]).ok().json();
    let id = id["id"].as_str().unwrap();
    holds(&one, &[WEB]).await;
    holds(&two, &[WEB]).await;
    assert_eq!(held(&three), set(&[]));
    assert_eq!(ca.operate(&["entry", "list", "--node", "n1"]).ok().json()[0]["alias"], "fleet");
    assert_eq!(ca.operate(&["entry", "list", "--node", "n3"]).ok().json(), serde_json::json!([]));

    let second = a_second(&one);
    let _done = ca.operate(&["node", "alias", "remove", "fleet", "--node", "n1"]).ok();
    holds_within(&one, &[], second).await;
    let _done = ca.operate(&["node", "alias", "add", "fleet", "--node", "n3"]).ok();
    holds(&three, &[WEB]).await;
    assert_eq!(held(&two), set(&[WEB]));
    let listed = ca.operate(&["node", "alias", "list"]).ok().json();
    assert_eq!((&listed[0]["nodes"], &listed[0]["entries"]), (&serde_json::json!(["n2", "n3"]), &serde_json::json!(1)));

    refused(&ca.operate(&["node", "alias", "delete", "fleet"]), 3, "NODE_ALIAS_IN_USE");
    assert_eq!(held(&two), set(&[WEB]));
    let second = a_second(&two);
    let deleted = ca.operate(&["node", "alias", "delete", "fleet", "--with-entries"]).ok().json();
    assert_eq!(deleted["entries_deleted"], serde_json::json!([id]));
    holds_within(&two, &[], second).await;
    refused(&ca.operate(&["node", "alias", "delete", "fleet"]), 3, "NODE_ALIAS_NOT_FOUND");
}

/// An entry ends while all runs, and another one while the CA is gone; what has no end stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_ends_on_time_also_while_the_ca_is_away() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "n1").await;
    let lasting = "spiffe://example.org/lasting";
    ca.create_entry(lasting, &["unix:uid:7"], "n1");
    // Held first, and given its end then: a slow machine must not see the end before the beginning.
    let end_soon = async |entry: &str, span: &str| {
        let end = ca.operate(&["entry", "update", entry, "--expires", span]).ok().json()["expires_at"].clone();
        eventually("the agent to know the end", async || {
            let explained = agent.operate(&["entry", "explain", "--selector", "unix:uid:7"]).ok().json();
            let known = [&explained["matched"], &explained["ended"]].into_iter().flat_map(|list| list.as_array().unwrap());
            known.into_iter().any(|known| known["id"] == entry && known["expires_at"] == end).then_some(())
        })
        .await;
        end.as_str().unwrap().to_owned()
    };
    let entry = ca.create_entry(WEB, &["unix:uid:7"], "n1");
    holds(&agent, &[lasting, WEB]).await;
    let end = end_soon(&entry, "8s").await;
    holds(&agent, &[lasting]).await;
    assert!(seconds_ago(0) >= end, "it went before {end}");
    let shown = ca.operate(&["entry", "show", &entry]).ok().json();
    assert_eq!((&shown["expired"], &shown["expires_at"]), (&Value::Bool(true), &Value::from(end)));
    let list = Cli::run(&["entry", "list", "--socket", ca.admin_socket().to_str().unwrap()]).ok().stdout;
    assert!(list.contains("expired 20"), "{list}");

    let later = "spiffe://example.org/later";
    let entry = ca.create_entry(later, &["unix:uid:7"], "n1");
    holds(&agent, &[lasting, later]).await;
    let end = end_soon(&entry, "8s").await;
    ca.kill_hard().await;
    let late = on_this_machine(Duration::from_secs(5), || drop(held(&agent))).as_secs();
    holds(&agent, &[lasting]).await;
    assert!(seconds_ago(0) >= end, "it went before {end}");
    assert!(seconds_ago(late) <= end, "it went long after {end}");
    refused(&ca.operate(&["entry", "list"]), 4, "nobody listens");
}

/// Shown, then done as shown; what is not named goes only when told; a change in between is refused, not overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_applied_as_it_was_shown_or_not_at_all() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let old = ca.create_entry("spiffe://example.org/old", &["unix:uid:1"], "n1");
    let web = ca.create_entry(WEB, &["unix:uid:2"], "n1");
    let elsewhere = ca.create_entry(WEB, &["unix:uid:2"], "n2");
    let document = "scope: { node: n1 }\nentries:\n- spiffe_id: spiffe://example.org/web\n  selectors: [unix:uid:2]\n  ttl: 30m\n  \
                    hint: internal\n- spiffe_id: spiffe://example.org/new\n  selectors: [unix:uid:3]\n";
    let file = bed.write("entries.yaml", document);
    let file = file.to_str().unwrap();
    let apply = |further: &[&str]| ca.operate(&[&["entry", "apply", file], further].concat());
    let ids = || {
        let list = ca.operate(&["entry", "list"]).ok().json();
        let mut ids: Vec<_> = list.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let before = ids();
    let counts = |plan: &Value| ["created", "updated", "deleted", "kept", "unchanged"].map(|key| plan[key].as_u64().unwrap());

    let dry = apply(&["--dry-run"]).ok().json();
    assert_eq!((counts(&dry), &dry["applied"]), ([1, 1, 0, 1, 0], &Value::Bool(false)));
    let updated = dry["changes"].as_array().unwrap().iter().find(|change| change["change"] == "updated").unwrap();
    assert_eq!(updated["fields"], serde_json::json!(["hint", "ttl_seconds"]));
    assert_eq!((&updated["before"]["id"], &updated["after"]["ttl_seconds"]), (&Value::from(web.as_str()), &Value::from(1800)));
    let shown = apply(&["--dry-run", "--prune"]).ok().json();
    assert_eq!(counts(&shown), [1, 1, 1, 0, 0]);
    refused(&apply(&["--dry-run", "--exit-code"]), 1, "not as the document says");
    assert_eq!(ids(), before, "a dry run changed something");

    // Somebody comes in between.
    let version = shown["version"].as_str().unwrap();
    let meanwhile = ca.create_entry("spiffe://example.org/meanwhile", &["unix:uid:4"], "n1");
    refused(&apply(&["--prune", "--expect", version]), 3, "ENTRIES_CHANGED");
    assert!(ids().contains(&old) && ids().contains(&meanwhile));

    // Without being told, nothing is deleted.
    assert_eq!(counts(&apply(&[]).ok().json()), [1, 1, 0, 2, 0]);
    assert!(ids().contains(&old) && ids().contains(&meanwhile));
    let anew = apply(&["--dry-run", "--prune"]).ok().json();
    let done = apply(&["--prune", "--expect", anew["version"].as_str().unwrap()]).ok().json();
    assert_eq!((counts(&done), &done["applied"]), ([0, 0, 2, 0, 2], &Value::Bool(true)));
    assert!(ids().contains(&web) && ids().contains(&elsewhere) && ids().len() == 3);
    assert_eq!(counts(&apply(&["--prune", "--dry-run", "--exit-code"]).ok().json()), [0, 0, 0, 0, 2]);

    // What is exported says the same, as YAML and as JSON.
    let socket = ca.admin_socket();
    let yaml = Cli::run(&["entry", "export", "--node", "n1", "--socket", socket.to_str().unwrap()]).ok().stdout;
    let json = ca.operate(&["entry", "export", "--node", "n1"]).ok().stdout;
    for text in [yaml, json] {
        bed.write("entries.yaml", &text);
        assert_eq!(counts(&apply(&["--prune", "--dry-run"]).ok().json()), [0, 0, 0, 0, 2], "{text}");
    }
    for (fault, code, word) in [
        ("scope: { node: n1 }\nentries:\n- spiffe_id: spiffe://example.org/web\n  selector: [unix:uid:2]\n", 1, "line 4"),
        ("entries: []\n", 1, "scope"),
        ("scope: {}\nentries: []\n", 3, "DOCUMENT_INVALID"),
        ("scope: { node: n2 }\nentries:\n- { spiffe_id: 'spiffe://other.org/x', selectors: ['unix:uid:2'] }\n", 3, "entry 1"),
    ] {
        bed.write("entries.yaml", fault);
        refused(&apply(&["--prune"]), code, word);
    }
    assert_eq!(ids().len(), 3);
}

/// The answer to a deletion names the end of what was issued, which is what the agent still holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_says_until_when_certificates_stay_valid() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "n1").await;
    let entry = ca.create_entry(WEB, &["unix:uid:7"], "n1");
    holds(&agent, &[WEB]).await;
    let status = agent.operate(&["agent", "status"]).ok().json();
    let deleted = ca.operate(&["entry", "delete", &entry]).ok().json();
    assert_eq!((&deleted["deleted"], &deleted["certificates_valid"]), (&Value::from(entry.as_str()), &Value::from(1)));
    assert_eq!(deleted["certificates_valid_until"], status["identities"][0]["expires_at"]);
    let unused = ca.create_entry(WEB, &["unix:uid:7"], "n2");
    let told = Cli::run(&["entry", "delete", &unused, "--socket", ca.admin_socket().to_str().unwrap()]).ok().stdout;
    assert!(told.contains("no certificate issued for it is valid"), "{told}");
}

/// A process that is only described, and entries that are only thought of: nothing of either is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_of_described_processes_and_edited_entries_and_changes_nothing() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "n1").await;
    let entry = ca.create_entry(WEB, &["unix:uid:7", "unix:path:/usr/bin/web"], "n1");
    holds(&agent, &[WEB]).await;
    let explain = |further: &[&str]| agent.operate(&[&["entry", "explain"], further].concat()).ok().json();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry["spiffe_id"].as_str().unwrap().to_owned()).collect()
    };

    let whole = explain(&["--selector", "unix:uid:7", "--selector", "unix:path:/usr/bin/web"]);
    assert_eq!((ids(&whole["matched"]), &whole["pid"], &whole["after"]), (vec![WEB.to_owned()], &Value::Null, &Value::Null));
    let part = explain(&["--selector", "unix:uid:7"]);
    assert_eq!(ids(&part["matched"]), [""; 0]);
    assert_eq!(part["nearest_miss"]["missing"], serde_json::json!(["unix:path:/usr/bin/web"]));

    let removal = format!("{entry}=unix:path:/usr/bin/web");
    let edited = explain(&["--selector", "unix:uid:7", "--remove-selector", &removal]);
    assert_eq!((ids(&edited["matched"]), ids(&edited["after"]["matched"])), (vec![], vec![WEB.to_owned()]));
    let file = bed.write(
        "thought.yaml",
        "entries:\n- { spiffe_id: 'spiffe://example.org/new', node: n1, selectors: ['unix:uid:7'] }\n\
         - { spiffe_id: 'spiffe://example.org/other', node: n2, selectors: ['unix:uid:7'] }\n",
    );
    let thought = explain(&["--selector", "unix:uid:7", "--with-entry", file.to_str().unwrap()]);
    assert_eq!(ids(&thought["after"]["matched"]), ["spiffe://example.org/new"]);
    assert!(thought["notes"][0].as_str().unwrap().contains("node n2"), "{thought}");
    // A live process beside: this one, which has neither.
    let own = explain(&["--pid", &std::process::id().to_string(), "--add-selector", &format!("{entry}=unix:gid:9")]);
    assert_eq!((ids(&own["matched"]), ids(&own["after"]["matched"])), (vec![], vec![]));
    assert_eq!(own["after"]["nearest_miss"]["missing"].as_array().map(Vec::len), Some(3), "{own}");
    refused(&agent.operate(&["entry", "explain", "--selector", "unix:uid:7", "--add-selector", "x=unix:uid:1"]), 3, "no entry x");

    assert_eq!(held(&agent), set(&[WEB]));
    assert_eq!(ids(&explain(&["--selector", "unix:uid:7"])["matched"]), [""; 0]);
    assert_eq!(ca.operate(&["entry", "list"]).ok().json().as_array().map(Vec::len), Some(1));
}

/// An entry is changed under its id, over the revision that was seen; one for a node that nobody knows says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_changed_in_place_and_one_for_an_unknown_node_says_so() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let create = ["entry", "create", "--spiffe-id", WEB, "--node", "n1", "--selector", "unix:uid:7", "--hint", "internal"];
    let made = ca.operate(&create).ok().json();
    assert!(made["note"].as_str().unwrap().contains("signet token create --node n1"), "{made}");
    assert_eq!((&made["hint"], &made["revision"], &made["expires_at"]), (&"internal".into(), &1.into(), &Value::Null));
    let id = made["id"].as_str().unwrap();
    let update = |further: &[&str]| ca.operate(&[&["entry", "update", id], further].concat());
    let changed = update(&["--ttl", "30m", "--dns", "web.example.org", "--revision", "1"]).ok().json();
    assert_eq!((&changed["ttl_seconds"], &changed["revision"], &changed["hint"]), (&1800.into(), &2.into(), &"internal".into()));
    refused(&update(&["--ttl", "default", "--revision", "1"]), 3, "ENTRIES_CHANGED");
    let back = update(&["--ttl", "default", "--no-dns", "--hint", "", "--expires", "2099-01-01T00:00:00Z"]).ok().json();
    assert_eq!((&back["ttl_seconds"], &back["dns_names"], &back["hint"]), (&Value::Null, &serde_json::json!([]), &"".into()));
    assert_eq!(back["expires_at"], "2099-01-01T00:00:00Z");
    refused(&update(&["--expires", "2020-01-01T00:00:00Z"]), 3, "grant nothing");
    assert_eq!(update(&["--expires", "never"]).ok().json()["expires_at"], Value::Null);
    let events = ca.operate(&["audit", "tail"]).ok().json();
    let updates = events.as_array().unwrap().iter().filter(|event| event["kind"] == "entry_updated");
    let ttls: Vec<_> =
        updates.map(|event| (&event["body"]["before"]["ttl_seconds"], &event["body"]["after"]["ttl_seconds"])).collect();
    assert_eq!(ttls[..2], [(&Value::Null, &Value::from(1800)), (&Value::from(1800), &Value::Null)]);

    let _agent = Agent::start(&bed, &ca, "n2").await;
    let known = ["entry", "create", "--spiffe-id", WEB, "--node", "n2", "--selector", "unix:uid:7"];
    assert_eq!(ca.operate(&known).ok().json().get("note"), None);
    refused(
        &ca.operate(&["entry", "create", "--spiffe-id", WEB, "--alias", "nobody", "--selector", "unix:uid:7"]),
        3,
        "NODE_ALIAS_NOT_FOUND",
    );
}
