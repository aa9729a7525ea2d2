//! What a token of an issuer is good for: the checks of its claims, and the identity that they prove. Pure.

use std::path::PathBuf;
use std::time::Duration;

use identity::{DnsName, SpiffeId, TrustDomain};
use mtls::https::{AddressRange, HttpsUrl};
use pki::{Timestamp, numeric_date};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::TokenRefusal;
use super::template::{DnsTemplate, IdentityTemplate, MappingError, SUBJECT, UsedClaims, excerpt};

/// How far the clock of an issuer may be off.
const SKEW: Duration = Duration::from_secs(30);
/// The longest subject (OpenID Connect Core 1.0 section 2).
const MAX_SUBJECT_BYTES: usize = 255;
/// The longest of the other claims that a mapping uses: no segment of a path or label of a name is longer.
const MAX_CLAIM_BYTES: usize = 255;

/// One `[[oidc]]` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcRule {
    /// The `iss` of its tokens, compared byte for byte.
    pub issuer: String,
    /// One of them must be in a token's `aud`. Not empty.
    pub audiences: Vec<String>,
    /// Where the issuer's keys are.
    pub keys: KeyLocation,
    /// For how long keys that cannot be looked up anew are still used.
    pub max_stale: Duration,
    /// The SPIFFE ID of who shows a token.
    pub identity: IdentityTemplate,
    /// The DNS names beside it.
    pub dns_names: Vec<DnsTemplate>,
}

/// Where a JSON Web Key Set (RFC 7517) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// A file, read again when it changes. Absolute.
    File(PathBuf),
    /// On the web.
    Https {
        /// Where.
        url: HttpsUrl,
        /// PEM file of the authorities that the server's certificate must stand under; `None`: the system's.
        roots: Option<PathBuf>,
        /// Addresses that are connected to although they are not public.
        allow_addresses: Vec<AddressRange>,
    },
}

/// Why an identity was granted: what is recorded with a certificate, so that the grant can be judged anew without the token.
///
/// [`to_json`](Self::to_json) gives equal sources equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionSource {
    /// The token's `iss`.
    pub issuer: String,
    /// The configured audiences that the token was for, in their order.
    pub audiences: Vec<String>,
    /// The subject, and the claims that the mapping used.
    pub claims: UsedClaims,
}

/// What a source is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The identity.
    pub id: SpiffeId,
    /// The DNS names beside it.
    pub dns_names: Vec<DnsName>,
}

impl AdmissionSource {
    /// As recorded: one line of JSON, at most a few kilobytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "issuer": self.issuer, "audiences": self.audiences, "claims": self.claims }).to_string()
    }

    /// Reads what was recorded.
    ///
    /// # Errors
    /// What is wrong with it: it was written by something else.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The token's `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.claims.get(SUBJECT).map_or("", String::as_str)
    }
}

impl OidcRule {
    /// Checks the claims of a token whose signature is this issuer's, and takes from them what will be recorded.
    ///
    /// # Errors
    /// [`TokenRefusal`], the first check that fails.
    pub(crate) fn source(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<AdmissionSource, TokenRefusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(TokenRefusal::Issuer);
        }
        check_times(claims, now)?;
        let audiences = self.matching_audiences(claims)?;
        Ok(AdmissionSource { issuer: self.issuer.clone(), audiences, claims: self.used_claims(claims)? })
    }

    /// What a source is granted by this rule.
    ///
    /// # Errors
    /// [`TokenRefusal`]: no audience of the source is configured any more, or the mapping gives no name.
    pub(crate) fn grant(&self, trust_domain: &TrustDomain, source: &AdmissionSource) -> Result<Grant, TokenRefusal> {
        if source.issuer != self.issuer {
            return Err(TokenRefusal::Issuer);
        }
        if !source.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(TokenRefusal::Audience { wanted: self.audiences.clone() });
        }
        let id = self.identity.id(trust_domain, &source.claims)?;
        let mut dns_names = Vec::with_capacity(self.dns_names.len());
        for template in &self.dns_names {
            let name = template.name(&source.claims)?;
            // Two templates may meet in one name, and a certificate says each once.
            if !dns_names.contains(&name) {
                dns_names.push(name);
            }
        }
        Ok(Grant { id, dns_names })
    }

    /// In the order of the configuration, so that the same token always gives the same record.
    fn matching_audiences(&self, claims: &Map<String, Value>) -> Result<Vec<String>, TokenRefusal> {
        let found: Option<Vec<&str>> = match claims.get("aud") {
            Some(Value::String(one)) => Some(vec![one]),
            Some(Value::Array(several)) => several.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let found = found.ok_or(TokenRefusal::Claim { name: "aud", expected: "a string or a list of strings" })?;
        let matching: Vec<_> = self.audiences.iter().filter(|audience| found.contains(&audience.as_str())).cloned().collect();
        if matching.is_empty() { Err(TokenRefusal::Audience { wanted: self.audiences.clone() }) } else { Ok(matching) }
    }

    fn used_claims(&self, claims: &Map<String, Value>) -> Result<UsedClaims, TokenRefusal> {
        let subject = claims.get(SUBJECT).and_then(Value::as_str);
        let subject = subject.filter(|subject| is_plain(subject, MAX_SUBJECT_BYTES));
        let subject =
            subject.ok_or(TokenRefusal::Claim { name: "sub", expected: "1 to 255 bytes of text without control characters" })?;
        let mut used = UsedClaims::from([(SUBJECT.to_owned(), subject.to_owned())]);
        let names = self.identity.claims().chain(self.dns_names.iter().flat_map(DnsTemplate::claims));
        for name in names {
            let claim = || name.to_owned();
            let value = claims.get(name).ok_or_else(|| MappingError::ClaimMissing { claim: claim() })?;
            let value = value.as_str().ok_or_else(|| MappingError::ClaimNotText { claim: claim() })?;
            if !is_plain(value, MAX_CLAIM_BYTES) {
                let wanted = "name of at most 255 bytes";
                return Err(MappingError::ClaimValue { claim: claim(), value: excerpt(value), wanted }.into());
            }
            used.insert(claim(), value.to_owned());
        }
        Ok(used)
    }
}

fn is_plain(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

/// `exp` must be there; `nbf` and `iat` count when they are (RFC 7519 section 4.1). `now` is Signet's clock, and no other is asked.
fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenRefusal> {
    let date = |name| numeric_date(claims, name).map_err(TokenRefusal::from);
    let exp = date("exp")?.ok_or(TokenRefusal::Claim { name: "exp", expected: "there" })?;
    if now >= exp.plus(SKEW) {
        return Err(TokenRefusal::Expired { expired_at: exp, now });
    }
    for name in ["nbf", "iat"] {
        if let Some(from) = date(name)?
            && now.plus(SKEW) < from
        {
            return Err(TokenRefusal::NotYetValid { name, from, now });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
