//! The encrypted stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stall::WriteStall;
use crate::{TlsError, VerifiedPeer};

/// Bytes of keying material that [`TlsStream::exporter`] gives.
pub const EXPORTER_BYTES: usize = 32;

/// A TLS stream over `T`, after a finished handshake. Writing to a peer that takes nothing fails after 30 s.
pub struct TlsStream<T> {
    /// In a box: it is large, and a task has room for a stream wherever it passes one on.
    stream: Box<tokio_rustls::TlsStream<T>>,
    peer: Option<Arc<VerifiedPeer>>,
    stall: WriteStall,
}

impl<T> TlsStream<T> {
    pub(crate) fn new(stream: tokio_rustls::TlsStream<T>, peer: Option<Arc<VerifiedPeer>>) -> Self {
        Self { stream: Box::new(stream), peer, stall: WriteStall::default() }
    }

    /// The verified peer; `None` when the client showed no certificate, and for a server that is known by name.
    #[must_use]
    pub fn peer(&self) -> Option<&Arc<VerifiedPeer>> {
        self.peer.as_ref()
    }

    /// The DER chain that the peer sent, leaf first (empty when none).
    #[cfg(test)]
    pub(crate) fn peer_chain(&self) -> &[pki::CertificateDer<'static>] {
        self.stream.get_ref().1.peer_certificates().unwrap_or_default()
    }

    /// The key exchange of the handshake.
    #[cfg(test)]
    pub(crate) fn key_exchange_group(&self) -> rustls::NamedGroup {
        self.stream.get_ref().1.negotiated_key_exchange_group().expect("the handshake is finished").name()
    }

    /// The protocol agreed on by ALPN (RFC 7301), if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// What carries the stream.
    #[must_use]
    pub fn io(&self) -> &T {
        self.stream.get_ref().0
    }

    /// Keying material bound to this connection (RFC 8446 section 7.5, without a context), same at both ends.
    ///
    /// # Errors
    /// [`TlsError::Config`] when TLS cannot export, which a finished handshake always can.
    pub fn exporter(&self, label: &str) -> Result<[u8; EXPORTER_BYTES], TlsError> {
        let output = [0; EXPORTER_BYTES];
        let exported = match self.stream.as_ref() {
            tokio_rustls::TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(output, label.as_bytes(), None),
            tokio_rustls::TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(output, label.as_bytes(), None),
        };
        exported.map_err(|error| TlsError::Config { what: format!("no keying material: {error}") })
    }
}

/// Who is at the other end; nothing of what is sent.
impl<T> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_ref().map(|peer| peer.id().as_str());
        f.debug_struct("TlsStream").field("peer", &peer).finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.stall.watch(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.stall.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.stall.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.stall.watch(cx, polled)
    }
}
