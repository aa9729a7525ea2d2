//! Randomness as a capability. The only place that asks the system for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `dest`; aborts the process when the system has none, because no caller could go on safely.
    fn fill(&self, dest: &mut [u8]);
}

/// The system's generator (getrandom(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one asker of the system's generator")]
    fn fill(&self, dest: &mut [u8]) {
        if let Err(error) = getrandom::fill(dest) {
            tracing::error!(%error, "the system has no randomness; ending the process");
            std::process::abort();
        }
    }
}

/// Bytes that follow from a seed: for tests that must repeat. Always compiled, because the tests of other crates use it too;
/// no service makes one.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// A source whose every byte can be foretold from `seed`.
    #[must_use]
    pub fn insecure_from_seed(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood 2014): its state is a counter, so concurrent callers never share a word.
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let word = (mixed ^ (mixed >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// `N` random bytes.
#[must_use]
pub fn bytes<const N: usize>(source: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    source.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_never_says_the_same_twice() {
        assert_ne!(bytes::<16>(&SystemEntropy), bytes::<16>(&SystemEntropy));
    }

    #[test]
    fn a_seed_repeats_and_seeds_differ() {
        let first = SeededEntropy::insecure_from_seed(7);
        let second = SeededEntropy::insecure_from_seed(7);
        let other = SeededEntropy::insecure_from_seed(8);
        let drawn = bytes::<21>(&first);
        assert_eq!(drawn, bytes::<21>(&second));
        assert_ne!(drawn, bytes::<21>(&first));
        assert_ne!(drawn, bytes::<21>(&other));
    }
}
