//! From what is revoked to the to-be-signed bytes of a list, read back before the CA's key is used, and signed.

use time::OffsetDateTime;

use super::read::Facts;
use super::{CrlNumber, CrlTemplateError, RevocationReason};
use crate::der::{self, CONTEXT_0, INTEGER, SEQUENCE};
use crate::template::{date, write_extension, write_time};
use crate::unsigned::{dummy_signature, put_together};
use crate::{Certificate, EncodingError, PrivateKey, PublicKey, SerialNumber, Signer, SigningError, Timestamp};

const VERSION_2: &[u8] = &[INTEGER, 1, 1];
const ENUMERATED: u8 = 0x0a;
/// `[0]` of an AuthorityKeyIdentifier: primitive, implicit.
const KEY_IDENTIFIER: u8 = 0x80;

/// The last byte of an extension's identifier: all are below `id-ce`, 2.5.29.
const CRL_NUMBER: u8 = 20;
const REASON_CODE: u8 = 21;
const AUTHORITY_KEY_ID: u8 = 35;

/// Room for an entry with a serial of this system and a reason, in bytes.
const ENTRY_BYTES: usize = 56;

/// A certificate on a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevokedSerial {
    /// Which.
    pub serial: SerialNumber,
    /// Since when.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// What a list shall say.
#[derive(Clone, Debug)]
pub struct CrlTemplate<'a> {
    /// The CA that signs it.
    pub issuer: &'a Certificate,
    /// Above that of each list of this CA before.
    pub number: CrlNumber,
    /// From when on it holds.
    pub this_update: Timestamp,
    /// When it is stale; after `this_update`.
    pub next_update: Timestamp,
    /// The certificates, in this order.
    pub entries: &'a [RevokedSerial],
}

/// Whether a CA's key may sign lists: it is a CA, its keyUsage has cRLSign (RFC 5280 section 4.2.1.3), and it has the key identifier that
/// its lists must name (section 5.2.1).
#[must_use]
pub fn may_sign_lists(issuer: &Certificate) -> bool {
    issuer.is_ca() && issuer.key_usage().is_some_and(|usage| usage.crl_sign()) && issuer.subject_key_id().is_some()
}

/// A list that nobody has signed, and that reads back as what it shall say.
#[derive(Clone, Debug)]
pub struct UnsignedCrl {
    tbs_der: Vec<u8>,
    issuer: Certificate,
}

/// Encodes a list, and reads it as every verifier does before anything is signed: number, dates, issuer and serials must be those of the
/// template.
///
/// # Errors
/// [`CrlTemplateError`]: an issuer that may not sign lists, dates in the wrong order or not to be written, or too many entries.
pub fn prepare_crl(template: &CrlTemplate<'_>) -> Result<UnsignedCrl, CrlTemplateError> {
    let issuer = template.issuer;
    let may_not = || CrlTemplateError::MayNotSignLists { issuer: issuer.subject() };
    let key_id = issuer.subject_key_id().filter(|_| may_sign_lists(issuer)).ok_or_else(may_not)?;
    let tbs_der = to_be_signed(template, key_id)?;

    let whole = put_together(&tbs_der, issuer.public_key(), &dummy_signature(issuer.public_key().algorithm()));
    let facts = Facts::read(&whole)?;
    let mut serials: Vec<_> = template.entries.iter().map(|entry| entry.serial.clone()).collect();
    serials.sort_unstable();
    for (holds, what) in [
        (facts.number == template.number, "the number"),
        (facts.this_update == template.this_update && facts.next_update == template.next_update, "a date"),
        (facts.issuer(&whole) == issuer.subject_der() && facts.authority_key_id == key_id, "the issuer"),
        (facts.serials == serials, "the list of serials"),
        (facts.tbs(&whole) == tbs_der, "what is to be signed"),
    ] {
        if !holds {
            return Err(CrlTemplateError::Differs(what));
        }
    }
    Ok(UnsignedCrl { tbs_der, issuer: issuer.clone() })
}

