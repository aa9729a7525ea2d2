//! Someone writes to the file behind the store's back.

use pki::checkpoint::{Checkpoint, CheckpointKey, NO_CHECKPOINT, SignedCheckpoint};
use pki::{KeyAlgorithm, PrivateKey};

use super::*;
use crate::audit::{AuditFinding, AuditRecord, AuditVerdict, ChainFault, ChainHead, ShownCheckpoint};
use crate::audit_walk::verify;
use crate::store::AuditReader;
use crate::store::sql::columns::run;

fn checkpoint_key() -> CheckpointKey {
    CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

/// As a column takes it.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

impl Fixture {
    async fn intend(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.store.persist(intent(number)).await.unwrap();
        }
    }

    /// Signs for the chain as it is.
    async fn checkpoint(&self, key: &CheckpointKey) -> SignedCheckpoint {
        let ChainHead { sequence, hash } = self.store.chain_head().await.unwrap();
        let previous = self.store.last_checkpoint().await.unwrap().map_or(NO_CHECKPOINT, |last| *last.content.unwrap().digest());
        let trust_domain = "example.org".parse().unwrap();
        let signed = key.sign(Checkpoint { trust_domain, sequence, head: hash, time: at(sequence), previous }).unwrap();
        self.store.record_checkpoint(signed.clone()).await.unwrap();
        signed
    }

    /// By the running store and from the file: both find the same.
    async fn verdict(&self, shown: &[&SignedCheckpoint], keys: &[&CheckpointKey]) -> AuditVerdict {
        let shown = || {
            let named = |(n, checkpoint): (usize, &&SignedCheckpoint)| ShownCheckpoint {
                source: format!("node-{n}"),
                checkpoint: SignedCheckpoint::clone(checkpoint),
            };
            shown.iter().enumerate().map(named).collect::<Vec<_>>()
        };
        let keys = || keys.iter().map(|key| key.id()).collect::<Vec<_>>();
        let online = verify(&self.store, shown(), keys(), |_, _| ()).await.unwrap();
        if let Some(file) = self.file() {
            let offline = verify(&file, shown(), keys(), |_, _| ()).await.unwrap();
            assert_eq!(online.findings, offline.findings);
        }
        online
    }

    async fn kinds_found(&self, shown: &[&SignedCheckpoint], keys: &[&CheckpointKey]) -> Vec<(&'static str, u64)> {
        let findings = self.verdict(shown, keys).await.findings;
        findings.iter().map(|finding| (finding.kind(), finding.sequence())).collect()
    }

    /// Computes every hash from `from` on anew, and the head, as one does who may write the whole file.
    async fn rebuild(&self, from: u64, edit: impl Fn(&mut AuditRecord)) {
        let events = self.events().await;
        let mut head = ChainHead::EMPTY;
        let mut changed = Vec::new();
        for mut event in events {
            if event.sequence >= from {
                edit(&mut event);
                event = head.next(event.time, event.kind.clone(), event.body.clone());
                changed.push(event.clone());
            }
            head = event.head();
        }
        self.by_hand(move |connection| {
            for event in changed {
                let change = "UPDATE audit SET body = ?2, previous = ?3, hash = ?4 WHERE sequence = ?1";
                run(connection, change, (count(event.sequence), &event.body, event.previous, event.hash)).unwrap();
            }
            run(connection, "UPDATE audit_head SET sequence = ?1, hash = ?2", (count(head.sequence), head.hash)).unwrap();
        });
    }
}

/// 32 bytes.
const ZEROS: &str = "x'0000000000000000000000000000000000000000000000000000000000000000'";

