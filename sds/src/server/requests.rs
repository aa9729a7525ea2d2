//! The messages of a request, one at a time: each takes room while it comes in, and none once it is decoded.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

/// The largest message read, in bytes: Envoy's with its whole node are 61 kB. Each stream may hold a half-sent one.
pub(super) const MAX_REQUEST_BYTES: usize = 256 << 10;

/// Reads `Length-Prefixed-Message`s: one byte that says whether the message is compressed, four of its length, the message.
pub(crate) struct Requests<M> {
    body: Body,
    /// What came and is not read yet; empty, and of no memory, whenever the body has to be asked for more.
    rest: Bytes,
    prefix: Vec<u8>,
    incoming: Option<Incoming>,
    _messages: PhantomData<fn() -> M>,
}

/// A message of which a part is missing.
struct Incoming {
    length: usize,
    part: Vec<u8>,
}

impl<M: Message + Default> Requests<M> {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new(), prefix: Vec::new(), incoming: None, _messages: PhantomData }
    }

    /// The next message; `None` when the peer says no more. What came is kept when the future is dropped.
    ///
    /// # Errors
    /// INTERNAL for what is no message, OUT_OF_RANGE for one over [`MAX_REQUEST_BYTES`], and whatever broke the stream. Nothing is
    /// read after an error.
    pub(crate) async fn message(&mut self) -> Result<Option<M>, Status> {
        poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        loop {
            if let Some(message) = self.read()? {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(_trailers) => return Poll::Ready(self.end()),
                },
                // The peer has left; nobody is there who could be told of more.
                Some(Err(status)) if status.code() == Code::Cancelled => return Poll::Ready(Ok(None)),
                Some(Err(status)) => return Poll::Ready(Err(status)),
                None => return Poll::Ready(self.end()),
            }
        }
    }

    fn end(&self) -> Result<Option<M>, Status> {
        if self.prefix.is_empty() && self.incoming.is_none() {
            Ok(None)
        } else {
            Err(Status::internal("the request ended within a message"))
        }
    }

    /// A whole message from what came; `None` when all of it was read and more is needed.
    fn read(&mut self) -> Result<Option<M>, Status> {
        loop {
            let Some(incoming) = &mut self.incoming else {
                let missing = PREFIX_BYTES.saturating_sub(self.prefix.len()).min(self.rest.len());
                self.prefix.extend_from_slice(&take(&mut self.rest, missing));
                let &[compressed, a, b, c, d] = self.prefix.as_slice() else { return Ok(None) };
                self.prefix = Vec::new();
                self.incoming = Some(announced(compressed, u32::from_be_bytes([a, b, c, d]))?);
                continue;
            };
            let missing = incoming.length.saturating_sub(incoming.part.len());
            if self.rest.len() < missing {
                // All of its room at once: growing would copy it, and wipe what was copied from.
                incoming.part.reserve_exact(missing);
                incoming.part.extend_from_slice(&std::mem::take(&mut self.rest));
                return Ok(None);
            }
            let end = take(&mut self.rest, missing);
            let part = self.incoming.take().map(|incoming| incoming.part).unwrap_or_default();
            return M::decode(part.as_slice().chain(end)).map(Some).map_err(|error| Status::internal(error.to_string()));
        }
    }
}

/// The first `length` bytes, or all; when none is left the memory of the whole belongs to nobody here any more.
fn take(bytes: &mut Bytes, length: usize) -> Bytes {
    if length >= bytes.len() { std::mem::take(bytes) } else { bytes.split_to(length) }
}

fn announced(compressed: u8, length: u32) -> Result<Incoming, Status> {
    match compressed {
        0 => {}
        1 => return Err(Status::internal("a compressed message in a request without grpc-encoding")),
        other => return Err(Status::internal(format!("a message begins with {other} where 0 or 1 is expected"))),
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_REQUEST_BYTES {
        return Err(Status::out_of_range(format!("a message of {length} bytes; at most {MAX_REQUEST_BYTES} are read")));
    }
    Ok(Incoming { length, part: Vec::new() })
}

const PREFIX_BYTES: usize = 5;

#[cfg(test)]
mod tests;
