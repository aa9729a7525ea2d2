//! Which offer the streams get: the newest that verifies, or a last good one.

use std::sync::Arc;
use std::time::Duration;

use super::message::{Alarm, Event, Now};
use super::offer::{Fault, Offer, compose};
use super::recovery::Toward;
use super::{Answer, Connection, Resend};
use crate::FileSecrets;

impl Connection {
    /// Verifies the state anew and takes the outcome over. What does not verify leaves the last good in its place.
    pub(super) fn recompose(&mut self, now: Now) {
        self.renew_lists(now);
        let last_good = self.accepted.as_ref().or(self.newest.as_ref());
        let composition = compose(
            &self.state,
            self.files.as_deref().unwrap_or(&FileSecrets::default()),
            last_good.map(AsRef::as_ref),
            now.wall,
        );
        for fault in composition.faults.iter().filter(|fault| !self.faults.iter().any(|known| known.same_svid(fault))) {
            self.events.push(held_back(fault));
        }
        self.faults = composition.faults;
        if let Some(offer) = composition.offer.map(Arc::new) {
            // Also one of the same content: what it gives later, by the clock, may be something else.
            if let Some(target) = self.target.as_mut().filter(|target| target.content() == offer.content()) {
                target.clone_from(&offer);
            }
            self.newest = Some(offer);
        }
        self.choose(now);
        self.plan_recheck(now);
    }

    /// Whether what is at hand has the revocation lists of this moment.
    pub(super) fn has_lists_of(&self, now: Now) -> bool {
        let mut offers = [&self.newest, &self.target, &self.accepted, &self.previous].into_iter().flatten();
        offers.all(|offer| offer.has_lists_of(now.wall))
    }

    /// Lists come and go by the clock, in what is kept as good as in what is new: a list that is stale, sent again after a rejection,
    /// would turn everybody away.
    fn renew_lists(&mut self, now: Now) {
        for slot in [&mut self.newest, &mut self.target, &mut self.accepted, &mut self.previous] {
            if let Some(offer) = slot.as_ref().filter(|offer| !offer.has_lists_of(now.wall)) {
                *slot = Some(Arc::new(offer.with_lists_of(now.wall)));
                self.woken = true;
            }
        }
    }

    /// Decides which offer the streams get.
    pub(super) fn choose(&mut self, now: Now) {
        let Some(newest) = self.newest.clone() else {
            self.target = None;
            // The peer may still hold what it rejected: the next offer mends it.
            self.spoiled |= self.mending.take().is_some();
            return;
        };
        if let Some(target) = &self.target {
            if target.content() == newest.content() {
                return;
            }
            let target_is_good = target.verify(now.wall).is_ok();
            if target_is_good && (self.mending.is_some() || self.rejected.contains(&newest.content())) {
                return;
            }
            if !self.rejected.contains(&target.content()) {
                self.previous = self.target.take();
            }
        }
        // Reached for a rejected content only when nothing else verifies any more: it is worth one more try.
        self.rejected.retain(|content| *content != newest.content());
        self.target = Some(newest);
        self.woken = true;
        if self.spoiled {
            self.spoiled = false;
            self.start_mending(Toward::Newest, now);
            // A stream whose part did not change was rejected for the other part's sake, and Envoy does not ask again.
            for stream in self.streams.values_mut() {
                if stream.last.as_ref().is_some_and(|last| last.answer == Answer::Rejected) {
                    stream.resend = Resend::AfterMend;
                }
            }
        }
    }

    pub(super) fn verified(&mut self, offer: &Offer, now: Now) -> bool {
        let Err(fault) = offer.verify(now.wall) else { return true };
        if !self.faults.iter().any(|known| known.same_svid(&fault)) {
            self.events.push(held_back(&fault));
            self.faults.push(fault);
        }
        self.plan_recheck(now);
        false
    }

    /// What is held back, or rejected, is looked at again; at the latest when the last good offer, sent in its place, ends, or when
    /// revocation lists come or go.
    pub(super) fn plan_recheck(&mut self, now: Now) {
        let end = self.target.as_ref().filter(|_| self.target_is_not_newest()).and_then(|target| target.ends_in(now.wall));
        let soon = (!self.faults.is_empty() || end.is_some()).then_some(RECHECK_EVERY);
        let lists = [&self.newest, &self.target].into_iter().flatten().filter_map(|offer| offer.lists_change_in(now.wall)).min();
        self.recheck_at = soon.into_iter().chain(end).chain(lists).min().map(|wait| now.boot.saturating_add(wait));
    }

    fn target_is_not_newest(&self) -> bool {
        let content = |offer: &Option<Arc<Offer>>| offer.as_ref().map(|offer| offer.content());
        content(&self.target) != content(&self.newest)
    }

    /// A newer offer is there and nobody rejected it.
    pub(super) fn newest_waits(&self) -> bool {
        self.target_is_not_newest() && self.newest.as_ref().is_some_and(|newest| !self.rejected.contains(&newest.content()))
    }
}

fn held_back(fault: &Fault) -> Event {
    let Fault { id, serial, why } = fault.clone();
    Event::Alarm(Alarm::HeldBack { id, serial, why })
}

/// How soon a state that does not verify is looked at again: its notBefore may pass, the wall clock may be set right.
const RECHECK_EVERY: Duration = Duration::from_secs(10);