/// Five events, tampered with; neither a restart nor a further event covers it up.
async fn tampered(sql: &str) -> Option<Vec<AuditFinding>> {
    let fixture = Fixture::new()?;
    fixture.intend(1..=5).await;
    let verdict = fixture.verdict(&[], &[]).await;
    assert_eq!((verdict.events, verdict.head.sequence, verdict.findings.len()), (5, 5, 0));
    fixture.tamper(sql);
    let fixture = fixture.reopened();
    fixture.intend(6..=6).await;
    Some(fixture.verdict(&[], &[]).await.findings)
}

async fn assert_found(sql: &str, expected: &[AuditFinding]) {
    if let Some(found) = tampered(sql).await {
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn an_untouched_log_holds() {
    assert_found("SELECT 1", &[]).await;
}

#[tokio::test]
async fn an_edited_event_is_found() {
    for set in ["body = '{}'", "kind = 'other'", "time = time + 1", &format!("hash = {ZEROS}"), &format!("previous = {ZEROS}")] {
        let sql = format!("UPDATE audit SET {set} WHERE sequence = 3");
        assert_found(&sql, &[ChainFault::Edited { sequence: 3 }.into()]).await;
    }
}

#[tokio::test]
async fn a_removed_event_is_found() {
    assert_found("DELETE FROM audit WHERE sequence = 3", &[ChainFault::Gap { expected: 3, found: 4 }.into()]).await;
    assert_found("DELETE FROM audit WHERE sequence = 1", &[ChainFault::Gap { expected: 1, found: 2 }.into()]).await;
    let renumbered = "DELETE FROM audit WHERE sequence = 3; UPDATE audit SET sequence = sequence - 1 WHERE sequence > 3;
                      UPDATE audit_head SET sequence = 4;";
    assert_found(renumbered, &[ChainFault::Moved { sequence: 3, origin: 4 }.into()]).await;
}

#[tokio::test]
async fn reordered_events_are_found() {
    let swap = "UPDATE audit SET sequence = 100 WHERE sequence = 2; UPDATE audit SET sequence = 2 WHERE sequence = 3;
                UPDATE audit SET sequence = 3 WHERE sequence = 100;";
    assert_found(swap, &[ChainFault::Moved { sequence: 2, origin: 3 }.into()]).await;
}

/// The event put in is a perfect successor of the one before; the later ones make room.
#[tokio::test]
async fn an_inserted_event_is_found() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.intend(1..=5).await;
    let events = fixture.events().await;
    let put_in = events[2].head().next(events[2].time, "node_unbanned".to_owned(), "{\"node\":\"n9\"}".to_owned());
    fixture.tamper(
        "UPDATE audit SET sequence = sequence + 100 WHERE sequence > 3; UPDATE audit SET sequence = sequence - 99 WHERE sequence > 100;
         UPDATE audit_head SET sequence = 6;",
    );
    let sql = "INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let AuditRecord { sequence, time, kind, body, previous, hash } = put_in;
    let row = (count(sequence), count(time.unix_seconds()), kind, body, previous, hash);
    fixture.by_hand(move |connection| run(connection, sql, row).unwrap());
    assert_eq!(fixture.verdict(&[], &[]).await.findings, [ChainFault::Moved { sequence: 5, origin: 4 }.into()]);
}

#[tokio::test]
async fn a_cut_tail_is_found_while_the_head_stands_also_after_further_events() {
    assert_found("DELETE FROM audit WHERE sequence > 3", &[ChainFault::Gap { expected: 4, found: 6 }.into()]).await;
}

#[tokio::test]
async fn a_head_set_back_over_events_that_stand_leaves_no_way_to_go_on() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.intend(1..=5).await;
    fixture.tamper("UPDATE audit_head SET sequence = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)");
    assert_eq!(fixture.verdict(&[], &[]).await.findings, [ChainFault::BeyondHead { sequence: 4, head: 3 }.into()]);
    // The next event would overwrite one: refused, so nothing is issued.
    assert!(fixture.store.persist(intent(6)).await.is_err());
}

