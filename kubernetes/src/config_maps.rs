//! ConfigMaps of `core/v1` of one name, as the fields that count: made, applied and deleted, each write on what it was judged by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::{Question, malformed};
use crate::list::push_encoded;
use crate::metadata::collection;
use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::writing::{MAX_METADATA_BYTES, MERGE};
use crate::{ApiError, Call, Kind, KubernetesClient, ObjectVersion, Resource, Selection};

/// The most ConfigMaps of a list: one for each namespace.
const MAX_CONFIG_MAPS: usize = 100_000;

/// A ConfigMap, as the API server has it. One whose names are none is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawConfigMap>")]
pub struct ConfigMap {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which another ConfigMap may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The version of the object: opaque, never empty.
    pub version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who wrote fields of it, by their own word (`metadata.managedFields`).
    pub managers: BTreeSet<String>,
    /// Its content may not be changed any more.
    pub is_immutable: bool,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
    /// What it holds, by the names of its files.
    pub data: BTreeMap<String, String>,
    /// The names of its files that are no text.
    pub binary_files: BTreeSet<String>,
}

/// What a ConfigMap shall hold; nothing else of it is touched.
#[derive(Clone, Copy, Debug)]
pub struct ConfigMapWrite<'a> {
    /// Under which name its fields are written.
    pub manager: &'static str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// One label.
    pub label: (&'static str, &'static str),
    /// A file and its content.
    pub file: (&'static str, &'a str),
}

impl Resource for ConfigMap {
    const KIND: Kind = Kind::ConfigMaps;
    const MOST: usize = MAX_CONFIG_MAPS;

    fn version(&self) -> &str {
        &self.version
    }
}

