//! The store's behaviour on a real file: that of every engine, and its own.

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

mod clock_files;
mod faults;
mod file;
mod migration;
mod plans;
mod writer;

use std::path::PathBuf;

use super::{Sqlite, SqliteStore, StoreFile};
use crate::store::sql::columns::first;
use crate::store::sql::connection::Connection;
use crate::store::sql::support::*;

/// A store in a directory that goes away with it.
struct Fixture {
    directory: tempfile::TempDir,
    store: SqliteStore,
}

impl HasStore for Fixture {
    type Engine = Sqlite;

    fn store(&self) -> &SqliteStore {
        &self.store
    }
}

impl Fixture {
    /// There is always one: other engines need more than a directory.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).unwrap();
        Some(Self { directory, store })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    /// Closes and opens the same file.
    fn reopened(self) -> Self {
        let Self { directory, store } = self;
        drop(store);
        let store = SqliteStore::open(&directory.path().join("store.db")).unwrap();
        Self { directory, store }
    }

    /// What can be read without the CA.
    fn file(&self) -> Option<StoreFile> {
        Some(StoreFile::open(&self.path()).unwrap())
    }

    /// Behind the back of the store.
    fn by_hand<T: Send>(&self, work: impl FnOnce(Connection<'_>) -> T + Send) -> T {
        work(Connection::Sqlite(&rusqlite::Connection::open(self.path()).unwrap()))
    }

    fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn rows(&self, sql: &str) -> i64 {
        self.by_hand(|connection| first(connection, sql, (), |row| row.get("rows")).unwrap().unwrap())
    }
}
