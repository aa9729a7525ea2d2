//! X.509 and JWT for workloads, without I/O. Everything takes `now` and randomness as arguments, but for what the backend draws.

mod authority;
mod bundle;
mod certificate;
pub mod checkpoint;
pub mod crl;
mod crypto;
mod csr;
mod der;
mod jwt;
mod key;
mod lint;
mod path;
mod pem;
mod profile;
pub mod proof;
mod renewal;
pub mod seal;
mod serial;
mod svid;
mod template;
#[cfg(test)]
mod test_pki;
pub mod timestamp;
mod unsigned;

pub use self::{der::DerError, renewal::renew_at, svid::X509Svid, timestamp::Timestamp};
pub use authority::{AuthorityRole, AuthoritySpec, CaConstraints, MintError, prepare_authority};
pub use bundle::{
    AnchorError, AnchorLapse, BundleDocument, BundleDocumentError, BundleError, BundleKeyFault, JwksContent, MAX_AUTHORITIES,
    MAX_TAINTED_KEYS, TrustBundle,
};
pub use certificate::{Certificate, CertificateError};
pub use crl::{RevocationList, RevocationSet};
pub use crypto::{Sha256Digest, Sha256Hasher, sha256};
pub use csr::{CsrError, MAX_CSR_BYTES, VerifiedRequest, build_request, build_request_by};
pub use jwt::{
    Audience, AudienceError, AudienceSet, JWT_CLOCK_SKEW, JsonFault, JsonWebKeys, JwkFault, JwksError, JwsAlgorithm,
    JwtAuthority, JwtError, JwtKey, JwtKeyError, JwtMintError, JwtSvid, KeyId, KeyIdError, MAX_AUDIENCE_BYTES, MAX_AUDIENCES,
    MAX_JWKS_BYTES, MAX_JWKS_KEYS, MAX_JWT_TTL, MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES, SkippedKey, UnsignedJwtSvid, ValidatedJwtSvid,
    VerifiedToken, claimed_trust_domain, numeric_date, prepare_jwt_svid, validate_jwt_svid, verify_id_token,
};
pub use key::{
    KeyAlgorithm, KeyError, KeyProtection, Passphrase, PassphraseError, PrivateKey, PublicKey, PublicKeyAlgorithm, RsaSize,
    SignatureInvalid, Signer, Signing,
};
pub use lint::{LintFinding, lint_authority, lint_leaf};
pub use path::{
    ChainPosition, SvidError, TrustedRoots, Usage, ValidatedSvid, validate_chain, validate_server, validate_svid,
    validate_svid_sharing, validate_under_pinned_root,
};
pub use pem::{PemError, RequestPemError, certificates_from_pem, certificates_to_pem, request_from_pem, request_to_pem};
pub use profile::{LeafProfile, ProfileError};
pub use rustls_pki_types::CertificateDer;
pub use seal::{MIN_SEALING_SECRET_BYTES, SEALING_RANDOM_BYTES, SealError, open, seal};
pub use serial::{ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, SerialNumberError};
pub use template::{LeafRequest, TemplateError, covers_default_ttl, prepare_leaf};
pub use unsigned::{EncodingError, SigningError, Unsigned};
