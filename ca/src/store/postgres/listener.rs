//! Hears what other replicas change.
//!
//! While it hears nothing, nothing is remembered: every read asks the database. What it missed it looks at when it is back. It is never what
//! correctness stands on: a certificate is recorded, or not, by what the database says within the transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::Notification;

use super::connector::{Connector, HEARD, Heard, drain};
use super::error::PostgresError;
use super::link::Link;
use super::migrate::check_version;
use super::{look, told};
use crate::store::sql::writer::published::Published;
use crate::store::{Change, StoreState};

/// Between two tries to get a session.
const PAUSE: Duration = Duration::from_secs(1);

/// After which silence the database is looked at, which also shows whether the session lives.
const QUIET: Duration = Duration::from_secs(5);

/// A session that listens.
pub(super) struct Listening {
    link: Link,
    heard: Heard,
}

impl Listening {
    /// From now on nothing is missed.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub(super) fn open(connector: &Connector) -> Result<Self, PostgresError> {
        let (link, heard) = connector.open()?;
        link.control(&format!("LISTEN {}", told::CHANNEL)).map_err(|error| connector.failed(&error))?;
        Ok(Self { link, heard })
    }
}

/// The thread that listens, until it is dropped.
pub(super) struct Listener {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
struct Ear {
    connector: Arc<Connector>,
    published: Arc<Published>,
    /// The session of our own writer.
    writer: Arc<AtomicI64>,
    stop: oneshot::Receiver<()>,
}

/// What came next.
enum Next {
    Told(Notification),
    Quiet,
    SessionOver,
    Stop,
}

impl Listener {
    /// Starts the thread with a session that has listened since before anything was read.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(
        connector: Arc<Connector>,
        first: Listening,
        published: Arc<Published>,
        writer: Arc<AtomicI64>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let ear = Ear { connector, published, writer, stop: stopped };
        let thread = std::thread::Builder::new().name("store-listener".to_owned()).spawn(move || ear.run(first))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("what listens to other replicas panicked");
        }
    }
}

impl Ear {
    fn run(mut self, first: Listening) {
        let mut listening = Some(first);
        loop {
            if let Some(session) = listening.take()
                && self.attend(session)
            {
                return;
            }
            self.published.hears_others.store(false, Ordering::Release);
            if self.pause() {
                return;
            }
            listening = self.again();
        }
    }

    /// A new session, and a look at all that was missed.
    fn again(&self) -> Option<Listening> {
        let opened = Listening::open(&self.connector);
        let opened = opened.map_err(|error| tracing::warn!(%error, "changes of other replicas are not heard")).ok()?;
        self.refuse_newer(&opened.link);
        match look::everything(&opened.link) {
            Ok(seen) => seen.publish(&self.published),
            Err(error) => {
                tracing::warn!(%error, "changes of other replicas are not heard");
                return None;
            }
        }
        self.published.hears_others.store(true, Ordering::Release);
        self.published.tell(vec![Change::Unknown]);
        Some(opened)
    }

    /// Takes in what is heard; says whether to stop, or else the session is over.
    fn attend(&mut self, mut session: Listening) -> bool {
        loop {
            let taken = match self.next(&mut session.heard) {
                Next::Stop => return true,
                Next::SessionOver => return false,
                Next::Quiet => self.take_in(&session.link, vec![]),
                Next::Told(first) => {
                    let mut heard = drain(&mut session.heard);
                    heard.insert(0, first);
                    let own = Some(self.writer.load(Ordering::Acquire));
                    // While our own writes are in doubt, what they told the others is news to us.
                    let is_well = *self.published.state.borrow() == StoreState::Well;
                    let missed = heard.len() >= HEARD;
                    let heard = heard.iter().map(|told| told::heard(told.payload()));
                    let foreign = heard.filter(|heard| !(is_well && heard.by == own));
                    let changes: Vec<_> = foreign.flat_map(|heard| heard.changes).collect();
                    if missed {
                        self.take_in(&session.link, vec![Change::Unknown])
                    } else if changes.is_empty() {
                        Ok(())
                    } else {
                        self.take_in(&session.link, changes)
                    }
                }
            };
            if let Err(error) = taken {
                tracing::warn!(%error, "changes of other replicas cannot be looked at");
                return false;
            }
        }
    }

    /// First what is true now, then that it changed: whoever is told looks at once.
    fn take_in(&self, link: &Link, changes: Vec<Change>) -> Result<(), crate::store::StoreError> {
        self.refuse_newer(link);
        look::everything(link)?.publish(&self.published);
        self.published.tell(changes);
        Ok(())
    }

    /// A later build may have changed the schema under the sessions of this one, whose writes do not keep what that promises.
    fn refuse_newer(&self, link: &Link) {
        if let Err(error @ PostgresError::Newer { .. }) = check_version(&self.connector, link) {
            self.published.enter(StoreState::Ended(error.to_string()));
        }
    }

    fn next(&mut self, heard: &mut Heard) -> Next {
        let stop = &mut self.stop;
        self.connector.network().block_on(async {
            tokio::select! {
                // The end first; else either order is fine.
                biased;
                _ = stop => Next::Stop,
                told = tokio::time::timeout(QUIET, heard.recv()) => match told {
                    Ok(Some(told)) => Next::Told(told),
                    Ok(None) => Next::SessionOver,
                    Err(_) => Next::Quiet,
                },
            }
        })
    }

    /// Says whether to stop.
    fn pause(&mut self) -> bool {
        let stop = &mut self.stop;
        self.connector.network().block_on(async { tokio::time::timeout(PAUSE, stop).await.is_ok() })
    }
}
