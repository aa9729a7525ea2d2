//! What the rest of the CA reads of authorities: who signs leaves and tokens, the bundle, and the serving certificate.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use pki::{Certificate, TrustBundle};
use tokio::sync::watch;

use super::steps::{Step, Steps};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Lifecycle};
use crate::signing_keys::JwtSigningKey;

/// The CA's serving certificate.
pub(crate) trait ServingSlot: Send + Sync {
    /// Whether it rests on this issuing CA.
    fn rests_on<'a>(&'a self, issuer: &'a Certificate) -> BoxFuture<'a, bool>;

    /// Replaces it by one under the issuing CA that signs now.
    fn renew(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// The revocation lists of the CA's authorities.
pub(crate) trait ListSlot: Send + Sync {
    /// Signs whatever is due for these authorities. Answers with those whose list could not be signed, and why.
    ///
    /// # Errors
    /// Why nothing is known of it.
    fn settle<'a>(&'a self, lifecycle: &'a Arc<Lifecycle>) -> BoxFuture<'a, Result<Vec<(AuthorityName, String)>, String>>;
}

/// Where changes go.
pub(crate) struct Outlets {
    pub(crate) authority: watch::Sender<Arc<SigningAuthority>>,
    pub(crate) jwt: watch::Sender<Arc<JwtSigningKey>>,
    pub(crate) bundle: watch::Sender<Arc<TrustBundle>>,
    pub(crate) serving: Arc<dyn ServingSlot>,
    pub(crate) lists: Arc<dyn ListSlot>,
    /// What signed before, for as long as it signs what was begun.
    pub(crate) retiring: Vec<Retiring>,
}

/// An authority that signs no more but for what was begun with it.
pub(crate) enum Retiring {
    /// An issuing CA; the one that signed before a take-over that failed has no name.
    Issuer(Option<AuthorityName>, Weak<SigningAuthority>),
    /// A JWT key.
    Jwt(Option<AuthorityName>, Weak<JwtSigningKey>),
}

impl Retiring {
    fn name(&self) -> Option<AuthorityName> {
        match self {
            Self::Issuer(name, _) | Self::Jwt(name, _) => *name,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Issuer(_, key) => key.strong_count() == 0,
            Self::Jwt(_, key) => key.strong_count() == 0,
        }
    }
}

impl Outlets {
    /// Has the lists signed of what is about to be shown: verifiers that want one of each CA should never meet a CA without.
    pub(crate) async fn cover(&self, state: &Arc<Lifecycle>) {
        match self.lists.settle(state).await {
            Ok(unsigned) => {
                for (name, why) in unsigned {
                    tracing::warn!(%name, why, "no revocation list of this authority is signed");
                }
            }
            Err(why) => tracing::warn!(
                why,
                "a bundle is published, and whether each of its authorities has a revocation list is not known"
            ),
        }
    }

    /// Has the last list of an issuing CA signed, before its key is destroyed: what it signed may be good for a while, and what was revoked
    /// of it must be on a list for as long.
    ///
    /// # Errors
    /// Why it is not signed: the key must stay.
    pub(crate) async fn finish(&self, state: &Arc<Lifecycle>, name: AuthorityName) -> Result<(), String> {
        let unsigned = self.lists.settle(state).await?;
        match unsigned.into_iter().find(|(unsigned, _)| *unsigned == name) {
            Some((_, why)) => Err(format!("the key of {name} is kept until its last revocation list is signed: {why}")),
            None => Ok(()),
        }
    }

    /// Shows a bundle to everybody, if it is another one.
    pub(crate) async fn publish(&self, steps: &Steps, bundle: TrustBundle) {
        if self.bundle.borrow().sequence() != bundle.sequence() {
            steps.run(Step::PublishBundle, async { self.bundle.send_replace(Arc::new(bundle)) }).await;
        }
    }

    /// Lets this issuing CA sign from now on, and the serving certificate rest on it.
    ///
    /// # Errors
    /// Why the serving certificate was not renewed: the issuing CA signs all the same.
    pub(crate) async fn sign_with(
        &mut self,
        steps: &Steps,
        state: &Lifecycle,
        authority: SigningAuthority,
    ) -> Result<(), String> {
        let authority = Arc::new(authority);
        let is_another = *self.authority.borrow().certificate() != *authority.certificate();
        if is_another {
            let switched = steps.run(Step::SwitchIssuer, async { self.authority.send_replace(Arc::clone(&authority)) }).await;
            let key = switched.certificate().public_key().fingerprint();
            self.retiring.push(Retiring::Issuer(named(state, AuthorityKind::Issuer, key), Arc::downgrade(&switched)));
        }
        if self.serving.rests_on(authority.certificate()).await {
            return Ok(());
        }
        steps.run(Step::RenewServing, self.serving.renew()).await
    }

    /// Lets this JWT key sign from now on.
    pub(crate) async fn sign_tokens_with(&mut self, steps: &Steps, state: &Lifecycle, key: JwtSigningKey) {
        if self.jwt.borrow().key_id() == key.key_id() {
            return;
        }
        let switched = steps.run(Step::SwitchJwtKey, async { self.jwt.send_replace(Arc::new(key)) }).await;
        let fingerprint = switched.authority().public_key().fingerprint();
        self.retiring.push(Retiring::Jwt(named(state, AuthorityKind::Jwt, fingerprint), Arc::downgrade(&switched)));
    }

    /// Whether something that was begun may still be signed by this authority, or by one under it.
    pub(crate) fn is_retiring(&mut self, state: &Lifecycle, name: AuthorityName) -> bool {
        self.retiring.retain(|retiring| !retiring.is_over());
        self.retiring
            .iter()
            .filter_map(Retiring::name)
            .any(|retiring| retiring == name || state.get(retiring).is_some_and(|authority| authority.parent == Some(name)))
    }
}

fn named(state: &Lifecycle, kind: AuthorityKind, key: pki::Sha256Digest) -> Option<AuthorityName> {
    let is_it = |material: &crate::authority::lifecycle::Material| material.key == key;
    state.of(kind).find(|authority| authority.material.as_ref().is_some_and(is_it)).map(|authority| authority.name)
}
