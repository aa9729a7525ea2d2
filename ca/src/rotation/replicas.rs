//! One replica among several: what it leaves to the one that leads, how it follows, and what it signs for others.

use std::sync::Arc;
use std::time::Duration;

use super::driver::Driver;
use super::materials::is_elsewhere;
use super::{CommandError, RotationStanding};
use crate::authority::lifecycle::gate::Gate;
use crate::authority::lifecycle::rotation::{Outcome, Rotation};
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Effect, Event, Foreign, Slot, resume};
use crate::store::{Actor, Fence, LeaseName, StoreError};

/// How long the holder of the key of a root that signs nothing yet is waited for, before another root is made in its place.
const PATIENCE: Duration = Duration::from_secs(30);

impl Driver {
    /// Whether other processes write into the same store.
    pub(super) fn is_shared(&self) -> bool {
        self.parts.store.is_shared()
    }

    /// Whether this replica may move what all share.
    pub(super) fn leads(&self) -> bool {
        self.parts.tenure.fence().lead.is_some()
    }

    /// Reads what other replicas did since, and what follows from it.
    pub(super) async fn hear_others(&mut self) -> Result<(), CommandError> {
        let lead = self.parts.tenure.fence().lead;
        // Whoever begins to lead does what the one before might not have done.
        let is_another_lead = std::mem::replace(&mut self.led, lead) != lead;
        let before = Arc::clone(self.journal.state());
        self.journal.reload().await?;
        let state = Arc::clone(self.journal.state());
        if is_another_lead || *before != *state {
            self.effects.add(resume(&state));
        }
        if self.parts.materials.is_answered().await? {
            // What failed for want of it is tried now.
            self.effects.add(resume(&state).into_iter().filter(|effect| matches!(effect, Effect::Make { .. })));
        }
        let stored = self.parts.store.rotations().await?;
        for standing in self.standings.iter_mut().filter(|standing| standing.is_under_way()) {
            let kept = stored.iter().find(|rotation| is_same(rotation, &standing.rotation));
            match kept {
                Some(rotation) => standing.rotation = rotation.clone(),
                None => {
                    let is_gone = state.get(standing.rotation.from).is_none_or(|from| from.slot == Slot::Revoked);
                    standing.outcome = Some(if is_gone { Outcome::Completed } else { Outcome::RolledBack });
                    standing.waits = Vec::new();
                }
            }
        }
        for rotation in stored {
            if self.standings.iter().all(|standing| !(standing.is_under_way() && is_same(&rotation, &standing.rotation))) {
                self.standings.retain(|standing| standing.rotation.from.kind != rotation.from.kind);
                self.standings.push(RotationStanding::begun(rotation));
            }
        }
        Ok(())
    }

    /// That a command about this kind may be carried out here.
    pub(super) async fn refuse_unless_leading(&self, kind: AuthorityKind) -> Result<(), CommandError> {
        if kind != AuthorityKind::Root || self.leads() || !self.is_shared() {
            return Ok(());
        }
        let leader = self.parts.store.lead().await?.filter(|lease| lease.instance.is_some()).map(|lease| lease.replica);
        let Some(leader) = leader else { return Err(CommandError::NobodyLeads) };
        let replicas = self.parts.store.replicas().await?;
        let address = replicas.into_iter().find(|replica| replica.name == leader).map(|replica| replica.address);
        Err(CommandError::AnotherLeads { leader, address: address.unwrap_or_default() })
    }

    /// That what signs here still may: a replica that was away may find that its root was taken out meanwhile.
    pub(super) fn refuse_if_superseded(&mut self) {
        if !self.is_shared() || self.parts.plugged_in.is_some() {
            return;
        }
        if self.journal.state().active(AuthorityKind::Issuer).is_none() {
            let lease = LeaseName::Replica(self.parts.tenure.fence().replica);
            tracing::error!(
                "the issuing CA of this replica was taken out with its root while the replica was away: it ends, and gets another one at its next start"
            );
            self.fence_off(StoreError::Fenced { lease, epoch: self.parts.tenure.fence().epoch });
        }
    }

