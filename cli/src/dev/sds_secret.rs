//! Secrets as Envoy's SDS carries them, decoded into domain types. Pure.

use identity::TrustDomain;
use pki::crl::certificates_beside_crls;
use pki::{BundleError, CertificateError, KeyError, PrivateKey, SvidError, Timestamp, TrustBundle, X509Svid};
use prost::Message;
use proto::envoy::envoy::config::core::v3::DataSource;
use proto::envoy::envoy::config::core::v3::data_source::Specifier;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate, secret,
};
use proto::envoy::google::protobuf::Any;

/// What one secret turned out to be.
pub(super) enum Received {
    /// A certificate with its key.
    Svid(Box<X509Svid>),
    /// The authorities of our trust domain.
    Bundle(TrustBundle),
}

/// Why a secret is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// The bytes are no such message.
    #[error("not the message it claims to be: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// A type that was not asked for.
    #[error("unexpected type {found:?}")]
    Type { found: String },
    /// A part is missing or not inline.
    #[error("the secret {name:?} has no inline {part}")]
    Missing { name: String, part: &'static str },
    /// The validation context says nothing of our trust domain.
    #[error("the validation context says nothing of trust domain {trust_domain}")]
    OtherTrustDomains { trust_domain: TrustDomain },
    #[error("a certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("the private key: {0}")]
    Key(#[from] KeyError),
    #[error("the certificate and its key: {0}")]
    Svid(#[from] SvidError),
    #[error("the trust bundle: {0}")]
    Bundle(#[from] BundleError),
}

/// Decodes one resource of a discovery response. `now` counts as the time of issue, `sequence` numbers a bundle.
///
/// # Errors
/// [`SecretError`] when it is not whole and usable.
pub(super) fn decode(resource: &Any, trust_domain: &TrustDomain, now: Timestamp, sequence: u64) -> Result<Received, SecretError> {
    if resource.type_url != SECRET_TYPE {
        return Err(SecretError::Type { found: resource.type_url.clone() });
    }
    let Secret { name, r#type } = Secret::decode(resource.value.as_slice())?;
    match r#type {
        Some(secret::Type::TlsCertificate(certificate)) => {
            svid(&name, &certificate, now).map(|svid| Received::Svid(Box::new(svid)))
        }
        Some(secret::Type::ValidationContext(context)) => bundle(&name, &context, trust_domain, sequence).map(Received::Bundle),
        Some(secret::Type::SessionTicketKeys(_) | secret::Type::GenericSecret(_)) | None => {
            Err(SecretError::Type { found: name })
        }
    }
}

fn svid(name: &str, certificate: &TlsCertificate, now: Timestamp) -> Result<X509Svid, SecretError> {
    let chain = inline(name, "certificate_chain", certificate.certificate_chain.as_ref())?;
    let key = inline(name, "private_key", certificate.private_key.as_ref())?;
    Ok(X509Svid::new(pki::certificates_from_pem(chain)?, PrivateKey::from_pem(key)?, now)?)
}

fn bundle(
    name: &str,
    context: &CertificateValidationContext,
    trust_domain: &TrustDomain,
    sequence: u64,
) -> Result<TrustBundle, SecretError> {
    let pem = match &context.custom_validator_config {
        None => inline(name, "trusted_ca", context.trusted_ca.as_ref())?.to_vec(),
        Some(custom) => {
            let config = custom.typed_config.as_ref();
            let config = config.ok_or_else(|| SecretError::Missing { name: name.to_owned(), part: "typed_config" })?;
            if config.type_url != SPIFFE_VALIDATOR_TYPE {
                return Err(SecretError::Type { found: config.type_url.clone() });
            }
            let config = SpiffeCertValidatorConfig::decode(config.value.as_slice())?;
            let ours = config.trust_domains.iter().find(|entry| entry.name == trust_domain.as_str());
            let ours = ours.ok_or_else(|| SecretError::OtherTrustDomains { trust_domain: trust_domain.clone() })?;
            inline(name, "trust_bundle", ours.trust_bundle.as_ref())?.to_vec()
        }
    };
    // Revocation lists beside them are for verifiers of whole chains, as Envoy is; the TLS of these programs looks at none.
    Ok(TrustBundle::new(trust_domain.clone(), certificates_beside_crls(&pem)?, sequence)?)
}

/// Only inline bytes: a file name or a variable would let the sender choose what is read here.
fn inline<'a>(name: &str, part: &'static str, source: Option<&'a DataSource>) -> Result<&'a [u8], SecretError> {
    match source.and_then(|source| source.specifier.as_ref()) {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::InlineString(text)) => Ok(text.as_bytes()),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {
            Err(SecretError::Missing { name: name.to_owned(), part })
        }
    }
}

/// The type that SDS carries.
pub(super) const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// With the spelling of the proto file.
const SPIFFE_VALIDATOR_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

#[cfg(test)]
mod tests;
