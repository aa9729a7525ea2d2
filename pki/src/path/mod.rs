//! Path validation (RFC 5280 section 6, over `rustls-webpki`) and the SVID rules (SPIFFE X509-SVID section 5).
//!
//! The path builder ignores keyUsage, the dates of anchors and everything about SPIFFE; the rules here add these. The order
//! is: what the leaf says of itself, the path to an authority of its own trust domain with all dates, the intermediates on
//! that path. Nobody is trusted before all of it has passed.

mod error;
mod leaf;
#[cfg(test)]
mod tests;

use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::{SpiffeId, TrustDomain};
use rustls_pki_types::{TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

pub use error::{ChainPosition, SvidError};
pub(crate) use leaf::leaf_id;

use crate::bundle::{check_anchor, claims_no_revocation, foreign_uri_san};
use crate::{BundleError, Certificate, CertificateDer, SerialNumber, Sha256Digest, Timestamp, TrustBundle, crypto};

/// The most certificates of a chain, the leaf and a root sent along included.
const MAX_CHAIN: usize = 6;

/// What the peer does with its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It is a TLS client.
    Client,
    /// It is a TLS server.
    Server,
}

/// Proof that a chain was validated; nobody else can make one.
#[derive(Clone, Debug)]
#[must_use = "a validated chain says who the peer is"]
pub struct ValidatedSvid {
    id: SpiffeId,
    leaf: Certificate,
}

impl ValidatedSvid {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The leaf's serial.
    #[must_use]
    pub fn serial(&self) -> &SerialNumber {
        self.leaf.serial()
    }

    /// The leaf's last second.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.leaf.not_after()
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }
}

/// Validates `chain` (leaf first) against the authorities of `bundle` that are valid at `now`: only a leaf of the bundle's
/// own trust domain. A root sent along is read and otherwise ignored.
///
/// # Errors
/// [`SvidError`], one variant per rule.
pub fn validate_svid(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: Usage,
    now: Timestamp,
) -> Result<ValidatedSvid, SvidError> {
    validate_parsed(&parse_chain(chain)?, bundle, usage, now)
}

/// Validates a chain before any bundle is known: its last certificate must have the SHA-256 `root_sha256`, be fit as an
/// authority of `trust_domain` and be valid at `now`; the rest is validated under it alone. Returns the leaf's proof and
/// that root.
///
/// # Errors
/// [`SvidError`]; a mismatch is [`SvidError::PinnedRootDiffers`] with both values.
pub fn validate_under_pinned_root(
    chain: &[CertificateDer<'_>],
    root_sha256: &Sha256Digest,
    trust_domain: &TrustDomain,
    usage: Usage,
    now: Timestamp,
) -> Result<(ValidatedSvid, Certificate), SvidError> {
    let (last, _) = chain.split_last().ok_or(SvidError::EmptyChain)?;
    // The hash first: nothing that is not pinned is parsed.
    let found = crypto::sha256(last);
    if found != *root_sha256 {
        return Err(SvidError::PinnedRootDiffers { expected: HEXLOWER.encode(root_sha256), found: HEXLOWER.encode(&found) });
    }
    let mut chain = parse_chain(chain)?;
    let root = chain.pop().ok_or(SvidError::EmptyChain)?;
    check_anchor(&root, trust_domain).map_err(|source| SvidError::PinnedRoot { source })?;
    check_dates(&root, ChainPosition::Authority, now)?;
    let bundle = TrustBundle::new(trust_domain.clone(), vec![root.clone()], 0)
        .map_err(|error: BundleError| SvidError::Path { reason: error.to_string() })?;
    Ok((validate_parsed(&chain, &bundle, usage, now)?, root))
}

/// Refuses a chain without a leaf, and one longer than any sound one.
pub(crate) fn check_chain_length(found: usize) -> Result<(), SvidError> {
    match found {
        0 => Err(SvidError::EmptyChain),
        1..=MAX_CHAIN => Ok(()),
        _ => Err(SvidError::ChainTooLong { found, limit: MAX_CHAIN }),
    }
}

fn parse_chain(chain: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, SvidError> {
    check_chain_length(chain.len())?;
    chain
        .iter()
        .enumerate()
        .map(|(index, der)| {
            Certificate::from_der(der)
                .map_err(|source| SvidError::Certificate { position: ChainPosition::of_index(index), source })
        })
        .collect()
}

/// Validates a chain that is parsed already.
pub(crate) fn validate_parsed(
    chain: &[Certificate],
    bundle: &TrustBundle,
    usage: Usage,
    now: Timestamp,
) -> Result<ValidatedSvid, SvidError> {
    check_chain_length(chain.len())?;
    let (leaf, intermediates) = chain.split_first().ok_or(SvidError::EmptyChain)?;
    let id = leaf::check(leaf, bundle.trust_domain())?;

    let anchors = bundle
        .valid_at(now)
        .map(|authority| anchor_from_trusted_cert(authority.der()))
        .collect::<Result<Vec<TrustAnchor<'_>>, _>>()
        .map_err(|error| SvidError::Path { reason: error.to_string() })?;
    let issuers: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|certificate| CertificateDer::from(certificate.der().as_ref())).collect();
    let entity = EndEntityCert::try_from(leaf.der()).map_err(|error| SvidError::Path { reason: error.to_string() })?;
    let path = entity
        .verify_for_usage(
            crypto::signature_algorithms(),
            &anchors,
            &issuers,
            UnixTime::since_unix_epoch(Duration::from_secs(now.unix_seconds())),
            // Both accept an absent extKeyUsage.
            match usage {
                Usage::Client => KeyUsage::client_auth(),
                Usage::Server => KeyUsage::server_auth(),
            },
            None,
            None,
        )
        .map_err(|error| explain(error, chain, bundle, now))?;
    check_intermediates(&path, intermediates, bundle.trust_domain())?;
    Ok(ValidatedSvid { id, leaf: leaf.clone() })
}

fn check_dates(certificate: &Certificate, position: ChainPosition, now: Timestamp) -> Result<(), SvidError> {
    if now > certificate.not_after() {
        return Err(SvidError::Expired { position, not_after: certificate.not_after(), now });
    }
    if now < certificate.not_before() {
        return Err(SvidError::NotYetValid { position, not_before: certificate.not_before(), now });
    }
    Ok(())
}

/// The rules for intermediates that the path builder does not have, for those that the path goes through.
fn check_intermediates(
    path: &VerifiedPath<'_>,
    intermediates: &[Certificate],
    trust_domain: &TrustDomain,
) -> Result<(), SvidError> {
    let on_path: Vec<_> = path.intermediate_certificates().map(webpki::Cert::der).collect();
    for (index, certificate) in intermediates.iter().enumerate() {
        if !on_path.contains(certificate.der()) {
            continue;
        }
        let position = ChainPosition::of_index(index + 1);
        if !certificate.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
            return Err(SvidError::IntermediateKeyUsage { position });
        }
        if let Some(found) = foreign_uri_san(certificate, trust_domain) {
            return Err(SvidError::IntermediateUriSan { position, found, expected: trust_domain.id().to_string() });
        }
        if claims_no_revocation(certificate) {
            return Err(SvidError::IntermediateNoRevocation { position });
        }
    }
    Ok(())
}

