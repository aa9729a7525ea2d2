//! The life of this CA's authorities: which roots, issuing CAs and JWT keys there are, and which slot each of them is in.
//!
//! Pure. [`apply`] is the one function that changes a [`Lifecycle`]; what must be done about the change is told as [`Effect`]s, each of which
//! may be repeated: [`resume`] gives those that a state asks for after a crash. [`gate`] judges facts about receivers and leaves, and
//! [`rotation`] puts single transitions into the sequence of a whole rotation.

mod event;
pub mod gate;
pub mod outlook;
pub mod plan;
pub mod rotation;
pub mod schedule;
mod slots;
mod transition;

use std::collections::BTreeMap;

use identity::ReplicaName;
use pki::Timestamp;

pub use event::{Adopted, Effect, Event, Refusal};
pub use slots::{Authority, AuthorityKind, AuthorityName, AuthorityNameError, Material, Slot};
pub use transition::{Transition, apply, resume};

/// Most authorities of one kind that are not revoked at a time. More of them would only make each bundle longer.
pub const MOST_IN_FORCE: usize = 16;

/// All authorities that this CA ever had. Revoked ones stay, without their keys: a name is never used twice.
///
/// Empty of roots and issuing CAs where these are plugged in from outside (`[authority] directory`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Roots, which all replicas share, and this replica's own issuing CAs and JWT keys.
    authorities: BTreeMap<AuthorityName, Authority>,
    /// Issuing CAs and JWT keys of other replicas: they stand under the same roots and in the same bundle, and their names are taken. What
    /// they do is theirs to decide, except that they end with their root.
    others: BTreeMap<AuthorityName, Foreign>,
}

/// An authority of another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Whose it is.
    pub replica: ReplicaName,
    /// The authority.
    pub authority: Authority,
}

/// What a stored lifecycle breaks. It is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleFault {
    /// One name twice.
    #[error("{0} is there twice")]
    Repeated(AuthorityName),
    /// Two of a kind sign.
    #[error("{0} and {1} are both active")]
    TwoActive(AuthorityName, AuthorityName),
    /// An issuing CA without its root, or another kind with a parent.
    #[error("{0} has no right parent")]
    Parent(AuthorityName),
    /// An issuing CA signs whose root never did, or is revoked.
    #[error("{0} is active and its root neither is nor was")]
    ParentNotActive(AuthorityName),
    /// Public part there in the slot `making`, or missing in another one.
    #[error("{0} in slot {1} with the public part of another slot")]
    Material(AuthorityName, Slot),
    /// Tainted before it was old.
    #[error("{0} in slot {1} is tainted")]
    Tainted(AuthorityName, Slot),
}

impl Lifecycle {
    /// Of what was stored.
    ///
    /// # Errors
    /// [`LifecycleFault`]: the first thing in it that no sequence of events makes.
    pub fn restore(stored: impl IntoIterator<Item = Authority>) -> Result<Self, LifecycleFault> {
        let mut authorities = BTreeMap::new();
        for authority in stored {
            if let Some(twice) = authorities.insert(authority.name, authority) {
                return Err(LifecycleFault::Repeated(twice.name));
            }
        }
        let lifecycle = Self { authorities, others: BTreeMap::new() };
        lifecycle.check()?;
        Ok(lifecycle)
    }

    /// With what other replicas have.
    ///
    /// # Errors
    /// [`LifecycleFault`], also for a root: those are everybody's.
    pub fn beside(mut self, others: impl IntoIterator<Item = Foreign>) -> Result<Self, LifecycleFault> {
        for foreign in others {
            let name = foreign.authority.name;
            if name.kind == AuthorityKind::Root {
                return Err(LifecycleFault::Parent(name));
            }
            if self.authorities.contains_key(&name) || self.others.insert(name, foreign).is_some() {
                return Err(LifecycleFault::Repeated(name));
            }
        }
        self.check()?;
        Ok(self)
    }

    /// Holds what every sequence of events keeps.
    ///
    /// # Errors
    /// [`LifecycleFault`].
    pub fn check(&self) -> Result<(), LifecycleFault> {
        let mut active: BTreeMap<(AuthorityKind, Option<&ReplicaName>), AuthorityName> = BTreeMap::new();
        let own = self.authorities.values().map(|authority| (authority, None));
        for (authority, replica) in own.chain(self.others.values().map(|foreign| (&foreign.authority, Some(&foreign.replica)))) {
            let (name, slot) = (authority.name, authority.slot);
            let parent = authority.parent.map(|parent| (parent.kind, self.authorities.get(&parent)));
            match (name.kind, parent) {
                (AuthorityKind::Issuer, Some((AuthorityKind::Root, Some(root)))) => {
                    // A replica follows a root that another one activated in a step of its own.
                    if slot == Slot::Active && !matches!(root.slot, Slot::Active | Slot::Old) {
                        return Err(LifecycleFault::ParentNotActive(name));
                    }
                }
                (AuthorityKind::Root | AuthorityKind::Jwt, None) => {}
                _ => return Err(LifecycleFault::Parent(name)),
            }
            // What was dropped before it was made is revoked without a public part.
            if slot != Slot::Revoked && (slot == Slot::Making) != authority.material.is_none() {
                return Err(LifecycleFault::Material(name, slot));
            }
            if authority.tainted_at.is_some() && !matches!(slot, Slot::Old | Slot::Revoked) {
                return Err(LifecycleFault::Tainted(name, slot));
            }
            if slot == Slot::Active
                && let Some(other) = active.insert((name.kind, replica), name)
            {
                return Err(LifecycleFault::TwoActive(other, name));
            }
        }
        Ok(())
    }

