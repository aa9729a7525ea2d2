//! From a fault back to a store that takes writes: what the database said, told as a fault; the file opened anew, and proof that
//! the disk holds what was answered.
//!
//! After a failed sync the kernel may mark the pages clean that it could not write: the next sync succeeds and means nothing, the
//! page cache shows what the disk does not hold, and a process that starts anew reads that cache. Frames appended behind such a
//! gap are lost with it at the next power failure. So the log is never trusted for having been read: before the first write after
//! an open, all of it is written again in place, byte for byte, and synced ([`confirm`]). What the page cache holds is on disk then.
//! A group whose sync failed was answered as failed; its frames lie behind the end of the log and are written over by the next one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statvfs::{FsFlags, statvfs};
use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::open::{self, OpenError};
use crate::audit::ChainHead;
use crate::store::sql::audit;
use crate::store::sql::connection::DatabaseError;
use crate::store::{FaultKind, StoreError, StoreFault, StoreState};

/// Bytes of the log that are read and written again at once.
const CHUNK: usize = 1024 * 1024;

/// Why the log was not confirmed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfirmError {
    /// The database.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// The log.
    #[error("its log {}: {cause}", path.display())]
    Log {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The log could be written and not synced.
    #[error("the sync of its log {}: {cause}", path.display())]
    Sync {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Has the disk confirm every byte of the log, whatever became of earlier syncs of it. The write lock is held meanwhile, so that
/// nobody else appends to it.
///
/// # Errors
/// [`ConfirmError`]; the log is as it was then.
pub(super) fn confirm(path: &Path, connection: &mut Connection) -> Result<(), ConfirmError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let log = log_of(path);
    let failed = |cause| ConfirmError::Log { path: log.clone(), cause };
    match OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&log) {
        Ok(file) => {
            write_again(&file).map_err(failed)?;
            file.sync_data().map_err(|cause| ConfirmError::Sync { path: log.clone(), cause })?;
        }
        // No log, nothing to confirm.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(transaction.finish()?)
}

/// Writes what the file holds into the file, so that every page of it is to be written by the next sync.
fn write_again(file: &File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut chunk, offset)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        file.write_all_at(bytes, offset)?;
        offset += u64::try_from(read).map_err(io::Error::other)?;
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

/// Commits something that changes nothing: only a commit shows that a commit works again.
fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Pages of the log that are not merged into the database yet.
///
/// # Errors
/// What SQLite says.
pub(super) fn unmerged(connection: &Connection) -> rusqlite::Result<i64> {
    // Asked after each group, so it stays compiled.
    let mut asked = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    asked.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

/// Merges what no reader holds back. The log is synced before, and the database after: a merge that fails is done again from the
/// beginning, so nothing hangs on pages that a failed sync left behind.
///
/// # Errors
/// What SQLite says. That another process merges is none.
pub(super) fn merge(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// A new connection in place of one that met a fault, after proof that the file holds everything that was answered, and that a
/// commit works. `answered` is the end of the audit chain as of the last commit that succeeded; the former connection stays open
/// until then, so that nobody takes the frames of a failed group for committed ones.
///
/// # Errors
/// The state of the store from now on: [`StoreState::Refusing`], or [`StoreState::Ended`] when the file lost what it had confirmed.
pub(super) fn reopen(path: &Path, answered: ChainHead) -> Result<Connection, StoreState> {
    let refusing = |fault| StoreState::Refusing(fault);
    let mut connection = open::existing(path).map_err(|error| match error {
        OpenError::Database { path: _, cause } => judge_sqlite(path, &cause),
        other @ OpenError::File { .. } => refusing(StoreFault { kind: kind_at(path, FaultKind::Disk), cause: other.to_string() }),
        // Somebody changed the file or its directory under us.
        other @ (OpenError::Directory(_)
        | OpenError::NotOurs { .. }
        | OpenError::Permissions { .. }
        | OpenError::Newer { .. }
        | OpenError::Older { .. }
        | OpenError::Setting { .. }
        | OpenError::Unconfirmed { .. }
        | OpenError::Server(_)) => StoreState::Ended(other.to_string()),
    })?;
    confirm(path, &mut connection).map_err(|error| match &error {
        ConfirmError::Database(cause) => judge_sqlite(path, cause),
        ConfirmError::Log { path: _, cause } => {
            let kind = match cause.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOSPC | Errno::EDQUOT) => FaultKind::Full,
                Some(Errno::EROFS) => FaultKind::ReadOnly,
                _ => kind_at(path, FaultKind::Disk),
            };
            refusing(StoreFault { kind, cause: error.to_string() })
        }
        ConfirmError::Sync { .. } => refusing(StoreFault { kind: FaultKind::Sync, cause: error.to_string() }),
    })?;
    let found = match audit::head(crate::store::sql::connection::Connection::Sqlite(&connection)) {
        Ok(found) => found,
        Err(StoreError::Unavailable(cause)) => return Err(refusing(StoreFault { kind: FaultKind::Disk, cause })),
        Err(other) => return Err(StoreState::Ended(other.to_string())),
    };
    if found != answered {
        return Err(StoreState::Ended(format!(
            "after a fault of the disk the file does not hold what it had confirmed (audit event {} was the last, now it is {}): \
             keep the state directory as it is for the inquiry, and restore a backup",
            answered.sequence, found.sequence
        )));
    }
    probe(&mut connection).map_err(|cause| judge_sqlite(path, &cause))?;
    Ok(connection)
}

/// What an error of the database makes of the store.
pub(super) fn judge(path: &Path, error: &DatabaseError) -> StoreState {
    match error {
        DatabaseError::Sqlite(error) => judge_sqlite(path, error),
        DatabaseError::Postgres(_) | DatabaseError::Undone(_) => {
            StoreState::Refusing(StoreFault { kind: FaultKind::Undone, cause: error.to_string() })
        }
    }
}

fn judge_sqlite(path: &Path, error: &rusqlite::Error) -> StoreState {
    let cause = error.to_string();
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return StoreState::Ended(format!(
                "its file is damaged: {cause}; keep the state directory as it is for the inquiry, and restore a backup"
            ));
        }
        Some(ErrorCode::DiskFull) => FaultKind::Full,
        Some(ErrorCode::ReadOnly) => FaultKind::ReadOnly,
        Some(ErrorCode::SystemIoFailure) if matches!(extended, Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC)) => {
            FaultKind::Sync
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => kind_at(path, FaultKind::Disk),
        _ => FaultKind::Undone,
    };
    StoreState::Refusing(StoreFault { kind, cause })
}

/// SQLite tells a write that failed for any reason but a full disk as an I/O error; the file system may know better.
fn kind_at(path: &Path, otherwise: FaultKind) -> FaultKind {
    match statvfs(open::directory_of(path)) {
        Ok(found) if found.flags().contains(FsFlags::ST_RDONLY) => FaultKind::ReadOnly,
        Ok(found) if found.blocks_available() == 0 => FaultKind::Full,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests;
