//! A client of the Kubernetes API for tests: one request a connection, JSON both ways, whatever the answer is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use identity::Host;
use mtls::{ClientTls, ServerTrust};
use pki::{TrustedRoots, X509Svid};
use runtime::clock::SystemClock;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A caller of the API, by a token or by a certificate.
pub struct ApiClient {
    address: SocketAddr,
    tls: ClientTls,
    bearer: Option<String>,
}

/// An answer; status 0 stands for a connection that was refused or broke, with the error as its body.
#[derive(Clone, Debug)]
pub struct ApiAnswer {
    /// The status code, or 0.
    pub status: u16,
    /// The object, the list or the `Status`; a text where the answer is no JSON.
    pub body: Value,
}

impl ApiClient {
    pub(super) fn new(address: SocketAddr, roots: TrustedRoots, shown: Option<X509Svid>, bearer: Option<String>) -> Self {
        let trust = ServerTrust::ServerName { name: Host::Ip(address.ip()), roots };
        let shown = shown.map(|svid| watch::channel(Arc::new(svid)).1);
        Self { address, tls: ClientTls::new(trust, shown, &[b"http/1.1"], SystemClock::shared()), bearer }
    }

    /// Reads what is at a path.
    pub async fn get(&self, path: &str) -> ApiAnswer {
        self.call(Method::GET, path, None).await
    }

    /// Makes an object in a collection, or asks a question that is put as one.
    pub async fn create(&self, path: &str, object: &Value) -> ApiAnswer {
        self.call(Method::POST, path, Some(object)).await
    }

    /// Puts an object in the place of what is at a path.
    pub async fn replace(&self, path: &str, object: &Value) -> ApiAnswer {
        self.call(Method::PUT, path, Some(object)).await
    }

    /// Asks for the end of what is at a path, which a kubelet then has so many seconds for.
    pub async fn delete_within(&self, path: &str, seconds: u32) -> ApiAnswer {
        self.call(Method::DELETE, path, Some(&serde_json::json!({ "gracePeriodSeconds": seconds }))).await
    }

    /// Deletes what is at a path, at once: no kubelet is awaited.
    pub async fn delete(&self, path: &str) -> ApiAnswer {
        self.call(Method::DELETE, path, Some(&serde_json::json!({ "gracePeriodSeconds": 0 }))).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> ApiAnswer {
        let answer = tokio::time::timeout(LIMIT, self.try_call(method, path, body)).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}"))) {
            Ok(answer) => answer,
            Err(error) => ApiAnswer { status: 0, body: Value::String(error) },
        }
    }

    async fn try_call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<ApiAnswer, String> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.to_string());
        request = request.header(CONNECTION, "close").header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        let stream = self.tls.connect(stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
            Ok(ApiAnswer { status, body: serde_json::from_slice(&body).unwrap_or_else(|_| text()) })
        };
        // How the connection ends is told by the answer.
        tokio::join!(exchange, async { drop(connection.await) }).0
    }
}

impl ApiAnswer {
    /// The body of an answer that grants what was asked for.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self.body
    }
}
