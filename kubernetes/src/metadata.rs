//! Objects of any kind as their metadata alone (`meta/v1` PartialObjectMetadata), and what ties objects together. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::{ApiError, Call, Kind, Resource, Selection};

/// What is known of an object without its content. One whose names are none is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawObject>")]
pub struct ObjectMetadata {
    /// Its namespace; `None` for one that lies in none, as a namespace itself does.
    pub namespace: Option<String>,
    /// Its name, which another object may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The version of the object: opaque, never empty.
    pub version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
}

/// An object that another one goes with, by the word of whoever wrote it there: the API server checks little of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Object<RawOwner>")]
pub struct Owner {
    /// Group and version of its kind, `v1` for the core group.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Tells it from another of its name.
    pub uid: String,
}

/// A service account, by its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServiceAccount(pub ObjectMetadata);

/// A namespace, by its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Namespace(pub ObjectMetadata);

/// The most objects of a list.
const MAX_OBJECTS: usize = 100_000;

impl Resource for ServiceAccount {
    const KIND: Kind = Kind::ServiceAccounts;
    const IS_METADATA_ONLY: bool = true;
    const MOST: usize = MAX_OBJECTS;

    fn version(&self) -> &str {
        &self.0.version
    }
}

impl Resource for Namespace {
    const KIND: Kind = Kind::Namespaces;
    const IS_METADATA_ONLY: bool = true;
    const MOST: usize = MAX_OBJECTS;

    fn version(&self) -> &str {
        &self.0.version
    }
}

impl ServiceAccount {
    /// Those of a namespace or (`None`) of all of them.
    ///
    /// # Errors
    /// [`ApiError::Name`].
    pub fn all(namespace: Option<&str>) -> Result<Selection<Self>, ApiError> {
        Ok(Selection::new(collection(Call::List(Kind::ServiceAccounts), namespace, "serviceaccounts")?, String::new()))
    }
}

impl Namespace {
    /// All of them.
    #[must_use]
    pub fn all() -> Selection<Self> {
        Selection::new("/api/v1/namespaces".to_owned(), String::new())
    }
}

/// The path of the objects of a namespace, or of all of them.
///
/// # Errors
/// [`ApiError::Name`].
pub(crate) fn collection(call: Call, namespace: Option<&str>, plural: &str) -> Result<String, ApiError> {
    match namespace {
        None => Ok(format!("/api/v1/{plural}")),
        Some(namespace) if is_label(namespace) => Ok(format!("/api/v1/namespaces/{namespace}/{plural}")),
        Some(_) => Err(ApiError::Name { call, what: "a namespace" }),
    }
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    uid: String,
    resource_version: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    // Whatever it is, it is there.
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOwner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
}

impl TryFrom<Object<RawObject>> for ObjectMetadata {
    type Error = String;

    fn try_from(Object(RawObject { metadata }): Object<RawObject>) -> Result<Self, String> {
        let RawMetadata { namespace, name, uid, resource_version, labels, deletion_timestamp } = metadata;
        // What Go leaves empty is absent.
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        for (what, is_good) in [
            ("metadata.namespace", namespace.as_deref().is_none_or(is_label)),
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
        ] {
            if !is_good {
                return Err(format!("the {what} of an object is none"));
            }
        }
        let (labels, is_terminating) = (labels.unwrap_or_default(), deletion_timestamp.is_some());
        Ok(Self { namespace, name, uid, version: resource_version, labels, is_terminating })
    }
}

impl From<Object<RawOwner>> for Owner {
    fn from(Object(raw): Object<RawOwner>) -> Self {
        let RawOwner { api_version, kind, name, uid } = raw;
        Self { api_version, kind, name, uid }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<ObjectMetadata, serde_json::Error> {
        serde_json::from_str(&value.to_string())
    }

    #[test]
    fn metadata_is_read_of_what_lies_in_a_namespace_and_of_what_does_not() {
        let account = json!({ "metadata": { "namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "1", "labels": { "a": "b" } } });
        let read_of = read(&account).unwrap();
        assert_eq!((read_of.namespace.as_deref(), read_of.name.as_str()), (Some("shop"), "web"));
        assert_eq!(read_of.labels["a"], "b");
        assert!(!read_of.is_terminating);
        let namespace = json!({ "metadata": { "name": "shop", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "x" } });
        let read_of = read(&namespace).unwrap();
        assert!(read_of.namespace.is_none() && read_of.is_terminating && read_of.labels.is_empty());
        for (pointer, value) in [
            ("/metadata/namespace", json!("a.b")),
            ("/metadata/name", json!("")),
            ("/metadata/uid", json!("a b")),
            ("/metadata/resourceVersion", json!("")),
            ("/metadata", json!([])),
        ] {
            let mut bad = account.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(read(&bad).is_err(), "{pointer}");
        }
    }
}
