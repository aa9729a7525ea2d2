//! A plain HTTP service behind a proxy under test.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Where an answer never ends: a line with the next number, every [`STREAM_EVERY`].
pub const STREAM_PATH: &str = "/stream";

/// How often an answer of [`STREAM_PATH`] goes on.
pub const STREAM_EVERY: Duration = Duration::from_millis(200);

/// Answers every request with `hello`, and [`STREAM_PATH`] without end, until it is dropped.
pub struct HttpService {
    /// Where it listens.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl HttpService {
    /// Starts it on a loopback port of the system's choice.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                        let body = match request.uri().path() {
                            STREAM_PATH => Either::Left(numbers()),
                            _ => Either::Right(Full::new(Bytes::from_static(b"hello"))),
                        };
                        Ok::<_, Infallible>(Response::new(body))
                    });
                    // A client that goes away ends its connection with an error, which is its own affair.
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, _task: task }
    }
}

/// Lines with 0, 1, 2 and so on.
fn numbers() -> impl Body<Data = Bytes, Error = Infallible> {
    let every = tokio::time::interval(STREAM_EVERY);
    StreamBody::new(Box::pin(stream::unfold((every, 0_u64), async |(mut every, number)| {
        every.tick().await;
        Some((Ok(Frame::data(Bytes::from(format!("{number}\n")))), (every, number + 1)))
    })))
}
