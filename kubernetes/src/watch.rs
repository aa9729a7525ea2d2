//! A watch of objects: one answer whose lines come as things happen.

use std::marker::PhantomData;
use std::time::Duration;

use http::HeaderValue;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::client::{Question, Used};
use crate::list::push_encoded;
use crate::{ApiError, Call, KubernetesClient, KubernetesMetrics, ObjectEvent, Resource, Selection};

/// The most bytes of one event. What etcd takes of an object, 1.5 MiB, can be six times as long in JSON.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of a refusal.
const MAX_REFUSAL_BYTES: usize = 256 * 1024;
/// After how long the server ends a watch: whoever may not watch any more learns it then.
const LONGEST: Duration = Duration::from_secs(300);

/// Asks for metadata alone: of one object, or event by event.
pub(crate) const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// A watch under way. It ends when it is dropped.
pub struct ObjectWatch<T> {
    body: Incoming,
    /// What came and is not told yet. It may be a Secret.
    buffer: Zeroizing<Vec<u8>>,
    /// How much of it has no end of a line.
    scanned: usize,
    metrics: KubernetesMetrics,
    of: PhantomData<fn() -> T>,
}

impl KubernetesClient {
    /// Begins to watch the objects of a selection from a version on, that of a list or of an event. Its beginning takes `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Expired`] when the version is too old.
    pub async fn watch<T: Resource>(
        &self,
        Selection { path, query, .. }: &Selection<T>,
        version: &str,
        deadline: Duration,
    ) -> Result<ObjectWatch<T>, ApiError> {
        let (call, used) = (Call::Watch(T::KIND), Used::default());
        let mut target = format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}{query}", LONGEST.as_secs());
        target.push_str("&resourceVersion=");
        push_encoded(&mut target, version);
        let mut question = Question::get(call, target, MAX_REFUSAL_BYTES);
        if T::IS_METADATA_ONLY {
            question = question.accepting(METADATA);
        }
        let begun = self.in_time(call, deadline, &used, self.granted(question, &used)).await;
        self.metrics().count(call, &begun);
        let (body, metrics) = (begun?.into_body(), self.metrics().clone());
        Ok(ObjectWatch { body, buffer: Zeroizing::default(), scanned: 0, metrics, of: PhantomData })
    }
}

impl<T: Resource> ObjectWatch<T> {
    /// The next event; `None` when the server has ended the watch, as it does in its time. Nothing is lost when the wait is given up.
    ///
    /// # Errors
    /// [`ApiError`]; the watch is of no use any more.
    pub async fn next(&mut self) -> Result<Option<ObjectEvent<T>>, ApiError> {
        let next = self.read().await;
        if next.is_err() {
            self.metrics.count(Call::Watch(T::KIND), &next);
        }
        next
    }

    async fn read(&mut self) -> Result<Option<ObjectEvent<T>>, ApiError> {
        let call = Call::Watch(T::KIND);
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let end = self.scanned + end;
                let event = ObjectEvent::read(&self.buffer[..end]);
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
