use rusqlite::ffi;

use super::*;

fn store() -> (tempfile::TempDir, PathBuf, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let connection = open::writable(&path).unwrap();
    (directory, path, connection)
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

#[test]
fn each_error_of_the_database_is_told_as_the_fault_that_it_is() {
    let (_directory, path, _connection) = store();
    for (code, kind) in [
        (ffi::SQLITE_FULL, FaultKind::Full),
        (ffi::SQLITE_READONLY, FaultKind::ReadOnly),
        (SQLITE_IOERR_FSYNC, FaultKind::Sync),
        (SQLITE_IOERR_DIR_FSYNC, FaultKind::Sync),
        (ffi::SQLITE_IOERR_WRITE, FaultKind::Disk),
        (ffi::SQLITE_CANTOPEN, FaultKind::Disk),
        (ffi::SQLITE_NOMEM, FaultKind::Undone),
        (ffi::SQLITE_CONSTRAINT, FaultKind::Undone),
    ] {
        let state = judge(&path, &failure(code).into());
        assert!(matches!(&state, StoreState::Refusing(fault) if fault.kind == kind), "{code}: {state:?}");
    }
    for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
        assert!(matches!(judge(&path, &failure(code).into()), StoreState::Ended(_)), "{code}");
    }
}

#[test]
fn confirming_the_log_leaves_every_byte_of_it_as_it_was() {
    let (_directory, path, mut connection) = store();
    // More than one chunk.
    connection.execute_batch("CREATE TABLE notes (text BLOB); INSERT INTO notes VALUES (randomblob(3000000))").unwrap();
    let before = std::fs::read(log_of(&path)).unwrap();
    assert!(before.len() > 2 * CHUNK);
    confirm(&path, &mut connection).unwrap();
    assert_eq!(std::fs::read(log_of(&path)).unwrap(), before);
    let length: i64 = connection.query_row("SELECT length(text) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(length, 3_000_000);
}

#[test]
fn the_log_is_not_confirmed_while_somebody_else_may_append_to_it() {
    let (_directory, path, mut connection) = store();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(confirm(&path, &mut connection), Err(ConfirmError::Database(_))));
    other.execute_batch("ROLLBACK").unwrap();
    confirm(&path, &mut connection).unwrap();
}

#[test]
fn a_link_in_place_of_the_log_is_not_written_through() {
    let (directory, path, mut connection) = store();
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(log_of(&path), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, log_of(&path)).unwrap();
    assert!(matches!(confirm(&path, &mut connection), Err(ConfirmError::Log { .. })));
}

#[test]
fn a_probe_commits_and_changes_nothing() {
    let (_directory, path, mut connection) = store();
    let version =
        |connection: &Connection| -> i64 { connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap() };
    let (before, pages) = (version(&connection), unmerged(&connection).unwrap());
    probe(&mut connection).unwrap();
    assert_eq!(version(&connection), before);
    assert!(unmerged(&connection).unwrap() > pages, "something was written");
    assert!(reopen(&path, audit::head(crate::store::sql::connection::Connection::Sqlite(&connection)).unwrap()).is_ok());
}
