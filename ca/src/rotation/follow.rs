//! Following an upstream: its roots become this CA's by the steps of any rotation, and what it signed is given up when it does not verify.

use std::time::Duration;

use pki::{Certificate, Sha256Digest};

use super::CommandError;
use super::driver::Driver;
use super::materials::{MaterialError, certificate_of};
use super::sequence::PUT_OFF;
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::Pace;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Effect, Lifecycle, Slot};
use crate::store::Actor;
use crate::upstream::answer::unknown_roots;

/// How long after a rotation of the root was undone the next one begins, if upstream still has the new root.
const AFTER_ROLL_BACK: Duration = Duration::from_secs(60);

/// The roots in force, by the SHA-256 of their DER.
///
/// # Errors
/// [`MaterialError::Journal`].
pub(super) fn known_roots(state: &Lifecycle) -> Result<Vec<Sha256Digest>, MaterialError> {
    let made = |root: &&Authority| root.is_in_force() && root.material.is_some();
    state.of(AuthorityKind::Root).filter(made).map(|root| certificate_of(root).map(|root| root.fingerprint())).collect()
}

fn failed(error: &MaterialError) -> CommandError {
    CommandError::Failed(error.to_string())
}

impl Driver {
    /// A root that upstream has and this CA has not is prepared, so that everybody has it before anything rests on it. One that upstream
    /// has given up again before anything rested on it is dropped.
    pub(super) async fn follow_upstream_roots(&mut self) -> Result<(), CommandError> {
        let Some(upstream) = self.parts.materials.upstream() else { return Ok(()) };
        let (seen, now, state) = (upstream.seen(), self.now(), self.journal.state().clone());
        if seen.roots.is_empty() || seen.fault.is_some() {
            return Ok(());
        }
        let known = known_roots(&state).map_err(|error| failed(&error))?;
        match self.under_way(AuthorityKind::Root).map(|standing| standing.rotation.clone()) {
            None if !self.is_just_rolled_back() && !unknown_roots(&seen.roots, &known, now).is_empty() => {
                tracing::info!("upstream has a root that this CA does not have: it is prepared");
                self.start(AuthorityKind::Root, Pace::Natural, &Accepted::default(), Actor::System).await?;
            }
            Some(rotation) if !rotation.aborting => {
                let is_before = state.get(rotation.from).is_some_and(|from| from.slot == Slot::Active);
                let successor = rotation.successor(&state).filter(|next| next.material.is_some() && is_before);
                let successor = successor.map(certificate_of).transpose().map_err(|error| failed(&error))?;
                if successor.is_some_and(|successor| !seen.roots.contains(&successor)) {
                    tracing::warn!("upstream gave up the root that was being prepared: it is dropped");
                    self.abort(AuthorityKind::Root, Actor::System).await?;
                }
            }
            None | Some(_) => {}
        }
        Ok(())
    }

    /// Whether a rotation of the root was undone within the last minute. Longer than that nobody should be without a root of upstream.
    fn is_just_rolled_back(&self) -> bool {
        let over = self.now().plus(PUT_OFF).minus(AFTER_ROLL_BACK);
        self.put_off.iter().any(|(kind, until)| *kind == AuthorityKind::Root && over < *until)
    }

    /// Whether an old root must stay although nothing of this CA rests on it: others under upstream may have certificates under it.
    pub(super) fn is_kept_by_upstream(&self, name: AuthorityName) -> bool {
        let Some(upstream) = self.parts.materials.upstream() else { return false };
        // A rotation that is undone takes out what it brought in; it is begun again soon.
        if self.under_way(AuthorityKind::Root).is_some_and(|standing| standing.rotation.aborting) {
            return false;
        }
        let seen = upstream.seen();
        let root = self.journal.state().get(name).filter(|root| name.kind == AuthorityKind::Root && root.slot == Slot::Old);
        let Some(Ok(root)) = root.map(certificate_of) else { return false };
        seen.fault.is_some() || seen.roots.contains(&root)
    }

    /// That upstream signs under this root, before a rotation of the issuing CA begins.
    pub(super) fn check_upstream_signs(&self, root: &Authority) -> Result<(), CommandError> {
        let Some(upstream) = self.parts.materials.upstream() else { return Ok(()) };
        let root: Certificate = certificate_of(root).map_err(|error| failed(&error))?;
        upstream.check_signs_under(&root).map_err(CommandError::Failed)
    }

    /// That upstream has a root for a rotation of the root to go to.
    pub(super) fn check_upstream_has_another(&self) -> Result<(), CommandError> {
        let Some(upstream) = self.parts.materials.upstream() else { return Ok(()) };
        let state = self.journal.state();
        if state.next(AuthorityKind::Root).is_some() {
            return Ok(());
        }
        let known = known_roots(state).map_err(|error| failed(&error))?;
        if unknown_roots(&upstream.seen().roots, &known, self.now()).is_empty() {
            let text = "upstream has no other root: it is replaced there (`signet drill root` of an upstream that is a Signet CA), and this \
                        CA follows by itself";
            return Err(CommandError::Failed(text.to_owned()));
        }
        Ok(())
    }

    /// What upstream signed and does not verify where it lies now gives way to what signed before it, by itself.
    pub(super) async fn roll_back_what_does_not_verify(&mut self) -> Result<(), CommandError> {
        if self.parts.materials.upstream().is_none() {
            return Ok(());
        }
        if self.fault_of(|effect| effect == Effect::Sign).is_none() {
            return Ok(());
        }
        // A token that does not answer, or a certificate that the CA could not have for itself, is nothing that going back would mend.
        let Some(issuer) = self.journal.state().active(AuthorityKind::Issuer).map(|issuer| issuer.name) else { return Ok(()) };
        let Err(why) = self.parts.materials.issuer(issuer, self.now()).await else { return Ok(()) };
        if !why.is_of_the_set() {
            return Ok(());
        }
        for kind in [AuthorityKind::Issuer, AuthorityKind::Root] {
            let Some(rotation) = self.under_way(kind).map(|standing| standing.rotation.clone()) else { continue };
            let state = self.journal.state();
            let has_switched = state.get(rotation.from).is_some_and(|from| from.slot == Slot::Old);
            if !rotation.aborting && has_switched && rotation.check_way_back(state, self.now()).is_ok() {
                tracing::error!(%kind, %why, "the successor does not sign: what signed before it signs again");
                self.abort(kind, Actor::System).await?;
            }
        }
        Ok(())
    }
}
