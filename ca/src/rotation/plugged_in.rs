//! Root and issuing CA from a directory that somebody else fills: what is put there is taken up in steps that leave nobody behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::{Certificate, Sha256Digest, Timestamp};

use super::CommandError;
use super::driver::Driver;
use super::publication::bundle_of;
use crate::audit::AuthorityAction;
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::gate::{Waiting, distribution};
use crate::keystore::{Keystore, KeystoreError};
use crate::store::Actor;
use crate::upstream::metrics::{UpstreamKind, UpstreamOutcome};
use crate::upstream::step::{Decision, InUse, Known, Offered, decide};

/// Decisions about one set in one turn: its roots, then its issuing CA.
const MOST_DECISIONS: usize = 2;

/// A directory, and what was found in it.
pub(crate) struct PluggedIn {
    pub(crate) directory: PathBuf,
    keystore: Keystore,
    /// What the bundle has.
    roots: Vec<Certificate>,
    /// What lies there now and does not sign yet.
    offered: Option<SigningAuthority>,
    /// What became of it so far, as it was told.
    told: Option<String>,
    /// The root of each issuing CA that signed in this process: SHA-256 of its SubjectPublicKeyInfo, and of the root's DER.
    roots_of: BTreeMap<Sha256Digest, Sha256Digest>,
    /// The tick of the last look: two looks shortly one after the other would be one.
    looked_at: Option<u64>,
}

impl PluggedIn {
    /// What a start found.
    pub(crate) fn new(directory: &Path, keystore: Keystore, authority: &SigningAuthority) -> Self {
        let mut plugged_in = Self {
            directory: directory.to_owned(),
            keystore,
            roots: authority.roots().to_vec(),
            offered: None,
            told: None,
            roots_of: BTreeMap::new(),
            looked_at: None,
        };
        plugged_in.know(authority);
        plugged_in
    }

    /// The roots that the bundle has.
    pub(super) fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    /// Whether something waits to be taken up.
    pub(super) fn has_offer(&self) -> bool {
        self.offered.is_some()
    }

    /// What was wrong is gone: what lies there is what is in use.
    fn is_as_before(&self) -> bool {
        self.told.is_some() && self.offered.is_none() && self.keystore.is_unchanged()
    }

    fn know(&mut self, authority: &SigningAuthority) {
        self.roots_of.insert(authority.certificate().public_key().fingerprint(), authority.root().fingerprint());
    }

    /// One look at the directory for each tick. Says what is wrong with what lies there.
    async fn look(&mut self, tick: u64, now: Timestamp) -> Result<(), KeystoreError> {
        if self.looked_at.replace(tick) == Some(tick) {
            return Ok(());
        }
        match self.keystore.newer(now).await {
            Ok(None) => Ok(()),
            Ok(Some(newer)) => {
                self.offered = Some(newer);
                Ok(())
            }
            Err(error) => {
                // What was offered before does not lie there any more; it is offered again when it does.
                if self.offered.take().is_some() {
                    self.keystore.forget();
                }
                Err(error)
            }
        }
    }
}

impl Driver {
    /// Takes up what was put there, as far as that goes now.
    pub(super) async fn take_up_plugged_in(&mut self, tick: u64, now: Timestamp) -> Result<(), CommandError> {
        let Some(plugged_in) = &mut self.parts.plugged_in else { return Ok(()) };
        if let Err(error) = plugged_in.look(tick, now).await {
            return self.refuse_plugged_in_set(error.to_string(), now).await;
        }
        if plugged_in.is_as_before() {
            plugged_in.told = None;
            self.parts.upstream.fault(false);
            self.set_take_up_fault(None);
            return Ok(());
        }
        for _ in 0..MOST_DECISIONS {
            match self.judge_offer(now).await? {
                None => return Ok(()),
                Some(Decision::Publish) => self.publish_offered_roots(now).await?,
                Some(Decision::Wait(waits)) => {
                    self.wait_for_receivers(&waits);
                    return Ok(());
                }
                Some(Decision::Take) => return self.take_offer(now).await,
                Some(Decision::Refuse(refusal)) => return self.refuse_plugged_in_set(refusal.to_string(), now).await,
            }
        }
        Ok(())
    }

    async fn judge_offer(&mut self, now: Timestamp) -> Result<Option<Decision>, CommandError> {
        // By a wrong clock what rests on a root seems to have ended.
        if !self.parts.plugged_in.as_ref().is_some_and(PluggedIn::has_offer) || self.parts.issuance_clock.look().is_err() {
            return Ok(None);
        }
        self.look().await?;
        let signers = self.parts.store.signers(now).await?;
        let in_use = Arc::clone(&self.parts.outlets.authority.borrow());
        let sequence = self.parts.outlets.bundle.borrow().sequence();
        let distributed = distribution(sequence, &self.facts, now);
        let Some(plugged_in) = &self.parts.plugged_in else { return Ok(None) };
        let Some(offered) = &plugged_in.offered else { return Ok(None) };
        let is_urgent = in_use.check_ready(&self.parts.profile, now).is_err();
        Ok(Some(decide(
            InUse { trusted: &plugged_in.roots, root: in_use.root(), is_urgent },
            Offered { roots: offered.roots(), root: offered.root(), issuer: offered.certificate() },
            Known { signers: &signers, roots_of: &plugged_in.roots_of, distributed: &distributed },
            now,
        )))
    }

