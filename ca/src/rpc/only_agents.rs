//! A service of somebody else's making, opened to agents that stand and to nobody else.

use std::convert::Infallible;
use std::sync::Arc;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::NamedService;

use crate::rpc::callers::Callers;
use crate::rpc::connection::ConnectInfo;

/// Checks the caller as our own services do, then passes the call on.
#[derive(Clone)]
pub(crate) struct OnlyAgents<S> {
    pub(crate) service: S,
    pub(crate) callers: Arc<Callers>,
}

impl<S: NamedService> NamedService for OnlyAgents<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for OnlyAgents<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that was polled ready takes the call; its clone waits for the next.
        let next = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, next);
        let callers = Arc::clone(&self.callers);
        Box::pin(async move {
            let checked = match ConnectInfo::of(request.extensions()) {
                Ok(info) => callers.check(&info).await.map(drop),
                Err(status) => Err(status),
            };
            match checked {
                Ok(()) => service.call(request).await,
                Err(status) => Ok(Status::into_http(status)),
            }
        })
    }
}
