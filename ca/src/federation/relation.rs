//! A relationship at work: what is held of it, and when it is asked again. Pure.

use std::sync::Arc;
use std::time::Duration;

use pki::{BundleDocument, BundleDocumentError, Timestamp, TrustBundle};
use runtime::backoff::Backoff;

use super::records::{Federation, ForeignDocument, StoredFederation};
use super::schedule::{after_answer, after_failures, interval, is_stale};
use super::standing::Standing;

/// A moment at which something became of a relationship.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since boot: what intervals are counted by.
    pub(super) boot: Duration,
    /// By the wall clock: what is told.
    pub(super) now: Timestamp,
    /// Spreads what comes next.
    pub(super) random: u8,
}

/// A relationship at work. Times are since boot.
pub(super) struct Relation {
    pub(super) federation: Federation,
    /// As the store has it, whether it can be used or not.
    stored: Option<ForeignDocument>,
    held: Option<Held>,
    /// When it was asked last for a good answer, or, before the first, when it was taken up.
    good_at: Duration,
    answered_at: Option<Timestamp>,
    next_at: Duration,
    in_flight: bool,
    /// Counts the questions; an answer to another than the last one says nothing.
    question: u64,
    trouble: Option<String>,
    retries: Backoff,
    min_refresh: Duration,
}

struct Held {
    bundle: Arc<TrustBundle>,
    refresh_hint: Option<Duration>,
}

impl Relation {
    /// One that is asked at once. Beside it why what is stored cannot be used: it is asked for anew then.
    pub(super) fn new(stored: StoredFederation, boot: Duration, min_refresh: Duration) -> (Self, Option<BundleDocumentError>) {
        let StoredFederation { federation, document } = stored;
        let mut relation = Self {
            federation,
            stored: None,
            held: None,
            good_at: boot,
            answered_at: None,
            next_at: boot,
            in_flight: false,
            question: 0,
            trouble: None,
            retries: after_failures(min_refresh, min_refresh),
            min_refresh,
        };
        let fault = document.and_then(|document| relation.read(document));
        relation.retries = after_failures(relation.interval(), min_refresh);
        (relation, fault)
    }

    fn read(&mut self, stored: ForeignDocument) -> Option<BundleDocumentError> {
        let document = BundleDocument::parse(self.federation.trust_domain.clone(), &stored.json);
        self.stored = Some(stored);
        match document {
            Ok(document) => {
                self.held = Some(Held::new(document));
                None
            }
            Err(fault) => {
                self.held = None;
                Some(fault)
            }
        }
    }

    /// The store has this now: what another process took counts as an answer, and another beginning is begun with.
    pub(super) fn found_in_store(&mut self, document: Option<ForeignDocument>, at: Moment) -> Option<BundleDocumentError> {
        if self.stored == document {
            return None;
        }
        let Some(document) = document else {
            (self.stored, self.held, self.next_at) = (None, None, at.boot);
            return None;
        };
        let taken_at = document.taken_at;
        let fault = self.read(document);
        if fault.is_some() {
            self.next_at = at.boot;
        } else {
            self.answered(Moment { now: taken_at, ..at });
        }
        fault
    }

    /// Whether it is to be asked.
    pub(super) fn is_due(&self, boot: Duration) -> bool {
        !self.in_flight && boot >= self.next_at
    }

    /// It is being asked; its answer is to this question.
    pub(super) fn asked(&mut self) -> u64 {
        self.in_flight = true;
        self.question += 1;
        self.question
    }

    /// Whether an answer to this question is waited for.
    pub(super) fn awaits(&self, question: u64) -> bool {
        self.in_flight && self.question == question
    }

    /// It is to be asked at once, and what was asked before says nothing any more.
    pub(super) fn ask_now(&mut self, boot: Duration) {
        (self.in_flight, self.next_at) = (false, boot);
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forgotten(&mut self) {
        self.in_flight = false;
    }

    /// The newest bundle.
    pub(super) fn bundle(&self) -> Option<&Arc<TrustBundle>> {
        self.held.as_ref().map(|held| &held.bundle)
    }

    /// It answered with what is held, or with a newer bundle, which is stored by now. The hint may be another either way. Says whether it
    /// had been in trouble.
    pub(super) fn took(&mut self, document: BundleDocument, stored: Option<ForeignDocument>, at: Moment) -> bool {
        match (&mut self.held, stored) {
            (Some(held), None) => held.refresh_hint = document.refresh_hint,
            (_, stored) => {
                self.held = Some(Held::new(document));
                self.stored = stored.or(self.stored.take());
            }
        }
        self.in_flight = false;
        self.answered(at)
    }

    fn answered(&mut self, at: Moment) -> bool {
        let interval = self.interval();
        (self.good_at, self.answered_at) = (at.boot, Some(at.now));
        self.retries = after_failures(interval, self.min_refresh);
        self.next_at = at.boot.saturating_add(after_answer(interval, at.random));
        self.trouble.take().is_some()
    }

    /// It did not answer, or not as it should; what is held stays. Says whether that is news.
    pub(super) fn failed(&mut self, why: String, at: Moment) -> bool {
        self.in_flight = false;
        self.next_at = at.boot.saturating_add(self.retries.next_delay(at.random).max(self.min_refresh));
        let news = self.trouble.as_ref() != Some(&why);
        self.trouble = Some(why);
        news
    }

    /// How often it is asked.
    fn interval(&self) -> Duration {
        interval(self.held.is_some(), self.held.as_ref().and_then(|held| held.refresh_hint), self.min_refresh)
    }

    /// How it does.
    pub(super) fn standing(&self, boot: Duration, now: Timestamp) -> Standing {
        let interval = self.interval();
        Standing {
            bundle: self.held.as_ref().map(|held| Arc::clone(&held.bundle)),
            interval,
            answered_at: self.answered_at,
            next_at: now.plus(self.next_at.saturating_sub(boot)),
            trouble: self.trouble.clone(),
            stale: is_stale(boot.saturating_sub(self.good_at), interval),
        }
    }
}

impl Held {
    fn new(document: BundleDocument) -> Self {
        let BundleDocument { bundle, refresh_hint } = document;
        Self { bundle: Arc::new(bundle), refresh_hint }
    }
}

#[cfg(test)]
mod tests;
