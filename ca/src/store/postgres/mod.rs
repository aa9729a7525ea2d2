//! The store in a database of a PostgreSQL server, which several replicas of a CA may share.
//!
//! Owns the sessions with the server, the schema there, how replicas take turns to write and hear of each other, and how a server that is gone is
//! met. All of it runs on threads of its own: sessions are waited for, and never on a thread that serves tasks.

mod committer;
mod connector;
mod error;
mod link;
mod listener;
mod look;
mod migrate;
mod network;
mod settings;
mod tls;
mod told;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use identity::ReplicaName;

pub(in crate::store) use error::LinkError;
pub use error::PostgresError;
pub(in crate::store) use link::Link;
pub(crate) use settings::DEFAULT_PORT;
pub use settings::{PostgresConfig, ServerPlace};

use super::StoreError;
use super::sql::connection::Connection;
use super::sql::readers::Readers;
use super::sql::remembered::Generation;
use super::sql::writer::Writer;
use super::sql::writer::published::Published;
use super::sql::{Engine, SqlStore, authorities};
use crate::authority::lifecycle::Lifecycle;
use committer::ServerCommitter;
use connector::Connector;
use error::LinkErrorKind;
use listener::{Listener, Listening};
use network::Network;

/// PostgreSQL.
pub struct Postgres;

/// The store in a database. Dropping it ends the writer after what is queued, and its sessions.
pub type PostgresStore = SqlStore<Postgres>;

/// What one reader reads by.
pub struct Reader {
    connector: Arc<Connector>,
    link: Option<Link>,
}

/// What lives as long as the store.
pub struct Company {
    // Dropped first: it speaks through the network.
    _listener: Listener,
    _network: Network,
}

impl Engine for Postgres {
    type Reader = Reader;
    type Company = Company;
    const IS_SHARED: bool = true;

    fn snapshot<T>(
        reader: &mut Self::Reader,
        query: impl FnOnce(Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let link = reader.begun()?;
        let answer = query(Connection::Postgres(&link));
        // A transaction that only read is over either way; a session that fails is not used again.
        if link.control("ROLLBACK").is_ok() {
            reader.link = Some(link);
        }
        answer
    }
}

impl Reader {
    fn open(connector: &Arc<Connector>) -> Result<Self, PostgresError> {
        let (link, _) = connector.open()?;
        Ok(Self { connector: Arc::clone(connector), link: Some(link) })
    }

    /// A session with an open transaction. One that ended while nothing was read is replaced.
    fn begun(&mut self) -> Result<Link, StoreError> {
        if let Some(link) = self.link.take().filter(|link| !link.has_ended()) {
            match link.control(look::BEGIN) {
                Ok(()) => return Ok(link),
                Err(error) if error.kind == LinkErrorKind::Gone => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (link, _) = self.connector.open().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        link.control(look::BEGIN)?;
        Ok(link)
    }
}

impl SqlStore<Postgres> {
    /// Opens the store in a database, brings its schema up to date, and starts the writer and what listens to other replicas.
    ///
    /// # Errors
    /// [`PostgresError`] naming the database and what to do: the server is not reached, the schema is newer than this build, or the server does
    /// not run with the settings that durability stands on.
    ///
    /// `own`: the replica that asks.
    pub fn open(config: PostgresConfig, own: ReplicaName) -> Result<Self, PostgresError> {
        beside(config, |connector, network| {
            let (link, _) = connector.open()?;
            migrate::migrate(&connector, &link)?;
            // Before anything is read, so that nothing is missed.
            let listening = Listening::open(&connector)?;
            let unreadable = |cause: String| PostgresError::Server { database: connector.database(), cause };
            let seen = look::everything(&link).map_err(|error| unreadable(error.to_string()))?;
            let number = look::session_number(&link).map_err(|error| connector.failed(&error))?;
            let session = Arc::new(AtomicI64::new(number));
            let head = seen.head;
            let published = Arc::new(Published::new(head, Generation::new(seen.entries), seen.revoked));
            let committer = ServerCommitter::new(Arc::clone(&connector), link, Arc::clone(&session), head);
            let readers = Readers::new(|| Reader::open(&connector))?;
            let started = |cause: std::io::Error| unreadable(cause.to_string());
            let writer = Writer::start(Arc::clone(&published), move || committer).map_err(started)?;
            let listener = Listener::start(Arc::clone(&connector), listening, published, session).map_err(started)?;
            Ok(Self::new(readers, writer, Some(own), Company { _listener: listener, _network: network }))
        })
    }
}

/// Looks at a database without changing anything there, as `ca check` does: what it says of authorities, or nothing before a CA made its schema.
///
/// # Errors
/// [`PostgresError`], as [`PostgresStore::open`].
pub(crate) fn inspect(config: PostgresConfig, own: &ReplicaName) -> Result<Lifecycle, PostgresError> {
    beside(config, |connector, _network| {
        let (link, _) = connector.open()?;
        let failed = |error: LinkError| connector.failed(&error);
        if !migrate::exists(&link).map_err(failed)? {
            return Ok(Lifecycle::default());
        }
        migrate::check_version(&connector, &link)?;
        let unreadable = |error: StoreError| PostgresError::Server { database: connector.database(), cause: error.to_string() };
        look::snapshot(&link, |connection| authorities::stored(connection, Some(own))).map_err(unreadable)
    })
}

/// Runs `work` on a thread that may wait for sessions, which the caller's may not.
fn beside<T: Send>(
    config: PostgresConfig,
    work: impl FnOnce(Arc<Connector>, Network) -> Result<T, PostgresError> + Send,
) -> Result<T, PostgresError> {
    let database = config.to_string();
    let failed = |cause: String| PostgresError::Server { database, cause };
    let network = match Network::start() {
        Ok(network) => network,
        Err(error) => return Err(failed(error.to_string())),
    };
    let connector = Arc::new(Connector::new(config, network.handle().clone()));
    let outcome = std::thread::scope(|scope| scope.spawn(move || work(connector, network)).join());
    outcome.unwrap_or_else(|_| Err(failed("the thread that opens it panicked".to_owned())))
}

#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "the tests of every engine are written once")]
mod tests;
