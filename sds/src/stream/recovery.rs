//! The way back after a NACK: which offer is good, who gets it again, and when.

use std::sync::Arc;
use std::time::Duration;

use pki::Sha256Digest;

use super::message::{Alarm, Event, Now, StreamId};
use super::offer::Offer;
use super::{Answer, Connection, Resend, Stream};

/// From a NACK until all streams have accepted what was sent after it.
#[derive(Debug)]
pub(super) struct Mending {
    pub(super) toward: Toward,
    pub(super) retry_at: Duration,
    retry_in: Duration,
    /// Whether the one retry that does not wait was used up.
    mended_once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    LastGood,
    Newest,
}

impl Connection {
    /// The peer rejected, on stream `id`, a response made from the offer `content`.
    pub(super) fn rejected_by_peer(&mut self, id: StreamId, content: Sha256Digest, now: Now) {
        self.woken = true;
        let nothing_better = |mending: &&Mending| mending.toward == Toward::LastGood || self.last_good(now).is_none();
        if let Some(retry_in) = self.mending.as_ref().filter(nothing_better).map(|mending| mending.retry_in) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.resend = Resend::AfterMend;
            }
            self.events.push(Event::Alarm(Alarm::RejectedAgain { retry_in }));
            return;
        }
        // The response may be older than the target and part of it unchanged: both are at fault.
        self.reject(content);
        if let Some(target) = self.target.as_ref().map(|offer| offer.content()) {
            self.reject(target);
        }
        let Some(good) = self.last_good(now) else {
            // Whatever was under way has nothing left to offer: the next content begins the mending anew.
            self.mending = None;
            self.spoiled = true;
            self.events.push(Event::Alarm(Alarm::RejectedFirst));
            return;
        };
        self.target = Some(good);
        self.start_mending(Toward::LastGood, now);
        for stream in self.streams.values_mut().filter(|stream| stream.holds_something()) {
            stream.resend = Resend::Now;
        }
        self.plan_recheck(now);
        self.events.push(Event::Alarm(Alarm::Rejected));
    }

    /// Looks, after an answer of the peer, whether a stream can be tried again and whether all is well.
    pub(super) fn mend(&mut self, now: Now) {
        let all_answered = self.streams.iter().all(|(id, stream)| {
            stream.last.as_ref().is_none_or(|last| last.answer != Answer::Outstanding) && self.due(*id).is_none()
        });
        if !all_answered {
            return;
        }
        if let Some(mending) = self.mending.as_mut().filter(|mending| !mending.mended_once) {
            for stream in self.streams.values_mut().filter(|stream| stream.resend == Resend::AfterMend) {
                stream.resend = Resend::Now;
                mending.mended_once = true;
                self.woken = true;
            }
        }
        let accepted = |stream: &Stream| stream.last.as_ref().is_none_or(|last| last.answer == Answer::Accepted);
        if !self.streams.values().all(accepted) || self.streams.values().all(|stream| stream.last.is_none()) {
            return;
        }
        self.mending = None;
        self.spoiled = false;
        if let Some(target) = &self.target
            && self.accepted.as_ref().is_none_or(|offer| offer.content() != target.content())
        {
            self.previous = self.accepted.replace(Arc::clone(target));
        }
        self.choose(now);
    }

    /// Does what the time asks for.
    pub(super) fn advance(&mut self, now: Now) {
        // The wall clock may have been set.
        if self.recheck_at.is_some_and(|at| at <= now.boot) || !self.has_lists_of(now) {
            self.recompose(now);
        }
        let newest_waits = self.newest_waits();
        let Some(mending) = self.mending.as_mut().filter(|mending| mending.retry_at <= now.boot) else { return };
        mending.retry_in = mending.retry_in.saturating_mul(2).min(LONGEST_RETRY);
        mending.retry_at = now.boot.saturating_add(mending.retry_in);
        if newest_waits {
            // The peer had its time to accept the last good offer; a newer one is no worse.
            self.target.clone_from(&self.newest);
            mending.toward = Toward::Newest;
            mending.mended_once = false;
        }
        for stream in self.streams.values_mut().filter(|stream| stream.resend == Resend::AfterMend) {
            stream.resend = Resend::Now;
        }
        self.woken = true;
    }

    pub(super) fn start_mending(&mut self, toward: Toward, now: Now) {
        let retry_at = now.boot.saturating_add(FIRST_RETRY);
        self.mending = Some(Mending { toward, retry_at, retry_in: FIRST_RETRY, mended_once: false });
    }

    fn last_good(&self, now: Now) -> Option<Arc<Offer>> {
        let good = |offer: &&Arc<Offer>| !self.rejected.contains(&offer.content()) && offer.verify(now.wall).is_ok();
        [&self.accepted, &self.previous].into_iter().flatten().find(good).cloned()
    }

    fn reject(&mut self, content: Sha256Digest) {
        if !self.rejected.contains(&content) {
            self.rejected.push_back(content);
        }
        while self.rejected.len() > REJECTED_KEPT {
            self.rejected.pop_front();
        }
    }
}

const FIRST_RETRY: Duration = Duration::from_secs(1);

const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Rejected contents remembered on a connection.
const REJECTED_KEPT: usize = 16;
