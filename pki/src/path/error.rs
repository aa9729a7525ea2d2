//! Why a chain is refused.

use std::fmt;

use identity::{Host, SpiffeId, SpiffeIdError, TrustDomain};

use crate::bundle::AnchorError;
use crate::{CertificateError, Timestamp};

/// Which certificate of a chain an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPosition {
    /// The first one, which carries the identity.
    Leaf,
    /// An intermediate, counted from 1 behind the leaf.
    Intermediate(usize),
    /// The authority at the end, from the bundle or pinned by its hash.
    Authority,
}

impl ChainPosition {
    /// The position of the certificate with this index in a chain, leaf first.
    pub(super) fn of_index(index: usize) -> Self {
        if index == 0 { Self::Leaf } else { Self::Intermediate(index) }
    }
}

impl fmt::Display for ChainPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf => f.write_str("leaf certificate"),
            Self::Intermediate(number) => write!(f, "intermediate certificate {number}"),
            Self::Authority => f.write_str("authority's certificate"),
        }
    }
}

/// Why a chain is refused. Each rule has its variant, with the facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// There is no leaf.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// More certificates than any sound chain has.
    #[error("the certificate chain has {found} certificates, at most {limit} are read")]
    ChainTooLong {
        /// How many it has.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A certificate of the chain does not parse.
    #[error("the {position} is refused: {source}")]
    Certificate {
        /// Which one.
        position: ChainPosition,
        /// Why.
        source: CertificateError,
    },
    /// The leaf does not have exactly one URI SAN (X509-SVID section 2).
    #[error("the leaf certificate must have exactly one URI SAN, found {found}")]
    UriSanCount {
        /// How many it has.
        found: usize,
    },
    /// The leaf's URI SAN is no SPIFFE ID.
    #[error("the URI SAN of the leaf certificate is no SPIFFE ID: {source}")]
    SpiffeId {
        /// Why.
        source: SpiffeIdError,
    },
    /// The leaf's ID belongs to another trust domain than the bundle.
    #[error("{id} is not of the trust domain {expected}")]
    TrustDomain {
        /// The leaf's ID.
        id: SpiffeId,
        /// The bundle's trust domain.
        expected: TrustDomain,
    },
    /// The leaf's ID names a trust domain, which is what authorities do (X509-SVID section 5.2).
    #[error("{id} has no path: it names an authority, not a workload")]
    NoPath {
        /// The leaf's ID.
        id: SpiffeId,
    },
    /// The leaf is a CA certificate (X509-SVID section 5.2).
    #[error("the leaf certificate is a CA certificate")]
    LeafIsCa,
    /// The leaf has name constraints, which only a CA certificate may have (RFC 5280 section 4.2.1.10).
    #[error("the leaf certificate has name constraints, which only a CA certificate may have")]
    LeafNameConstraints,
    /// The leaf has no keyUsage (X509-SVID section 4.3).
    #[error("the leaf certificate has no keyUsage")]
    KeyUsageMissing,
    /// The leaf's keyUsage is not critical (X509-SVID section 4.3).
    #[error("the keyUsage of the leaf certificate is not critical")]
    KeyUsageNotCritical,
    /// The leaf's keyUsage lacks digitalSignature (X509-SVID section 4.3).
    #[error("the keyUsage of the leaf certificate lacks digitalSignature")]
    DigitalSignatureMissing,
    /// The leaf's keyUsage holds keyCertSign (X509-SVID section 5.2).
    #[error("the keyUsage of the leaf certificate holds keyCertSign")]
    LeafMaySignCertificates,
    /// The leaf's keyUsage holds cRLSign (X509-SVID section 5.2).
    #[error("the keyUsage of the leaf certificate holds cRLSign")]
    LeafMaySignRevocations,
    /// The leaf has an extKeyUsage without both purposes (X509-SVID section 4.4).
    #[error("the extKeyUsage of the leaf certificate must hold both serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// A critical extension that is not understood (RFC 5280 section 4.2).
    #[error("the {position} has the critical extension {oid}, which is not understood")]
    UnknownCriticalExtension {
        /// Which certificate.
        position: ChainPosition,
        /// The object identifier.
        oid: String,
    },
    /// A certificate has ended.
    #[error("the {position} ended at {not_after}; it is {now} now")]
    Expired {
        /// Which one.
        position: ChainPosition,
        /// Its last second.
        not_after: Timestamp,
        /// The time of validation.
        now: Timestamp,
    },
    /// A certificate has not begun. No skew is granted: issuers back-date for that.
    #[error("the {position} begins at {not_before}; it is {now} now")]
    NotYetValid {
        /// Which one.
        position: ChainPosition,
        /// Its first second.
        not_before: Timestamp,
        /// The time of validation.
        now: Timestamp,
    },
    /// The chain leads to no authority of the bundle.
    #[error("no authority of the trust domain {trust_domain} issued this chain, which ends at the issuer \"{issuer}\"")]
    UnknownAuthority {
        /// The bundle's trust domain.
        trust_domain: TrustDomain,
        /// The subject of the last certificate met.
        issuer: String,
    },
    /// The chain leads to none of the roots that are trusted for this purpose.
    #[error("none of the trusted roots issued this chain, which ends at the issuer \"{issuer}\"")]
    UnknownRoot {
        /// The subject of the last issuer named.
        issuer: String,
    },
    /// The server's certificate does not name the server (RFC 9525 section 6).
    #[error("the certificate does not name {expected}")]
    ServerName {
        /// The name or address that was connected to.
        expected: Host,
    },
    /// A certificate names a trusted issuer, but that issuer's key did not sign it.
    #[error("a signature in the certificate chain does not verify under the key of the issuer it names")]
    Signature,
    /// An intermediate is no CA certificate.
    #[error("an intermediate certificate is no CA certificate")]
    IntermediateNotCa,
    /// An intermediate must not sign certificates (RFC 5280 section 4.2.1.3).
    #[error("the keyUsage of the {position} does not hold keyCertSign")]
    IntermediateKeyUsage {
        /// Which one.
        position: ChainPosition,
    },
    /// An intermediate that speaks for another trust domain (X509-SVID section 3.2).
    #[error("the {position} has the URI SAN {found:?}; it may have none or \"{expected}\"")]
    IntermediateUriSan {
        /// Which one.
        position: ChainPosition,
        /// The first one that differs, cut to 256 characters.
        found: String,
        /// The ID of the trust domain.
        expected: String,
    },
    /// An intermediate has noRevAvail (RFC 9608 section 4).
    #[error("the {position} has the extension noRevAvail, which a CA certificate must not have")]
    IntermediateNoRevocation {
        /// Which one.
        position: ChainPosition,
    },
    /// A pathLenConstraint is exceeded (RFC 5280 section 4.2.1.9).
    #[error("the certificate chain is longer than the pathLenConstraint of one of its issuers allows")]
    PathLength,
    /// Name constraints exclude a name (RFC 5280 section 4.2.1.10). Those on URIs exclude all.
    #[error("the name constraints of an issuer exclude a name of the certificate chain")]
    NameConstraints,
    /// An issuer's extKeyUsage does not allow this use.
    #[error("the extKeyUsage of an issuer does not allow this use")]
    IssuerExtendedKeyUsage,
    /// Any other fault met in path building.
    #[error("the certificate chain does not validate: {reason}")]
    Path {
        /// The path builder's word for it.
        reason: String,
    },
    /// The last certificate of the chain is not the one pinned.
    #[error("the root at the end of the chain has the SHA-256 {found}, expected {expected}")]
    PinnedRootDiffers {
        /// The pinned hash, in hex.
        expected: String,
        /// The hash met, in hex.
        found: String,
    },
    /// The certificate that is pinned must not be an authority.
    #[error("the pinned root is refused: {source}")]
    PinnedRoot {
        /// Why.
        source: AnchorError,
    },
    /// The private key does not belong to the leaf.
    #[error("the private key does not belong to the leaf certificate")]
    KeyMismatch,
}
