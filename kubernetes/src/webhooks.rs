//! Webhook configurations of `admissionregistration.k8s.io/v1`, as far as whom they trust: `webhooks[].clientConfig.caBundle`.

use std::time::Duration;

use data_encoding::BASE64;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::client::malformed;
use crate::list::push_encoded;
use crate::names::{is_name, is_uid};
use crate::object::{Object, object};
use crate::objects::is_version;
use crate::{ApiError, Call, Kind, KubernetesClient, ObjectVersion, Resource, Selection};

/// What API servers take of one configuration is far less.
const MAX_WEBHOOKS: usize = 256;
/// The longest name of a webhook, in bytes.
const MAX_WEBHOOK_NAME_BYTES: usize = 512;

/// A configuration of either kind, as the API server has it. One whose names are none is not read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Object<RawConfiguration>")]
pub struct WebhookConfiguration {
    /// Its name, which another one may have after it.
    pub name: String,
    /// Tells it from that other one.
    pub uid: String,
    /// The version of the object: opaque, never empty.
    pub version: String,
    /// Somebody has asked for its end.
    pub is_terminating: bool,
    /// Its webhooks.
    pub webhooks: Vec<Webhook>,
}

/// One webhook, by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// The PEM that its server's certificate is verified by; empty: the roots of the API server's host.
    pub ca_bundle: Vec<u8>,
}

/// A configuration of webhooks that judge.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ValidatingWebhooks(pub WebhookConfiguration);

/// A configuration of webhooks that change what they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct MutatingWebhooks(pub WebhookConfiguration);

/// Either kind.
pub trait WebhookKind: Resource + DeserializeOwned {
    /// As manifests name it.
    const NAME: &'static str;
    /// As paths name it.
    const PLURAL: &'static str;

    /// What both have.
    fn configuration(&self) -> &WebhookConfiguration;

    /// The one of this name.
    ///
    /// # Errors
    /// [`ApiError::Name`].
    fn named(name: &str) -> Result<Selection<Self>, ApiError> {
        let call = Call::List(Self::KIND);
        if !is_name(name) {
            return Err(ApiError::Name { call, what: "a webhook configuration" });
        }
        let mut query = "&fieldSelector=metadata.name%3D".to_owned();
        push_encoded(&mut query, name);
        Ok(Selection::new(format!("/apis/admissionregistration.k8s.io/v1/{}", Self::PLURAL), query))
    }
}

impl WebhookKind for ValidatingWebhooks {
    const NAME: &'static str = "ValidatingWebhookConfiguration";
    const PLURAL: &'static str = "validatingwebhookconfigurations";

    fn configuration(&self) -> &WebhookConfiguration {
        &self.0
    }
}

impl WebhookKind for MutatingWebhooks {
    const NAME: &'static str = "MutatingWebhookConfiguration";
    const PLURAL: &'static str = "mutatingwebhookconfigurations";

    fn configuration(&self) -> &WebhookConfiguration {
        &self.0
    }
}

impl Resource for ValidatingWebhooks {
    const KIND: Kind = Kind::ValidatingWebhooks;
    const MOST: usize = 16;

    fn version(&self) -> &str {
        &self.0.version
    }
}

impl Resource for MutatingWebhooks {
    const KIND: Kind = Kind::MutatingWebhooks;
    const MOST: usize = 16;

    fn version(&self) -> &str {
        &self.0.version
    }
}

