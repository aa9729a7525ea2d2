//! How many streams of the Workload API a connection may have open, and how far the open ones are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tonic::Status;

use super::metrics::WorkloadApiMetrics;
use crate::progress::Taken;
use crate::secrets::CallerState;
use crate::workload::{Caller, Process};

/// Most streams of one connection: a client needs one or two of each kind.
pub(super) const MAX_STREAMS: usize = 32;

/// Counts the open streams of each connection; clones count together.
///
/// A connection is told by its handle of the process, which is made anew for each. An open stream holds the handle, so that its
/// address cannot become another's.
#[derive(Clone, Default)]
pub(crate) struct OpenStreams {
    of_connections: Arc<Mutex<HashMap<usize, usize>>>,
    /// What each of them has taken.
    taken: Arc<Mutex<Vec<Weak<Taken<CallerState>>>>>,
    metrics: WorkloadApiMetrics,
}

/// One stream's place, given back when dropped.
pub(super) struct OpenStream {
    streams: OpenStreams,
    connection: Arc<Process>,
}

impl OpenStreams {
    pub(super) fn new(metrics: WorkloadApiMetrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// UNAVAILABLE when the connection has all of its own.
    pub(super) fn take(&self, caller: &Caller) -> Result<OpenStream, Status> {
        let connection = Arc::clone(&caller.process);
        let mut open = self.lock();
        let of_connection = open.entry(Arc::as_ptr(&connection).addr()).or_default();
        if *of_connection >= MAX_STREAMS {
            return Err(Status::unavailable(format!(
                "this connection has {MAX_STREAMS} streams of the Workload API open, which is all that one may have: close some"
            )));
        }
        *of_connection += 1;
        drop(open);
        self.metrics.stream_opened();
        Ok(OpenStream { streams: self.clone(), connection })
    }

    /// For a stream of these states, to be told what it has taken. It counts as open for as long as this is kept.
    pub(super) fn follow(&self, states: &watch::Receiver<Arc<CallerState>>) -> Arc<Taken<CallerState>> {
        let taken = Arc::new(Taken::of(states));
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|taken| taken.strong_count() > 0);
        all.push(Arc::downgrade(&taken));
        taken
    }

    /// How many streams are open, and how many of them were not sent what their caller has now.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let all: Vec<_> = self.taken.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        (all.len(), all.iter().filter(|taken| taken.is_behind()).count())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, usize>> {
        self.of_connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStream {
    /// See [`OpenStreams::follow`].
    pub(super) fn follow(&self, states: &watch::Receiver<Arc<CallerState>>) -> Arc<Taken<CallerState>> {
        self.streams.follow(states)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        let address = Arc::as_ptr(&self.connection).addr();
        if let Some(of_connection) = open.get_mut(&address) {
            *of_connection = of_connection.saturating_sub(1);
            if *of_connection == 0 {
                open.remove(&address);
            }
        }
        drop(open);
        self.streams.metrics.stream_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::caller::own_caller;

    #[test]
    fn a_connection_reaches_its_bound_and_another_of_the_same_process_does_not_feel_it() {
        let (one, other) = (own_caller(), own_caller());
        let streams = OpenStreams::default();
        let mut taken: Vec<_> = (0..MAX_STREAMS).map(|_| streams.take(&one).unwrap()).collect();
        assert_eq!(streams.take(&one).err().unwrap().code(), tonic::Code::Unavailable);
        assert!(streams.take(&other).is_ok());
        drop(taken.pop());
        assert!(streams.take(&one).is_ok(), "a place given back can be taken");
        drop(taken);
        assert!(streams.lock().is_empty(), "nothing is kept for connections without a stream");
    }
}
