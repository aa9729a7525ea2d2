//! Whether a certificate may be a trust anchor.
//!
//! Path building takes only a name, a key and name constraints from an anchor and asks nothing of it (RFC 5280 section
//! 6.1.1), so everything else is judged here, once, when a bundle is made. What depends on the path or on the time is judged at
//! each use: the path length, what its extKeyUsage allows, and the dates.

use identity::TrustDomain;

use crate::Certificate;

/// Why a certificate must not be a trust anchor. Version, serial, key and signature algorithm were judged when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// basicConstraints is absent or says that it is no CA (RFC 5280 section 4.2.1.9).
    #[error("it is no CA certificate: basicConstraints is absent or cA is false; name the certificate of its issuer instead")]
    NotCa,
    /// basicConstraints is not critical (RFC 5280 section 4.2.1.9).
    #[error("its basicConstraints is not critical; have it issued anew with a critical one")]
    BasicConstraintsNotCritical,
    /// keyUsage is absent or lacks keyCertSign (RFC 5280 section 4.2.1.3).
    #[error("its keyUsage does not hold keyCertSign, so it may not issue; name the certificate of a CA instead")]
    KeyCertSignMissing,
    /// extKeyUsage is there and holds neither serverAuth nor clientAuth: nothing below it could be used.
    #[error("its extKeyUsage allows neither TLS servers nor TLS clients; name a CA that is meant for TLS instead")]
    ExtendedKeyUsage,
    /// A critical extension that is not understood (RFC 5280 section 4.2).
    #[error("it has the critical extension {oid}, which is not understood; have it issued anew without it")]
    UnknownCriticalExtension {
        /// The object identifier.
        oid: String,
    },
    /// The subject is empty, so nothing could name it as an issuer (RFC 5280 section 4.1.2.6).
    #[error("its subject is empty, so that no certificate could name it as its issuer; have it issued anew with a subject")]
    EmptySubject,
    /// A URI SAN that is not the ID of the trust domain (X509-SVID section 3.2).
    #[error("it has the URI SAN {found:?}; it may have none or \"{expected}\": it is of another trust domain, or no authority")]
    UriSan {
        /// The first one that differs, cut to 256 characters.
        found: String,
        /// The ID of the trust domain.
        expected: String,
    },
    /// noRevAvail, which a CA certificate must not have (RFC 9608 section 4).
    #[error("it has the extension noRevAvail, which a CA certificate must not have; have it issued anew without it")]
    NoRevocationAvailable,
    /// The path builder cannot use it.
    #[error("no path can be built to it: {reason}")]
    Unusable {
        /// The path builder's word for it.
        reason: String,
    },
}

/// Judges everything but the dates. Version, serial, key and signature algorithm were judged when it was parsed.
pub(crate) fn check_anchor(certificate: &Certificate, trust_domain: &TrustDomain) -> Result<(), AnchorError> {
    check_authority(certificate)?;
    match foreign_uri_san(certificate, trust_domain) {
        Some(found) => Err(AnchorError::UriSan { found, expected: trust_domain.id().to_string() }),
        None => Ok(()),
    }
}

/// The part of it that holds whatever an authority speaks for.
pub(crate) fn check_authority(certificate: &Certificate) -> Result<(), AnchorError> {
    match certificate.basic_constraints() {
        Some(constraints) if !constraints.ca => return Err(AnchorError::NotCa),
        Some(constraints) if !constraints.critical => return Err(AnchorError::BasicConstraintsNotCritical),
        Some(_) => {}
        None => return Err(AnchorError::NotCa),
    }
    if !certificate.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
        return Err(AnchorError::KeyCertSignMissing);
    }
    if certificate.extended_key_usage().is_some_and(|usage| !usage.server_auth && !usage.client_auth) {
        return Err(AnchorError::ExtendedKeyUsage);
    }
    if let Some(oid) = certificate.unknown_critical_extension() {
        return Err(AnchorError::UnknownCriticalExtension { oid });
    }
    if certificate.has_empty_subject() {
        return Err(AnchorError::EmptySubject);
    }
    if claims_no_revocation(certificate) {
        return Err(AnchorError::NoRevocationAvailable);
    }
    Ok(())
}

/// The first URI SAN of an authority that is not the ID of the trust domain, cut to 256 characters.
pub(crate) fn foreign_uri_san(authority: &Certificate, trust_domain: &TrustDomain) -> Option<String> {
    let own = trust_domain.id();
    let foreign = authority.uri_sans().iter().find(|uri| *uri != own.as_str())?;
    Some(foreign.chars().take(256).collect())
}

/// Whether the certificate has noRevAvail (RFC 9608).
pub(crate) fn claims_no_revocation(certificate: &Certificate) -> bool {
    // 2.5.29.56
    certificate.extensions().iter().any(|header| header.oid == [0x55, 0x1d, 56])
}
