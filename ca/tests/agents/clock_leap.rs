//! A clock that leaps in the middle of an issuance: at the first read of it, the second, and so on until the call is over.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pki::{Timestamp, X509Svid};
use proto::v1;
use runtime::clock::{Clock, TestClock};

use crate::issuer_end::end_of;
use crate::test_agent::{Connection, TestAgent, reason};
use crate::test_ca::{TestCa, eventually};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAYS: Duration = Duration::from_secs(48 * 3600);
/// Beyond these no read is waited for: a call has fewer.
const MOST_READS: u32 = 40;

#[derive(Clone, Copy, Debug)]
enum Leap {
    Ahead(Duration),
    Back(Duration),
}

impl Leap {
    fn from(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ahead(by) => now + by,
            Self::Back(by) => now - by,
        }
    }
}

/// The test's clock, whose wall time is set at a read that the test names.
pub(crate) struct LeapingClock {
    clock: Arc<TestClock>,
    next: Mutex<Option<(u32, Leap)>>,
}

impl LeapingClock {
    pub(crate) fn over(clock: Arc<TestClock>) -> Arc<Self> {
        Arc::new(Self { clock, next: Mutex::default() })
    }

    /// Leaps after so many more reads.
    fn leap_after(&self, reads: u32, leap: Leap) {
        *self.next.lock().unwrap() = Some((reads, leap));
    }

    /// Whether the leap has come; if not, it does not any more.
    fn has_leapt(&self) -> bool {
        self.next.lock().unwrap().take().is_none()
    }
}

impl Clock for LeapingClock {
    fn now(&self) -> SystemTime {
        let mut next = self.next.lock().unwrap();
        *next = match *next {
            Some((0, leap)) => {
                self.clock.set_wall(leap.from(self.clock.now()));
                None
            }
            Some((reads, leap)) => Some((reads - 1, leap)),
            None => None,
        };
        self.clock.now()
    }

    fn boottime(&self) -> Duration {
        self.clock.boottime()
    }
}

/// What one issuance during a leap came to.
enum Outcome {
    Issued(Box<X509Svid>),
    Refused(String),
}

async fn issue(connection: &Connection, entry: &str) -> Outcome {
    match connection.issue(entry).await {
        Ok(Ok(svid)) => Outcome::Issued(Box::new(svid)),
        Ok(Err(refused)) => Outcome::Refused(refused.reason),
        Err(status) => Outcome::Refused(reason(&status)),
    }
}

/// The certificate is what the profile says of one moment, before the leap or after it, and no mixture of the two.
fn check(svid: &X509Svid, moments: [Timestamp; 2], issuer_end: Timestamp) {
    let issued = svid.issued();
    assert!(moments.contains(&issued), "issued at {issued}, which is none of {moments:?}");
    assert_eq!(svid.leaf().not_before(), issued.minus(MINUTE));
    assert_eq!(svid.leaf().not_after(), issued.plus(HOUR).minus(Duration::from_secs(1)).min(issuer_end));
}

