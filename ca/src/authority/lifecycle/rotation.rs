//! A whole rotation: which event comes next, or what is awaited. Nothing but its goal is remembered: where it stands is read from the
//! lifecycle, so that it goes on after any crash, in any process.

use pki::Timestamp;

use super::gate::{Accepted, Facts, Gate, Waiting, activation, revocation, still_under};
use super::{Authority, AuthorityKind, AuthorityName, Event, Lifecycle, Slot};

/// The goal of a rotation. At most one of each kind is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What is replaced: the one that was active at the start.
    pub from: AuthorityName,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// How what rests on the old one ends.
    pub pace: Pace,
    /// It is being undone.
    pub aborting: bool,
    /// What an operator accepted to lose.
    pub accepted: Accepted,
}

/// How what rests on an old authority ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By itself, at its end: the way of the CA's own rotations.
    Natural,
    /// It is renewed at once: the way of drills, and of a suspected theft.
    Taint,
}

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The successor is being made.
    Prepare,
    /// Receivers take the bundle with it.
    Distribute,
    /// What rests on the old one is renewed, or ends.
    Replace,
    /// The old one is out of the bundle, and its key is being destroyed.
    Withdraw,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This event.
    Apply(Phase, Event),
    /// Nothing, until these are over.
    Wait(Phase, Vec<Waiting>),
    /// It is over.
    Done(Outcome),
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The successor signs and the old one is gone.
    Completed,
    /// Everything is as before the start.
    RolledBack,
}

/// Why a rotation cannot be undone any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    /// What rests on the old one is being renewed.
    #[error(
        "{0} is tainted: its leaves are being renewed under the successor, and going back would renew them again under a key that was given up. \
         Let it run to its end, and start another one if the successor must go"
    )]
    Tainted(AuthorityName),
    /// Another root was activated since.
    #[error("{0} stands under {1}, which does not sign any more: undo the rotation of {1} first, if it is still under way")]
    OtherRoot(AuthorityName, AuthorityName),
    /// Nothing under the old root can sign.
    #[error("no issuing CA under {0} can sign any more: there is nothing to go back to. Let the rotation run to its end")]
    NoIssuer(AuthorityName),
    /// The old one is gone.
    #[error(
        "{0} is revoked and its key is destroyed: there is nothing to go back to. Start another one if the successor must go"
    )]
    Revoked(AuthorityName),
}

