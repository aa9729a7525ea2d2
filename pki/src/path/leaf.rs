//! What a leaf must say of itself to be an SVID (X509-SVID sections 2, 4 and 5.2).

use identity::{SpiffeId, TrustDomain};

use super::{ChainPosition, SvidError};
use crate::Certificate;

/// The identity of a leaf: its one URI SAN. Never "the first that parses".
pub(crate) fn leaf_id(leaf: &Certificate) -> Result<SpiffeId, SvidError> {
    let [uri] = leaf.uri_sans() else { return Err(SvidError::UriSanCount { found: leaf.uri_sans().len() }) };
    SpiffeId::parse(uri).map_err(|source| SvidError::SpiffeId { source })
}

/// Checks that a leaf says nothing that is a CA's to say.
pub(super) fn check_no_authority(leaf: &Certificate) -> Result<(), SvidError> {
    if leaf.is_ca() {
        return Err(SvidError::LeafIsCa);
    }
    if leaf.has_name_constraints() {
        return Err(SvidError::LeafNameConstraints);
    }
    Ok(())
}

/// Checks a leaf against every rule but its dates and its issuer.
pub(super) fn check(leaf: &Certificate, trust_domain: &TrustDomain) -> Result<SpiffeId, SvidError> {
    let id = leaf_id(leaf)?;
    if id.trust_domain() != trust_domain {
        return Err(SvidError::TrustDomain { id, expected: trust_domain.clone() });
    }
    if id.path().is_empty() {
        return Err(SvidError::NoPath { id });
    }
    check_no_authority(leaf)?;
    let usage = leaf.key_usage().ok_or(SvidError::KeyUsageMissing)?;
    if !usage.critical {
        return Err(SvidError::KeyUsageNotCritical);
    }
    if usage.key_cert_sign() {
        return Err(SvidError::LeafMaySignCertificates);
    }
    if usage.crl_sign() {
        return Err(SvidError::LeafMaySignRevocations);
    }
    if !usage.digital_signature() {
        return Err(SvidError::DigitalSignatureMissing);
    }
    if leaf.extended_key_usage().is_some_and(|usage| !usage.server_auth || !usage.client_auth) {
        return Err(SvidError::ExtendedKeyUsage);
    }
    if let Some(oid) = leaf.unknown_critical_extension() {
        return Err(SvidError::UnknownCriticalExtension { position: ChainPosition::Leaf, oid });
    }
    Ok(id)
}