/// Cut with the head set back, the chain holds; the store's own checkpoint shows it, and where that went too an agent's.
#[tokio::test]
async fn a_tail_cut_together_with_the_head_is_found_by_checkpoints() {
    let (Some(fixture), key) = (Fixture::new(), checkpoint_key()) else { return };
    fixture.intend(1..=3).await;
    fixture.checkpoint(&key).await;
    fixture.intend(4..=5).await;
    let kept = fixture.checkpoint(&key).await;
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, []);
    fixture.tamper(
        "DELETE FROM audit WHERE sequence > 3;
         UPDATE audit_head SET sequence = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)",
    );
    assert_eq!(fixture.kinds_found(&[], &[]).await, [("ends_before_checkpoint", 5)]);
    fixture.tamper("DELETE FROM audit_checkpoints WHERE sequence > 3");
    assert_eq!(fixture.kinds_found(&[], &[&key]).await, [], "without what an agent keeps, nothing is left that shows it");
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("ends_before_checkpoint", 5)]);
    // Further events do not cover it up.
    fixture.intend(6..=9).await;
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("chain_rebuilt", 5)]);
}

/// The rebuilt chain holds by itself. Who re-signs nothing is found by the store's checkpoints; who takes those away, by an agent's.
#[tokio::test]
async fn a_wholly_rebuilt_chain_is_found_by_checkpoints() {
    let (Some(fixture), key) = (Fixture::new(), checkpoint_key()) else { return };
    fixture.intend(1..=3).await;
    fixture.checkpoint(&key).await;
    fixture.intend(4..=6).await;
    let kept = fixture.checkpoint(&key).await;
    fixture.rebuild(2, |_| ()).await;
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [], "what was rebuilt without a change is what it was");
    fixture.rebuild(2, |event| event.body = event.body.replace("n1", "n2")).await;
    assert_eq!(fixture.kinds_found(&[], &[]).await, [("chain_rebuilt", 3), ("chain_rebuilt", 6)]);
    fixture.tamper("DELETE FROM audit_checkpoints");
    assert_eq!(fixture.kinds_found(&[], &[&key]).await, []);
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("chain_rebuilt", 6)]);
}

/// The attacker has the checkpoint key too, and makes events, hashes, head and checkpoints anew.
#[tokio::test]
async fn a_chain_rebuilt_and_signed_anew_with_the_true_key_is_found_by_what_agents_keep() {
    let (Some(fixture), key) = (Fixture::new(), checkpoint_key()) else { return };
    fixture.intend(1..=3).await;
    fixture.checkpoint(&key).await;
    fixture.intend(4..=6).await;
    let kept = fixture.checkpoint(&key).await;
    fixture.rebuild(2, |event| event.body = event.body.replace("n1", "n2")).await;
    fixture.tamper("DELETE FROM audit_checkpoints");
    fixture.checkpoint(&key).await;
    assert_eq!(fixture.kinds_found(&[], &[&key]).await, [], "the store alone is consistent");
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("chain_rebuilt", 6)]);
    // The chain has grown past what the agent keeps.
    fixture.intend(7..=9).await;
    fixture.checkpoint(&key).await;
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("chain_rebuilt", 6)]);
}

/// An agent takes only what continues what it keeps, so its newest checkpoint speaks for all before it: checkpoints of a rebuilt past
/// have other digests, although the last event is the same.
#[tokio::test]
async fn checkpoints_made_anew_over_the_same_events_are_not_those_that_an_agent_keeps() {
    let (Some(fixture), key) = (Fixture::new(), checkpoint_key()) else { return };
    fixture.intend(1..=3).await;
    fixture.checkpoint(&key).await;
    fixture.intend(4..=6).await;
    let kept = fixture.checkpoint(&key).await;
    fixture.tamper("DELETE FROM audit_checkpoints");
    fixture.checkpoint(&key).await;
    assert_eq!(fixture.kinds_found(&[], &[&key]).await, []);
    assert_eq!(fixture.kinds_found(&[&kept], &[&key]).await, [("checkpoint_not_stored", 6)]);
}

