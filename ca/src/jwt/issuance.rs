//! Issuance of JWT-SVIDs, a numbered script: prepare -> record durably -> sign -> check -> answer.
//!
//! As with certificates, each step returns a value that only it can make and that the next one uses up. No I/O, clock or randomness
//! here: the script drives a [`JwtLedger`], and the time is an argument.

use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::SpiffeId;
use pki::{
    AudienceSet, JwtAuthority, JwtKey, JwtMintError, JwtSvid, KeyId, Sha256Digest, Signer, Timestamp, UnsignedJwtSvid,
    prepare_jwt_svid,
};

use crate::admission::Admitted;
use crate::issuance::LedgerError;
use crate::records::Reason;

/// What is about to be signed. No part of it is of use to whoever reads the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtIntent {
    /// Whom the token names.
    pub subject: SpiffeId,
    /// Whom it is for.
    pub audiences: AudienceSet,
    /// The key that signs, as verifiers are told it.
    pub key_id: KeyId,
    /// SHA-256 of its SubjectPublicKeyInfo, as the lifecycle has it.
    pub key: Sha256Digest,
    /// Its end.
    pub expires_at: Timestamp,
    /// SHA-256 of the bytes that will be signed, by which a token that is found can be told to be this one.
    pub signing_input: Sha256Digest,
    /// Who asked: an agent's SPIFFE ID.
    pub caller: String,
    /// Why.
    pub reason: Reason,
    /// The time of issuance.
    pub now: Timestamp,
}

/// Ready to be recorded. Only [`prepare`] makes one.
#[derive(Debug)]
#[must_use]
pub struct PreparedJwt {
    intent: JwtIntent,
    unsigned: UnsignedJwtSvid,
}

/// Durably recorded: the only thing that [`sign`] takes. Only [`JwtLedger::record_jwt`] makes one.
#[derive(Debug)]
#[must_use]
pub struct RecordedJwt {
    unsigned: UnsignedJwtSvid,
}

/// Where intents are recorded. The store implements `persist_jwt`; `record_jwt` is the only maker of [`RecordedJwt`].
pub trait JwtLedger: Send + Sync {
    /// Writes the intent as an audit event; resolves after the sync.
    fn persist_jwt(&self, intent: JwtIntent) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Turns a prepared token into one that may be signed.
    fn record_jwt(&self, prepared: PreparedJwt) -> BoxFuture<'_, Result<RecordedJwt, LedgerError>> {
        Box::pin(async move {
            let PreparedJwt { intent, unsigned } = prepared;
            self.persist_jwt(intent).await?;
            Ok(RecordedJwt { unsigned })
        })
    }
}

/// Why no JWT-SVID was issued.
#[derive(Debug, thiserror::Error)]
pub enum JwtIssuanceError {
    /// The token asked for cannot be had.
    #[error(transparent)]
    Mint(JwtMintError),
    /// The intent was not recorded, so nothing was signed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signature failed, or the result is not what was recorded. The token is not given out.
    #[error("the JWT-SVID for {subject} was recorded but not given out: {cause}")]
    Signing {
        /// Whom it would have named.
        subject: SpiffeId,
        /// What went wrong.
        cause: JwtMintError,
    },
}

/// Issues one JWT-SVID. It lives `ttl`, or as long as the entry's certificates when that is shorter, and ends with the entry.
///
/// # Errors
/// [`JwtIssuanceError`]; whichever it is, no token leaves.
pub async fn issue<K: Signer>(
    admitted: Admitted,
    audiences: &AudienceSet,
    ttl: Duration,
    key: &JwtKey<K>,
    ledger: &dyn JwtLedger,
    now: Timestamp,
) -> Result<JwtSvid, JwtIssuanceError> {
    // 1. Prepare: header and claims are decided, from the admitted name; the key's private half is out of reach.
    let prepared = prepare(admitted, audiences, ttl, key.authority(), now)?;
    // 2. Record: durably, before the key is used. A crash from here on leaves an intent without a token, never a token without an
    //    intent.
    let recorded = ledger.record_jwt(prepared).await?;
    // 3. Sign, and 4. check: the signature verifies, and the claims are the ones recorded.
    sign(recorded, key).await
}

/// Step 1.
///
/// # Errors
/// [`JwtIssuanceError::Mint`].
pub fn prepare(
    admitted: Admitted,
    audiences: &AudienceSet,
    ttl: Duration,
    authority: &JwtAuthority,
    now: Timestamp,
) -> Result<PreparedJwt, JwtIssuanceError> {
    let subject = admitted.subject();
    let ttl = subject.within_grounds(subject.ttl.map_or(ttl, |leaf| leaf.min(ttl)), now);
    let unsigned = prepare_jwt_svid(authority, &subject.id, audiences, ttl, now).map_err(JwtIssuanceError::Mint)?;
    let intent = JwtIntent {
        subject: subject.id.clone(),
        audiences: audiences.clone(),
        key_id: unsigned.key_id().clone(),
        key: authority.public_key().fingerprint(),
        expires_at: unsigned.expires_at(),
        signing_input: unsigned.digest(),
        caller: admitted.caller().to_owned(),
        reason: admitted.reason().clone(),
        now,
    };
    Ok(PreparedJwt { intent, unsigned })
}

/// Steps 3 and 4: signs what was recorded, verifies the signature, and compares the claims.
///
/// # Errors
/// [`JwtIssuanceError::Signing`]: an incident, to be logged as such.
pub async fn sign<K: Signer>(recorded: RecordedJwt, key: &JwtKey<K>) -> Result<JwtSvid, JwtIssuanceError> {
    let RecordedJwt { unsigned } = recorded;
    let signed = unsigned.sign_by(key).await;
    signed.map_err(|cause| JwtIssuanceError::Signing { subject: unsigned.id().clone(), cause })
}

#[cfg(test)]
mod tests;
