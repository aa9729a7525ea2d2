//! Commits into the file: a group in one transaction; then, what a fault or a long log asks for.
//!
//! When a transaction is lost, or its commit or sync fails, every later write is refused until the file was opened anew and the disk has
//! confirmed it ([`super::recovery`]). (A failed sync must not just be tried again: the kernel may have dropped the pages already.) A write
//! lock that another process does not give up fails the group and not the store: nothing was begun.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::recovery;
use super::transaction::Transaction;
use crate::audit::ChainHead;
use crate::store::sql::connection::{Connection, DatabaseError};
use crate::store::sql::marks::Marks;
use crate::store::sql::remembered::Generation;
use crate::store::sql::revocations;
use crate::store::sql::writer::published::Published;
use crate::store::sql::writer::{Command, Committer, group};
use crate::store::{StoreError, StoreState};

/// Pages of the log from which on it is merged into the database: 4 MiB, as SQLite itself would.
pub(super) const MERGE_FROM: i64 = 1000;

/// What the writer of a file works with.
pub(super) struct FileCommitter {
    path: PathBuf,
    connection: rusqlite::Connection,
    /// The end of the audit chain as of the last commit that succeeded.
    answered: ChainHead,
}

impl FileCommitter {
    pub(super) fn new(path: &Path, connection: rusqlite::Connection, answered: ChainHead) -> Self {
        Self { path: path.to_owned(), connection, answered }
    }

    /// Merges a long log into the database. A failure costs no write: the log has them, synced, and goes on until there is no room.
    fn merge(&self, published: &Published) {
        let merged = recovery::unmerged(&self.connection)
            .and_then(|pages| if pages >= MERGE_FROM { recovery::merge(&self.connection) } else { Ok(()) });
        match merged.map_err(|error| recovery::judge(&self.path, &error.into())) {
            Ok(()) => published.enter(StoreState::Well),
            Err(StoreState::Refusing(fault)) => published.enter(StoreState::Backlog(fault)),
            Err(other) => published.enter(other),
        }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), GroupError> {
        let transaction = match Transaction::begin(&self.connection) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Err(GroupError::Busy),
            begun => begun?,
        };
        let written = group::run(Connection::Sqlite(&self.connection), group, Marks::default(), false)?;
        transaction.commit()?;
        self.answered = written.head.unwrap_or(self.answered);
        written.publish(published, self.answered.sequence);
        Ok(())
    }
}

impl Committer for FileCommitter {
    fn commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), StoreError> {
        let error = match self.try_commit(group, published) {
            Ok(()) => return Ok(()),
            Err(GroupError::Busy) => {
                tracing::warn!("another process holds the write lock of the store");
                return Err(StoreError::Unavailable("another process holds its write lock".to_owned()));
            }
            Err(GroupError::Lost(error)) => error,
        };
        published.entries.forget();
        published.enter(recovery::judge(&self.path, &error));
        Err(StoreError::Unavailable(format!("a commit failed: {error}")))
    }

    fn tidy(&mut self, published: &Published) {
        if *published.state.borrow() == StoreState::Well {
            self.merge(published);
        }
    }

    fn recover(&mut self, published: &Published) {
        let state = published.state.borrow().clone();
        match state {
            StoreState::Well | StoreState::Ended(_) => {}
            StoreState::Backlog(_) => self.merge(published),
            StoreState::Refusing(_) => match recovery::reopen(&self.path, self.answered) {
                Ok(connection) => {
                    self.connection = connection;
                    let connection = Connection::Sqlite(&self.connection);
                    published.publish_entries(Generation::read(connection));
                    // A commit whose sync failed may be there after all, and revoke what nobody was told of.
                    match revocations::snapshot(connection) {
                        Ok(revoked) => published.publish_revoked(self.answered.sequence, revoked),
                        Err(error) => tracing::error!(%error, "what is revoked cannot be read; what was known of it stands"),
                    }
                    published.enter(StoreState::Well);
                }
                Err(state) => published.enter(state),
            },
        }
    }
}

/// Why a group of writes was not committed.
enum GroupError {
    /// Another process had the write lock for longer than we wait. Nothing was written, so the next group may try.
    Busy,
    /// The transaction was lost, or its commit or sync failed.
    Lost(DatabaseError),
}

impl From<DatabaseError> for GroupError {
    fn from(error: DatabaseError) -> Self {
        Self::Lost(error)
    }
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Lost(error.into())
    }
}
