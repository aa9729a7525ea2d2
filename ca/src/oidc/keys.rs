//! The keys of one issuer: what is known of them, how old it is, and when to look anew. The looking is `refresher`'s.
//!
//! Ages are counted on the clock that never goes back. Whoever asks for a key that is not there makes all askers wait for one look;
//! looks on demand are at least [`ASK_INTERVAL`] apart, so that tokens with made-up key names cost an issuer nothing.

use std::sync::Arc;
use std::time::Duration;

use pki::JsonWebKeys;
use runtime::clock::Clock;
use tokio::sync::{Notify, watch};

use super::error::KeysUnavailable;

/// The least time between two looks that callers cause.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(30);
/// The time between two looks at an issuer that answers, at most; a key that it withdrew is forgotten so soon.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Waits after a failed look: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// For how long a caller waits for a look: a little more than a fetch takes at most.
const PATIENCE: Duration = Duration::from_secs(6);

/// When to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cadence {
    refresh: Duration,
    ask: Duration,
}

impl Cadence {
    /// For a server: seldom, and several times within `max_stale`.
    pub(crate) fn of_server(max_stale: Duration) -> Self {
        Self { refresh: (max_stale / 4).clamp(FIRST_RETRY, REFRESH_INTERVAL), ask: ASK_INTERVAL }
    }

    /// For a file: each second, since a look that finds nothing new reads nothing.
    pub(crate) fn of_file() -> Self {
        Self { refresh: FIRST_RETRY, ask: FIRST_RETRY }
    }
}

/// What is known now.
#[derive(Clone, Default)]
struct Known {
    keys: Option<Arc<JsonWebKeys>>,
    /// When the keys were last found to be the issuer's, on the clock of boot time.
    good_at: Duration,
    /// How many looks have ended.
    looks: u64,
    /// When the last look began.
    began_at: Duration,
    looking: bool,
    /// Failed looks since the last good one.
    failures: u32,
    /// Why the last look failed, if it did.
    fault: Option<String>,
}

/// What a caller who needs a key that is not there can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// Wait for the look that goes on.
    Wait,
    /// Ask for a look and wait for it.
    Ask,
    /// Take what is known: it was looked just now.
    Settled,
}

impl Known {
    fn demand(&self, cadence: Cadence, now: Duration) -> Demand {
        if self.looking || self.looks == 0 {
            Demand::Wait
        } else if now.saturating_sub(self.began_at) >= cadence.ask {
            Demand::Ask
        } else {
            Demand::Settled
        }
    }

    fn is_due(&self, cadence: Cadence, asked: bool, now: Duration) -> bool {
        let since = now.saturating_sub(self.began_at);
        let scheduled = match self.failures.checked_sub(1) {
            None => cadence.refresh,
            Some(exponent) => {
                FIRST_RETRY.saturating_mul(1 << exponent.min(10)).min(LAST_RETRY).min(cadence.refresh.max(FIRST_RETRY))
            }
        };
        self.looks == 0 || since >= scheduled || (asked && since >= cadence.ask)
    }

    fn usable(&self, max_stale: Duration, now: Duration) -> Option<Arc<JsonWebKeys>> {
        let age = now.saturating_sub(self.good_at);
        self.keys.clone().filter(|_| age <= max_stale)
    }
}

/// The keys of one issuer, shared by callers and the one who looks.
pub(crate) struct KeySource {
    issuer: String,
    max_stale: Duration,
    cadence: Cadence,
    known: watch::Sender<Known>,
    asked: Notify,
    clock: Arc<dyn Clock>,
}

