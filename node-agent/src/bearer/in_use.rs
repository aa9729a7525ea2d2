//! The SVIDs that are held for tokens at this moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::{TrustBundle, X509Svid};

/// All of them; clones share it.
#[derive(Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    svids: BTreeMap<u64, Arc<X509Svid>>,
    places: u64,
}

/// The place of one token, given up when dropped.
pub(super) struct PlaceInUse {
    all: InUse,
    number: u64,
}

impl InUse {
    /// A place in which nothing is held yet.
    pub(super) fn place(&self) -> PlaceInUse {
        let mut inner = self.lock();
        inner.places = inner.places.wrapping_add(1);
        PlaceInUse { all: self.clone(), number: inner.places }
    }

    /// How many SVIDs are held, and how many of them rest on a tainted key of the bundle.
    pub(crate) fn count(&self, bundle: &TrustBundle) -> (usize, usize) {
        let svids: Vec<_> = self.lock().svids.values().cloned().collect();
        (svids.len(), svids.iter().filter(|svid| svid.rests_on(bundle.tainted_keys(), bundle)).count())
    }

    /// A panic while the lock was held left a whole map behind.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceInUse {
    /// This one is held from now on.
    pub(super) fn hold(&self, svid: &Arc<X509Svid>) {
        self.all.lock().svids.insert(self.number, Arc::clone(svid));
    }
}

impl Drop for PlaceInUse {
    fn drop(&mut self) {
        self.all.lock().svids.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use pki::Timestamp;

    use super::*;
    use crate::fakes::FakeAuthority;

    #[test]
    fn what_is_held_counts_until_its_place_is_given_up() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let authority = FakeAuthority::new(now);
        let svid = || Arc::new(authority.svid(&authority.id("/web"), Duration::from_secs(600), now));
        let sound = authority.bundle(1);
        let tainted = authority.bundle(2).with_tainted_keys(BTreeSet::from([authority.root.public_key().fingerprint()]));
        let all = InUse::default();
        let (one, other) = (all.place(), all.place());
        assert_eq!(all.count(&tainted), (0, 0));
        one.hold(&svid());
        one.hold(&svid());
        assert_eq!(all.count(&tainted), (1, 1), "the newer one takes the place of the older");
        other.hold(&svid());
        assert_eq!((all.count(&sound), all.count(&tainted)), ((2, 0), (2, 2)));
        drop(one);
        assert_eq!(all.count(&tainted), (1, 1));
    }
}
