//! The schema in the database, and its version.

use super::connector::Connector;
use super::error::{LinkError, PostgresError};
use super::link::Link;
use crate::store::sql::parameters::Value;

/// The schema, as steps from one version to the next. A step that was released is never changed: a new one is added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
];

/// Taken by whoever changes the schema or writes a group, and held to the end of the transaction: who waits for it sees all that was written
/// before. (The bytes of "Signet".)
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(91624096196980)";

/// The newest version that this build knows.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings the schema up to date, however many replicas start at once.
///
/// # Errors
/// [`PostgresError`].
pub(super) fn migrate(connector: &Connector, link: &Link) -> Result<(), PostgresError> {
    let failed = |error: LinkError| connector.failed(&error);
    // Whatever the database has as a default: what is seen after the lock must be newer than the lock.
    link.control("BEGIN ISOLATION LEVEL READ COMMITTED").map_err(failed)?;
    link.control(LOCK).map_err(failed)?;
    let found = if exists(link).map_err(failed)? { version(link).map_err(failed)? } else { 0 };
    check(connector, found)?;
    if found == 0 {
        // A database administrator may have made it, for a role that may not.
        if !has_schema(link).map_err(failed)? {
            link.control("CREATE SCHEMA signet").map_err(failed)?;
        }
        link.control("CREATE TABLE schema_version (version BIGINT PRIMARY KEY)").map_err(failed)?;
    }
    for (version, step) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        link.control(step).map_err(failed)?;
        link.execute("INSERT INTO schema_version (version) VALUES (?1)", &[Value::Integer(version)]).map_err(failed)?;
    }
    link.control("COMMIT").map_err(failed)
}

/// That a build as new as this one made the schema.
///
/// # Errors
/// [`PostgresError`].
pub(super) fn check_version(connector: &Connector, link: &Link) -> Result<(), PostgresError> {
    check(connector, version(link).map_err(|error| connector.failed(&error))?)
}

/// Whether the schema was made.
///
/// # Errors
/// [`LinkError`].
pub(super) fn exists(link: &Link) -> Result<bool, LinkError> {
    Ok(!link.query("SELECT 1 FROM pg_tables WHERE schemaname = 'signet' AND tablename = 'schema_version'", &[])?.is_empty())
}

fn has_schema(link: &Link) -> Result<bool, LinkError> {
    Ok(!link.query("SELECT 1 FROM pg_namespace WHERE nspname = 'signet'", &[])?.is_empty())
}

fn version(link: &Link) -> Result<i64, LinkError> {
    let rows = link.query("SELECT coalesce(max(version), 0) AS version FROM schema_version", &[])?;
    Ok(rows.first().and_then(|row| row.try_get("version").ok()).unwrap_or(i64::MAX))
}

fn check(connector: &Connector, found: i64) -> Result<(), PostgresError> {
    if found > known() { Err(PostgresError::Newer { database: connector.database(), found, known: known() }) } else { Ok(()) }
}
