//! What the writes of all kinds of objects have in common: each is of one object, as it was when it was judged, and only its metadata come back.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::client::{Question, malformed};
use crate::metadata::ObjectMetadata;
use crate::watch::METADATA;
use crate::{ApiError, Call, KubernetesClient};

/// The most bytes of metadata.
pub(crate) const MAX_METADATA_BYTES: usize = 2 * 1024 * 1024;
/// JSON is YAML too.
const APPLY: HeaderValue = HeaderValue::from_static("application/apply-patch+yaml");

/// RFC 7396.
pub(crate) const MERGE: HeaderValue = HeaderValue::from_static("application/merge-patch+json");

/// Which object it is, and as it was when it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// Tells it from another of its name.
    pub uid: String,
    /// The version of the object.
    pub version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    api_version: &'static str,
    kind: &'static str,
    preconditions: Preconditions<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    uid: &'a str,
    resource_version: &'a str,
}

impl KubernetesClient {
    /// Makes an object in a collection, which must not have one of its name.
    pub(crate) async fn create(
        &self,
        call: Call,
        (collection, manager): (&str, &str),
        body: Zeroizing<Vec<u8>>,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let target = format!("{collection}?fieldManager={manager}");
        self.write(Question::sending(call, Method::POST, target, body, MAX_METADATA_BYTES), call, deadline).await
    }

    /// Makes all fields of an object so that the body has, whoever wrote them last (server-side apply, forced).
    pub(crate) async fn apply(
        &self,
        call: Call,
        (path, manager): (&str, &str),
        body: Zeroizing<Vec<u8>>,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let target = format!("{path}?fieldManager={manager}&force=true");
        let question = Question::sending(call, Method::PATCH, target, body, MAX_METADATA_BYTES);
        self.write(question.of_type(APPLY), call, deadline).await
    }

    /// Only the metadata come back: what was just sent is needed by nobody here.
    pub(crate) async fn write(&self, question: Question, call: Call, deadline: Duration) -> Result<ObjectVersion, ApiError> {
        let answer = self.ask(question.accepting(METADATA), deadline).await.and_then(|answer| {
            let written = serde_json::from_slice::<ObjectMetadata>(&answer).map_err(|error| malformed(call, &error))?;
            Ok(ObjectVersion { uid: written.uid, version: written.version })
        });
        self.metrics().count(call, &answer);
        answer
    }

    /// Deletes an object while it is still the one at this version. One that is gone is no fault. `most` bytes are read of the answer.
    pub(crate) async fn delete(
        &self,
        call: Call,
        target: String,
        at: &ObjectVersion,
        most: usize,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        let preconditions = Preconditions { uid: &at.uid, resource_version: &at.version };
        let options = DeleteOptions { api_version: "v1", kind: "DeleteOptions", preconditions };
        let body = serde_json::to_vec(&options).map_err(|error| malformed(call, &error))?;
        let question = Question::sending(call, Method::DELETE, target, Zeroizing::new(body), most);
        let answer = match self.ask(question.accepting(METADATA), deadline).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer.map(drop),
        };
        self.metrics().count(call, &answer);
        answer
    }
}
