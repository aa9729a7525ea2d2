//! The writer's thread: groups are committed, answered, and followed by what a fault or a long log asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc;

use super::published::Published;
use super::{Command, Message, Rows, Undo, Unit};
use crate::audit::ChainHead;
use crate::revocation::Revoked;
use crate::store::sqlite::marks::Marks;
use crate::store::sqlite::remembered::Generation;
use crate::store::sqlite::transaction::{Transaction, control};
use crate::store::sqlite::{recovery, revocations};
use crate::store::{Change, StoreError, StoreState};

/// Writes that share a commit: enough to make the sync cheap, few enough to answer the first of them soon.
const MAX_GROUP: usize = 512;

/// Pages of the log from which on it is merged into the database: 4 MiB, as SQLite itself would.
pub(super) const MERGE_FROM: i64 = 1000;

/// Tells of a panic, which is a bug, as of any other end of the writer: the store must not look well afterwards.
struct PanicWatch<'p>(&'p Published);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.enter(StoreState::Ended("its writer panicked".to_owned()));
        }
    }
}

/// What the writer's thread works with.
pub(super) struct Committer {
    path: PathBuf,
    connection: Connection,
    /// The end of the audit chain as of the last commit that succeeded.
    answered: ChainHead,
}

/// Serves what comes, until the queue is closed and empty.
pub(super) fn run(mut committer: Committer, mut queue: mpsc::Receiver<Message>, published: &Published) {
    let _panic_watch = PanicWatch(published);
    while let Some(message) = queue.blocking_recv() {
        let mut group = Vec::new();
        let mut recovering = Vec::new();
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Write(command) => group.push(command),
                Message::Recover(over) => recovering.push(over),
            }
            next = if group.len() < MAX_GROUP { queue.try_recv().ok() } else { None };
        }
        if !group.is_empty() {
            committer.serve(group, published);
        }
        if !recovering.is_empty() {
            committer.recover(published);
        }
        for over in recovering {
            // Whoever asked may be gone.
            over.send(()).ok();
        }
    }
}

impl Committer {
    pub(super) fn new(path: &Path, connection: Connection, answered: ChainHead) -> Self {
        Self { path: path.to_owned(), connection, answered }
    }

    /// Commits a group and answers it; then, what a fault asks for, and the log when it is long enough.
    fn serve(&mut self, mut group: Vec<Box<dyn Command>>, published: &Published) {
        let committed = match published.refusal() {
            Some(refused) => Err(refused),
            None => {
                published.turns.fetch_add(1, Ordering::Relaxed);
                let committed = self.commit(&mut group, published).map_err(|error| self.tell(error, published));
                published.turns.fetch_add(1, Ordering::Relaxed);
                committed
            }
        };
        let failed = committed.is_err() && published.refusal().is_some();
        for command in group {
            command.answer(committed.clone());
        }
        if failed {
            self.recover(published);
        } else if *published.state.borrow() == StoreState::Well {
            self.merge(published);
        }
    }

    /// What the callers are told of a group that was not committed; a lost transaction is a fault of the store.
    fn tell(&self, error: GroupError, published: &Published) -> StoreError {
        let error = match error {
            GroupError::Busy => {
                tracing::warn!("another process holds the write lock of the store");
                return StoreError::Unavailable("another process holds its write lock".to_owned());
            }
            GroupError::Lost(error) => error,
        };
        published.entries.forget();
        published.enter(recovery::judge(&self.path, &error));
        StoreError::Unavailable(format!("a commit failed: {error}"))
    }

