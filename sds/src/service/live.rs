//! The state machine of one connection behind its lock, and one open stream of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::clock::Clock;
use runtime::log_budget::LogBudget;
use tokio::sync::watch;
use tonic::Status;

use super::log;
use crate::stream::{Connection, Now, Response, StreamId, TooManyStreams};
use crate::{FileNames, FileSecrets, SdsMetrics, SecretState, StreamProgress, ValidationContextKind};

/// The longest sleep between two looks at the clock, which goes on during a suspend while the sleep does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// One state machine and all who drive it.
pub(crate) struct Shared {
    span: tracing::Span,
    /// Made by the first call.
    live: Mutex<Option<Live>>,
    /// Counted up when streams should look again.
    wake: watch::Sender<u64>,
}

struct Live {
    machine: Connection,
    /// For all streams of the connection together: a peer that errs without end does not fill the disk.
    log: LogBudget,
    secrets: watch::Receiver<Arc<SecretState>>,
    files: Option<Files>,
    /// How far the streams were when somebody asked, until something happens.
    progress: Option<StreamProgress>,
}

/// The files that the streams ask for, and what is in them.
struct Files {
    names: watch::Sender<FileNames>,
    found: watch::Receiver<Arc<FileSecrets>>,
}

/// Where a machine's secrets come from.
pub(super) struct Sources {
    pub(super) secrets: watch::Receiver<Arc<SecretState>>,
    /// Takes the names and gives what they stand for.
    pub(super) files: Option<(watch::Sender<FileNames>, watch::Receiver<Arc<FileSecrets>>)>,
}

/// What drives a machine: clones drive the same.
#[derive(Clone)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    metrics: SdsMetrics,
}

/// One open stream; closes itself in the machine when dropped.
pub(crate) struct OpenStream {
    pub(super) id: StreamId,
    pub(super) driver: Driver,
    pub(super) secrets: watch::Receiver<Arc<SecretState>>,
    pub(super) files: Option<watch::Receiver<Arc<FileSecrets>>>,
    pub(super) wake: watch::Receiver<u64>,
}

impl fmt::Debug for Shared {
    /// What it drives are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Its lines are logged in the span that is current now.
    pub(super) fn new() -> Self {
        Self { span: tracing::Span::current(), live: Mutex::default(), wake: watch::Sender::default() }
    }

    /// For another machine of the same connection, whose lines are logged in the same span.
    pub(super) fn beside(&self) -> Self {
        Self { span: self.span.clone(), live: Mutex::default(), wake: watch::Sender::default() }
    }

