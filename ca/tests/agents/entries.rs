//! Entries that end, that hang on aliases, that change: what agents are told and what they are issued.

use std::time::Duration;

use proto::v1;
use tonic::Code;

use crate::test_agent::{SyncStream, TestAgent, hello, reason};
use crate::test_ca::{TRUST_DOMAIN, TestCa, eventually};

fn request(path: &str) -> v1::CreateEntryRequest {
    v1::CreateEntryRequest {
        spiffe_id: format!("spiffe://{TRUST_DOMAIN}{path}"),
        selectors: vec!["unix:uid:1000".to_owned()],
        ..v1::CreateEntryRequest::default()
    }
}

async fn create(ca: &TestCa, request: v1::CreateEntryRequest) -> v1::Entry {
    ca.operator().await.create_entry(request).await.unwrap().into_inner()
}

/// So many seconds from the CA's now.
fn in_seconds(ca: &TestCa, seconds: u64) -> prost_types::Timestamp {
    std::time::SystemTime::from(ca.clock_now().plus(Duration::from_secs(seconds))).into()
}

async fn stream_of(ca: &TestCa, agent: &TestAgent) -> (SyncStream, v1::SyncUpdate) {
    let mut stream = agent.connect(ca).await.sync(hello()).await.unwrap();
    stream.hello().await;
    let first = stream.update().await.unwrap();
    (stream, first)
}

/// The next update, which must come by itself.
async fn soon(stream: &mut SyncStream) -> v1::SyncUpdate {
    // The clock is looked at once a second.
    tokio::time::timeout(Duration::from_secs(30), stream.update()).await.expect("told without being asked").unwrap()
}

