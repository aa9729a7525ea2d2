//! From bytes to the fields of a list (RFC 5280 section 5.1).

use std::collections::HashSet;
use std::ops::Range;

use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::number::read_number;
use super::{CrlError, CrlNumber, MAX_CRL_BYTES, MAX_CRL_ENTRIES};
use crate::certificate::check_name;
use crate::der::{self, BOOLEAN, CONTEXT_0, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};
use crate::{SerialNumber, Timestamp, crypto};

pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;

/// Below `id-ce`, 2.5.29 (RFC 5280 sections 5.2 and 5.3).
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
/// `[0]` of an AuthorityKeyIdentifier: primitive, implicit.
const KEY_IDENTIFIER: u8 = 0x80;
const ENUMERATED: u8 = 0x0a;
/// The reason that takes an entry of a delta back (RFC 5280 section 5.3.1).
const REMOVE_FROM_CRL: &[u8] = &[8];

/// The fields of a list. Ranges point into its DER.
pub(super) struct Facts {
    tbs: Range<usize>,
    signature_algorithm: Range<usize>,
    signature: Range<usize>,
    issuer: Range<usize>,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) number: CrlNumber,
    pub(super) authority_key_id: Vec<u8>,
    /// Ascending.
    pub(super) serials: Vec<SerialNumber>,
}

impl Facts {
    pub(super) fn read(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLarge { found: der.len() });
        }
        der::check(der)?;
        let mut list = Reader::new(Reader::only(der, SEQUENCE)?);
        let tbs = list.next()?;
        let signature_algorithm = list.expect(SEQUENCE)?;
        let signature = list.whole_byte_bit_string()?;
        list.finish()?;

        let mut fields = Reader::new(Reader::only(tbs.encoded, SEQUENCE)?);
        match fields.optional(INTEGER)? {
            Some([1]) => {}
            Some(_) | None => return Err(CrlError::Version),
        }
        if fields.expect(SEQUENCE)? != signature_algorithm {
            return Err(CrlError::SignatureAlgorithmMismatch);
        }
        if !crypto::allows_signature_algorithm(signature_algorithm) {
            let oid = der::oid_text(Reader::new(signature_algorithm).expect(OBJECT_IDENTIFIER)?);
            return Err(CrlError::SignatureAlgorithm { oid });
        }
        let issuer = fields.next()?.encoded;
        check_name(Reader::only(issuer, SEQUENCE)?)?;
        let this_update = read_time(&mut fields)?;
        if !matches!(fields.peek(), Some(UTC_TIME | GENERALIZED_TIME)) {
            return Err(CrlError::NextUpdateMissing);
        }
        let next_update = read_time(&mut fields)?;
        if next_update <= this_update {
            return Err(CrlError::Updates { this_update, next_update });
        }
        let serials = match fields.optional(SEQUENCE)? {
            Some(entries) => read_entries(entries)?,
            None => Vec::new(),
        };
        let extensions = match fields.optional(CONTEXT_0)? {
            Some(extensions) => ListExtensions::read(Reader::only(extensions, SEQUENCE)?)?,
            None => ListExtensions::default(),
        };
        fields.finish()?;
        Ok(Self {
            tbs: range_within(der, tbs.encoded),
            signature_algorithm: range_within(der, signature_algorithm),
            signature: range_within(der, signature),
            issuer: range_within(der, issuer),
            this_update,
            next_update,
            number: extensions.number.ok_or(CrlError::MissingExtension { name: "cRLNumber" })?,
            authority_key_id: extensions
                .authority_key_id
                .ok_or(CrlError::MissingExtension { name: "authorityKeyIdentifier with a key identifier" })?,
            serials,
        })
    }

    pub(super) fn tbs<'a>(&self, der: &'a [u8]) -> &'a [u8] {
        slice(der, &self.tbs)
    }

    /// The content of the `AlgorithmIdentifier`.
    pub(super) fn signature_algorithm<'a>(&self, der: &'a [u8]) -> &'a [u8] {
        slice(der, &self.signature_algorithm)
    }

    pub(super) fn signature<'a>(&self, der: &'a [u8]) -> &'a [u8] {
        slice(der, &self.signature)
    }

    /// The issuer Name, DER.
    pub(super) fn issuer<'a>(&self, der: &'a [u8]) -> &'a [u8] {
        slice(der, &self.issuer)
    }
}

