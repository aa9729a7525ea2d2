//! The one writer of a store: a thread that takes writes from a bounded queue and commits them in groups.
//!
//! A commit syncs, which costs about the same for one write as for hundreds; so all that is queued goes into one transaction, and all are
//! answered after the commit. A write that fails is undone alone: it has a savepoint of its own, or fails before it changes anything. When
//! neither holds, the transaction itself is lost, or its commit fails, the whole group is answered as failed, and what comes then is for the
//! engine to say ([`Committer`]).

pub(in crate::store) mod group;
pub(in crate::store) mod published;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use pki::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use published::Published;

use super::audit;
use super::connection::Connection;
use super::marks::Marks;
use crate::audit::AuditEvent;
use crate::revocation::Revoked;
use crate::store::{Change, FaultKind, StoreError, StoreState};

/// Writes that wait for the writer. Beyond it callers wait to queue.
const QUEUE: usize = 1024;

/// Writes that share a commit: enough to make the sync cheap, few enough to answer the first of them soon.
const MAX_GROUP: usize = 512;

/// How an engine commits.
pub(in crate::store) trait Committer {
    /// One transaction for the whole group. What it changed is published when this answers.
    ///
    /// # Errors
    /// What the callers are told: nothing of the group may be taken for written. The store's state says whether it takes further writes.
    fn commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), StoreError>;

    /// After a group was answered.
    fn tidy(&mut self, published: &Published);

    /// From refusing to taking writes, and from a backlog to none, if that can be.
    fn recover(&mut self, published: &Published);
}

pub(in crate::store) struct Writer {
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
pub(in crate::store) struct Unit<'c> {
    connection: Connection<'c>,
    changes: Vec<Change>,
    marks: Marks,
    /// Whether somebody else writes into the same database.
    has_company: bool,
}

impl<'c> Unit<'c> {
    pub(in crate::store) fn connection(&self) -> Connection<'c> {
        self.connection
    }

    /// Whether somebody else writes into the same database, so that what is remembered here may be behind it.
    pub(in crate::store) fn has_company(&self) -> bool {
        self.has_company
    }

    /// Appends an event to the chain, in the transaction of the rows that it speaks of.
    pub(in crate::store) fn audit(&mut self, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
        let head = self.marks.head(self.connection)?;
        let head = audit::append(self.connection, head, event, now)?;
        self.marks.set_head(self.connection, head)
    }

    /// The latest issuance on record.
    pub(in crate::store) fn latest_issuance(&mut self) -> Result<Timestamp, StoreError> {
        self.marks.latest(self.connection)
    }

    /// From now on this is the latest issuance.
    pub(in crate::store) fn set_latest_issuance(&mut self, latest: Timestamp) -> Result<(), StoreError> {
        self.marks.set_latest(self.connection, latest)
    }

    /// To be told after the commit.
    pub(in crate::store) fn changed(&mut self, change: Change) {
        // Of many entries of a cluster one word is enough.
        if change != Change::EntriesOfClusters || !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

impl Writer {
    /// Starts the thread; `committer` is made in it, and stays there.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn start<C: Committer>(
        published: Arc<Published>,
        committer: impl FnOnce() -> C + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let told = Arc::clone(&published);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || serve(committer(), queue, &told))?;
        Ok(Self { commands: Some(commands), thread: Some(thread), published })
    }

    /// Runs `work` in the next transaction and answers after its commit. An error from `work` undoes what it wrote, and only that.
    pub(in crate::store) async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Unit<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue(work, Undo::Savepoint).await
    }

    /// As [`Self::write`], for work that fails before it changes anything, or never: what it changed before an error cannot be undone
    /// alone, and fails the whole group. It spares the savepoint, which costs as much as the rows of a certificate.
    pub(in crate::store) async fn write_checked<T, E>(
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

    /// How often what nodes have was changed; `None` while the database has to be asked.
    pub(in crate::store) fn entries_generation(&self) -> Option<i64> {
        if self.published.hears_others.load(Ordering::Acquire) { self.published.entries.now() } else { None }
    }

    /// What is revoked, as of the last commit that was answered or is about to be.
    pub(in crate::store) fn revoked(&self) -> watch::Receiver<Arc<Revoked>> {
        self.published.revoked.subscribe()
    }

    pub(in crate::store) fn audit_head(&self) -> watch::Receiver<u64> {
        self.published.audit_head.subscribe()
    }

    /// Tries to take writes again, if they are refused.
    pub(in crate::store) async fn recover(&self) {
        let (reply, over) = oneshot::channel();
        let Some(commands) = &self.commands else { return };
        if commands.send(Message::Recover(reply)).await.is_ok() {
            // An error says that the writer has ended, which its state says too.
            over.await.ok();
        }
    }

    pub(in crate::store) fn state(&self) -> watch::Receiver<StoreState> {
        self.published.state.subscribe()
    }

    pub(in crate::store) fn commit_turns(&self) -> u64 {
        self.published.turns.load(Ordering::Relaxed)
    }

    pub(in crate::store) fn faults(&self) -> Vec<(FaultKind, u64)> {
        let counts = self.published.faults.iter().map(|count| count.load(Ordering::Relaxed));
        FaultKind::ALL.into_iter().zip(counts).collect()
    }

    pub(in crate::store) fn changes(&self) -> broadcast::Receiver<Change> {
        self.published.changes.subscribe()
    }

    pub(in crate::store) fn commits(&self) -> u64 {
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

/// Tells of a panic, which is a bug, as of any other end of the writer: the store must not look well afterwards.
struct PanicWatch<'p>(&'p Published);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.enter(StoreState::Ended("its writer panicked".to_owned()));
        }
    }
}

/// Serves what comes, until the queue is closed and empty.
fn serve(mut committer: impl Committer, mut queue: mpsc::Receiver<Message>, published: &Published) {
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
            serve_group(&mut committer, group, published);
        }
        if !recovering.is_empty() {
            recover(&mut committer, published);
        }
        for over in recovering {
            // Whoever asked may be gone.
            over.send(()).ok();
        }
    }
}

/// Commits a group and answers it; then, what a fault asks for.
fn serve_group(committer: &mut impl Committer, mut group: Vec<Box<dyn Command>>, published: &Published) {
    let committed = match published.refusal() {
        Some(refused) => Err(refused),
        None => {
            published.turns.fetch_add(1, Ordering::Relaxed);
            let committed = committer.commit(&mut group, published);
            published.turns.fetch_add(1, Ordering::Relaxed);
            committed
        }
    };
    let failed = committed.is_err() && published.refusal().is_some();
    for command in group {
        command.answer(committed.clone());
    }
    if failed { recover(committer, published) } else { committer.tidy(published) }
}

fn recover(committer: &mut impl Committer, published: &Published) {
    published.turns.fetch_add(1, Ordering::Relaxed);
    committer.recover(published);
    published.turns.fetch_add(1, Ordering::Relaxed);
}

/// A write in the queue, whatever it answers with.
pub(in crate::store) trait Command: Send {
    /// How its rows go when it fails.
    fn undo(&self) -> Undo;

    /// Does the work; says whether its rows stay.
    fn apply(&mut self, unit: &mut Unit<'_>) -> Rows;

    /// Answers the caller, who may be gone.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

pub(in crate::store) enum Rows {
    Stay,
    Go,
}

/// How the rows of a write that fails go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Undo {
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