impl Rotation {
    /// The successor, once there is one: what will sign in place of the old one, or does.
    #[must_use]
    pub fn successor<'a>(&self, state: &'a Lifecycle) -> Option<&'a Authority> {
        let kind = self.from.kind;
        if state.get(self.from).is_some_and(|from| from.slot == Slot::Active) {
            return state.next(kind);
        }
        state.active(kind)
    }

    /// When the rotation came to this phase, as far as the lifecycle says. Of one that is being undone it says nothing.
    #[must_use]
    pub fn entered(&self, phase: Phase, state: &Lifecycle) -> Option<Timestamp> {
        if self.aborting {
            return None;
        }
        let old = || state.get(self.from);
        let stands_in = |authority: &Authority, slot| (authority.slot == slot).then_some(authority.since);
        match phase {
            Phase::Prepare => Some(self.started_at),
            Phase::Distribute => self.successor(state).and_then(|next| stands_in(next, Slot::Prepared)),
            Phase::Replace => old().and_then(|old| stands_in(old, Slot::Old)),
            Phase::Withdraw => old().and_then(|old| stands_in(old, Slot::Revoked)),
        }
        .map(|since| since.max(self.started_at))
    }

    /// The newest that came after the old one, under the same root: what goes when the rotation is undone.
    fn newcomer<'a>(&self, state: &'a Lifecycle) -> Option<&'a Authority> {
        let parent = state.get(self.from)?.parent;
        let newer = |authority: &&Authority| authority.name > self.from && authority.parent == parent && authority.is_in_force();
        state.of(self.from.kind).filter(newer).last()
    }

    /// Whether it can be undone at `now`.
    ///
    /// # Errors
    /// [`NoWayBack`].
    pub fn check_way_back(&self, state: &Lifecycle, now: Timestamp) -> Result<(), NoWayBack> {
        match state.get(self.from) {
            Some(Authority { slot: Slot::Old, tainted_at: Some(_), .. }) => Err(NoWayBack::Tainted(self.from)),
            Some(Authority { slot: Slot::Revoked, .. }) | None => Err(NoWayBack::Revoked(self.from)),
            Some(Authority { slot: Slot::Old, parent: Some(root), .. })
                if state.get(*root).is_some_and(|root| root.slot != Slot::Active) =>
            {
                Err(NoWayBack::OtherRoot(self.from, *root))
            }
            Some(Authority { slot: Slot::Old, .. })
                if self.from.kind == AuthorityKind::Root && state.signer_under(self.from, now).is_none() =>
            {
                Err(NoWayBack::NoIssuer(self.from))
            }
            Some(_) => Ok(()),
        }
    }

    /// What comes next, by the facts of now.
    #[must_use]
    pub fn next(&self, state: &Lifecycle, facts: &Facts, now: Timestamp) -> Next {
        if self.aborting && self.check_way_back(state, now).is_ok() {
            return self.next_back(state, facts, now);
        }
        let Some(old) = state.get(self.from) else { return Next::Done(Outcome::Completed) };
        match old.slot {
            // A rotation begins with what signs; whatever else it is was made so by other hands.
            Slot::Making | Slot::Prepared => Next::Done(Outcome::RolledBack),
            Slot::Active => self.towards_activation(state, facts, now),
            Slot::Old => self.towards_revocation(state, old, facts, now),
            Slot::Revoked => withdrawn(state, self.from),
        }
    }

    fn towards_activation(&self, state: &Lifecycle, facts: &Facts, now: Timestamp) -> Next {
        let Some(successor) = self.successor(state) else { return Next::Apply(Phase::Prepare, Event::Prepare(self.from.kind)) };
        let name = successor.name;
        if successor.slot == Slot::Making {
            return Next::Wait(Phase::Prepare, Vec::new());
        }
        if name.kind == AuthorityKind::Root {
            let mut under = state.under(name).filter(|issuer| !issuer.has_ended(now));
            match under.find(|issuer| matches!(issuer.slot, Slot::Making | Slot::Prepared)).map(|issuer| issuer.slot) {
                Some(Slot::Prepared) => {}
                Some(_) => return Next::Wait(Phase::Prepare, Vec::new()),
                None => return Next::Apply(Phase::Prepare, Event::Prepare(AuthorityKind::Root)),
            }
        }
        match activation(state, name, facts, now, &self.accepted) {
            Gate::Open => Next::Apply(Phase::Distribute, Event::Activate { name, gate: Gate::Open }),
            Gate::Waits(waits) => Next::Wait(Phase::Distribute, waits),
        }
    }

    fn towards_revocation(&self, state: &Lifecycle, old: &Authority, facts: &Facts, now: Timestamp) -> Next {
        // What is told to be renewed must be renewed under another root everywhere.
        let following = still_under(state, old.name, facts);
        if !following.is_empty() {
            return Next::Wait(Phase::Replace, following);
        }
        if self.pace == Pace::Taint && old.tainted_at.is_none() {
            return Next::Apply(Phase::Replace, Event::Taint(old.name));
        }
        match revocation(state, old.name, facts, now, &self.accepted) {
            Gate::Open => Next::Apply(Phase::Replace, Event::Revoke { name: old.name, gate: Gate::Open }),
            Gate::Waits(waits) => Next::Wait(Phase::Replace, waits),
        }
    }

    /// The old one signs again, and the successor goes when nothing rests on it.
    fn next_back(&self, state: &Lifecycle, facts: &Facts, now: Timestamp) -> Next {
        let from = self.from;
        if state.get(from).is_some_and(|old| old.slot == Slot::Old) {
            return Next::Apply(Phase::Distribute, Event::Activate { name: from, gate: Gate::Open });
        }
        let Some(successor) = self.newcomer(state) else { return Next::Done(Outcome::RolledBack) };
        let name = successor.name;
        if successor.slot == Slot::Old && successor.tainted_at.is_none() {
            return Next::Apply(Phase::Replace, Event::Taint(name));
        }
        match revocation(state, name, facts, now, &self.accepted) {
            Gate::Open => Next::Apply(Phase::Replace, Event::Revoke { name, gate: Gate::Open }),
            Gate::Waits(waits) => Next::Wait(Phase::Replace, waits),
        }
    }
}

/// The key is destroyed and the bundle without it goes out by itself: nothing depends on who has it, so nobody is waited for.
fn withdrawn(state: &Lifecycle, from: AuthorityName) -> Next {
    if state.get(from).is_some_and(|old| old.destroyed) {
        Next::Done(Outcome::Completed)
    } else {
        Next::Wait(Phase::Withdraw, Vec::new())
    }
}
