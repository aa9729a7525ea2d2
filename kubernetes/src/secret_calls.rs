//! One Secret: read, made, applied and deleted, each write on what it was judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::client::{Question, malformed};
use crate::metadata::{ObjectMetadata, collection};
use crate::names::is_name;
use crate::secrets::{Secret, SecretData};
use crate::watch::METADATA;
use crate::writing::MAX_METADATA_BYTES;
use crate::{ApiError, Call, Kind, KubernetesClient, ObjectVersion};

/// The most bytes of one Secret in JSON: 1 MiB as base64, and its metadata.
const MAX_SECRET_BYTES: usize = 4 * 1024 * 1024;

/// What a Secret shall be.
#[derive(Clone, Copy, Debug)]
pub struct SecretWrite<'a> {
    /// Under which name its fields are written.
    pub manager: &'static str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub secret_type: &'static str,
    /// Its annotations.
    pub annotations: &'a BTreeMap<&'static str, &'a str>,
    /// The service account that it goes with: name and UID.
    pub account: (&'a str, &'a str),
    /// What it holds.
    pub data: &'a SecretData,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    r#type: &'static str,
    data: Files<'a>,
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
    annotations: &'a BTreeMap<&'static str, &'a str>,
    owner_references: [OwnerReference<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    uid: &'a str,
}

struct Files<'a>(&'a SecretData);

/// Written as it is encoded, so that no other text holds a key.
struct Encoded<'a>(&'a [u8]);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: KeptMetadata<'a>,
    r#type: &'static str,
    data: Files<'a>,
}

#[derive(Serialize)]
struct KeptMetadata<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.files().map(|(file, content)| (file, Encoded(content))))
    }
}

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(self.0))
    }
}

impl SecretWrite<'_> {
    fn body(&self, call: Call, at: Option<&ObjectVersion>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let Self { manager: _, namespace, name, secret_type, annotations, account, data } = *self;
        let (owner, uid) = account;
        let metadata = Metadata {
            namespace,
            name,
            uid: at.map(|at| at.uid.as_str()),
            resource_version: at.map(|at| at.version.as_str()),
            annotations,
            owner_references: [OwnerReference { api_version: "v1", kind: "ServiceAccount", name: owner, uid }],
        };
        let mut body = Zeroizing::new(Vec::with_capacity(room_for(data)));
        let whole = Body { api_version: "v1", kind: "Secret", metadata, r#type: secret_type, data: Files(data) };
        serde_json::to_writer(&mut *body, &whole).map_err(|error| malformed(call, &error))?;
        Ok(body)
    }
}

impl KubernetesClient {
    /// The Secret of this name as it is now, by a read that sees everything that was written before it; `None` when there is none. The whole
    /// call takes `deadline` at most, as each of the others does.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn secret(&self, namespace: &str, name: &str, deadline: Duration) -> Result<Option<Secret>, ApiError> {
        let call = Call::Get(Kind::Secrets);
        let question = Question::get(call, path(call, namespace, name)?, MAX_SECRET_BYTES);
        let answer = match self.ask(question, deadline).await {
            Ok(answer) => {
                let secret = serde_json::from_slice::<Secret>(&answer).map_err(|error| malformed(call, &error));
                secret.and_then(|secret| {
                    let is_it = secret.namespace == namespace && secret.name == name;
                    if is_it { Ok(Some(secret)) } else { Err(malformed(call, &"it is another Secret")) }
                })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        self.metrics().count(call, &answer);
        answer
    }

    /// Makes a Secret that is not there.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when there is one of this name, which stays as it is.
    pub async fn create_secret(&self, write: &SecretWrite<'_>, deadline: Duration) -> Result<ObjectVersion, ApiError> {
        let call = Call::Create(Kind::Secrets);
        let _checked = path(call, write.namespace, write.name)?;
        let collection = collection(call, Some(write.namespace), "secrets")?;
        self.create(call, (&collection, write.manager), write.body(call, None)?, deadline).await
    }

    /// Makes a Secret of type `Opaque` that is not there and that goes with nothing else: no owner, no annotations.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when there is one of this name, which stays as it is.
    pub async fn keep_secret(&self, namespace: &str, name: &str, data: &SecretData, deadline: Duration) -> Result<(), ApiError> {
        let call = Call::Create(Kind::Secrets);
        let _checked = path(call, namespace, name)?;
        let collection = collection(call, Some(namespace), "secrets")?;
        let metadata = KeptMetadata { namespace, name };
        let whole = Kept { api_version: "v1", kind: "Secret", metadata, r#type: "Opaque", data: Files(data) };
        let mut body = Zeroizing::new(Vec::with_capacity(room_for(data)));
        serde_json::to_writer(&mut *body, &whole).map_err(|error| malformed(call, &error))?;
        self.create(call, (&collection, "signet-init"), body, deadline).await.map(drop)
    }

    /// Makes all fields of a Secret so that are given here, whoever wrote them last, while it is still the one at this version. Nothing else of it
    /// is touched.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn apply_secret(
        &self,
        write: &SecretWrite<'_>,
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let call = Call::Patch(Kind::Secrets);
        let path = path(call, write.namespace, write.name)?;
        self.apply(call, (&path, write.manager), write.body(call, Some(at))?, deadline).await
    }

    /// Deletes a Secret while it is still the one at this version. One that is gone is no fault.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn delete_secret(
        &self,
        namespace: &str,
        name: &str,
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<(), ApiError> {
        let call = Call::Delete(Kind::Secrets);
        self.delete(call, path(call, namespace, name)?, at, MAX_SECRET_BYTES, deadline).await
    }

    /// The service account of this name as it is now, by its metadata; `None` when there is none.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn service_account(
        &self,
        namespace: &str,
        name: &str,
        deadline: Duration,
    ) -> Result<Option<ObjectMetadata>, ApiError> {
        let call = Call::Get(Kind::ServiceAccounts);
        let collection = collection(call, Some(namespace), "serviceaccounts")?;
        if !is_name(name) {
            return Err(ApiError::Name { call, what: "a service account" });
        }
        let question = Question::get(call, format!("{collection}/{name}"), MAX_METADATA_BYTES).accepting(METADATA);
        let answer = match self.ask(question, deadline).await {
            Ok(answer) => {
                let account = serde_json::from_slice::<ObjectMetadata>(&answer).map_err(|error| malformed(call, &error));
                account.and_then(|account| {
                    let is_it = account.namespace.as_deref() == Some(namespace) && account.name == name;
                    if is_it { Ok(Some(account)) } else { Err(malformed(call, &"it is another service account")) }
                })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        self.metrics().count(call, &answer);
        answer
    }
}

fn path(call: Call, namespace: &str, name: &str) -> Result<String, ApiError> {
    let collection = collection(call, Some(namespace), "secrets")?;
    if is_name(name) { Ok(format!("{collection}/{name}")) } else { Err(ApiError::Name { call, what: "a Secret" }) }
}

/// Room for a whole Secret in JSON, so that nothing is left behind where it was before.
fn room_for(data: &SecretData) -> usize {
    data.files().map(|(file, content)| 2 * content.len() + file.len() + 16).sum::<usize>() + 4096
}
