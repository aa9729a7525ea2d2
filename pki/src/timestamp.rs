//! Whole seconds of UTC, as certificates count time (RFC 5280 section 4.1.2.5).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Seconds since the Unix epoch, 0 up to the end of the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59Z, the last second that GeneralizedTime can say.
const LAST: u64 = 253_402_300_799;

impl Timestamp {
    /// A time from Unix seconds; later than the year 9999 becomes its last second.
    #[must_use]
    pub fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.min(LAST))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0
    }

    /// This time moved later by whole seconds (a fraction is dropped), ending at the year 9999.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self::from_unix_seconds(self.0.saturating_add(span.as_secs()))
    }

    /// This time moved earlier by whole seconds (a fraction is dropped), ending at the epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// The span from `earlier` to this time, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Drops the fraction of a second; a time before 1970 becomes the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::from_unix_seconds(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |span| span.as_secs()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        SystemTime::UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

/// RFC 3339 in UTC, such as `2026-11-20T11:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = time::OffsetDateTime::from(SystemTime::from(*self));
        let text = time.format(&time::format_description::well_known::Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

/// A text is not a time of RFC 3339 from 1970 to the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of RFC 3339, such as 2026-11-20T11:00:00Z")]
pub struct TimestampError;

/// RFC 3339; a fraction of a second is dropped.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time =
            time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).map_err(|_| TimestampError)?;
        u64::try_from(time.unix_timestamp()).map(Self::from_unix_seconds).map_err(|_| TimestampError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends_and_text_is_rfc_3339() {
        let t = Timestamp::from_unix_seconds(1_795_172_400);
        assert_eq!(t.to_string(), "2026-11-20T11:00:00Z");
        assert_eq!(t.to_string().parse(), Ok(t));
        assert_eq!("2026-11-20T12:00:00.5+01:00".parse(), Ok(t));
        for not_a_time in ["", "2026-11-20", "1969-12-31T23:59:59Z", "1795172400"] {
            assert_eq!(not_a_time.parse::<Timestamp>(), Err(TimestampError), "{not_a_time}");
        }
        assert_eq!(t.plus(Duration::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(t.minus(Duration::MAX), Timestamp::from_unix_seconds(0));
        assert_eq!(t.plus(Duration::from_millis(1999)).since(t), Duration::from_secs(1));
        assert_eq!(t.since(t.plus(Duration::from_secs(5))), Duration::ZERO);
        assert_eq!(Timestamp::from(SystemTime::from(t)), t);
    }
}
