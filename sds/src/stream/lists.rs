//! Which revocation lists go with a validation context at one moment. Pure.
//!
//! A verifier that has lists refuses whoever stands on none that is good now: with the SPIFFE validator each CA of the path needs its own,
//! with plain `trusted_ca` the CA of the leaf. So lists are given only where all that could be asked for are there, and are taken away
//! together before the first of them goes stale: a list that is missing turns revocation off, it never turns everybody away.

use std::sync::Arc;
use std::time::Duration;

use pki::{RevocationList, RevocationSet, Sha256Digest, Sha256Hasher, Timestamp, TrustBundle, X509Svid};

use super::offer::hash_part;
use crate::ValidationContextKind;

/// How long before its end a list is taken away: the peer must have heard of it by then.
pub(super) const STALE_BEFORE: Duration = Duration::from_secs(30);

/// The lists for either form of a validation context.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    spiffe: Given,
    plain: Given,
    /// The first moment at which they are these, and the first at which they may be others.
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Given {
    lists: Arc<[RevocationList]>,
    /// `None` where there are no lists.
    digest: Option<Sha256Digest>,
}

impl Lists {
    /// Those of `set` that can be given at `now` with this bundle, to a caller that holds these SVIDs.
    pub(super) fn of<'a>(
        set: &RevocationSet,
        bundle: &TrustBundle,
        svids: impl IntoIterator<Item = &'a X509Svid>,
        now: Timestamp,
    ) -> Self {
        let good = |list: &RevocationList| list.this_update() <= now && now < goes_at(list);
        let all = set.lists();
        let spiffe = if set.complete_for(bundle, now) && all.iter().all(good) { all } else { &[] };

        let is_root = |list: &RevocationList| bundle.authorities().iter().any(|root| root == list.issuer());
        let covers = |svid: &X509Svid| all.iter().any(|list| good(list) && list.is_for(svid.leaf()));
        let plain =
            set.says_complete_for_leaves() && all.iter().all(|list| good(list) || is_root(list)) && svids.into_iter().all(covers);
        let plain: Vec<_> = all.iter().filter(|list| plain && good(list)).cloned().collect();

        let changes = || all.iter().flat_map(|list| [list.this_update(), goes_at(list)]);
        Self {
            spiffe: Given::new(spiffe.into()),
            plain: Given::new(plain.into()),
            from: changes().filter(|at| *at <= now).max(),
            until: changes().filter(|at| *at > now).min(),
        }
    }

    pub(super) fn given(&self, kind: ValidationContextKind) -> &Arc<[RevocationList]> {
        &self.of_kind(kind).lists
    }

    /// Of the lists for this form; `None` where there are none.
    pub(super) fn digest(&self, kind: ValidationContextKind) -> Option<&Sha256Digest> {
        self.of_kind(kind).digest.as_ref()
    }

    /// Whether the same lists would be given at `now`.
    pub(super) fn hold_at(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// How long until others may have to be given.
    pub(super) fn change_in(&self, now: Timestamp) -> Option<Duration> {
        self.until.map(|until| until.since(now))
    }

    fn of_kind(&self, kind: ValidationContextKind) -> &Given {
        match kind {
            ValidationContextKind::SpiffeValidator => &self.spiffe,
            ValidationContextKind::TrustedCa => &self.plain,
        }
    }
}

impl Given {
    fn new(lists: Arc<[RevocationList]>) -> Self {
        let digest = (!lists.is_empty()).then(|| {
            let mut hasher = Sha256Hasher::new();
            lists.iter().for_each(|list| hash_part(&mut hasher, &list.fingerprint()));
            hasher.finish()
        });
        Self { lists, digest }
    }
}

/// From when on a list is not given any more.
fn goes_at(list: &RevocationList) -> Timestamp {
    list.next_update().minus(STALE_BEFORE)
}
