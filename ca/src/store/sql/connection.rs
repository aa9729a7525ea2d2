//! The seam between the statements of the store and the engine that runs them: a connection, and what a query answers with.
//!
//! The statements are written once, in what SQLite and PostgreSQL both understand. Where they do not agree, [`Connection::in_words_of`] names
//! both texts.

use tokio_postgres::types::{FromSql, Type};

use crate::store::StoreError;
use crate::store::postgres::{Link, LinkError};

use super::parameters::{Parameters, Value};

/// A connection within a transaction, of the writer or of a reader.
#[derive(Clone, Copy)]
pub enum Connection<'c> {
    /// A file.
    Sqlite(&'c rusqlite::Connection),
    /// A session with a server.
    Postgres(&'c Link),
}

/// What the engine said, with what it takes to judge it.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum DatabaseError {
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL, or the way to it.
    #[error(transparent)]
    Postgres(#[from] LinkError),
    /// The engine would have done it, and it must not be done.
    #[error("{0}")]
    Undone(String),
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A row of an answer.
pub(in crate::store) enum Row<'r> {
    /// Where SQLite stands in its answer.
    Sqlite(&'r rusqlite::Row<'r>),
    /// A row that was received.
    Postgres(&'r tokio_postgres::Row),
}

/// What both engines can read from a column: whole numbers, texts, bytes, and any of them or NULL.
pub(in crate::store) trait Column: rusqlite::types::FromSql + for<'a> FromSql<'a> {}

impl<T: rusqlite::types::FromSql + for<'a> FromSql<'a>> Column for T {}

/// That there is anything in a column.
struct Anything;

impl<'a> FromSql<'a> for Anything {
    fn from_sql(_: &Type, _: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Row<'_> {
    /// What a column holds.
    pub(in crate::store) fn get<T: Column>(&self, column: &'static str) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => row.try_get(column).map_err(unread),
        }
    }

    /// Whether a column holds nothing.
    pub(in crate::store) fn is_null(&self, column: &'static str) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?.data_type() == rusqlite::types::Type::Null),
            Self::Postgres(row) => Ok(row.try_get::<_, Option<Anything>>(column).map_err(unread)?.is_none()),
        }
    }
}

fn unread(error: tokio_postgres::Error) -> StoreError {
    StoreError::Unavailable(format!("a column cannot be read: {error}"))
}

impl Connection<'_> {
    /// The text that this engine understands.
    pub(in crate::store) fn in_words_of(self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Each row of a query, until one cannot be read.
    pub(super) fn query<T>(
        self,
        sql: &str,
        parameters: &impl Parameters,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        parameters.with(|values| match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_and_then(rusqlite::params_from_iter(values), |row| read(&Row::Sqlite(row)))?;
                rows.collect()
            }
            Self::Postgres(link) => link.query(sql, values)?.iter().map(|row| read(&Row::Postgres(row))).collect(),
        })
    }

    /// The first row of a query, if there is one.
    pub(super) fn query_first<T>(
        self,
        sql: &str,
        parameters: &impl Parameters,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        parameters.with(|values| match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query_and_then(rusqlite::params_from_iter(values), |row| read(&Row::Sqlite(row)))?;
                rows.next().transpose()
            }
            Self::Postgres(link) => link.query(sql, values)?.first().map(|row| read(&Row::Postgres(row))).transpose(),
        })
    }

    /// Runs a statement that answers with no row; says how many it changed.
    pub(super) fn execute(self, sql: &str, parameters: &impl Parameters) -> Result<usize, DatabaseError> {
        parameters.with(|values| match self {
            Self::Sqlite(connection) => Ok(connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?),
            Self::Postgres(link) => Ok(link.execute(sql, values)?),
        })
    }

    /// Inserts a row into a table whose key is a `position` that the engine counts; answers with it, or with `None` when there was a conflict
    /// that the statement passes over.
    pub(super) fn insert_counted(self, sql: &str, parameters: &impl Parameters) -> Result<Option<i64>, StoreError> {
        match self {
            // RETURNING would cost a table of its own for each row.
            Self::Sqlite(connection) => {
                let made = self.execute(sql, parameters)?;
                Ok((made > 0).then(|| connection.last_insert_rowid()))
            }
            Self::Postgres(_) => self.query_first(&format!("{sql} RETURNING position"), parameters, |row| row.get("position")),
        }
    }

    /// Runs a statement about a transaction or a savepoint.
    pub(in crate::store) fn control(self, sql: &'static str) -> Result<(), DatabaseError> {
        match self {
            // Kept compiled: they are as frequent as writes.
            Self::Sqlite(connection) => Ok(connection.prepare_cached(sql)?.execute([]).map(drop)?),
            Self::Postgres(link) => Ok(link.control(sql)?),
        }
    }

    /// How many rows were changed over the life of the connection.
    pub(in crate::store) fn changed_rows(self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.total_changes(),
            Self::Postgres(link) => link.changed_rows(),
        }
    }

    /// Why the transaction cannot be committed any more, whatever becomes of its savepoints.
    pub(in crate::store) fn lost(self) -> Option<DatabaseError> {
        match self {
            // Some failures (a full disk, out of memory) undo the whole transaction, and its savepoints with it.
            Self::Sqlite(connection) if connection.is_autocommit() => {
                Some(DatabaseError::Undone("the transaction was undone".to_owned()))
            }
            Self::Sqlite(_) => None,
            Self::Postgres(link) => link.lost().map(DatabaseError::Postgres),
        }
    }

    /// Whether a statement has failed that only going back to a savepoint heals: a server takes no other after it.
    pub(in crate::store) fn is_stuck(self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(link) => link.is_stuck(),
        }
    }
}

/// The values of a statement, for those who speak to a server themselves.
pub(in crate::store) type Values<'v> = &'v [Value<'v>];
