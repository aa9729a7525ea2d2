//! JWT-SVIDs as their holders keep them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use identity::SpiffeId;
use zeroize::Zeroizing;

use super::audience::AudienceSet;
use super::claims::{Claims, check_header};
use super::compact::Compact;
use super::error::JwtError;
use crate::{Sha256Digest, Timestamp, TrustBundle};

/// A JWT-SVID. Whoever has the token is the workload to every audience, so `Debug` does not show it, and it is wiped when the
/// last clone is dropped. `Clone` is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtSvid {
    id: SpiffeId,
    audiences: AudienceSet,
    token: Arc<Zeroizing<String>>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl JwtSvid {
    /// Reads a token's header and claims by the rules of [`super::validate_jwt_svid`], without its signature and its times: for a
    /// token that its holder got from its own CA. `issued_at` is the issuer's word for when half life begins to count.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn parse(token: &str, issued_at: Timestamp) -> Result<Self, JwtError> {
        let compact = Compact::parse(token)?;
        check_header(&compact)?;
        Ok(Self::of(token, Claims::read(&compact)?, issued_at))
    }

    pub(super) fn of(token: &str, claims: Claims, issued_at: Timestamp) -> Self {
        let Claims { id, audiences, expires_at, not_before: _, issued_at: _, all: _ } = claims;
        Self { id, audiences, token: Arc::new(Zeroizing::new(token.to_owned())), issued_at, expires_at }
    }

    /// Whom it names: its `sub`.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Whom it is for: its `aud`.
    #[must_use]
    pub fn audiences(&self) -> &AudienceSet {
        &self.audiences
    }

    /// The token, in compact serialization: a secret.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether the key that signed it is one of these, each the SHA-256 of a SubjectPublicKeyInfo. Which key that is the bundle says, by
    /// the token's `kid`. A key that cannot be told may be any: then it is one of these, when there are some.
    #[must_use]
    pub fn rests_on(&self, keys: &BTreeSet<Sha256Digest>, bundle: &TrustBundle) -> bool {
        if keys.is_empty() {
            return false;
        }
        let token = Compact::parse(&self.token);
        let kid = token.as_ref().ok().and_then(Compact::kid);
        let signer = kid.and_then(|kid| bundle.jwt_authorities().iter().find(|authority| authority.key_id() == kid));
        signer.is_none_or(|authority| keys.contains(&authority.public_key().fingerprint()))
    }

    /// When it was issued.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The first second in which it is no longer valid: its `exp`.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, audiences, token: _, issued_at, expires_at } = self;
        write!(f, "JwtSvid({id}, for {audiences}, {issued_at} to {expires_at})")
    }
}
