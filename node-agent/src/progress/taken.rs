//! Whether a reader of a state has taken the newest one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What one reader took last, beside what there is. States are replaced, never changed in place, so being the same one is being equal.
pub(crate) struct Taken<T> {
    states: watch::Receiver<Arc<T>>,
    taken: Mutex<Option<Arc<T>>>,
}

impl<T> Taken<T> {
    /// Of a reader that has taken nothing yet.
    pub(crate) fn of(states: &watch::Receiver<Arc<T>>) -> Self {
        Self { states: states.clone(), taken: Mutex::default() }
    }

    /// The reader is done with this state.
    pub(crate) fn take(&self, state: &Arc<T>) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(state));
    }

    /// Whether there is a newer state than the one that was taken last, or none was.
    pub(crate) fn is_behind(&self) -> bool {
        let newest = Arc::clone(&self.states.borrow());
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref().is_none_or(|taken| !Arc::ptr_eq(taken, &newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_behind_until_it_has_taken_the_newest_itself() {
        let (sender, states) = watch::channel(Arc::new(1));
        let taken = Taken::of(&states);
        assert!(taken.is_behind());
        let first = Arc::clone(&states.borrow());
        taken.take(&first);
        assert!(!taken.is_behind());
        sender.send_replace(Arc::new(1));
        assert!(taken.is_behind(), "one that is equal is another");
        taken.take(&first);
        assert!(taken.is_behind(), "an older one is not the newest");
        let second = Arc::clone(&states.borrow());
        taken.take(&second);
        assert!(!taken.is_behind());
    }
}
