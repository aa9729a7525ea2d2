//! Since when objects show what they should to receivers that cannot acknowledge. Pure.

use std::collections::BTreeSet;

use pki::{Sha256Digest, Timestamp, TrustBundle, sha256};

/// Since when all objects of a kind show the bundle of now, as watches told it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    wanted: Option<Wanted>,
    since: Option<Timestamp>,
}

/// What of a bundle objects of the cluster show, or rest on: its roots, and what is tainted. Keys of JWT-SVIDs are none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// SHA-256 of the roots as they are written.
    pub(crate) roots: Sha256Digest,
    tainted: BTreeSet<Sha256Digest>,
}

impl Wanted {
    /// That of a bundle.
    pub(crate) fn of(bundle: &TrustBundle) -> Self {
        Self { roots: sha256(bundle.to_pem().as_bytes()), tainted: bundle.tainted_keys().clone() }
    }
}

impl Shown {
    /// Takes in how many do not show it at `now`, and answers since when none is behind: the first moment of that since the bundle is what it
    /// is. One that is healed later, or new, does not move it: whoever may write objects of a namespace could hold up a rotation forever.
    pub(crate) fn observe(&mut self, wanted: &Wanted, behind: usize, now: Timestamp) -> Option<Timestamp> {
        if self.wanted.as_ref() != Some(wanted) {
            *self = Self { wanted: Some(wanted.clone()), since: None };
        }
        if behind == 0 && self.since.is_none() {
            self.since = Some(now);
        }
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_moment_at_which_none_is_behind_counts_until_the_roots_or_what_is_tainted_change() {
        let wanted = |roots: &str, tainted: &[&str]| Wanted {
            roots: sha256(roots.as_bytes()),
            tainted: tainted.iter().map(|key| sha256(key.as_bytes())).collect(),
        };
        let at = |seconds: u64| Timestamp::from_unix_seconds(1000 + seconds);
        let mut shown = Shown::default();
        assert_eq!(shown.observe(&wanted("a", &[]), 2, at(0)), None);
        assert_eq!(shown.observe(&wanted("a", &[]), 0, at(5)), Some(at(5)));
        assert_eq!(shown.observe(&wanted("a", &[]), 1, at(6)), Some(at(5)), "one is healed: its namespace waits alone");
        assert_eq!(shown.observe(&wanted("a", &[]), 0, at(7)), Some(at(5)));
        assert_eq!(shown.observe(&wanted("b", &[]), 3, at(8)), None);
        assert_eq!(shown.observe(&wanted("b", &[]), 0, at(9)), Some(at(9)));
        assert_eq!(shown.observe(&wanted("b", &["k"]), 0, at(10)), Some(at(10)), "what rests on it was written before");
    }
}
