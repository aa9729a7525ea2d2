//! One token: its key, its certificate, its renewals, until nobody listens or the CA refuses it.

use std::sync::Arc;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, Timestamp, TrustBundle, X509Svid, build_request, request_to_pem};
use runtime::backoff::Backoff;
use runtime::entropy;
use sds::{BearerToken, SecretState};
use tokio::sync::watch;

use super::Tools;
use super::admission::Place;
use super::in_use::PlaceInUse;
use crate::ca_client::CallFault;
use crate::ca_client::istio::IstioCredential;
use crate::identities::must_go;
use crate::metrics::IssuanceOutcome;

/// The wait after a first failure, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The longest sleep between two looks at the clock, which goes on during a suspend while the sleep does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    pub(super) tools: Tools,
    pub(super) token: BearerToken,
    pub(super) state: watch::Sender<Arc<SecretState>>,
    pub(super) in_use: PlaceInUse,
    pub(super) _place: Place,
}

/// What is held for the token.
struct Held {
    svid: Arc<X509Svid>,
    /// As the CA's answer brought it.
    bundle: Arc<TrustBundle>,
}

impl Driver {
    /// Works until nobody listens, or until the CA refuses the token.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut held: Option<Held> = None;
        loop {
            // A caller that is gone must not cost the CA anything more.
            let answer = tokio::select! {
                () = self.state.closed() => return,
                answer = self.ask() => answer,
            };
            let until = match answer {
                Ok(fresh) => {
                    tracing::info!(id = %fresh.svid.id(), serial = %fresh.svid.leaf().serial(), "identity fetched for a token");
                    self.tools.metrics.issuance(IssuanceOutcome::Issued);
                    self.in_use.hold(&fresh.svid);
                    let mut until = fresh.svid.renew_at();
                    if self.is_tainted(&fresh) {
                        // Signed before the taint: without a pause the CA would be asked in a circle.
                        until = until.min(self.now().plus(backoff.next_delay(self.random())));
                    } else {
                        backoff.reset();
                    }
                    held = Some(fresh);
                    until
                }
                Err(fault) => {
                    self.tools.metrics.issuance(fault.outcome());
                    if matches!(fault, CallFault::Refused { .. }) {
                        tracing::warn!(why = %fault, "a token is refused: its streams end");
                        self.refuse(&fault);
                        return;
                    }
                    let wait = backoff.next_delay(self.random()).max(fault.pause().unwrap_or_default());
                    tracing::warn!(why = %fault, ?wait, "no certificate for a token; what is held for it stays");
                    self.now().plus(wait)
                }
            };
            if !self.serve_until(until, held.as_ref()).await {
                return;
            }
        }
    }

    /// A key that never leaves, and a certificate for it.
    async fn ask(&self) -> Result<Held, CallFault> {
        let broken = |error: &dyn std::fmt::Display| CallFault::Unavailable(format!("cannot make key and CSR: {error}"));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| broken(&error))?;
        let csr = build_request(&key, None).map_err(|error| broken(&error))?;
        let credential = IstioCredential::Bearer(self.token.clone().into_text());
        let answer = self.tools.ca.create_certificate(credential, request_to_pem(&csr), None).await?;
        let answer = answer.into_svid(&self.tools.trust_domain, key, self.now());
        let (svid, bundle) = answer.map_err(|fault| CallFault::Answer(fault.to_string()))?;
        Ok(Held { svid, bundle })
    }

    /// Publishes what is held, again with each new bundle of the node, until that time, or until it rests on a key that has become
    /// tainted. `false`: nobody listens any more.
    async fn serve_until(&self, until: Timestamp, held: Option<&Held>) -> bool {
        let mut views = self.tools.views.clone();
        let was_tainted = held.is_some_and(|held| self.is_tainted(held));
        loop {
            views.mark_unchanged();
            if let Some(held) = held {
                self.publish(held);
                if !was_tainted && self.is_tainted(held) {
                    return true;
                }
            }
            let now = self.now();
            if now >= until {
                return true;
            }
            tokio::select! {
                () = self.state.closed() => return false,
                // A provider that is gone tells nothing more; the clock still ends the wait.
                Ok(()) = views.changed() => {}
                () = tokio::time::sleep(until.since(now).min(LONGEST_SLEEP)) => {}
            }
        }
    }

    fn publish(&self, held: &Held) {
        let view = Arc::clone(&self.tools.views.borrow());
        let newest = view.bundle.clone().filter(|bundle| held.svid.verify(bundle, self.now()).is_ok());
        // The node's lists stand under the node's bundle.
        let revocation = newest.as_ref().and_then(|_| view.revocation.clone());
        let bundle = newest.unwrap_or_else(|| Arc::clone(&held.bundle));
        self.state.send_if_modified(|state| {
            let same_svid = state.svids.first().is_some_and(|svid| Arc::ptr_eq(svid, &held.svid));
            let same_lists = state.revocation.as_ref().map(Arc::as_ptr) == revocation.as_ref().map(Arc::as_ptr);
            let same_bundle = state.bundle.as_ref().is_some_and(|before| Arc::ptr_eq(before, &bundle));
            let same = same_svid && same_bundle && same_lists;
            if !same {
                let (svids, bundle) = (vec![Arc::clone(&held.svid)], Some(bundle));
                *state = Arc::new(SecretState { known: true, svids, bundle, revocation, ..SecretState::default() });
            }
            !same
        });
    }

    fn is_tainted(&self, held: &Held) -> bool {
        let bundle = self.tools.views.borrow().bundle.clone();
        let revocation = self.tools.views.borrow().revocation.clone();
        must_go(&held.svid, bundle.as_ref(), revocation.as_ref())
    }

    fn random(&self) -> u8 {
        let [random] = entropy::bytes(self.tools.entropy.as_ref());
        random
    }

    /// The words for the stream: those of the CA, which never repeats a token.
    fn refuse(&self, fault: &CallFault) {
        let refused = Some(Arc::from(fault.to_string()));
        self.state.send_replace(Arc::new(SecretState { refused, ..SecretState::default() }));
    }

    fn now(&self) -> Timestamp {
        self.tools.clock.now().into()
    }
}
