//! The store in one SQLite file: WAL, `synchronous=FULL`, one writer thread that groups commits, a few read-only connections.
//!
//! Owns the file, its schema, and how a fault of its disk is met.

mod backup;
mod committer;
mod offline;
mod open;
mod recovery;
mod transaction;

use std::path::Path;
use std::sync::Arc;

pub(crate) use backup::{StoreMarks, check_whole, newest_schema, snapshot};
pub use offline::StoreFile;
pub use open::OpenError;

use super::StoreError;
use super::sql::connection::Connection;
use super::sql::readers::Readers;
use super::sql::remembered::Generation;
use super::sql::writer::Writer;
use super::sql::writer::published::Published;
use super::sql::{Engine, SqlStore, audit, revocations};
use committer::FileCommitter;

/// SQLite.
pub struct Sqlite;

/// The store in one SQLite file. Dropping it ends the writer after what is queued, and closes the file.
pub type SqliteStore = SqlStore<Sqlite>;

impl Engine for Sqlite {
    type Reader = rusqlite::Connection;
    type Company = ();
    const IS_SHARED: bool = false;

    fn snapshot<T>(
        reader: &mut Self::Reader,
        query: impl FnOnce(Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = reader.transaction()?;
        let answer = query(Connection::Sqlite(&transaction))?;
        transaction.finish()?;
        Ok(answer)
    }
}

impl SqlStore<Sqlite> {
    /// Opens the store at `path`, or makes it (mode 0600, in a directory that only its owner may touch), brings its schema up to
    /// date, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`] naming the file and what to do: the directory or file is open to others, the schema is newer than this build, or SQLite
    /// does not take the settings that durability stands on.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = open::writable(path)?;
        let readers = Readers::new(|| open::read_only(path))?;
        Ok(Self::new(readers, start_writer(path, connection)?, None, ()))
    }
}

fn start_writer(path: &Path, connection: rusqlite::Connection) -> Result<Writer, OpenError> {
    let unreadable = |error: StoreError| OpenError::File { path: path.to_owned(), cause: std::io::Error::other(error) };
    let open = Connection::Sqlite(&connection);
    let head = audit::head(open).map_err(unreadable)?;
    let entries = Generation::new(Generation::read(open).map_err(unreadable)?);
    let revoked = revocations::snapshot(open).map_err(unreadable)?;
    let committer = FileCommitter::new(path, connection, head);
    Writer::start(Arc::new(Published::new(head, entries, revoked)), move || committer)
        .map_err(|cause| OpenError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
