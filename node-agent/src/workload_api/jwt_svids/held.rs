//! The tokens at hand, bounded. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use pki::{AudienceSet, JWT_CLOCK_SKEW, JwtSvid, Timestamp, TrustBundle};

use crate::entry::{Entry, EntryId};

/// The most tokens of one identity: whoever asks for ever new audiences pushes out its own.
pub(super) const MAX_PER_ENTRY: usize = 64;

/// The most tokens in all.
pub(super) const MAX_TOKENS: usize = 8192;

/// Tokens by entry and audiences.
#[derive(Default)]
pub(super) struct HeldTokens {
    of_entries: HashMap<EntryId, HashMap<AudienceSet, HeldToken>>,
    /// Counts uses, to tell which token was used last.
    uses: u64,
}

struct HeldToken {
    svid: JwtSvid,
    /// The bundle under which it was last validated here.
    checked_under: Option<Arc<TrustBundle>>,
    used: u64,
}

/// What there is.
pub(super) enum Lookup {
    /// To be used.
    Fresh(JwtSvid),
    /// To be replaced, and valid if that fails.
    PastHalfLife(JwtSvid),
    Absent,
}

impl HeldTokens {
    /// What there is for an entry, valid under the bundle of now. What has ended, names another identity than the entry, or
    /// whose key left the bundle or is tainted is dropped.
    pub(super) fn look_up(
        &mut self,
        entry: &Entry,
        audiences: &AudienceSet,
        bundle: &Arc<TrustBundle>,
        now: Timestamp,
    ) -> Lookup {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        let Some(tokens) = self.of_entries.get_mut(&entry.id) else { return Lookup::Absent };
        let Some(token) = tokens.get_mut(audiences) else { return Lookup::Absent };
        if !token.holds(entry, bundle, now) {
            tokens.remove(audiences);
            return Lookup::Absent;
        }
        token.used = uses;
        let svid = token.svid.clone();
        if now < half_life(&svid) { Lookup::Fresh(svid) } else { Lookup::PastHalfLife(svid) }
    }

    /// Keeps a token.
    pub(super) fn keep(&mut self, entry: &Entry, audiences: AudienceSet, svid: JwtSvid, now: Timestamp) {
        self.drop_ended(now);
        self.uses = self.uses.wrapping_add(1);
        let tokens = self.of_entries.entry(entry.id.clone()).or_default();
        tokens.insert(audiences, HeldToken { svid, checked_under: None, used: self.uses });
        if tokens.len() > MAX_PER_ENTRY {
            drop_least_used(tokens);
        }
        if self.len() > MAX_TOKENS
            && let Some(most) = self.of_entries.values_mut().max_by_key(|tokens| tokens.len())
        {
            drop_least_used(most);
        }
    }

    /// Drops the tokens of all other entries.
    pub(super) fn keep_only(&mut self, granting: &BTreeSet<&EntryId>) {
        self.of_entries.retain(|entry, _| granting.contains(entry));
    }

    pub(super) fn len(&self) -> usize {
        self.of_entries.values().map(HashMap::len).sum()
    }

    fn drop_ended(&mut self, now: Timestamp) {
        for tokens in self.of_entries.values_mut() {
            tokens.retain(|_, token| now < token.svid.expires_at());
        }
        self.of_entries.retain(|_, tokens| !tokens.is_empty());
    }
}

impl HeldToken {
    fn holds(&mut self, entry: &Entry, bundle: &Arc<TrustBundle>, now: Timestamp) -> bool {
        // A clock that was set to before its issuance cannot tell when it ends.
        let too_young = now.plus(JWT_CLOCK_SKEW) < self.svid.issued_at();
        if *self.svid.id() != entry.spiffe_id || now >= self.svid.expires_at() || too_young {
            return false;
        }
        if !self.checked_under.as_ref().is_some_and(|checked| Arc::ptr_eq(checked, bundle)) {
            // Whoever else has a tainted key makes such tokens too: ours is not to be told from theirs, and a new one costs a call.
            if self.svid.rests_on(bundle.tainted_keys(), bundle)
                || JwtSvid::validated(self.svid.token(), self.svid.issued_at(), bundle, now).is_err()
            {
                return false;
            }
            self.checked_under = Some(Arc::clone(bundle));
        }
        true
    }
}

fn half_life(svid: &JwtSvid) -> Timestamp {
    svid.issued_at().plus(svid.expires_at().since(svid.issued_at()) / 2)
}

fn drop_least_used(tokens: &mut HashMap<AudienceSet, HeldToken>) {
    let least = tokens.iter().min_by_key(|(_, token)| token.used).map(|(audiences, _)| audiences.clone());
    if let Some(audiences) = least {
        tokens.remove(&audiences);
    }
}
