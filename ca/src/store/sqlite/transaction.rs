//! The transactions of the writer, by statements that stay compiled.

use rusqlite::Connection;

/// A transaction of the writer: undone by the drop, unless it was committed. The library's own type compiles its statements anew for
/// each.
pub(super) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    /// Takes the write lock at once.
    ///
    /// # Errors
    /// What SQLite says; nothing was begun.
    pub(super) fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        control(connection, "BEGIN IMMEDIATE").map(|()| Self(connection))
    }

    /// Resolves after the sync.
    ///
    /// # Errors
    /// What SQLite says; what was written is undone.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        control(self.0, "COMMIT")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Committed, or undone by SQLite itself.
        if self.0.is_autocommit() {
            return;
        }
        if let Err(error) = control(self.0, "ROLLBACK") {
            tracing::error!(%error, "a transaction of the store could not be undone");
        }
    }
}

/// Runs a statement about a transaction or a savepoint, kept compiled.
pub(super) fn control(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
