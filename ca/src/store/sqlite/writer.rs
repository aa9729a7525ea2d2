//! The one writer: a thread that takes writes from a bounded queue and commits them in groups.
//!
//! A commit syncs the file, which costs about the same for one write as for hundreds; so all that is queued goes into one transaction,
//! each write in a savepoint of its own, and all are answered after the commit. A write that fails is undone alone. When the
//! transaction itself is lost, or its commit or sync fails, what the disk holds is not known: the store says so once and for all
//! and takes no further write. (A failed sync must not be tried again: the kernel may have dropped the pages already.) A write lock
//! that another process does not give up fails the group and not the store: nothing was begun.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use pki::Timestamp;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::audit;
use super::open::OpenError;
use crate::audit::AuditEvent;
use crate::store::{Change, StoreError};

/// Writes that wait for the writer. Beyond it callers wait to queue.
const QUEUE: usize = 1024;

/// Writes that share a commit: enough to make the sync cheap, few enough to answer the first of them soon.
const MAX_GROUP: usize = 512;

/// Changes that a slow receiver may fall behind before it must look at everything anew.
const CHANGES: usize = 1024;

pub(super) struct Writer {
    /// None only while the writer is dropped.
    commands: Option<mpsc::Sender<Box<dyn Command>>>,
    thread: Option<JoinHandle<()>>,
    published: Arc<Published>,
}

/// What the writer tells everyone.
struct Published {
    changes: broadcast::Sender<Change>,
    audit_head: watch::Sender<u64>,
    failure: watch::Sender<Option<String>>,
    commits: AtomicU64,
}

/// What one write works with: its savepoint, and what is to be told once it is committed.
pub(super) struct Unit<'c> {
    connection: &'c Connection,
    changes: Vec<Change>,
    audit_head: Option<u64>,
}

impl Unit<'_> {
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Appends an event to the chain, in the transaction of the rows that it speaks of.
    pub(super) fn audit(&mut self, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        self.audit_head = Some(audit::append(self.connection, event, now)?);
        Ok(())
    }

    /// To be told after the commit.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, OpenError> {
        let head = audit::head(&connection)
            .map_err(|error| OpenError::File { path: path.to_owned(), cause: std::io::Error::other(error) })?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let published = Arc::new(Published {
            changes: broadcast::Sender::new(CHANGES),
            audit_head: watch::Sender::new(head.sequence),
            failure: watch::Sender::new(None),
            commits: AtomicU64::new(0),
        });
        let told = Arc::clone(&published);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, queue, &told))
            .map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
        Ok(Self { commands: Some(commands), thread: Some(thread), published })
    }

    /// Runs `work` in the next transaction and answers after its commit. An error from `work` undoes what it wrote, and only that.
    pub(super) async fn write<T, E>(&self, work: impl FnOnce(&mut Unit<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(|| self.ended())?;
        let command = Write { work: Some(work), outcome: None, reply };
        commands.send(Box::new(command)).await.map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())?
    }

    pub(super) fn audit_head(&self) -> watch::Receiver<u64> {
        self.published.audit_head.subscribe()
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.published.failure.subscribe()
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.published.changes.subscribe()
    }

    pub(super) fn commits(&self) -> u64 {
        self.published.commits.load(Ordering::Relaxed)
    }

    fn ended(&self) -> StoreError {
        let cause = self.published.failure.borrow().clone();
        StoreError::Unavailable(cause.unwrap_or_else(|| "its writer has ended".to_owned()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the queue ends the thread after what is queued.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the store panicked");
        }
    }
}

/// A write in the queue, whatever it answers with.
trait Command: Send {
    /// Does the work; says whether its rows stay.
    fn apply(&mut self, unit: &mut Unit<'_>) -> Rows;

    /// Answers the caller, who may be gone.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

enum Rows {
    Stay,
    Go,
}

struct Write<F, T, E> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Command for Write<F, T, E>
where
    F: FnOnce(&mut Unit<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn apply(&mut self, unit: &mut Unit<'_>) -> Rows {
        let outcome = self.work.take().map(|work| work(unit));
        let rows = if matches!(outcome, Some(Ok(_))) { Rows::Stay } else { Rows::Go };
        self.outcome = outcome;
        rows
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let outcome = match (group, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Unavailable("the write was not run".to_owned()).into()),
            (Err(error), _) => Err(error.into()),
        };
        if self.reply.send(outcome).is_err() {
            tracing::debug!("nobody waits for the answer to a write any more");
        }
    }
}

/// Tells of a panic, which is a bug, as of any other end of the writer: the store must not look well afterwards.
struct PanicWatch<'p>(&'p Published);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failure.send_replace(Some("its writer panicked".to_owned()));
        }
    }
}

fn run(mut connection: Connection, mut queue: mpsc::Receiver<Box<dyn Command>>, published: &Published) {
    let _panic_watch = PanicWatch(published);
    while let Some(command) = queue.blocking_recv() {
        let mut group = vec![command];
        while group.len() < MAX_GROUP
            && let Ok(command) = queue.try_recv()
        {
            group.push(command);
        }
        let failed = published.failure.borrow().clone();
        let committed = match failed {
            Some(cause) => Err(StoreError::Unavailable(cause)),
            None => commit(&mut connection, &mut group, published).map_err(|error| error.tell(published)),
        };
        for command in group {
            command.answer(committed.clone());
        }
    }
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

impl GroupError {
    /// What the callers are told; a lost transaction is the end of the store.
    fn tell(self, published: &Published) -> StoreError {
        let error = match self {
            Self::Busy => {
                tracing::warn!("another process holds the write lock of the store");
                return StoreError::Unavailable("another process holds its write lock".to_owned());
            }
            Self::Lost(error) => error,
        };
        let cause = format!("a commit failed, so what the disk holds is not known: {error}");
        tracing::error!(%error, "a commit of the store failed; no further write is taken");
        published.failure.send_replace(Some(cause.clone()));
        StoreError::Unavailable(cause)
    }
}

/// One transaction for the whole group.
fn commit(connection: &mut Connection, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), GroupError> {
    let rows_before = connection.total_changes();
    let mut changes = Vec::new();
    let mut audit_head = None;
    let mut transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Err(GroupError::Busy),
        begun => begun?,
    };
    for command in group {
        let savepoint = transaction.savepoint()?;
        let mut unit = Unit { connection: &savepoint, changes: Vec::new(), audit_head: None };
        let rows = command.apply(&mut unit);
        let Unit { connection: _, changes: own_changes, audit_head: own_head } = unit;
        // Some failures (a full disk, out of memory) undo the whole transaction, and its savepoints with it: then both of these
        // are errors, and so is the group.
        match rows {
            Rows::Stay => {
                savepoint.commit()?;
                changes.extend(own_changes);
                audit_head = own_head.or(audit_head);
            }
            Rows::Go => savepoint.finish()?,
        }
    }
    transaction.commit()?;
    if connection.total_changes() != rows_before {
        published.commits.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(sequence) = audit_head {
        published.audit_head.send_replace(sequence);
    }
    for change in changes {
        // An error says that nobody listens, which is fine.
        published.changes.send(change).ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
