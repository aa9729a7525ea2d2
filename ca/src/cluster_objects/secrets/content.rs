//! What the Secret of an account holds, and whether that is what it should. Pure.
//!
//! The private key is looked at once, when a Secret is read, and never kept.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{DnsName, SpiffeId};
use kubernetes::secrets::SecretData;
use pki::{
    Certificate, LeafProfile, PrivateKey, SerialNumber, Sha256Digest, Timestamp, TrustBundle, Usage, X509Svid,
    certificates_from_pem, renew_at, sha256, validate_svid_sharing,
};

use super::names::{CHAIN_FILE, KEY_FILE, ROOTS_FILE};
use crate::revocation::RevocationSource;

/// How long before its end a certificate is replaced at the latest: the kubelet takes up to two minutes until a pod sees the new one, and
/// a CA that is away for a while is no reason to be without.
const LEAST_GRACE: Duration = Duration::from_secs(10 * 60);
/// The most certificates of a chain that is read.
const MAX_CHAIN: usize = 8;

/// Why an account is given a new key and certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IssueReason {
    /// It has no Secret.
    Missing,
    /// A file is missing, or is not what it should be.
    Unreadable,
    /// The key is not that of the certificate.
    KeyMismatch,
    /// It names somebody else.
    OtherIdentity,
    /// Its DNS names are not those of the configuration, or it has addresses.
    OtherNames,
    /// It was revoked.
    Revoked,
    /// It rests on a key that is tainted.
    Tainted,
    /// It has ended.
    Ended,
    /// It does not verify under the trust bundle: its authority was revoked, or is not ours.
    Untrusted,
    /// Its time has come.
    Due,
    /// It does not say whose it is: nobody knows that the account is still the one that it was made for.
    NoOwner,
    /// An operator wants it.
    Asked,
}

/// What a Secret holds that can be read: certificates, and the proof that the key was theirs.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Leaf first. Not empty.
    chain: Vec<Certificate>,
    roots: Sha256Digest,
}

/// What a Secret should hold.
pub(crate) struct Standard<'a> {
    /// Whose it is.
    pub(crate) id: &'a SpiffeId,
    /// The names of its certificate.
    pub(crate) dns_names: &'a BTreeSet<DnsName>,
    /// The trust bundle of now.
    pub(crate) bundle: &'a TrustBundle,
    /// SHA-256 of the bundle as it is written.
    pub(crate) roots: Sha256Digest,
    /// What is revoked now.
    pub(crate) revocation: &'a dyn RevocationSource,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What is to be said of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well, until then.
    Good {
        /// When it is to be replaced.
        due: Timestamp,
    },
    /// All but the trust bundle, which is not that of now.
    OldRoots {
        /// When it is to be replaced.
        due: Timestamp,
    },
    /// Nothing of it is kept.
    Bad(IssueReason),
}

impl Content {
    /// Reads what a Secret holds. `interned` gives the one copy of a certificate that many Secrets have.
    ///
    /// # Errors
    /// [`IssueReason::Unreadable`] or [`IssueReason::KeyMismatch`].
    pub(crate) fn read(data: &SecretData, interned: impl FnMut(Certificate) -> Certificate) -> Result<Self, IssueReason> {
        let file = |name| data.get(name).ok_or(IssueReason::Unreadable);
        let chain = certificates_from_pem(file(CHAIN_FILE)?).map_err(|_| IssueReason::Unreadable)?;
        let key = PrivateKey::from_pem(file(KEY_FILE)?).map_err(|_| IssueReason::Unreadable)?;
        let mut chain = chain.into_iter();
        let leaf = chain.next().ok_or(IssueReason::Unreadable)?;
        if chain.len() >= MAX_CHAIN {
            return Err(IssueReason::Unreadable);
        }
        if leaf.public_key() != key.public_key() {
            return Err(IssueReason::KeyMismatch);
        }
        let roots = sha256(file(ROOTS_FILE)?);
        Ok(Self { chain: std::iter::once(leaf).chain(chain.map(interned)).collect(), roots })
    }

    /// SHA-256 of the trust bundle beside it, as it is written.
    pub(crate) fn roots(&self) -> &Sha256Digest {
        &self.roots
    }

    /// The chain, leaf first.
    pub(crate) fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The leaf.
    pub(crate) fn leaf(&self) -> &Certificate {
        self.chain.first().expect("a content is not made from an empty chain")
    }

    /// The serial of the leaf.
    pub(crate) fn serial(&self) -> &SerialNumber {
        self.leaf().serial()
    }

    /// Judges it, the worst first.
    pub(crate) fn judge(&self, standard: &Standard<'_>) -> Verdict {
        let Standard { id, dns_names, bundle, roots, revocation, now } = *standard;
        let leaf = self.leaf();
        if !matches!(leaf.uri_sans(), [named] if named == id.as_str()) {
            return Verdict::Bad(IssueReason::OtherIdentity);
        }
        let named: BTreeSet<&str> = leaf.dns_sans().iter().map(String::as_str).collect();
        if leaf.other_sans() > 0 || named != dns_names.iter().map(DnsName::as_str).collect() {
            return Verdict::Bad(IssueReason::OtherNames);
        }
        if revocation.is_revoked(leaf.serial()) {
            return Verdict::Bad(IssueReason::Revoked);
        }
        if X509Svid::chain_rests_on(&self.chain, bundle.tainted_keys(), bundle) {
            return Verdict::Bad(IssueReason::Tainted);
        }
        if leaf.not_after() < now {
            return Verdict::Bad(IssueReason::Ended);
        }
        let chain: Vec<_> = self.chain.iter().map(|certificate| certificate.der().clone()).collect();
        if validate_svid_sharing(&chain, &self.chain, bundle, Usage::Both, now).is_err() {
            return Verdict::Bad(IssueReason::Untrusted);
        }
        let due = due(leaf);
        if due <= now {
            Verdict::Bad(IssueReason::Due)
        } else if self.roots == roots {
            Verdict::Good { due }
        } else {
            Verdict::OldRoots { due }
        }
    }
}

/// When a certificate is to be replaced: at half of its life, moved by a tenth of that at most and the same for each serial, and
/// [`LEAST_GRACE`] before its end at the latest; where it lives too short for that, after a quarter of its life, so that it is not replaced
/// without end.
pub(crate) fn due(leaf: &Certificate) -> Timestamp {
    let issued = leaf.not_before().plus(LeafProfile::BACKDATE).min(leaf.not_after());
    let half = renew_at(issued, leaf.not_after(), leaf.serial());
    let quarter = issued.plus(leaf.not_after().since(issued) / 4);
    half.min(leaf.not_after().minus(LEAST_GRACE).max(quarter))
}

impl IssueReason {
    /// Every one, for metrics.
    pub(crate) const ALL: [Self; 12] = [
        Self::Missing,
        Self::Unreadable,
        Self::KeyMismatch,
        Self::OtherIdentity,
        Self::OtherNames,
        Self::Revoked,
        Self::Tainted,
        Self::Ended,
        Self::Untrusted,
        Self::Due,
        Self::NoOwner,
        Self::Asked,
    ];

    /// For metrics, and for programs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::KeyMismatch => "key_mismatch",
            Self::OtherIdentity => "other_identity",
            Self::OtherNames => "other_names",
            Self::Revoked => "revoked",
            Self::Tainted => "tainted",
            Self::Ended => "ended",
            Self::Untrusted => "untrusted",
            Self::Due => "due",
            Self::NoOwner => "no_owner",
            Self::Asked => "asked",
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
