//! What a rotation would do. The steps are found by the machine itself, run against receivers that answer at once: a plan cannot
//! differ from what happens later, but in how long it takes.

use std::collections::{BTreeSet, VecDeque};

use identity::NodeName;
use pki::Timestamp;

use super::gate::{Accepted, Facts, Names, resting_on};
use super::rotation::{Next, Pace, Phase, Rotation};
use super::{
    Authority, AuthorityKind, AuthorityName, Effect, Event, Lifecycle, Material, Refusal, Slot, Transition, apply, resume,
};

/// Most events of one rotation; it has far fewer.
const MOST_EVENTS: usize = 32;

/// What a rotation would do, and what it would touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Agents that are connected and whose word is awaited.
    pub agents_connected: usize,
    /// Agents that are not, and whose word is awaited all the same.
    pub agents_absent: BTreeSet<NodeName>,
    /// Certificates that rest on what is replaced, and that it renews or waits for.
    pub leaves: u64,
    /// What will take longest, by what is known now; for people.
    pub longest_wait: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it belongs.
    pub phase: Phase,
    /// What is done or awaited; for people.
    pub text: String,
}

/// The rotation that begins when one of this kind is asked for now.
///
/// # Errors
/// [`Refusal::PluggedIn`] when this CA has none of the kind.
pub fn beginning(state: &Lifecycle, kind: AuthorityKind, pace: Pace, now: Timestamp) -> Result<Rotation, Refusal> {
    let from = state.active(kind).ok_or(Refusal::PluggedIn(kind))?.name;
    Ok(Rotation { from, started_at: now, pace, aborting: false, accepted: Accepted::default() })
}

/// What is left to do of a rotation, which may have begun already.
///
/// # Errors
/// [`Refusal`]: why it would not go through.
pub fn plan(rotation: &Rotation, state: &Lifecycle, facts: &Facts, now: Timestamp) -> Result<Plan, Refusal> {
    let scene = Scene::of(rotation, state, facts);
    let mut steps = Vec::new();
    // What was asked for before and is not done yet.
    let mut current = settle(state.clone(), resume(state), now)?;
    steps.extend(made(state, &current).map(|text| Step { phase: Phase::Prepare, text }));
    let prompt = Facts::default();
    for _ in 0..MOST_EVENTS {
        let Next::Apply(phase, event) = rotation.next(&current, &prompt, now) else { break };
        steps.extend(scene.wait_before(&event, &current).map(|text| Step { phase, text }));
        let Transition { state: next, effects } = apply(&current, event.clone(), now)?;
        let after = settle(next, effects, now)?;
        let phase = if matches!(event, Event::Revoke { .. }) { Phase::Withdraw } else { phase };
        steps.extend(scene.text_of(&event, &current, &after).map(|text| Step { phase, text }));
        current = after;
    }
    let Scene { connected, absent, leaves, .. } = &scene;
    Ok(Plan {
        longest_wait: scene.longest_wait(facts, now),
        steps,
        agents_connected: *connected,
        agents_absent: absent.clone(),
        leaves: *leaves,
    })
}

/// The state after these effects were done, each at once.
fn settle(state: Lifecycle, effects: Vec<Effect>, now: Timestamp) -> Result<Lifecycle, Refusal> {
    let mut state = state;
    let mut effects = VecDeque::from(effects);
    while let Some(effect) = effects.pop_front() {
        let event = match effect {
            Effect::Make { name, .. } => Event::Made { name, material: imagined(name, now) },
            Effect::Publish => Event::Published { sequence: u64::MAX },
            Effect::Sign => continue,
            Effect::Destroy(name) => Event::Destroyed(name),
        };
        let Transition { state: next, effects: more } = apply(&state, event, now)?;
        state = next;
        effects.extend(more);
    }
    Ok(state)
}

/// The public part of what is not made yet.
fn imagined(name: AuthorityName, now: Timestamp) -> Material {
    Material { key: pki::sha256(name.to_string().as_bytes()), public_der: Vec::new(), not_before: now, not_after: None }
}

/// Whom and what a rotation touches.
struct Scene {
    from: AuthorityName,
    pace: Pace,
    connected: usize,
    absent: BTreeSet<NodeName>,
    leaves: u64,
    last_end: Option<Timestamp>,
    tokens_until: Option<Timestamp>,
}

