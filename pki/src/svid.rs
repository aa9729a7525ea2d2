//! An X509-SVID together with its private key.

mod taint;

use std::sync::{Mutex, PoisonError};

use identity::SpiffeId;

use crate::path::{check_chain_length, leaf_id, validate_parsed};
use crate::{Certificate, PrivateKey, SvidError, Timestamp, TrustBundle, Usage, renew_at};

/// A chain and its key, checked together when it is made: the chain is neither empty nor too long, the key is the leaf's, and
/// the leaf has exactly one URI SAN, a SPIFFE ID. `Debug` shows ID and serial only.
///
/// Whether the chain leads to a trusted authority depends on the bundle and the time: [`Self::verify`].
pub struct X509Svid {
    id: SpiffeId,
    chain: Vec<Certificate>,
    key: PrivateKey,
    issued: Timestamp,
    /// What [`Self::verify`] found out last.
    verified: Mutex<Option<Verified>>,
}

/// Under which bundle a chain validated, and when it would have just as well.
///
/// Between these times no certificate of the chain, and none of the authorities that may have vouched for it, begins or ends, and
/// nothing but that depends on the time: the path that was found is there all along.
struct Verified {
    bundle: TrustBundle,
    from: Timestamp,
    until: Timestamp,
}

impl X509Svid {
    /// Puts an SVID together. `chain` is leaf first, without the root; `issued` is the time of the CA's answer.
    ///
    /// # Errors
    /// [`SvidError::EmptyChain`], [`SvidError::ChainTooLong`], [`SvidError::UriSanCount`], [`SvidError::SpiffeId`] or
    /// [`SvidError::KeyMismatch`].
    pub fn new(chain: Vec<Certificate>, key: PrivateKey, issued: Timestamp) -> Result<Self, SvidError> {
        check_chain_length(chain.len())?;
        let leaf = chain.first().ok_or(SvidError::EmptyChain)?;
        let id = leaf_id(leaf)?;
        if leaf.public_key() != key.public_key() {
            return Err(SvidError::KeyMismatch);
        }
        Ok(Self { id, chain, key, issued, verified: Mutex::default() })
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The chain, leaf first, without the root.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        self.chain.first().expect("an SVID is not made from an empty chain")
    }

    /// The leaf's private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The time of the CA's answer.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When to renew it: see [`renew_at`].
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        renew_at(self.issued, self.leaf().not_after(), self.leaf().serial())
    }

    /// Validates the chain against the bundle at `now`, for both uses, since an SVID serves as server and as client.
    ///
    /// The identity of the proof is the one that [`Self::id`] gives already, so it is not handed on. Signatures are verified once for
    /// a bundle and the times between which no certificate begins or ends: an SVID may have thousands of readers, who each ask.
    ///
    /// # Errors
    /// [`SvidError`]; see [`crate::validate_svid`].
    pub fn verify(&self, bundle: &TrustBundle, now: Timestamp) -> Result<(), SvidError> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.as_ref().is_some_and(|found| found.holds(bundle, now)) {
            return Ok(());
        }
        validate_parsed(&self.chain, bundle, Usage::Both, now).map(drop)?;
        *verified = Some(Verified::at(&self.chain, bundle, now));
        Ok(())
    }
}

impl Verified {
    /// After `chain` has validated under `bundle` at `now`.
    fn at(chain: &[Certificate], bundle: &TrustBundle, now: Timestamp) -> Self {
        let vouching = || chain.iter().chain(bundle.authorities().iter().filter(|authority| authority.is_valid_at(now)));
        let from = vouching().map(Certificate::not_before).max().unwrap_or(now);
        let until = vouching().map(Certificate::not_after).min().unwrap_or(now);
        Self { bundle: bundle.clone(), from, until }
    }

    fn holds(&self, bundle: &TrustBundle, now: Timestamp) -> bool {
        self.from <= now && now <= self.until && self.bundle == *bundle
    }
}

impl std::fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "X509Svid({}, {})", self.id, self.leaf().serial())
    }
}

#[cfg(test)]
mod tests;
