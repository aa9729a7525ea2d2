//! What is still to be done about the stored state: each thing until it is done, failures with growing waits between tries.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::backoff::Backoff;

use crate::authority::lifecycle::Effect;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Effects that wait, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    waiting: Vec<Effect>,
    faults: BTreeMap<Effect, Fault>,
}

#[derive(Debug)]
struct Fault {
    text: String,
    backoff: Backoff,
    /// By the time since boot.
    retry_at: Duration,
}

impl Effects {
    /// These are to be done; what waits already waits once.
    pub(crate) fn add(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            // What failed before may go well now: something has changed.
            if let Some(fault) = self.faults.get_mut(&effect) {
                fault.retry_at = Duration::ZERO;
            }
            if !self.waiting.contains(&effect) {
                self.waiting.push(effect);
            }
        }
    }

    /// Only these are to be done.
    pub(crate) fn replace(&mut self, effects: impl IntoIterator<Item = Effect>) {
        *self = Self::default();
        self.add(effects);
    }

    /// The first that may be tried now.
    pub(crate) fn next(&self, now: Duration) -> Option<Effect> {
        self.waiting.iter().copied().find(|effect| self.faults.get(effect).is_none_or(|fault| fault.retry_at <= now))
    }

    /// It is done.
    pub(crate) fn done(&mut self, effect: Effect) {
        self.waiting.retain(|waiting| *waiting != effect);
        self.faults.remove(&effect);
    }

    /// It failed, and is tried again later; says whether that is news.
    pub(crate) fn failed(&mut self, effect: Effect, text: String, now: Duration, random: u8) -> bool {
        let fault = self.faults.entry(effect).or_insert_with(|| Fault {
            text: String::new(),
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            retry_at: Duration::ZERO,
        });
        fault.retry_at = now.saturating_add(fault.backoff.next_delay(random));
        std::mem::replace(&mut fault.text, text) != fault.text
    }

    /// Whether it waits.
    pub(crate) fn holds(&self, effect: Effect) -> bool {
        self.waiting.contains(&effect)
    }

    /// Why things that wait are not done.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Effect, &str)> {
        self.faults.iter().map(|(effect, fault)| (*effect, fault.text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_waits_without_holding_up_the_rest_until_it_is_asked_for_again() {
        let mut effects = Effects::default();
        effects.add([Effect::Publish, Effect::Sign, Effect::Publish]);
        let at = Duration::from_secs;
        assert_eq!(effects.next(at(10)), Some(Effect::Publish));
        assert!(effects.failed(Effect::Publish, "full".to_owned(), at(10), 0));
        assert!(!effects.failed(Effect::Publish, "full".to_owned(), at(10), 0), "told once");
        assert_eq!(effects.next(at(10)), Some(Effect::Sign));
        effects.done(Effect::Sign);
        assert_eq!(effects.next(at(10)), None);
        assert!(effects.holds(Effect::Publish) && !effects.holds(Effect::Sign));
        assert_eq!(effects.next(at(100)), Some(Effect::Publish));
        effects.add([Effect::Publish]);
        assert_eq!(effects.next(at(10)), Some(Effect::Publish), "something changed");
        effects.done(Effect::Publish);
        assert_eq!((effects.next(at(10)), effects.faults().count()), (None, 0));
    }
}
