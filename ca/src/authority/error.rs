//! Why a set of files is no authority, and why an authority is not to be counted on.

use std::path::PathBuf;
use std::time::Duration;

use identity::TrustDomain;
use pki::{CertificateError, KeyError, Timestamp};

/// Why a set of files is not used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of the set is not there. A set is used whole or not at all.
    #[error("{}: missing; the authority's files are used together or not at all", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file has no certificate in it.
    #[error("{}: holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A file does not parse.
    #[error("{}: {cause}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: CertificateError,
    },
    /// The key file does not parse, or holds a key that is not allowed.
    #[error("{}: {cause}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// The key is not the certificate's.
    #[error("{}: the key does not match the certificate in {}", key_file.display(), certificate_file.display())]
    KeyMismatch {
        /// The key's file.
        key_file: PathBuf,
        /// The certificate's file.
        certificate_file: PathBuf,
    },
    /// What the key signs does not verify under its own public half.
    #[error("{}: a trial signature of the key does not verify; the key is broken", file.display())]
    KeyBroken {
        /// The key's file.
        file: PathBuf,
    },
    /// A certificate of the path is not a CA's.
    #[error("{}: \"{subject}\" is not a CA certificate (basicConstraints cA is false)", file.display())]
    NotCa {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate of the path may not sign certificates.
    #[error("{}: \"{subject}\" may not sign certificates (keyUsage lacks keyCertSign)", file.display())]
    NoCertSign {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate has ended.
    #[error("{}: \"{subject}\" expired at {not_after}; now is {now}", file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Its last second.
        not_after: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// A certificate has not begun.
    #[error("{}: \"{subject}\" is not valid before {not_before}; now is {now}", file.display())]
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Its first second.
        not_before: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// No path leads from the CA certificate to a root.
    #[error("{}: \"{subject}\" does not chain to a root: no certificate of the set signed it", file.display())]
    Unchained {
        /// The file that should hold the issuer's certificate.
        file: PathBuf,
        /// The certificate whose issuer is not found.
        subject: String,
    },
    /// The path is longer than verifiers accept.
    #[error("{}: more than {most} certificates stand between \"{subject}\" and a root", file.display())]
    PathTooLong {
        /// The file of the CA certificate.
        file: PathBuf,
        /// The CA certificate's subject.
        subject: String,
        /// How many are allowed.
        most: usize,
    },
    /// A certificate of the path allows fewer below it than there are.
    #[error("{}: \"{subject}\" allows {allowed} CA certificates below it and {found} stand there", file.display())]
    PathLength {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Its pathLenConstraint.
        allowed: u32,
        /// How many stand below it.
        found: usize,
    },
    /// A certificate ends after the one that signed it, so its leaves could outlive the path.
    #[error("{}: \"{subject}\" ends at {not_after}, after its issuer, which ends at {issuer_not_after}", file.display())]
    OutlivesIssuer {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Its last second.
        not_after: Timestamp,
        /// Its issuer's last second.
        issuer_not_after: Timestamp,
    },
    /// A root is not signed by its own key under its own name.
    #[error("{}: \"{subject}\" is not self-signed, so it is no root", file.display())]
    RootNotSelfSigned {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// The roots make no trust bundle.
    #[error("{}: {cause}", file.display())]
    Roots {
        /// The file.
        file: PathBuf,
        /// What is wrong with them.
        cause: pki::BundleError,
    },
    /// The CA certificate says that it is another trust domain's.
    #[error("{}: \"{subject}\" is for {found}, and this CA's trust domain is {trust_domain}", file.display())]
    OtherTrustDomain {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Its URI SANs.
        found: String,
        /// The trust domain configured.
        trust_domain: TrustDomain,
    },
    /// The CA certificate has no key identifier for leaves to refer to.
    #[error("{}: \"{subject}\" has no subjectKeyIdentifier, which a CA certificate must have", file.display())]
    NoKeyIdentifier {
        /// The file.
        file: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// The trial leaf's authorityKeyIdentifier is not the CA's subjectKeyIdentifier.
    #[error("{}: a trial leaf under \"{subject}\" does not repeat its subjectKeyIdentifier", file.display())]
    TrialKeyIdentifier {
        /// The file.
        file: PathBuf,
        /// The CA certificate's subject.
        subject: String,
    },
    /// No leaf can be made under the CA certificate, or lints refuse it.
    #[error("{}: a trial leaf under \"{subject}\" fails: {cause}", file.display())]
    Trial {
        /// The file.
        file: PathBuf,
        /// The CA certificate's subject.
        subject: String,
        /// What went wrong.
        cause: String,
    },
}

/// Why the CA cannot be counted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the issuing CA ends at {issuer_not_after}: leaves of the default TTL {default_ttl:?} are whole only until {covered_until}, \
     and that must be at least 2 x TTL away; make a new issuing CA with `signet ca issuer renew`, or replace the files of one that is \
     plugged in"
)]
pub struct NotReady {
    /// The issuing CA's last second.
    pub issuer_not_after: Timestamp,
    /// The profile's default TTL.
    pub default_ttl: Duration,
    /// The last moment at which a whole leaf can be made.
    pub covered_until: Timestamp,
}
