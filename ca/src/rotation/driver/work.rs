//! What follows from what is stored: each effect done, and what became of it stored as an event.

use std::sync::Arc;

use pki::Timestamp;
use runtime::entropy;

use super::Driver;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Effect, Event, Lifecycle, Material, Slot};
use crate::rotation::CommandError;
use crate::rotation::follow::known_roots;
use crate::rotation::materials::{MaterialError, certificate_of};
use crate::rotation::publication::bundle_of;
use crate::store::Actor;

impl Driver {
    /// Does what is to be done, each thing by itself: one that fails is tried again later and does not hold up the others.
    pub(in crate::rotation) async fn work(&mut self) -> Result<(), CommandError> {
        while let Some(effect) = self.effects.next(self.parts.clock.boottime()) {
            match self.carry_out(effect).await {
                Ok(event) => {
                    self.effects.done(effect);
                    if let Some(event) = event {
                        self.happen(event, Actor::System).await?;
                    }
                }
                Err(error) => {
                    let (now, random) = (self.parts.clock.boottime(), self.random());
                    if self.effects.failed(effect, error.clone(), now, random) {
                        tracing::error!(?effect, %error, "an authority stands where it should not: this is tried again");
                    }
                }
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, String> {
        let (now, state) = (self.now(), Arc::clone(self.journal.state()));
        let told = |error: &dyn std::fmt::Display| error.to_string();
        if self.is_for_the_leader(effect) {
            return Ok(None);
        }
        match effect {
            Effect::Make { name, parent } => {
                // What was dropped meanwhile is not made.
                if state.get(name).is_none_or(|authority| authority.slot != Slot::Making) {
                    return Ok(None);
                }
                let now = self.parts.issuance_clock.issue_at().map_err(|fault| told(&fault))?;
                let parent = parent.and_then(|parent| state.get(parent));
                let material = self.make(&state, name, parent, now).await.map_err(|error| told(&error))?;
                Ok(Some(Event::Made { name, material }))
            }
            Effect::Publish => {
                let plugged_in = self.parts.plugged_in.as_ref().map(|plugged_in| plugged_in.roots().to_vec());
                let (store, steps) = (&*self.parts.store, &self.parts.steps);
                let bundle = bundle_of(&state, plugged_in.as_deref(), &self.parts.trust_domain, (store, steps), now);
                let bundle = bundle.await.map_err(|error| told(&error))?;
                let sequence = bundle.sequence();
                self.parts.outlets.cover(&state).await;
                self.parts.outlets.publish(&self.parts.steps, bundle).await;
                Ok(Some(Event::Published { sequence }))
            }
            Effect::Sign => self.sign(&state, now).await.map(|()| None),
            Effect::Destroy(name) => {
                if name.kind == AuthorityKind::Issuer {
                    self.parts.outlets.finish(&state, name).await?;
                }
                self.parts.materials.destroy(name).await.map_err(|error| told(&error))?;
                // Each replica removes what it has of a root; that it is gone is for the one to say that leads.
                let is_said = name.kind != AuthorityKind::Root || !self.is_shared() || self.leads();
                Ok(is_said.then_some(Event::Destroyed(name)))
            }
        }
    }

    async fn make(
        &self,
        state: &Lifecycle,
        name: AuthorityName,
        parent: Option<&Authority>,
        now: Timestamp,
    ) -> Result<Material, MaterialError> {
        let materials = &self.parts.materials;
        if let (AuthorityKind::Root, Some(upstream)) = (name.kind, materials.upstream()) {
            return materials.import_root(upstream, name, &known_roots(state)?, now).await;
        }
        match (name.kind, parent, state.active(AuthorityKind::Root)) {
            (AuthorityKind::Issuer, Some(root), _) => materials.make_issuer(name, root, now).await,
            (AuthorityKind::Root, _, Some(active)) => {
                let example = certificate_of(active)?.public_key().algorithm();
                materials.make_root(name, example, now).await
            }
            (AuthorityKind::Jwt, ..) => materials.make_jwt(name, now).await,
            (AuthorityKind::Issuer, None, _) | (AuthorityKind::Root, _, None) => {
                Err(MaterialError::Journal { name, cause: "nothing signs it".to_owned() })
            }
        }
    }

    /// Tokens and leaves each by themselves: a key that cannot be had does not hold up the other.
    async fn sign(&mut self, state: &Lifecycle, now: Timestamp) -> Result<(), String> {
        let tokens = self.sign_tokens(state).await;
        self.sign_leaves(state, now).await.and(tokens)
    }

    async fn sign_tokens(&mut self, state: &Lifecycle) -> Result<(), String> {
        if let Some(jwt) = state.active(AuthorityKind::Jwt) {
            let key = self.parts.materials.jwt_key(jwt.name).await.map_err(|error| error.to_string())?;
            let key = key.ok_or_else(|| format!("the file of {} is not there", jwt.name))?;
            self.parts.outlets.sign_tokens_with(&self.parts.steps, state, key).await;
        }
        Ok(())
    }

    async fn sign_leaves(&mut self, state: &Lifecycle, now: Timestamp) -> Result<(), String> {
        if self.parts.plugged_in.is_some() {
            return Ok(());
        }
        let Some(issuer) = state.active(AuthorityKind::Issuer) else { return Ok(()) };
        let has_ended = issuer.has_ended(now) || state.active(AuthorityKind::Root).is_some_and(|root| root.has_ended(now));
        let authority = self.parts.materials.issuer(issuer.name, now).await.map_err(|error| error.to_string())?;
        let signing = self.parts.outlets.sign_with(&self.parts.steps, state, authority).await;
        // What has ended signs nothing, not even for the CA itself: its successor will.
        if has_ended { Ok(()) } else { signing }
    }

    fn random(&self) -> u8 {
        let [byte] = entropy::bytes(&*self.parts.entropy);
        byte
    }
}
