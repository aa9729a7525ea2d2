//! Whether an SVID rests on a key on which nothing should rest any more.

use std::collections::BTreeSet;

use super::X509Svid;
use crate::{Certificate, Sha256Digest, TrustBundle};

impl X509Svid {
    /// Whether it rests on one of these keys, each the SHA-256 of a SubjectPublicKeyInfo: a certificate of its chain has the key, or an
    /// authority of the bundle that has it signed a certificate of the chain.
    ///
    /// Roots of one trust domain bear one name, so it is the signature that tells which of them is meant. The dates do not count: what
    /// rests on an authority that has ended does so all the same. An SVID with several paths rests on the keys of all of them, as each
    /// peer finds its own.
    #[must_use]
    pub fn rests_on(&self, keys: &BTreeSet<Sha256Digest>, bundle: &TrustBundle) -> bool {
        Self::chain_rests_on(self.chain(), keys, bundle)
    }

    /// The same of a chain alone, leaf first: see [`Self::rests_on`].
    #[must_use]
    pub fn chain_rests_on(chain: &[Certificate], keys: &BTreeSet<Sha256Digest>, bundle: &TrustBundle) -> bool {
        let has_one = |certificate: &Certificate| keys.contains(&certificate.public_key().fingerprint());
        if keys.is_empty() {
            return false;
        }
        chain.iter().any(has_one)
            || bundle.authorities().iter().filter(|authority| has_one(authority)).any(|authority| {
                let is_signed = |certificate: &Certificate| {
                    certificate.issuer_der() == authority.subject_der()
                        && certificate.verify_signed_by(authority.public_key()).is_ok()
                };
                chain.iter().any(is_signed)
            })
    }
}
