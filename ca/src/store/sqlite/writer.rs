//! The one writer: a thread that takes writes from a bounded queue and commits them in groups.
//!
//! A commit syncs the file, which costs about the same for one write as for hundreds; so all that is queued goes into one transaction,
//! and all are answered after the commit. A write that fails is undone alone: it has a savepoint of its own, or fails before it changes
//! anything. When neither holds, the transaction itself is lost, or its commit or sync fails, the whole group is answered as failed and
//! every later write is refused, until the file was opened anew and the disk has confirmed it ([`super::recovery`]). (A failed sync must not just be tried again: the
//! kernel may have dropped the pages already.) A write lock that another process does not give up fails the group and not the
//! store: nothing was begun.

mod committer;
mod published;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use pki::Timestamp;
use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use committer::{Committer, run};
use published::Published;

use super::marks::Marks;
use super::open::OpenError;
use super::remembered::Generation;
use super::{audit, revocations};
use crate::audit::AuditEvent;
use crate::revocation::Revoked;
use crate::store::{Change, FaultKind, StoreError, StoreState};

/// Writes that wait for the writer. Beyond it callers wait to queue.
const QUEUE: usize = 1024;

pub(super) struct Writer {
    /// None only while the writer is dropped.
    commands: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
    published: Arc<Published>,
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
        let revoked = revocations::snapshot(&connection).map_err(unreadable)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let published = Arc::new(Published::new(head, entries, revoked));
        let told = Arc::clone(&published);
        let committer = Committer::new(path, connection, head);
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

    /// What is revoked, as of the last commit that was answered or is about to be.
    pub(super) fn revoked(&self) -> watch::Receiver<Arc<Revoked>> {
        self.published.revoked.subscribe()
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

#[cfg(test)]
mod tests;
