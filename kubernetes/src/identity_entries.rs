//! Objects of this project's own kind: `IdentityEntry` of `signet.internal/v1alpha1`, by which whoever may write one in a namespace asks for an entry.
//!
//! Whatever an object says, its metadata are the API server's; a spec that is not read is told of the one object, and stops no other.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::client::malformed;
use crate::names::{is_label, is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::{ApiError, Call, Kind, KubernetesClient, ObjectVersion, Resource, Selection};

/// Group and version, as manifests name them.
pub const API_VERSION: &str = "signet.internal/v1alpha1";
/// The kind, as manifests name it.
pub const KIND: &str = "IdentityEntry";
/// The type of the one condition of a status.
pub const ACCEPTED: &str = "Accepted";

/// The most that are read of a list.
const MOST: usize = 50_000;
/// The longest spec that is read, in bytes: what the schema allows is shorter.
const MAX_SPEC_BYTES: usize = 32 * 1024;
/// The longest time as text, in bytes.
const MAX_TIME_BYTES: usize = 64;
/// The most conditions of a status that are looked at.
const MAX_CONDITIONS: usize = 16;

/// An object, as the API server has it. One whose names are none is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawEntry>")]
pub struct IdentityEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name, which another object may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The version of the object: opaque, never empty.
    pub version: String,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// When it was made, as text of RFC 3339 that sorts by time.
    pub created_at: String,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
    /// What is asked for, or why it is not read.
    pub spec: Result<EntrySpec, String>,
    /// What was last told of it; nothing where that is not read, since it decides nothing.
    pub status: EntryStatus,
}

/// What is asked for. Nothing of it is checked: that it has the schema of a definition says nothing of which definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntrySpec {
    /// The path below that of the namespace.
    pub path: String,
    /// What a process must have, all of it.
    pub selectors: Vec<String>,
    /// The life of certificates, in seconds; `None`: the CA's default.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// By which a workload tells several identities apart.
    #[serde(default)]
    pub hint: Option<String>,
    /// Other trust domains.
    #[serde(default)]
    pub federates_with: Option<Vec<String>>,
}

/// What whoever wrote the object is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryStatus {
    /// Of which generation it is told.
    pub observed_generation: u64,
    /// The identity; `None`: there is none.
    pub spiffe_id: Option<String>,
    /// Whether there is an entry, and if not, why.
    pub accepted: Option<AcceptedCondition>,
}

/// The condition `Accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedCondition {
    /// Whether it is.
    pub is_true: bool,
    /// One word, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when it is so, as text of RFC 3339.
    pub since: String,
}

impl Resource for IdentityEntry {
    const KIND: Kind = Kind::IdentityEntries;
    const MOST: usize = MOST;

    fn version(&self) -> &str {
        &self.version
    }
}

impl IdentityEntry {
    /// Those of all namespaces.
    #[must_use]
    pub fn all() -> Selection<Self> {
        Selection::new(format!("/apis/{API_VERSION}/identityentries"), String::new())
    }
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    generation: u64,
    creation_timestamp: String,
    // Whatever it is, it is there.
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    observed_generation: u64,
    spiffe_id: Option<String>,
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: String,
}

impl TryFrom<Object<RawEntry>> for IdentityEntry {
    type Error = String;

    fn try_from(Object(RawEntry { metadata, spec, status }): Object<RawEntry>) -> Result<Self, String> {
        let RawMetadata { namespace, name, uid, resource_version, generation, creation_timestamp, deletion_timestamp } = metadata;
        for (what, is_good) in [
            ("metadata.namespace", is_label(&namespace)),
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
            ("metadata.creationTimestamp", creation_timestamp.len() <= MAX_TIME_BYTES),
        ] {
            if !is_good {
                return Err(format!("the {what} of an IdentityEntry is none"));
            }
        }
        Ok(Self {
            namespace,
            name,
            uid,
            version: resource_version,
            generation,
            created_at: creation_timestamp,
            is_terminating: deletion_timestamp.is_some(),
            spec: read_spec(spec),
            status: read_status(status),
        })
    }
}

fn read_spec(spec: Value) -> Result<EntrySpec, String> {
    let bytes = spec.to_string().len();
    if bytes > MAX_SPEC_BYTES {
        return Err(format!("{bytes} bytes are more than are read of a spec ({MAX_SPEC_BYTES})"));
    }
    serde_json::from_value::<Object<EntrySpec>>(spec).map(|Object(spec)| spec).map_err(|error| error.to_string())
}

fn read_status(status: Value) -> EntryStatus {
    let Ok(Object(RawStatus { observed_generation, spiffe_id, conditions })) = serde_json::from_value(status) else {
        return EntryStatus::default();
    };
    let accepted = conditions.into_iter().take(MAX_CONDITIONS).find(|condition| condition.r#type == ACCEPTED);
    let accepted = accepted.map(|RawCondition { r#type: _, status, reason, message, last_transition_time: since }| {
        AcceptedCondition { is_true: status == "True", reason, message, since }
    });
    EntryStatus { observed_generation, spiffe_id, accepted }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    observed_generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<&'a str>,
    conditions: Vec<Condition<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    r#type: &'static str,
    status: &'static str,
    reason: &'a str,
    message: &'a str,
    last_transition_time: &'a str,
    observed_generation: u64,
}

impl KubernetesClient {
    /// Tells whoever wrote an object what became of it (its subresource `status`), while it is still the one at this version.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn apply_entry_status(
        &self,
        manager: &'static str,
        (namespace, name): (&str, &str),
        at: &ObjectVersion,
        status: &EntryStatus,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let call = Call::Patch(Kind::IdentityEntryStatus);
        for (what, is_good) in [("a namespace", is_label(namespace)), ("an IdentityEntry", is_name(name))] {
            if !is_good {
                return Err(ApiError::Name { call, what });
            }
        }
        let body = serde_json::to_vec(&body((namespace, name), at, status)).map_err(|error| malformed(call, &error))?;
        let path = format!("/apis/{API_VERSION}/namespaces/{namespace}/identityentries/{name}/status");
        self.apply(call, (&path, manager), Zeroizing::new(body), deadline).await
    }
}

fn body<'a>((namespace, name): (&'a str, &'a str), at: &'a ObjectVersion, status: &'a EntryStatus) -> Body<'a> {
    let EntryStatus { observed_generation, spiffe_id, accepted } = status;
    let condition = |AcceptedCondition { is_true, reason, message, since }: &'a AcceptedCondition| Condition {
        r#type: ACCEPTED,
        status: if *is_true { "True" } else { "False" },
        reason,
        message,
        last_transition_time: since,
        observed_generation: *observed_generation,
    };
    Body {
        api_version: API_VERSION,
        kind: KIND,
        metadata: Metadata { namespace, name, uid: &at.uid, resource_version: &at.version },
        status: Status {
            observed_generation: *observed_generation,
            spiffe_id: spiffe_id.as_deref(),
            conditions: accepted.iter().map(condition).collect(),
        },
    }
}

#[cfg(test)]
mod tests;
