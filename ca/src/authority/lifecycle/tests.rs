//! Single transitions, and all interleavings of operators, driver, crashes and one agent.

mod gates;
mod model;
mod replicas;
mod rotations;
mod single;

use super::*;
use pki::Timestamp;

pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

pub(super) fn name(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

/// A public part that says whose it is.
pub(super) fn material(name: AuthorityName) -> Material {
    let mut key = [0; 32];
    key[0] = u8::try_from(name.number).unwrap();
    key[1] = match name.kind {
        AuthorityKind::Root => 1,
        AuthorityKind::Issuer => 2,
        AuthorityKind::Jwt => 3,
    };
    let not_after = (name.kind != AuthorityKind::Jwt).then(|| now().plus(std::time::Duration::from_secs(1000)));
    Material { key, public_der: name.to_string().into_bytes(), not_before: now(), not_after }
}

pub(super) fn did(state: &Lifecycle, event: Event) -> Lifecycle {
    let transition = apply(state, event, now()).unwrap();
    transition.state.check().unwrap();
    transition.state
}

/// As after the first start: one of each kind, active and published.
pub(super) fn adopted() -> Lifecycle {
    let mut state = Lifecycle::default();
    for text in ["root-1", "issuer-1", "jwt-1"] {
        let name = name(text);
        state = did(&state, Event::Adopt(Adopted { name, material: material(name) }));
    }
    did(&state, Event::Published { sequence: 1 })
}

/// A prepared successor, made and published under this sequence.
pub(super) fn prepared(state: &Lifecycle, kind: AuthorityKind, sequence: u64) -> Lifecycle {
    let mut state = did(state, Event::Prepare(kind));
    while let Some(Effect::Make { name, .. }) = resume(&state).into_iter().find(|effect| matches!(effect, Effect::Make { .. })) {
        state = did(&state, Event::Made { name, material: material(name) });
    }
    did(&state, Event::Published { sequence })
}

pub(super) fn slots(state: &Lifecycle) -> Vec<(String, Slot, bool)> {
    state.authorities().map(|authority| (authority.name.to_string(), authority.slot, authority.tainted_at.is_some())).collect()
}
