//! What the node does next to be, and stay, known to the CA. Pure: times and randomness come in, one action comes out.
//!
//! ```text
//! Unattested --token or certificate--> Attested --SVID ran out, or the CA asks--> Lapsed --node key--> Attested
//! ```
//! Nothing here ends the agent: what fails is tried again, ever more rarely, and the reason stays readable.

use std::time::Duration;

use pki::{Timestamp, X509Svid};
use runtime::backoff::Backoff;

/// Between tries to reach a CA that is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Between tries after the CA said no: an operator has to act, but may do so any moment.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Between tries to renew the agent SVID, while the one held is good.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(150));

/// When the agent SVID is to be renewed, its first and its last second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) renew_at: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Where the node stands with the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It never attested.
    Unattested,
    /// It holds an SVID.
    Attested(Validity),
    /// It is known to the CA, but needs an SVID: why.
    Lapsed(String),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Attest for the first time: redeem the join token, or prove an existing certificate.
    Join,
    /// Prove the node key.
    Reattest,
    /// Be connected with the SVID.
    Connect,
    /// Nothing before this much time has passed since boot.
    WaitUntil(Duration),
}

/// Why a try failed, as far as the next one's time depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The CA could not be reached or did not answer usefully.
    Away,
    /// The CA said no.
    Refused,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    standing: Standing,
    not_before: Duration,
    away: Backoff,
    refused: Backoff,
    renewal: Backoff,
    renewal_not_before: Duration,
    /// Whether the SVID rests on a tainted key: then it is to be renewed whatever its age.
    tainted: bool,
}

impl Validity {
    pub(crate) fn of(svid: &X509Svid) -> Self {
        Self { not_before: svid.leaf().not_before(), renew_at: svid.renew_at(), not_after: svid.leaf().not_after() }
    }
}

impl Lifecycle {
    pub(crate) fn new(standing: Standing) -> Self {
        Self {
            standing,
            not_before: Duration::ZERO,
            away: Backoff::new(AWAY.0, AWAY.1),
            refused: Backoff::new(REFUSED.0, REFUSED.1),
            renewal: Backoff::new(RENEWAL.0, RENEWAL.1),
            renewal_not_before: Duration::ZERO,
            tainted: false,
        }
    }

