//! Someone writes to the file behind the store's back.

use rusqlite::Connection;

use super::*;
use crate::audit::ChainFault;

async fn tampered(sql: &str) -> Option<ChainFault> {
    let fixture = Fixture::new();
    for number in 1..=5 {
        fixture.store.persist(intent(number)).await.unwrap();
    }
    let verdict = fixture.store.audit_verify().await.unwrap();
    assert_eq!((verdict.events, verdict.head.sequence, verdict.fault), (5, 5, None));
    let connection = Connection::open(fixture.path()).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    // Neither a restart nor further events cover it up.
    let fixture = fixture.reopened();
    fixture.store.persist(intent(6)).await.unwrap();
    let verdict = fixture.store.audit_verify().await.unwrap();
    verdict.fault
}

#[tokio::test]
async fn an_untouched_log_holds() {
    assert_eq!(tampered("SELECT 1").await, None);
}

#[tokio::test]
async fn an_edited_event_is_found() {
    for set in ["body = '{}'", "kind = 'x'", "time = time + 1", "hash = zeroblob(32)", "previous = zeroblob(32)"] {
        let fault = tampered(&format!("UPDATE audit SET {set} WHERE sequence = 3")).await;
        assert_eq!(fault, Some(ChainFault::Edited { sequence: 3 }), "{set}");
    }
}

#[tokio::test]
async fn a_deleted_event_is_found() {
    assert_eq!(tampered("DELETE FROM audit WHERE sequence = 3").await, Some(ChainFault::Gap { expected: 3, found: 4 }));
    assert_eq!(tampered("DELETE FROM audit WHERE sequence = 1").await, Some(ChainFault::Gap { expected: 1, found: 2 }));
}

#[tokio::test]
async fn swapped_events_are_found() {
    let swap = "UPDATE audit SET sequence = 100 WHERE sequence = 2; UPDATE audit SET sequence = 2 WHERE sequence = 3;
                UPDATE audit SET sequence = 3 WHERE sequence = 100;";
    assert_eq!(tampered(swap).await, Some(ChainFault::Moved { sequence: 2, origin: 3 }));
}

#[tokio::test]
async fn a_cut_tail_is_found_while_the_head_stands_also_after_further_events() {
    assert_eq!(tampered("DELETE FROM audit WHERE sequence > 3").await, Some(ChainFault::Gap { expected: 4, found: 6 }));
}

#[tokio::test]
async fn a_head_set_back_over_events_that_stand_leaves_no_way_to_go_on() {
    let fixture = Fixture::new();
    for number in 1..=5 {
        fixture.store.persist(intent(number)).await.unwrap();
    }
    let sql = "UPDATE audit_head SET sequence = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)";
    Connection::open(fixture.path()).unwrap().execute_batch(sql).unwrap();
    let fault = fixture.store.audit_verify().await.unwrap().fault;
    assert_eq!(fault, Some(ChainFault::BeyondHead { sequence: 4, head: 3 }));
    // The next event would overwrite one: refused, so nothing is issued.
    assert!(fixture.store.persist(intent(6)).await.is_err());
}