#[derive(Deserialize)]
struct RawConfiguration {
    #[serde(deserialize_with = "object")]
    metadata: RawMetadata,
    #[serde(default)]
    webhooks: Option<Vec<Object<RawWebhook>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: String,
    uid: String,
    resource_version: String,
    // Whatever it is, it is there.
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawWebhook {
    name: String,
    #[serde(deserialize_with = "object")]
    client_config: RawClientConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClientConfig {
    #[serde(default)]
    ca_bundle: Option<String>,
}

impl TryFrom<Object<RawConfiguration>> for WebhookConfiguration {
    type Error = String;

    fn try_from(Object(RawConfiguration { metadata, webhooks }): Object<RawConfiguration>) -> Result<Self, String> {
        let RawMetadata { name, uid, resource_version, deletion_timestamp } = metadata;
        for (what, is_good) in [
            ("metadata.name", is_name(&name)),
            ("metadata.uid", is_uid(&uid)),
            ("metadata.resourceVersion", is_version(&resource_version)),
        ] {
            if !is_good {
                return Err(format!("the {what} of a webhook configuration is none"));
            }
        }
        let webhooks = webhooks.unwrap_or_default();
        if webhooks.len() > MAX_WEBHOOKS {
            return Err(format!("a configuration with more than {MAX_WEBHOOKS} webhooks"));
        }
        let webhooks = webhooks.into_iter().map(|Object(RawWebhook { name, client_config })| {
            if name.is_empty() || name.len() > MAX_WEBHOOK_NAME_BYTES {
                return Err("the name of a webhook is none".to_owned());
            }
            let text = client_config.ca_bundle.unwrap_or_default();
            let ca_bundle = BASE64.decode(text.as_bytes()).map_err(|error| format!("the caBundle of a webhook: {error}"))?;
            Ok(Webhook { name, ca_bundle })
        });
        let webhooks = webhooks.collect::<Result<_, String>>()?;
        Ok(Self { name, uid, version: resource_version, is_terminating: deletion_timestamp.is_some(), webhooks })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    webhooks: Vec<OneWebhook<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    uid: &'a str,
    resource_version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneWebhook<'a> {
    name: &'a str,
    client_config: ClientConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig<'a> {
    ca_bundle: &'a str,
}

impl KubernetesClient {
    /// Gives each of these webhooks of a configuration this PEM to verify its server by, while the configuration is still the one at this version.
    /// Nothing else of it is touched.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::Conflict`] when it is another one by now.
    pub async fn apply_ca_bundle<K: WebhookKind>(
        &self,
        manager: &'static str,
        (name, webhooks): (&str, &[String]),
        ca_bundle: &str,
        at: &ObjectVersion,
        deadline: Duration,
    ) -> Result<ObjectVersion, ApiError> {
        let call = Call::Patch(K::KIND);
        if !is_name(name) {
            return Err(ApiError::Name { call, what: "a webhook configuration" });
        }
        let body = serde_json::to_vec(&body::<K>((name, webhooks), ca_bundle, at)).map_err(|error| malformed(call, &error))?;
        let path = format!("/apis/admissionregistration.k8s.io/v1/{}/{name}", K::PLURAL);
        self.apply(call, (&path, manager), Zeroizing::new(body), deadline).await
    }
}

fn body<K: WebhookKind>((name, webhooks): (&str, &[String]), ca_bundle: &str, at: &ObjectVersion) -> serde_json::Value {
    let encoded = BASE64.encode(ca_bundle.as_bytes());
    let one = |name| OneWebhook { name, client_config: ClientConfig { ca_bundle: &encoded } };
    let body = Body {
        api_version: "admissionregistration.k8s.io/v1",
        kind: K::NAME,
        metadata: Metadata { name, uid: &at.uid, resource_version: &at.version },
        webhooks: webhooks.iter().map(|name| one(name)).collect(),
    };
    serde_json::to_value(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<ValidatingWebhooks, serde_json::Error> {
        serde_json::from_str(&value.to_string())
    }

    #[test]
    fn whom_each_webhook_trusts_is_read_and_what_is_none_is_refused() {
        let whole = json!({
            "metadata": { "name": "istio-validator", "uid": "u", "resourceVersion": "1" },
            "webhooks": [
                { "name": "a.istio.io", "clientConfig": { "caBundle": "YQ==", "service": {} } },
                { "name": "b.istio.io", "clientConfig": { "url": "https://a" } },
            ],
        });
        let ValidatingWebhooks(read_of) = read(&whole).unwrap();
        let told: Vec<_> = read_of.webhooks.iter().map(|hook| (hook.name.as_str(), hook.ca_bundle.as_slice())).collect();
        assert_eq!(told, [("a.istio.io", &b"a"[..]), ("b.istio.io", &b""[..])]);
        for (pointer, value) in [
            ("/metadata/name", json!("A")),
            ("/metadata/uid", json!("")),
            ("/metadata/resourceVersion", json!("")),
            ("/webhooks/0/name", json!("")),
            ("/webhooks/0/clientConfig/caBundle", json!("?")),
            ("/webhooks/0/clientConfig", json!([])),
            ("/webhooks", json!(vec![json!({ "name": "a", "clientConfig": {} }); 257])),
        ] {
            let mut bad = whole.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(read(&bad).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_write_names_webhooks_and_their_bundle_alone() {
        let at = ObjectVersion { uid: "u".to_owned(), version: "7".to_owned() };
        let body = body::<MutatingWebhooks>(("injector", &["a".to_owned()]), "a", &at);
        let expected = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "injector", "uid": "u", "resourceVersion": "7" },
            "webhooks": [{ "name": "a", "clientConfig": { "caBundle": "YQ==" } }],
        });
        assert_eq!(body, expected);
    }
}