impl UnsignedCrl {
    /// The CA whose key must sign.
    #[must_use]
    pub fn issuer(&self) -> &Certificate {
        &self.issuer
    }

    /// The bytes to sign: a whole `TBSCertList`.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// Signs exactly what was read back, verifies the signature, and gives the whole list.
    ///
    /// # Errors
    /// [`SigningError`]: a key that is not the issuer's, one that fails, or one whose signature does not verify.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, SigningError> {
        self.check_key(key.public_key())?;
        self.assemble(&key.sign(&self.tbs_der)?)
    }

    /// The same with a key that may lie in a device.
    ///
    /// # Errors
    /// [`SigningError`], as [`Self::sign`].
    pub async fn sign_by(&self, signer: &dyn Signer) -> Result<Vec<u8>, SigningError> {
        self.check_key(signer.public_key())?;
        self.assemble(&signer.signing(&self.tbs_der).made().await?)
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), SigningError> {
        if key == self.issuer.public_key() { Ok(()) } else { Err(SigningError::WrongKey) }
    }

    fn assemble(&self, signature: &[u8]) -> Result<Vec<u8>, SigningError> {
        let issuer_key = self.issuer.public_key();
        issuer_key.verify(&self.tbs_der, signature).map_err(|_| SigningError::Altered)?;
        Ok(put_together(&self.tbs_der, issuer_key, signature))
    }
}

fn to_be_signed(template: &CrlTemplate<'_>, key_id: &[u8]) -> Result<Vec<u8>, EncodingError> {
    let updates = [date(template.this_update)?, date(template.next_update)?];
    let entries: Vec<(&RevokedSerial, OffsetDateTime)> =
        template.entries.iter().map(|entry| Ok((entry, date(entry.revoked_at)?))).collect::<Result<_, EncodingError>>()?;
    let mut list = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (entry, revoked_at) in entries {
        write_entry(&mut list, entry, revoked_at);
    }
    let mut out = Vec::with_capacity(list.len() + 512);
    der::nest(&mut out, SEQUENCE, |out| {
        out.extend_from_slice(VERSION_2);
        let algorithm = template.issuer.public_key().algorithm().signature_identifier();
        der::nest(out, SEQUENCE, |out| out.extend_from_slice(algorithm.as_ref()));
        out.extend_from_slice(template.issuer.subject_der());
        updates.iter().for_each(|time| write_time(out, *time));
        // Absent when there is none (RFC 5280 section 5.1.2.6).
        if !list.is_empty() {
            der::nest(out, SEQUENCE, |out| out.extend_from_slice(&list));
        }
        der::nest(out, CONTEXT_0, |out| {
            der::nest(out, SEQUENCE, |out| {
                write_extension(out, AUTHORITY_KEY_ID, &[], |out| {
                    der::nest(out, SEQUENCE, |out| der::nest(out, KEY_IDENTIFIER, |out| out.extend_from_slice(key_id)));
                });
                write_extension(out, CRL_NUMBER, &[], |out| {
                    der::nest(out, INTEGER, |out| out.extend_from_slice(&template.number.to_der_content()));
                });
            });
        });
    });
    Ok(out)
}

fn write_entry(out: &mut Vec<u8>, entry: &RevokedSerial, revoked_at: OffsetDateTime) {
    der::nest(out, SEQUENCE, |out| {
        der::nest(out, INTEGER, |out| {
            let serial = entry.serial.as_bytes();
            // The number is positive.
            if serial.first().is_some_and(|first| *first >= 0x80) {
                out.push(0);
            }
            out.extend_from_slice(serial);
        });
        write_time(out, revoked_at);
        // "unspecified" should be left out (RFC 5280 section 5.3.1).
        if entry.reason != RevocationReason::Unspecified {
            der::nest(out, SEQUENCE, |out| {
                write_extension(out, REASON_CODE, &[], |out| {
                    der::nest(out, ENUMERATED, |out| out.push(entry.reason.code()));
                });
            });
        }
    });
}
