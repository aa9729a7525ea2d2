//! What one caller may have at one moment, worked out whole from what the node holds. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::{Selector, SelectorKind};
use pki::{RevocationSet, TrustBundle};
use sds::SecretState;

use crate::ca_client::view::{EntryKnowledge, ForeignBundles};
use crate::entry::Entry;
use crate::identities::{Held, HeldIdentity, IdentityState};
use crate::workload::{Caller, Unreadable};

/// What is known of a caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) selectors: BTreeSet<Selector>,
    /// What could not be read of it, and may be among its selectors all the same.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// Everything of one caller; something that is absent was taken away, or never was.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallerState {
    /// How well the entries are known. While they are not, nobody can be told that it has no identity.
    pub(crate) knowledge: EntryKnowledge,
    /// What the caller is entitled to, in the order of the entries, whether it is held or not. The first is the default.
    pub(crate) identities: Vec<HeldIdentity>,
    /// What it would be entitled to, had it not been revoked.
    pub(crate) revoked: Vec<HeldIdentity>,
    /// Whether one of those would be the default.
    pub(crate) default_revoked: bool,
    /// Why it is open whether the caller is entitled to something: an entry asks for what could not be read of the process.
    pub(crate) undecided: Option<String>,
    /// The trust domain's bundle.
    pub(crate) bundle: Option<Arc<TrustBundle>>,
    /// What was revoked of the trust domain's certificates.
    pub(crate) revocation: Option<Arc<RevocationSet>>,
    /// Bundles of other trust domains: those that an entry which the caller is entitled to by now federates with.
    pub(crate) foreign: ForeignBundles,
}

impl Facts {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self { selectors: caller.selectors.clone(), unreadable: caller.unreadable.clone() }
    }

    /// An entry without selectors matches nobody: empty means none, never any.
    pub(crate) fn match_entry(&self, entry: &Entry) -> bool {
        !entry.selectors.is_empty() && entry.selectors.is_subset(&self.selectors)
    }

    /// Whether this identity is for the caller, where entries of the CA are, or may be, when `of_ca`.
    fn match_identity(&self, identity: &HeldIdentity, of_ca: bool) -> bool {
        self.match_entry(&identity.entry) && (identity.entry.account.is_none() || !of_ca)
    }

    /// Whether the CA has an entry for the caller, revoked or not, or may have one: then the rule of service accounts gives it nothing.
    pub(super) fn entries_of_ca_count(&self, held: &Held) -> bool {
        let of_ca = held.identities.iter().filter(|identity| identity.entry.account.is_none());
        of_ca.map(|identity| &identity.entry).any(|entry| self.match_entry(entry) || self.decided_by(entry).is_some())
    }

    /// Why it is open whether the caller has the identity of a service account: its pod is not known yet, or the node has not made an entry of it
    /// in this moment.
    fn account_awaited(&self, held: &Held) -> Option<String> {
        if !held.has_account_rule {
            return None;
        }
        let kind = SelectorKind::PodServiceAccount;
        let absent = self.unreadable.iter().find(|absent| absent.passing && absent.kind == kind);
        let is_known = || self.selectors.iter().any(|selector| selector.is(kind));
        let awaited = || is_known().then(|| "the identity of its pod's service account is not asked for yet".to_owned());
        absent.map(|absent| absent.why.clone()).or_else(awaited)
    }

    /// What of the unreadable decides whether this entry matches, when nothing else is missing.
    fn decided_by(&self, entry: &Entry) -> Option<&Unreadable> {
        let mut deciding = None;
        for selector in entry.selectors.iter().filter(|selector| !self.selectors.contains(*selector)) {
            let of_kind = |absent: &Unreadable| {
                selector.as_str().strip_prefix(absent.kind.as_str()).is_some_and(|rest| rest.starts_with(':'))
            };
            deciding = Some(self.unreadable.iter().find(|absent| absent.passing && of_kind(absent))?);
        }
        deciding
    }
}

impl CallerState {
    pub(crate) fn of(held: &Held, facts: &Facts) -> Self {
        let of_ca = facts.entries_of_ca_count(held);
        let matched = || held.identities.iter().filter(|identity| facts.match_identity(identity, of_ca));
        let is_revoked = |identity: &&HeldIdentity| matches!(identity.state, IdentityState::Revoked);
        let default_revoked = matched().next().as_ref().is_some_and(is_revoked);
        let (revoked, identities): (Vec<_>, Vec<_>) = matched().cloned().partition(|identity| is_revoked(&identity));
        let named = identities.iter().flat_map(|identity| &identity.entry.federates_with);
        let foreign = named.filter_map(|name| Some((name.clone(), Arc::clone(held.foreign.get(name)?)))).collect();
        let undecided = if identities.is_empty() && revoked.is_empty() {
            let entry = held.identities.iter().find_map(|identity| facts.decided_by(&identity.entry));
            entry.map(|absent| absent.why.clone()).or_else(|| facts.account_awaited(held))
        } else {
            None
        };
        Self {
            knowledge: held.knowledge,
            identities,
            revoked,
            default_revoked,
            undecided,
            bundle: held.bundle.clone(),
            revocation: held.revocation.clone(),
            foreign,
        }
    }

    /// The part that SDS serves.
    pub(crate) fn secrets(&self) -> SecretState {
        let svids = self.identities.iter().filter_map(|identity| identity.state.svid().cloned()).collect();
        let pending = self.identities.iter().filter(|identity| identity.state.svid().is_none());
        let pending = pending.map(|identity| identity.entry.spiffe_id.clone()).collect();
        SecretState {
            known: self.knowledge == EntryKnowledge::Synced,
            pending,
            revoked: self.revoked.iter().map(|identity| identity.entry.spiffe_id.clone()).collect(),
            default_revoked: self.default_revoked,
            svids,
            bundle: self.bundle.clone(),
            revocation: self.revocation.clone(),
            foreign: self.foreign.values().cloned().collect(),
            refused: None,
        }
    }

    /// Whether nothing of it changed. SVIDs and bundles are replaced, never changed in place, so being the same one is being
    /// equal.
    pub(crate) fn same(before: &Self, after: &Self) -> bool {
        let same_identity = |(before, after): (&HeldIdentity, &HeldIdentity)| {
            before.entry == after.entry
                && before.last_error == after.last_error
                && before.state.as_str() == after.state.as_str()
                && same(before.state.svid(), after.state.svid())
        };
        before.knowledge == after.knowledge
            && before.undecided == after.undecided
            && same(before.bundle.as_ref(), after.bundle.as_ref())
            && same(before.revocation.as_ref(), after.revocation.as_ref())
            && before.foreign == after.foreign
            && before.default_revoked == after.default_revoked
            && before.revoked.len() == after.revoked.len()
            && before.revoked.iter().zip(&after.revoked).all(|(before, after)| before.entry == after.entry)
            && before.identities.len() == after.identities.len()
            && before.identities.iter().zip(&after.identities).all(same_identity)
    }
}

/// The same for what SDS serves.
pub(super) fn same_secrets(before: &SecretState, after: &SecretState) -> bool {
    same(before.bundle.as_ref(), after.bundle.as_ref())
        && same(before.revocation.as_ref(), after.revocation.as_ref())
        && before.foreign == after.foreign
        && before.revoked == after.revoked
        && before.default_revoked == after.default_revoked
        && before.known == after.known
        && before.pending == after.pending
        && before.svids.len() == after.svids.len()
        && before.svids.iter().zip(&after.svids).all(|(before, after)| Arc::ptr_eq(before, after))
}

fn same<T>(before: Option<&Arc<T>>, after: Option<&Arc<T>>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