impl ConfigMap {
    /// Those of one name, in all namespaces. RBAC takes it for a question about that name.
    ///
    /// # Errors
    /// [`ApiError::Name`].
    pub fn named(name: &str) -> Result<Selection<Self>, ApiError> {
        let call = Call::List(Kind::ConfigMaps);
        if !is_name(name) {
            return Err(ApiError::Name { call, what: "a ConfigMap" });
        }
        let mut query = "&fieldSelector=metadata.name%3D".to_owned();
        push_encoded(&mut query, name);
        Ok(Selection::new(collection(call, None, "configmaps")?, query))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfigMap {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, IgnoredAny>>,
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
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    managed_fields: Option<Vec<Object<RawManager>>>,
}

#[derive(Deserialize)]
struct RawManager {
    #[serde(default)]
    manager: String,
}

impl TryFrom<Object<RawConfigMap>> for ConfigMap {
    type Error = String;

    fn try_from(Object(raw): Object<RawConfigMap>) -> Result<Self, String> {
        let RawConfigMap { metadata, immutable, data, binary_data } = raw;
        let RawMetadata { namespace, name, uid, resource_version, deletion_timestamp, labels, managed_fields } = metadata;
        for (what, is_good) in [
            ("metadata.namespace", is_label(&namespace)),
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
        ] {
            if !is_good {
                return Err(format!("the {what} of a ConfigMap is none"));
            }
        }
        Ok(Self {
            namespace,
            name,
            uid,
            version: resource_version,
            labels: labels.unwrap_or_default(),
            managers: managed_fields.unwrap_or_default().into_iter().map(|Object(entry)| entry.manager).collect(),
            is_immutable: immutable.unwrap_or_default(),
            is_terminating: deletion_timestamp.is_some(),
            data: data.unwrap_or_default(),
            binary_files: binary_data.unwrap_or_default().into_keys().collect(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    data: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
    labels: BTreeMap<&'static str, &'static str>,
}

impl ConfigMapWrite<'_> {
    fn body(&self, call: Call, at: Option<&ObjectVersion>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let Self { manager: _, namespace, name, label: (key, value), file } = *self;
        let metadata = Metadata {
            namespace,
            name,
            uid: at.map(|at| at.uid.as_str()),
            resource_version: at.map(|at| at.version.as_str()),
            labels: BTreeMap::from([(key, value)]),
        };
        let data = BTreeMap::from([file]);
        let whole = Body { api_version: "v1", kind: "ConfigMap", metadata, data };
        serde_json::to_vec(&whole).map(Zeroizing::new).map_err(|error| malformed(call, &error))
    }
}

impl KubernetesClient {
    /// Makes a ConfigMap that is not there. The whole call takes `deadline` at most, as each of the others does.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when there is one of this name, which stays as it is.
    pub async fn create_config_map(&self, write: &ConfigMapWrite<'_>, deadline: Duration) -> Result<ObjectVersion, ApiError> {
        let call = Call::Create(Kind::ConfigMaps);
        let _checked = path(call, write.namespace, write.name)?;
        let collection = collection(call, Some(write.namespace), "configmaps")?;
        self.create(call, (&collection, write.manager), write.body(call, None)?, deadline).await
    }

    /// Makes all fields of a ConfigMap so that are given here, whoever wrote them last, while it is still the one at this version.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn apply_config_map(
        &self,
        write: &ConfigMapWrite<'_>,
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let call = Call::Patch(Kind::ConfigMaps);
        let path = path(call, write.namespace, write.name)?;
        self.apply(call, (&path, write.manager), write.body(call, Some(at))?, deadline).await
    }

    /// Takes a file out of a ConfigMap, whoever wrote it, while it is still the one at this version. What is applied cannot do that: of a field that
    /// came with the object its maker stays an owner.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn remove_config_map_file(
        &self,
        manager: &'static str,
        (namespace, name, file): (&str, &str, &'static str),
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let call = Call::Patch(Kind::ConfigMaps);
        let target = format!("{}?fieldManager={manager}", path(call, namespace, name)?);
        let question = Question::sending(call, Method::PATCH, target, without_file(call, file, at)?, MAX_METADATA_BYTES);
        self.write(question.of_type(MERGE), call, deadline).await
    }

    /// Deletes a ConfigMap while it is still the one at this version. One that is gone is no fault.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn delete_config_map(
        &self,
        namespace: &str,
        name: &str,
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        let call = Call::Delete(Kind::ConfigMaps);
        self.delete(call, path(call, namespace, name)?, at, MAX_METADATA_BYTES, deadline).await
    }
}

/// A JSON merge patch (RFC 7396): `null` is the end of a field.
fn without_file(call: Call, file: &'static str, at: &ObjectVersion) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let metadata = serde_json::json!({ "uid": at.uid, "resourceVersion": at.version });
    let patch = serde_json::json!({ "metadata": metadata, "data": { file: null } });
    serde_json::to_vec(&patch).map(Zeroizing::new).map_err(|error| malformed(call, &error))
}

fn path(call: Call, namespace: &str, name: &str) -> Result<String, ApiError> {
    let collection = collection(call, Some(namespace), "configmaps")?;
    if is_name(name) { Ok(format!("{collection}/{name}")) } else { Err(ApiError::Name { call, what: "a ConfigMap" }) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<ConfigMap, serde_json::Error> {
        serde_json::from_str(&value.to_string())
    }

    #[test]
    fn what_counts_of_a_config_map_is_read_and_names_that_are_none_are_refused() {
        let whole = json!({
            "metadata": {
                "namespace": "shop", "name": "istio-ca-root-cert", "uid": "u", "resourceVersion": "1",
                "labels": { "istio.io/config": "true" }, "managedFields": [{ "manager": "signet-trust" }],
            },
            "immutable": true, "data": { "root-cert.pem": "a" }, "binaryData": { "other": "AA==" },
        });
        let map = read(&whole).unwrap();
        assert_eq!((map.data["root-cert.pem"].as_str(), map.labels["istio.io/config"].as_str()), ("a", "true"));
        assert!(map.is_immutable && !map.is_terminating && map.binary_files.contains("other"));
        assert!(map.managers.contains("signet-trust"));
        let bare = json!({ "metadata": { "namespace": "shop", "name": "a", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "x" } });
        let map = read(&bare).unwrap();
        assert!(map.data.is_empty() && map.is_terminating && !map.is_immutable);
        for (pointer, value) in [
            ("/metadata/namespace", json!("a.b")),
            ("/metadata/name", json!("A")),
            ("/metadata/uid", json!("")),
            ("/metadata/resourceVersion", json!("")),
            ("/data", json!([])),
            ("/data/root-cert.pem", json!(1)),
            ("/metadata", json!([])),
        ] {
            let mut bad = whole.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(read(&bad).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_write_names_what_it_was_judged_by_and_nothing_but_its_own_fields() {
        let write = ConfigMapWrite {
            manager: "signet-trust",
            namespace: "shop",
            name: "istio-ca-root-cert",
            label: ("istio.io/config", "true"),
            file: ("root-cert.pem", "a"),
        };
        let at = ObjectVersion { uid: "u".to_owned(), version: "7".to_owned() };
        let body = |write: &ConfigMapWrite<'_>, at: Option<&ObjectVersion>| -> Value {
            serde_json::from_slice(&write.body(Call::Patch(Kind::ConfigMaps), at).unwrap()).unwrap()
        };
        let metadata = json!({
            "namespace": "shop", "name": "istio-ca-root-cert", "uid": "u", "resourceVersion": "7", "labels": { "istio.io/config": "true" },
        });
        let expected = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "root-cert.pem": "a" } });
        assert_eq!(body(&write, Some(&at)), expected);
        let new = body(&write, None);
        assert!(new["metadata"].get("uid").is_none() && new["metadata"].get("resourceVersion").is_none(), "{new}");
        let gone: Value =
            serde_json::from_slice(&without_file(Call::Patch(Kind::ConfigMaps), "ca-crl.pem", &at).unwrap()).unwrap();
        assert_eq!(gone, json!({ "metadata": { "uid": "u", "resourceVersion": "7" }, "data": { "ca-crl.pem": null } }));
    }
}
