//! Certificate revocation lists, version 2 (RFC 5280 section 5): read strictly, verified once, admitted together, and prepared for
//! signing.
//!
//! A list that is held was signed by a CA below the bundle, which allows its key to sign lists. Dates are judged at each use, so that one
//! list that has gone stale does not take down the others.

mod error;
mod number;
mod read;
mod reason;
mod set;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::{CrlError, CrlTemplateError, RevocationSetError};
pub use number::CrlNumber;
pub use reason::RevocationReason;
pub use set::{MAX_REVOCATION_LISTS, MAX_REVOCATION_SET_BYTES, RevocationSet};
pub use template::{CrlTemplate, RevokedSerial, UnsignedCrl, may_sign_lists, prepare_crl};

use crate::crypto::{Sha256Digest, sha256};
use crate::pem::{self, Block, CERTIFICATE};
use crate::{Certificate, CertificateError, SerialNumber, Timestamp, TrustBundle};
use read::Facts;

/// The longest list read, in bytes.
pub const MAX_CRL_BYTES: usize = 4 * 1024 * 1024;

/// The most certificates of a list that is read.
pub const MAX_CRL_ENTRIES: usize = 100_000;

/// The label of a PEM block that holds a list (RFC 7468 section 5).
const X509_CRL: &str = "X509 CRL";

/// The longest PEM text with lists that is read, in bytes: a few lists of the greatest length.
const MAX_PEM_BYTES: usize = 4 * MAX_CRL_BYTES;

/// A list that was verified: signed by its issuer, which is a root of the bundle or a CA below one and may sign lists. Dates are judged
/// at each use. `Clone` is cheap; `PartialEq` compares DER.
#[derive(Clone)]
pub struct RevocationList(Arc<Verified>);

struct Verified {
    der: Vec<u8>,
    fingerprint: Sha256Digest,
    facts: Facts,
    issuer: Certificate,
}

impl RevocationList {
    /// Reads and verifies a list under the certificate of its issuer: an authority of `bundle`, or a CA that one of them signed.
    ///
    /// No time is asked for: whether the list, its issuer or the authority above has lapsed is for [`Self::is_current`] and for path
    /// validation to say, at each use.
    ///
    /// # Errors
    /// [`CrlError`], one variant per rule.
    pub fn verify(list_der: &[u8], issuer_der: &[u8], bundle: &TrustBundle) -> Result<Self, CrlError> {
        let issuer = Certificate::from_der(issuer_der).map_err(CrlError::Issuer)?;
        let vouched = bundle.authorities().iter().any(|authority| *authority == issuer || set::may_vouch(authority, &issuer));
        if !vouched {
            return Err(CrlError::UnknownIssuer { issuer: issuer.subject() });
        }
        Self::signed_by(list_der, issuer)
    }

    /// Reads and verifies a list under a CA that somebody else vouched for.
    fn signed_by(list_der: &[u8], issuer: Certificate) -> Result<Self, CrlError> {
        if !may_sign_lists(&issuer) {
            return Err(CrlError::MayNotSignLists { issuer: issuer.subject() });
        }
        let facts = Facts::read(list_der)?;
        if facts.issuer(list_der) != issuer.subject_der() || issuer.subject_key_id() != Some(facts.authority_key_id.as_slice()) {
            return Err(CrlError::OtherIssuer { issuer: issuer.subject() });
        }
        issuer
            .public_key()
            .verify_as(facts.signature_algorithm(list_der), facts.tbs(list_der), facts.signature(list_der))
            .map_err(|_| CrlError::Signature { issuer: issuer.subject() })?;
        Ok(Self(Arc::new(Verified { der: list_der.to_vec(), fingerprint: sha256(list_der), facts, issuer })))
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the bytes, worked out once.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256Digest {
        self.0.fingerprint
    }

    /// As PEM, with a newline at the end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(X509_CRL, self.der()).as_str().to_owned()
    }

    /// The certificate of the CA that signed it.
    #[must_use]
    pub fn issuer(&self) -> &Certificate {
        &self.0.issuer
    }

    /// The DER of that certificate.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.0.issuer.der()
    }

    /// SHA-256 of the SubjectPublicKeyInfo of the CA that signed it.
    #[must_use]
    pub fn issuer_key(&self) -> Sha256Digest {
        self.0.issuer.public_key().fingerprint()
    }

    /// Its number: of two lists of one CA the higher one is the later one.
    #[must_use]
    pub fn number(&self) -> &CrlNumber {
        &self.0.facts.number
    }

    /// From when on it says what is revoked.
    #[must_use]
    pub fn this_update(&self) -> Timestamp {
        self.0.facts.this_update
    }

    /// By when there is a later one; from then on this one is stale.
    #[must_use]
    pub fn next_update(&self) -> Timestamp {
        self.0.facts.next_update
    }

    /// How many certificates it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.facts.serials.len()
    }

    /// Whether it names none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.facts.serials.is_empty()
    }

    /// The serials that it names, in ascending order.
    #[must_use]
    pub fn serials(&self) -> &[SerialNumber] {
        &self.0.facts.serials
    }

    /// Whether it names this serial, stale or not.
    #[must_use]
    pub fn contains(&self, serial: &SerialNumber) -> bool {
        self.serials().binary_search(serial).is_ok()
    }

    /// Whether verifiers take it at `now`: from `thisUpdate`, included, to `nextUpdate`, not included.
    #[must_use]
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.this_update() <= now && now < self.next_update()
    }

    /// Whether it is the list on which `certificate` would stand: its CA signed it, as far as names and key identifiers say.
    #[must_use]
    pub fn is_for(&self, certificate: &Certificate) -> bool {
        let issuer = &self.0.issuer;
        certificate.issuer_der() == issuer.subject_der()
            && certificate.authority_key_id().is_none_or(|id| issuer.subject_key_id() == Some(id))
    }
}

impl PartialEq for RevocationList {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der && self.0.issuer == other.0.issuer
    }
}

impl Eq for RevocationList {}

impl std::fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.issuer().subject())
            .field("number", self.number())
            .field("next_update", &self.next_update())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The certificates of a PEM text that may hold lists beside them, as Envoy's SPIFFE validator has its trust bundles. The lists are not read.
///
/// # Errors
/// [`CertificateError`] when the text is no PEM, holds another block, or no certificate.
pub fn certificates_beside_crls(text: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let mut certificates = Vec::new();
    for Block { label, der } in pem::blocks_within(text, MAX_PEM_BYTES)? {
        match label.as_str() {
            CERTIFICATE => certificates.push(Certificate::from_der(&der)?),
            X509_CRL => {}
            _ => return Err(CertificateError::PemLabel { label }),
        }
    }
    if certificates.is_empty() { Err(CertificateError::NoneInPem) } else { Ok(certificates) }
}

/// The DER of each list of a PEM text, unparsed, which is all that it may hold besides lines of explanation (RFC 7468 section 5).
///
/// # Errors
/// [`CrlError::Pem`], [`CrlError::PemLabel`], [`CrlError::NoneInPem`].
pub fn crls_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, CrlError> {
    let blocks = pem::blocks_within(text, MAX_PEM_BYTES).map_err(CrlError::Pem)?;
    if blocks.is_empty() {
        return Err(CrlError::NoneInPem);
    }
    blocks
        .into_iter()
        .map(|block| {
            if block.label == X509_CRL {
                Ok(block.der.to_vec())
            } else {
                Err(CrlError::PemLabel { label: block.label.chars().take(64).collect() })
            }
        })
        .collect()
}
