//! Path validation (RFC 5280 section 6, over `rustls-webpki`) and the SVID rules (SPIFFE X509-SVID section 5).
//!
//! The path builder ignores keyUsage, the dates of anchors and everything about SPIFFE; the rules here add these. The order
//! is: what the leaf says of itself, the path to an authority of its own trust domain with all dates, the intermediates on
//! that path. Nobody is trusted before all of it has passed.

mod error;
mod leaf;
mod roots;
#[cfg(test)]
mod tests;
mod usage;

use std::cell::Cell;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::{SpiffeId, TrustDomain};
use rustls_pki_types::{TrustAnchor, UnixTime};
use webpki::{EndEntityCert, VerifiedPath};

pub use error::{ChainPosition, SvidError};
pub(crate) use leaf::leaf_id;
pub use roots::{TrustedRoots, validate_chain, validate_server};
pub use usage::Usage;

use crate::bundle::{TrustAnchors, check_anchor, claims_no_revocation, foreign_uri_san};
use crate::{BundleError, Certificate, CertificateDer, SerialNumber, Sha256Digest, Timestamp, TrustBundle, crypto};

/// The most certificates of a chain, the leaf and a root sent along included.
const MAX_CHAIN: usize = 6;

/// Proof that a chain was validated; nobody else can make one.
#[derive(Clone, Debug)]
#[must_use = "a validated chain says who the peer is"]
pub struct ValidatedSvid {
    id: SpiffeId,
    leaf: Certificate,
    /// What the peer sent behind the leaf.
    intermediates: Vec<Certificate>,
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

