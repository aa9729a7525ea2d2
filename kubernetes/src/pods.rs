//! Pods of `core/v1`, as the fields that count, and which of them run on which node. Pure.

mod detail;
mod of_nodes;
mod on_node;

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::detail::{ContainerDetail, PodDetail};
pub use self::of_nodes::PodsOfNodes;
pub use self::on_node::PodsOnNode;
use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::{ApiError, Call, Kind, Resource, Selection};

/// Where they are.
const PATH: &str = "/api/v1/pods";

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

/// Which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodScope {
    /// Those of the cluster.
    Cluster,
    /// Those that are bound to this node.
    Node(String),
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

impl Resource for Pod {
    const KIND: Kind = Kind::Pods;
    /// The largest clusters that Kubernetes is made for have 150,000.
    const MOST: usize = 200_000;

    fn version(&self) -> &str {
        &self.version
    }
}

impl PodScope {
    /// These pods, to be listed and watched.
    ///
    /// # Errors
    /// [`ApiError::Name`]: the name of the node is none.
    pub fn selection(&self) -> Result<Selection<Pod>, ApiError> {
        let query = match self {
            Self::Cluster => String::new(),
            Self::Node(name) if is_name(name) => format!("&fieldSelector=spec.nodeName%3D{name}"),
            Self::Node(_) => return Err(ApiError::Name { call: Call::List(Kind::Pods), what: "a node" }),
        };
        Ok(Selection::new(PATH.to_owned(), query))
    }
}

#[cfg(test)]
mod tests;
