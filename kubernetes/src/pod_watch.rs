//! A watch of pods: one answer whose lines come as things happen.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::client::{Question, Used};
use crate::pod_calls::{PATH, push_encoded};
use crate::pods::{PodEvent, PodScope};
use crate::{ApiError, Call, KubernetesClient, KubernetesMetrics};

/// The most bytes of one event. What etcd takes of an object, 1.5 MiB, can be six times as long in JSON.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of a refusal.
const MAX_REFUSAL_BYTES: usize = 256 * 1024;
/// After how long the server ends a watch: whoever may not watch any more learns it then.
const LONGEST: Duration = Duration::from_secs(300);

/// A watch under way. It ends when it is dropped.
pub struct PodWatch {
    body: Incoming,
    /// What came and is not told yet.
    buffer: Vec<u8>,
    /// How much of it has no end of a line.
    scanned: usize,
    metrics: KubernetesMetrics,
}

impl KubernetesClient {
    /// Begins to watch the pods of a scope from a version on, that of a list or of an event. Its beginning takes `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Expired`] when the version is too old.
    pub async fn watch_pods(&self, scope: &PodScope, version: &str, deadline: Duration) -> Result<PodWatch, ApiError> {
        let (call, used) = (Call::WatchPods, Used::default());
        let mut target =
            format!("{PATH}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}{}", LONGEST.as_secs(), scope.query(call)?);
        target.push_str("&resourceVersion=");
        push_encoded(&mut target, version);
        let question = Question::get(call, target, MAX_REFUSAL_BYTES);
        let begun = self.in_time(call, deadline, &used, self.granted(question, &used)).await;
        self.metrics().count(call, &begun);
        Ok(PodWatch { body: begun?.into_body(), buffer: Vec::new(), scanned: 0, metrics: self.metrics().clone() })
    }
}

impl PodWatch {
    /// The next event; `None` when the server has ended the watch, as it does in its time. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// [`ApiError`]; the watch is of no use any more.
    pub async fn next(&mut self) -> Result<Option<PodEvent>, ApiError> {
        let next = self.read().await;
        if next.is_err() {
            self.metrics.count(Call::WatchPods, &next);
        }
        next
    }

    async fn read(&mut self) -> Result<Option<PodEvent>, ApiError> {
        let call = Call::WatchPods;
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let end = self.scanned + end;
                let event = PodEvent::read(call, &self.buffer[..end]);
                self.buffer.drain(..=end);
                self.scanned = 0;
                return event.map(Some);
            }
            self.scanned = self.buffer.len();
            if self.scanned > MAX_EVENT_BYTES {
                return Err(ApiError::TooLarge { call, max: MAX_EVENT_BYTES });
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ApiError::Malformed { call, cause: "the watch ended within an event".to_owned() }),
                Some(Err(cause)) => return Err(ApiError::Broken { call, cause }),
                // Trailers are no part of it.
                Some(Ok(frame)) => self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
    }
}
