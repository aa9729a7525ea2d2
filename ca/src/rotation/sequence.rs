//! Whole rotations: begun by the calendar, and taken forward as far as their gates let them.

use std::time::Duration;

use pki::Timestamp;

use super::CommandError;
use super::driver::Driver;
use super::materials::Materials;
use super::steps::Step;
use crate::authority::lifecycle::gate::{Accepted, Gate, revocation};
use crate::authority::lifecycle::rotation::{Next, Outcome, Pace, Phase};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Event, Slot, schedule};
use crate::store::Actor;

/// More events than any rotation has: one that goes in circles ends in the next turn.
const MOST_EVENTS: usize = 16;

/// How long what an operator undid is not begun again by the calendar.
pub(super) const PUT_OFF: Duration = Duration::from_secs(24 * 60 * 60);

impl Driver {
    /// Whether facts are needed at once.
    pub(super) fn needs_facts(&self) -> bool {
        self.standings.iter().any(|standing| standing.is_under_way()) || !self.left_behind().is_empty()
    }

    /// Begins rotations that are due, and takes out issuing CAs that nothing rests on any more.
    pub(super) async fn begin_what_is_due(&mut self) -> Result<(), CommandError> {
        let now = self.now();
        let state = self.journal.state().clone();
        let is_plugged_in = self.parts.plugged_in.is_some();
        self.put_off.retain(|(_, until)| now < *until);
        let certificate = self.parts.outlets.authority.borrow().certificate().clone();
        let is_urgent = !is_plugged_in && schedule::is_issuer_urgent(&state, &self.parts.profile, &certificate, now);
        let mut due: Vec<AuthorityKind> = schedule::due(&state, self.parts.config.policy, now).collect();
        if is_urgent && !due.contains(&AuthorityKind::Issuer) {
            due.insert(0, AuthorityKind::Issuer);
        }
        for kind in due {
            let is_put_off = self.put_off.iter().any(|(put_off, _)| *put_off == kind);
            let is_pressing = kind == AuthorityKind::Issuer && is_urgent;
            // Whoever has the key of a root replaces it, and this CA follows.
            let is_followed = kind == AuthorityKind::Root && self.parts.materials.upstream().is_some();
            let is_foreign = is_followed || (is_plugged_in && kind != AuthorityKind::Jwt);
            // What all replicas share is replaced by the one that leads.
            let is_led_by_another = kind == AuthorityKind::Root && self.is_shared() && !self.leads();
            if is_foreign || is_led_by_another || (is_put_off && !is_pressing) {
                continue;
            }
            if kind == AuthorityKind::Issuer && !self.is_issuer_worth_making(now).await {
                continue;
            }
            match self.under_way(kind).map(|standing| standing.rotation.from) {
                None => {
                    tracing::info!(%kind, "its time has come: a rotation begins");
                    self.start(kind, Pace::Natural, &Accepted::default(), Actor::System).await?;
                }
                // Its rotation is past the switch, or is being undone: the next one signs at once all the same.
                Some(from) if is_pressing && !self.is_on_its_way(from) => self.succeed_at_once().await?,
                Some(_) => {}
            }
        }
        self.take_out_left_behind().await
    }

    /// Whether a rotation of the issuing CA that signs now leads to another one by itself.
    fn is_on_its_way(&self, from: AuthorityName) -> bool {
        let state = self.journal.state();
        let is_aborting = self.under_way(from.kind).is_some_and(|standing| standing.rotation.aborting);
        !is_aborting && state.get(from).is_some_and(|authority| authority.slot == Slot::Active)
    }

    /// A successor under the same root signs as soon as it is made, without a rotation of its own.
    async fn succeed_at_once(&mut self) -> Result<(), CommandError> {
        tracing::error!("the issuing CA is about to be too short-lived for whole leaves: a successor is made at once");
        self.happen(Event::Prepare(AuthorityKind::Issuer), Actor::System).await?;
        self.work().await?;
        let next = self.journal.state().next(AuthorityKind::Issuer).filter(|next| next.slot == Slot::Prepared);
        if let Some(name) = next.map(|next| next.name) {
            self.happen(Event::Activate { name, gate: Gate::Open }, Actor::System).await?;
            self.work().await?;
        }
        Ok(())
    }

    /// Whether a new issuing CA can be made and would live longer than the one there is.
    async fn is_issuer_worth_making(&self, now: Timestamp) -> bool {
        let state = self.journal.state();
        let (Some(root), Some(issuer)) = (state.active(AuthorityKind::Root), state.active(AuthorityKind::Issuer)) else {
            return false;
        };
        let end = issuer.material.as_ref().and_then(|material| material.not_after);
        let is_longer = Materials::issuer_end(root, now).is_ok_and(|new_end| end.is_none_or(|end| end < new_end));
        is_longer && !root.has_ended(now) && self.check_can_make(AuthorityKind::Issuer).await.is_ok()
    }

