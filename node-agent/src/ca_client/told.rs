//! What a CA says by TLS alert about the certificate that it was shown.
//!
//! TLS 1.3 lets the agent finish its handshake before the CA has looked at the agent's certificate (RFC 8446 section 2): a
//! refusal comes as the first thing on the finished connection. gRPC would make "transport error" of it, as of a lost CA.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The refusal on one connection, once it came; clones speak of the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<OnceLock<String>>);

impl Told {
    /// The words of the TLS layer.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// A finished TLS stream that keeps what its first read says.
pub(super) struct TellingStream<S> {
    stream: S,
    told: Told,
    heard: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TellingStream<S> {
    pub(super) fn new(stream: S, told: Told) -> Self {
        Self { stream, told, heard: false }
    }

    /// Before a byte of the CA's came, a fault of the TLS records themselves (and not of the socket) is its answer to the
    /// certificate: it is under the keys of the handshake in which the CA was verified.
    fn note(&mut self, error: &io::Error) {
        if !self.heard && error.kind() == io::ErrorKind::InvalidData {
            self.told.0.get_or_init(|| error.to_string());
        }
        self.heard = true;
    }

    /// A write may fail first, as the CA closes behind its alert. What it said can still be read then.
    fn listen(&mut self, cx: &mut Context<'_>) {
        if !self.heard {
            let mut byte = [0];
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)) {
                self.note(&error);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TellingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match &outcome {
            Poll::Ready(Ok(())) => self.heard = true,
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Pending => {}
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TellingStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Err(_)) = &outcome {
            self.listen(cx);
        }
        outcome
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Err(_)) = &outcome {
            self.listen(cx);
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Err(_)) = &outcome {
            self.listen(cx);
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
