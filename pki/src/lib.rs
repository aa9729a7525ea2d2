//! X.509 for workloads, without I/O: keys, requests, profiles, templates, lints, path validation, bundles, renewal times.
//!
//! Everything takes `now` and randomness as arguments. The crypto backend is reached through one seam, `crypto`, and
//! nowhere else; key generation and signature nonces draw their randomness inside it (the backend's own sealed trait).

mod authority;
mod bundle;
mod certificate;
mod crypto;
mod csr;
mod der;
mod key;
mod lint;
mod path;
mod pem;
mod profile;
mod proof;
mod renewal;
mod serial;
mod svid;
mod template;
#[cfg(test)]
mod test_pki;
mod timestamp;
mod unsigned;

pub use authority::{AuthorityRole, AuthoritySpec, CaConstraints, MintError, prepare_authority};
pub use bundle::{AnchorError, BundleError, MAX_AUTHORITIES, TrustBundle};
pub use certificate::{Certificate, CertificateError};
pub use crypto::{Sha256Digest, Sha256Hasher, sha256};
pub use csr::{CsrError, MAX_CSR_BYTES, VerifiedRequest, build_request};
pub use der::DerError;
pub use key::{KeyAlgorithm, KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm, SignatureInvalid};
pub use lint::{LintFinding, lint_authority, lint_leaf};
pub use path::{ChainPosition, SvidError, Usage, ValidatedSvid, validate_svid, validate_under_pinned_root};
pub use pem::{PemError, certificates_from_pem, certificates_to_pem};
pub use profile::{LeafProfile, ProfileError};
pub use proof::{ATTESTATION_EXPORTER_LABEL, join_token_transcript, reattestation_transcript};
pub use renewal::renew_at;
pub use rustls_pki_types::CertificateDer;
pub use serial::{ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, SerialNumberError};
pub use svid::X509Svid;
pub use template::{LeafRequest, TemplateError, covers_default_ttl, prepare_leaf};
pub use timestamp::Timestamp;
pub use unsigned::{EncodingError, SigningError, Unsigned};