impl Scene {
    fn of(rotation: &Rotation, state: &Lifecycle, facts: &Facts) -> Self {
        let Rotation { from, pace, accepted, .. } = rotation;
        let agents = || facts.agents.iter().filter(|agent| !accepted.nodes.contains(&agent.node));
        let leaves = resting_on(state, *from, facts);
        Self {
            from: *from,
            pace: *pace,
            connected: agents().filter(|agent| agent.connected).count(),
            absent: agents().filter(|agent| !agent.connected).map(|agent| agent.node.clone()).collect(),
            leaves: if *pace == Pace::Taint { leaves.held } else { leaves.unexpired },
            last_end: leaves.last_end,
            tokens_until: facts.tokens_until.get(from).copied(),
        }
    }

    fn agents(&self) -> String {
        match (self.connected, self.absent.len()) {
            (connected, 0) => format!("all agents ({connected} are connected)"),
            (connected, absent) => {
                format!("all agents ({connected} are connected, {absent} are not: {})", Names(&self.absent))
            }
        }
    }

    /// What is awaited before an event.
    fn wait_before(&self, event: &Event, before: &Lifecycle) -> Option<String> {
        match event {
            Event::Activate { name, .. } if before.get(*name).is_some_and(|authority| authority.slot == Slot::Prepared) => {
                Some(match name.kind {
                    AuthorityKind::Root | AuthorityKind::Jwt => format!(
                        "{} acknowledge the bundle with {name}, their open streams take it and their files are written",
                        self.agents()
                    ),
                    AuthorityKind::Issuer => "nobody is waited for: an issuing CA comes with each certificate".to_owned(),
                })
            }
            Event::Revoke { name, .. } => {
                let authority = before.get(*name).filter(|authority| authority.slot == Slot::Old)?;
                Some(self.end_of(authority))
            }
            Event::Adopt(_)
            | Event::Prepare(_)
            | Event::Made { .. }
            | Event::Published { .. }
            | Event::Activate { .. }
            | Event::Taint(_)
            | Event::TaintReplica(_)
            | Event::RevokeReplica { .. }
            | Event::Destroyed(_) => None,
        }
    }

    /// What is awaited before an old authority goes.
    fn end_of(&self, authority: &Authority) -> String {
        let name = authority.name;
        let tokens = match self.tokens_until {
            Some(until) => format!("the JWT-SVIDs under {name} end, as of now at {until}"),
            None => format!("the JWT-SVIDs under {name} end"),
        };
        match (name.kind, authority.tainted_at.is_some()) {
            (AuthorityKind::Jwt, false) => tokens,
            (AuthorityKind::Jwt, true) => format!("{tokens}; {} have taken the news", self.agents()),
            (AuthorityKind::Root | AuthorityKind::Issuer, true) => {
                format!("{} have taken the news, and nobody holds a certificate that rests on {name}", self.agents())
            }
            (AuthorityKind::Root | AuthorityKind::Issuer, false) => match self.last_end {
                Some(end) => format!("the certificates that rest on {name} end by themselves, as of now at {end}"),
                None => format!("the certificates that rest on {name} end by themselves"),
            },
        }
    }