    /// Validates the same chain anew, against another bundle and at another time: what was trusted at a handshake may have ended, or
    /// its authority may have left the bundle.
    ///
    /// # Errors
    /// [`SvidError`], as [`validate_svid`].
    pub fn validate_again(&self, bundle: &TrustBundle, usage: Usage, now: Timestamp) -> Result<Self, SvidError> {
        let chain: Vec<_> = std::iter::once(&self.leaf).chain(&self.intermediates).cloned().collect();
        validate_parsed(&chain, bundle, usage, now)
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
    validate_svid_sharing(chain, &[], bundle, usage, now)
}

/// As [`validate_svid`]. A certificate of the chain that is among those in `read` is not parsed and held once more but shared with them: a server
/// of many clients holds their issuing CA once.
///
/// # Errors
/// As [`validate_svid`].
pub fn validate_svid_sharing(
    chain: &[CertificateDer<'_>],
    read: &[Certificate],
    bundle: &TrustBundle,
    usage: Usage,
    now: Timestamp,
) -> Result<ValidatedSvid, SvidError> {
    validate_parsed(&parse_chain(chain, read)?, bundle, usage, now)
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
    let mut chain = parse_chain(chain, &[])?;
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

fn parse_chain(chain: &[CertificateDer<'_>], read: &[Certificate]) -> Result<Vec<Certificate>, SvidError> {
    check_chain_length(chain.len())?;
    chain
        .iter()
        .enumerate()
        .map(|(index, der)| {
            let known = read.iter().find(|known| known.der() == der);
            known
                .map_or_else(|| Certificate::from_der(der), |known| Ok(known.clone()))
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

    let scope = Scope { anchors: bundle.anchors(), trust_domain: Some(bundle.trust_domain()) };
    find_path(leaf, intermediates, &scope, usage, now)?;
    Ok(ValidatedSvid { id, leaf: leaf.clone(), intermediates: intermediates.to_vec() })
}

/// Under what a path is looked for.
struct Scope<'a> {
    /// Those outside their dates are left out.
    anchors: &'a TrustAnchors,
    /// Whom they speak for; `None` for roots that are trusted for something else than SVIDs.
    trust_domain: Option<&'a TrustDomain>,
}

/// Finds a path from the leaf to an authority of the scope, with all dates, and checks the intermediates on it.
fn find_path(
    leaf: &Certificate,
    intermediates: &[Certificate],
    scope: &Scope<'_>,
    usage: Usage,
    now: Timestamp,
) -> Result<(), SvidError> {
    let (authorities, anchors): (Vec<&Certificate>, Vec<TrustAnchor<'_>>) = scope.anchors.valid_at(now).unzip();
    let issuers: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|certificate| CertificateDer::from(certificate.der().as_ref())).collect();
    let entity = EndEntityCert::try_from(leaf.der()).map_err(|error| SvidError::Path { reason: error.to_string() })?;
    // Another anchor of the same name may have no such limit, so that this is told apart while the path is looked for.
    let limit = Cell::new(None);
    let within_limits = |path: &VerifiedPath<'_>| {
        let authority = anchors.iter().zip(&authorities).find(|(anchor, _)| std::ptr::eq(*anchor, path.anchor()));
        let (_, authority) = authority.ok_or(webpki::Error::UnknownIssuer)?;
        check_limits(authority, path, intermediates, usage).map_err(|exceeded| {
            limit.set(Some(exceeded));
            webpki::Error::UnknownIssuer
        })
    };
    let path = entity
        .verify_for_usage(
            crypto::signature_algorithms(),
            &anchors,
            &issuers,
            UnixTime::since_unix_epoch(Duration::from_secs(now.unix_seconds())),
            usage,
            None,
            Some(&within_limits),
        )
        .map_err(|error| limit.take().unwrap_or_else(|| explain(error, leaf, intermediates, scope, now)))?;
    check_intermediates(&path, intermediates, scope.trust_domain)
}

/// What an anchor says of the paths below it, which the path builder does not ask: their length and their use.
fn check_limits(
    authority: &Certificate,
    path: &VerifiedPath<'_>,
    intermediates: &[Certificate],
    usage: Usage,
) -> Result<(), SvidError> {
    if let Some(limit) = authority.basic_constraints().and_then(|constraints| constraints.path_length) {
        // Self-issued certificates do not count (RFC 5280 section 4.2.1.9).
        let below = on_path(path, intermediates).filter(|(_, issuer)| issuer.subject_der() != issuer.issuer_der()).count();
        if u32::try_from(below).map_or(true, |below| below > limit) {
            return Err(SvidError::PathLength);
        }
    }
    let allows = authority.extended_key_usage().is_none_or(|allowed| usage.is_allowed_by(&allowed));
    if allows { Ok(()) } else { Err(SvidError::IssuerExtendedKeyUsage) }
}

/// The intermediates that a path goes through, with their places among all that were sent.
fn on_path<'a>(path: &VerifiedPath<'_>, intermediates: &'a [Certificate]) -> impl Iterator<Item = (usize, &'a Certificate)> {
    let on_path: Vec<_> = path.intermediate_certificates().map(|certificate| certificate.der().to_vec()).collect();
    intermediates
        .iter()
        .enumerate()
        .filter(move |(_, certificate)| on_path.iter().any(|der| der.as_slice() == certificate.der().as_ref()))
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
    trust_domain: Option<&TrustDomain>,
) -> Result<(), SvidError> {
    for (index, certificate) in on_path(path, intermediates) {
        let position = ChainPosition::of_index(index + 1);
        if !certificate.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
            return Err(SvidError::IntermediateKeyUsage { position });
        }
        if let Some(trust_domain) = trust_domain
            && let Some(found) = foreign_uri_san(certificate, trust_domain)
        {
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
fn explain(
    error: webpki::Error,
    leaf: &Certificate,
    intermediates: &[Certificate],
    scope: &Scope<'_>,
    now: Timestamp,
) -> SvidError {
    use webpki::Error as E;
    let chain = || std::iter::once(leaf).chain(intermediates);
    match error {
        E::CertExpired { .. } | E::CertNotValidYet { .. } | E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
            let lapsed = scope.anchors.certificates().iter().filter(|authority| {
                // Those, valid or not, whose name a certificate of the chain gives as its issuer.
                chain().any(|certificate| certificate.issuer_der() == authority.subject_der())
            });
            let dated = chain()
                .enumerate()
                .map(|(index, certificate)| (ChainPosition::of_index(index), certificate))
                .chain(lapsed.map(|authority| (ChainPosition::Authority, authority)))
                .find_map(|(position, certificate)| check_dates(certificate, position, now).err());
            match (dated, error) {
                (Some(dated), _) => dated,
                (None, E::InvalidSignatureForPublicKey) => SvidError::Signature,
                (None, _) => {
                    let issuer = intermediates.last().unwrap_or(leaf).issuer();
                    match scope.trust_domain {
                        Some(trust_domain) => SvidError::UnknownAuthority { trust_domain: trust_domain.clone(), issuer },
                        None => SvidError::UnknownRoot { issuer },
                    }
                }
            }
        }
        E::UnsupportedCriticalExtension => chain()
            .enumerate()
            .find_map(|(index, certificate)| {
                let oid = certificate.unknown_critical_extension()?;
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
