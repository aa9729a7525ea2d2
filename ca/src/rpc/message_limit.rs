//! Messages that are too large: refused by the decoder before they are taken in, explained and counted here.

use std::convert::Infallible;

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::metrics::{Limit, LimitMetrics};
use crate::rpc::pieces;

/// The largest message of a service, and where that is configured.
#[derive(Clone, Debug)]
pub(crate) struct MessageLimit {
    /// The key below `[limits]`.
    pub(crate) key: &'static str,
    pub(crate) bytes: usize,
    pub(crate) metrics: LimitMetrics,
}

impl MessageLimit {
    /// Names the limit in a decoder's refusal, which is the only thing here that is OUT_OF_RANGE; other statuses pass unchanged.
    pub(crate) fn explain(&self, status: Status) -> Status {
        if status.code() != Code::OutOfRange {
            return status;
        }
        let Self { key, bytes, metrics } = self;
        metrics.reached(Limit::MessageBytes);
        Status::out_of_range(format!(
            "the message is too large: at most [limits] {key} = {bytes} bytes are taken: {}",
            status.message()
        ))
    }
}

/// A service of single messages whose decoder's refusals are explained.
#[derive(Clone, Debug)]
pub(crate) struct Explained<S> {
    pub(crate) service: S,
    pub(crate) limit: MessageLimit,
}

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Explained<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (answer, limit) = (self.service.call(request), self.limit.clone());
        Box::pin(async move {
            let answer = answer.await?;
            // A call that fails before its answer begins says so in the headers.
            match Status::from_header_map(answer.headers()).filter(|status| status.code() == Code::OutOfRange) {
                Some(status) => Ok(limit.explain(status).into_http()),
                None => Ok(answer.map(pieces::of)),
            }
        })
    }
}
