//! Whether a set that somebody else put there may take the place of the one in use, and what comes first. Pure.
//!
//! Roots change in steps, A, then A and B, then B: a verifier must have the root before the first certificate under it, and keep it until
//! the last one has ended.

use std::collections::BTreeMap;

use pki::{Certificate, Sha256Digest, Timestamp};

use crate::authority::lifecycle::gate::{Gate, Waiting};

/// What signs now, and what verifiers trust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InUse<'a> {
    /// The roots in the bundle.
    pub(crate) trusted: &'a [Certificate],
    /// The root that the issuing CA in use stands under.
    pub(crate) root: &'a Certificate,
    /// It can soon give no whole leaf any more: waiting for receivers would hurt all others.
    pub(crate) is_urgent: bool,
}

/// A set that was verified whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    /// All of its roots.
    pub(crate) roots: &'a [Certificate],
    /// The one that its issuing CA stands under.
    pub(crate) root: &'a Certificate,
    /// Its issuing CA.
    pub(crate) issuer: &'a Certificate,
}

/// What is known outside of both sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Each CA that signed a leaf that is good now, by the SHA-256 of its SubjectPublicKeyInfo, with the end of the last one.
    pub(crate) signers: &'a [(Sha256Digest, Timestamp)],
    /// The root (SHA-256 of its DER) that a CA stands under, of those that are known. Another one may rest on any root.
    pub(crate) roots_of: &'a BTreeMap<Sha256Digest, Sha256Digest>,
    /// Whether everybody has the bundle that is pushed now.
    pub(crate) distributed: &'a Gate,
}

/// What is to be done about a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its roots go into the bundle now; the issuing CA is judged again after that.
    Publish,
    /// Its roots are in the bundle; its issuing CA signs when these are over.
    Wait(Vec<Waiting>),
    /// Its issuing CA signs from now on.
    Take,
    /// The set in use goes on.
    Refuse(StepRefusal),
}

/// Why a set is not taken, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepRefusal {
    /// All that is trusted would be gone at once, and nobody has the new root.
    #[error(
        "the root would change from {old} to {new} in one step, and whoever has the old one alone would refuse everybody. Put both into the \
         file of roots, {old} and {new}; when every agent has that bundle the issuing CA changes over by itself, and when nothing rests on \
         {old} any more it may be taken out"
    )]
    OneStep {
        /// In use.
        old: String,
        /// In the set.
        new: String,
    },
    /// What signs now would not verify any more.
    #[error(
        "the set lacks {root}, under which the issuing CA in use signs. Put {root} back beside the others; it may be taken out when an \
         issuing CA under another root signs and nothing rests on {root} any more"
    )]
    SignsUnder {
        /// The root.
        root: String,
    },
    /// Somebody holds certificates under it.
    #[error(
        "the set lacks {root}, and certificates rest on it until {until}. Put {root} back until then, or leave the set as it is: it is \
         taken as soon as the last of them has ended"
    )]
    RestsUpon {
        /// The root.
        root: String,
        /// The last second of the last certificate under it.
        until: Timestamp,
    },
    /// It waited for so long that it has ended.
    #[error("its issuing CA has ended at {not_after}: put a newer one there")]
    Ended {
        /// Its last second.
        not_after: Timestamp,
    },
}

/// What is to be done about `offered` at `now`.
#[must_use]
pub(crate) fn decide(in_use: InUse<'_>, offered: Offered<'_>, known: Known<'_>, now: Timestamp) -> Decision {
    let not_after = offered.issuer.not_after().min(offered.root.not_after());
    if not_after < now {
        return Decision::Refuse(StepRefusal::Ended { not_after });
    }
    // A root that has ended vouches for nothing, so nothing is lost with it.
    let withdrawn = || in_use.trusted.iter().filter(|root| now <= root.not_after() && !offered.roots.contains(root));
    if withdrawn().any(|root| root == in_use.root) {
        let root = named(in_use.root);
        return Decision::Refuse(if in_use.trusted.contains(offered.root) {
            StepRefusal::SignsUnder { root }
        } else {
            StepRefusal::OneStep { old: root, new: named(offered.root) }
        });
    }
    let kept: Vec<_> = offered.roots.iter().map(Certificate::fingerprint).collect();
    for root in withdrawn() {
        let rests = |(key, _): &&(Sha256Digest, Timestamp)| known.roots_of.get(key).is_none_or(|root| !kept.contains(root));
        if let Some(until) = known.signers.iter().filter(rests).map(|(_, until)| *until).max() {
            return Decision::Refuse(StepRefusal::RestsUpon { root: named(root), until });
        }
    }
    if in_use.trusted != offered.roots {
        return Decision::Publish;
    }
    match known.distributed {
        Gate::Waits(waits) if offered.root != in_use.root && now <= in_use.root.not_after() && !in_use.is_urgent => {
            Decision::Wait(waits.clone())
        }
        Gate::Waits(_) | Gate::Open => Decision::Take,
    }
}

/// A root as people know it: its subject, and the start of the SHA-256 of its DER.
pub(crate) fn named(root: &Certificate) -> String {
    let fingerprint = data_encoding::HEXLOWER.encode(&root.fingerprint());
    format!("\"{}\" ({}...)", root.subject(), fingerprint.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests;
