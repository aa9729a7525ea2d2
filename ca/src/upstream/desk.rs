//! Asking upstream: for an issuing CA when one is made, and for its roots every so often. What is known of it is shown to others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::TrustDomain;
use pki::{Certificate, LeafProfile, Sha256Digest, Timestamp};
use runtime::clock::Ticker;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::answer::{self, VerifiedAnswer};
use super::metrics::{UpstreamKind, UpstreamMetrics, UpstreamOutcome};
use super::{IssuerRequest, UpstreamAuthority};
use crate::issuance_clock::IssuanceClock;
use crate::signing_keys::NewKey;

/// What is known of upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Its roots, as it told them last; empty before that.
    pub(crate) roots: Vec<Certificate>,
    /// SHA-256 of the one under which it signs, where it says so.
    pub(crate) signing: Option<Sha256Digest>,
    /// When it was reached last.
    pub(crate) reached_at: Option<Timestamp>,
    /// Why it was not reached, or not understood, since.
    pub(crate) fault: Option<String>,
    /// By which question this is known, counted from 1.
    question: u64,
}

/// What it works with.
pub(crate) struct DeskParts {
    pub(crate) authority: Box<dyn UpstreamAuthority>,
    pub(crate) kind: UpstreamKind,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) profile: LeafProfile,
    /// How long an issuing CA should be good for.
    pub(crate) ttl: Duration,
    /// How often roots are asked for.
    pub(crate) interval: Duration,
    pub(crate) clock: Arc<IssuanceClock>,
    pub(crate) metrics: UpstreamMetrics,
}

/// Where upstream is asked. One for the process.
pub(crate) struct UpstreamDesk {
    parts: DeskParts,
    seen: watch::Sender<Arc<Seen>>,
    /// How many questions were asked. They are asked side by side, and an answer that comes late must not undo a later one: roots that upstream
    /// just got would seem to be gone again.
    questions: AtomicU64,
    /// Why the last issuing CA was not had, as it was told.
    refusal: Mutex<Option<String>>,
}

impl UpstreamDesk {
    /// Nothing is known yet.
    pub(crate) fn new(parts: DeskParts) -> Self {
        Self { parts, seen: watch::channel(Arc::default()).0, questions: AtomicU64::new(0), refusal: Mutex::default() }
    }

    /// Who upstream is.
    pub(crate) fn kind(&self) -> UpstreamKind {
        self.parts.kind
    }

    /// What is known of it now.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen.borrow())
    }

    /// Why no issuing CA was had the last time; `None` when one was.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An issuing CA for this key, verified whole. `wanted`: the root that it must stand under.
    ///
    /// # Errors
    /// Why there is none, with the way out; what is in use goes on.
    pub(crate) async fn issuer(&self, key: &NewKey, wanted: Option<&Certificate>) -> Result<VerifiedAnswer, String> {
        let asked = self.ask(key, wanted).await;
        let DeskParts { metrics, kind, .. } = &self.parts;
        let outcome = match &asked {
            Ok(_) => UpstreamOutcome::Taken,
            Err((outcome, _)) => *outcome,
        };
        metrics.count(*kind, outcome);
        metrics.fault(asked.is_err());
        let asked = asked.map_err(|(_, why)| why);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = asked.as_ref().err().cloned();
        asked
    }

    /// That upstream signs under this root now, as far as it says so: nothing is asked for that could not be used.
    ///
    /// # Errors
    /// What is waited for.
    pub(crate) fn check_signs_under(&self, root: &Certificate) -> Result<(), String> {
        match self.seen.borrow().signing {
            Some(signing) if signing != root.fingerprint() => Err(format!(
                "upstream does not sign under {} now: an issuing CA under it is asked for as soon as upstream does",
                super::step::named(root)
            )),
            Some(_) | None => Ok(()),
        }
    }

    async fn ask(&self, key: &NewKey, wanted: Option<&Certificate>) -> Result<VerifiedAnswer, (UpstreamOutcome, String)> {
        let DeskParts { authority, trust_domain, profile, ttl, clock, .. } = &self.parts;
        let name = authority.name();
        let failed = |error: &dyn std::fmt::Display| (UpstreamOutcome::Failed, format!("upstream ({name}) {error}"));
        let csr_der = pki::build_request_by(&*key.signer()).await.map_err(|error| failed(&error))?;
        let question = self.begin_question();
        let request = IssuerRequest { csr_der, trust_domain: trust_domain.clone(), ttl: *ttl, path_len: 0 };
        let answer = authority.sign_issuer(request).await.map_err(|error| failed(&error))?;
        let now = clock.issue_at().map_err(|error| failed(&error))?;
        let refused = |error: &dyn std::fmt::Display| {
            (UpstreamOutcome::Refused, format!("what upstream ({name}) gave does not verify and is not used: {error}"))
        };
        let verified = answer::verify(&answer, key, trust_domain, profile, wanted, now).await;
        let verified = verified.map_err(|error| refused(&error))?;
        let roots = answer::parse_roots(&answer.roots).map_err(|error| refused(&error))?;
        self.note(question, |_| {
            let signing = Some(verified.root.fingerprint());
            Seen { roots, signing, reached_at: Some(now), fault: None, question }
        });
        Ok(verified)
    }

    fn begin_question(&self) -> u64 {
        self.questions.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// What is known by this question, unless a later one was answered before.
    fn note(&self, question: u64, known: impl FnOnce(&Seen) -> Seen) {
        self.seen.send_if_modified(|seen| {
            let is_later = seen.question < question;
            if is_later {
                *seen = Arc::new(known(seen));
            }
            is_later
        });
    }

    /// Asks for the roots every so often, until the end.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(self.parts.interval)?;
        loop {
            tokio::select! {
                // Whichever is first: a question that is cut off at the end changes nothing.
                () = shutdown.fired() => return Ok(()),
                () = self.look() => {}
            }
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                woken = ticker.tick() => drop(woken?),
            }
        }
    }

    /// Asks for the roots once.
    pub(crate) async fn look(&self) {
        let DeskParts { authority, clock, .. } = &self.parts;
        let question = self.begin_question();
        let told = match authority.roots().await {
            Ok(None) => return,
            Ok(Some(told)) => match answer::parse_roots(&told.roots) {
                Ok(roots) => Ok((roots, told.signing)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let name = authority.name();
        self.note(question, |seen| match told {
            Ok((roots, signing)) => {
                if seen.fault.is_some() {
                    tracing::info!(upstream = name, "upstream answers again");
                }
                Seen { roots, signing, reached_at: Some(clock.now()), fault: None, question }
            }
            Err(why) => {
                // Once for each text.
                if seen.fault.as_ref() != Some(&why) {
                    tracing::warn!(upstream = name, why, "the roots of upstream are not known: what is in use goes on");
                }
                Seen { fault: Some(why), question, ..Seen::clone(seen) }
            }
        });
    }
}

#[cfg(test)]
mod tests;
