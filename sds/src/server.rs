//! The service as it stands behind a path: gRPC (gRPC over HTTP/2, "Requests" and "Responses") with buffers of its own.
//!
//! A stream lives as long as its peer and says almost nothing, and its first message may be a thousand times as large as all others.
//! What tonic reads messages with keeps the room of the largest one, and what it writes with keeps a part of the last one, keys
//! included, as long as the stream lives. Here a message takes room while it is read or written, and none before or after.

mod answers;
mod requests;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream;
use prost::Message;
use proto::envoy::envoy::service::discovery::v3::DiscoveryRequest;
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::SERVICE_NAME;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Status};
use tower_service::Service;

use crate::SecretSource;
use crate::service::{Incremental, Protocol, ResponseStream, SdsService, StateOfTheWorld};
use answers::Answers;
pub(crate) use requests::Requests;

/// `envoy.service.secret.v3.SecretDiscoveryService`, ready to be routed to; clones are the same service.
pub struct SdsServer<S>(Arc<SdsService<S>>);

impl<S> SdsServer<S> {
    pub(crate) fn new(service: SdsService<S>) -> Self {
        Self(Arc::new(service))
    }
}

impl<S> Clone for SdsServer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for SdsServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S> NamedService for SdsServer<S> {
    const NAME: &'static str = SERVICE_NAME;
}

impl<S: SecretSource> Service<http::Request<Body>> for SdsServer<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = Arc::clone(&self.0);
        async move { Ok(answer(&service, request).await.unwrap_or_else(Status::into_http)) }.boxed()
    }
}

/// # Errors
/// What is said in the place of an answer.
async fn answer<S: SecretSource>(service: &SdsService<S>, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    refuse_compression(&request)?;
    let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
    match method {
        Some("/StreamSecrets") => streamed::<StateOfTheWorld, S>(service, request),
        Some("/DeltaSecrets") => streamed::<Incremental, S>(service, request),
        Some("/FetchSecrets") => fetched(service, request).await,
        Some(_) | None => Err(Status::unimplemented("SDS has the methods StreamSecrets, DeltaSecrets and FetchSecrets")),
    }
}

fn streamed<P: Protocol, S: SecretSource>(
    service: &SdsService<S>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    let request = Request::from_http(request.map(Requests::new));
    Ok(written(service.responses::<P>(request)?))
}

async fn fetched<S: SecretSource>(service: &SdsService<S>, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    let request = Request::from_http(request.map(Requests::<DiscoveryRequest>::new));
    let (metadata, extensions, mut requests) = request.into_parts();
    let message = requests.message().await?.ok_or_else(|| Status::internal("the request has no message"))?;
    let response = service.fetch(Request::from_parts(metadata, extensions, message)).await?;
    Ok(written(Box::pin(stream::once(std::future::ready(Ok(response))))))
}

fn written<M: Message + 'static>(responses: ResponseStream<M>) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Answers::new(responses)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    response
}

/// Nobody compresses what fits into a frame, and what grows when it is read would need a bound of its own.
fn refuse_compression(request: &http::Request<Body>) -> Result<(), Status> {
    let coding = request.headers().get("grpc-encoding").filter(|coding| coding.as_bytes() != b"identity");
    if coding.is_none() {
        return Ok(());
    }
    let mut status = Status::unimplemented("messages are compressed by the request's grpc-encoding; only identity is taken");
    status.metadata_mut().insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity"));
    Err(status)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn with_encoding(coding: Option<&'static str>) -> Result<(), Status> {
        let mut request = http::Request::new(Body::empty());
        if let Some(coding) = coding {
            request.headers_mut().insert("grpc-encoding", http::HeaderValue::from_static(coding));
        }
        refuse_compression(&request)
    }

    #[test]
    fn only_what_is_not_compressed_is_read() {
        assert!(with_encoding(None).is_ok() && with_encoding(Some("identity")).is_ok());
        let refused = with_encoding(Some("gzip")).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(refused.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    }
}
