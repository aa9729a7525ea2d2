//! Answers in pieces that are written as one.
//!
//! HTTP/2 copies what is short to what else it has to write, and hands over what is longer by itself: behind that its trailers, which end
//! each answer of gRPC, are one more write, TLS record and segment. In short pieces an answer of one certificate is one of each.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// The longest that HTTP/2 copies where the connection under it does not take several parts in one write.
pub(super) const PIECE_BYTES: usize = 1023;
/// What is longer than so many pieces is cheaper as it is.
const MOST_PIECES: usize = 8;

/// The same bytes, in pieces where that is worth it.
pub(super) fn of(body: Body) -> Body {
    Body::new(Pieces { body, rest: Bytes::new() })
}

struct Pieces {
    body: Body,
    /// Of what the body gave last.
    rest: Bytes,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            };
            if data.len() > MOST_PIECES * PIECE_BYTES {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.rest = data;
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// The lengths of the frames that these become, and the bytes in them; trailers count as a frame of length 0.
    async fn frames(chunks: &[usize]) -> (Vec<usize>, Vec<u8>) {
        let data = |(number, length): (usize, &usize)| Frame::data(Bytes::from(vec![u8::try_from(number).unwrap(); *length]));
        let mut given: VecDeque<_> = chunks.iter().enumerate().map(data).collect();
        given.push_back(Frame::trailers(tonic::codegen::http::HeaderMap::new()));
        let given = futures_util::stream::iter(given.into_iter().map(Ok::<_, Infallible>));
        let mut body = of(Body::new(StreamBody::new(given)));
        let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap_or_default();
            lengths.push(data.len());
            bytes.extend_from_slice(&data);
        }
        (lengths, bytes)
    }

    #[tokio::test]
    async fn answers_of_some_pieces_are_cut_and_others_are_not_and_no_byte_is_lost() {
        let most = MOST_PIECES * PIECE_BYTES;
        for (chunks, expected) in [
            (vec![10], vec![10, 0]),
            (vec![PIECE_BYTES], vec![PIECE_BYTES, 0]),
            (vec![PIECE_BYTES + 1, 5], vec![PIECE_BYTES, 1, 5, 0]),
            (vec![most], [vec![PIECE_BYTES; MOST_PIECES], vec![0]].concat()),
            (vec![most + 1, 2 * PIECE_BYTES], vec![most + 1, PIECE_BYTES, PIECE_BYTES, 0]),
        ] {
            let whole: Vec<u8> =
                chunks.iter().enumerate().flat_map(|(number, length)| vec![u8::try_from(number).unwrap(); *length]).collect();
            assert_eq!(frames(&chunks).await, (expected, whole), "{chunks:?}");
        }
    }
}