/// Turns the path builder's answer into one that names the certificate and both clocks.
#[expect(clippy::wildcard_enum_match_arm, reason = "the path builder's errors are non-exhaustive; the rest keep their own text")]
fn explain(error: webpki::Error, chain: &[Certificate], bundle: &TrustBundle, now: Timestamp) -> SvidError {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } | E::CertNotValidYet { .. } | E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
            let dated = chain
                .iter()
                .enumerate()
                .map(|(index, certificate)| (ChainPosition::of_index(index), certificate))
                .chain(lapsed_issuers(chain, bundle).map(|authority| (ChainPosition::Authority, authority)))
                .find_map(|(position, certificate)| check_dates(certificate, position, now).err());
            match (dated, error) {
                (Some(dated), _) => dated,
                (None, E::InvalidSignatureForPublicKey) => SvidError::Signature,
                (None, _) => SvidError::UnknownAuthority {
                    trust_domain: bundle.trust_domain().clone(),
                    issuer: chain.last().map(Certificate::issuer).unwrap_or_default(),
                },
            }
        }
        E::UnsupportedCriticalExtension => chain
            .iter()
            .enumerate()
            .find_map(|(index, certificate)| {
                let oid = certificate.unknown_critical_extension()?.to_owned();
                Some(SvidError::UnknownCriticalExtension { position: ChainPosition::of_index(index), oid })
            })
            .unwrap_or_else(|| SvidError::Path { reason: error.to_string() }),
        E::EndEntityUsedAsCa => SvidError::IntermediateNotCa,
        E::PathLenConstraintViolated => SvidError::PathLength,
        E::NameConstraintViolation => SvidError::NameConstraints,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => SvidError::IssuerExtendedKeyUsage,
        other => SvidError::Path { reason: other.to_string() },
    }
}

/// The authorities of the bundle, valid or not, whose name a certificate of the chain gives as its issuer.
fn lapsed_issuers<'a>(chain: &'a [Certificate], bundle: &'a TrustBundle) -> impl Iterator<Item = &'a Certificate> {
    bundle
        .authorities()
        .iter()
        .filter(|authority| chain.iter().any(|certificate| certificate.issuer_der() == authority.subject_der()))
}
