//! What comes next for an authority, when, and why; for people.

use pki::Timestamp;

use super::gate::{Facts, Gate, Waiting, activation, revocation};
use super::rotation::Rotation;
use super::schedule::{Policy, due_at};
use super::{Authority, AuthorityKind, AuthorityName, Lifecycle, Slot};

/// What there is to know beside the authority itself.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// All authorities.
    pub state: &'a Lifecycle,
    /// Rotations that are under way.
    pub rotations: &'a [Rotation],
    /// By which gates are judged.
    pub facts: &'a Facts,
    /// How authorities are replaced without being asked; `None`: they are not.
    pub automatic: Option<Policy>,
    /// The time.
    pub now: Timestamp,
}

impl Outlook<'_> {
    /// One sentence, without a full stop.
    #[must_use]
    pub fn next_action(&self, authority: &Authority) -> String {
        match authority.slot {
            Slot::Making => "key and certificate are being made".to_owned(),
            Slot::Prepared => self.of_prepared(authority),
            Slot::Active => self.of_active(authority),
            Slot::Old => self.of_old(authority),
            Slot::Revoked if authority.destroyed => "none: its private key is destroyed".to_owned(),
            Slot::Revoked => "its private key is being destroyed".to_owned(),
        }
    }

    fn of_prepared(&self, authority: &Authority) -> String {
        let name = authority.name;
        if let Some(root) = authority.parent.and_then(|parent| self.state.get(parent)).filter(|root| root.slot != Slot::Active) {
            return format!("signs when {} does", root.name);
        }
        let facts = self.facts;
        let rotation = self.rotation(name.kind);
        if rotation.is_some_and(|rotation| rotation.aborting) {
            return "is dropped: the rotation is being undone".to_owned();
        }
        let accepted = rotation.map(|rotation| rotation.accepted.clone()).unwrap_or_default();
        match (activation(self.state, name, facts, self.now, &accepted), rotation) {
            (Gate::Open, Some(_)) => "signs at once".to_owned(),
            (Gate::Waits(waits), Some(_)) => format!("signs when this is over: {}", list(&waits)),
            (Gate::Open, None) => format!("may sign (`signet authority activate {name}`)"),
            (Gate::Waits(waits), None) => format!("may sign when this is over: {}", list(&waits)),
        }
    }

    fn of_active(&self, authority: &Authority) -> String {
        let name = authority.name;
        if authority.has_ended(self.now) {
            return format!("has ended: nothing can be issued (`signet drill {}`)", name.kind);
        }
        if let Some(rotation) = self.rotation(name.kind) {
            return match (rotation.from == name, rotation.aborting, rotation.successor(self.state)) {
                (false, false, _) => format!("signs in place of {}", rotation.from),
                (false, true, _) => format!("gives way to {} again: the rotation is being undone", rotation.from),
                (true, true, _) => "goes on signing: its rotation is being undone".to_owned(),
                (true, false, Some(successor)) => format!("is being replaced by {}", successor.name),
                (true, false, None) => "is being replaced".to_owned(),
            };
        }
        let of_root = self.rotation(AuthorityKind::Root).filter(|rotation| authority.parent == Some(rotation.from));
        if let Some(successor) = of_root.filter(|rotation| !rotation.aborting).and_then(|rotation| rotation.successor(self.state))
        {
            return format!("signs until {} does", successor.name);
        }
        let Some(policy) = self.automatic else {
            let end = authority.material.as_ref().and_then(|material| material.not_after);
            let before = end.map(|end| format!(" before {end}")).unwrap_or_default();
            return format!("to be replaced{before} by `signet drill {}`: [rotation] automatic is off", name.kind);
        };
        let why = match name.kind {
            AuthorityKind::Root => "a third of its life is left then",
            AuthorityKind::Issuer if policy.is_issuer_foreign => {
                "upstream is asked for the next one when two fifths of its life are over"
            }
            AuthorityKind::Issuer => "half of its life is over then",
            AuthorityKind::Jwt => "it has signed for [rotation] jwt_key_life then",
        };
        match due_at(authority, policy) {
            Some(due) if due <= self.now => "is due to be replaced; the CA begins by itself".to_owned(),
            Some(due) => format!("is replaced by itself from {due} on: {why}"),
            None => "is not replaced by itself: its certificate names no end".to_owned(),
        }
    }

    fn of_old(&self, authority: &Authority) -> String {
        let name = authority.name;
        if let Some(root) = authority.parent.and_then(|parent| self.state.get(parent)).filter(|root| root.slot == Slot::Old) {
            return format!("goes with {}", root.name);
        }
        let by_itself = self.rotation_from(name);
        if by_itself.is_some_and(|rotation| rotation.aborting && authority.tainted_at.is_none()) {
            return "signs again: its rotation is being undone".to_owned();
        }
        let accepted = by_itself.map(|rotation| rotation.accepted.clone()).unwrap_or_default();
        match (revocation(self.state, name, self.facts, self.now, &accepted), by_itself.is_some()) {
            (Gate::Open, true) => "goes at once".to_owned(),
            (Gate::Waits(waits), true) => format!("goes when this is over: {}", list(&waits)),
            (Gate::Open, false) => format!("may go (`signet authority revoke {name}`)"),
            (Gate::Waits(waits), false) => format!("may go when this is over: {}", list(&waits)),
        }
    }

    fn rotation(&self, kind: AuthorityKind) -> Option<&Rotation> {
        self.rotations.iter().find(|rotation| rotation.from.kind == kind)
    }

    /// The rotation by which an old authority goes: its own, or one that is being undone and whose successor it was.
    fn rotation_from(&self, name: AuthorityName) -> Option<&Rotation> {
        self.rotation(name.kind).filter(|rotation| {
            rotation.from == name || (rotation.aborting && rotation.successor(self.state).is_some_and(|after| after.name == name))
        })
    }
}

fn list(waits: &[Waiting]) -> String {
    waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
