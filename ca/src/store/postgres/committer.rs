//! Commits into the database: a group in one transaction, one replica at a time.
//!
//! Each transaction begins with a lock that all replicas take and that the server holds to its end, and reads what it needs after that: so it
//! sees all that was committed before, whoever did it, and the audit chain, the sequences and the one use of tokens are as exact as with one
//! writer. A commit whose answer is lost may have been done: its group is answered as failed, so nothing is signed for it, and the store looks
//! at everything anew before it takes the next write.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::connector::Connector;
use super::error::{LinkError, LinkErrorKind, PostgresError};
use super::link::Link;
use super::migrate::{LOCK, check_version};
use super::{look, told};
use crate::audit::ChainHead;
use crate::store::sql::audit;
use crate::store::sql::connection::{Connection, DatabaseError};
use crate::store::sql::marks::Marks;
use crate::store::sql::parameters::Value;
use crate::store::sql::writer::group::{self, Written};
use crate::store::sql::writer::published::Published;
use crate::store::sql::writer::{Command, Committer};
use crate::store::{Change, FaultKind, StoreError, StoreFault, StoreState};

/// What the writer of a database works with.
pub(super) struct ServerCommitter {
    connector: Arc<Connector>,
    /// The session; `None` after it was given up.
    link: Option<Link>,
    /// The server's number for the session, by which our own notifications are known.
    session: Arc<AtomicI64>,
    /// The end of the audit chain as of the last commit that succeeded here.
    answered: ChainHead,
    /// Whether anybody else was seen to write.
    has_company: bool,
}

/// Why a group was not committed.
enum Failure {
    /// Another replica holds the lock, or was faster: nothing was written.
    Busy(LinkError),
    /// The transaction was lost.
    Lost(DatabaseError),
    /// There is no answer to the commit: nobody here knows whether it was done.
    Unknown(LinkError),
    /// The database cannot be used.
    State(StoreState),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Postgres(error) if error.kind == LinkErrorKind::Busy => Self::Busy(error),
            other @ (DatabaseError::Postgres(_) | DatabaseError::Sqlite(_) | DatabaseError::Undone(_)) => Self::Lost(other),
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        DatabaseError::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Lost(DatabaseError::Undone(error.to_string()))
    }
}

impl ServerCommitter {
    pub(super) fn new(connector: Arc<Connector>, link: Link, session: Arc<AtomicI64>, answered: ChainHead) -> Self {
        Self { connector, link: Some(link), session, answered, has_company: false }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), Failure> {
        let link = self.begun()?;
        let connection = Connection::Postgres(&link);
        let head = audit::head(connection).map_err(|error| link.lost().map_or_else(|| error.into(), Failure::from))?;
        // Whoever writes appends to the chain.
        self.has_company |= head != self.answered;
        let written = group::run(connection, group, Marks::after(head), self.has_company)
            .and_then(|written| self.tell_others(&link, written))
            .and_then(|written| refuse_given_up(connection, written))
            .map_err(|error| link.lost().map_or_else(|| error.into(), Failure::from));
        let written = match written {
            Ok(written) => written,
            Err(failure) => {
                // What cannot be rolled back is rolled back by the server, when the session is given up.
                if link.control("ROLLBACK").is_ok() {
                    self.link = Some(link);
                }
                return Err(failure);
            }
        };
        link.control("COMMIT").map_err(|error| if link.has_ended() { Failure::Unknown(error) } else { error.into() })?;
        self.link = Some(link);
        self.answered = written.head.unwrap_or(head);
        written.publish(published, self.answered.sequence);
        Ok(())
    }

    /// A session with an open transaction that holds the lock. One that ended while nothing was written is replaced.
    fn begun(&mut self) -> Result<Link, Failure> {
        if let Some(link) = self.link.take().filter(|link| !link.has_ended()) {
            match begin(&link) {
                Ok(()) => return Ok(link),
                Err(error) if error.kind == LinkErrorKind::Gone => {}
                Err(error) => {
                    if link.control("ROLLBACK").is_ok() {
                        self.link = Some(link);
                    }
                    return Err(error.into());
                }
            }
        }
        let link = self.reopened().map_err(Failure::State)?;
        begin(&link)?;
        Ok(link)
    }

