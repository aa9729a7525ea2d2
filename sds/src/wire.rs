//! Conversions between the state machine's values and Envoy's messages.

use std::sync::Arc;

use prost::{Message, Name};
use proto::envoy::envoy::config::core::v3::{DataSource, Node, TypedExtensionConfig, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3 as tls;
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as DeltaResource,
};
use proto::envoy::google::protobuf::{Any, value::Kind};

use crate::ValidationContextKind;
use crate::file_secret::FileContent;
use crate::stream::{DeltaRequest, Request, Resource, Response, SECRET_TYPE_URL, Secret};

/// The extension that Envoy registers its SPIFFE validator under.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// The node metadata key by which SPIRE's users ask for plain `trusted_ca`: `true`, as a boolean or a text.
const DISABLE_SPIFFE_VALIDATOR: &str = "disable_spiffe_cert_validation";

/// Reads a request. The node's metadata count for the form of the validation context only; they say nothing about who calls.
impl From<DiscoveryRequest> for Request {
    fn from(message: DiscoveryRequest) -> Self {
        let DiscoveryRequest { version_info, node, resource_names, resource_locators: _, type_url, response_nonce, error_detail } =
            message;
        Self {
            type_url,
            names: resource_names,
            version: version_info,
            nonce: response_nonce,
            rejection: error_detail.map(|status| status.message),
            validation: node.and_then(|node| validation_asked_for(&node)),
        }
    }
}

fn validation_asked_for(node: &Node) -> Option<ValidationContextKind> {
    let disabled = match node.metadata.as_ref()?.fields.get(DISABLE_SPIFFE_VALIDATOR)?.kind.as_ref()? {
        Kind::BoolValue(disabled) => *disabled,
        Kind::StringValue(text) => text.eq_ignore_ascii_case("true"),
        Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => false,
    };
    disabled.then_some(ValidationContextKind::TrustedCa)
}

/// Reads a request of an incremental stream.
impl From<DeltaDiscoveryRequest> for DeltaRequest {
    fn from(message: DeltaDiscoveryRequest) -> Self {
        Self {
            type_url: message.type_url,
            subscribe: message.resource_names_subscribe,
            unsubscribe: message.resource_names_unsubscribe,
            initial_versions: message.initial_resource_versions.into_iter().collect(),
            nonce: message.response_nonce,
            rejection: message.error_detail.map(|status| status.message),
            validation: message.node.and_then(|node| validation_asked_for(&node)),
        }
    }
}

/// Writes a response. It holds private keys: it must never be logged, and prost's `Debug` would print them.
pub(crate) fn response(response: Response) -> DiscoveryResponse {
    let Response { version, nonce, resources, removed: _ } = response;
    let resources = resources.into_iter().map(secret).map(|secret| packed(&secret)).collect();
    DiscoveryResponse { version_info: version, resources, type_url: SECRET_TYPE_URL.to_owned(), nonce, ..Default::default() }
}

/// Writes a response of an incremental stream, of which the same holds.
pub(crate) fn delta_response(response: Response) -> DeltaDiscoveryResponse {
    let Response { version, nonce, resources, removed } = response;
    let resources = resources.into_iter().map(|resource| {
        let (name, version) = (resource.name.as_ref().to_owned(), resource.version.clone());
        DeltaResource { name, version, resource: Some(packed(&secret(resource))), ..Default::default() }
    });
    DeltaDiscoveryResponse {
        system_version_info: version,
        resources: resources.collect(),
        removed_resources: removed.iter().map(|name| name.as_ref().to_owned()).collect(),
        type_url: SECRET_TYPE_URL.to_owned(),
        nonce,
        ..Default::default()
    }
}

fn packed(secret: &tls::Secret) -> Any {
    Any { type_url: SECRET_TYPE_URL.to_owned(), value: secret.encode_to_vec() }
}

fn secret(resource: Resource) -> tls::Secret {
    let secret = match resource.secret {
        Secret::Certificate(svid) => tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(pki::certificates_to_pem(svid.chain()).into_bytes())),
            private_key: Some(inline(svid.key().to_pkcs8_pem().as_bytes().to_vec())),
            ..Default::default()
        }),
        Secret::File(secret) => file_secret(secret.content()),
        Secret::ValidationContext { bundle, lists, kind, foreign } => tls::secret::Type::ValidationContext(match kind {
            ValidationContextKind::SpiffeValidator => tls::CertificateValidationContext {
                custom_validator_config: Some(spiffe_validator(&bundle, &lists, &foreign)),
                ..Default::default()
            },
            ValidationContextKind::TrustedCa => tls::CertificateValidationContext {
                trusted_ca: Some(inline(bundle.to_pem().into_bytes())),
                crl: (!lists.is_empty()).then(|| inline(pem(&lists).into_bytes())),
                // Without it a list of the root is asked for as well, which may be kept by somebody else.
                only_verify_leaf_cert_crl: !lists.is_empty(),
                ..Default::default()
            },
        }),
    };
    tls::Secret { name: resource.name.as_ref().to_owned(), r#type: Some(secret) }
}

fn file_secret(content: &FileContent) -> tls::secret::Type {
    match content {
        FileContent::Certificate { chain, key } => tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(chain.clone())),
            private_key: Some(inline(key.to_vec())),
            ..Default::default()
        }),
        FileContent::Roots(pem) => tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(inline(pem.clone())),
            ..Default::default()
        }),
    }
}

fn pem(lists: &[pki::RevocationList]) -> String {
    lists.iter().map(pki::RevocationList::to_pem).collect()
}

/// Lists stand among the authorities of their trust domain: with one there, Envoy asks for that of each CA of a path.
fn spiffe_validator(
    bundle: &pki::TrustBundle,
    lists: &[pki::RevocationList],
    foreign: &[Arc<pki::TrustBundle>],
) -> TypedExtensionConfig {
    let domain = |bundle: &pki::TrustBundle, pem: String| tls::spiffe_cert_validator_config::TrustDomain {
        name: bundle.trust_domain().as_str().to_owned(),
        trust_bundle: Some(inline(pem.into_bytes())),
        ..Default::default()
    };
    let own = domain(bundle, bundle.to_pem() + &pem(lists));
    let foreign = foreign.iter().map(|foreign| domain(foreign, foreign.to_pem()));
    let config =
        tls::SpiffeCertValidatorConfig { trust_domains: std::iter::once(own).chain(foreign).collect(), ..Default::default() };
    let typed_config = Any { type_url: tls::SpiffeCertValidatorConfig::type_url(), value: config.encode_to_vec() };
    TypedExtensionConfig { name: SPIFFE_VALIDATOR.to_owned(), typed_config: Some(typed_config) }
}

fn inline(bytes: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes)), ..Default::default() }
}

#[cfg(test)]
mod tests;
