//! Bounds on the calls of one user, before any service sees them: how many there are, and how much their requests may take.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proto::framing::Framing;
use sds::SdsConnection;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::caller::Caller;
use super::limits::{Limits, RequestRoom, StreamSlot};
use super::metrics::{CallRefusal, WorkloadMetrics};
use super::refusal_log::RefusalLog;

/// Passes calls on to `service` while their user has room for them.
#[derive(Clone)]
pub(super) struct BoundedCalls<S> {
    pub(super) service: S,
    pub(super) limits: Limits,
    pub(super) refusals: RefusalLog,
    pub(super) metrics: WorkloadMetrics,
}

impl<S> Service<Request<Body>> for BoundedCalls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let refused = |status: Status| std::future::ready(Ok(status.into_http())).boxed();
        let Some(connection) = request.extensions().get::<SdsConnection<Caller>>() else {
            return refused(Status::permission_denied("this connection has no attested caller"));
        };
        let uid = connection.caller().uid;
        let Some(slot) = self.limits.take_stream(uid) else {
            let status = too_many_streams(uid, self.limits.bounds().streams_per_uid);
            self.refusals.say("call", &status.message());
            self.metrics.refused_call(CallRefusal::TooManyOfUser);
            return refused(status);
        };
        self.metrics.call_opened();
        let held = HeldCall { _slot: slot, metrics: self.metrics.clone() };
        let (room, refusals, metrics) = (self.limits.room(uid), self.refusals.clone(), self.metrics.clone());
        let request =
            request.map(|body| Body::new(MeteredRequest { body, framing: Framing::default(), room, uid, refusals, metrics }));
        let answer = self.service.call(request);
        async move { answer.await.map(|answer| answer.map(|body| Body::new(HeldAnswer { body, _held: held }))) }.boxed()
    }
}

fn too_many_streams(uid: u32, share: usize) -> Status {
    Status::resource_exhausted(format!(
        "uid {uid} has {share} calls and streams open at this agent, which is one user's share; end some of them, or let the \
         agent's operator raise limits.streams_per_uid"
    ))
}

fn too_much(uid: u32, share: usize) -> Status {
    Status::resource_exhausted(format!(
        "the requests of uid {uid} take the {share} bytes that one user may take of this agent; end some streams, or let the \
         agent's operator raise limits.request_bytes_per_uid"
    ))
}

/// A call in progress.
struct HeldCall {
    _slot: StreamSlot,
    metrics: WorkloadMetrics,
}

impl Drop for HeldCall {
    fn drop(&mut self) {
        self.metrics.call_closed();
    }
}

/// An answer: the call lasts as long as it does.
struct HeldAnswer {
    body: Body,
    _held: HeldCall,
}

impl HttpBody for HeldAnswer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request that takes room for the largest of its messages, as soon as that is announced: whatever reads behind it may make the room
/// then, and tonic's decoder keeps it.
struct MeteredRequest {
    body: Body,
    framing: Framing,
    room: RequestRoom,
    uid: u32,
    refusals: RefusalLog,
    metrics: WorkloadMetrics,
}

impl HttpBody for MeteredRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        if let Some(data) = frame.data_ref() {
            self.framing.read(data);
            let largest = self.framing.largest();
            if !self.room.widen(largest) {
                let status = too_much(self.uid, self.room.share());
                self.refusals.say("call", &status.message());
                self.metrics.refused_call(CallRefusal::RequestBytesOfUser);
                return Poll::Ready(Some(Err(status)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