    /// Whether the SVID held rests on a tainted key. One that begins to is renewed at once.
    pub(crate) fn taint(&mut self, tainted: bool) {
        if tainted && !self.tainted {
            self.renewal.reset();
            self.renewal_not_before = Duration::ZERO;
        }
        self.tainted = tainted;
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.tainted
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The next action at this wall clock and this time since boot. An SVID whose last second has passed is never shown.
    pub(crate) fn next(&mut self, now: Timestamp, boot: Duration) -> Action {
        if let Standing::Attested(validity) = &self.standing
            && now > validity.not_after
        {
            self.lapse(format!("the agent SVID ended at {}", validity.not_after));
        }
        if boot < self.not_before {
            return Action::WaitUntil(self.not_before);
        }
        match self.standing {
            Standing::Unattested => Action::Join,
            Standing::Attested(_) => Action::Connect,
            Standing::Lapsed(_) => Action::Reattest,
        }
    }

    /// Whether the SVID is to be renewed now: its time has come, or it rests on a tainted key, or the wall clock was set to before its
    /// first second, so that this node cannot tell any more when its time comes.
    pub(crate) fn renewal_due(&self, now: Timestamp, boot: Duration) -> bool {
        match self.standing {
            Standing::Attested(validity) => {
                let due = self.tainted || now >= validity.renew_at || now < validity.not_before;
                due && boot >= self.renewal_not_before
            }
            Standing::Unattested | Standing::Lapsed(_) => false,
        }
    }

    /// A new SVID is held, and [`Self::taint`] was told of it.
    pub(crate) fn attested(&mut self, validity: Validity, now: Timestamp, boot: Duration, random: u8) {
        self.standing = Standing::Attested(validity);
        self.not_before = Duration::ZERO;
        self.away.reset();
        if validity.renew_at > now && !self.tainted {
            self.renewal.reset();
            self.renewal_not_before = Duration::ZERO;
        } else {
            // Clocks far apart, or a CA that still signs with what it tainted, make a new SVID due at once: without a pause the two would
            // renew in a circle.
            self.renewal_not_before = boot.saturating_add(self.renewal.next_delay(random));
        }
    }

    /// The SVID no longer counts.
    pub(crate) fn lapse(&mut self, why: String) {
        self.standing = match self.standing {
            Standing::Unattested => Standing::Unattested,
            Standing::Attested(_) | Standing::Lapsed(_) => Standing::Lapsed(why),
        };
    }

    /// An operator wants it tried now.
    pub(crate) fn at_once(&mut self) {
        self.not_before = Duration::ZERO;
        self.away.reset();
        self.refused.reset();
    }

    /// The CA serves us: the next loss or refusal is tried again soon. (An SVID alone does not show that: a CA that gives one
    /// and refuses it must not be asked ever faster.)
    pub(crate) fn connected(&mut self) {
        self.away.reset();
        self.refused.reset();
    }

    /// The wall clock was set: what failed by the former time may be tried by the new one at once, and once.
    pub(crate) fn clock_was_set(&mut self) {
        self.not_before = Duration::ZERO;
        self.renewal_not_before = Duration::ZERO;
    }

    /// A try to attest or to connect failed.
    pub(crate) fn failed(&mut self, failure: Failure, boot: Duration, random: u8) {
        let delay = match failure {
            Failure::Away => self.away.next_delay(random),
            Failure::Refused => self.refused.next_delay(random),
        };
        self.not_before = boot.saturating_add(delay);
    }

    /// A renewal failed; the SVID held stays in use.
    pub(crate) fn renewal_failed(&mut self, boot: Duration, random: u8) {
        self.renewal_not_before = boot.saturating_add(self.renewal.next_delay(random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity() -> Validity {
        Validity { not_before: at(940), renew_at: at(1050), not_after: at(1100) }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn boot(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_attests_connects_renews_lapses_and_comes_back() {
        let mut node = Lifecycle::new(Standing::Unattested);
        assert_eq!(node.next(at(1000), boot(0)), Action::Join);
        node.attested(validity(), at(1000), boot(0), 128);
        assert_eq!(node.next(at(1000), boot(0)), Action::Connect);
        assert!(!node.renewal_due(at(1049), boot(49)));
        assert!(node.renewal_due(at(1050), boot(50)));
        assert_eq!(node.next(at(1100), boot(100)), Action::Connect, "the last second still counts");
        assert_eq!(node.next(at(1101), boot(101)), Action::Reattest);
        assert!(!node.renewal_due(at(1101), boot(101)));
        node.attested(Validity { not_before: at(1041), renew_at: at(1150), not_after: at(1200) }, at(1101), boot(101), 128);
        assert_eq!(node.next(at(1101), boot(101)), Action::Connect);
    }

    #[test]
    fn a_clock_that_jumps_past_the_end_is_noticed_whatever_boot_time_says() {
        let mut node = Lifecycle::new(Standing::Attested(validity()));
        assert_eq!(node.next(at(9999), boot(1)), Action::Reattest);
    }

    #[test]
    fn a_clock_set_to_before_the_first_second_makes_a_renewal_due_and_a_set_clock_ends_every_wait_once() {
        let mut node = Lifecycle::new(Standing::Attested(validity()));
        assert!(!node.renewal_due(at(940), boot(1)), "the first second counts");
        assert!(node.renewal_due(at(939), boot(1)));
        node.renewal_failed(boot(1), 128);
        assert!(!node.renewal_due(at(939), boot(1)), "no circle");
        assert_eq!(node.next(at(939), boot(1)), Action::Connect, "the SVID stays");
        node.failed(Failure::Refused, boot(1), 128);
        assert!(matches!(node.next(at(939), boot(1)), Action::WaitUntil(_)));
        node.clock_was_set();
        assert_eq!(node.next(at(1000), boot(1)), Action::Connect);
        assert!(node.renewal_due(at(1050), boot(1)));
        node.renewal_failed(boot(1), 128);
        assert!(!node.renewal_due(at(1050), boot(3)), "the waits go on growing");
    }

    #[test]
    fn refusals_are_retried_first_after_a_second_and_never_rarer_than_five_minutes() {
        let mut node = Lifecycle::new(Standing::Lapsed("evicted".into()));
        node.failed(Failure::Refused, boot(0), 128);
        let Action::WaitUntil(first) = node.next(at(0), boot(0)) else { panic!("no wait") };
        assert!(first <= Duration::from_millis(1250), "{first:?}");
        assert_eq!(node.next(at(0), first), Action::Reattest);
        for _ in 0..20 {
            node.failed(Failure::Refused, boot(0), 255);
        }
        assert!(matches!(node.next(at(0), boot(0)), Action::WaitUntil(last) if last <= boot(375)));
        node.attested(validity(), at(1000), boot(0), 0);
        assert_eq!(node.next(at(1000), boot(0)), Action::Connect);
    }

    #[test]
    fn a_failed_renewal_keeps_the_svid_and_waits_a_little() {
        let mut node = Lifecycle::new(Standing::Attested(validity()));
        node.renewal_failed(boot(50), 128);
        assert!(!node.renewal_due(at(1050), boot(50)));
        assert!(node.renewal_due(at(1053), boot(53)));
        assert_eq!(node.next(at(1053), boot(53)), Action::Connect);
    }

    #[test]
    fn an_svid_that_is_due_on_arrival_does_not_renew_in_a_circle() {
        let mut node = Lifecycle::new(Standing::Unattested);
        node.attested(validity(), at(1060), boot(0), 128);
        assert!(!node.renewal_due(at(1060), boot(0)));
        assert!(node.renewal_due(at(1063), boot(3)));
    }

    #[test]
    fn an_svid_that_rests_on_a_tainted_key_is_renewed_at_once_and_never_in_a_circle() {
        let mut node = Lifecycle::new(Standing::Attested(validity()));
        node.renewal_failed(boot(1), 128);
        assert!(!node.renewal_due(at(1000), boot(1)), "it is young");
        node.taint(true);
        assert!(node.renewal_due(at(1000), boot(1)), "what failed for another reason does not hold it up");
        node.renewal_failed(boot(1), 128);
        node.taint(true);
        assert!(!node.renewal_due(at(1000), boot(1)), "the same news again ends no wait");
        assert!(node.renewal_due(at(1000), boot(3)));
        node.attested(validity(), at(1000), boot(3), 128);
        assert!(!node.renewal_due(at(1000), boot(3)), "the CA still signs with it");
        assert!(node.renewal_due(at(1000), boot(10)));
        node.taint(false);
        node.attested(validity(), at(1000), boot(10), 128);
        assert!(!node.renewal_due(at(1049), boot(59)) && node.renewal_due(at(1050), boot(60)));
        assert_eq!(node.next(at(1050), boot(60)), Action::Connect, "it counts all the while");
    }

    #[test]
    fn a_node_that_never_attested_cannot_lapse() {
        let mut node = Lifecycle::new(Standing::Unattested);
        node.lapse("asked".into());
        assert_eq!(node.next(at(0), boot(0)), Action::Join);
    }
}
