//! Where the CA is: one address, or one for each of its replicas, any of which serves a node that attested to another.

use std::fmt;
use std::time::Duration;

use identity::HostPort;

/// How long an address must have served for its failure to say nothing about the others.
const STEADY: Duration = Duration::from_secs(30);

/// The addresses of the CA, and which of them is used.
#[derive(Clone, Debug)]
pub(crate) struct CaAddresses {
    first: HostPort,
    others: Vec<HostPort>,
    at: usize,
    /// How many have failed, none of them long after the one before.
    failed: usize,
    /// When the last one did, by the time since boot.
    failed_at: Duration,
}

impl CaAddresses {
    /// Begins with one that `random` chooses, so that nodes spread over replicas.
    pub(crate) fn new(first: HostPort, others: Vec<HostPort>, random: u8) -> Self {
        let at = usize::from(random) % others.len().saturating_add(1);
        Self { first, others, at, failed: 0, failed_at: Duration::ZERO }
    }

    /// The one in use.
    pub(crate) fn current(&self) -> &HostPort {
        self.at.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }

    /// Whether there is another one to go to.
    pub(crate) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// The one in use does not serve at `now`, by the time since boot: the next one is, from now on. Says whether all have failed shortly, so
    /// that it is time to wait: also where each takes the node in and then cannot serve it.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        let count = self.others.len().saturating_add(1);
        if now.saturating_sub(self.failed_at) >= STEADY {
            self.failed = 0;
        }
        self.failed_at = now;
        self.at = self.at.saturating_add(1) % count;
        self.failed = self.failed.saturating_add(1) % count;
        self.failed == 0
    }
}

impl fmt::Display for CaAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> HostPort {
        name.parse().unwrap()
    }

    #[test]
    fn each_is_tried_before_any_is_waited_for_and_nodes_begin_with_different_ones() {
        let mut addresses = CaAddresses::new(address("a:1"), vec![address("b:1"), address("c:1")], 4);
        assert_eq!(addresses.current().as_str(), "b:1");
        let at = Duration::from_secs;
        assert!(!addresses.failed(at(100)));
        assert_eq!(addresses.current().as_str(), "c:1");
        assert!(!addresses.failed(at(100)));
        assert_eq!(addresses.current().as_str(), "a:1");
        assert!(addresses.failed(at(101)), "all of them have");
        assert!(!addresses.failed(at(102)));
        // One that served for long and fails says nothing about the others.
        assert!(!addresses.failed(at(140)) && !addresses.failed(at(141)));
        assert!(addresses.failed(at(142)), "each took the node in, and did not serve it");
        assert_eq!(addresses.to_string(), "c:1");
        let mut one = CaAddresses::new(address("a:1"), vec![], 255);
        assert!(!one.has_others() && one.failed(at(1)) && one.failed(at(2)));
        assert_eq!(one.current().as_str(), "a:1");
    }
}
