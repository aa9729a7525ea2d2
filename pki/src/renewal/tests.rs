use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 3600;
/// Certificates that a fleet asks for at once.
const FLEET: u32 = 10_000;
const BUCKETS: u64 = 20;

/// Serials as the CA makes them: a byte for the replica, then random ones, here of a seed.
fn serials(seed: u64) -> impl Iterator<Item = SerialNumber> {
    (0..FLEET).map(move |number| {
        let random = sha256(&[&seed.to_be_bytes()[..], &number.to_be_bytes()].concat());
        SerialNumber::from_bytes(&[&[1], &random[..15]].concat()).unwrap()
    })
}

/// How many of a fleet, issued in the same second, fall into each of [`BUCKETS`] parts of the window, and how many seconds each part
/// has: a window shorter than its parts has as many parts as seconds.
fn spread(seed: u64, life: u64) -> Vec<(u32, u32)> {
    let issued = Timestamp::from_unix_seconds(1_800_000_000);
    let half = life / 2;
    let (first, width) = (half - half / 10, 2 * (half / 10) + 1);
    let buckets = BUCKETS.min(width);
    let place = |second: u64| usize::try_from(second * buckets / width).unwrap();
    let mut parts = vec![(0, 0); usize::try_from(buckets).unwrap()];
    (0..width).for_each(|second| parts[place(second)].1 += 1);
    for serial in serials(seed) {
        let at = renew_at(issued, issued.plus(Duration::from_secs(life)), &serial);
        parts[place(at.since(issued).as_secs() - first)].0 += 1;
    }
    parts
}

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

    /// For the lives that an operator configures there is time on both sides: never at once, never at the end.
    #[test]
    fn inside_the_validity_for_every_ttl_from_a_minute_to_thirty_days(
        start in 0_u64..4_000_000_000, ttl in 60_u64..=30 * DAY, serial in prop::array::uniform16(1_u8..),
    ) {
        let serial = SerialNumber::from_bytes(&serial).unwrap();
        let issued = Timestamp::from_unix_seconds(start);
        // The last second is a second before the whole TTL has passed.
        let not_after = Timestamp::from_unix_seconds(start + ttl - 1);
        let at = renew_at(issued, not_after, &serial);
        prop_assert!(at.since(issued).as_secs() >= ttl * 2 / 5, "{} s after the issuance of {ttl} s", at.since(issued).as_secs());
        prop_assert!(not_after.since(at).as_secs() >= ttl * 2 / 5, "{} s before the end of {ttl} s", not_after.since(at).as_secs());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No part of the window has more than its share and a quarter, or less than three quarters of it, whatever the TTL: over five
    /// standard deviations of the widest case, 500 of 10,000 in each of 20 parts. A draw that ignored the serial, or
    /// left a third of the fleet without jitter, would put thousands into one part.
    #[test]
    fn a_fleet_issued_at_once_is_spread_evenly_over_the_window(seed in any::<u64>(), ttl in 60_u64..=30 * DAY) {
        let parts = spread(seed, ttl - 1);
        let seconds: u32 = parts.iter().map(|(_, seconds)| seconds).sum();
        for (count, own) in &parts {
            let share = f64::from(FLEET) * f64::from(*own) / f64::from(seconds);
            prop_assert!((f64::from(*count) - share).abs() <= share / 4.0, "{count} where {share:.0} are due: {parts:?}");
        }
    }

    /// Pearson's test with 19 degrees of freedom: 90 is passed by chance in fewer than one of ten billion fleets.
    #[test]
    fn the_spread_over_a_day_passes_a_chi_square_test(seed in any::<u64>()) {
        let parts = spread(seed, DAY);
        let seconds: u32 = parts.iter().map(|(_, seconds)| seconds).sum();
        let statistic: f64 = parts.iter().map(|(count, own)| {
            let share = f64::from(FLEET) * f64::from(*own) / f64::from(seconds);
            (f64::from(*count) - share).powi(2) / share
        }).sum();
        prop_assert!(statistic < 90.0, "chi-square is {statistic:.1}: {parts:?}");
    }
}

#[test]
fn a_life_that_is_over_is_due_at_once() {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let serial = SerialNumber::from_bytes(&[1]).unwrap();
    assert_eq!(renew_at(now, now, &serial), now);
    assert_eq!(renew_at(now, now.minus(Duration::from_secs(5)), &serial), now);
}
