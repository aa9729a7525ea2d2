//! A snapshot of the file for a backup, what it says of itself, and what is recorded when one is put back.

use std::path::Path;

use identity::TrustDomain;
use pki::Timestamp;

use super::open::{self, MIGRATIONS, OpenError};
use super::{SqliteStore, StoreFile};
use crate::audit::{Action, Actor, AuditEvent, BackupAction, ChainHead, RestoredFrom};
use crate::store::StoreError;
use crate::store::sql::columns::{first, integer, number, run, seconds};
use crate::store::sql::connection::Connection;
use crate::store::sql::writer::Unit;
use crate::store::sql::{audit, issuance_clock};

/// How far ahead of the time of a restore the sequences and numbers go on, in seconds. They follow the clock, and one more than the last where
/// several come within a second: as many more than seconds had passed would the lost CA have had to publish to be above them.
const LOST_LEAD: u64 = 3600;

/// How far the CA of a store was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreMarks {
    /// The version of the schema.
    pub(crate) schema: usize,
    /// The end of the audit chain.
    pub(crate) head: ChainHead,
    /// The latest issuance.
    pub(crate) latest_issuance: Timestamp,
    /// The sequence of the newest bundle of a trust domain.
    pub(crate) bundle_sequence: Option<u64>,
}

/// The newest schema that this build knows.
pub(crate) fn newest_schema() -> usize {
    MIGRATIONS.len()
}

/// Copies the store at `from`, as of one moment, into a new file at `to`. Readers and the writer go on meanwhile.
///
/// # Errors
/// [`OpenError`] when the store cannot be read; what SQLite says of the copy.
pub(crate) fn snapshot(from: &Path, to: &Path) -> Result<(), OpenError> {
    let connection = open::read_only(from)?;
    // What is copied is what one read transaction sees; rows keep their keys, since each table names its own.
    let copied = connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]);
    copied.map(drop).map_err(|cause| OpenError::Database { path: to.to_owned(), cause })
}

/// Whether a store holds together, as SQLite sees it.
///
/// # Errors
/// What does not, or that it cannot be read.
pub(crate) fn check_whole(path: &Path) -> Result<(), StoreError> {
    let connection = open::read_only(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut check = connection.prepare("PRAGMA quick_check(10)")?;
    let findings = check.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if findings == ["ok"] { Ok(()) } else { Err(StoreError::Unavailable(findings.join("; "))) }
}

impl StoreFile {
    /// How far the CA was.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn marks(&self, trust_domain: TrustDomain) -> Result<StoreMarks, StoreError> {
        self.readers.read(move |connection| marks(connection, &trust_domain)).await
    }
}

impl SqliteStore {
    /// Records that this store was put back from a backup, and has nothing of the past used again: tokens that were open are ended, the latest
    /// issuance is `now`, and the next trust bundle and revocation lists get sequences and numbers above those of the lost CA, though their content
    /// is as it was.
    /// Says how many tokens were ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn mark_restored(&self, from: RestoredFrom, actor: Actor, now: Timestamp) -> Result<usize, StoreError> {
        self.writer.write(move |unit| mark_restored(unit, from, actor, now)).await
    }
}

fn marks(connection: Connection<'_>, trust_domain: &TrustDomain) -> Result<StoreMarks, StoreError> {
    let sql = "SELECT sequence FROM bundles WHERE trust_domain = ?1";
    Ok(StoreMarks {
        // A file of another one is not opened.
        schema: newest_schema(),
        head: audit::head(connection)?,
        latest_issuance: issuance_clock::latest(connection)?,
        bundle_sequence: first(connection, sql, [trust_domain.as_str()], |row| number(row, "sequence"))?,
    })
}

fn mark_restored(unit: &mut Unit<'_>, from: RestoredFrom, actor: Actor, now: Timestamp) -> Result<usize, StoreError> {
    let connection = unit.connection();
    // One that was redeemed after the backup is open again in it.
    let ended = "UPDATE tokens SET expires_at = ?1 WHERE bound_key IS NULL AND expires_at > ?1";
    let ended = run(connection, ended, [seconds(now)])?;
    // No content has this digest: whatever is published next is new, and above all that was given out.
    let ahead = integer(now.unix_seconds().saturating_add(LOST_LEAD))?;
    run(connection, "UPDATE bundles SET content = zeroblob(32), sequence = max(sequence, ?1)", [ahead])?;
    run(connection, "UPDATE revocation_sequence SET content = zeroblob(32), sequence = max(sequence, ?1)", [ahead])?;
    run(connection, "UPDATE revocation_lists SET number = max(number, ?1)", [ahead])?;
    let latest = unit.latest_issuance()?;
    unit.set_latest_issuance(latest.max(now))?;
    unit.audit(&AuditEvent { actor, action: Action::Backup(BackupAction::Restored(from)) }, now)?;
    Ok(ended)
}
