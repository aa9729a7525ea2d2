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
    authorities: BTreeMap<AuthorityName, Authority>,
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
    /// An issuing CA signs whose root does not.
    #[error("{0} is active and its root is not")]
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
        let lifecycle = Self { authorities };
        lifecycle.check()?;
        Ok(lifecycle)
    }

    /// Holds what every sequence of events keeps.
    ///
    /// # Errors
    /// [`LifecycleFault`].
    pub fn check(&self) -> Result<(), LifecycleFault> {
        let mut active: BTreeMap<AuthorityKind, AuthorityName> = BTreeMap::new();
        for authority in self.authorities.values() {
            let (name, slot) = (authority.name, authority.slot);
            let parent = authority.parent.map(|parent| (parent.kind, self.authorities.get(&parent)));
            match (name.kind, parent) {
                (AuthorityKind::Issuer, Some((AuthorityKind::Root, Some(root)))) => {
                    if slot == Slot::Active && root.slot != Slot::Active {
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
                && let Some(other) = active.insert(name.kind, name)
            {
                return Err(LifecycleFault::TwoActive(other, name));
            }
        }
        Ok(())
    }

    /// Every authority, by kind and number.
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

    /// The issuing CAs under a root, oldest first.
    pub fn under(&self, root: AuthorityName) -> impl Iterator<Item = &Authority> {
        self.authorities.values().filter(move |authority| authority.parent == Some(root))
    }

    /// What the trust bundle has of a kind: [`AuthorityKind::Root`] its X.509 authorities, [`AuthorityKind::Jwt`] its JWT keys.
    pub fn in_bundle(&self, kind: AuthorityKind) -> impl Iterator<Item = &Authority> {
        self.of(kind).filter(|authority| authority.is_in_bundle())
    }

    /// What receivers of the bundle are told not to rest on any more: everything tainted that the bundle still vouches for, by
    /// itself or by its root.
    pub fn tainted(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.values().filter(|authority| {
            let vouching = authority.parent.and_then(|parent| self.get(parent)).unwrap_or(authority);
            authority.tainted_at.is_some() && vouching.is_in_bundle()
        })
    }

    /// The name of the next of a kind.
    fn next_name(&self, kind: AuthorityKind) -> AuthorityName {
        let last = self.of(kind).last().map_or(0, |authority| authority.name.number);
        AuthorityName { kind, number: last.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests;
