//! The one writer: a thread that takes writes from a bounded queue and commits them in groups.
//!
//! A commit syncs the file, which costs about the same for one write as for hundreds; so all that is queued goes into one transaction,
//! and all are answered after the commit. A write that fails is undone alone: it has a savepoint of its own, or fails before it changes
//! anything. When neither holds, the transaction itself is lost, or its commit or sync fails, the whole group is answered as failed and
//! every later write is refused, until the file was opened anew and the disk has confirmed it ([`recovery`]). (A failed sync must not just be tried again: the
//! kernel may have dropped the pages already.) A write lock that another process does not give up fails the group and not the
//! store: nothing was begun.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use pki::Timestamp;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::marks::Marks;
use super::open::OpenError;
use super::remembered::Generation;
use super::{audit, recovery};
use crate::audit::{AuditEvent, ChainHead};
use crate::store::{Change, FaultKind, StoreError, StoreState};

/// Writes that wait for the writer. Beyond it callers wait to queue.
const QUEUE: usize = 1024;

/// Writes that share a commit: enough to make the sync cheap, few enough to answer the first of them soon.
const MAX_GROUP: usize = 512;

/// Changes that a slow receiver may fall behind before it must look at everything anew.
const CHANGES: usize = 1024;

/// Pages of the log from which on it is merged into the database: 4 MiB, as SQLite itself would.
const MERGE_FROM: i64 = 1000;

pub(super) struct Writer {
    /// None only while the writer is dropped.
    commands: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    published: Arc<Published>,
}

/// What the writer tells everyone.
struct Published {
    changes: broadcast::Sender<Change>,
    audit_head: watch::Sender<u64>,
    state: watch::Sender<StoreState>,
    /// Of what nodes have.
    entries: Generation,
    commits: AtomicU64,
    /// Odd while a group is worked on.
    turns: AtomicU64,
    faults: [AtomicU64; FaultKind::ALL.len()],
}

impl Published {
    /// What a write is told while none is taken.
    fn refusal(&self) -> Option<StoreError> {
        self.state.borrow().refusal().map(StoreError::Unavailable)
    }

    /// Logs and publishes a state; the same fault again, as found at each try to recover, is news to nobody.
    fn enter(&self, state: StoreState) {
        let same = |before: &StoreState| match (before, &state) {
            (StoreState::Refusing(before), StoreState::Refusing(now))
            | (StoreState::Backlog(before), StoreState::Backlog(now)) => before.kind == now.kind,
            (before, now) => before == now,
        };
        if same(&self.state.borrow()) {
            return;
        }
        match &state {
            StoreState::Well => tracing::info!("the store takes writes"),
            StoreState::Backlog(fault) => {
                self.count(fault.kind);
                tracing::error!(%fault, "the log of the store cannot be merged into the database, and grows");
            }
            StoreState::Refusing(fault) => {
                self.count(fault.kind);
                tracing::error!(%fault, "the store takes no writes: nothing is recorded, so nothing is signed");
            }
            StoreState::Ended(cause) => tracing::error!(cause, "the store takes no writes any more"),
        }
        self.state.send_replace(state);
    }

    /// What cannot be read is not known.
    fn publish_entries(&self, found: Result<i64, StoreError>) {
        match found {
            Ok(found) => self.entries.publish(found),
            Err(_) => self.entries.forget(),
        }
    }

    fn count(&self, kind: FaultKind) {
        if let Some(count) = self.faults.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What comes to the writer.
enum Message {
    /// A write.
    Write(Box<dyn Command>),
    /// A try to take writes again, and who waits for it to be over.
    Recover(oneshot::Sender<()>),
}

/// What one write works with: its savepoint, and what is to be told once it is committed.
pub(super) struct Unit<'c> {
    connection: &'c Connection,
    changes: Vec<Change>,
    marks: Marks,
}

impl Unit<'_> {
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Appends an event to the chain, in the transaction of the rows that it speaks of.
    pub(super) fn audit(&mut self, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        let head = self.marks.head(self.connection)?;
        let head = audit::append(self.connection, head, event, now)?;
        self.marks.set_head(self.connection, head)
    }

    /// The latest issuance on record.
    pub(super) fn latest_issuance(&mut self) -> Result<Timestamp, StoreError> {
        self.marks.latest(self.connection)
    }

    /// From now on this is the latest issuance.
    pub(super) fn set_latest_issuance(&mut self, latest: Timestamp) -> Result<(), StoreError> {
        self.marks.set_latest(self.connection, latest)
    }