    /// Issuing CAs under the root that signs whose successors were made elsewhere, or at once, and JWT keys that a start lost: no rotation takes
    /// them out.
    fn left_behind(&self) -> Vec<AuthorityName> {
        if self.parts.plugged_in.is_some() {
            return Vec::new();
        }
        let state = self.journal.state();
        let root = state.active(AuthorityKind::Root).map(|root| root.name);
        let old = state.of(AuthorityKind::Issuer).filter(|issuer| issuer.slot == Slot::Old && issuer.parent == root);
        let old = old.chain(state.of(AuthorityKind::Jwt).filter(|jwt| jwt.slot == Slot::Old && self.is_without_key(jwt.name)));
        let has_rotation = |name: AuthorityName| self.under_way(name.kind).is_some_and(|standing| standing.rotation.from == name);
        old.map(|issuer| issuer.name).filter(|name| !has_rotation(*name)).collect()
    }

    /// Whether its key was in the memory of a process that has ended.
    fn is_without_key(&self, name: AuthorityName) -> bool {
        // What cannot be read stays: whoever needs the key says why.
        self.parts.materials.is_forgotten(name).unwrap_or(false)
    }

    async fn take_out_left_behind(&mut self) -> Result<(), CommandError> {
        for name in self.left_behind() {
            if self.under_way(name.kind).is_some() {
                continue;
            }
            let gate = revocation(self.journal.state(), name, &self.facts, self.now(), &Accepted::default());
            let event = Event::Revoke { name, gate: gate.clone() };
            if gate == Gate::Open && !self.is_held_up(&event) {
                tracing::info!(%name, "nothing rests on it any more: it is taken out");
                self.happen(event, Actor::System).await?;
                self.work().await?;
            }
        }
        Ok(())
    }

    /// Takes every rotation forward as far as it goes now.
    pub(super) async fn advance(&mut self) -> Result<(), CommandError> {
        for kind in AuthorityKind::ALL {
            for _ in 0..MOST_EVENTS {
                if !self.take_step(kind).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the next step of a rotation, if it may be taken; says whether there may be another one.
    async fn take_step(&mut self, kind: AuthorityKind) -> Result<bool, CommandError> {
        let (now, state) = (self.now(), self.journal.state().clone());
        let Some(rotation) = self.under_way(kind).map(|standing| standing.rotation.clone()) else { return Ok(false) };
        let next = rotation.next(&state, &self.facts, now);
        let leaves = self.leaves_of(rotation.from);
        let is_led_by_another = kind == AuthorityKind::Root && self.is_shared() && !self.leads();
        let Some(standing) = self.standings.iter_mut().find(|standing| standing.rotation.from.kind == kind) else {
            return Ok(false);
        };
        standing.leaves_most = standing.leaves_most.max(leaves);
        match next {
            Next::Wait(phase, waits) => {
                standing.enter(phase, &state, now);
                standing.waits = waits;
                Ok(false)
            }
            Next::Apply(phase, _) if is_led_by_another => {
                standing.enter(phase, &state, now);
                standing.waits = Vec::new();
                Ok(false)
            }
            Next::Done(_) if is_led_by_another => Ok(false),
            Next::Apply(phase, event) => {
                standing.enter(phase, &state, now);
                standing.waits = Vec::new();
                if self.is_held_up(&event) {
                    return Ok(false);
                }
                self.happen(event, Actor::System).await?;
                self.work().await?;
                // Gates are judged by what is known after what was done.
                self.look().await?;
                Ok(true)
            }
            Next::Done(outcome) => {
                self.finish(kind, outcome).await?;
                Ok(false)
            }
        }
    }

    async fn finish(&mut self, kind: AuthorityKind, outcome: Outcome) -> Result<(), CommandError> {
        let now = self.now();
        let ended = self.parts.store.end_rotation(self.parts.tenure.fence(), kind, outcome, Actor::System, now);
        let ended = self.parts.steps.run(Step::EndRotation, ended).await;
        ended.map_err(|error| self.noted(error.into()))?;
        if outcome == Outcome::RolledBack {
            self.put_off.push((kind, now.plus(PUT_OFF)));
        }
        let state = self.journal.state().clone();
        if let Some(standing) = self.standings.iter_mut().find(|standing| standing.rotation.from.kind == kind) {
            (standing.outcome, standing.waits) = (Some(outcome), Vec::new());
            if outcome == Outcome::Completed {
                standing.enter(Phase::Withdraw, &state, now);
            }
        }
        tracing::info!(%kind, ?outcome, "a rotation is over");
        Ok(())
    }

    /// How many certificates rest on an authority.
    fn leaves_of(&self, name: AuthorityName) -> u64 {
        let state = self.journal.state();
        let is_under =
            |signer: &AuthorityName| *signer == name || state.get(*signer).is_some_and(|issuer| issuer.parent == Some(name));
        let leaves = self.facts.leaves.iter().filter(|(signer, _)| is_under(signer));
        leaves.fold(0_u64, |sum, (_, leaves)| sum.saturating_add(leaves.unexpired))
    }
}
