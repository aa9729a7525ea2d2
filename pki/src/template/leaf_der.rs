//! The to-be-signed bytes of a leaf, written out (RFC 5280 section 4.1).
//!
//! Leaves are all alike and are made by the thousand in a second, and the general encoder, which makes every other certificate, parses
//! the issuer's anew for each. What is written here is what that encoder would write, byte for byte (`tests`), but for the issuer's
//! name, which is copied as it stands. The lints read it like anything else.

use std::net::IpAddr;

use time::OffsetDateTime;

use super::{KEY_IDENTIFIER_BYTES, LeafRequest, date};
use crate::der::{self, BOOLEAN, CONTEXT_0, CONTEXT_3, INTEGER, OCTET_STRING, SEQUENCE};
use crate::{Certificate, EncodingError, Timestamp, sha256};

/// Room for a leaf with an RSA key; one for more grows.
const USUAL_BYTES: usize = 1024;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]` of an AuthorityKeyIdentifier; `[6]`, `[2]` and `[7]` of a GeneralName: primitive, implicit.
const KEY_IDENTIFIER: u8 = 0x80;
const URI: u8 = 0x86;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Whole encodings of what is the same in each leaf.
const VERSION_3: &[u8] = &[INTEGER, 1, 2];
const EMPTY_NAME: &[u8] = &[SEQUENCE, 0];
const CRITICAL: &[u8] = &[BOOLEAN, 1, 0xff];
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];
/// serverAuth and clientAuth, 1.3.6.1.5.5.7.3.1 and .2.
const TLS_PURPOSES: &[u8] = &[SEQUENCE, 20, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
/// cA is FALSE, which DER leaves out.
const NO_CA: &[u8] = &[SEQUENCE, 0];

/// The last byte of an extension's identifier: all are below `id-ce`, 2.5.29.
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const SUBJECT_ALT_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_ID: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;

/// Encodes the `TBSCertificate` of a leaf that is valid from `not_before` to `not_after` under `issuer`.
///
/// # Errors
/// [`EncodingError`] when the issuer has no key identifier, or a date cannot be written.
pub(super) fn to_be_signed(
    request: &LeafRequest<'_>,
    not_before: Timestamp,
    not_after: Timestamp,
    issuer: &Certificate,
) -> Result<Vec<u8>, EncodingError> {
    let issuer_key_id =
        issuer.subject_key_id().ok_or_else(|| EncodingError::new("the issuer's certificate has no subjectKeyIdentifier"))?;
    let validity = [date(not_before)?, date(not_after)?];
    let digest = sha256(request.public_key.spki_der());
    let (subject_key_id, _) = digest.split_at(KEY_IDENTIFIER_BYTES);
    let mut out = Vec::with_capacity(USUAL_BYTES);
    der::nest(&mut out, SEQUENCE, |out| {
        der::nest(out, CONTEXT_0, |out| out.extend_from_slice(VERSION_3));
        der::nest(out, INTEGER, |out| {
            let serial = request.serial.as_bytes();
            // The number is positive.
            if serial.first().is_some_and(|first| *first >= 0x80) {
                out.push(0);
            }
            out.extend_from_slice(serial);
        });
        let algorithm = issuer.public_key().algorithm().signature_identifier();
        der::nest(out, SEQUENCE, |out| out.extend_from_slice(algorithm.as_ref()));
        out.extend_from_slice(issuer.subject_der());
        der::nest(out, SEQUENCE, |out| validity.iter().for_each(|time| write_time(out, *time)));
        out.extend_from_slice(EMPTY_NAME);
        out.extend_from_slice(request.public_key.spki_der());
        der::nest(out, CONTEXT_3, |out| {
            der::nest(out, SEQUENCE, |out| {
                extension(out, AUTHORITY_KEY_ID, &[], |out| {
                    der::nest(out, SEQUENCE, |out| {
                        der::nest(out, KEY_IDENTIFIER, |out| out.extend_from_slice(issuer_key_id));
                    });
                });
                // Critical, since the subject is empty (RFC 5280 section 4.1.2.6); a lint checks that it is.
                extension(out, SUBJECT_ALT_NAME, CRITICAL, |out| write_names(out, request));
                extension(out, KEY_USAGE, CRITICAL, |out| out.extend_from_slice(DIGITAL_SIGNATURE));
                extension(out, EXTENDED_KEY_USAGE, &[], |out| out.extend_from_slice(TLS_PURPOSES));
                extension(out, SUBJECT_KEY_ID, &[], |out| {
                    der::nest(out, OCTET_STRING, |out| out.extend_from_slice(subject_key_id));
                });
                extension(out, BASIC_CONSTRAINTS, CRITICAL, |out| out.extend_from_slice(NO_CA));
            });
        });
    });
    Ok(out)
}

fn write_names(out: &mut Vec<u8>, request: &LeafRequest<'_>) {
    der::nest(out, SEQUENCE, |out| {
        der::nest(out, URI, |out| out.extend_from_slice(request.id.as_str().as_bytes()));
        for name in request.dns_names {
            der::nest(out, DNS_NAME, |out| out.extend_from_slice(name.as_str().as_bytes()));
        }
        for address in request.ip_addresses {
            der::nest(out, IP_ADDRESS, |out| match address {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
            });
        }
    });
}

/// Writes an extension below `id-ce`; `critical` is the encoded flag, or nothing.
pub(crate) fn extension(out: &mut Vec<u8>, id: u8, critical: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
    der::nest(out, SEQUENCE, |out| {
        out.extend_from_slice(&[der::OBJECT_IDENTIFIER, 3, 0x55, 0x1d, id]);
        out.extend_from_slice(critical);
        der::nest(out, OCTET_STRING, value);
    });
}

/// UTCTime through 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5). A [`Timestamp`] is not before 1970.
pub(crate) fn write_time(out: &mut Vec<u8>, time: OffsetDateTime) {
    let year = time.year().unsigned_abs();
    let (tag, century) = if year < 2050 { (UTC_TIME, None) } else { (GENERALIZED_TIME, Some(year / 100)) };
    let parts = [
        year % 100,
        u32::from(u8::from(time.month())),
        u32::from(time.day()),
        u32::from(time.hour()),
        u32::from(time.minute()),
        u32::from(time.second()),
    ];
    der::nest(out, tag, |out| {
        for part in century.into_iter().chain(parts) {
            out.extend([part / 10 % 10, part % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)));
        }
        out.push(b'Z');
    });
}
