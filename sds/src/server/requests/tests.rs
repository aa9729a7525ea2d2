//! Messages however their bytes are cut, their bounds, and what stays of them.

use std::collections::VecDeque;
use std::sync::Arc;

use http_body::Frame;
use proto::envoy::envoy::service::discovery::v3::DiscoveryRequest;

use super::*;

/// Frames of data, and after them an end or nothing yet.
struct Pieces {
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    ends: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn requests(frames: impl IntoIterator<Item = Result<Frame<Bytes>, Status>>, ends: bool) -> Requests<DiscoveryRequest> {
    Requests::new(Body::new(Pieces { frames: frames.into_iter().collect(), ends }))
}

fn cut(bytes: &[u8], piece: usize) -> Vec<Result<Frame<Bytes>, Status>> {
    bytes.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect()
}

fn prefixed(message: &DiscoveryRequest) -> Vec<u8> {
    let encoded = message.encode_to_vec();
    [&[0][..], &u32::try_from(encoded.len()).unwrap().to_be_bytes(), &encoded].concat()
}

fn of_bytes(length: usize) -> DiscoveryRequest {
    let mut request = DiscoveryRequest { version_info: "x".repeat(length), ..Default::default() };
    // The field's own tag and length.
    request.version_info.truncate(length - (request.encoded_len() - length));
    assert_eq!(request.encoded_len(), length);
    request
}

#[tokio::test]
async fn messages_are_found_however_the_bytes_are_cut() {
    let messages = [of_bytes(300), DiscoveryRequest::default(), of_bytes(9), DiscoveryRequest::default(), of_bytes(70_000)];
    let bytes = messages.iter().flat_map(prefixed).collect::<Vec<_>>();
    for piece in [1, 2, 4, 5, 6, 7, 304, 305, 306, 4096, 1 << 20] {
        let mut requests = requests(cut(&bytes, piece), true);
        for message in &messages {
            assert_eq!(requests.message().await.unwrap().as_ref(), Some(message), "in pieces of {piece}");
        }
        assert_eq!(requests.message().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_message_of_256_kib_is_read_and_a_byte_more_refused_when_it_is_announced() {
    let largest = of_bytes(MAX_REQUEST_BYTES);
    assert_eq!(requests(cut(&prefixed(&largest), 16_384), true).message().await.unwrap(), Some(largest));
    let announced = [0, 0, 4, 0, 1];
    let refused = requests(cut(&announced, 5), false).message().await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("262145") && refused.message().contains("262144"), "{refused}");
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let fault = async |bytes: &[u8]| requests(cut(bytes, 3), true).message().await.map_err(|status| status.code());
    assert_eq!(fault(&[]).await, Ok(None));
    assert_eq!(fault(&[0, 0, 0, 0, 0]).await, Ok(Some(DiscoveryRequest::default())));
    for bad in [&[1, 0, 0, 0, 0][..], &[2, 0, 0, 0, 0], &[0, 0, 0], &[0, 0, 0, 0, 2, 0], &[0, 0, 0, 0, 1, 0xff]] {
        assert_eq!(fault(bad).await, Err(Code::Internal), "{bad:?}");
    }
    let broken = |status: Status| requests([Err(status)], true);
    assert_eq!(broken(Status::cancelled("left")).message().await.unwrap(), None, "as when the peer ends the stream");
    assert_eq!(broken(Status::resource_exhausted("full")).message().await.unwrap_err().code(), Code::ResourceExhausted);
    let trailers = Frame::trailers(http::HeaderMap::new());
    assert_eq!(requests([Ok(trailers)], false).message().await.unwrap(), None);
}

/// A piece of the transport's memory that tells when it is given back.
struct Lent(Vec<u8>, #[expect(dead_code, reason = "counted")] Arc<()>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_message_while_the_next_one_is_waited_for() {
    let lender = Arc::new(());
    let lent = |bytes: &[u8]| Ok(Frame::data(Bytes::from_owner(Lent(bytes.to_vec(), Arc::clone(&lender)))));
    let (large, small) = (prefixed(&of_bytes(61_000)), prefixed(&of_bytes(100)));
    let frames: Vec<_> = large.chunks(16_384).chain([&small[..]]).map(lent).collect();
    let mut requests = requests(frames, false);
    for _ in 0..2 {
        assert!(requests.message().await.unwrap().is_some());
    }
    let waiting = poll_fn(|context| Poll::Ready(requests.poll_message(context).is_pending())).await;
    assert!(waiting);
    assert_eq!(Arc::strong_count(&lender), 1, "the transport has all of its memory back");
    assert!(requests.incoming.is_none() && requests.rest.is_empty() && requests.prefix.capacity() == 0);
}

#[tokio::test]
async fn a_half_sent_message_takes_the_room_that_it_announced_and_no_more() {
    let bytes = prefixed(&of_bytes(61_000));
    let mut requests = requests(cut(&bytes[..40_000], 9000), false);
    assert!(poll_fn(|context| Poll::Ready(requests.poll_message(context).is_pending())).await);
    assert_eq!(
        requests.incoming.as_ref().map(|incoming| (incoming.part.len(), incoming.part.capacity())),
        Some((39_995, 61_000))
    );
}
