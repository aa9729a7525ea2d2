//! JWT-SVIDs (SPIFFE JWT-SVID) and the tokens of OIDC issuers: JOSE as far as these need it, and no further.
//!
//! A token is taken apart once, strictly (`compact`, `json`); the key decides which algorithm verifies it; only then are its
//! claims read. There is no way to turn a check off, no algorithm that is not on the list, and nothing that could fetch a key.

mod algorithm;
mod audience;
mod claims;
mod compact;
mod error;
pub(crate) mod json;
mod jwk;
mod key;
mod keys;
mod mint;
mod svid;
#[cfg(test)]
mod tests;
mod validate;

pub use algorithm::JwsAlgorithm;
pub use audience::{Audience, AudienceError, AudienceSet, MAX_AUDIENCE_BYTES, MAX_AUDIENCES};
pub use claims::numeric_date;
pub use compact::MAX_TOKEN_BYTES;
pub use error::JwtError;
pub use json::JsonFault;
pub use jwk::JwkFault;
pub(crate) use jwk::{members_of, public_key as jwk_public_key, text as jwk_text};
pub use key::{JwtAuthority, JwtKey, JwtKeyError, KeyId, KeyIdError, MAX_KEY_ID_BYTES};
pub(crate) use keys::document as jwks_document;
pub use keys::{JsonWebKeys, JwksError, MAX_JWKS_BYTES, MAX_JWKS_KEYS, SkippedKey, VerifiedToken, verify_id_token};
pub use mint::{JwtMintError, MAX_JWT_TTL, UnsignedJwtSvid, prepare_jwt_svid};
pub use svid::JwtSvid;
pub use validate::{JWT_CLOCK_SKEW, ValidatedJwtSvid, claimed_trust_domain, validate_jwt_svid};
