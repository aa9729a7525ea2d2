//! What the calls on one connection may make this process hold while nobody is known to be behind it: the header lists and the messages
//! of all its streams together, whole or half sent.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http_body::{Body as HttpBody, Frame, SizeHint};
use proto::framing::Framing;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::server::NamedService;

use crate::metrics::{Limit, LimitMetrics};
use crate::rpc::connection::ConnectInfo;

/// Of one connection.
#[derive(Debug)]
pub(crate) struct Intake {
    /// In bytes.
    limit: usize,
    held: AtomicUsize,
    lifted: AtomicBool,
    metrics: LimitMetrics,
}

impl Intake {
    /// Nothing is held.
    pub(super) fn new(limit: usize, metrics: LimitMetrics) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), lifted: AtomicBool::new(false), metrics })
    }

    /// It is known who is behind the connection: the bounds on known callers hold from now on.
    pub(super) fn lift(&self) {
        self.lifted.store(true, Ordering::Relaxed);
    }
}

/// What one call holds, until it is over: until its answer was dropped, and its request.
struct Held {
    intake: Arc<Intake>,
    bytes: AtomicUsize,
}

impl Held {
    fn nothing(intake: Arc<Intake>) -> Arc<Self> {
        Arc::new(Self { intake, bytes: AtomicUsize::new(0) })
    }

    /// Takes room for so many bytes more.
    fn add(&self, bytes: usize) -> Result<(), Status> {
        let Intake { limit, held, lifted, metrics } = &*self.intake;
        let sum = held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if sum <= *limit || lifted.load(Ordering::Relaxed) {
            return Ok(());
        }
        metrics.reached(Limit::AnonymousBytes);
        Err(Status::resource_exhausted(format!(
            "the headers and messages of the calls under way on this connection take {sum} bytes: at most [limits] anonymous_bytes = \
             {limit} are taken from a client that has not shown who it is; wait for answers before asking for more, or show a client \
             certificate"
        )))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.intake.held.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A service that is open to clients without a certificate.
#[derive(Clone, Debug)]
pub(crate) struct OpenToAll<S> {
    pub(crate) service: S,
    /// Its largest message, in bytes; larger ones are refused as by its decoder.
    pub(crate) message_bytes: usize,
}

impl<S: NamedService> NamedService for OpenToAll<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for OpenToAll<S>
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
        let held = match ConnectInfo::of(request.extensions()) {
            Ok(info) => info.intake.map(Held::nothing),
            Err(status) => return Box::pin(async { Ok(status.into_http()) }),
        };
        let Some(held) = held else { return Box::pin(self.service.call(request)) };
        if let Err(status) = held.add(head_bytes(&request)) {
            return Box::pin(async { Ok(status.into_http()) });
        }
        let inbox = Arc::<Mutex<Inbox>>::default();
        let reading = Reading {
            inbox: Arc::clone(&inbox),
            framing: Framing::default(),
            counted: 0,
            message_bytes: self.message_bytes,
            held: Arc::clone(&held),
        };
        let (head, body) = request.into_parts();
        let mut reader = JoinSet::new();
        reader.spawn(reading.run(body));
        let answer = self.service.call(http::Request::from_parts(head, Body::new(ReadRequest(inbox))));
        Box::pin(async move {
            answer.await.map(|answer| answer.map(|body| Body::new(HeldAnswer { body, _held: held, _reader: reader })))
        })
    }
}

/// As RFC 9113 section 6.5.2 counts a list: names and values, and 32 bytes for each field.
fn field_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + 32
}

fn list_bytes(headers: &http::HeaderMap) -> usize {
    headers.iter().map(|(name, value)| field_bytes(name.as_str(), value.as_bytes())).sum()
}

fn head_bytes(request: &http::Request<Body>) -> usize {
    let uri = request.uri();
    let pseudo = [
        (":method", Some(request.method().as_str())),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(http::uri::Authority::as_str)),
        (":path", uri.path_and_query().map(http::uri::PathAndQuery::as_str)),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some(field_bytes(name, value?.as_bytes())));
    pseudo.sum::<usize>() + list_bytes(request.headers())
}

/// What was read of a request and not yet taken by its decoder.
#[derive(Default)]
struct Inbox {
    /// In one piece: kept as they come, small frames would each hold on to the whole block that they were received in.
    bytes: Vec<u8>,
    trailers: Option<http::HeaderMap>,
    /// Nothing more comes, for this reason.
    end: Option<Result<(), Status>>,
    decoder: Option<Waker>,
}

/// The end of an inbox that is read into.
struct Reading {
    inbox: Arc<Mutex<Inbox>>,
    framing: Framing,
    /// Bytes of messages that were counted.
    counted: usize,
    message_bytes: usize,
    held: Arc<Held>,
}

impl Reading {
    /// Reads the request to its end whether or not its decoder goes on, which may wait until its answers are let through: what
    /// HTTP/2 keeps of unread bytes is bounded by their number alone, and not by the blocks that they lie in.
    async fn run(mut self, mut body: Body) {
        loop {
            let end = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => match self.take(frame) {
                    Ok(()) => continue,
                    Err(status) => Err(status),
                },
                Some(Err(status)) => Err(status),
                None => Ok(()),
            };
            return self.put(|inbox| inbox.end = Some(end));
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Status> {
        match frame.into_data() {
            Ok(data) => {
                self.framing.read(&data);
                let largest = self.framing.largest().saturating_sub(PREFIX_BYTES);
                if largest > self.message_bytes {
                    return Err(Status::out_of_range(format!("a message of {largest} bytes is announced")));
                }
                let more = self.framing.announced() - self.counted;
                self.counted += more;
                self.held.add(more)?;
                self.put(|inbox| inbox.bytes.extend_from_slice(&data));
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.held.add(list_bytes(&trailers))?;
                    self.put(|inbox| inbox.trailers = Some(trailers));
                }
            }
        }
        Ok(())
    }

    fn put(&self, what: impl FnOnce(&mut Inbox)) {
        let mut inbox = lock(&self.inbox);
        what(&mut inbox);
        if let Some(decoder) = inbox.decoder.take() {
            decoder.wake();
        }
    }
}

/// Of a message: a flag and its length.
const PREFIX_BYTES: usize = 5;

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request as its decoder sees it.
struct ReadRequest(Arc<Mutex<Inbox>>);

impl HttpBody for ReadRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut inbox = lock(&self.0);
        if !inbox.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut inbox.bytes).into()))));
        }
        if let Some(trailers) = inbox.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut inbox.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                inbox.decoder = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// An answer: the call lasts as long as it does.
struct HeldAnswer {
    body: Body,
    _held: Arc<Held>,
    /// Ends with the call.
    _reader: JoinSet<()>,
}

impl HttpBody for HeldAnswer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
