//! The lists as everybody is given them.

use std::collections::BTreeMap;

use pki::{RevocationList, RevocationSet, Sha256Digest, TrustBundle, sha256};

/// The lists of one moment, verified against the bundle of that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The lists, with their sequence: 0 before the first.
    pub(crate) set: RevocationSet,
    /// Of the bundle that they verify under.
    pub(crate) bundle_sequence: u64,
    /// Whose they are, by the issuer's key.
    pub(crate) labels: BTreeMap<Sha256Digest, Label>,
    /// What is missing, why, and what to do.
    pub(crate) missing: Vec<String>,
    /// What will soon be.
    pub(crate) warnings: Vec<String>,
}

/// Whose list it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// As operators call the CA, or its subject.
    pub(crate) authority: String,
    /// The list was made elsewhere.
    pub(crate) imported: bool,
}

impl Published {
    /// Before the first lists.
    pub(crate) fn nothing(bundle: &TrustBundle) -> Self {
        let set = RevocationSet::verify([], 0, false, bundle).expect("no list at all is a set under any bundle");
        Self { set, bundle_sequence: bundle.sequence(), labels: BTreeMap::new(), missing: Vec::new(), warnings: Vec::new() }
    }

    /// Whether there are lists, and they verify under this bundle.
    pub(crate) fn is_for(&self, bundle: &TrustBundle) -> bool {
        self.set.sequence() > 0 && self.bundle_sequence == bundle.sequence()
    }
}

/// A digest of what a set says, for its sequence.
pub(super) fn content(lists: &[RevocationList], complete: bool, complete_for_leaves: bool) -> Sha256Digest {
    let mut text = vec![u8::from(complete), u8::from(complete_for_leaves)];
    for list in lists {
        text.extend(sha256(list.der()));
        text.extend(list.issuer().fingerprint());
    }
    sha256(&text)
}
