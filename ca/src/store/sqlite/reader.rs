//! Reads: a few read-only connections, used from blocking threads.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::open::OpenError;
use crate::store::StoreError;

/// Reads that run at once. Further ones wait without holding a thread.
const CONNECTIONS: usize = 4;

pub(super) struct Readers {
    /// As many permits as there are connections: who has a permit finds a connection.
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(open: impl Fn() -> Result<Connection, OpenError>) -> Result<Self, OpenError> {
        let idle = (0..CONNECTIONS).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { turns: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::new(Mutex::new(idle)) })
    }

    /// Runs `query` on a blocking thread, in one read transaction: all that it reads is of one moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let run = move || {
            let mut connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(closed)?;
            let answer = snapshot(&mut connection, query);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            // Only now: the next in turn must find the connection.
            drop(turn);
            answer
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Unavailable(format!("a read ended early: {error}")))?
    }
}

fn snapshot<T>(connection: &mut Connection, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let transaction = connection.transaction()?;
    let answer = query(&transaction)?;
    transaction.finish()?;
    Ok(answer)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the readers of the store are gone".to_owned())
}
