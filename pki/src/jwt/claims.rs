//! What a JWT-SVID says: its header (JWT-SVID section 2) and its claims (section 3).

use identity::SpiffeId;
use serde_json::{Map, Value};

use super::audience::{Audience, AudienceError, AudienceSet};
use super::compact::Compact;
use super::error::JwtError;
use crate::Timestamp;

/// The claims of a JWT-SVID, each of the right form. Whether they are proven is the caller's to know.
pub(super) struct Claims {
    pub(super) id: SpiffeId,
    pub(super) audiences: AudienceSet,
    pub(super) expires_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) issued_at: Option<Timestamp>,
    pub(super) all: Map<String, Value>,
}

/// No header parameter but `alg`, `kid` and `typ`; `typ`, if it is there, is `JWT` or `JOSE`.
pub(super) fn check_header(token: &Compact<'_>) -> Result<(), JwtError> {
    if let Some(name) = token.header().keys().find(|name| !matches!(name.as_str(), "alg" | "kid" | "typ")) {
        return Err(JwtError::HeaderParameter { name: name.chars().take(64).collect() });
    }
    match token.header().get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if matches!(typ.as_str(), "JWT" | "JOSE") => Ok(()),
        Some(_) => Err(JwtError::Type),
    }
}

impl Claims {
    pub(super) fn read(token: &Compact<'_>) -> Result<Self, JwtError> {
        let all = token.claims()?;
        let id = match all.get("sub") {
            None => return Err(JwtError::ClaimMissing { name: "sub" }),
            Some(Value::String(sub)) => SpiffeId::parse(sub)?,
            Some(_) => return Err(JwtError::Claim { name: "sub", expected: "text" }),
        };
        if id.path().is_empty() {
            return Err(JwtError::SubjectWithoutPath { id });
        }
        let audiences = audiences(all.get("aud"))?;
        let expires_at = numeric_date(&all, "exp")?.ok_or(JwtError::ClaimMissing { name: "exp" })?;
        let (not_before, issued_at) = (numeric_date(&all, "nbf")?, numeric_date(&all, "iat")?);
        Ok(Self { id, audiences, expires_at, not_before, issued_at, all })
    }
}

/// `aud`: a text or a list of texts, not empty (JWT-SVID section 3.2).
fn audiences(aud: Option<&Value>) -> Result<AudienceSet, JwtError> {
    const NO_LIST: JwtError = JwtError::Claim { name: "aud", expected: "text or a list of texts" };
    let texts = match aud {
        None => return Err(JwtError::ClaimMissing { name: "aud" }),
        Some(Value::String(one)) => return Ok(AudienceSet::new([Audience::parse(one)?])?),
        Some(Value::Array(many)) => many,
        Some(_) => return Err(NO_LIST),
    };
    let texts = texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>().ok_or(NO_LIST)?;
    if texts.is_empty() {
        return Err(AudienceError::Count { found: 0 }.into());
    }
    Ok(AudienceSet::parse(&texts)?)
}

/// A time among claims, in whole seconds since 1970 up to the year 9999; `None` when it is not there. RFC 7519 would allow
/// fractions; nobody who issues tokens for machines needs one, and rounding one is a choice that readers make differently.
///
/// # Errors
/// [`JwtError::Claim`] for anything else under that name.
pub fn numeric_date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, JwtError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = value.as_u64().filter(|seconds| Timestamp::from_unix_seconds(*seconds).unix_seconds() == *seconds);
    match time {
        Some(seconds) => Ok(Some(Timestamp::from_unix_seconds(seconds))),
        None => Err(JwtError::Claim { name, expected: "a time in whole seconds since 1970" }),
    }
}