/// Issues once for each read of the clock during a call, with the leap at that read; says what came of each.
async fn at_each_read(ca: &TestCa, agent: &TestAgent, entry: &str, leap: Leap) -> Vec<Outcome> {
    let issuer_end = end_of(ca, "issuer").await;
    let mut outcomes = Vec::new();
    for reads in 0..MOST_READS {
        let connection = agent.connect(ca).await;
        // The CA looks at the agent's certificate after the client has done its part of the handshake.
        connection.issue(entry).await.unwrap().unwrap();
        let before = ca.clock.now();
        ca.leaping.leap_after(reads, leap);
        let outcome = issue(&connection, entry).await;
        let leapt = ca.leaping.has_leapt();
        ca.clock.set_wall(before);
        if let Outcome::Issued(svid) = &outcome {
            check(svid, [before.into(), leap.from(before).into()], issuer_end);
            let recorded = format!("\"not_after\":\"{}\"", svid.leaf().not_after());
            let serial = svid.leaf().serial().to_string();
            let audit = ca.audit().await;
            let line = audit.lines().find(|line| line.contains("certificate_intended") && line.contains(&serial));
            assert!(line.expect("it is in the ledger").contains(&recorded), "{line:?}");
        }
        outcomes.push(outcome);
        if !leapt {
            return outcomes;
        }
        eventually("the same issuance with the clock back", async || {
            connection.issue(entry).await.is_ok_and(|issued| issued.is_ok())
        })
        .await;
    }
    panic!("the call reads the clock more than {MOST_READS} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_read_the_clock_leaps_a_certificate_is_of_one_moment_that_is_trusted_or_there_is_none() {
    let ca = TestCa::start().await;
    ca.clock.advance(DAYS * 2);
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    for leap in [Leap::Ahead(DAYS), Leap::Back(DAYS)] {
        let began = ca.clock_now();
        let outcomes = at_each_read(&ca, &agent, &entry.id, leap).await;
        let mut refused = 0;
        for outcome in &outcomes {
            match outcome {
                Outcome::Issued(svid) => assert_eq!(svid.issued(), began, "{leap:?}: dated by a clock that had leapt"),
                Outcome::Refused(reason) => {
                    refused += 1;
                    // By a clock two days ahead the agent's own certificate has ended, for whoever looks at that first.
                    assert!(["CLOCK_UNTRUSTED", "MUST_REATTEST"].contains(&reason.as_str()), "{leap:?}: {reason}");
                }
            }
        }
        assert!(refused >= 1 && refused < outcomes.len(), "{leap:?}: {refused} of {} reads refuse", outcomes.len());
    }
    for leap in [Leap::Ahead(4 * MINUTE), Leap::Back(4 * MINUTE)] {
        // The agent's own certificate shall have begun on both sides of the leap, and what the leap before issued shall be past.
        ca.clock.advance(10 * MINUTE);
        let outcomes = at_each_read(&ca, &agent, &entry.id, leap).await;
        for outcome in &outcomes {
            if let Outcome::Refused(reason) = outcome {
                panic!("{leap:?} is no fault: {reason}");
            }
        }
    }
}

/// Whether an agent may have a token is judged at one read of the clock, and the token is dated at a later one.
#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_read_the_clock_leaps_a_token_is_of_a_moment_that_is_trusted_or_there_is_none() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let ask = async |connection: &Connection| {
        let request =
            v1::IssueJwtSvidRequest { entry_id: entry.id.clone(), audiences: vec!["db".to_owned()], service_account: None };
        connection.node().issue_jwt_svid(request).await.map(|answer| answer.into_inner().issued_at.unwrap().seconds)
    };
    for leap in [Leap::Ahead(10 * MINUTE), Leap::Back(10 * MINUTE)] {
        let (mut refused, mut reads) = (0, 0);
        loop {
            let connection = agent.connect(&ca).await;
            ask(&connection).await.unwrap();
            let before = ca.clock.now();
            ca.leaping.leap_after(reads, leap);
            let outcome = ask(&connection).await;
            let leapt = ca.leaping.has_leapt();
            ca.clock.set_wall(before);
            match outcome.map_err(|status| reason(&status)) {
                Ok(issued) => assert_eq!(u64::try_from(issued).unwrap(), Timestamp::from(before).unix_seconds(), "{leap:?}"),
                Err(reason) => {
                    refused += 1;
                    // By a clock ten minutes back the agent's own certificate has not begun.
                    assert!(["CLOCK_UNTRUSTED", "MUST_REATTEST"].contains(&reason.as_str()), "{leap:?}: {reason}");
                }
            }
            if !leapt {
                break;
            }
            eventually("a token with the clock back", async || ask(&connection).await.is_ok()).await;
            reads += 1;
            assert!(reads < MOST_READS, "the call reads the clock more than {MOST_READS} times");
        }
        assert!(refused >= 1 && refused <= reads, "{leap:?}: {refused} of {reads} reads refuse");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn near_the_issuers_end_no_leap_makes_a_certificate_that_outlives_it() {
    let ca = TestCa::start_without_rotation().await;
    let entry = ca.entry("/web", "n1").await;
    let end = end_of(&ca, "issuer").await;
    ca.clock.advance(end.minus(62 * MINUTE).since(ca.clock_now()));
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let outcomes = at_each_read(&ca, &agent, &entry.id, Leap::Ahead(4 * MINUTE)).await;
    let issued: Vec<_> =
        outcomes.iter().filter_map(|outcome| if let Outcome::Issued(svid) = outcome { Some(svid) } else { None }).collect();
    assert_eq!(issued.len(), outcomes.len(), "half a life and more is left either way");
    assert!(issued.iter().any(|svid| svid.leaf().not_after() == end), "after the leap they are cut to the issuer's end");
    assert!(issued.iter().any(|svid| svid.leaf().not_after() < end), "and before it they are whole");
}