    /// Every authority of this replica, by kind and number; those of others are [`Self::others`].
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: AuthorityName) -> Option<&Authority> {
        self.authorities.get(&name)
    }

    /// The one of a kind that signs.
    #[must_use]
    pub fn active(&self, kind: AuthorityKind) -> Option<&Authority> {
        self.of(kind).find(|authority| authority.slot == Slot::Active)
    }

    /// The one of a kind that will sign next: made or being made. Of issuing CAs, the one under the active root.
    #[must_use]
    pub fn next(&self, kind: AuthorityKind) -> Option<&Authority> {
        let root = self.active(AuthorityKind::Root).map(|root| root.name);
        self.of(kind).find(|authority| {
            matches!(authority.slot, Slot::Making | Slot::Prepared) && (kind != AuthorityKind::Issuer || authority.parent == root)
        })
    }

    /// Those of a kind, oldest first.
    pub fn of(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        self.authorities.values().filter(move |authority| authority.name.kind == kind)
    }

    /// What other replicas have.
    pub fn others(&self) -> impl Iterator<Item = &Foreign> {
        self.others.values()
    }

    /// Whoever's it is.
    pub fn everything(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.values().chain(self.others.values().map(|foreign| &foreign.authority))
    }

    /// The issuing CAs of all replicas under a root.
    pub fn all_under(&self, root: AuthorityName) -> impl Iterator<Item = &Authority> {
        self.everything().filter(move |authority| authority.parent == Some(root))
    }

    /// Whether what only the replica may change that leads is other than in `before`: a root, or what is another replica's. That they were
    /// published is nobody's decision: whoever numbers a bundle knows it.
    #[must_use]
    pub fn moves_shared(&self, before: &Self) -> bool {
        let same = |now: &Authority, then: &Authority| {
            let unpublished =
                |authority: &Authority| Authority { published_in: None, taint_published_in: None, ..authority.clone() };
            unpublished(now) == unpublished(then)
        };
        let roots = |state: &Self| state.of(AuthorityKind::Root).cloned().collect::<Vec<_>>();
        let (now, then) = (roots(self), roots(before));
        let are_roots_same = now.len() == then.len() && now.iter().zip(&then).all(|(now, then)| same(now, then));
        let are_others_same = self.others.len() == before.others.len()
            && self.others.values().zip(before.others.values()).all(|(now, then)| same(&now.authority, &then.authority));
        !(are_roots_same && are_others_same)
    }

    /// The issuing CAs under a root, oldest first.
    pub fn under(&self, root: AuthorityName) -> impl Iterator<Item = &Authority> {
        self.authorities.values().filter(move |authority| authority.parent == Some(root))
    }

    /// The issuing CA that signs when this root is activated at `now`: the prepared one, or, when the root was active before, the newest
    /// that can still sign.
    fn signer_under(&self, root: AuthorityName, now: Timestamp) -> Option<&Authority> {
        let can_sign = |issuer: &&Authority| {
            let made = matches!(issuer.slot, Slot::Prepared | Slot::Old) && issuer.tainted_at.is_none();
            made && !issuer.has_ended(now)
        };
        self.under(root).filter(can_sign).last()
    }

    /// What the trust bundle has of a kind: [`AuthorityKind::Root`] its X.509 authorities, [`AuthorityKind::Jwt`] its JWT keys.
    pub fn in_bundle(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        let mut found: Vec<_> = self.everything().filter(move |authority| authority.name.kind == kind).collect();
        found.sort_by_key(|authority| authority.name);
        found.into_iter().filter(|authority| authority.is_in_bundle())
    }

    /// What receivers of the bundle are told not to rest on any more: everything tainted that the bundle still vouches for, by
    /// itself or by its root.
    pub fn tainted(&self) -> impl Iterator<Item = &Authority> {
        self.everything().filter(|authority| {
            let vouching = authority.parent.and_then(|parent| self.get(parent)).unwrap_or(authority);
            authority.tainted_at.is_some() && vouching.is_in_bundle()
        })
    }

    /// The name of the next of a kind: no replica has used it.
    #[must_use]
    pub fn next_name(&self, kind: AuthorityKind) -> AuthorityName {
        let last = self.everything().filter(|authority| authority.name.kind == kind).map(|authority| authority.name.number).max();
        let last = last.unwrap_or(0);
        AuthorityName { kind, number: last.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests;
