//! Request and answer on a connection: HTTP/1.1 (RFC 9112), bounded in headers and body.

use std::convert::Infallible;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::HttpsUrl;
use super::error::FetchFault;

const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// One request. `Debug` is not there: fields and body may be secret.
pub struct HttpsRequest<'a> {
    /// Where to.
    pub(super) url: &'a HttpsUrl,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// Sent by POST; `None` is a GET.
    body: Option<Bytes>,
}

/// How much one request may take.
#[derive(Clone, Copy, Debug)]
pub struct HttpsBounds {
    /// The most bytes of the answer's body.
    pub answer_bytes: usize,
    /// The time from the question to the resolver to the last byte of the answer.
    pub deadline: Duration,
}

/// An answer that is no redirect. `Debug` is not there: the body may be secret.
pub struct HttpsAnswer {
    /// The status code (RFC 9110 section 15).
    pub status: u16,
    /// For how long the server wants to be left alone (RFC 9110 section 10.2.3), when it says so in seconds.
    pub retry_after: Option<Duration>,
    /// Wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why a text cannot stand in a header field. It is not shown: it may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds a character that cannot stand in a header field")]
pub struct FieldValueError;

impl<'a> HttpsRequest<'a> {
    /// A GET. It says nothing of what is accepted: a server that has the document in one form gives that.
    #[must_use]
    pub fn get(url: &'a HttpsUrl) -> Self {
        Self { url, fields: Vec::new(), body: None }
    }

    /// A POST of a JSON text, which is wiped when it was sent.
    #[must_use]
    pub fn post_json(url: &'a HttpsUrl, body: Zeroizing<Vec<u8>>) -> Self {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { url, fields: vec![json], body: Some(Bytes::from_owner(body)) }
    }

    /// The same with a header field more, whose value is kept out of logs. `name` is in lower case.
    ///
    /// # Errors
    /// [`FieldValueError`].
    pub fn with_field(mut self, name: &'static str, value: &str) -> Result<Self, FieldValueError> {
        let mut value = HeaderValue::from_str(value).map_err(|_| FieldValueError)?;
        value.set_sensitive(true);
        self.fields.push((HeaderName::from_static(name), value));
        Ok(self)
    }

    fn to_http(&self) -> Request<Full<Bytes>> {
        let request = if self.body.is_some() { Request::post(self.url.target()) } else { Request::get(self.url.target()) };
        let mut request = request.header(HOST, self.url.authority()).header(CONNECTION, "close");
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let body = Full::new(self.body.clone().unwrap_or_default());
        request.body(body).expect("the parts of a checked URL and of checked fields make a request")
    }
}

/// Sends the request and reads the answer, of at most `most` bytes.
pub(super) async fn exchange(
    request: &HttpsRequest<'_>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    most: usize,
) -> Result<HttpsAnswer, FetchFault> {
    let http = |cause| FetchFault::Http { cause };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let answer = async {
        let response = sender.send_request(request.to_http()).await.map_err(http)?;
        read(response, most).await
    };
    // However the connection ends, what it means is told by the answer.
    let connection = async {
        drop(connection.await);
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        // Any order: the answer moves only while the connection does, and the connection never ends the race.
        answer = answer => answer,
        never = connection => match never {},
    }
}

async fn read(response: Response<Incoming>, most: usize) -> Result<HttpsAnswer, FetchFault> {
    let status = response.status();
    if status.is_redirection() {
        return Err(FetchFault::Redirected { status: status.as_u16() });
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(FetchFault::Encoded);
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = response.into_body();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // In one piece where the length is told: a buffer that grows leaves parts of a secret behind where it was before.
    let mut document = Zeroizing::new(Vec::with_capacity(announced.min(most)));
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the document.
        let Ok(data) = frame.map_err(|cause| FetchFault::Http { cause })?.into_data() else { continue };
        if document.len() + data.len() > most {
            return Err(FetchFault::TooLarge { max: most });
        }
        document.extend_from_slice(&data);
    }
    Ok(HttpsAnswer { status: status.as_u16(), retry_after: retry_after.map(Duration::from_secs), body: document })
}