    fn text_of(&self, event: &Event, before: &Lifecycle, after: &Lifecycle) -> Option<String> {
        match event {
            Event::Prepare(_) => made(before, after),
            Event::Activate { name, .. } => {
                let (signing, old) = (moved(before, after, Slot::Active), moved(before, after, Slot::Old));
                let serving = match name.kind {
                    AuthorityKind::Root | AuthorityKind::Issuer => "; the CA's own serving certificate is renewed",
                    AuthorityKind::Jwt => "",
                };
                Some(format!("from now on {} in place of {}{serving}", signs(&signing), list(&old)))
            }
            Event::Taint(name) => {
                let tainted: Vec<_> = after
                    .authorities()
                    .filter(|authority| {
                        authority.tainted_at.is_some()
                            && before.get(authority.name).is_some_and(|before| before.tainted_at.is_none())
                    })
                    .map(|authority| authority.name)
                    .collect();
                Some(match name.kind {
                    AuthorityKind::Jwt => {
                        format!("{} is tainted: agents drop the JWT-SVIDs under it that they keep", list(&tainted))
                    }
                    AuthorityKind::Root | AuthorityKind::Issuer if *name == self.from => {
                        format!("{} tainted: {} certificates are renewed at once", are(&tainted), self.leaves)
                    }
                    AuthorityKind::Root | AuthorityKind::Issuer => {
                        format!("{} tainted: certificates that rest on it are renewed at once", are(&tainted))
                    }
                })
            }
            Event::Revoke { name, .. } => {
                let gone = moved(before, after, Slot::Revoked);
                let bundle = match name.kind {
                    AuthorityKind::Root | AuthorityKind::Jwt => format!("{name} leaves the bundle; "),
                    AuthorityKind::Issuer => String::new(),
                };
                Some(format!("{bundle}private keys are destroyed: {}", list(&gone)))
            }
            Event::Adopt(_)
            | Event::Made { .. }
            | Event::Published { .. }
            | Event::TaintReplica(_)
            | Event::RevokeReplica { .. }
            | Event::Destroyed(_) => None,
        }
    }

    fn longest_wait(&self, facts: &Facts, now: Timestamp) -> String {
        let from = self.from;
        // An issuing CA that ends by itself is no news to anybody.
        let asks_agents = from.kind != AuthorityKind::Issuer || self.pace == Pace::Taint;
        if asks_agents && !self.absent.is_empty() {
            return format!(
                "agents that are not connected: {}. It waits until they come back, or is told to go on without them (--force --accept-node)",
                Names(&self.absent)
            );
        }
        let keeps_files = facts.agents.iter().any(|agent| agent.files_written_at.is_some() || agent.files_behind > 0);
        let keeps_objects = from.kind != AuthorityKind::Jwt && !facts.objects.is_empty();
        let tokens = self.tokens_until.filter(|_| from.kind == AuthorityKind::Jwt);
        let leaves = self.last_end.filter(|_| self.pace == Pace::Natural && self.leaves > 0);
        match tokens.into_iter().chain(leaves).max().filter(|end| *end > now) {
            Some(end) if from.kind == AuthorityKind::Jwt => format!("JWT-SVIDs under {from}, good until {end}"),
            Some(end) => format!("certificates that rest on {from} and end by themselves, the last at {end}"),
            None if asks_agents && (keeps_files || keeps_objects) => {
                let seconds = facts.propagation_hold.as_secs();
                format!(
                    "files and objects of a cluster: whoever reads them cannot acknowledge, and is given {seconds} s after they were written"
                )
            }
            None if self.pace == Pace::Taint && self.leaves > 0 => {
                format!("the renewal of {} certificates by the agents that hold them", self.leaves)
            }
            None if asks_agents && self.connected > 0 => "the word of the connected agents".to_owned(),
            None => "nothing that is known now".to_owned(),
        }
    }
}

fn made(before: &Lifecycle, after: &Lifecycle) -> Option<String> {
    let made = moved(before, after, Slot::Prepared);
    let is_in_bundle = |name: &AuthorityName| after.get(*name).is_some_and(Authority::is_in_bundle);
    let told: Vec<_> = made.iter().copied().filter(is_in_bundle).collect();
    match (made.is_empty(), told.is_empty()) {
        (true, _) => None,
        (false, true) => Some(format!("made: {}", list(&made))),
        (false, false) => Some(format!("made: {}; a bundle with {} goes out", list(&made), list(&told))),
    }
}

/// Those that came into a slot, by name.
fn moved(before: &Lifecycle, after: &Lifecycle, slot: Slot) -> Vec<AuthorityName> {
    let was_elsewhere = |authority: &&Authority| before.get(authority.name).is_none_or(|before| before.slot != slot);
    after.authorities().filter(|authority| authority.slot == slot).filter(was_elsewhere).map(|authority| authority.name).collect()
}

fn list(names: &[AuthorityName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn are(names: &[AuthorityName]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "is" } else { "are" })
}

fn signs(names: &[AuthorityName]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "signs" } else { "sign" })
}

#[cfg(test)]
mod tests;
