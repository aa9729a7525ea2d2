//! What every replica has to know of the database, read of one moment.

use super::error::LinkError;
use super::link::Link;
use crate::audit::ChainHead;
use crate::revocation::Revoked;
use crate::store::StoreError;
use crate::store::sql::connection::Connection;
use crate::store::sql::remembered::Generation;
use crate::store::sql::writer::published::Published;
use crate::store::sql::{audit, revocations};

/// How the database stood.
pub(super) struct Seen {
    pub(super) head: ChainHead,
    pub(super) entries: i64,
    pub(super) revoked: Revoked,
}

impl Seen {
    /// For whoever asks from now on.
    pub(super) fn publish(self, published: &Published) {
        let Self { head, entries, revoked } = self;
        published.publish_entries(Ok(entries));
        published.publish_revoked(head.sequence, revoked);
        published.publish_head(head.sequence);
    }
}

/// Looks.
///
/// # Errors
/// What the database says.
pub(super) fn everything(link: &Link) -> Result<Seen, StoreError> {
    snapshot(link, |connection| {
        let head = audit::head(connection)?;
        Ok(Seen { head, entries: Generation::read(connection)?, revoked: revocations::snapshot(connection)? })
    })
}

/// Runs a query in a transaction that reads only, and of one moment.
///
/// # Errors
/// What the query or the database says.
pub(super) fn snapshot<T>(link: &Link, query: impl FnOnce(Connection<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
    link.control(BEGIN)?;
    let answer = query(Connection::Postgres(link));
    // A transaction that only read is over either way.
    link.control("ROLLBACK")?;
    answer
}

/// Begins a transaction that reads only, and of one moment.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A number that the server gives to this session and never again: a transaction's. (That of the session's process is given again, most of all
/// after a restart of the server.) Not within a transaction.
///
/// # Errors
/// [`LinkError`].
pub(super) fn session_number(link: &Link) -> Result<i64, LinkError> {
    let rows = link.query("SELECT txid_current() AS number", &[])?;
    Ok(rows.first().and_then(|row| row.try_get("number").ok()).unwrap_or_default())
}
