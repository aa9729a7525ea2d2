//! From bytes to the fields of a certificate.

use std::ops::Range;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::extensions::Extensions;
use super::{CertificateError, MAX_CERTIFICATE_BYTES, check_name, read_extension};
use crate::crypto;
use crate::der::{self, CONTEXT_0, CONTEXT_3, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use crate::{PublicKey, SerialNumber, Timestamp};

/// The longest text of a name kept, in characters.
const MAX_NAME_CHARACTERS: usize = 200;
/// The implicit tags of issuerUniqueID and subjectUniqueID.
const UNIQUE_IDENTIFIERS: [u8; 2] = [0x81, 0x82];

/// The fields of a certificate. Ranges point into `der`.
pub(super) struct Facts {
    pub(super) der: CertificateDer<'static>,
    pub(super) tbs: Range<usize>,
    pub(super) signature_algorithm: Range<usize>,
    pub(super) signature: Range<usize>,
    pub(super) issuer: Range<usize>,
    pub(super) subject: Range<usize>,
    pub(super) signed: Arc<SignedFacts>,
}

/// The fields that follow from the to-be-signed bytes alone: the same for each signature over them.
pub(super) struct SignedFacts {
    pub(super) serial: SerialNumber,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) public_key: PublicKey,
    pub(super) extensions: Extensions,
}

impl Facts {
    /// `known`, if given, is a key that was parsed before: where the certificate holds exactly its bytes, they are not judged again.
    pub(super) fn parse(der: &[u8], known: Option<&PublicKey>) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge { found: der.len(), limit: MAX_CERTIFICATE_BYTES });
        }
        der::check(der)?;
        let mut certificate = Reader::new(Reader::only(der, SEQUENCE)?);
        let tbs = certificate.next()?;
        let signature_algorithm = certificate.expect(SEQUENCE)?;
        let signature = certificate.whole_byte_bit_string()?;
        certificate.finish()?;

        // Fields that decide something are read from the strict reader; only dates and extensions come from the parser.
        let mut fields = Reader::new(Reader::only(tbs.encoded, SEQUENCE)?);
        let version = fields.optional(CONTEXT_0)?.ok_or(CertificateError::Version)?;
        if Reader::only(version, INTEGER)? != [2] {
            return Err(CertificateError::Version);
        }
        let serial = SerialNumber::from_der_content(fields.expect(INTEGER)?)?;
        if fields.expect(SEQUENCE)? != signature_algorithm {
            return Err(CertificateError::SignatureAlgorithmMismatch);
        }
        if !crypto::allows_signature_algorithm(signature_algorithm) {
            let oid = der::oid_text(Reader::new(signature_algorithm).expect(OBJECT_IDENTIFIER)?);
            return Err(CertificateError::SignatureAlgorithm { oid });
        }
        let issuer = fields.next()?.encoded;
        fields.expect(SEQUENCE)?;
        let subject = fields.next()?.encoded;
        for name in [issuer, subject] {
            check_name(Reader::only(name, SEQUENCE)?)?;
        }
        let spki = fields.next()?.encoded;
        let public_key = match known.filter(|known| known.spki_der() == spki) {
            Some(known) => known.clone(),
            None => PublicKey::from_spki_der(spki)?,
        };
        if fields.peek().is_some_and(|tag| UNIQUE_IDENTIFIERS.contains(&tag)) {
            return Err(CertificateError::UniqueIdentifier);
        }
        if let Some(extensions) = fields.optional(CONTEXT_3)? {
            let mut extensions = Reader::new(Reader::only(extensions, SEQUENCE)?);
            while !extensions.is_empty() {
                read_extension(&mut extensions)?;
            }
        }
        fields.finish()?;

        let (_, parsed) = X509Certificate::from_der(der)
            .map_err(|error| CertificateError::Structure { reason: error.to_string().escape_debug().collect() })?;
        let date = |time: &x509_parser::time::ASN1Time| {
            u64::try_from(time.timestamp()).map(Timestamp::from_unix_seconds).map_err(|_| CertificateError::Date)
        };
        let not_before = date(&parsed.validity().not_before)?;
        let not_after = date(&parsed.validity().not_after)?;
        if not_before > not_after {
            return Err(CertificateError::Validity { not_before, not_after });
        }
        let extensions = Extensions::parse(parsed.extensions())?;
        let range = |part| range_within(der, part);
        Ok(Self {
            tbs: range(tbs.encoded),
            signature_algorithm: range(signature_algorithm),
            signature: range(signature),
            issuer: range(issuer),
            subject: range(subject),
            signed: Arc::new(SignedFacts { serial, not_before, not_after, public_key, extensions }),
            der: CertificateDer::from(der.to_vec()),
        })
    }

    /// The facts of `der`, when it is this certificate with another signature: the same to-be-signed bytes, the same algorithm, and a
    /// signature, with nothing before, between or after. `None` for anything else.
    pub(super) fn with_other_signature(&self, der: Vec<u8>) -> Option<Self> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return None;
        }
        let mut certificate = Reader::new(Reader::only(&der, SEQUENCE).ok()?);
        let tbs = certificate.next().ok()?.encoded;
        let signature_algorithm = certificate.expect(SEQUENCE).ok()?;
        let signature = certificate.whole_byte_bit_string().ok()?;
        certificate.finish().ok()?;
        if tbs != self.slice(&self.tbs) || signature_algorithm != self.slice(&self.signature_algorithm) {
            return None;
        }
        let range = |part| range_within(&der, part);
        let (tbs, signature_algorithm, signature) = (range(tbs), range(signature_algorithm), range(signature));
        // The outer length may take more or fewer bytes now.
        let moved = |part: &Range<usize>| {
            let start = part.start - self.tbs.start + tbs.start;
            start..start + part.len()
        };
        Some(Self {
            issuer: moved(&self.issuer),
            subject: moved(&self.subject),
            tbs,
            signature_algorithm,
            signature,
            signed: Arc::clone(&self.signed),
            der: CertificateDer::from(der),
        })
    }

    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.der.get(range.clone()).expect("the range was taken from these bytes")
    }
}

/// Where `part`, a slice of `whole`, lies in it.
fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// A name for logs and tables. It comes from a stranger and must not steer a terminal.
pub(super) fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    // It was read before, in its certificate.
    let Ok((_, name)) = X509Name::from_der(name) else { return text };
    for character in name.to_string().chars().take(MAX_NAME_CHARACTERS) {
        if character.is_alphanumeric() || character == ' ' || character.is_ascii_punctuation() {
            text.push(character);
        } else {
            text.extend(character.escape_unicode());
        }
    }
    text
}
