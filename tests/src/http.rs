//! A plain HTTP/1.1 client, enough to drive proxies and admin pages.

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

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
        let request = hyper::Request::get(path).header("host", "test").body(Empty::new()).map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(HttpResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
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
