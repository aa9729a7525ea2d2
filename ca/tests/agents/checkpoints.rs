//! Checkpoints of the audit chain, as agents are told of them and show them.

use identity::TrustDomain;
use pki::Timestamp;
use pki::checkpoint::{Checkpoint, CheckpointKey, SignedCheckpoint};
use proto::v1;

use crate::test_agent::{SyncStream, TestAgent, hello, key};
use crate::test_ca::{TestCa, eventually};

/// A checkpoint for each look, once a second, at which there are new events.
const EAGER: &str = "[audit]\ncheckpoint_events = 1\n";

fn hello_with(kept: Option<v1::AuditCheckpoint>) -> v1::Hello {
    v1::Hello { features: vec!["audit-checkpoints".to_owned()], audit_checkpoint: kept, ..hello() }
}

async fn stream(ca: &TestCa, agent: &TestAgent, kept: Option<v1::AuditCheckpoint>) -> SyncStream {
    let mut stream = agent.connect(ca).await.sync(hello_with(kept)).await.unwrap();
    stream.hello().await;
    stream.update().await.unwrap();
    stream
}

fn signed(message: &v1::AuditCheckpoint) -> SignedCheckpoint {
    let v1::AuditCheckpoint { trust_domain, sequence, head, time, previous, public_key, signature } = message.clone();
    let checkpoint = Checkpoint {
        trust_domain: TrustDomain::parse(&trust_domain).unwrap(),
        sequence,
        head: head.try_into().unwrap(),
        time: Timestamp::from_unix_seconds(u64::try_from(time.unwrap().seconds).unwrap()),
        previous: previous.try_into().unwrap(),
    };
    SignedCheckpoint::verified(checkpoint, &public_key, signature).unwrap()
}

/// Waits until the CA has a checkpoint over this event or a later one.
async fn covered(ca: &TestCa, sequence: u64) -> v1::AuditCheckpoint {
    eventually("a checkpoint", async || {
        ca.status().await.audit_checkpoint.is_some_and(|checkpoint| checkpoint.sequence >= sequence)
    })
    .await;
    ca.status().await.audit_checkpoint.unwrap()
}

fn not_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

async fn last_event(ca: &TestCa) -> u64 {
    let request = v1::TailAuditRequest { lines: 1, follow: false };
    ca.operator().await.tail_audit(request).await.unwrap().into_inner().message().await.unwrap().unwrap().sequence
}