impl KeySource {
    /// Of this issuer; nothing is known yet.
    pub(crate) fn new(issuer: String, max_stale: Duration, cadence: Cadence, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, max_stale, cadence, known: watch::Sender::default(), asked: Notify::new(), clock }
    }

    /// Whose keys.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys of now, at most `max_stale` old. Waits for the first look.
    ///
    /// # Errors
    /// [`KeysUnavailable`].
    pub(crate) async fn keys(&self) -> Result<Arc<JsonWebKeys>, KeysUnavailable> {
        let known = self.after_looks(1).await?;
        known.usable(self.max_stale, self.clock.boottime()).ok_or_else(|| self.unavailable(known.fault))
    }

    /// Keys that were looked up because a token names one that is not among those of [`Self::keys`]; `None` when they were looked up
    /// just now, so that the token's key is nobody's.
    ///
    /// # Errors
    /// [`KeysUnavailable`] when the look failed: the key may be a new one.
    pub(crate) async fn newer_keys(&self) -> Result<Option<Arc<JsonWebKeys>>, KeysUnavailable> {
        let (demand, looks) = {
            let known = self.known.borrow();
            (known.demand(self.cadence, self.clock.boottime()), known.looks)
        };
        let known = match demand {
            Demand::Settled => {
                let fault = self.known.borrow().fault.clone();
                return fault.map_or(Ok(None), |fault| Err(self.unavailable(Some(fault))));
            }
            Demand::Ask => {
                self.asked.notify_one();
                self.after_looks(looks + 1).await?
            }
            Demand::Wait => self.after_looks(looks + 1).await?,
        };
        match known.fault {
            Some(fault) => Err(self.unavailable(Some(fault))),
            None => Ok(known.keys),
        }
    }

    /// Waits until so many looks have ended.
    async fn after_looks(&self, looks: u64) -> Result<Known, KeysUnavailable> {
        let mut changes = self.known.subscribe();
        let enough = changes.wait_for(|known| known.looks >= looks);
        match tokio::time::timeout(PATIENCE, enough).await {
            Ok(Ok(known)) => Ok(known.clone()),
            // The sender is this source's own, so only the wait can have ended.
            Ok(Err(_)) | Err(_) => Err(self.unavailable(Some("looking them up takes too long".to_owned()))),
        }
    }

    fn unavailable(&self, fault: Option<String>) -> KeysUnavailable {
        let cause = fault.unwrap_or_else(|| format!("they were last found more than {:?} ago", self.max_stale));
        KeysUnavailable { issuer: self.issuer.clone(), cause }
    }

    /// Awaits somebody who needs a look.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, asked: bool) -> bool {
        self.known.borrow().is_due(self.cadence, asked, self.clock.boottime())
    }

    /// A look begins.
    pub(crate) fn begin(&self) {
        let began_at = self.clock.boottime();
        self.known.send_modify(|known| (known.looking, known.began_at) = (true, began_at));
    }

    /// A look has ended: with new keys, with the old ones unchanged (`None`), or not at all. Gives what there was to say before.
    pub(crate) fn end(&self, outcome: Result<Option<JsonWebKeys>, String>) -> Option<String> {
        let now = self.clock.boottime();
        let mut before = None;
        self.known.send_modify(|known| {
            before = known.fault.take();
            (known.looking, known.looks) = (false, known.looks + 1);
            match outcome {
                Ok(keys) => {
                    known.keys = keys.map(Arc::new).or_else(|| known.keys.take());
                    (known.good_at, known.failures) = (now, 0);
                }
                Err(fault) => (known.fault, known.failures) = (Some(fault), known.failures.saturating_add(1)),
            }
        });
        before
    }

    /// What an operator should know: that the keys could not be looked up, and until when the old ones count.
    pub(crate) fn warning(&self) -> Option<String> {
        let known = self.known.borrow();
        let fault = known.fault.as_ref()?;
        let age = self.clock.boottime().saturating_sub(known.good_at);
        Some(match (&known.keys, self.max_stale.checked_sub(age)) {
            (Some(_), Some(left)) => {
                format!(
                    "the keys of the issuer {:?} could not be looked up; the last ones count {}s more: {fault}",
                    self.issuer,
                    left.as_secs()
                )
            }
            _ => format!("the keys of the issuer {:?} are not known, and its tokens are not taken: {fault}", self.issuer),
        })
    }
}

#[cfg(test)]
mod tests;
