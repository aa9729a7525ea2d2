//! Between domain values and what a column holds. A row that does not read back as what was written is an error, never a default.

use super::connection::{Connection, Row};
use pki::{SerialNumber, Sha256Digest, Timestamp};

use super::parameters::Parameters;
use crate::store::StoreError;

/// Says that a column does not hold what this program writes into it.
pub(in crate::store) fn unreadable(column: &'static str, why: impl ToString) -> StoreError {
    StoreError::Unavailable(format!("column {column} of the store holds what was never written: {}", why.to_string()))
}

/// A count or sequence as SQLite's signed 64 bits.
pub(in crate::store) fn integer(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|error| StoreError::Unavailable(format!("{number} does not fit the store: {error}")))
}

pub(in crate::store) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.unix_seconds()).expect("a Timestamp ends with the year 9999")
}

pub(in crate::store) fn number(row: &Row<'_>, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<i64>(column)?).map_err(|error| unreadable(column, error))
}

pub(in crate::store) fn time(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    number(row, column).map(Timestamp::from_unix_seconds)
}

/// A truth value, kept as 0 or 1.
pub(in crate::store) fn flag(row: &Row<'_>, column: &'static str) -> Result<bool, StoreError> {
    match row.get::<i64>(column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(unreadable(column, other)),
    }
}

/// What a column holds, unless it is NULL.
pub(in crate::store) fn optional<T>(
    row: &Row<'_>,
    column: &'static str,
    read: impl FnOnce(&Row<'_>, &'static str) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    if row.is_null(column)? { Ok(None) } else { read(row, column).map(Some) }
}

pub(in crate::store) fn digest(row: &Row<'_>, column: &'static str) -> Result<Sha256Digest, StoreError> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| unreadable(column, format!("{} bytes for a digest", bytes.len())))
}

pub(in crate::store) fn serial(row: &Row<'_>, column: &'static str) -> Result<Option<SerialNumber>, StoreError> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    bytes.map(|bytes| SerialNumber::from_bytes(&bytes).map_err(|error| unreadable(column, error))).transpose()
}

/// A text, through the parser of its type.
pub(in crate::store) fn parsed<T, E: ToString>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    parse(&text).map_err(|error| unreadable(column, error))
}

/// The rows of a query, each through its reader; the first that cannot be read is the answer.
pub(in crate::store) fn all<T>(
    connection: Connection<'_>,
    sql: &str,
    parameters: impl Parameters,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    connection.query(sql, &parameters, read)
}

/// The one row of a query, if there is one.
pub(in crate::store) fn first<T>(
    connection: Connection<'_>,
    sql: &str,
    parameters: impl Parameters,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    connection.query_first(sql, &parameters, read)
}

/// Runs a statement that answers with no row; says how many it changed.
pub(in crate::store) fn run(connection: Connection<'_>, sql: &str, parameters: impl Parameters) -> Result<usize, StoreError> {
    Ok(connection.execute(sql, &parameters)?)
}
