//! A replica that is gone for good: others renew what rests on its authorities, then these are taken out and it is on record no more.
//!
//! Nothing of it is remembered between two looks: a replica whose authorities are all tainted or revoked, and behind which nobody is, is on its
//! way out, whichever replica leads by then.

use std::sync::Arc;

use identity::ReplicaName;

use super::driver::Driver;
use super::steps::Step;
use super::{CommandError, ReplicaStanding};
use crate::authority::lifecycle::gate::{Gate, removal};
use crate::authority::lifecycle::{AuthorityName, Event, Lifecycle, Slot};
use crate::store::{Actor, ReplicaRecord};

impl Driver {
    /// Begins to take a replica out.
    ///
    /// # Errors
    /// [`CommandError`]: it lives, or is not known.
    pub(super) async fn remove_replica(
        &mut self,
        replica: &ReplicaName,
        actor: Actor,
    ) -> Result<Vec<AuthorityName>, CommandError> {
        let fence = self.parts.tenure.fence();
        if fence.replica == *replica {
            let why = format!("{replica} is this replica: stop it, and give the command to another one");
            return Err(CommandError::Failed(why));
        }
        if self.parts.tenure.others().contains(replica) {
            return Err(CommandError::ReplicaLives(replica.clone()));
        }
        let Some(seen) = self.parts.tenure.gone().remove(replica) else {
            return Err(CommandError::NoReplica(replica.clone()));
        };
        let retired = self.parts.store.retire_replica(fence, seen, actor.clone(), self.now());
        let retired = self.parts.steps.run(Step::RetireReplica, retired).await;
        retired.map_err(|error| self.noted(error.into()))?;
        self.happen(Event::TaintReplica(replica.clone()), actor).await?;
        self.work().await?;
        let state = self.journal.state();
        let of_it = state.others().filter(|foreign| foreign.replica == *replica && foreign.authority.is_in_force());
        Ok(of_it.map(|foreign| foreign.authority.name).collect())
    }

    /// Takes out what nothing rests on any more of replicas that are on their way out.
    pub(super) async fn see_removals_through(&mut self) -> Result<(), CommandError> {
        if !self.is_shared() || !self.leads() || self.parts.plugged_in.is_some() {
            return Ok(());
        }
        let free = self.parts.tenure.gone().into_iter().filter(|(_, lease)| lease.instance.is_none());
        let leaving: Vec<_> = free.map(|(name, _)| name).filter(|name| is_leaving(self.journal.state(), name)).collect();
        if leaving.is_empty() {
            return Ok(());
        }
        self.look().await?;
        for replica in leaving {
            let gate = removal(self.journal.state(), &replica, &self.facts, self.now());
            if gate != Gate::Open {
                continue;
            }
            self.happen(Event::RevokeReplica { replica: replica.clone(), gate }, Actor::System).await?;
            self.work().await?;
            let forgotten = self.parts.store.forget_replica(self.parts.tenure.fence(), replica.clone(), self.now());
            let forgotten = self.parts.steps.run(Step::ForgetReplica, forgotten).await;
            forgotten.map_err(|error| self.noted(error.into()))?;
            tracing::info!(%replica, "the replica is on record no more");
        }
        Ok(())
    }

    /// Reads who is on record.
    pub(super) async fn look_at_replicas(&mut self) -> Result<(), CommandError> {
        if !self.is_shared() {
            return Ok(());
        }
        let leader = self.parts.store.lead().await?.filter(|lease| lease.instance.is_some()).map(|lease| lease.replica);
        let (own, live) = (self.parts.tenure.fence().replica, self.parts.tenure.others());
        let state = Arc::clone(self.journal.state());
        let standing = |record: ReplicaRecord| {
            let ReplicaRecord { name, serial_byte, address, seen_at, instance: _, lease } = record;
            let is_leaving = lease.instance.is_none() && is_leaving(&state, &name);
            let waits = match removal(&state, &name, &self.facts, self.now()) {
                Gate::Waits(waits) if is_leaving => waits,
                Gate::Waits(_) | Gate::Open => Vec::new(),
            };
            ReplicaStanding {
                is_this: name == own,
                lives: name == own || live.contains(&name),
                leads: leader.as_ref() == Some(&name),
                is_leaving,
                waits,
                name,
                address,
                serial_byte,
                seen_at,
            }
        };
        let replicas: Vec<_> = self.parts.store.replicas().await?.into_iter().map(standing).collect();
        self.replicas = replicas.into();
        Ok(())
    }
}

/// Whether an operator had what rests on this replica renewed: it has authorities, and none that may sign.
fn is_leaving(state: &Lifecycle, replica: &ReplicaName) -> bool {
    let mut of_it = state.others().filter(|foreign| foreign.replica == *replica).map(|foreign| &foreign.authority).peekable();
    of_it.peek().is_some()
        && of_it.all(|authority| match authority.slot {
            Slot::Old => authority.tainted_at.is_some(),
            Slot::Revoked => true,
            Slot::Making | Slot::Prepared | Slot::Active => false,
        })
}
