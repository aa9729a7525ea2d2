//! The file of a store, read without the CA: for an auditor, on the CA's machine or with a copy.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::OpenError;
use super::Sqlite;
use super::open::{self, MIGRATIONS};
use crate::audit::{AuditRecord, ChainHead, StoredCheckpoint};
use crate::authority::lifecycle::Lifecycle;
use crate::store::StoreError;
use crate::store::audit::{AuditReader, OrphanCursor, OrphanKind, OrphanPage};
use crate::store::sql::readers::Readers;
use crate::store::sql::{audit, authorities, checkpoints, orphans};

/// A store's file, for reading only. Nothing is changed or brought up to date in it; a CA may run on it.
pub struct StoreFile {
    pub(super) readers: Readers<Sqlite>,
}

impl StoreFile {
    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError`] when it cannot be read, or is of another schema than this build writes.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = open::read_only(path)?;
        let found: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|cause| OpenError::Database { path: path.to_owned(), cause })?;
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        let known = MIGRATIONS.len();
        match found {
            _ if found == known => {}
            _ if found > known => return Err(OpenError::Newer { path: path.to_owned(), found, known }),
            _ => return Err(OpenError::Older { path: path.to_owned(), found, known }),
        }
        Ok(Self { readers: Readers::new(|| open::read_only(path))? })
    }

    /// The authorities of the CA.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn lifecycle(&self) -> Result<Lifecycle, StoreError> {
        self.readers.read(|connection| authorities::stored(connection, None)).await
    }
}

impl AuditReader for StoreFile {
    fn audit_after(&self, sequence: u64, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        Box::pin(self.readers.read(move |connection| audit::after(connection, sequence, limit)))
    }

    fn chain_head(&self) -> BoxFuture<'_, Result<ChainHead, StoreError>> {
        Box::pin(self.readers.read(audit::head))
    }

    fn checkpoints(&self, after: u64, through: u64, limit: u32) -> BoxFuture<'_, Result<Vec<StoredCheckpoint>, StoreError>> {
        Box::pin(self.readers.read(move |connection| checkpoints::between(connection, after, through, limit)))
    }

    fn last_checkpoint(&self) -> BoxFuture<'_, Result<Option<StoredCheckpoint>, StoreError>> {
        Box::pin(self.readers.read(checkpoints::last))
    }

    fn orphans(&self, kind: OrphanKind, from: OrphanCursor) -> BoxFuture<'_, Result<OrphanPage, StoreError>> {
        Box::pin(self.readers.read(move |connection| orphans::page(connection, kind, from)))
    }
}
