//! A certificate, parsed once, with the fields that this system reads (RFC 5280 section 4.1).
//!
//! Parsing is strict: DER only, version 3, a positive serial, a signature algorithm and a key on the allow-lists, no
//! extension twice, none malformed. What a certificate may be used for is judged elsewhere, in `bundle` for authorities and in
//! `path` for chains.

mod error;
mod extensions;
mod facts;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

pub use error::CertificateError;
use extensions::NAME_CONSTRAINTS;
pub(crate) use extensions::{BasicConstraints, ExtendedKeyUsage, ExtensionHeader, KeyUsage, read_uris};
use facts::{Facts, SignedFacts, name_text};
pub(crate) use shape::{check_name, read_extension};

use crate::crypto::{Sha256Digest, sha256};
use crate::der::{Reader, oid_text};
use crate::{PublicKey, SerialNumber, SignatureInvalid, Timestamp};

/// The largest certificate read, in bytes.
pub(crate) const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// A certificate, parsed once; `Clone` is cheap. `PartialEq` compares DER.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

impl Certificate {
    /// Parses one certificate without trailing bytes. Its signature is not verified: see [`Self::verify_signed_by`].
    ///
    /// # Errors
    /// [`CertificateError`], one variant per refusal.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Facts::parse(der, None).map(|facts| Self(Arc::new(facts)))
    }

    /// As [`Self::from_der`], for a certificate that was made for `key`, which was judged when it was parsed.
    pub(crate) fn from_der_for_key(der: &[u8], key: &PublicKey) -> Result<Self, CertificateError> {
        Facts::parse(der, Some(key)).map(|facts| Self(Arc::new(facts)))
    }

    /// The certificate that `der` is, when it is this one with another signature; `None` when anything else differs.
    pub(crate) fn with_other_signature(&self, der: Vec<u8>) -> Option<Self> {
        self.0.with_other_signature(der).map(|facts| Self(Arc::new(facts)))
    }

    fn signed(&self) -> &SignedFacts {
        &self.0.signed
    }

    /// Parses certificates that stand one after the other, as the SPIFFE Workload API sends chains and bundles (SPIFFE Workload
    /// API section 5.2.1). No bytes give none.
    ///
    /// # Errors
    /// [`CertificateError`]; one bad certificate refuses the whole.
    pub fn all_from_der(concatenated: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let mut reader = Reader::new(concatenated);
        let mut certificates = Vec::new();
        while !reader.is_empty() {
            certificates.push(Self::from_der(reader.next()?.encoded)?);
        }
        Ok(certificates)
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// The to-be-signed bytes.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        self.0.slice(&self.0.tbs)
    }

    /// The serial number.
    #[must_use]
    pub fn serial(&self) -> &SerialNumber {
        &self.signed().serial
    }

    /// The first second of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.signed().not_before
    }

    /// The last second of validity (inclusive).
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.signed().not_after
    }

    /// The subject Name, DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.0.slice(&self.0.subject)
    }

    /// The issuer Name, DER.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.0.slice(&self.0.issuer)
    }

    /// The subject for people (in the manner of RFC 4514), without control characters, cut to 200 characters.
    #[must_use]
    pub fn subject(&self) -> String {
        name_text(self.subject_der())
    }

    /// The issuer for people, in the form of [`Self::subject`].
    #[must_use]
    pub fn issuer(&self) -> String {
        name_text(self.issuer_der())
    }

    /// The subject's key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.signed().public_key
    }

    /// Whether basicConstraints is present and says cA.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.signed().extensions.basic_constraints.as_ref().is_some_and(|constraints| constraints.ca)
    }

    /// The subject key identifier.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.signed().extensions.subject_key_id.as_deref()
    }

    /// The key identifier inside the authority key identifier.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.signed().extensions.authority_key_id.as_deref()
    }

    /// The URI SANs as they stand, unparsed.
    #[must_use]
    pub fn uri_sans(&self) -> &[String] {
        &self.signed().extensions.uri_sans
    }

    /// The DNS SANs as they stand, unparsed.
    #[must_use]
    pub fn dns_sans(&self) -> &[String] {
        &self.signed().extensions.dns_sans
    }

    /// How many alternative names it has that are neither URIs nor DNS names: addresses, mail boxes, names of any other kind.
    #[must_use]
    pub fn other_sans(&self) -> usize {
        self.signed().extensions.other_sans
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256Digest {
        sha256(&self.0.der)
    }

    /// Verifies this certificate's signature under the key of `issuer`. Nothing else: no names, no dates.
    ///
    /// # Errors
    /// [`SignatureInvalid`] when the signature does not verify, or its algorithm does not go with the key.
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), SignatureInvalid> {
        let facts = &self.0;
        issuer.verify_as(facts.slice(&facts.signature_algorithm), self.tbs_der(), facts.slice(&facts.signature))
    }

    /// Whether `now` lies within the validity, both ends inclusive (RFC 5280 section 4.1.2.5).
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before() <= now && now <= self.not_after()
    }

    /// Whether the subject Name has no parts.
    pub(crate) fn has_empty_subject(&self) -> bool {
        // An empty SEQUENCE.
        self.subject_der() == [0x30, 0x00]
    }

    /// The keyUsage extension.
    pub(crate) fn key_usage(&self) -> Option<KeyUsage> {
        self.signed().extensions.key_usage
    }

    /// The basicConstraints extension.
    pub(crate) fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.signed().extensions.basic_constraints
    }

    /// The extKeyUsage extension.
    pub(crate) fn extended_key_usage(&self) -> Option<ExtendedKeyUsage> {
        self.signed().extensions.extended_key_usage
    }

    /// Whether the nameConstraints extension is there.
    pub(crate) fn has_name_constraints(&self) -> bool {
        self.extensions().iter().any(|header| header.oid == NAME_CONSTRAINTS)
    }

    /// Every extension by name, in the order of the certificate.
    pub(crate) fn extensions(&self) -> &[ExtensionHeader] {
        &self.signed().extensions.headers
    }

    /// The first critical extension that no rule here, nor in path building, understands (RFC 5280 section 4.2).
    pub(crate) fn unknown_critical_extension(&self) -> Option<String> {
        self.extensions().iter().find(|header| header.critical && !header.is_understood()).map(|header| oid_text(&header.oid))
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("serial", self.serial())
            .field("subject", &self.subject())
            .field("uri_sans", &self.uri_sans())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}
