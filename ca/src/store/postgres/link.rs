//! One session with the server, spoken to from a thread that waits for each answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::error::{LinkError, LinkErrorKind};
use crate::store::sql::connection::Values;

/// For how long an answer is waited for: longer than the server works on a statement, so that it is silent only when it is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Statements that a session keeps prepared: more than the store has.
const KEPT_STATEMENTS: usize = 256;

/// One session. Not for two threads at once.
pub struct Link {
    client: Client,
    network: Handle,
    /// By the text of the store.
    statements: RefCell<HashMap<String, Statement>>,
    changed_rows: Cell<u64>,
    /// Whether the transaction takes no statement before a return to a savepoint.
    stuck: Cell<bool>,
    lost: RefCell<Option<LinkError>>,
}

impl Link {
    pub(super) fn new(client: Client, network: Handle) -> Self {
        Self {
            client,
            network,
            statements: RefCell::default(),
            changed_rows: Cell::new(0),
            stuck: Cell::new(false),
            lost: RefCell::new(None),
        }
    }

    /// The rows that a query answers with.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(in crate::store) fn query(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, LinkError> {
        let statement = self.prepared(sql, values)?;
        let values: Vec<_> = values.iter().map(|value| -> &(dyn ToSql + Sync) { value }).collect();
        let rows = self.wait(self.client.query(&statement, &values))?;
        // A query that changes something says by its rows what it changed.
        if sql.starts_with("INSERT") {
            self.count(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        }
        Ok(rows)
    }

    /// Runs a statement; says how many rows it changed.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(in crate::store) fn execute(&self, sql: &str, values: Values<'_>) -> Result<usize, LinkError> {
        let statement = self.prepared(sql, values)?;
        let values: Vec<_> = values.iter().map(|value| -> &(dyn ToSql + Sync) { value }).collect();
        let changed = self.wait(self.client.execute(&statement, &values))?;
        self.count(changed);
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Runs statements without values.
    ///
    /// # Errors
    /// [`LinkError`].
    pub(in crate::store) fn control(&self, sql: &str) -> Result<(), LinkError> {
        self.wait(self.client.batch_execute(sql))?;
        if sql.starts_with("ROLLBACK") {
            self.stuck.set(false);
        }
        Ok(())
    }

    pub(in crate::store) fn changed_rows(&self) -> u64 {
        self.changed_rows.get()
    }

    /// Whether the transaction takes no statement before a return to a savepoint.
    pub(in crate::store) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// Why the session is of no use any more.
    pub(in crate::store) fn lost(&self) -> Option<LinkError> {
        self.lost.borrow().clone()
    }

    /// Whether it ended while nobody spoke through it.
    pub(super) fn has_ended(&self) -> bool {
        self.client.is_closed() || self.lost.borrow().is_some()
    }

    fn prepared(&self, sql: &str, values: Values<'_>) -> Result<Statement, LinkError> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let types: Vec<_> = values.iter().map(|value| value.postgres_type()).collect();
        // SQLite numbers its parameters with another sign.
        let statement = self.wait(self.client.prepare_typed(&sql.replace('?', "$"), &types))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= KEPT_STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn count(&self, rows: u64) {
        self.changed_rows.set(self.changed_rows.get().saturating_add(rows));
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, LinkError> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let error = match self.network.block_on(async { tokio::time::timeout(PATIENCE, answer).await }) {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => LinkError::from(&error),
            Err(_) => LinkError::silent(PATIENCE.as_secs()),
        };
        self.stuck.set(true);
        if error.kind == LinkErrorKind::Gone || self.client.is_closed() {
            self.lost.replace(Some(error.clone()));
        }
        Err(error)
    }
}
