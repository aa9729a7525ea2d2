//! Pods of `core/v1`, as the fields that count: lists of them, and what a watch says of them. Pure; `follower` keeps up with them.

pub mod follower;

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::{ApiError, Call, Message};

/// The longest version of an object, and the longest token by which a list goes on, in bytes.
const MAX_VERSION_BYTES: usize = 256;
const MAX_CONTINUE_BYTES: usize = 1536;

/// A pod, as the API server has it. One whose names are none is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawPod>")]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which another pod may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The node that it is bound to, for good; `None` while there is none.
    pub node: Option<String>,
    /// The account that it runs as; `None` for one that has none, such as a static pod.
    pub service_account: Option<String>,
    /// How far it has come.
    pub phase: Phase,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
    /// The version of the object: opaque, never empty.
    pub version: String,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all of its containers have run yet.
    Pending,
    /// It runs.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has ended otherwise.
    Failed,
    /// Nobody knows, or it is not told, or in a word that is not known here.
    Unknown,
}

/// Pods, all as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodList {
    /// The pods.
    pub pods: Vec<Pod>,
    /// The moment, as a version from which a watch goes on.
    pub version: String,
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// There is a pod, or it has changed.
    Applied(Pod),
    /// It is gone; as it was last.
    Deleted(Pod),
    /// Nothing else happened up to this version.
    Bookmark(String),
    /// What happened since the version asked for is not known any more (410): list anew.
    Expired(Message),
    /// The watch failed.
    Failed(Message),
}

/// Which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodScope {
    /// Those of the cluster.
    Cluster,
    /// Those that are bound to this node.
    Node(String),
}

/// One part of a list.
pub(crate) struct PodPage {
    pub(crate) pods: Vec<Pod>,
    pub(crate) version: String,
    /// By what the next part is asked for; `None` at the end.
    pub(crate) next: Option<String>,
}

#[derive(Deserialize)]
struct RawPod {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
    #[serde(deserialize_with = "object")]
    spec: RawSpec,
    #[serde(deserialize_with = "object")]
    status: RawStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    // Whatever it is, it is there.
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    node_name: Option<String>,
    service_account_name: Option<String>,
}

#[derive(Deserialize)]
struct RawStatus {
    phase: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    #[serde(deserialize_with = "object")]
    metadata: RawPageMetadata,
    #[serde(deserialize_with = "items")]
    items: Vec<Pod>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPageMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum RawEvent {
    Added(Pod),
    Modified(Pod),
    Deleted(Pod),
    Bookmark(Object<RawBookmark>),
    Error(Object<RawError>),
}

#[derive(Deserialize)]
struct RawBookmark {
    #[serde(deserialize_with = "object")]
    metadata: RawVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVersion {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawError {
    code: u16,
    message: String,
}

impl TryFrom<Object<RawPod>> for Pod {
    type Error = String;

    fn try_from(Object(raw): Object<RawPod>) -> Result<Self, String> {
        let RawPod { metadata, spec: RawSpec { node_name, service_account_name }, status: RawStatus { phase } } = raw;
        let RawMetadata { namespace, name, uid, resource_version, deletion_timestamp } = metadata;
        // What Go leaves empty is absent.
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (node, service_account) = (present(node_name), present(service_account_name));
        let optional_name = |text: &Option<String>| text.as_deref().is_none_or(is_name);
        for (what, is_good) in [
            ("metadata.namespace", is_label(&namespace)),
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
            ("spec.nodeName", optional_name(&node)),
            ("spec.serviceAccountName", optional_name(&service_account)),
        ] {
            if !is_good {
                return Err(format!("the {what} of a pod is none"));
            }
        }
        let phase = match phase.as_deref() {
            Some("Pending") => Phase::Pending,
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some(_) | None => Phase::Unknown,
        };
        let is_terminating = deletion_timestamp.is_some();
        Ok(Self { namespace, name, uid, node, service_account, phase, is_terminating, version: resource_version })
    }
}

/// Namespace, name and UID.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.namespace, self.name, self.uid)
    }
}

impl PodPage {
    pub(crate) fn read(call: Call, text: &[u8]) -> Result<Self, ApiError> {
        let Object(RawPage { metadata, items }) = serde_json::from_slice(text).map_err(|error| malformed(call, &error))?;
        let RawPageMetadata { resource_version: version, r#continue: next } = metadata;
        let next = next.filter(|next| !next.is_empty());
        if !is_version(&version) || next.as_ref().is_some_and(|next| next.len() > MAX_CONTINUE_BYTES) {
            return Err(malformed(call, &"the version of a list, or what goes on with it, is none"));
        }
        Ok(Self { pods: items, version, next })
    }
}

impl PodEvent {
    /// Reads one line of a watch.
    pub(crate) fn read(call: Call, line: &[u8]) -> Result<Self, ApiError> {
        let Object(event) = serde_json::from_slice(line).map_err(|error| malformed(call, &error))?;
        match event {
            RawEvent::Added(pod) | RawEvent::Modified(pod) => Ok(Self::Applied(pod)),
            RawEvent::Deleted(pod) => Ok(Self::Deleted(pod)),
            RawEvent::Bookmark(Object(RawBookmark { metadata: RawVersion { resource_version } })) => {
                let is_good = is_version(&resource_version);
                is_good
                    .then_some(Self::Bookmark(resource_version))
                    .ok_or_else(|| malformed(call, &"the version of a bookmark is none"))
            }
            RawEvent::Error(Object(RawError { code: 410, message })) => Ok(Self::Expired(Message::of(&message))),
            RawEvent::Error(Object(RawError { code: _, message })) => Ok(Self::Failed(Message::of(&message))),
        }
    }
}

impl PodScope {
    /// The part of a query that names it.
    ///
    /// # Errors
    /// [`ApiError::Name`].
    pub(crate) fn query(&self, call: Call) -> Result<String, ApiError> {
        match self {
            Self::Cluster => Ok(String::new()),
            Self::Node(name) if is_name(name) => Ok(format!("&fieldSelector=spec.nodeName%3D{name}")),
            Self::Node(_) => Err(ApiError::Name { call, what: "a node" }),
        }
    }
}

fn is_version(text: &str) -> bool {
    (1..=MAX_VERSION_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The field must be there; Go writes `null` for a list of nothing.
fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pod>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn malformed(call: Call, cause: &impl ToString) -> ApiError {
    ApiError::Malformed { call, cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