fn ids(entries: &[v1::Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}

async fn alias(ca: &TestCa, name: &str, nodes: &[&str]) {
    let nodes = nodes.iter().map(|&node| node.to_owned()).collect();
    ca.operator().await.create_node_alias(v1::CreateNodeAliasRequest { name: name.to_owned(), nodes }).await.unwrap();
}

async fn members(ca: &TestCa, name: &str, add: &[&str], remove: &[&str]) {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let change = v1::ChangeNodeAliasRequest { name: name.to_owned(), add: texts(add), remove: texts(remove) };
    ca.operator().await.change_node_alias(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_ends_is_withdrawn_by_the_clock_and_grants_nothing_from_then_on() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let expires_at = Some(in_seconds(&ca, 600));
    let ending = create(&ca, v1::CreateEntryRequest { parent_node: "n1".to_owned(), expires_at, ..request("/ending") }).await;
    let lasting = ca.entry("/lasting", "n1").await;
    let (mut stream, first) = stream_of(&ca, &agent).await;
    assert_eq!(ids(&first.upserted), [&ending.id, &lasting.id]);
    assert_eq!(first.upserted[0].expires_at, ending.expires_at);
    let connection = agent.connect(&ca).await;
    let svid = connection.issue(&ending.id).await.unwrap().unwrap();
    // The default is an hour; what hangs on the entry does not outlive it.
    assert_eq!(svid.leaf().not_after(), ca.clock_now().plus(Duration::from_secs(599)));

    ca.clock.advance(Duration::from_secs(600));
    assert_eq!(soon(&mut stream).await.removed, [ending.id.as_str()]);
    assert_eq!(connection.issue(&ending.id).await.unwrap().unwrap_err().reason, "ENTRY_NOT_FOUND");
    assert!(connection.issue(&lasting.id).await.unwrap().is_ok());
    let (_again, whole) = stream_of(&ca, &agent).await;
    assert_eq!(ids(&whole.upserted), [lasting.id.as_str()]);
    // The operator sees it still, until it is forgotten; an end that is later brings it back.
    let shown = ca.operator().await.get_entry(v1::GetEntryRequest { id: ending.id.clone() }).await.unwrap().into_inner();
    assert_eq!(shown, ending);
    let later = v1::UpdateEntryRequest { id: ending.id.clone(), never_expires: true, ..v1::UpdateEntryRequest::default() };
    ca.operator().await.update_entry(later).await.unwrap();
    assert!(connection.issue(&ending.id).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_forgotten_a_day_after_its_end_with_an_event() {
    let ca = TestCa::start().await;
    let expires_at = Some(in_seconds(&ca, 60));
    let ending = create(&ca, v1::CreateEntryRequest { parent_node: "n1".to_owned(), expires_at, ..request("/ending") }).await;
    let there = async || ca.operator().await.get_entry(v1::GetEntryRequest { id: ending.id.clone() }).await.is_ok();
    ca.clock.advance(Duration::from_secs(60 + 23 * 60 * 60));
    assert!(there().await);
    ca.clock.advance(Duration::from_secs(60 * 60));
    let forgotten = async {
        while there().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), forgotten).await.expect("looked for every ten seconds");
    assert!(ca.audit().await.contains(&format!("entry_expired{{\"actor\":\"ca\",\"dns_names\":[],\"entry\":\"{}\"", ending.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_an_alias_have_its_entry_and_changes_of_membership_are_told_at_once() {
    let ca = TestCa::start().await;
    let agents = [TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await, TestAgent::attest(&ca, "n3").await];
    alias(&ca, "web", &["n1", "n2"]).await;
    let shared = create(&ca, v1::CreateEntryRequest { parent_alias: "web".to_owned(), ..request("/shared") }).await;
    assert_eq!((shared.parent_node.as_str(), shared.parent_alias.as_str()), ("", "web"));
    let mut streams = Vec::new();
    for (agent, told) in agents.iter().zip([1, 1, 0]) {
        let (stream, first) = stream_of(&ca, agent).await;
        assert_eq!(first.upserted.len(), told);
        streams.push(stream);
    }
    let issued = async |agent: &TestAgent| agent.connect(&ca).await.issue(&shared.id).await.unwrap();
    let svid = issued(&agents[0]).await.unwrap();
    assert_eq!(svid.id().path(), "/shared");
    assert_eq!(issued(&agents[2]).await.unwrap_err().reason, "ENTRY_NOT_FOUND");

    members(&ca, "web", &["n3"], &["n1"]).await;
    assert_eq!(soon(&mut streams[0]).await.removed, [shared.id.as_str()]);
    let gained = soon(&mut streams[2]).await.upserted;
    assert_eq!((gained[0].parent_node.as_str(), gained[0].parent_alias.as_str()), ("n3", "web"));
    assert_eq!(issued(&agents[0]).await.unwrap_err().reason, "ENTRY_NOT_FOUND");
    assert!(issued(&agents[2]).await.is_ok());
    // The one that neither came nor went hears of the next thing that concerns it, and of nothing before.
    ca.entry("/own", "n2").await;
    let next = soon(&mut streams[1]).await;
    assert_eq!((next.sequence, next.upserted.len(), next.removed.len()), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_entry_is_told_under_its_id_and_a_deletion_says_until_when_certificates_live() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let (mut stream, _) = stream_of(&ca, &agent).await;
    let change = v1::UpdateEntryRequest {
        id: entry.id.clone(),
        expected_revision: 1,
        hint: Some("internal".to_owned()),
        ttl_seconds: Some(60),
        ..v1::UpdateEntryRequest::default()
    };
    ca.operator().await.update_entry(change.clone()).await.unwrap();
    let told = soon(&mut stream).await;
    assert_eq!((ids(&told.upserted), told.removed.len()), (vec![entry.id.as_str()], 0));
    assert_eq!((told.upserted[0].hint.as_str(), told.upserted[0].ttl_seconds, told.upserted[0].revision), ("internal", 60, 2));
    let stale = ca.operator().await.update_entry(change).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ENTRIES_CHANGED"));
    assert!(ca.audit().await.contains("entry_updated"));

    let svid = agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    let deleted = ca
        .operator()
        .await
        .delete_entry(v1::DeleteEntryRequest { id: entry.id, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let outstanding = deleted.outstanding.unwrap();
    let until = svid.leaf().not_after().unix_seconds();
    assert_eq!((outstanding.count, outstanding.until.unwrap().seconds), (1, i64::try_from(until).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_longer_than_a_message_comes_whole() {
    let ca = TestCa::start().await;
    let scope = Some(v1::EntryScope { parent_node: "n1".to_owned(), ..v1::EntryScope::default() });
    // Half a megabyte of selectors each: more than a client takes in one message.
    let wanted = |number: u32| {
        let selectors = (0..60).map(|part| format!("unix:path:/{number}/{part}/{}", "x".repeat(4000))).collect();
        let entry = v1::CreateEntryRequest { parent_node: "n1".to_owned(), selectors, ..request(&format!("/e{number}")) };
        v1::WantedEntry { id: String::new(), entry: Some(entry) }
    };
    let apply = v1::ApplyEntriesRequest { scope, entries: (0..25).map(wanted).collect(), ..v1::ApplyEntriesRequest::default() };
    let mut operator = ca.operator().await.max_decoding_message_size(64 * 1024 * 1024);
    operator.apply_entries(apply).await.unwrap();
    let mut pages = ca.operator().await.list_entries(v1::ListEntriesRequest::default()).await.unwrap().into_inner();
    let (mut entries, mut messages) = (0, 0);
    while let Some(page) = pages.message().await.unwrap() {
        entries += page.entries.len();
        messages += 1;
    }
    assert_eq!(entries, 25);
    assert!(messages > 1, "{messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_a_scope_or_beyond_it_changes_nothing() {
    let ca = TestCa::start().await;
    ca.entry("/web", "n1").await;
    let apply = async |scope: Option<v1::EntryScope>, node: &str| {
        let entry = v1::CreateEntryRequest { parent_node: node.to_owned(), ..request("/new") };
        let entries = vec![v1::WantedEntry { id: String::new(), entry: Some(entry) }];
        let request = v1::ApplyEntriesRequest { scope, entries, prune: true, ..v1::ApplyEntriesRequest::default() };
        ca.operator().await.apply_entries(request).await
    };
    let scope = |node: &str, path: &str, everything| {
        let (parent_node, path_prefix) = (node.to_owned(), path.to_owned());
        Some(v1::EntryScope { parent_node, path_prefix, everything, ..v1::EntryScope::default() })
    };
    for bad in [
        None,
        scope("", "", false),
        scope("n1", "", true),
        scope("", "x", false),
        scope("", "/x/", false),
        scope("n2", "", false),
    ] {
        let refused = apply(bad.clone(), "n1").await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "DOCUMENT_INVALID"), "{bad:?}");
    }
    assert!(!ca.audit().await.contains("entry_deleted"));
    let done = apply(scope("n1", "", false), "n1").await.unwrap().into_inner();
    assert_eq!(done.changes.len(), 2);
    eventually("the old entry is gone", async || ca.audit().await.contains("entry_deleted")).await;
}

/// Admitted, then waiting for a turn behind somebody whose record waits for the disk: what counts is whether the entry stands when the
/// certificate is made.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_ends_while_its_request_waits_for_a_turn_gives_nothing() {
    let ca = TestCa::start_with(|_| "[limits]\nissuance_concurrency = 1\n".to_owned()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let lasting = ca.entry("/lasting", "n1").await;
    let ending =
        v1::CreateEntryRequest { parent_node: "n1".to_owned(), expires_at: Some(in_seconds(&ca, 600)), ..request("/ending") };
    let ending = create(&ca, ending).await;
    let connections = [agent.connect(&ca).await, agent.connect(&ca).await];
    connections[0].issue(&lasting.id).await.unwrap().unwrap();
    connections[1].issue(&ending.id).await.unwrap().unwrap();

    let store = TestCa::store(ca.directory());
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = async |number: u32| {
        let line = format!("\nsignet_ca_issuance_waiting {number}\n");
        eventually("the queue", async || ca.http("/metrics").await.contains(&line)).await;
    };
    let (first, second, refused, ()) = tokio::join!(
        connections[0].issue(&lasting.id),
        connections[0].issue(&lasting.id),
        async {
            // One of the two has the turn, and its commit waits for the lock.
            waiting(1).await;
            connections[1].issue(&ending.id).await
        },
        async {
            waiting(2).await;
            ca.clock.advance(Duration::from_secs(601));
            store.execute_batch("COMMIT").unwrap();
        },
    );
    first.unwrap().unwrap();
    second.unwrap().unwrap();
    assert_eq!(refused.unwrap().unwrap_err().reason, "ENTRY_NOT_FOUND");
}