    /// How far its streams are with the newest state that was published for their caller.
    pub(crate) fn progress(&self) -> StreamProgress {
        let mut guard = self.lock();
        let Some(live) = guard.as_mut() else { return StreamProgress::default() };
        let newest = Arc::clone(&live.secrets.borrow());
        if live.machine.has(&newest) {
            *live.progress.get_or_insert_with(|| live.machine.progress())
        } else {
            live.machine.progress_before_update()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        // The machine has no half-done state that a panic could leave behind worse than a wrong answer to its own peer.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// What drives a machine that is there.
    pub(super) fn of(shared: Arc<Shared>, clock: Arc<dyn Clock>, metrics: SdsMetrics) -> Self {
        Self { shared, clock, metrics }
    }

    /// What is driven, so that another stream may join.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Makes the machine if this is the first to need it. `subscribe` says where its secrets come from.
    pub(super) fn new(
        shared: Arc<Shared>,
        validation: ValidationContextKind,
        clock: Arc<dyn Clock>,
        metrics: SdsMetrics,
        subscribe: impl FnOnce() -> Sources,
    ) -> Self {
        let now = read(&*clock);
        shared.lock().get_or_insert_with(|| {
            let Sources { mut secrets, files } = subscribe();
            let state = Arc::clone(&secrets.borrow_and_update());
            let files = files.map(|(names, found)| Files { names, found });
            Live {
                machine: Connection::new(validation, state, now),
                log: LogBudget::new(now.boot),
                secrets,
                files,
                progress: None,
            }
        });
        Self { shared, clock, metrics }
    }

    /// Runs `step` on the machine with the newest state and the time, then logs, counts, and wakes the streams.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut Connection, Now) -> T) -> Option<T> {
        let now = read(&*self.clock);
        let mut guard = self.shared.lock();
        let live = guard.as_mut()?;
        live.progress = None;
        let state = Arc::clone(&live.secrets.borrow());
        live.machine.update(state, now);
        if let Some(files) = &live.files {
            let found = Arc::clone(&files.found.borrow());
            live.machine.update_files(found, now);
        }
        let outcome = step(&mut live.machine, now);
        if let Some(files) = &live.files {
            let names = live.machine.file_names();
            files.names.send_if_modified(|before| {
                let changed = **before != names;
                if changed {
                    *before = Arc::new(names);
                }
                changed
            });
        }
        let events: Vec<_> = live.machine.take_events().into_iter().map(|event| (live.log.take(now.boot), event)).collect();
        let woken = live.machine.take_woken();
        drop(guard);
        if woken {
            self.shared.wake.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.shared.span.in_scope(|| {
            for (line, event) in &events {
                self.metrics.count(event);
                if let Some(left_out) = line {
                    log::tell_left_out(*left_out);
                    log::event(event);
                }
            }
        });
        Some(outcome)
    }

    /// Opens a stream by `open`; `None` when the machine is gone.
    pub(super) fn open(
        self,
        open: impl FnOnce(&mut Connection) -> Result<StreamId, TooManyStreams>,
    ) -> Option<Result<OpenStream, TooManyStreams>> {
        let mut guard = self.shared.lock();
        let live = guard.as_mut()?;
        live.progress = None;
        let id = match open(&mut live.machine) {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        let (secrets, files) = (live.secrets.clone(), live.files.as_ref().map(|files| files.found.clone()));
        drop(guard);
        self.metrics.opened();
        let wake = self.shared.wake.subscribe();
        Some(Ok(OpenStream { id, driver: self, secrets, files, wake }))
    }

    /// A refusal counts against the same budget: the peer can call again at once.
    pub(super) fn log_refusal(&self, error: &dyn fmt::Display) {
        let boot = self.clock.boottime();
        let line = self.shared.lock().as_mut().and_then(|live| live.log.take(boot));
        if let Some(left_out) = line {
            self.shared.span.in_scope(|| {
                log::tell_left_out(left_out);
                tracing::warn!(%error, "SDS request refused");
            });
        }
    }
}

impl OpenStream {
    pub(super) fn transmit(&self) -> Option<Response> {
        self.driver.step(|machine, now| machine.transmit(self.id, now)).flatten()
    }

    /// How long until the machine wants to be asked again, at most [`LONGEST_SLEEP`].
    pub(super) fn sleep(&self) -> Duration {
        let until_wakeup = self.driver.step(|machine, now| machine.next_wakeup().map(|at| at.saturating_sub(now.boot))).flatten();
        until_wakeup.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }
}

impl OpenStream {
    /// How the stream ends, when whoever it is for is gone or refused.
    pub(super) fn end(&self) -> Option<Status> {
        // First, since whoever refuses also lets go.
        if let Some(why) = &self.secrets.borrow().refused {
            return Some(Status::unauthenticated(why.as_ref()));
        }
        self.secrets.has_changed().is_err().then(|| Status::unavailable("the caller of this connection is gone"))
    }
}

/// Resolves when files changed; never where there are none.
pub(super) async fn files_changed(files: &mut Option<watch::Receiver<Arc<FileSecrets>>>) {
    if let Some(found) = files
        && found.changed().await.is_ok()
    {
        return;
    }
    // There are none, or the host gives no more: nothing will change.
    std::future::pending().await
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.driver.step(|machine, now| machine.close(self.id, now));
        self.driver.metrics.closed();
    }
}

fn read(clock: &dyn Clock) -> Now {
    Now { wall: clock.now().into(), boot: clock.boottime() }
}
