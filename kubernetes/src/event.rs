//! Events of `core/v1`: words about an object, shown by `kubectl describe`.

use std::time::Duration;

use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use crate::client::Question;
use crate::metadata::collection;
use crate::watch::METADATA;
use crate::{ApiError, Call, Kind, KubernetesClient};

/// The most bytes of the answer.
const MAX_EVENT_BYTES: usize = 256 * 1024;

/// What is to be said about an object.
#[derive(Clone, Copy, Debug)]
pub struct Incident<'a> {
    /// The namespace of the object, and of the event.
    pub namespace: &'a str,
    /// Kind, name and UID of the object, of `v1`.
    pub object: (&'static str, &'a str, &'a str),
    /// One word, for programs.
    pub reason: &'static str,
    /// At most 1,024 bytes, for people.
    pub message: &'a str,
    /// When, as text of RFC 3339.
    pub at: &'a str,
}

impl KubernetesClient {
    /// Adds a warning about an object.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn warn(&self, incident: &Incident<'_>, deadline: Duration) -> Result<(), ApiError> {
        let call = Call::Create(Kind::Events);
        let Incident { namespace, object: (kind, name, uid), reason, message, at } = *incident;
        let target = collection(call, Some(namespace), "events")?;
        let body = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "namespace": namespace, "generateName": "signet-" },
            "involvedObject": { "apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name, "uid": uid },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": { "component": "signet-ca" },
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        });
        let body = Zeroizing::new(body.to_string().into_bytes());
        let question = Question::sending(call, Method::POST, target, body, MAX_EVENT_BYTES).accepting(METADATA);
        let answer = self.ask(question, deadline).await.map(drop);
        self.metrics().count(call, &answer);
        answer
    }
}
