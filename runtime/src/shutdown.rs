//! One signal that ends everything, and who waits for it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listens for the end; clone freely.
///
/// It may listen to several triggers (see [`crate::tasks::TaskGroup`]): the first one to fire is the end.
#[derive(Clone, Debug)]
pub struct Shutdown(Vec<watch::Receiver<bool>>);

/// Fires the end. Dropping it fires too, so that an owner who is gone never leaves anybody waiting.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// A linked pair.
#[must_use]
pub fn channel() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(vec![receiver]))
}

/// Fires on SIGINT or SIGTERM. Must be called inside a tokio runtime; from then on these signals no longer end the process
/// by themselves.
///
/// # Errors
/// What the system says when a handler cannot be set.
pub fn on_signals() -> io::Result<Shutdown> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (trigger, shutdown) = channel();
    // Owner: the returned listeners; the task ends with the first signal, or when nobody listens any more.
    #[expect(clippy::disallowed_methods, reason = "no group exists yet when a program sets up its signals")]
    tokio::spawn(async move {
        // Any order is fine: whichever comes, this task ends and the trigger fires.
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = trigger.0.closed() => return,
        };
        tracing::info!(signal = name, "shutting down");
        trigger.fire();
    });
    Ok(shutdown)
}

impl ShutdownTrigger {
    /// Fires; again does nothing more.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Resolves when fired (at once if it already was).
    pub async fn fired(&self) {
        let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = self
            .0
            .iter()
            .map(|source| -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(one_fired(source.clone())) })
            .collect();
        poll_fn(|context| {
            if waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready()) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether it was.
    #[must_use]
    pub fn is_fired(&self) -> bool {
        self.0.iter().any(|source| *source.borrow() || source.has_changed().is_err())
    }

    /// Listens to the triggers of both.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }
}

async fn one_fired(mut source: watch::Receiver<bool>) {
    // An error means that the trigger was dropped, which fires too.
    drop(source.wait_for(|fired| *fired).await);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn firing_and_dropping_both_end_the_wait() {
        let (trigger, shutdown) = channel();
        assert!(!shutdown.is_fired());
        assert!(tokio::time::timeout(Duration::from_millis(5), shutdown.fired()).await.is_err());
        trigger.fire();
        assert!(shutdown.is_fired());
        shutdown.fired().await;

        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(shutdown.is_fired());
        shutdown.fired().await;
    }

    #[tokio::test]
    async fn either_of_two_triggers_ends_the_wait() {
        let (first, one) = channel();
        let (second, two) = channel();
        let both = one.or(&two);
        assert!(!both.is_fired());
        second.fire();
        assert!(both.is_fired() && !one.is_fired());
        both.fired().await;
        drop(first);
    }
}
