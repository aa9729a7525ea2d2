//! When to renew.

use std::time::Duration;

use crate::{SerialNumber, Timestamp, sha256};

/// When to renew a certificate: after half of its life from `issued`, the time of the CA's answer (never the back-dated
/// notBefore), to `not_after`, moved by up to 10 % of that half either way. The shift is drawn from SHA-256 of the serial,
/// so it is the same however often it is asked, and the renewals of many certificates issued at once spread out.
///
/// A certificate that has ended when it is issued is due at once.
#[must_use]
pub fn renew_at(issued: Timestamp, not_after: Timestamp, serial: &SerialNumber) -> Timestamp {
    let half = not_after.since(issued).as_secs() / 2;
    let widest = half / 10;
    let [a, b, c, d, e, f, g, h, ..] = sha256(serial.as_bytes());
    let draw = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    // The high half of the product is an even choice among 0 to 2 * widest seconds.
    let shift = u64::try_from((draw * u128::from(2 * widest + 1)) >> 64).expect("below the factor, which fits");
    issued.plus(Duration::from_secs(half - widest + shift))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn within_ten_percent_of_half_life_and_always_the_same(
            start in 0_u64..4_000_000_000, life in 0_u64..100_000_000, serial in prop::array::uniform20(1_u8..),
        ) {
            let serial = SerialNumber::from_bytes(&serial).unwrap();
            let issued = Timestamp::from_unix_seconds(start);
            let not_after = Timestamp::from_unix_seconds(start + life);
            let at = renew_at(issued, not_after, &serial);
            let half = life / 2;
            prop_assert!(at >= issued.plus(Duration::from_secs(half - half / 10)));
            prop_assert!(at <= issued.plus(Duration::from_secs(half + half / 10)));
            prop_assert!(at <= not_after);
            prop_assert_eq!(at, renew_at(issued, not_after, &serial));
        }
    }

    #[test]
    fn many_serials_spread_evenly() {
        let issued = Timestamp::from_unix_seconds(1_800_000_000);
        let life = Duration::from_secs(24 * 3600);
        let half = life.as_secs() / 2;
        let mut buckets = [0_u32; 10];
        let serials = 20_000_u32;
        for number in 1..=serials {
            let serial = SerialNumber::from_bytes(&[&[1], &number.to_be_bytes()[..]].concat()).unwrap();
            let at = renew_at(issued, issued.plus(life), &serial);
            let into_window = at.since(issued).as_secs() - (half - half / 10);
            let bucket = usize::try_from(into_window * 10 / (half / 5 + 1)).unwrap();
            buckets[bucket] += 1;
        }
        let mean = f64::from(serials) / 10.0;
        assert!(buckets.iter().all(|count| f64::from(*count) < 1.2 * mean), "{buckets:?}");
        assert!(buckets.iter().all(|count| f64::from(*count) > 0.8 * mean), "{buckets:?}");
    }

    #[test]
    fn a_life_that_is_over_is_due_at_once() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let serial = SerialNumber::from_bytes(&[1]).unwrap();
        assert_eq!(renew_at(now, now, &serial), now);
        assert_eq!(renew_at(now, now.minus(Duration::from_secs(5)), &serial), now);
    }
}
