use std::sync::mpsc as blocking;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::store::sqlite::open;

struct Fixture {
    writer: Writer,
    _directory: tempfile::TempDir,
}

fn writer() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let connection = open::writable(&path).unwrap();
    connection.execute_batch("CREATE TABLE notes (text TEXT UNIQUE) STRICT").unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    Fixture { writer: Writer::start(&path, connection).unwrap(), _directory: directory }
}

fn note(text: String) -> impl FnOnce(&mut Unit<'_>) -> Result<(), StoreError> + Send + 'static {
    move |unit| {
        unit.connection().execute("INSERT INTO notes (text) VALUES (?1)", [text])?;
        Ok(())
    }
}

fn count(unit: &mut Unit<'_>) -> Result<i64, StoreError> {
    Ok(unit.connection().query_row("SELECT count(*) FROM notes", [], |row| row.get(0))?)
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
    assert_eq!(*writer.failure().borrow(), None);
}

#[tokio::test]
async fn a_failed_commit_fails_every_write_of_the_group_and_all_after_it() {
    let Fixture { writer, _directory } = writer();
    let failure = writer.failure();
    writer.write(note("kept".to_owned())).await.unwrap();
    // A deferred foreign key is checked at the commit, and fails it.
    let doomed = writer.write(|unit| {
        let sql = "CREATE TABLE parents (id INTEGER PRIMARY KEY);
                   CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
                   INSERT INTO children VALUES (7);";
        Ok::<_, StoreError>(unit.connection().execute_batch(sql)?)
    });
    let (doomed, bystander) = tokio::join!(doomed, writer.write(note("bystander".to_owned())));
    assert!(matches!(doomed, Err(StoreError::Unavailable(_))));
    assert!(matches!(bystander, Err(StoreError::Unavailable(_))));
    assert!(failure.borrow().as_ref().is_some_and(|cause| cause.contains("a commit failed")));
    assert!(matches!(writer.write(count).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_write_that_undoes_the_whole_transaction_fails_the_group() {
    let Fixture { writer, _directory } = writer();
    // As SQLite itself does when the disk is full.
    let lost = writer.write(|unit| Ok::<_, StoreError>(unit.connection().execute_batch("ROLLBACK")?)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))));
    assert!(writer.failure().borrow().is_some());
}

#[tokio::test]
async fn a_panic_of_the_writer_is_a_failure_of_the_store() {
    let Fixture { writer, _directory } = writer();
    let panicked = writer.write(|_| -> Result<(), StoreError> { panic!("a bug") }).await;
    assert!(matches!(panicked, Err(StoreError::Unavailable(_))));
    let mut failure = writer.failure();
    assert!(failure.wait_for(Option::is_some).await.is_ok());
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
    assert_eq!(*writer.failure().borrow(), None);
    other.execute_batch("ROLLBACK").unwrap();
    writer.write(note("let in".to_owned())).await.unwrap();
    assert_eq!(writer.write(count).await, Ok(1));
}
