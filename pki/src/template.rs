//! From (profile, admitted identity, key) to the to-be-signed bytes of a leaf. The CA key cannot be reached from here.
//!
//! Every field is set here and none is left to the encoder's defaults: X509-SVID section 4 and 5, RFC 5280 sections 4.1 and 4.2.

mod leaf_der;

use std::net::IpAddr;
use std::time::Duration;

use identity::{DnsName, SpiffeId};
use rcgen::{CertificateParams, DistinguishedName, KeyIdMethod};
use time::OffsetDateTime;

pub(crate) use leaf_der::{extension as write_extension, write_time};

use crate::profile::{LEAF_BACKDATE, LEAST_TTL};
use crate::{Certificate, EncodingError, LeafProfile, PublicKey, SerialNumber, Timestamp, Unsigned, sha256};

/// Bytes of a key identifier made here: RFC 7093 section 2, method 4, cut to the 160 bits that every verifier stores.
const KEY_IDENTIFIER_BYTES: usize = 20;

/// What a leaf shall say.
#[derive(Clone, Debug)]
pub struct LeafRequest<'a> {
    /// The one URI SAN.
    pub id: &'a SpiffeId,
    /// The dNSName SANs, in this order.
    pub dns_names: &'a [DnsName],
    /// The iPAddress SANs, in this order.
    pub ip_addresses: &'a [IpAddr],
    /// The subject's key.
    pub public_key: &'a PublicKey,
    /// The life asked for, in whole seconds; `None` for the profile's default.
    pub ttl: Option<Duration>,
    /// The serial number.
    pub serial: SerialNumber,
    /// The time of issuance.
    pub now: Timestamp,
}

/// Why no leaf can be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The requester asks for more than the profile allows. It is refused, not cut, so that nobody counts on what was not given.
    #[error("the TTL asked for, {asked:?}, is above the maximum, {max:?}; ask for at most the maximum")]
    TtlAboveMax {
        /// The life asked for.
        asked: Duration,
        /// The profile's maximum.
        max: Duration,
    },
    /// The requester asks for less than any leaf may live.
    #[error("the TTL asked for, {asked:?}, is below the shortest, {least:?}")]
    TtlTooShort {
        /// The life asked for.
        asked: Duration,
        /// The shortest life of a leaf.
        least: Duration,
    },
    /// The issuer ends so soon that a leaf cut to its end is not worth having.
    #[error(
        "the issuing CA ends at {issuer_not_after}, so a leaf made at {now} would live less than {min_ttl:?} instead of until \
         {wanted_not_after}; make a new issuing CA with `signet ca issuer renew`, or replace the files of one that is plugged in"
    )]
    IssuerEndsTooSoon {
        /// The issuer's last second.
        issuer_not_after: Timestamp,
        /// The last second that the leaf would have had.
        wanted_not_after: Timestamp,
        /// The time of issuance.
        now: Timestamp,
        /// The profile's floor.
        min_ttl: Duration,
    },
    /// The issuer's validity begins later: this clock or its certificate is wrong.
    #[error("the issuing CA is valid only from {issuer_not_before} on; now is {now}: check this machine's clock")]
    IssuerNotYetValid {
        /// The issuer's first second.
        issuer_not_before: Timestamp,
        /// The time of issuance.
        now: Timestamp,
    },
    /// The encoder failed.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

/// Encodes a leaf under `issuer`, whose name and key identifier are taken from its DER.
///
/// Validity, in whole seconds and both ends included: from the later of `now` - 60 s and the issuer's beginning, to the earlier of
/// `now` + TTL - 1 s and the issuer's end.
///
/// # Errors
/// [`TemplateError`]: a TTL outside the bounds, an issuer that is not valid long enough, or a failing encoder.
pub fn prepare_leaf(profile: &LeafProfile, request: &LeafRequest<'_>, issuer: &Certificate) -> Result<Unsigned, TemplateError> {
    let (not_before, not_after) = leaf_validity(profile, request.ttl, request.now, issuer.not_before(), issuer.not_after())?;
    let tbs = leaf_der::to_be_signed(request, not_before, not_after, issuer)?;
    Ok(Unsigned::of_leaf(&tbs, request.public_key, issuer)?)
}

/// Whether a leaf of the default TTL, uncut, can be made at `now` under an issuer valid from `not_before` to `not_after`.
#[must_use]
pub fn covers_default_ttl(profile: &LeafProfile, now: Timestamp, issuer: &Certificate) -> bool {
    issuer.not_before() <= now && last_second(now, profile.default_ttl()) <= issuer.not_after()
}

/// First and last second of a leaf, both included.
fn leaf_validity(
    profile: &LeafProfile,
    ttl: Option<Duration>,
    now: Timestamp,
    issuer_not_before: Timestamp,
    issuer_not_after: Timestamp,
) -> Result<(Timestamp, Timestamp), TemplateError> {
    let ttl = ttl.unwrap_or(profile.default_ttl());
    if ttl > profile.max_ttl() {
        return Err(TemplateError::TtlAboveMax { asked: ttl, max: profile.max_ttl() });
    }
    if ttl < LEAST_TTL {
        return Err(TemplateError::TtlTooShort { asked: ttl, least: LEAST_TTL });
    }
    if now < issuer_not_before {
        return Err(TemplateError::IssuerNotYetValid { issuer_not_before, now });
    }
    let wanted_not_after = last_second(now, ttl);
    // Only a leaf that the issuer's end cuts is measured against the floor: a short one that fits is what was asked for.
    if issuer_not_after < wanted_not_after && issuer_not_after < last_second(now, profile.min_ttl()) {
        let min_ttl = profile.min_ttl();
        return Err(TemplateError::IssuerEndsTooSoon { issuer_not_after, wanted_not_after, now, min_ttl });
    }
    Ok((now.minus(LEAF_BACKDATE).max(issuer_not_before), wanted_not_after.min(issuer_not_after)))
}

/// The last second of a life that begins with `now`: notAfter is included (RFC 5280 section 4.1.2.5).
fn last_second(now: Timestamp, ttl: Duration) -> Timestamp {
    now.plus(ttl).minus(Duration::from_secs(1))
}

/// Parameters with serial, validity, key identifiers and an empty subject, and without everything that a leaf and a CA differ in.
pub(crate) fn blank_params(
    serial: &SerialNumber,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: &PublicKey,
) -> Result<CertificateParams, EncodingError> {
    let key_identifier = sha256(public_key.spki_der()).into_iter().take(KEY_IDENTIFIER_BYTES).collect();
    let mut params = CertificateParams::default();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier);
    params.name_constraints = None;
    params.crl_distribution_points = Vec::new();
    params.custom_extensions = Vec::new();
    Ok(params)
}

/// A time as the encoder takes it.
pub(crate) fn date(time: Timestamp) -> Result<OffsetDateTime, EncodingError> {
    let seconds = i64::try_from(time.unix_seconds()).map_err(EncodingError::new)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(EncodingError::new)
}

#[cfg(test)]
mod tests;
