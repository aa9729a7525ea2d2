//! The client: each call by its own rules of time and size, and never a second time but when the first was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::TrySendError;
use runtime::clock::Clock;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::connection::{self, Connection};
use crate::credential::{self, Bearer};
use crate::review::{self, TokenReview};
use crate::{ApiError, Call, ClusterConfig, KubernetesMetrics, Message};

/// The most bytes of the answer to a review, which repeats the token (16 KiB at most) and names groups and extras.
const MAX_REVIEW_BYTES: usize = 256 * 1024;
/// The longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static("signet");

/// A client of one API server. It tries nothing again by itself: a busy server is told to the caller, who knows what can wait.
pub struct KubernetesClient {
    connection: Connection,
    bearer: Bearer,
    metrics: KubernetesMetrics,
}

/// One request.
pub(crate) struct Question {
    call: Call,
    method: Method,
    /// Path and query.
    target: String,
    body: Zeroizing<Vec<u8>>,
    /// The form of the body.
    content_type: HeaderValue,
    accept: HeaderValue,
    /// The most bytes of the answer.
    most: usize,
}

/// The connection that a call was sent on last; 0 before it was sent.
#[derive(Default)]
pub(crate) struct Used(AtomicU64);

/// The object that stands in the place of an answer when there is none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
}

impl Question {
    /// Reads what is at a target.
    pub(crate) fn get(call: Call, target: String, most: usize) -> Self {
        Self::sending(call, Method::GET, target, Zeroizing::default(), most)
    }

    /// Sends JSON to a target.
    pub(crate) fn sending(call: Call, method: Method, target: String, body: Zeroizing<Vec<u8>>, most: usize) -> Self {
        Self { call, method, target, body, content_type: JSON, accept: JSON, most }
    }

    /// The body in another form.
    pub(crate) fn of_type(self, content_type: HeaderValue) -> Self {
        Self { content_type, ..self }
    }

    /// The answer in another form.
    pub(crate) fn accepting(self, accept: HeaderValue) -> Self {
        Self { accept, ..self }
    }
}

impl KubernetesClient {
    /// A client. Nothing is read, and nothing is sent.
    #[must_use]
    pub fn new(config: ClusterConfig, clock: Arc<dyn Clock>, metrics: KubernetesMetrics) -> Self {
        let bearer = Bearer::new(config.token_file.clone(), Arc::clone(&clock));
        Self { connection: Connection::new(config, clock), bearer, metrics }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        self.connection.config()
    }

    /// Looks at the files that the configuration names, without sending anything. Blocks.
    ///
    /// # Errors
    /// [`ApiError::Local`].
    pub fn check(config: &ClusterConfig) -> Result<(), ApiError> {
        connection::roots(config)?;
        let token = credential::read(&config.token_file);
        token.map(drop).map_err(|cause| ApiError::Local { what: "token_file", cause })
    }

    /// Asks whom a token stands for, if it is for one of these audiences. The whole call takes `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]: there is no answer. That the token is refused is one.
    pub async fn review_token(&self, token: &str, audiences: &[String], deadline: Duration) -> Result<TokenReview, ApiError> {
        let call = Call::ReviewToken;
        // Written straight into bytes that are wiped, with room for all of it.
        let room = token.len() + audiences.iter().map(|audience| 2 * audience.len() + 8).sum::<usize>() + 256;
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        let question = review::Question::new(token, audiences);
        serde_json::to_writer(&mut *body, &question).map_err(|error| malformed(call, &error))?;
        let target = review::PATH.to_owned();
        let question = Question::sending(call, Method::POST, target, body, MAX_REVIEW_BYTES);
        let answer = self
            .ask(question, deadline)
            .await
            .and_then(|answer| serde_json::from_slice::<review::Answer>(&answer).map_err(|error| malformed(call, &error)));
        self.metrics.count(call, &answer);
        answer.map(|answer| answer.status)
    }

    pub(crate) fn metrics(&self) -> &KubernetesMetrics {
        &self.metrics
    }

    /// Time since boot.
    pub(crate) fn boottime(&self) -> Duration {
        self.connection.boottime()
    }

    /// The whole answer, within the deadline.
    pub(crate) async fn ask(&self, question: Question, deadline: Duration) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let (call, most, used) = (question.call, question.most, Used::default());
        let exchange = async { read(call, self.granted(question, &used).await?.into_body(), most).await };
        self.in_time(call, deadline, &used, exchange).await
    }

    /// Ends work at the deadline. A connection is left to those who still wait on it when nobody had an answer all the time: one to a server
    /// that is slow is kept, since a new one would make it slower.
    pub(crate) async fn in_time<T>(
        &self,
        call: Call,
        deadline: Duration,
        used: &Used,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let answers = self.connection.answers();
        match tokio::time::timeout(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let number = used.0.load(Ordering::Relaxed);
                if number > 0 && self.connection.answers() == answers {
                    self.connection.leave(number).await;
                }
                Err(ApiError::Deadline { call, after: deadline })
            }
        }
    }

    /// The answer of a server that grants what is asked for, whose body is still to come.
    pub(crate) async fn granted(&self, question: Question, used: &Used) -> Result<Response<Incoming>, ApiError> {
        let Question { call, most, .. } = question;
        let request = self.request(question).await?;
        let response = self.send(call, request, used).await?;
        self.connection.answered();
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(call, response.into_body(), most).await?;
        let told: Status = serde_json::from_slice(&body).unwrap_or_default();
        let after = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
        Err(ApiError::of_status(call, status.as_u16(), after, Message::of(&told.message)))
    }

    async fn request(&self, question: Question) -> Result<Request<Full<Bytes>>, ApiError> {
        let Question { call, method, target, body, content_type, accept, most: _ } = question;
        let token = self.bearer.token().await?;
        let field = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let mut field = HeaderValue::from_str(&field).map_err(|error| malformed(call, &error))?;
        field.set_sensitive(true);
        let url = self.config().api_server.on_same_server(&target).map_err(|error| malformed(call, &error))?;
        Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(AUTHORIZATION, field)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, accept)
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from_owner(body)))
            .map_err(|error| malformed(call, &error))
    }

    /// Sends it, and once more on a new connection when the old one had ended before it took the request.
    async fn send(&self, call: Call, request: Request<Full<Bytes>>, used: &Used) -> Result<Response<Incoming>, ApiError> {
        let mut unsent = match self.try_send(request, used).await? {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(request) = unsent.take_message() else { return Err(ApiError::Broken { call, cause: unsent.into_error() }) };
        self.try_send(request, used).await?.map_err(|error| ApiError::Broken { call, cause: error.into_error() })
    }

    async fn try_send(
        &self,
        request: Request<Full<Bytes>>,
        used: &Used,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>, ApiError> {
        let (mut sender, number) = self.connection.sender().await?;
        used.0.store(number, Ordering::Relaxed);
        let outcome = sender.try_send_request(request).await;
        if outcome.is_err() && sender.is_closed() {
            self.connection.leave(number).await;
        }
        Ok(outcome)
    }
}

async fn read(call: Call, mut body: Incoming, most: usize) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let mut content = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the answer.
        let Ok(data) = frame.map_err(|cause| ApiError::Broken { call, cause })?.into_data() else { continue };
        if content.len() + data.len() > most {
            return Err(ApiError::TooLarge { call, max: most });
        }
        content.extend_from_slice(&data);
    }
    Ok(content)
}

pub(crate) fn malformed(call: Call, cause: &impl ToString) -> ApiError {
    ApiError::Malformed { call, cause: cause.to_string() }
}
