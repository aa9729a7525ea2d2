//! A plain HTTP/1.1 client, enough to drive proxies and admin pages.

mod service;

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinHandle;

pub use service::{HttpService, STREAM_EVERY, STREAM_PATH};

/// An answer; status 0 stands for a connection that was refused or broke, with the error as its body.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code, or 0.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// A kept connection.
pub struct HttpConnection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl HttpConnection {
    /// Connects.
    ///
    /// # Errors
    /// The text of whatever failed.
    pub async fn open(address: SocketAddr) -> Result<Self, String> {
        Self::over(TcpStream::connect(address).await.map_err(|error| error.to_string())?).await
    }

    /// Speaks over a connection that is there, such as one by TLS.
    ///
    /// # Errors
    /// The text of whatever failed.
    pub async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T) -> Result<Self, String> {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|error| error.to_string())?;
        #[expect(clippy::disallowed_methods, reason = "the task ends with this connection, which aborts it on drop")]
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver })
    }

    /// Sends a GET and reads the whole answer.
    pub async fn get(&mut self, path: &str) -> HttpResponse {
        match self.try_get(path).await {
            Ok(response) => response,
            Err(body) => HttpResponse { status: 0, body },
        }
    }

    async fn try_get(&mut self, path: &str) -> Result<HttpResponse, String> {
        let response = self.send(path).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(HttpResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn send(&mut self, path: &str) -> Result<hyper::Response<Incoming>, String> {
        let request = hyper::Request::get(path).header("host", "test").body(Empty::new()).map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }
}

/// An answer that is read as it comes.
pub struct HttpStream {
    body: Incoming,
    line: String,
    _connection: HttpConnection,
}

impl HttpStream {
    /// Asks on a new connection, and reads as far as the header.
    ///
    /// # Errors
    /// The text of whatever failed.
    pub async fn open(address: SocketAddr, path: &str) -> Result<Self, String> {
        let mut connection = HttpConnection::open(address).await?;
        let response = connection.send(path).await?;
        match response.status().as_u16() {
            200 => Ok(Self { body: response.into_body(), line: String::new(), _connection: connection }),
            status => Err(format!("status {status}")),
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// The text of whatever failed; an end is one too.
    pub async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some((line, rest)) = self.line.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.line = rest;
                return Ok(line);
            }
            let frame = self.body.frame().await.ok_or("it ended")?.map_err(|error| error.to_string())?;
            self.line.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)));
        }
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An address on loopback at which nobody listens, nor will while what is beside it lives.
///
/// # Panics
/// When loopback has no port left.
#[must_use]
pub fn nobody_listens() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).expect("loopback has a port");
    (socket.local_addr().expect("a bound socket has an address"), socket)
}

/// One GET on a new connection.
pub async fn http_get(address: SocketAddr, path: &str) -> HttpResponse {
    match HttpConnection::open(address).await {
        Ok(mut connection) => connection.get(path).await,
        Err(body) => HttpResponse { status: 0, body },
    }
}

/// One GET on a new connection to a Unix socket.
pub async fn http_get_unix(socket: &Path, path: &str) -> HttpResponse {
    let connection = match UnixStream::connect(socket).await {
        Ok(stream) => HttpConnection::over(stream).await,
        Err(error) => Err(error.to_string()),
    };
    match connection {
        Ok(mut connection) => connection.get(path).await,
        Err(body) => HttpResponse { status: 0, body },
    }
}
