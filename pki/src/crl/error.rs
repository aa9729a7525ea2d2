//! Why a list is refused, or cannot be made.

use crate::der::DerError;
use crate::pem::PemError;
use crate::{CertificateError, EncodingError, SerialNumberError, Timestamp};

use super::{MAX_CRL_BYTES, MAX_CRL_ENTRIES, MAX_REVOCATION_LISTS, MAX_REVOCATION_SET_BYTES};

/// Why a list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The text around it is not PEM.
    #[error(transparent)]
    Pem(PemError),
    /// A PEM block that is no list.
    #[error("the PEM block {label:?} is no \"X509 CRL\"")]
    PemLabel {
        /// Its label, cut to 64 characters.
        label: String,
    },
    /// No list at all.
    #[error("the text holds no PEM block \"X509 CRL\"")]
    NoneInPem,
    /// Over the size limit.
    #[error("the revocation list has {found} bytes, at most {MAX_CRL_BYTES} are read")]
    TooLarge {
        /// The length met, in bytes.
        found: usize,
    },
    /// It names too many certificates.
    #[error("the revocation list names more than {MAX_CRL_ENTRIES} certificates")]
    TooManyEntries,
    /// The encoding is not strict DER, or not the structure of a list.
    #[error("malformed revocation list: {0}")]
    Der(#[from] DerError),
    /// Not version 2, without which a list has neither number nor key identifier.
    #[error("only revocation lists of version 2 are read; have it made with cRLNumber and authorityKeyIdentifier")]
    Version,
    /// A signature algorithm that is not on the allow-list.
    #[error("the signature algorithm {oid} is not allowed")]
    SignatureAlgorithm {
        /// Its object identifier.
        oid: String,
    },
    /// The signature algorithm inside the signed part is not the one outside (RFC 5280 section 5.1.1.2).
    #[error("the revocation list names two different signature algorithms")]
    SignatureAlgorithmMismatch,
    /// A date that cannot be read, or is before 1970.
    #[error("the revocation list has a date that is none, or is before 1970")]
    Date,
    /// nextUpdate is absent (RFC 5280 section 5.1.2.5): it would never go stale.
    #[error("the revocation list does not say when the next one is due (nextUpdate)")]
    NextUpdateMissing,
    /// It goes stale before it begins.
    #[error("the revocation list is due to be replaced at {next_update}, not after it begins at {this_update}")]
    Updates {
        /// When it begins.
        this_update: Timestamp,
        /// When it goes stale.
        next_update: Timestamp,
    },
    /// A serial that no certificate has.
    #[error("the revocation list names a serial number that is none: {0}")]
    Serial(#[from] SerialNumberError),
    /// The list of certificates is there, and empty (RFC 5280 section 5.1.2.6).
    #[error("the revocation list has an empty list of certificates, where it must have none at all")]
    EmptyEntries,
    /// An extension stands twice.
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
    /// A critical extension that is not understood, of the list or of an entry (RFC 5280 sections 5.2 and 5.3).
    #[error("the revocation list has the critical extension {oid}, which is not understood")]
    UnknownCriticalExtension {
        /// Its object identifier.
        oid: String,
    },
    /// An extension that every list must have is absent (RFC 5280 sections 5.2.1 and 5.2.3).
    #[error("the revocation list has no {name}, which every list must have")]
    MissingExtension {
        /// Its name.
        name: &'static str,
    },
    /// It says what has changed since another one only (RFC 5280 section 5.2.4).
    #[error("it is a delta of another revocation list; a whole list is needed")]
    Delta,
    /// It is for a part of what its issuer signed, or for what others signed (RFC 5280 sections 5.2.5 and 5.3.3).
    #[error(
        "the revocation list is for a part of its CA's certificates, or for those of other CAs; one for all of its own is needed"
    )]
    Scope,
    /// The issuer's certificate cannot be read.
    #[error("the certificate of the revocation list's issuer is refused: {0}")]
    Issuer(CertificateError),
    /// The issuer is no authority of the bundle, nor signed by one.
    #[error("\"{issuer}\" is neither an authority of the trust bundle nor below one")]
    UnknownIssuer {
        /// The issuer's subject.
        issuer: String,
    },
    /// The issuer is no CA, or its keyUsage lacks cRLSign (RFC 5280 section 4.2.1.3).
    #[error("\"{issuer}\" may not sign revocation lists: its keyUsage lacks cRLSign, or it is no CA or has no key identifier")]
    MayNotSignLists {
        /// The issuer's subject.
        issuer: String,
    },
    /// It names another issuer, or another key, than the certificate that came with it.
    #[error("the revocation list is not one of \"{issuer}\": it names another issuer, or another key")]
    OtherIssuer {
        /// The subject of the certificate.
        issuer: String,
    },
    /// Its signature does not verify under its issuer's key.
    #[error("the revocation list was not signed by \"{issuer}\"")]
    Signature {
        /// The issuer's subject.
        issuer: String,
    },
}

/// Why lists are no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationSetError {
    /// More lists than are read.
    #[error("a set holds at most {MAX_REVOCATION_LISTS} revocation lists, found {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// More bytes than are read.
    #[error("a set of revocation lists holds at most {MAX_REVOCATION_SET_BYTES} bytes, found {found}")]
    TooLarge {
        /// How many there are.
        found: usize,
    },
    /// Two lists of one issuer.
    #[error("there are two revocation lists of \"{issuer}\"")]
    Duplicate {
        /// The issuer's subject.
        issuer: String,
    },
    /// One of the lists is refused, and with it the whole.
    #[error("revocation list {number} of the set is refused: {source}")]
    List {
        /// Its place, from 1.
        number: usize,
        /// Why.
        source: CrlError,
    },
}

/// Why no list can be prepared.
#[derive(Debug, thiserror::Error)]
pub enum CrlTemplateError {
    /// The issuer is no CA, its keyUsage lacks cRLSign, or it has no key identifier.
    #[error("\"{issuer}\" may not sign revocation lists: its keyUsage lacks cRLSign, or it is no CA or has no key identifier")]
    MayNotSignLists {
        /// The issuer's subject.
        issuer: String,
    },
    /// A date cannot be written.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// What was encoded is refused by whoever reads it.
    #[error("the revocation list would be refused: {0}")]
    Refused(#[from] CrlError),
    /// What was encoded does not say what it shall.
    #[error("the revocation list would not say what it shall: {0} differs")]
    Differs(&'static str),
}