    /// Goes along with the root that signs, and is ready for the one that will.
    pub(super) async fn follow_root(&mut self) -> Result<(), CommandError> {
        if !self.is_shared() || self.parts.plugged_in.is_some() {
            return Ok(());
        }
        let (now, state) = (self.now(), Arc::clone(self.journal.state()));
        // Whichever replica took a root out, its key may lie here.
        let revoked = state.of(AuthorityKind::Root).filter(|root| root.slot == Slot::Revoked).map(|root| root.name);
        for name in revoked.filter(|name| self.parts.materials.has_root_key(*name)).collect::<Vec<_>>() {
            self.parts.materials.destroy(name).await.map_err(|error| CommandError::Failed(error.to_string()))?;
        }
        let Some(root) = state.active(AuthorityKind::Root).map(|root| root.name) else { return Ok(()) };
        let is_behind = state.active(AuthorityKind::Issuer).is_some_and(|issuer| issuer.parent != Some(root));
        if is_behind {
            let can_sign = |issuer: &&Authority| {
                let is_made = matches!(issuer.slot, Slot::Prepared | Slot::Old) && issuer.tainted_at.is_none();
                is_made && !issuer.has_ended(now)
            };
            let next = state.under(root).filter(can_sign).last().map(|issuer| issuer.name);
            match next {
                Some(name) => {
                    tracing::info!(%name, %root, "another replica changed the root: this one follows");
                    self.happen(Event::Activate { name, gate: Gate::Open }, Actor::System).await?;
                }
                None if state.next(AuthorityKind::Issuer).is_none() => {
                    self.happen(Event::Prepare(AuthorityKind::Issuer), Actor::System).await?;
                }
                None => {}
            }
            return self.work().await;
        }
        let coming = state.of(AuthorityKind::Root).find(|next| next.slot == Slot::Prepared).map(|next| next.name);
        if let Some(coming) = coming.filter(|_| !self.leads()) {
            let is_there = |issuer: &Authority| matches!(issuer.slot, Slot::Making | Slot::Prepared) && !issuer.has_ended(now);
            if !state.under(coming).any(is_there) {
                self.happen(Event::Prepare(AuthorityKind::Root), Actor::System).await?;
                self.work().await?;
            }
        }
        Ok(())
    }

    /// A root that signs nothing yet, and whose key went away with the replica that made it, gives way to another one.
    pub(super) async fn give_up_on_lost_root(&mut self) -> Result<(), CommandError> {
        let state = Arc::clone(self.journal.state());
        let live = self.parts.tenure.others();
        let waits_for = |root: &&Authority| {
            let is_unmade = |issuer: &Authority| issuer.slot == Slot::Making && issuer.parent == Some(root.name);
            let is_awaited_elsewhere = |other: &Foreign| live.contains(&other.replica) && is_unmade(&other.authority);
            root.slot == Slot::Prepared && (state.authorities().any(is_unmade) || state.others().any(is_awaited_elsewhere))
        };
        let Some(root) = state.of(AuthorityKind::Root).find(waits_for).filter(|_| self.is_shared() && self.leads()) else {
            self.waits_for_root = None;
            return Ok(());
        };
        let (name, boot) = (root.name, self.parts.clock.boottime());
        match self.waits_for_root {
            Some((known, since)) if known == name => {
                let is_away = self.parts.materials.root_key(root).await.is_err_and(|error| is_elsewhere(&error));
                if is_away && boot.saturating_sub(since) >= PATIENCE {
                    tracing::warn!(%name, "the replica that has the key of this root is away: another root is made in its place");
                    self.waits_for_root = None;
                    self.happen(Event::Revoke { name, gate: Gate::Open }, Actor::System).await?;
                    self.work().await?;
                }
            }
            _ => self.waits_for_root = Some((name, boot)),
        }
        Ok(())
    }

    /// Signs issuing CAs of other replicas under roots whose keys lie here.
    pub(super) async fn sign_for_others(&mut self) -> Result<(), CommandError> {
        if !self.is_shared() || self.parts.plugged_in.is_some() {
            return Ok(());
        }
        let Fence { replica, .. } = self.parts.tenure.fence();
        for request in self.parts.store.issuer_requests().await?.into_iter().filter(|request| request.replica != replica) {
            let state = Arc::clone(self.journal.state());
            let root = state.get(request.root).filter(|root| matches!(root.slot, Slot::Prepared | Slot::Active));
            let Some(root) = root else { continue };
            let Ok(now) = self.parts.issuance_clock.issue_at() else { return Ok(()) };
            match self.parts.materials.sign_for_replica(&request, root, now).await {
                Ok(()) => {}
                Err(error) if is_elsewhere(&error) => {}
                Err(error) => {
                    tracing::error!(replica = %request.replica, name = %request.name, %error, "an issuing CA of another replica is not signed");
                }
            }
        }
        Ok(())
    }

    /// Whether this effect is for the replica that leads alone.
    pub(super) fn is_for_the_leader(&self, effect: Effect) -> bool {
        let makes_root = matches!(effect, Effect::Make { name: AuthorityName { kind: AuthorityKind::Root, .. }, .. });
        makes_root && self.is_shared() && !self.leads()
    }
}

fn is_same(one: &Rotation, other: &Rotation) -> bool {
    (one.from, one.started_at) == (other.from, other.started_at)
}
