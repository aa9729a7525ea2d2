//! Validating JWT-SVIDs: JWT-SVID section 5.

use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use serde_json::{Map, Value};

use super::audience::{Audience, AudienceSet};
use super::claims::{Claims, check_header};
use super::compact::Compact;
use super::error::JwtError;
use super::svid::JwtSvid;
use crate::{Timestamp, TrustBundle};

/// How far `nbf` and `iat` may lie ahead: the clocks of two machines differ, and a token is often shown within a second of its
/// birth. `exp` has no such room: a clock that runs ahead costs a little life, and nothing lives on past its end.
pub const JWT_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Proof that a JWT-SVID was validated; nobody else can make one.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a validated token says who its bearer is"]
pub struct ValidatedJwtSvid {
    id: SpiffeId,
    audiences: AudienceSet,
    expires_at: Timestamp,
    claims: Map<String, Value>,
}

impl ValidatedJwtSvid {
    /// Who its bearer is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Whom it is for.
    #[must_use]
    pub fn audiences(&self) -> &AudienceSet {
        &self.audiences
    }

    /// When it ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// All of its claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Validates a JWT-SVID for one audience against the JWT authorities of a trust domain at `now`.
///
/// Compact serialization of at most 16 KiB; no header parameter but `alg`, `kid` and `typ`; a signature by the authority that `kid`
/// names (without one, by the only authority that fits), of an algorithm that this key has; a `sub` of the bundle's trust domain with
/// a path; the audience among `aud`; `exp` ahead; `nbf` and `iat`, where they are there, not more than [`JWT_CLOCK_SKEW`] ahead.
/// Nothing is fetched, and the claims are not read before the signature has verified.
///
/// # Errors
/// [`JwtError`], one variant per refusal.
pub fn validate_jwt_svid(
    token: &str,
    audience: &Audience,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<ValidatedJwtSvid, JwtError> {
    let claims = check(token, bundle, now)?;
    if !claims.audiences.contains(audience) {
        return Err(JwtError::OtherAudience { found: claims.audiences, expected: audience.clone() });
    }
    let Claims { id, audiences, expires_at, not_before: _, issued_at: _, all } = claims;
    Ok(ValidatedJwtSvid { id, audiences, expires_at, claims: all })
}

/// The trust domain that a token claims to be of, by its `sub`. Nothing of it is proven: it says under whose bundle to validate the token,
/// and [`validate_jwt_svid`] holds the verified `sub` against that bundle again.
///
/// # Errors
/// [`JwtError`] when it is no token, or has no `sub` that is a SPIFFE ID.
pub fn claimed_trust_domain(token: &str) -> Result<TrustDomain, JwtError> {
    Ok(Claims::read(&Compact::parse(token)?)?.id.trust_domain().clone())
}

impl JwtSvid {
    /// A token as a CA answered it, validated as [`validate_jwt_svid`] does, for whatever audiences it names. `issued_at` is the
    /// CA's word for when half life begins to count.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn validated(token: &str, issued_at: Timestamp, bundle: &TrustBundle, now: Timestamp) -> Result<Self, JwtError> {
        Ok(Self::of(token, check(token, bundle, now)?, issued_at))
    }
}

fn check(token: &str, bundle: &TrustBundle, now: Timestamp) -> Result<Claims, JwtError> {
    let token = Compact::parse(token)?;
    check_header(&token)?;
    token.verify(bundle.jwt_authorities())?;
    let claims = Claims::read(&token)?;
    if claims.id.trust_domain() != bundle.trust_domain() {
        let found = claims.id.trust_domain().clone();
        return Err(JwtError::OtherTrustDomain { found, expected: bundle.trust_domain().clone() });
    }
    if claims.expires_at <= now {
        return Err(JwtError::Expired { expired_at: claims.expires_at, now });
    }
    for (name, time) in [("nbf", claims.not_before), ("iat", claims.issued_at)] {
        if let Some(from) = time.filter(|from| *from > now.plus(JWT_CLOCK_SKEW)) {
            return Err(JwtError::NotYetValid { name, from, now });
        }
    }
    Ok(claims)
}
