//! Why bytes are no certificate that this system reads.

use crate::der::DerError;
use crate::pem::PemError;
use crate::{KeyError, SerialNumberError, Timestamp};

/// Why bytes are no certificate that this system reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Over the size limit.
    #[error("the certificate has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The length met, in bytes.
        found: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The text around it is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A PEM block that is no certificate.
    #[error("the PEM block \"{label}\" is no certificate")]
    PemLabel {
        /// Its label.
        label: String,
    },
    /// There is text, but no certificate in it.
    #[error("the text holds no PEM certificate")]
    NoneInPem,
    /// The encoding is not strict DER.
    #[error("malformed certificate: {0}")]
    Der(#[from] DerError),
    /// The structure is not that of a certificate.
    #[error("malformed certificate: {reason}")]
    Structure {
        /// The parser's word for it.
        reason: String,
    },
    /// Not version 3.
    #[error("only certificates of version 3 are read")]
    Version,
    /// The serial is zero, negative or too long.
    #[error(transparent)]
    Serial(#[from] SerialNumberError),
    /// A signature algorithm that is not on the allow-list, such as one with SHA-1.
    #[error("the signature algorithm {oid} is not allowed")]
    SignatureAlgorithm {
        /// Its object identifier.
        oid: String,
    },
    /// The signature algorithm inside the signed part is not the one outside (RFC 5280 section 4.1.1.2).
    #[error("the certificate names two different signature algorithms")]
    SignatureAlgorithmMismatch,
    /// Unique identifiers, which no current certificate has (RFC 5280 section 4.1.2.8).
    #[error("the certificate carries unique identifiers, which are not read")]
    UniqueIdentifier,
    /// A date before 1970.
    #[error("the certificate has a date before 1970")]
    Date,
    /// It ends before it begins.
    #[error("the certificate ends at {not_after}, before it begins at {not_before}")]
    Validity {
        /// First second of validity.
        not_before: Timestamp,
        /// Last second of validity.
        not_after: Timestamp,
    },
    /// The key is not allowed.
    #[error("the certificate's key is refused: {0}")]
    Key(#[from] KeyError),
    /// An extension stands twice (RFC 5280 section 4.2).
    #[error("the extension {oid} stands more than once")]
    DuplicateExtension {
        /// Its object identifier.
        oid: String,
    },
    /// An extension that is read here is malformed.
    #[error("the extension {oid} is malformed")]
    MalformedExtension {
        /// Its object identifier.
        oid: String,
    },
}
