//! Between domain values and what a column holds. A row that does not read back as what was written is an error, never a default.

use pki::{SerialNumber, Sha256Digest, Timestamp};
use rusqlite::Row;
use rusqlite::types::Type;

use crate::store::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Says that a column does not hold what this program writes into it.
pub(super) fn unreadable(column: &'static str, why: impl ToString) -> StoreError {
    StoreError::Unavailable(format!("column {column} of the store holds what was never written: {}", why.to_string()))
}

/// A count or sequence as SQLite's signed 64 bits.
pub(super) fn integer(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|error| StoreError::Unavailable(format!("{number} does not fit the store: {error}")))
}

pub(super) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.unix_seconds()).expect("a Timestamp ends with the year 9999")
}

pub(super) fn number(row: &Row<'_>, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| unreadable(column, error))
}

pub(super) fn time(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    number(row, column).map(Timestamp::from_unix_seconds)
}

/// A truth value, kept as 0 or 1.
pub(super) fn flag(row: &Row<'_>, column: &'static str) -> Result<bool, StoreError> {
    match row.get::<_, i64>(column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(unreadable(column, other)),
    }
}

/// What a column holds, unless it is NULL.
pub(super) fn optional<T>(
    row: &Row<'_>,
    column: &'static str,
    read: impl FnOnce(&Row<'_>, &'static str) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    if row.get_ref(column)?.data_type() == Type::Null { Ok(None) } else { read(row, column).map(Some) }
}

pub(super) fn digest(row: &Row<'_>, column: &'static str) -> Result<Sha256Digest, StoreError> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| unreadable(column, format!("{} bytes for a digest", bytes.len())))
}

pub(super) fn serial(row: &Row<'_>, column: &'static str) -> Result<Option<SerialNumber>, StoreError> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    bytes.map(|bytes| SerialNumber::from_bytes(&bytes).map_err(|error| unreadable(column, error))).transpose()
}

/// A text, through the parser of its type.
pub(super) fn parsed<T, E: ToString>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|error| unreadable(column, error))
}

/// The rows of a query, each through its reader; the first that cannot be read is the answer.
pub(super) fn all<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    connection.prepare_cached(sql)?.query_and_then(parameters, read)?.collect()
}

/// The one row of a query, if there is one.
pub(super) fn first<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    connection.prepare_cached(sql)?.query_and_then(parameters, read)?.next().transpose()
}

/// Runs a statement that answers with no row; says how many it changed.
pub(super) fn run(connection: &rusqlite::Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(parameters)?)
}