/// What is read of the extensions of the list.
#[derive(Default)]
struct ListExtensions {
    number: Option<CrlNumber>,
    authority_key_id: Option<Vec<u8>>,
}

impl ListExtensions {
    fn read(content: &[u8]) -> Result<Self, CrlError> {
        let mut out = Self::default();
        each_extension(content, |oid, critical, value| {
            let malformed = || CrlError::MalformedExtension { oid: der::oid_text(oid) };
            match oid {
                CRL_NUMBER => {
                    der::check(value).map_err(|_| malformed())?;
                    out.number = Some(read_number(value).ok().flatten().ok_or_else(malformed)?);
                }
                AUTHORITY_KEY_ID => {
                    der::check(value).map_err(|_| malformed())?;
                    let mut parts = Reader::new(Reader::only(value, SEQUENCE).map_err(|_| malformed())?);
                    out.authority_key_id = parts.optional(KEY_IDENTIFIER).map_err(|_| malformed())?.map(<[u8]>::to_vec);
                }
                DELTA_CRL_INDICATOR => return Err(CrlError::Delta),
                // Whatever is in it: a list that is for all that its issuer signed needs none.
                ISSUING_DISTRIBUTION_POINT => return Err(CrlError::Scope),
                _ if critical => return Err(CrlError::UnknownCriticalExtension { oid: der::oid_text(oid) }),
                _ => {}
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// The serials of the entries, ascending; one that stands twice is one.
fn read_entries(content: &[u8]) -> Result<Vec<SerialNumber>, CrlError> {
    let mut entries = Reader::new(content);
    if entries.is_empty() {
        return Err(CrlError::EmptyEntries);
    }
    let mut serials = Vec::new();
    while !entries.is_empty() {
        if serials.len() == MAX_CRL_ENTRIES {
            return Err(CrlError::TooManyEntries);
        }
        let mut entry = Reader::new(entries.expect(SEQUENCE)?);
        serials.push(SerialNumber::from_der_content(entry.expect(INTEGER)?)?);
        read_time(&mut entry)?;
        if let Some(extensions) = entry.optional(SEQUENCE)? {
            each_extension(extensions, check_entry_extension)?;
        }
        entry.finish()?;
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials)
}

fn check_entry_extension(oid: &[u8], critical: bool, value: &[u8]) -> Result<(), CrlError> {
    match oid {
        REASON_CODE => match Reader::only(value, ENUMERATED) {
            Ok(REMOVE_FROM_CRL) => Err(CrlError::Delta),
            Ok([_]) => Ok(()),
            Ok(_) | Err(_) => Err(CrlError::MalformedExtension { oid: der::oid_text(oid) }),
        },
        CERTIFICATE_ISSUER => Err(CrlError::Scope),
        _ if critical => Err(CrlError::UnknownCriticalExtension { oid: der::oid_text(oid) }),
        _ => Ok(()),
    }
}

/// Tells each extension by its object identifier (the content), whether it is critical, and its value; none may stand twice, and there
/// is at least one (RFC 5280 section 4.1).
fn each_extension<'a>(
    content: &'a [u8],
    mut tell: impl FnMut(&'a [u8], bool, &'a [u8]) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut extensions = Reader::new(content);
    let mut seen = HashSet::new();
    loop {
        let mut extension = Reader::new(extensions.expect(SEQUENCE)?);
        let oid = extension.expect(OBJECT_IDENTIFIER)?;
        let critical = extension.optional(BOOLEAN)?.is_some_and(|content| content != [0]);
        let value = extension.expect(OCTET_STRING)?;
        extension.finish()?;
        if !seen.insert(oid) {
            return Err(CrlError::DuplicateExtension { oid: der::oid_text(oid) });
        }
        tell(oid, critical, value)?;
        if extensions.is_empty() {
            return Ok(());
        }
    }
}

fn read_time(fields: &mut Reader<'_>) -> Result<Timestamp, CrlError> {
    let value = fields.next()?;
    // The element is whole, so nothing follows it.
    let (_, time) = ASN1Time::from_der(value.encoded).map_err(|_| CrlError::Date)?;
    u64::try_from(time.timestamp()).map(Timestamp::from_unix_seconds).map_err(|_| CrlError::Date)
}

/// Where `part` lies in `whole`, of which it is a part.
fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start + part.len()
}

fn slice<'a>(der: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    der.get(range.clone()).unwrap_or_default()
}
