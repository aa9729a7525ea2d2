//! Reads: a few connections, used from blocking threads.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::connection::Connection;
use crate::store::StoreError;

/// Reads that run at once. Further ones wait without holding a thread.
const CONNECTIONS: usize = 4;

/// An engine that runs the statements of the store.
pub trait Engine: Send + Sync + 'static {
    /// What one reader reads by.
    type Reader: Send + 'static;
    /// Whether other processes may write into the same database.
    const IS_SHARED: bool;
    /// What lives as long as a store does.
    type Company: Send + Sync + 'static;

    /// Runs a query in one read transaction: all that it reads is of one moment.
    ///
    /// # Errors
    /// What the query or the engine says.
    fn snapshot<T>(
        reader: &mut Self::Reader,
        query: impl FnOnce(Connection<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;
}

pub(in crate::store) struct Readers<E: Engine> {
    /// As many permits as there are connections: who has a permit finds a connection.
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<E::Reader>>>,
}

impl<E: Engine> Readers<E> {
    pub(in crate::store) fn new<F>(open: impl Fn() -> Result<E::Reader, F>) -> Result<Self, F> {
        let idle = (0..CONNECTIONS).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { turns: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::new(Mutex::new(idle)) })
    }

    /// Runs `query` on a blocking thread, in one read transaction.
    pub(in crate::store) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(Connection<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let run = move || {
            let mut reader = idle.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(closed)?;
            let answer = E::snapshot(&mut reader, query);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            // Only now: the next in turn must find the connection.
            drop(turn);
            answer
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Unavailable(format!("a read ended early: {error}")))?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the readers of the store are gone".to_owned())
}
