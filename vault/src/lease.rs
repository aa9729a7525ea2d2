//! A token while it is held: when to renew it, and when it is none any more. Pure; times are since boot, which count suspends.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::answer::Login;

/// A token is not used when it is this close to its end: what it is sent for must still find it good.
const MARGIN: Duration = Duration::from_secs(10);

/// A token, held in memory that is wiped.
pub(crate) struct Lease {
    token: Zeroizing<String>,
    renewable: bool,
    /// The life that it came with; `None`: it has no end.
    first_life: Option<Duration>,
    term: Option<Term>,
}

#[derive(Clone, Copy)]
struct Term {
    renew_at: Duration,
    ends_at: Duration,
}

/// What to do with a held token before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is good.
    Use,
    /// It is good, and half of its life is over.
    Renew,
    /// It has ended, or is about to and cannot be renewed.
    Replace,
}

impl Lease {
    pub(crate) fn new(login: Login, boot: Duration) -> Self {
        let Login { token, life, renewable } = login;
        Self { token, renewable, first_life: life, term: life.map(|life| Term::of(life, boot)) }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn step(&self, boot: Duration) -> Step {
        match self.term {
            None => Step::Use,
            Some(term) if boot >= term.ends_at => Step::Replace,
            Some(term) if boot < term.renew_at => Step::Use,
            Some(_) if self.renewable => Step::Renew,
            Some(_) => Step::Replace,
        }
    }

    /// After a renewal. One that gives less than a third of the first life says that the token's longest life is near: it is the last.
    pub(crate) fn renewed(&mut self, life: Option<Duration>, renewable: bool, boot: Duration) {
        let is_short = match (life, self.first_life) {
            (Some(life), Some(first)) => life < first / 3,
            (None, _) | (_, None) => false,
        };
        self.renewable = renewable && !is_short;
        self.term = life.map(|life| Term::of(life, boot));
    }

    /// After a renewal that was refused: it is used to its end.
    pub(crate) fn not_renewed(&mut self) {
        self.renewable = false;
    }
}

impl Term {
    fn of(life: Duration, boot: Duration) -> Self {
        let margin = MARGIN.min(life / 4);
        Self { renew_at: boot.saturating_add(life / 2), ends_at: boot.saturating_add(life.saturating_sub(margin)) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(life: Option<u64>, renewable: bool) -> Lease {
        Lease::new(Login { token: Zeroizing::new("hvs.t".to_owned()), life: life.map(seconds), renewable }, seconds(1000))
    }

    #[test]
    fn a_token_is_renewed_at_half_of_its_life_and_replaced_before_its_end() {
        let mut lease = lease(Some(100), true);
        for (at, step) in [(1000, Step::Use), (1049, Step::Use), (1050, Step::Renew), (1089, Step::Renew), (1090, Step::Replace)]
        {
            assert_eq!(lease.step(seconds(at)), step, "{at}");
        }
        lease.renewed(Some(seconds(100)), true, seconds(1050));
        assert_eq!((lease.step(seconds(1099)), lease.step(seconds(1100))), (Step::Use, Step::Renew));
        assert_eq!(format!("{lease:?}"), "Lease(redacted)");
    }

    #[test]
    fn one_that_cannot_be_renewed_is_replaced_at_half_of_its_life() {
        assert_eq!(lease(Some(100), false).step(seconds(1050)), Step::Replace);
        let mut refused = lease(Some(100), true);
        refused.not_renewed();
        assert_eq!((refused.step(seconds(1049)), refused.step(seconds(1050))), (Step::Use, Step::Replace));
        let mut last = lease(Some(100), true);
        last.renewed(Some(seconds(30)), true, seconds(1050));
        assert_eq!((last.step(seconds(1064)), last.step(seconds(1065))), (Step::Use, Step::Replace), "near its longest life");
    }

    #[test]
    fn one_without_an_end_is_used_and_the_shortest_is_not_used_up_at_once() {
        assert_eq!(lease(None, false).step(seconds(u64::MAX)), Step::Use);
        assert_eq!(lease(Some(1), false).step(seconds(1000)), Step::Use);
        assert_eq!(lease(Some(u64::MAX), true).step(seconds(5000)), Step::Use);
    }
}
