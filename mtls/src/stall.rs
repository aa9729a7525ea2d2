//! Ends connections whose peer takes nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// How long a peer may take nothing of what is waiting for it. HTTP/2 reads nothing more from a peer that its own answers wait for, so
/// that such a connection would otherwise see no deadline that is looked at when something is read, and stay for ever.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);

/// Runs while writing waits.
#[derive(Debug, Default)]
pub(crate) struct WriteStall(Option<Pin<Box<Sleep>>>);

impl WriteStall {
    /// What became of a write, a flush or a shutdown; an error when none of them went on for [`WRITE_STALL`].
    pub(crate) fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.0 = None;
            return polled;
        }
        ready!(self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_STALL))).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing of what is sent to it")))
    }
}
