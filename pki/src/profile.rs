//! What all leaves have in common, validated once: life, back-dating, the shortest life worth issuing.

use std::time::Duration;

/// How far a leaf is back-dated, for verifiers whose clock is a little behind.
pub(crate) const LEAF_BACKDATE: Duration = Duration::from_secs(60);

/// The shortest life of a leaf. The last second of validity is part of it (RFC 5280 section 4.1.2.5), and half of the default
/// life, below which nothing is issued, must still be a whole second.
pub(crate) const LEAST_TTL: Duration = Duration::from_secs(2);

/// The longest life of a leaf: what Istio allows at most. Ending sooner is what stands in for revocation.
pub(crate) const MOST_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The default is shorter than any leaf may live.
    #[error("the default TTL, {found:?}, is shorter than {least:?}")]
    DefaultTooShort {
        /// The default asked for.
        found: Duration,
        /// The shortest allowed.
        least: Duration,
    },
    /// The default is above the maximum.
    #[error("the default TTL, {default_ttl:?}, is above the maximum TTL, {max_ttl:?}")]
    DefaultAboveMax {
        /// The default asked for.
        default_ttl: Duration,
        /// The maximum asked for.
        max_ttl: Duration,
    },
    /// The maximum is longer than any leaf may live.
    #[error("the maximum TTL, {found:?}, is longer than {most:?}")]
    MaxTooLong {
        /// The maximum asked for.
        found: Duration,
        /// The longest allowed.
        most: Duration,
    },
    /// Certificates count whole seconds (RFC 5280 section 4.1.2.5).
    #[error("the TTL {found:?} is not a whole number of seconds")]
    Fraction {
        /// The span asked for.
        found: Duration,
    },
}

/// What every leaf has: default and maximum TTL, back-dating (60 s), floor (half the default TTL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafProfile {
    default_ttl: Duration,
    max_ttl: Duration,
}

impl LeafProfile {
    /// How far the beginning of a leaf lies before its issuance, where its issuer is old enough for that.
    pub const BACKDATE: Duration = LEAF_BACKDATE;

    /// A profile with `2 s <= default_ttl <= max_ttl <= 90 d`, both in whole seconds.
    ///
    /// The lower bound keeps half the default, the floor, at a second or more; the upper one is Istio's.
    ///
    /// # Errors
    /// [`ProfileError`] naming the bound that does not hold.
    pub fn new(default_ttl: Duration, max_ttl: Duration) -> Result<Self, ProfileError> {
        if let Some(found) = [default_ttl, max_ttl].into_iter().find(|ttl| ttl.subsec_nanos() != 0) {
            return Err(ProfileError::Fraction { found });
        }
        if default_ttl < LEAST_TTL {
            return Err(ProfileError::DefaultTooShort { found: default_ttl, least: LEAST_TTL });
        }
        if max_ttl > MOST_TTL {
            return Err(ProfileError::MaxTooLong { found: max_ttl, most: MOST_TTL });
        }
        if default_ttl > max_ttl {
            return Err(ProfileError::DefaultAboveMax { default_ttl, max_ttl });
        }
        Ok(Self { default_ttl, max_ttl })
    }

    /// The life of a leaf whose requester asks for none.
    #[must_use]
    pub fn default_ttl(&self) -> Duration {
        self.default_ttl
    }

    /// The longest life a requester may ask for.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// The shortest life worth issuing when the issuer's end cuts a leaf: half the default TTL, in whole seconds.
    #[must_use]
    pub fn min_ttl(&self) -> Duration {
        Duration::from_secs(self.default_ttl.as_secs() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn each_bound_has_its_error_and_its_passing_twin() {
        use ProfileError as E;
        let most = MOST_TTL.as_secs();
        assert!(LeafProfile::new(seconds(2), seconds(2)).is_ok());
        assert!(LeafProfile::new(seconds(86_400), seconds(most)).is_ok());
        assert_eq!(LeafProfile::new(seconds(1), seconds(2)), Err(E::DefaultTooShort { found: seconds(1), least: seconds(2) }));
        assert_eq!(
            LeafProfile::new(seconds(2), seconds(most + 1)),
            Err(E::MaxTooLong { found: seconds(most + 1), most: MOST_TTL })
        );
        assert_eq!(
            LeafProfile::new(seconds(11), seconds(10)),
            Err(E::DefaultAboveMax { default_ttl: seconds(11), max_ttl: seconds(10) })
        );
        let odd = Duration::from_millis(2500);
        assert_eq!(LeafProfile::new(odd, seconds(10)), Err(E::Fraction { found: odd }));
        assert_eq!(LeafProfile::new(seconds(2), odd), Err(E::Fraction { found: odd }));
    }

    #[test]
    fn the_floor_is_half_the_default() {
        let profile = LeafProfile::new(seconds(21), seconds(40)).unwrap();
        assert_eq!((profile.default_ttl(), profile.max_ttl(), profile.min_ttl()), (seconds(21), seconds(40), seconds(10)));
    }
}
