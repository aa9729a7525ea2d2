//! The messages of an answer: each is written into room of its own size, which goes with it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use prost::Message;
use tonic::Status;

use crate::service::ResponseStream;

/// `Length-Prefixed-Message`s and the trailers after the last one.
pub(super) struct Answers<M> {
    /// `None` after the trailers.
    responses: Option<ResponseStream<M>>,
}

impl<M> Answers<M> {
    pub(super) fn new(responses: ResponseStream<M>) -> Self {
        Self { responses: Some(responses) }
    }
}

impl<M: Message> Body for Answers<M> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(responses) = &mut self.responses else { return Poll::Ready(None) };
        let last = match ready!(responses.as_mut().poll_next(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(prefixed(&message).map(Frame::data))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.responses = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(last.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.responses.is_none()
    }
}

/// No byte of it is copied on the way to the socket, so that nothing of a key stays behind in a buffer.
fn prefixed<M: Message>(message: &M) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).map_err(|_| Status::internal("an answer of 4 GiB"))?;
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.push(0);
    bytes.put_u32(announced);
    message.encode(&mut bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Bytes::from(bytes))
}

const PREFIX_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::stream;
    use proto::envoy::envoy::service::discovery::v3::DiscoveryResponse;

    use super::*;

    async fn frames(responses: Vec<Result<DiscoveryResponse, Status>>) -> (Vec<Bytes>, HeaderMap) {
        let mut answers = Answers::new(Box::pin(stream::iter(responses)));
        let mut data = Vec::new();
        loop {
            assert!(!answers.is_end_stream());
            let frame = poll_fn(|context| Pin::new(&mut answers).poll_frame(context)).await.unwrap().unwrap();
            match frame.into_data() {
                Ok(bytes) => data.push(bytes),
                Err(trailers) => {
                    assert!(answers.is_end_stream());
                    assert!(poll_fn(|context| Pin::new(&mut answers).poll_frame(context)).await.is_none());
                    return (data, trailers.into_trailers().unwrap());
                }
            }
        }
    }

    #[tokio::test]
    async fn each_message_has_its_length_before_it_and_the_trailers_say_how_it_ended() {
        let response = DiscoveryResponse { version_info: "v".repeat(300), ..Default::default() };
        let (data, trailers) = frames(vec![Ok(response.clone()), Ok(DiscoveryResponse::default())]).await;
        let [first, second] = <[Bytes; 2]>::try_from(data).unwrap();
        let length = response.encoded_len();
        assert_eq!((first[0], first.len()), (0, 5 + length));
        assert_eq!(first[1..5], u32::try_from(length).unwrap().to_be_bytes());
        assert_eq!(DiscoveryResponse::decode(&first[5..]).unwrap(), response);
        assert_eq!(*second, [0; 5]);
        assert_eq!(trailers["grpc-status"], "0");

        let (data, trailers) = frames(vec![Ok(response), Err(Status::unavailable("gone away"))]).await;
        assert_eq!(data.len(), 1);
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"gone%20away".parse().unwrap())
        );
    }
}