    /// The bundle first: nobody should meet a leaf whose root was not pushed yet.
    async fn publish_offered_roots(&mut self, now: Timestamp) -> Result<(), CommandError> {
        let Some(offered) = self.parts.plugged_in.as_ref().and_then(|plugged_in| plugged_in.offered.as_ref()) else {
            return Ok(());
        };
        let (state, roots) = (Arc::clone(self.journal.state()), offered.roots().to_vec());
        let (store, steps) = (&*self.parts.store, &self.parts.steps);
        let bundle = bundle_of(&state, Some(&roots), &self.parts.trust_domain, (store, steps), now).await;
        let bundle = bundle.map_err(|error| CommandError::Failed(error.to_string()))?;
        tracing::info!(
            roots = roots.len(),
            sequence = bundle.sequence(),
            "the roots of the set that was put there are in the bundle"
        );
        self.parts.outlets.publish(&self.parts.steps, bundle).await;
        if let Some(plugged_in) = &mut self.parts.plugged_in {
            plugged_in.roots = roots;
        }
        Ok(())
    }

    fn wait_for_receivers(&mut self, waits: &[Waiting]) {
        let waits: Vec<_> = waits.iter().map(ToString::to_string).collect();
        let text = format!(
            "a new issuing CA under another root waits until everybody has the bundle with that root: {}. A node that does not come back \
             is given up by `signet node evict`",
            waits.join("; ")
        );
        let Some(plugged_in) = &mut self.parts.plugged_in else { return };
        if plugged_in.told.as_ref() != Some(&text) {
            tracing::info!(text);
            plugged_in.told = Some(text.clone());
        }
        self.parts.upstream.fault(false);
        self.set_take_up_fault(Some(text));
    }

    async fn take_offer(&mut self, now: Timestamp) -> Result<(), CommandError> {
        let Some(newer) = self.parts.plugged_in.as_ref().and_then(|plugged_in| plugged_in.offered.as_ref()) else {
            return Ok(());
        };
        let certificate = newer.certificate();
        let (key, not_after) = (certificate.public_key().fingerprint(), certificate.not_after());
        tracing::info!(issuer = certificate.subject(), %not_after, "taking up a newer authority");
        let roots = newer.roots().iter().map(Certificate::fingerprint).collect();
        let action = AuthorityAction::UpstreamTaken { upstream: UpstreamKind::Files, key, roots, not_after };
        let noted = self.parts.store.note_authority(action, Actor::System, now).await;
        // Where that fails the offer stands, and is taken when the store answers again.
        noted.map_err(|error| self.noted(error.into()))?;
        let Some(plugged_in) = &mut self.parts.plugged_in else { return Ok(()) };
        let Some(newer) = plugged_in.offered.take() else { return Ok(()) };
        plugged_in.know(&newer);
        plugged_in.told = None;
        self.parts.upstream.count(UpstreamKind::Files, UpstreamOutcome::Taken);
        self.parts.upstream.fault(false);
        let state = Arc::clone(self.journal.state());
        let signing = self.parts.outlets.sign_with(&self.parts.steps, &state, newer).await;
        self.set_take_up_fault(signing.err());
        Ok(())
    }

    /// Told once for each reason: it is looked at each second.
    async fn refuse_plugged_in_set(&mut self, why: String, now: Timestamp) -> Result<(), CommandError> {
        let Some(plugged_in) = &mut self.parts.plugged_in else { return Ok(()) };
        let text = format!("{}: {why}; the authority in use goes on", plugged_in.directory.display());
        let is_news = plugged_in.told.replace(text.clone()) != Some(text.clone());
        self.parts.upstream.fault(true);
        self.set_take_up_fault(Some(text.clone()));
        if !is_news {
            return Ok(());
        }
        tracing::error!(error = text, "a newer authority is not used");
        self.parts.upstream.count(UpstreamKind::Files, UpstreamOutcome::Refused);
        let action = AuthorityAction::UpstreamRefused { upstream: UpstreamKind::Files, why: text };
        let noted = self.parts.store.note_authority(action, Actor::System, now).await;
        noted.map_err(|error| {
            // It is told until it is on record.
            if let Some(plugged_in) = &mut self.parts.plugged_in {
                plugged_in.told = None;
            }
            self.noted(error.into())
        })
    }
}
