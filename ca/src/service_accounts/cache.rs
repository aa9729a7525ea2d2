//! What was reviewed a moment ago: a workload that asks for several certificates at once is asked about once. Pure.

use std::collections::HashMap;
use std::time::Duration;

use pki::{Sha256Digest, sha256};

use super::account::ReviewedAccount;

/// For how long a token that was taken is taken without a question, counted from when it was asked about. What the API server remembers by
/// itself comes on top of it.
const LIFE: Duration = Duration::from_secs(3);
/// The most tokens remembered. More than that in so short a time are asked about each time.
const MAX_HELD: usize = 8192;

/// Tokens that were taken. Those that were not, and those that could not be judged, are not in it: they are asked about each time.
#[derive(Default)]
pub(crate) struct ReviewCache(HashMap<ReviewKey, (Duration, ReviewedAccount)>);

/// Which question: a token, at a cluster, for audiences. The token cannot be had from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReviewKey(Sha256Digest);

impl ReviewKey {
    pub(crate) fn new(token: &str, cluster: &str, audiences: &[String]) -> Self {
        // Each part as a digest, so that no two lists of parts are one text.
        let parts = [token, cluster].into_iter().chain(audiences.iter().map(String::as_str));
        let text: Vec<u8> = parts.flat_map(|part| sha256(part.as_bytes())).collect();
        Self(sha256(&text))
    }
}

impl ReviewCache {
    /// Whom the token stood for a moment ago.
    pub(crate) fn get(&self, key: ReviewKey, now: Duration) -> Option<ReviewedAccount> {
        self.0.get(&key).filter(|(until, _)| now < *until).map(|(_, account)| account.clone())
    }

    /// Remembers what was asked at `asked`, in time since boot.
    pub(crate) fn put(&mut self, key: ReviewKey, account: ReviewedAccount, asked: Duration, now: Duration) {
        if self.0.len() >= MAX_HELD {
            self.0.retain(|_, (until, _)| now < *until);
        }
        let until = asked.saturating_add(LIFE);
        if self.0.len() < MAX_HELD && now < until {
            self.0.insert(key, (until, account));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> ReviewedAccount {
        ReviewedAccount { cluster: "c".to_owned(), namespace: "n".to_owned(), name: name.to_owned(), pod: None }
    }

    fn key(token: &str) -> ReviewKey {
        ReviewKey::new(token, "c", &["istio-ca".to_owned()])
    }

    #[test]
    fn a_token_is_remembered_for_three_seconds_from_when_it_was_asked_about() {
        let mut cache = ReviewCache::default();
        let second = Duration::from_secs;
        cache.put(key("a"), account("a"), second(10), second(12));
        assert_eq!(cache.get(key("a"), second(12)), Some(account("a")));
        assert_eq!(cache.get(key("a"), second(13) - Duration::from_nanos(1)), Some(account("a")));
        assert_eq!(cache.get(key("a"), second(13)), None);
        assert_eq!(cache.get(key("b"), second(12)), None);
        cache.put(key("late"), account("late"), second(10), second(13));
        assert_eq!(cache.get(key("late"), second(13)), None, "its answer took longer than it counts");
    }

    #[test]
    fn another_cluster_or_audience_is_another_question() {
        let of = |cluster: &str, audiences: &[&str]| {
            ReviewKey::new("a.b.c", cluster, &audiences.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let keys = [of("c", &["x"]), of("d", &["x"]), of("c", &["y"]), of("c", &["x", "y"]), of("c", &["xy"]), of("cx", &[])];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}");
        }
    }

    #[test]
    fn it_is_bounded_and_makes_room_by_what_has_ended() {
        let mut cache = ReviewCache::default();
        for number in 0..MAX_HELD {
            cache.put(key(&number.to_string()), account("a"), Duration::ZERO, Duration::ZERO);
        }
        cache.put(key("more"), account("more"), Duration::ZERO, Duration::ZERO);
        assert_eq!((cache.0.len(), cache.get(key("more"), Duration::ZERO)), (MAX_HELD, None));
        cache.put(key("later"), account("later"), LIFE, LIFE);
        assert_eq!((cache.0.len(), cache.get(key("later"), LIFE)), (1, Some(account("later"))));
    }
}
