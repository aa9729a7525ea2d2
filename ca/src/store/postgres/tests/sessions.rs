//! Sessions that end: what was not answered is not taken for written, and the store goes on by itself.

use std::time::Duration;

use super::*;
use crate::store::sql::columns::run;
use crate::store::sql::writer::Unit;
use crate::store::{EntryStore, FaultKind, IssuanceStore, StoreHealth, StoreState};

/// How often a fault of the server was met.
fn faults(store: &PostgresStore) -> u64 {
    store.faults().into_iter().filter(|(kind, _)| *kind == FaultKind::Server).map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_session_that_ended_while_nobody_wrote_or_read_costs_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    assert!(fixture.database.end_sessions() >= 6, "the writer, the readers, what listens");
    fixture.store.persist(intent(2)).await.unwrap();
    assert_eq!((fixture.events().await.len(), faults(&fixture.store)), (2, 0));
}

#[tokio::test]
async fn a_session_that_ends_within_a_group_undoes_it_and_the_store_takes_the_next() {
    let Some(fixture) = Fixture::new() else { return };
    let cut = fixture.store.writer.write(|unit| {
        run(unit.connection(), "INSERT INTO aliases (name, created_at) VALUES ('half', 1)", ())?;
        let ended = run(unit.connection(), "SELECT pg_terminate_backend(pg_backend_pid())", ());
        assert!(ended.is_err());
        // However it ends by its own account.
        Ok::<_, StoreError>(())
    });
    assert!(matches!(cut.await, Err(StoreError::Unavailable(_))));
    fixture.store.recover().await;
    assert_eq!(*fixture.store.state().borrow(), StoreState::Well);
    assert_eq!((fixture.rows("SELECT count(*) AS rows FROM aliases"), faults(&fixture.store)), (0, 1));
    fixture.store.persist(intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_write_that_passes_over_a_failure_of_the_server_fails_its_group_whatever_it_says() {
    let Some(fixture) = Fixture::new() else { return };
    let fails = |unit: &mut Unit<'_>| run(unit.connection(), "INSERT INTO aliases (name, created_at) VALUES (NULL, 1)", ());
    let passed_over = fixture.store.writer.write_checked(move |unit| {
        assert!(fails(unit).is_err());
        Ok::<_, StoreError>(())
    });
    let told = fixture.store.writer.write_checked(move |unit| fails(unit).map(drop));
    for refused in [passed_over.await, told.await] {
        let Err(StoreError::Unavailable(refused)) = refused else { panic!("{refused:?}") };
        assert!(refused.contains("passed over a failure"), "{refused}");
        fixture.store.recover().await;
        assert_eq!(*fixture.store.state().borrow(), StoreState::Well, "the next may try");
    }
    fixture.store.persist(intent(1)).await.unwrap();
}

/// The server ends the session within the commit itself.
const ENDING: &str = "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER ending AFTER INSERT ON issuance DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION end_session()";

#[tokio::test]
async fn a_commit_that_is_not_answered_is_no_success_and_everything_is_looked_at_anew() {
    let Some(fixture) = Fixture::new() else { return };
    let before = fixture.store.node_entries(node("n1")).await.unwrap();
    fixture.tamper(ENDING);
    let mut changes = fixture.store.changes();
    let refused = fixture.store.persist(intent(1)).await.unwrap_err().to_string();
    assert!(refused.contains("nothing is signed"), "{refused}");
    fixture.tamper("DROP TRIGGER ending ON issuance");
    fixture.store.recover().await;
    assert_eq!(*fixture.store.state().borrow(), StoreState::Well);
    let told = std::iter::from_fn(|| changes.try_recv().ok()).any(|change| change == crate::store::Change::Unknown);
    assert!(told, "whoever pushes looks again");
    assert!(fixture.store.issued(serial(1)).await.unwrap().is_none(), "here it was not done; it might have been");
    assert_eq!(before.entries().len(), fixture.store.node_entries(node("n1")).await.unwrap().entries().len());
    fixture.store.persist(intent(1)).await.unwrap();
}

#[tokio::test]
async fn a_group_that_the_server_has_given_up_is_not_taken_for_committed() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    // What is read behind the writes of a group fails, which no write answers for; the COMMIT after it has no error.
    fixture.tamper("ALTER TABLE entries_generation RENAME TO hidden");
    let refused = fixture.store.persist(intent(2)).await.unwrap_err().to_string();
    assert!(refused.contains("gave the transaction up"), "{refused}");
    fixture.tamper("ALTER TABLE hidden RENAME TO entries_generation");
    fixture.store.recover().await;
    assert_eq!(*fixture.store.state().borrow(), StoreState::Well);
    assert!(fixture.store.issued(serial(2)).await.unwrap().is_none());
    fixture.store.persist(intent(2)).await.unwrap();
    assert!(fixture.store.issued(serial(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_that_went_another_way_ends_the_store_however_long_it_is() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    // As a standby that was promoted without the last commit, and has taken others since.
    let (first, second) = ("aa".repeat(32), "bb".repeat(32));
    fixture.tamper(&format!(
        "UPDATE audit SET hash = x'{first}' WHERE sequence = 1;
         INSERT INTO audit SELECT 2, time, kind, body, hash, x'{second}' FROM audit WHERE sequence = 1;
         UPDATE audit_head SET sequence = 2, hash = x'{second}'"
    ));
    assert!(fixture.database.end_sessions() > 0);
    fixture.store.persist(intent(3)).await.unwrap_err();
    let state = fixture.store.state().borrow().clone();
    assert!(matches!(&state, StoreState::Ended(cause) if cause.contains("audit event 1 was the last")), "{state:?}");
}

#[tokio::test]
async fn a_schema_that_a_later_build_made_meanwhile_ends_the_store() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    fixture.tamper("INSERT INTO schema_version (version) VALUES (99)");
    assert!(fixture.database.end_sessions() > 0);
    fixture.store.persist(intent(2)).await.unwrap_err();
    let state = fixture.store.state().borrow().clone();
    assert!(matches!(&state, StoreState::Ended(cause) if cause.contains("schema version 99")), "{state:?}");
}

#[tokio::test]
async fn a_schema_that_a_later_build_made_under_open_sessions_ends_the_store_too() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    fixture.tamper("INSERT INTO schema_version (version) VALUES (99)");
    let mut state = fixture.store.state();
    let ended = state.wait_for(|state| matches!(state, StoreState::Ended(cause) if cause.contains("schema version 99")));
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it looks when all is quiet").unwrap();
    fixture.store.persist(intent(2)).await.unwrap_err();
}

#[tokio::test]
async fn a_database_that_lost_what_it_had_confirmed_ends_the_store() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.store.persist(intent(1)).await.unwrap();
    fixture.store.persist(intent(2)).await.unwrap();
    // As a standby that lagged behind, and was promoted.
    fixture.tamper("DELETE FROM audit WHERE sequence = 2; UPDATE audit_head SET sequence = 1, hash = (SELECT hash FROM audit)");
    assert!(fixture.database.end_sessions() > 0);
    fixture.store.persist(intent(3)).await.unwrap_err();
    let state = fixture.store.state().borrow().clone();
    assert!(matches!(&state, StoreState::Ended(cause) if cause.contains("audit event 2 was the last")), "{state:?}");
    fixture.store.recover().await;
    assert_eq!(*fixture.store.state().borrow(), state, "for good");
}

#[tokio::test]
async fn while_the_server_is_gone_nothing_is_recorded_and_when_it_is_back_the_store_is_too() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let database = server.new_database();
    let store = PostgresStore::open(config(&database), own()).unwrap();
    store.persist(intent(1)).await.unwrap();
    server.end();
    let refused = store.persist(intent(2)).await.unwrap_err().to_string();
    assert!(refused.contains("database server"), "{refused}");
    store.recover().await;
    assert!(matches!(&*store.state().borrow(), StoreState::Refusing(fault) if fault.kind == FaultKind::Server));
    assert!(matches!(store.issued(serial(1)).await, Err(StoreError::Unavailable(_))));
    server.run();
    store.recover().await;
    assert_eq!(*store.state().borrow(), StoreState::Well);
    store.persist(intent(2)).await.unwrap();
    assert!(store.issued(serial(1)).await.unwrap().is_some());
}
