//! Making JWT-SVIDs: first the bytes to sign, which can be recorded, then the signature over exactly these.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use identity::SpiffeId;
use serde_json::json;

use super::audience::{Audience, AudienceSet};
use super::claims::{Claims, check_header};
use super::compact::{Compact, MAX_TOKEN_BYTES};
use super::error::JwtError;
use super::key::{JwtAuthority, JwtKey, KeyId};
use super::svid::JwtSvid;
use crate::{KeyError, Sha256Digest, Signer, Timestamp, sha256};

/// The longest life of a JWT-SVID: nothing takes one back.
pub const MAX_JWT_TTL: Duration = Duration::from_secs(3600);

/// Why no JWT-SVID is made.
#[derive(Debug, thiserror::Error)]
pub enum JwtMintError {
    /// The life is under a second or over [`MAX_JWT_TTL`].
    #[error("a JWT-SVID lives 1 s to {} s, asked for were {found:?}", MAX_JWT_TTL.as_secs())]
    Ttl {
        /// The life asked for.
        found: Duration,
    },
    /// The ID is the trust domain's own.
    #[error("{id} names no workload: it has no path")]
    NoPath {
        /// The ID.
        id: SpiffeId,
    },
    /// ID and audiences make a token that nobody would read.
    #[error("the token would have over {MAX_TOKEN_BYTES} bytes: ask for fewer or shorter audiences")]
    TooLong,
    /// Prepared for another key.
    #[error("the signing key is {found}, the token was prepared for {expected}")]
    WrongKey {
        /// The key at hand.
        found: KeyId,
        /// The key that the token names.
        expected: KeyId,
    },
    /// The key did not sign.
    #[error("the JWT key did not sign: {0}")]
    Key(#[from] KeyError),
    /// What was signed does not hold: a bug, or a broken key.
    #[error("the signed token does not hold: {0}")]
    Unsound(#[from] JwtError),
    /// What was signed is not what was prepared: a bug or an attack.
    #[error("the signed token differs from the one that was prepared")]
    Altered,
}

/// A JWT-SVID that nobody has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedJwtSvid {
    authority: JwtAuthority,
    id: SpiffeId,
    audiences: AudienceSet,
    issued_at: Timestamp,
    expires_at: Timestamp,
    signing_input: String,
}

/// Prepares a JWT-SVID (JWT-SVID sections 2 and 3) to be signed by the key of `authority`: the header has `alg`, `kid` and `typ`, the claims are `aud`
/// (a list), `exp`, `iat` and `sub`. A `ttl` is counted in whole seconds.
///
/// # Errors
/// [`JwtMintError::Ttl`], [`JwtMintError::NoPath`], [`JwtMintError::TooLong`].
pub fn prepare_jwt_svid(
    authority: &JwtAuthority,
    id: &SpiffeId,
    audiences: &AudienceSet,
    ttl: Duration,
    now: Timestamp,
) -> Result<UnsignedJwtSvid, JwtMintError> {
    if ttl < Duration::from_secs(1) || ttl > MAX_JWT_TTL {
        return Err(JwtMintError::Ttl { found: ttl });
    }
    if id.path().is_empty() {
        return Err(JwtMintError::NoPath { id: id.clone() });
    }
    let expires_at = now.plus(ttl);
    let header = json!({ "alg": "ES256", "kid": authority.key_id().as_str(), "typ": "JWT" });
    let claims = json!({
        "aud": audiences.iter().map(Audience::as_str).collect::<Vec<_>>(),
        "exp": expires_at.unix_seconds(),
        "iat": now.unix_seconds(),
        "sub": id.as_str(),
    });
    let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let signing_input = format!("{header}.{claims}");
    // A dot and 64 bytes in base64.
    if signing_input.len() + 87 > MAX_TOKEN_BYTES {
        return Err(JwtMintError::TooLong);
    }
    Ok(UnsignedJwtSvid {
        authority: authority.clone(),
        id: id.clone(),
        audiences: audiences.clone(),
        issued_at: now,
        expires_at,
        signing_input,
    })
}

impl UnsignedJwtSvid {
    /// The key that must sign.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.authority.key_id()
    }

    /// Whom it will name.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Whom it will be for.
    #[must_use]
    pub fn audiences(&self) -> &AudienceSet {
        &self.audiences
    }

    /// When it is issued.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When it ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// SHA-256 of the bytes to sign (RFC 7515 section 5.1): names the token without being of use to whoever reads it.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        sha256(self.signing_input.as_bytes())
    }

    /// Signs, then reads the token back: its signature must verify under the authority that it was prepared for, and its claims
    /// must be the ones prepared.
    ///
    /// # Errors
    /// [`JwtMintError`]: another key, a key that does not sign, or a token that does not hold.
    pub fn sign(&self, key: &JwtKey) -> Result<JwtSvid, JwtMintError> {
        self.check_key(key.authority())?;
        self.assemble(&key.sign(self.signing_input.as_bytes())?)
    }

    /// The same with a key that may lie in a device.
    ///
    /// # Errors
    /// [`JwtMintError`], as [`Self::sign`].
    pub async fn sign_by<K: Signer>(&self, key: &JwtKey<K>) -> Result<JwtSvid, JwtMintError> {
        self.check_key(key.authority())?;
        self.assemble(&key.signature(self.signing_input.as_bytes()).await?)
    }

    fn check_key(&self, key: &JwtAuthority) -> Result<(), JwtMintError> {
        if *key == self.authority {
            Ok(())
        } else {
            Err(JwtMintError::WrongKey { found: key.key_id().clone(), expected: self.key_id().clone() })
        }
    }

    fn assemble(&self, signature: &[u8]) -> Result<JwtSvid, JwtMintError> {
        let token = zeroize::Zeroizing::new(format!("{}.{}", self.signing_input, BASE64URL_NOPAD.encode(signature)));
        let compact = Compact::parse(&token)?;
        check_header(&compact)?;
        compact.verify(std::slice::from_ref(&self.authority))?;
        let claims = Claims::read(&compact)?;
        let prepared = claims.id == self.id
            && claims.audiences == self.audiences
            && claims.expires_at == self.expires_at
            && claims.issued_at == Some(self.issued_at)
            && claims.all.len() == 4;
        if prepared { Ok(JwtSvid::of(&token, claims, self.issued_at)) } else { Err(JwtMintError::Altered) }
    }
}