    /// To be told after the commit.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self, OpenError> {
        let unreadable = |error| OpenError::File { path: path.to_owned(), cause: std::io::Error::other(error) };
        let head = audit::head(&connection).map_err(unreadable)?;
        let entries = Generation::new(Generation::read(&connection).map_err(unreadable)?);
        let (commands, queue) = mpsc::channel(QUEUE);
        let published = Arc::new(Published {
            changes: broadcast::Sender::new(CHANGES),
            audit_head: watch::Sender::new(head.sequence),
            state: watch::Sender::new(StoreState::Well),
            entries,
            commits: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            faults: FaultKind::ALL.map(|_| AtomicU64::new(0)),
        });
        let told = Arc::clone(&published);
        let committer = Committer { path: path.to_owned(), connection, answered: head };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(committer, queue, &told))
            .map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
        Ok(Self { commands: Some(commands), thread: Some(thread), published })
    }

    /// Runs `work` in the next transaction and answers after its commit. An error from `work` undoes what it wrote, and only that.
    pub(super) async fn write<T, E>(&self, work: impl FnOnce(&mut Unit<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue(work, Undo::Savepoint).await
    }

    /// As [`Self::write`], for work that fails before it changes anything, or never: what it changed before an error cannot be undone
    /// alone, and fails the whole group. It spares the savepoint, which costs as much as the rows of a certificate.
    pub(super) async fn write_checked<T, E>(
        &self,
        work: impl FnOnce(&mut Unit<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue(work, Undo::WithTheGroup).await
    }

    async fn queue<T, E>(&self, work: impl FnOnce(&mut Unit<'_>) -> Result<T, E> + Send + 'static, undo: Undo) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        if let Some(refused) = self.published.refusal() {
            return Err(refused.into());
        }
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or_else(|| self.ended())?;
        let command = Write { work: Some(work), undo, outcome: None, reply };
        commands.send(Message::Write(Box::new(command))).await.map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())?
    }

    /// How often what nodes have was changed; `None` while the file has to be asked.
    pub(super) fn entries_generation(&self) -> Option<i64> {
        self.published.entries.now()
    }

    pub(super) fn audit_head(&self) -> watch::Receiver<u64> {
        self.published.audit_head.subscribe()
    }

    /// Tries to take writes again, if they are refused.
    pub(super) async fn recover(&self) {
        let (reply, over) = oneshot::channel();
        let Some(commands) = &self.commands else { return };
        if commands.send(Message::Recover(reply)).await.is_ok() {
            // An error says that the writer has ended, which its state says too.
            over.await.ok();
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<StoreState> {
        self.published.state.subscribe()
    }

    pub(super) fn commit_turns(&self) -> u64 {
        self.published.turns.load(Ordering::Relaxed)
    }

    pub(super) fn faults(&self) -> Vec<(FaultKind, u64)> {
        let counts = self.published.faults.iter().map(|count| count.load(Ordering::Relaxed));
        FaultKind::ALL.into_iter().zip(counts).collect()
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.published.changes.subscribe()
    }

    pub(super) fn commits(&self) -> u64 {
        self.published.commits.load(Ordering::Relaxed)
    }

    fn ended(&self) -> StoreError {
        let ended = || StoreError::Unavailable("its writer has ended".to_owned());
        self.published.refusal().unwrap_or_else(ended)
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
    /// How its rows go when it fails.
    fn undo(&self) -> Undo;

    /// Does the work; says whether its rows stay.
    fn apply(&mut self, unit: &mut Unit<'_>) -> Rows;

    /// Answers the caller, who may be gone.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

enum Rows {
    Stay,
    Go,
}

/// How the rows of a write that fails go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// Alone, back to its savepoint.
    Savepoint,
    /// With those of all others in its group, if there are any.
    WithTheGroup,
}

struct Write<F, T, E> {
    work: Option<F>,
    undo: Undo,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Command for Write<F, T, E>
where
    F: FnOnce(&mut Unit<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn undo(&self) -> Undo {
        self.undo
    }

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
            self.0.enter(StoreState::Ended("its writer panicked".to_owned()));
        }
    }
}

/// What the writer's thread works with.
struct Committer {
    path: PathBuf,
    connection: Connection,
    /// The end of the audit chain as of the last commit that succeeded.
    answered: ChainHead,
}

fn run(mut committer: Committer, mut queue: mpsc::Receiver<Message>, published: &Published) {
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
        let connection = &mut self.connection;
        let rows_before = connection.total_changes();
        let mut changes = Vec::new();
        let mut marks = Marks::default();
        let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Err(GroupError::Busy),
            begun => begun?,
        };
        for command in group {
            let undo = command.undo();
            if undo == Undo::Savepoint {
                control(&transaction, "SAVEPOINT unit")?;
            }
            let rows_before = transaction.total_changes();
            let mut unit = Unit { connection: &transaction, changes: Vec::new(), marks };
            let rows = command.apply(&mut unit);
            let Unit { connection: _, changes: own_changes, marks: own_marks } = unit;
            // Some failures (a full disk, out of memory) undo the whole transaction, and its savepoints with it.
            if transaction.is_autocommit() {
                return Err(lost("the transaction was undone"));
            }
            match (rows, undo) {
                (Rows::Stay, undo) => {
                    if undo == Undo::Savepoint {
                        control(&transaction, "RELEASE unit")?;
                    }
                    changes.extend(own_changes);
                    marks = own_marks;
                }
                (Rows::Go, Undo::Savepoint) => {
                    control(&transaction, "ROLLBACK TO unit")?;
                    control(&transaction, "RELEASE unit")?;
                }
                (Rows::Go, Undo::WithTheGroup) if transaction.total_changes() == rows_before => {}
                (Rows::Go, Undo::WithTheGroup) => return Err(lost("a write failed after it had changed something")),
            }
        }
        let audit_head = marks.write(&transaction)?;
        let entries = Generation::read(&transaction);
        transaction.commit()?;
        published.publish_entries(entries);
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

/// Runs a statement about savepoints, kept compiled: the library's own type compiles its three anew for each write.
fn control(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
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

#[cfg(test)]
mod tests;