#[tokio::test]
async fn a_checkpoint_that_was_edited_taken_out_or_made_with_another_key_is_found() {
    let (Some(fixture), key, other) = (Fixture::new(), checkpoint_key(), checkpoint_key()) else { return };
    for last in [2, 4, 6] {
        fixture.intend(last - 1..=last).await;
        fixture.checkpoint(&key).await;
    }
    assert_eq!(fixture.kinds_found(&[], &[&key]).await, []);
    assert_eq!(fixture.kinds_found(&[], &[&other]).await.len(), 3, "the auditor names the key");
    let verdict = fixture.verdict(&[], &[]).await;
    assert_eq!((verdict.checkpoints, verdict.covered, verdict.keys.len()), (3, Some((6, at(6))), 1));
    fixture.tamper("UPDATE audit_checkpoints SET time = time + 1 WHERE sequence = 4");
    // What was edited cannot be told to be the one before of the next.
    assert_eq!(fixture.kinds_found(&[], &[]).await, [("checkpoint_invalid", 4), ("checkpoints_unlinked", 6)]);
    fixture.tamper("DELETE FROM audit_checkpoints WHERE sequence = 4");
    assert_eq!(fixture.kinds_found(&[], &[]).await, [("checkpoints_unlinked", 6)]);
    fixture.intend(7..=7).await;
    fixture.checkpoint(&other).await;
    let found = fixture.kinds_found(&[], &[&key]).await;
    assert_eq!(found, [("checkpoints_unlinked", 6), ("checkpoint_of_another_key", 7)]);
}

/// More events and checkpoints than a page holds, with a fault behind the first page and rows put in between.
#[tokio::test]
async fn pages_do_not_hide_what_lies_at_their_borders() {
    let (Some(fixture), key) = (Fixture::new(), checkpoint_key()) else { return };
    let mut head = ChainHead::EMPTY;
    let mut events = Vec::new();
    for number in 1..=2_500_u64 {
        let event = head.next(at(number), "test".to_owned(), format!("{{\"n\":{number}}}"));
        head = event.head();
        events.push(event);
    }
    fixture.by_hand(move |connection| {
        connection.control("BEGIN").unwrap();
        for AuditRecord { sequence, time, kind, body, previous, hash } in events {
            let sql = "INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            run(connection, sql, (count(sequence), count(time.unix_seconds()), kind, body, previous, hash)).unwrap();
        }
        run(connection, "UPDATE audit_head SET sequence = ?1, hash = ?2", (count(head.sequence), head.hash)).unwrap();
        connection.control("COMMIT").unwrap();
    });
    let fixture = fixture.reopened();
    let kept = fixture.checkpoint(&key).await;
    let verdict = fixture.verdict(&[&kept], &[&key]).await;
    assert_eq!((verdict.events, verdict.findings_total, verdict.covered), (2_500, 0, Some((2_500, at(2_500)))));
    for sequence in [1_000, 1_001, 2_000, 2_001, 2_500] {
        fixture.tamper(&format!("UPDATE audit SET time = time + 1 WHERE sequence = {sequence}"));
        assert_eq!(fixture.kinds_found(&[&kept], &[]).await, [("event_edited", sequence)]);
        fixture.tamper(&format!("UPDATE audit SET time = time - 1 WHERE sequence = {sequence}"));
    }
    // Rows of nonsense by the thousand, over events that are there and over some that are not: each is found, some are told.
    fixture.tamper(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2400)
         INSERT INTO audit_checkpoints SELECT i, 'example.org', x'00', 0, x'00', x'00', x'00' FROM n",
    );
    let verdict = fixture.verdict(&[&kept], &[]).await;
    assert_eq!((verdict.findings_total, verdict.findings.len()), (2_400, crate::audit::MAX_FINDINGS));
}
