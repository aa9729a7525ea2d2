//! The lifecycle as it is stored: nothing is done about an event before the store has what the event makes of it.

use std::sync::Arc;

use pki::Timestamp;

use super::CommandError;
use super::steps::{Step, Steps};
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::{AuthorityName, Effect, Event, Lifecycle, Transition, apply};
use crate::replicas::Tenure;
use crate::store::{Actor, Store, StoreError};

/// The stored lifecycle, and the only hand that changes it.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    steps: Steps,
    tenure: Tenure,
    state: Arc<Lifecycle>,
}

impl Journal {
    /// As it was stored last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn open(store: Arc<dyn Store>, steps: Steps, tenure: Tenure) -> Result<Self, StoreError> {
        let state = Arc::new(store.lifecycle().await?);
        Ok(Self { store, steps, tenure, state })
    }

    /// What is stored.
    pub(crate) fn state(&self) -> &Arc<Lifecycle> {
        &self.state
    }

    /// Reads it again: after an error of the store nobody knows whether the change is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn reload(&mut self) -> Result<(), StoreError> {
        let stored = self.store.lifecycle().await?;
        // Whoever compares by the pointer sees no news where there is none.
        if stored != *self.state {
            self.state = Arc::new(stored);
        }
        Ok(())
    }

    /// Stores what an event makes of the lifecycle; says what is to be done about it.
    ///
    /// # Errors
    /// [`CommandError::Refused`], and [`CommandError::Store`]: nothing may be done then.
    pub(crate) async fn happen(&mut self, event: Event, actor: Actor, now: Timestamp) -> Result<Vec<Effect>, CommandError> {
        self.happen_at_a_loss(event, None, actor, now).await
    }

    /// The same, with what an operator accepted to lose by it, which is recorded with the change.
    ///
    /// # Errors
    /// As [`Self::happen`].
    pub(crate) async fn happen_at_a_loss(
        &mut self,
        event: Event,
        accepted: Option<(AuthorityName, Accepted)>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Vec<Effect>, CommandError> {
        let Transition { state, effects } = apply(&self.state, event, now)?;
        if state != *self.state {
            let (before, after) = (Arc::clone(&self.state), Arc::new(state));
            let stored = self.store.store_lifecycle(self.tenure.fence(), before, Arc::clone(&after), accepted, actor, now);
            self.steps.run(Step::StoreLifecycle, stored).await?;
            self.state = after;
        }
        Ok(effects)
    }
}
