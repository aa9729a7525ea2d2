//! One attested connection as tonic serves it: it ends when its process does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use runtime::shutdown::Shutdown;
use sds::SdsConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

use super::authority::AuthorityFilter;
use super::caller::Caller;
use super::limits::Slot;
use super::metrics::WorkloadMetrics;

/// The bytes of one caller.
pub(super) struct AttestedStream {
    stream: UnixStream,
    authority: AuthorityFilter,
    connection: SdsConnection<Caller>,
    /// Resolves when the process has ended, when what it was attested by is no longer all that counts, or when all connections
    /// shall end.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    metrics: WorkloadMetrics,
    _slot: Slot,
}

impl AttestedStream {
    /// `cut` ends the connection when it fires, `outdated` when it resolves.
    pub(super) fn new(
        stream: UnixStream,
        caller: Caller,
        slot: Slot,
        cut: Shutdown,
        outdated: impl Future<Output = ()> + Send + 'static,
        metrics: WorkloadMetrics,
    ) -> Self {
        let span = tracing::info_span!("workload", pid = caller.pid, uid = caller.uid);
        let process = Arc::clone(&caller.process);
        let end = Box::pin(async move {
            tokio::select! {
                () = process.ended() => {}
                () = cut.fired() => {}
                () = outdated => {}
            }
        });
        metrics.opened();
        let authority = AuthorityFilter::new();
        Self { stream, authority, connection: span.in_scope(|| SdsConnection::new(caller)), end, metrics, _slot: slot }
    }

    /// The connection's task is woken by its read or by `end`, whichever comes, since it always waits for a read.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                // A future that has finished must not be polled again, and the connection may be.
                self.end = Box::pin(std::future::ready(()));
                Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the process that connected has ended, or is to be attested again",
                ))
            }
        }
    }
}

impl Drop for AttestedStream {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

impl Connected for AttestedStream {
    type ConnectInfo = SdsConnection<Caller>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.clone()
    }
}

impl AsyncRead for AttestedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_end(context)?;
        let had = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Some(new)) = (&read, buffer.filled_mut().get_mut(had..)) {
            self.authority.pass(new);
        }
        read
    }
}

impl AsyncWrite for AttestedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