async fn verdict(ca: &TestCa, shown: &v1::AuditCheckpoint) -> Vec<String> {
    let shown = vec![v1::ShownCheckpoint { source: "n1".to_owned(), checkpoint: Some(shown.clone()) }];
    let mut answer = ca.operator().await.verify_audit(v1::VerifyAuditRequest { shown, keys: vec![] }).await.unwrap().into_inner();
    loop {
        if let Some(verdict) = answer.message().await.unwrap().expect("a verdict comes").verdict {
            return verdict.findings.into_iter().map(|finding| finding.kind).collect();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_the_newest_then_each_further_one_and_after_an_absence_those_it_missed() {
    let ca = TestCa::start_with(|_| EAGER.to_owned()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    covered(&ca, last_event(&ca).await).await;
    let mut open = stream(&ca, &agent, None).await;
    let [first]: [_; 1] = open.checkpoints().await.unwrap().try_into().unwrap();
    assert_eq!(first.trust_domain, "example.org");
    ca.token("other").await;
    let [second]: [_; 1] = open.checkpoints().await.unwrap().try_into().unwrap();
    assert_eq!(signed(&second).checkpoint().previous, *signed(&first).digest());
    drop(open);
    for node in ["a", "b"] {
        ca.token(node).await;
        covered(&ca, last_event(&ca).await).await;
    }
    let mut again = stream(&ca, &agent, Some(first.clone())).await;
    let mut missed = again.checkpoints().await.unwrap();
    assert!(missed.len() >= 3 && missed[0] == second, "{missed:?}");
    missed.insert(0, first);
    assert!(missed.windows(2).all(|pair| signed(&pair[1]).checkpoint().previous == *signed(&pair[0]).digest()));
    assert_eq!(ca.status().await.audit_key, data_encoding::HEXLOWER.encode(&signed(&second).key_id()));
    assert_eq!(ca.status().await.warnings, Vec::<String>::new());
    assert_eq!(verdict(&ca, &second).await, Vec::<String>::new());
}

/// The state directory is put back as it was before the last events: what the agent shows raises the alarm, no checkpoint is made, and
/// certificates still are, until the operator has looked into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_a_backup_is_found_by_what_an_agent_keeps() {
    let ca = TestCa::start_with(|_| EAGER.to_owned()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    covered(&ca, last_event(&ca).await).await;
    let (directory, clock) = ca.stop().await;
    let (store, backup) = (directory.path().join("ca/store.db"), directory.path().join("backup.db"));
    let whole = TestCa::store(directory.path());
    whole.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())).unwrap();
    drop(whole);
    std::fs::copy(&store, &backup).unwrap();

    let ca = TestCa::over_with(EAGER, directory, clock).await;
    ca.token("lost").await;
    let kept = covered(&ca, last_event(&ca).await).await;
    assert_eq!(verdict(&ca, &kept).await, Vec::<String>::new());
    let (directory, clock) = ca.stop().await;
    std::fs::copy(&backup, &store).unwrap();
    // Else SQLite would bring back from it what was lost.
    for beside in ["ca/store.db-wal", "ca/store.db-shm"] {
        std::fs::remove_file(directory.path().join(beside)).or_else(not_there).unwrap();
    }

    let ca = TestCa::over_with(EAGER, directory, clock).await;
    let before = covered(&ca, last_event(&ca).await).await;
    assert_ne!(signed(&before).digest(), signed(&kept).digest());
    let mut open = stream(&ca, &agent, Some(kept.clone())).await;
    let status = ca.status().await;
    assert!(status.ready);
    let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
    assert!(warning.contains("n1") && warning.contains("backup"), "{warning}");
    assert!(ca.audit().await.contains("audit_fork_found"));
    let metrics = ca.http("/metrics").await;
    assert!(
        metrics.contains("signet_ca_audit_forks 1\n") && metrics.contains("audit_alarms_total{kind=\"fork\"} 1\n"),
        "{metrics}"
    );
    // The agent is told what this CA has, so that it sees the contradiction by itself.
    let told = open.checkpoints().await.unwrap();
    assert!(told.iter().all(|told| told.previous != signed(&kept).digest().to_vec()), "{told:?}");
    agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    let found = verdict(&ca, &kept).await;
    assert!(found == ["chain_rebuilt"] || found == ["ends_before_checkpoint"], "{found:?}");

    // Those that were made before the agent came are all there are.
    let held_back = ca.status().await.audit_checkpoint.unwrap().sequence;
    let looks_at = last_event(&ca).await;
    assert!(held_back < looks_at);
    let answer = ca.operator().await.acknowledge_fork(v1::AcknowledgeForkRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.acknowledged, 1);
    covered(&ca, looks_at).await;
    assert_eq!(ca.status().await.warnings, Vec::<String>::new());
    assert!(ca.audit().await.contains("audit_fork_acknowledged{\"actor\":\"operator\""));
    assert!(ca.operator().await.acknowledge_fork(v1::AcknowledgeForkRequest {}).await.is_err());
}

/// Whoever may speak as an agent can show nonsense; it is told, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_somebody_else_raises_a_warning_and_stops_nothing() {
    let ca = TestCa::start_with(|_| EAGER.to_owned()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let newest = covered(&ca, last_event(&ca).await).await;
    let forged = CheckpointKey::new(key()).unwrap();
    let forged = forged.sign(signed(&newest).checkpoint().clone()).unwrap();
    let forged = v1::AuditCheckpoint {
        public_key: forged.public_key().spki_der().to_vec(),
        signature: forged.signature().to_vec(),
        ..newest.clone()
    };
    for (shown, words) in [(forged, "under the key"), (v1::AuditCheckpoint { sequence: 99, ..newest }, "does not count")] {
        let _open = stream(&ca, &agent, Some(shown)).await;
        let warnings = ca.status().await.warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(words), "{warnings:?}");
    }
    assert!(!ca.audit().await.contains("audit_fork_found"));
    ca.token("other").await;
    covered(&ca, last_event(&ca).await).await;
}

/// An agent of an earlier build is sent nothing that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_know_checkpoints_is_sent_none() {
    let ca = TestCa::start_with(|_| EAGER.to_owned()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    covered(&ca, last_event(&ca).await).await;
    let mut open = agent.connect(&ca).await.sync(hello()).await.unwrap();
    open.hello().await;
    open.update().await.unwrap();
    covered(&ca, last_event(&ca).await).await;
    ca.entry("/web", "n1").await;
    covered(&ca, last_event(&ca).await).await;
    assert_eq!(open.update().await.unwrap().upserted.len(), 1, "the next message is the update");
}
