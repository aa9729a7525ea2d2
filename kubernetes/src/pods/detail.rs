//! Pods with what tells their containers apart, as far as somebody on their node asks for it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{PATH, Pod, RawMetadata, RawPod, RawSpec, RawStatus};
use crate::names::is_name;
use crate::object::{Object, object};
use crate::{ApiError, Call, Kind, Resource, Selection};

/// The most labels and the most containers of a pod that are kept: more than any has that was written by people.
const MAX_LABELS: usize = 256;
const MAX_CONTAINERS: usize = 256;

/// A pod, with its labels and its containers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawPodDetail>")]
pub struct PodDetail {
    /// The pod itself.
    pub pod: Pod,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its containers, those of every kind, as its kubelet says that they are.
    pub containers: Vec<ContainerDetail>,
    /// It has more labels or containers than are kept: 256 of each.
    pub is_cut: bool,
    /// It stands for a static pod of its node.
    mirror: Option<Mirror>,
}

/// A container that a kubelet has told of: one of a pod, one that prepares it (init), or one that was added while it runs (ephemeral).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerDetail {
    /// What its pod calls it.
    pub name: String,
    /// What the container runtime calls it, without the name of that; `None` while there is none. Another one after each restart.
    pub id: Option<String>,
    /// What it was made of, by a tag. May be empty.
    pub image: String,
    /// The same by a digest. May be empty.
    pub image_id: String,
}

/// What the annotations of a mirror pod say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    /// The UID by which the kubelet knows the static pod: the hash of its manifest. `None` when the annotations do not agree on one.
    uid: Option<String>,
}

#[derive(Deserialize)]
struct RawPodDetail {
    #[serde(deserialize_with = "object")]
    metadata: RawDetailMetadata,
    #[serde(deserialize_with = "object")]
    spec: RawSpec,
    #[serde(deserialize_with = "object")]
    status: RawDetailStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDetailMetadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<IgnoredAny>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Object<RawAnnotations>>,
}

#[derive(Deserialize)]
struct RawAnnotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<String>,
    #[serde(rename = "kubernetes.io/config.hash")]
    hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDetailStatus {
    phase: Option<String>,
    container_statuses: Option<Vec<Object<RawContainer>>>,
    init_container_statuses: Option<Vec<Object<RawContainer>>>,
    ephemeral_container_statuses: Option<Vec<Object<RawContainer>>>,
}

#[derive(Deserialize)]
struct RawContainer {
    name: String,
    image: Option<String>,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl PodDetail {
    /// The UID by which its node knows it, which stands in the names of its control groups: its own, but for a mirror pod, which has one at
    /// the API server that its node never uses. `None` when nobody can tell.
    #[must_use]
    pub fn uid_on_node(&self) -> Option<&str> {
        match &self.mirror {
            None => Some(&self.pod.uid),
            Some(mirror) => mirror.uid.as_deref(),
        }
    }

    /// Those that are bound to this node, to be listed and watched.
    ///
    /// # Errors
    /// [`ApiError::Name`]: the name of the node is none.
    pub fn of_node(name: &str) -> Result<Selection<Self>, ApiError> {
        if !is_name(name) {
            return Err(ApiError::Name { call: Call::List(Kind::Pods), what: "a node" });
        }
        Ok(Selection::new(PATH.to_owned(), format!("&fieldSelector=spec.nodeName%3D{name}")))
    }
}

impl TryFrom<Object<RawPodDetail>> for PodDetail {
    type Error = String;

    fn try_from(Object(raw): Object<RawPodDetail>) -> Result<Self, String> {
        let RawPodDetail { metadata, spec, status } = raw;
        let RawDetailMetadata { namespace, name, uid, resource_version, deletion_timestamp, labels, annotations } = metadata;
        let RawDetailStatus { phase, container_statuses, init_container_statuses, ephemeral_container_statuses } = status;
        let metadata = RawMetadata { namespace, name, uid, resource_version, deletion_timestamp };
        let pod = Pod::try_from(Object(RawPod { metadata, spec, status: RawStatus { phase } }))?;
        let labels = labels.unwrap_or_default();
        let statuses = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        let statuses: Vec<_> = statuses.into_iter().flatten().flatten().collect();
        let is_cut = labels.len() > MAX_LABELS || statuses.len() > MAX_CONTAINERS;
        let mirror = annotations.and_then(|Object(RawAnnotations { mirror, hash })| {
            let mirror = mirror?;
            Some(Mirror { uid: hash.filter(|hash| *hash == mirror) })
        });
        Ok(Self {
            pod,
            labels: labels.into_iter().take(MAX_LABELS).collect(),
            containers: statuses.into_iter().take(MAX_CONTAINERS).map(|Object(raw)| raw.into()).collect(),
            is_cut,
            mirror,
        })
    }
}

impl From<RawContainer> for ContainerDetail {
    fn from(RawContainer { name, image, image_id, container_id }: RawContainer) -> Self {
        // "containerd://..."
        let id = container_id.and_then(|id| Some(id.split_once("://")?.1.to_owned()));
        Self { name, id, image: image.unwrap_or_default(), image_id: image_id.unwrap_or_default() }
    }
}

impl Resource for PodDetail {
    const KIND: Kind = Kind::Pods;
    /// More than any node runs; those that a node refused are among them until somebody deletes them.
    const MOST: usize = 20_000;

    fn version(&self) -> &str {
        &self.pod.version
    }
}

#[cfg(test)]
mod tests;