    /// A new session, after proof that the database holds everything that was answered here.
    fn reopened(&self) -> Result<Link, StoreState> {
        let (link, _) = self.connector.open().map_err(|error| error.as_state())?;
        check_version(&self.connector, &link).map_err(|error| match error {
            PostgresError::Newer { .. } => StoreState::Ended(error.to_string()),
            PostgresError::Password { .. }
            | PostgresError::Roots { .. }
            | PostgresError::Server { .. }
            | PostgresError::Setting { .. } => error.as_state(),
        })?;
        let failed = |error: StoreError| StoreState::Refusing(StoreFault { kind: FaultKind::Server, cause: error.to_string() });
        let connection = Connection::Postgres(&link);
        let found = audit::head(connection).map_err(failed)?;
        let is_known = self.answered.sequence == 0
            || audit::hash_of(connection, self.answered.sequence).map_err(failed)? == Some(self.answered.hash);
        if found.sequence < self.answered.sequence || !is_known {
            return Err(StoreState::Ended(format!(
                "the database does not hold what it had confirmed (audit event {} was the last that this replica wrote, now the last is {}): \
                 was a standby promoted that lagged behind, or an old copy restored? Keep the database as it is for the inquiry",
                self.answered.sequence, found.sequence
            )));
        }
        self.session.store(look::session_number(&link).map_err(|error| failed(error.into()))?, Ordering::Release);
        Ok(link)
    }

    fn tell_others(&self, link: &Link, written: Written) -> Result<Written, DatabaseError> {
        if let Some(payload) = told::payload(&written.changes, self.session.load(Ordering::Acquire)) {
            link.query("SELECT pg_notify(?1, ?2)", &[Value::Text(told::CHANNEL), Value::Text(&payload)])?;
        }
        Ok(written)
    }
}

/// A server that has given a transaction up, for whatever failure, answers COMMIT without an error, and rolls back.
fn refuse_given_up(connection: Connection<'_>, written: Written) -> Result<Written, DatabaseError> {
    if connection.is_stuck() { Err(DatabaseError::Undone("the server gave the transaction up".to_owned())) } else { Ok(written) }
}

fn begin(link: &Link) -> Result<(), LinkError> {
    // Each statement sees what was committed before it: a snapshot taken before the lock would miss what its last holder wrote.
    link.control("BEGIN ISOLATION LEVEL READ COMMITTED")?;
    link.control(LOCK)
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Committer for ServerCommitter {
    fn commit(&mut self, group: &mut [Box<dyn Command>], published: &Published) -> Result<(), StoreError> {
        let (told, state) = match self.try_commit(group, published) {
            Ok(()) => return Ok(()),
            Err(Failure::Busy(error)) => {
                tracing::warn!(%error, "another replica holds the write lock of the store, or was faster");
                return Err(StoreError::Unavailable("another replica holds its write lock".to_owned()));
            }
            Err(Failure::Unknown(error)) => {
                let told = format!("a commit was not answered, and nothing is signed for what it held: {error}");
                let fault = StoreFault { kind: FaultKind::Server, cause: told.clone() };
                (told, StoreState::Refusing(fault))
            }
            Err(Failure::Lost(error)) => {
                let kind = match &error {
                    DatabaseError::Postgres(error) => error.fault_kind(),
                    DatabaseError::Sqlite(_) | DatabaseError::Undone(_) => FaultKind::Undone,
                };
                let told = format!("a commit failed: {error}");
                (told, StoreState::Refusing(StoreFault { kind, cause: error.to_string() }))
            }
            Err(Failure::State(state)) => (state.refusal().unwrap_or_default(), state),
        };
        published.entries.forget();
        published.enter(state);
        Err(StoreError::Unavailable(told))
    }

    fn tidy(&mut self, _: &Published) {}

    fn recover(&mut self, published: &Published) {
        if !matches!(*published.state.borrow(), StoreState::Refusing(_)) {
            return;
        }
        let state = self.reopened().and_then(|link| {
            let seen = look::everything(&link)
                .map_err(|error| StoreState::Refusing(StoreFault { kind: FaultKind::Server, cause: error.to_string() }))?;
            self.link = Some(link);
            // What was not answered may be there after all.
            seen.publish(published);
            published.tell(vec![Change::Unknown]);
            Ok(())
        });
        published.enter(state.err().unwrap_or(StoreState::Well));
    }
}
