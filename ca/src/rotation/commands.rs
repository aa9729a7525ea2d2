//! What operators ask for: single transitions, and whole rotations to begin or undo.

use super::driver::Driver;
use super::handle::Request;
use super::materials::is_elsewhere;
use super::steps::Step;
use super::{CommandError, RotationStanding};
use crate::authority::lifecycle::gate::{Accepted, Gate, activation, revocation};
use crate::authority::lifecycle::rotation::{Pace, Rotation};
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Effect, Event, Refusal, Slot};
use crate::store::Actor;

/// What obeying a command came to.
#[derive(Debug)]
pub(super) struct Obeyed {
    pub(super) names: Vec<AuthorityName>,
    pub(super) unchanged: bool,
}

impl Driver {
    /// Carries out a command, as far as it goes now.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(super) async fn obey(&mut self, request: Request, actor: Actor) -> Result<Obeyed, CommandError> {
        self.be_current().await?;
        // By a wrong clock gates seem open that are not.
        self.parts.issuance_clock.look().map_err(|fault| CommandError::Failed(fault.to_string()))?;
        let kind = match &request {
            Request::Prepare(kind) | Request::Start(kind, ..) | Request::Abort(kind) => *kind,
            Request::Activate(name, _) | Request::Taint(name) | Request::Revoke(name, _) => name.kind,
            // What another one has is moved by who moves the roots.
            Request::RemoveReplica(_) => AuthorityKind::Root,
        };
        self.refuse_unless_leading(kind).await?;
        let before = (self.journal.state().clone(), self.rotations());
        let names = match request {
            Request::Prepare(kind) => self.prepare(kind, actor).await?,
            Request::Activate(name, accepted) => self.activate(name, &accepted, actor).await?,
            Request::Taint(name) => {
                self.refuse_plugged_in(name.kind)?;
                self.happen(Event::Taint(name), actor).await?;
                self.work().await?;
                vec![name]
            }
            Request::Revoke(name, accepted) => self.revoke(name, &accepted, actor).await?,
            Request::Start(kind, pace, accepted) => self.start(kind, pace, &accepted, actor).await?,
            Request::Abort(kind) => self.abort(kind, actor).await?,
            Request::RemoveReplica(replica) => self.remove_replica(&replica, actor).await?,
        };
        let unchanged = before == (self.journal.state().clone(), self.rotations());
        Ok(Obeyed { names, unchanged })
    }

    async fn prepare(&mut self, kind: AuthorityKind, actor: Actor) -> Result<Vec<AuthorityName>, CommandError> {
        self.refuse_plugged_in(kind)?;
        self.check_can_make(kind).await?;
        self.happen(Event::Prepare(kind), actor).await?;
        self.work().await?;
        let state = self.journal.state();
        let Some(next) = state.next(kind) else { return Ok(Vec::new()) };
        let made: Vec<&Authority> = std::iter::once(next).chain(state.under(next.name)).collect();
        let names: Vec<AuthorityName> = made.iter().map(|authority| authority.name).collect();
        let is_ready = |authority: &&Authority| {
            authority.slot == Slot::Prepared && (authority.published_in.is_some() || !authority.is_in_bundle())
        };
        if made.iter().all(is_ready) {
            return Ok(names);
        }
        let concerns = |effect: Effect| match effect {
            Effect::Make { name, .. } => names.contains(&name),
            Effect::Publish => true,
            Effect::Sign | Effect::Destroy(_) => false,
        };
        let why = self.fault_of(concerns).unwrap_or_else(|| "it is not made and published yet".to_owned());
        let name = next.name;
        Err(CommandError::Failed(format!(
            "{name} is decided and not ready: {why}. This is tried again until it is done; `signet authority revoke {name}` drops it"
        )))
    }

    async fn activate(
        &mut self,
        name: AuthorityName,
        accepted: &Accepted,
        actor: Actor,
    ) -> Result<Vec<AuthorityName>, CommandError> {
        self.refuse_plugged_in(name.kind)?;
        self.look().await?;
        let gate = activation(self.journal.state(), name, &self.facts, self.now(), accepted);
        self.happen_at_a_loss(Event::Activate { name, gate }, given_up(name, accepted), actor).await?;
        self.work().await?;
        match self.fault_of(|effect| effect == Effect::Sign) {
            None => Ok(vec![name]),
            Some(why) => Err(CommandError::Failed(format!(
                "{name} is active, and its use is not complete: {why}. This is tried again until it is done"
            ))),
        }
    }

    async fn revoke(
        &mut self,
        name: AuthorityName,
        accepted: &Accepted,
        actor: Actor,
    ) -> Result<Vec<AuthorityName>, CommandError> {
        self.refuse_plugged_in(name.kind)?;
        if self.is_still_signing(name) {
            return Err(CommandError::Failed(format!("{name} may still sign what was begun with it: try again in a moment")));
        }
        self.look().await?;
        let gate = revocation(self.journal.state(), name, &self.facts, self.now(), accepted);
        self.happen_at_a_loss(Event::Revoke { name, gate }, given_up(name, accepted), actor).await?;
        self.work().await?;
        let is_its_key = |effect| effect == Effect::Destroy(name);
        match self.fault_of(is_its_key) {
            None => Ok(vec![name]),
            Some(why) => Err(CommandError::Failed(format!(
                "{name} is out of the bundle, and its key is not removed: {why}. This is tried again until it is done"
            ))),
        }
    }

    /// Begins a rotation, or adds to what is accepted of one that is under way.
    pub(super) async fn start(
        &mut self,
        kind: AuthorityKind,
        pace: Pace,
        accepted: &Accepted,
        actor: Actor,
    ) -> Result<Vec<AuthorityName>, CommandError> {
        self.refuse_plugged_in(kind)?;
        let now = self.now();
        let rotation = match self.under_way(kind) {
            Some(standing) => {
                let mut rotation = standing.rotation.clone();
                rotation.accepted.nodes.extend(accepted.nodes.iter().cloned());
                rotation.accepted.leaves = rotation.accepted.leaves.max(accepted.leaves);
                rotation.accepted.tokens |= accepted.tokens;
                rotation.accepted.files |= accepted.files;
                if pace == Pace::Taint {
                    rotation.pace = pace;
                }
                rotation
            }
            None => {
                self.check_can_make(kind).await?;
                let from = self.journal.state().active(kind).ok_or(Refusal::PluggedIn(kind))?.name;
                self.parts.probes.begin(kind);
                Rotation { from, started_at: now, pace, aborting: false, accepted: accepted.clone() }
            }
        };
        let from = rotation.from;
        self.put(rotation, actor).await?;
        Ok(vec![from])
    }

    pub(super) async fn abort(&mut self, kind: AuthorityKind, actor: Actor) -> Result<Vec<AuthorityName>, CommandError> {
        let mut rotation = self.under_way(kind).ok_or(CommandError::NoRotation(kind))?.rotation.clone();
        rotation.check_way_back(self.journal.state(), self.now())?;
        rotation.aborting = true;
        let from = rotation.from;
        self.put(rotation, actor).await?;
        Ok(vec![from])
    }

    async fn put(&mut self, rotation: Rotation, actor: Actor) -> Result<(), CommandError> {
        let (kind, now) = (rotation.from.kind, self.now());
        if self.under_way(kind).is_some_and(|standing| standing.rotation == rotation) {
            return Ok(());
        }
        let stored = self.parts.store.put_rotation(self.parts.tenure.fence(), rotation.clone(), actor, now);
        let stored = self.parts.steps.run(Step::StoreRotation, stored).await;
        stored.map_err(|error| self.noted(error.into()))?;
        match self.standings.iter_mut().find(|standing| standing.rotation.from.kind == kind && standing.is_under_way()) {
            Some(standing) => standing.rotation = rotation,
            None => {
                self.standings.retain(|standing| standing.rotation.from.kind != kind);
                self.standings.push(RotationStanding::begun(rotation));
            }
        }
        Ok(())
    }

    pub(super) fn under_way(&self, kind: AuthorityKind) -> Option<&RotationStanding> {
        self.standings.iter().find(|standing| standing.rotation.from.kind == kind && standing.is_under_way())
    }

    fn rotations(&self) -> Vec<Rotation> {
        self.standings.iter().filter(|standing| standing.is_under_way()).map(|standing| standing.rotation.clone()).collect()
    }

    fn refuse_plugged_in(&self, kind: AuthorityKind) -> Result<(), CommandError> {
        if self.parts.plugged_in.is_some() && kind != AuthorityKind::Jwt {
            return Err(Refusal::PluggedIn(kind).into());
        }
        Ok(())
    }

    /// An issuing CA needs the key of its root, which may be kept elsewhere.
    pub(super) async fn check_can_make(&self, kind: AuthorityKind) -> Result<(), CommandError> {
        let state = self.journal.state();
        match (kind, state.active(AuthorityKind::Root)) {
            (AuthorityKind::Issuer, Some(root)) if root.has_ended(self.now()) => Err(CommandError::Failed(format!(
                "{} has ended and signs no issuing CA: prepare a root (`signet authority prepare root`), which comes with one",
                root.name
            ))),
            (AuthorityKind::Issuer, Some(root)) if self.parts.materials.upstream().is_some() => self.check_upstream_signs(root),
            (AuthorityKind::Root, _) if self.parts.materials.upstream().is_some() => self.check_upstream_has_another(),
            (AuthorityKind::Issuer, Some(root)) if state.next(kind).is_none_or(|next| next.slot == Slot::Making) => {
                match self.parts.materials.root_key(root).await {
                    // Whoever has it is asked.
                    Err(error) if self.is_shared() && is_elsewhere(&error) => Ok(()),
                    found => found.map(drop).map_err(|error| CommandError::Failed(error.to_string())),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether it signs in this process although another one shall.
    pub(super) fn is_still_signing(&mut self, name: AuthorityName) -> bool {
        let state = self.journal.state().clone();
        let is_old = state.get(name).is_some_and(|authority| authority.slot == Slot::Old);
        is_old && (self.effects.holds(Effect::Sign) || self.parts.outlets.is_retiring(&state, name))
    }

    /// Whether an event may happen now, whatever its gate says: what it stands on was decided, and must also be done.
    pub(super) fn is_held_up(&mut self, event: &Event) -> bool {
        match event {
            Event::Activate { gate, .. } => *gate != Gate::Open || self.effects.holds(Effect::Publish),
            Event::Revoke { name, .. } => {
                self.is_still_signing(*name) || self.effects.holds(Effect::Publish) || self.is_kept_by_upstream(*name)
            }
            Event::Taint(name) => self.is_still_signing(*name),
            Event::Adopt(_)
            | Event::Prepare(_)
            | Event::Made { .. }
            | Event::Published { .. }
            | Event::Destroyed(_)
            | Event::TaintReplica(_)
            | Event::RevokeReplica { .. } => false,
        }
    }
}

/// What goes into the record of a single step: nothing where nothing was accepted. A rotation's is recorded with the rotation.
fn given_up(name: AuthorityName, accepted: &Accepted) -> Option<(AuthorityName, Accepted)> {
    (*accepted != Accepted::default()).then(|| (name, accepted.clone()))
}
