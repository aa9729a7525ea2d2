//! Whether the CA's clock may date a certificate: not when it leapt ahead of the time since boot, and not when it is behind what was
//! issued before.
//!
//! [`ClockWatch`] is pure: times come in, a verdict goes out. It plans nothing by the mapping between the two clocks, it only
//! notices that one of them was set; [`IssuanceClock`] reads them for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::Timestamp;
use runtime::clock::Clock;

/// How far the clock may be off before nothing is issued: more than time synchronisation steps a clock that it keeps, less than the
/// shortest life that is worth to be issued.
pub(crate) const TOLERATED: Duration = Duration::from_secs(5 * 60);

/// For how long a clock that leapt ahead must run on undisturbed before it is believed.
pub(crate) const HOLD: Duration = Duration::from_secs(5 * 60);

/// Two reads of the time since boot that are less apart have nothing between them that matters.
const SAME_MOMENT: Duration = Duration::from_secs(1);

/// Why nothing is issued now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockFault {
    /// Certificates would be issued into the past.
    #[error(
        "the CA's clock says {now}, but it has issued at {latest}: correct the clock; if it was ahead then and is right now, stop the CA \
         and run `signet ca accept-clock`"
    )]
    Behind {
        /// What the clock says.
        now: Timestamp,
        /// The latest issuance.
        latest: Timestamp,
    },
    /// Certificates might be issued into the future.
    #[error(
        "the CA's clock leapt ahead to {now}, {} s more than the time that passed: nothing is issued until it is back, or has run on for \
         {} s", by.as_secs(), left.as_secs()
    )]
    Leapt {
        /// What the clock says.
        now: Timestamp,
        /// By how much more than the time since boot.
        by: Duration,
        /// How long until it is believed.
        left: Duration,
    },
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    boot: Duration,
}

impl Reading {
    /// What the wall clock should say at this time since boot if nobody set it.
    fn carried_to(self, boot: Duration) -> Timestamp {
        self.wall.plus(boot.saturating_sub(self.boot))
    }
}

/// What was seen of the clocks, and the latest issuance.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    latest: Timestamp,
    /// The last reading that was no fault.
    trusted: Option<Reading>,
    last: Option<Reading>,
    /// From when on nobody set the wall clock, in time since boot.
    undisturbed_since: Duration,
}

impl ClockWatch {
    /// Begins with the latest issuance on record.
    pub(crate) fn new(latest: Timestamp) -> Self {
        Self { latest, trusted: None, last: None, undisturbed_since: Duration::ZERO }
    }

    /// Judges one reading of both clocks. The first one says nothing about leaps.
    ///
    /// # Errors
    /// [`ClockFault`].
    pub(crate) fn judge(&mut self, wall: Timestamp, boot: Duration) -> Result<(), ClockFault> {
        let reading = Reading { wall, boot };
        let expected = self.last.replace(reading).unwrap_or(reading).carried_to(boot);
        if wall.since(expected).max(expected.since(wall)) > TOLERATED {
            self.undisturbed_since = boot;
        }
        let by = wall.since(self.trusted.unwrap_or(reading).carried_to(boot));
        let left = HOLD.saturating_sub(boot.saturating_sub(self.undisturbed_since));
        if by > TOLERATED && !left.is_zero() {
            return Err(ClockFault::Leapt { now: wall, by, left });
        }
        not_behind(wall, self.latest)?;
        self.trusted = Some(reading);
        Ok(())
    }

    /// Something is issued at this time.
    pub(crate) fn issues(&mut self, at: Timestamp) {
        self.latest = self.latest.max(at);
    }
}

/// Refuses a time that is too far behind the latest issuance.
///
/// # Errors
/// [`ClockFault::Behind`].
pub(crate) fn not_behind(now: Timestamp, latest: Timestamp) -> Result<(), ClockFault> {
    if latest.since(now) > TOLERATED { Err(ClockFault::Behind { now, latest }) } else { Ok(()) }
}

/// The clock by which certificates are dated. One for the process.
pub(crate) struct IssuanceClock {
    clock: Arc<dyn Clock>,
    watch: Mutex<ClockWatch>,
}

impl IssuanceClock {
    /// Over the machine's clocks and the latest issuance on record.
    pub(crate) fn new(clock: Arc<dyn Clock>, latest: Timestamp) -> Self {
        Self { clock, watch: Mutex::new(ClockWatch::new(latest)) }
    }

    /// What the clock says, for judgements that date nothing.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// The time of an issuance that begins now. It is read once for each: admission, template and record speak of the same moment.
    ///
    /// # Errors
    /// [`ClockFault`].
    pub(crate) fn issue_at(&self) -> Result<Timestamp, ClockFault> {
        let mut watch = self.watch();
        let now = self.judge(&mut watch)?;
        watch.issues(now);
        Ok(now)
    }

    /// What the store refused an issuance for: another process has issued at a later time, by a clock that was ahead. From here on
    /// that is the latest issuance here too, so that nothing is begun, and whoever looks is told.
    pub(crate) fn learn(&self, later: Option<Timestamp>) {
        if let Some(later) = later {
            self.watch().issues(later);
        }
    }

    /// Looks whether something could be issued now. To be called each second, so that a leap is seen as one.
    ///
    /// # Errors
    /// [`ClockFault`].
    pub(crate) fn look(&self) -> Result<(), ClockFault> {
        self.judge(&mut self.watch()).map(drop)
    }

    /// Under the lock, so that readings come in their order.
    fn judge(&self, watch: &mut ClockWatch) -> Result<Timestamp, ClockFault> {
        let Reading { wall, boot } = self.read();
        watch.judge(wall, boot)?;
        Ok(wall)
    }

    /// Both clocks at one moment: a suspend between the two reads would look like a leap.
    fn read(&self) -> Reading {
        let mut before = self.clock.boottime();
        loop {
            let (wall, boot) = (Timestamp::from(self.clock.now()), self.clock.boottime());
            if boot.saturating_sub(before) < SAME_MOMENT {
                return Reading { wall, boot };
            }
            before = boot;
        }
    }

    fn watch(&self) -> MutexGuard<'_, ClockWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
