//! The store's behaviour in a database of a real server: that of every engine, and its own.

#[path = "../../sql/tests/acknowledgements.rs"]
mod acknowledgements;
#[path = "../../sql/tests/agent_pods.rs"]
mod agent_pods;
#[path = "../../sql/tests/aliases.rs"]
mod aliases;
#[path = "../../sql/tests/apply.rs"]
mod apply;
#[path = "../../sql/tests/authorities.rs"]
mod authorities;
#[path = "../../sql/tests/certificates.rs"]
mod certificates;
#[path = "../../sql/tests/chain.rs"]
mod chain;
#[path = "../../sql/tests/clock.rs"]
mod clock;
#[path = "../../sql/tests/entries.rs"]
mod entries;
#[path = "../../sql/tests/federations.rs"]
mod federations;
#[path = "../../sql/tests/issuance.rs"]
mod issuance;
#[path = "../../sql/tests/leases.rs"]
mod leases;
#[path = "../../sql/tests/leaves.rs"]
mod leaves;
#[path = "../../sql/tests/nodes.rs"]
mod nodes;
#[path = "../../sql/tests/objects.rs"]
mod objects;
#[path = "../../sql/tests/orphans.rs"]
mod orphans;
#[path = "../../sql/tests/remembered.rs"]
mod remembered;
#[path = "../../sql/tests/revocations.rs"]
mod revocations;
#[path = "../../sql/tests/tokens.rs"]
mod tokens;

mod replicas;
#[path = "../../../../../tests/src/postgres.rs"]
#[expect(dead_code, unreachable_pub, reason = "the harness of the suite, of which these tests take a part")]
mod server;
mod sessions;
mod settings;

use super::connector::Connector;
use super::network::Network;
use super::{Postgres, PostgresConfig, PostgresStore, ServerPlace};
use crate::store::StoreFile;
use crate::store::sql::columns::first;
use crate::store::sql::connection::Connection;
use crate::store::sql::support::*;
use server::{Database, PostgresServer};

/// A store in a database that goes away with its server.
struct Fixture {
    store: PostgresStore,
    database: Database,
}

impl HasStore for Fixture {
    type Engine = Postgres;

    fn store(&self) -> &PostgresStore {
        &self.store
    }
}

/// The replica that the tests are.
fn own() -> ReplicaName {
    ReplicaName::parse("ca-1").unwrap()
}

/// How a store reaches the database.
fn config(database: &Database) -> PostgresConfig {
    PostgresConfig {
        place: ServerPlace::Socket { directory: database.socket(), port: super::DEFAULT_PORT },
        user: server::USER.to_owned(),
        database: database.name().to_owned(),
        password: None,
    }
}

/// Runs `work` with a session of its own.
fn by_hand<T: Send>(config: &PostgresConfig, work: impl FnOnce(Connection<'_>) -> T + Send) -> T {
    let run = || {
        let network = Network::start().unwrap();
        let (link, _) = Connector::new(config.clone(), network.handle().clone()).open().unwrap();
        work(Connection::Postgres(&link))
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

impl Fixture {
    /// `None` where there is no server, which is told and listed.
    fn new() -> Option<Self> {
        let database = PostgresServer::database()?;
        Some(Self { store: PostgresStore::open(config(&database), own()).unwrap(), database })
    }

    /// Closes and opens the same database.
    fn reopened(self) -> Self {
        let Self { store, database } = self;
        drop(store);
        Self { store: PostgresStore::open(config(&database), own()).unwrap(), database }
    }

    /// There is no file that could be read without the CA.
    fn file(&self) -> Option<StoreFile> {
        None
    }

    /// Behind the back of the store.
    fn by_hand<T: Send>(&self, work: impl FnOnce(Connection<'_>) -> T + Send) -> T {
        by_hand(&config(&self.database), work)
    }

    /// In SQLite's words for bytes.
    fn tamper(&self, sql: &str) {
        let sql = sql.replace("x'", "'\\x");
        self.by_hand(|connection| match connection {
            Connection::Postgres(link) => link.control(&sql).unwrap(),
            Connection::Sqlite(_) => unreachable!("the session is with a server"),
        });
    }

    fn rows(&self, sql: &str) -> i64 {
        self.by_hand(|connection| first(connection, sql, (), |row| row.get("rows")).unwrap().unwrap())
    }
}
