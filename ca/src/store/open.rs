//! Which store a CA has.

use std::sync::Arc;

use super::{OpenError, PostgresStore, SqliteStore, Store};
use crate::config::{CaConfig, StoreConfig};

/// Opens the store that the configuration names.
///
/// # Errors
/// [`OpenError`].
pub fn open(config: &CaConfig) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match &config.store {
        StoreConfig::Sqlite => Arc::new(SqliteStore::open(&config.store_path())?),
        StoreConfig::Postgres(postgres) => Arc::new(PostgresStore::open(postgres.clone(), config.replica.clone())?),
    })
}
