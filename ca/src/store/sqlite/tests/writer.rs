//! The writer of a file: groups, what is undone alone, faults and their end.

use std::sync::mpsc as blocking;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use pki::Timestamp;
use rusqlite::Connection;

use crate::audit::{AuditEvent, ChainHead};
use crate::store::sql::audit;
use crate::store::sql::columns::{first, run};
use crate::store::sql::writer::{Unit, Writer};
use crate::store::sqlite::committer::MERGE_FROM;
use crate::store::sqlite::{open, recovery, start_writer};
use crate::store::{Change, StoreError, StoreState};

struct Fixture {
    writer: Writer,
    _directory: tempfile::TempDir,
}

fn writer() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let connection = open::writable(&path).unwrap();
    connection.execute_batch("CREATE TABLE notes (text TEXT UNIQUE) STRICT").unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    Fixture { writer: start_writer(&path, connection).unwrap(), _directory: directory }
}

fn note(text: String) -> impl FnOnce(&mut Unit<'_>) -> Result<(), StoreError> + Send + 'static {
    move |unit| run(unit.connection(), "INSERT INTO notes (text) VALUES (?1)", [text]).map(drop)
}

fn count(unit: &mut Unit<'_>) -> Result<i64, StoreError> {
    Ok(first(unit.connection(), "SELECT count(*) AS notes FROM notes", (), |row| row.get("notes"))?.unwrap_or_default())
}

#[tokio::test]
async fn what_is_queued_while_the_writer_is_busy_shares_one_commit() {
    let Fixture { writer, _directory } = writer();
    let (release, hold) = blocking::channel::<()>();
    let held = writer.write(move |unit| {
        hold.recv().unwrap();
        note("first".to_owned())(unit)
    });
    let queued = async {
        // The held write is in the queue by now: `join` polls in order.
        release.send(()).unwrap();
        join_all((0..100).map(|number| writer.write(note(number.to_string())))).await
    };
    // The writer may take the held write alone or with some of the others.
    let (first, others) = tokio::join!(held, queued);
    first.unwrap();
    others.into_iter().for_each(|result| result.unwrap());
    let commits = writer.commits();
    assert!((1..=3).contains(&commits), "{commits} commits");
    assert_eq!(writer.write(count).await.unwrap(), 101);
    assert_eq!(writer.commits(), commits, "a write that changes nothing is no commit");
}

#[tokio::test]
async fn a_write_that_fails_is_undone_alone_and_tells_nothing() {
    let Fixture { writer, _directory } = writer();
    let mut changes = writer.changes();
    let node = identity::NodeName::parse("n1").unwrap();
    let failing = {
        let change = Change::Node(node.clone());
        writer.write(move |unit| {
            note("half".to_owned())(unit)?;
            unit.changed(change);
            note("good".to_owned())(unit)?;
            Err::<(), _>(StoreError::Banned { node })
        })
    };
    let (good, failed, after) =
        tokio::join!(writer.write(note("good-1".to_owned())), failing, writer.write(note("good".to_owned())));
    assert!(good.is_ok() && after.is_ok());
    assert!(matches!(failed, Err(StoreError::Banned { .. })));
    assert_eq!(writer.write(count).await.unwrap(), 2);
    assert!(changes.try_recv().is_err());
    assert_eq!(*writer.state().borrow(), StoreState::Well);
}

#[tokio::test]
async fn a_checked_write_that_fails_before_it_changes_anything_fails_alone() {
    let Fixture { writer, _directory } = writer();
    let node = identity::NodeName::parse("n1").unwrap();
    let failing = writer.write_checked(move |_| Err::<(), _>(StoreError::Banned { node }));
    let (good, failed, after) =
        tokio::join!(writer.write_checked(note("one".to_owned())), failing, writer.write_checked(note("two".to_owned())));
    assert!(good.is_ok() && after.is_ok() && matches!(failed, Err(StoreError::Banned { .. })));
    assert_eq!((writer.write(count).await, faults_met(&writer)), (Ok(2), 0));
}

#[tokio::test]
async fn a_checked_write_that_fails_after_it_changed_something_fails_its_whole_group_and_leaves_nothing() {
    let Fixture { writer, _directory } = writer();
    writer.write(note("kept".to_owned())).await.unwrap();
    let node = identity::NodeName::parse("n1").unwrap();
    let torn = writer.write_checked(move |unit| {
        note("half".to_owned())(unit)?;
        Err::<(), _>(StoreError::Banned { node })
    });
    assert!(matches!(torn.await, Err(StoreError::Unavailable(_))));
    assert_eq!(faults_met(&writer), 1);
    writer.recover().await;
    assert_eq!(writer.write(count).await, Ok(1));
}

/// As when the disk is full in the middle of a statement: SQLite undoes the transaction, and takes each later statement for one of its own.
#[tokio::test]
async fn when_the_transaction_is_undone_under_a_group_nothing_of_it_stays() {
    let Fixture { writer, _directory } = writer();
    writer.write(note("kept".to_owned())).await.unwrap();
    let (release, hold) = blocking::channel::<()>();
    let held = writer.write(move |_| {
        hold.recv().unwrap();
        Ok::<_, StoreError>(())
    });
    let undone = writer.write_checked(|unit| unit.connection().control("ROLLBACK").map_err(StoreError::from));
    let later = join_all((0..3).map(|number| writer.write_checked(note(number.to_string()))));
    // All are in the queue before the first of them goes on: `join` polls in order.
    let (_, undone, later, ()) = tokio::join!(held, undone, later, async { release.send(()).unwrap() });
    assert!(matches!(undone, Err(StoreError::Unavailable(_))));
    writer.recover().await;
    let answered = later.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(
        writer.write(count).await,
        Ok(1 + i64::try_from(answered).unwrap()),
        "what was answered, and nothing else: {later:?}"
    );
}

#[tokio::test]
async fn the_end_of_the_chain_and_the_latest_issuance_stay_where_they_were_when_their_write_is_undone() {
    let Fixture { writer, _directory } = writer();
    let event = || AuditEvent {
        actor: crate::audit::Actor::System,
        action: crate::audit::Action::ClockAccepted { latest: Timestamp::from_unix_seconds(1) },
    };
    let time = Timestamp::from_unix_seconds;
    let good = |at: u64| {
        writer.write(move |unit| {
            unit.set_latest_issuance(time(at))?;
            unit.audit(&event(), time(at))
        })
    };
    let node = identity::NodeName::parse("n1").unwrap();
    let undone = writer.write(move |unit| {
        unit.set_latest_issuance(time(900))?;
        unit.audit(&event(), time(900))?;
        Err::<(), _>(StoreError::Banned { node })
    });
    let (one, failed, two) = tokio::join!(good(10), undone, good(20));
    assert!(one.is_ok() && failed.is_err() && two.is_ok());
    let (head, latest) = writer
        .write(|unit| {
            Ok::<_, StoreError>((audit::head(unit.connection())?, crate::store::sql::issuance_clock::latest(unit.connection())?))
        })
        .await
        .unwrap();
    assert_eq!((head.sequence, latest), (2, time(20)));
    assert_eq!(*writer.audit_head().borrow(), 2);
}

fn faults_met(writer: &Writer) -> u64 {
    writer.faults().into_iter().map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_failed_commit_fails_every_write_of_the_group_and_the_store_goes_on_only_after_it_was_opened_anew() {
    let Fixture { writer, _directory } = writer();
    let ((begun, has_begun), (release, hold)) = (blocking::channel::<()>(), blocking::channel::<()>());
    let mut held = Box::pin(writer.write(move |unit| {
        begun.send(()).unwrap();
        hold.recv().unwrap();
        note("kept".to_owned())(unit)
    }));
    assert!(held.as_mut().now_or_never().is_none());
    has_begun.recv().unwrap();
    // A deferred foreign key is checked at the commit, and fails it.
    let mut doomed = Box::pin(writer.write(|unit| {
        let sql = "CREATE TABLE parents (id INTEGER PRIMARY KEY);
                   CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
                   INSERT INTO children VALUES (7);";
        sql.split_inclusive(';').try_for_each(|sql| run(unit.connection(), sql.trim(), ()).map(drop))
    }));
    let mut bystander = Box::pin(writer.write(note("bystander".to_owned())));
    // Both are in the queue before the writer looks into it again, so they share a group.
    assert!(doomed.as_mut().now_or_never().is_none() && bystander.as_mut().now_or_never().is_none());
    release.send(()).unwrap();
    held.await.unwrap();
    let (doomed, bystander) = tokio::join!(doomed, bystander);
    assert!(matches!(doomed, Err(StoreError::Unavailable(_))));
    assert!(matches!(bystander, Err(StoreError::Unavailable(_))));
    assert_eq!(faults_met(&writer), 1);
    writer.recover().await;
    assert_eq!(*writer.state().borrow(), StoreState::Well);
    assert_eq!(writer.write(count).await, Ok(1), "what was answered stays, what was answered as failed is not there");
}

/// As SQLite itself does when the disk is full.
fn lose_the_transaction(unit: &mut Unit<'_>) -> Result<(), StoreError> {
    Ok(unit.connection().control("ROLLBACK")?)
}

#[tokio::test]
async fn a_store_that_lost_what_it_had_answered_ends() {
    let Fixture { writer, _directory } = writer();
    let node = identity::NodeName::parse("n1").unwrap();
    let event = AuditEvent {
        actor: crate::audit::Actor::System,
        action: crate::audit::Action::CertificateSigned {
            serial: pki::SerialNumber::from_bytes(&[1; 16]).unwrap(),
            certificate: pki::sha256(node.as_str().as_bytes()),
        },
    };
    writer.write(move |unit| unit.audit(&event, Timestamp::from_unix_seconds(1))).await.unwrap();
    // A file as it was before the event, as a disk may show it that never wrote what it confirmed.
    let other = Connection::open(_directory.path().join("store.db")).unwrap();
    let genesis = ChainHead::EMPTY;
    other.execute("UPDATE audit_head SET sequence = 0, hash = ?1", [genesis.hash]).unwrap();
    assert!(writer.write(lose_the_transaction).await.is_err());
    writer.recover().await;
    let state = writer.state().borrow().clone();
    assert!(matches!(&state, StoreState::Ended(cause) if cause.contains("event 1 was the last, now it is 0")), "{state:?}");
    assert!(matches!(writer.write(count).await, Err(StoreError::Unavailable(_))));
    writer.recover().await;
    assert_eq!(*writer.state().borrow(), state, "for good");
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_made_anew() {
    let Fixture { writer, _directory } = writer();
    let path = _directory.path().join("store.db");
    let away = _directory.path().join("away.db");
    std::fs::rename(&path, &away).unwrap();
    assert!(writer.write(lose_the_transaction).await.is_err());
    writer.recover().await;
    let refused = writer.write(count).await.unwrap_err().to_string();
    assert!(refused.contains("writes go on by themselves") && refused.contains("nothing is signed"), "{refused}");
    assert!(!path.exists(), "an empty store in its place would have forgotten everything");
    std::fs::rename(&away, &path).unwrap();
    writer.recover().await;
    assert_eq!(*writer.state().borrow(), StoreState::Well);
}

#[tokio::test]
async fn a_long_log_is_merged_between_the_groups() {
    let Fixture { writer, _directory } = writer();
    for number in 0..8 {
        // Each note fills 250 pages.
        writer.write(note(format!("{number}{}", "x".repeat(1_000_000)))).await.unwrap();
    }
    let unmerged = || {
        writer.write(|unit| first(unit.connection(), "PRAGMA wal_autocheckpoint", (), |row| row.get::<i64>("wal_autocheckpoint")))
    };
    assert_eq!(unmerged().await, Ok(Some(0)), "SQLite does not do it within a commit");
    let other = Connection::open(_directory.path().join("store.db")).unwrap();
    let left = recovery::unmerged(&other).unwrap();
    assert!((0..MERGE_FROM).contains(&left), "{left} pages were left");
}

#[tokio::test]
async fn a_panic_of_the_writer_is_a_failure_of_the_store() {
    let Fixture { writer, _directory } = writer();
    let panicked = writer.write(|_| -> Result<(), StoreError> { panic!("a bug") }).await;
    assert!(matches!(panicked, Err(StoreError::Unavailable(_))));
    let mut state = writer.state();
    assert!(state.wait_for(|state| matches!(state, StoreState::Ended(_))).await.is_ok());
}

#[tokio::test]
async fn dropping_the_writer_carries_out_what_is_queued() {
    let Fixture { writer, _directory } = writer();
    let (release, hold) = blocking::channel::<()>();
    let path = _directory.path().join("store.db");
    {
        let mut held = Box::pin(writer.write(move |unit| {
            hold.recv().unwrap();
            note("queued".to_owned())(unit)
        }));
        // Polled once, it is in the queue; its caller then goes away.
        assert!(held.as_mut().now_or_never().is_none());
    }
    release.send(()).unwrap();
    drop(writer);
    let found: i64 = Connection::open(path).unwrap().query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(found, 1);
}

#[tokio::test]
async fn a_lock_that_another_process_holds_fails_the_write_and_not_the_store() {
    let Fixture { writer, _directory } = writer();
    let other = Connection::open(_directory.path().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = writer.write(note("locked out".to_owned())).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(cause) if cause.contains("another process")), "{refused}");
    assert_eq!(*writer.state().borrow(), StoreState::Well);
    other.execute_batch("ROLLBACK").unwrap();
    writer.write(note("let in".to_owned())).await.unwrap();
    assert_eq!(writer.write(count).await, Ok(1));
}
