//! Secrets of `core/v1`, as the fields that count. Their content is wiped when it is dropped, and `Debug` shows none of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use data_encoding::BASE64;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::list::push_encoded;
use crate::metadata::{Owner, collection};
use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::{ApiError, Call, Kind, Resource, Selection};

/// A Secret, as the API server has it. One whose names are none is not read.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Object<RawSecret>")]
pub struct Secret {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which another Secret may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The version of the object: opaque, never empty.
    pub version: String,
    /// Its type, such as `Opaque`, for good.
    pub secret_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What it goes with.
    pub owners: Vec<Owner>,
    /// Who wrote fields of it, by their own word (`metadata.managedFields`).
    pub managers: BTreeSet<String>,
    /// Its content may not be changed any more.
    pub is_immutable: bool,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
    /// What it holds.
    pub data: SecretData,
}

/// The content of a Secret, by the names of its files. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretData(BTreeMap<String, Zeroizing<Vec<u8>>>);

/// The most Secrets of a list.
const MAX_SECRETS: usize = 100_000;

impl Resource for Secret {
    const KIND: Kind = Kind::Secrets;
    const MOST: usize = MAX_SECRETS;

    fn version(&self) -> &str {
        &self.version
    }
}

impl Secret {
    /// Those of one type, in a namespace or (`None`) in all of them.
    ///
    /// # Errors
    /// [`ApiError::Name`].
    pub fn of_type(secret_type: &str, namespace: Option<&str>) -> Result<Selection<Self>, ApiError> {
        let mut query = "&fieldSelector=type%3D".to_owned();
        push_encoded(&mut query, secret_type);
        Ok(Selection::new(collection(Call::List(Kind::Secrets), namespace, "secrets")?, query))
    }
}

#[derive(Deserialize)]
struct RawSecret {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
    r#type: String,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<SecretData>,
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
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
    #[serde(default)]
    managed_fields: Option<Vec<Object<RawManager>>>,
}

#[derive(Deserialize)]
struct RawManager {
    #[serde(default)]
    manager: String,
}

impl TryFrom<Object<RawSecret>> for Secret {
    type Error = String;

    fn try_from(Object(raw): Object<RawSecret>) -> Result<Self, String> {
        let RawSecret { metadata, r#type: secret_type, immutable, data } = raw;
        let RawMetadata { namespace, name, uid, resource_version, .. } = metadata;
        for (what, is_good) in [
            ("metadata.namespace", is_label(&namespace)),
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
        ] {
            if !is_good {
                return Err(format!("the {what} of a Secret is none"));
            }
        }
        let managers = metadata.managed_fields.unwrap_or_default().into_iter().map(|Object(entry)| entry.manager);
        Ok(Self {
            namespace,
            name,
            uid,
            version: resource_version,
            secret_type,
            annotations: metadata.annotations.unwrap_or_default(),
            owners: metadata.owner_references.unwrap_or_default(),
            managers: managers.collect(),
            is_immutable: immutable.unwrap_or_default(),
            is_terminating: metadata.deletion_timestamp.is_some(),
            data: data.unwrap_or_default(),
        })
    }
}

impl SecretData {
    /// What a file holds.
    #[must_use]
    pub fn get(&self, file: &str) -> Option<&[u8]> {
        self.0.get(file).map(|content| content.as_slice())
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(file, content)| (file.as_str(), content.as_slice()))
    }
}

impl<const N: usize> From<[(&str, Zeroizing<Vec<u8>>); N]> for SecretData {
    fn from(files: [(&str, Zeroizing<Vec<u8>>); N]) -> Self {
        Self(files.into_iter().map(|(file, content)| (file.to_owned(), content)).collect())
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for SecretData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Files)
    }
}

struct Files;

/// A value of `data`: base64, decoded as it is read.
struct Content(Zeroizing<Vec<u8>>);

impl<'de> Visitor<'de> for Files {
    type Value = SecretData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of a Secret")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretData, A::Error> {
        let mut files = BTreeMap::new();
        while let Some((file, Content(content))) = map.next_entry::<String, Content>()? {
            files.insert(file, content);
        }
        Ok(SecretData(files))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Text)
    }
}

struct Base64Text;

impl Visitor<'_> for Base64Text {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        // What is wrong with it is not told: it may be a key.
        let none = || E::custom("a file of a Secret is not base64");
        let mut content = Zeroizing::new(vec![0; BASE64.decode_len(text.len()).map_err(|_| none())?]);
        let length = BASE64.decode_mut(text.as_bytes(), &mut content).map_err(|_| none())?;
        content.truncate(length);
        Ok(Content(content))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn whole() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "istio.io/key-and-cert",
            "metadata": {
                "namespace": "shop", "name": "istio.web", "uid": "u-1", "resourceVersion": "7",
                "annotations": { "istio.io/service-account.name": "web" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ServiceAccount", "name": "web", "uid": "a-1" }],
                "managedFields": [{ "manager": "signet-secrets", "operation": "Apply", "fieldsV1": {} }, { "manager": "kubectl" }],
            },
            "data": { "key.pem": "c2VjcmV0", "empty": "" },
        })
    }

    fn read(value: &Value) -> Result<Secret, String> {
        serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_counts_is_read_and_the_content_is_shown_to_nobody() {
        let secret = read(&whole()).unwrap();
        assert_eq!((secret.namespace.as_str(), secret.name.as_str(), secret.uid.as_str()), ("shop", "istio.web", "u-1"));
        assert_eq!((secret.version.as_str(), secret.secret_type.as_str()), ("7", "istio.io/key-and-cert"));
        assert_eq!(secret.owners[0].uid, "a-1");
        assert!(secret.managers.contains("signet-secrets") && secret.managers.contains("kubectl"));
        assert!(!secret.is_immutable && !secret.is_terminating);
        // Whatever a tenant writes there, its Secret is read, and with it all others of the list.
        let mut odd = whole();
        odd["metadata"]["ownerReferences"][0]["uid"] = json!("no/such uid");
        assert_eq!(read(&odd).unwrap().owners[0].uid, "no/such uid");
        assert_eq!(secret.data.get("key.pem"), Some(&b"secret"[..]));
        assert_eq!((secret.data.get("empty"), secret.data.get("none")), (Some(&b""[..]), None));
        let shown = format!("{secret:?}");
        assert!(shown.contains("key.pem") && !shown.contains("secret\"") && !shown.contains("115, 101"), "{shown}");
    }

    #[test]
    fn what_go_leaves_out_is_empty_and_what_is_no_secret_is_refused_without_a_word_of_its_content() {
        let mut least = whole();
        for key in ["annotations", "ownerReferences", "managedFields"] {
            least["metadata"][key] = Value::Null;
        }
        least["data"] = Value::Null;
        least["immutable"] = json!(true);
        least["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let secret = read(&least).unwrap();
        assert!(secret.is_immutable && secret.is_terminating && secret.owners.is_empty() && secret.managers.is_empty());
        let bad: [(&str, Value); 7] = [
            ("/metadata/uid", json!("")),
            ("/metadata/namespace", json!("a/b")),
            ("/metadata/name", json!("..")),
            ("/metadata/resourceVersion", json!("")),
            ("/data", json!([])),
            ("/data/key.pem", json!("hunter2!")),
            ("/metadata/ownerReferences", json!([{ "kind": "ServiceAccount" }])),
        ];
        for (pointer, value) in bad {
            let mut secret = whole();
            *secret.pointer_mut(pointer).unwrap() = value;
            let error = read(&secret).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(read(&json!([])).is_err());
    }
}