    /// From refusing to taking writes, and from a backlog to none, if the disk lets us.
    fn recover(&mut self, published: &Published) {
        let state = published.state.borrow().clone();
        match state {
            StoreState::Well | StoreState::Ended(_) => {}
            StoreState::Backlog(_) => self.merge(published),
            StoreState::Refusing(_) => {
                published.turns.fetch_add(1, Ordering::Relaxed);
                match recovery::reopen(&self.path, self.answered) {
                    Ok(connection) => {
                        self.connection = connection;
                        published.publish_entries(Generation::read(&self.connection));
                        // A commit whose sync failed may be there after all, and revoke what nobody was told of.
                        match revocations::snapshot(&self.connection) {
                            Ok(revoked) => drop(published.revoked.send_replace(Arc::new(revoked))),
                            Err(error) => tracing::error!(%error, "what is revoked cannot be read; what was known of it stands"),
                        }
                        published.enter(StoreState::Well);
                    }
                    Err(state) => published.enter(state),
                }
                published.turns.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Merges a long log into the database. A failure costs no write: the log has them, synced, and goes on until there is no room.
    fn merge(&self, published: &Published) {
        let merged = recovery::unmerged(&self.connection)
            .and_then(|pages| if pages >= MERGE_FROM { recovery::merge(&self.connection) } else { Ok(()) });
        match merged.map_err(|error| recovery::judge(&self.path, &error)) {
            Ok(()) => published.enter(StoreState::Well),
            Err(StoreState::Refusing(fault)) => published.enter(StoreState::Backlog(fault)),
            Err(other) => published.enter(other),
        }
    }

    /// One transaction for the whole group.
    fn commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), GroupError> {
        let connection = &self.connection;
        let rows_before = connection.total_changes();
        let mut changes = Vec::new();
        let mut marks = Marks::default();
        let transaction = match Transaction::begin(connection) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Err(GroupError::Busy),
            begun => begun?,
        };
        for command in group {
            let undo = command.undo();
            if undo == Undo::Savepoint {
                control(connection, "SAVEPOINT unit")?;
            }
            let rows_before = connection.total_changes();
            let mut unit = Unit { connection, changes: Vec::new(), marks };
            let rows = command.apply(&mut unit);
            let Unit { connection: _, changes: own_changes, marks: own_marks } = unit;
            // Some failures (a full disk, out of memory) undo the whole transaction, and its savepoints with it.
            if connection.is_autocommit() {
                return Err(lost("the transaction was undone"));
            }
            match (rows, undo) {
                (Rows::Stay, undo) => {
                    if undo == Undo::Savepoint {
                        control(connection, "RELEASE unit")?;
                    }
                    changes.extend(own_changes);
                    marks = own_marks;
                }
                (Rows::Go, Undo::Savepoint) => {
                    control(connection, "ROLLBACK TO unit")?;
                    control(connection, "RELEASE unit")?;
                }
                (Rows::Go, Undo::WithTheGroup) if connection.total_changes() == rows_before => {}
                (Rows::Go, Undo::WithTheGroup) => return Err(lost("a write failed after it had changed something")),
            }
        }
        let audit_head = marks.write(connection)?;
        let entries = Generation::read(connection);
        let revoked = if changes.contains(&Change::Revocations) { Some(read_revoked(connection)?) } else { None };
        transaction.commit()?;
        published.publish_entries(entries);
        if let Some(revoked) = revoked {
            published.revoked.send_replace(Arc::new(revoked));
        }
        if connection.total_changes() != rows_before {
            published.commits.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(head) = audit_head {
            self.answered = head;
            published.audit_head.send_replace(head.sequence);
        }
        for change in changes {
            // An error says that nobody listens, which is fine.
            published.changes.send(change).ok();
        }
        Ok(())
    }
}

/// A revocation that was not published would not count: its group is not committed.
fn read_revoked(connection: &Connection) -> Result<Revoked, GroupError> {
    revocations::snapshot(connection).map_err(|error| lost(&error.to_string()))
}

/// A group that cannot be committed, though SQLite itself would do it.
fn lost(why: &str) -> GroupError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    GroupError::Lost(rusqlite::Error::SqliteFailure(code, Some(why.to_owned())))
}

/// Why a group of writes was not committed.
enum GroupError {
    /// Another process had the write lock for longer than we wait. Nothing was written, so the next group may try.
    Busy,
    /// The transaction was lost, or its commit or sync failed.
    Lost(rusqlite::Error),
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Lost(error)
    }
}
