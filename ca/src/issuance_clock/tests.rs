use proptest::prelude::*;

use super::*;

const START: u64 = 1_800_000_000;
const DAYS: u64 = 48 * 3600;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn boot(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A watch that has seen the clocks in step, an issuance among it.
fn watch() -> ClockWatch {
    let mut watch = ClockWatch::new(at(START));
    watch.judge(at(START), boot(100)).unwrap();
    watch
}

#[test]
fn time_that_passes_a_suspend_and_small_steps_are_no_fault() {
    let mut watch = watch();
    watch.judge(at(START + 1), boot(101)).unwrap();
    // Two days of suspend: both clocks count them.
    watch.judge(at(START + DAYS), boot(100 + DAYS)).unwrap();
    watch.judge(at(START + DAYS + 300), boot(100 + DAYS)).unwrap();
    watch.issues(at(START + DAYS + 300));
    watch.judge(at(START + DAYS), boot(100 + DAYS)).unwrap();
    assert!(watch.judge(at(START + DAYS - 1), boot(100 + DAYS)).is_err(), "more than five minutes behind the latest issuance");
}

#[test]
fn a_clock_behind_the_latest_issuance_is_refused_until_it_is_not() {
    let mut watch = watch();
    let behind = ClockFault::Behind { now: at(START - DAYS), latest: at(START) };
    assert_eq!(watch.judge(at(START - DAYS), boot(101)), Err(behind));
    for text in ["the CA's clock says", &at(START - DAYS).to_string(), &at(START).to_string(), "signet ca accept-clock"] {
        assert!(behind.to_string().contains(text), "{text} is missing in: {behind}");
    }
    assert_eq!(
        watch.judge(at(START - DAYS + 3600), boot(3701)),
        Err(ClockFault::Behind { now: at(START - DAYS + 3600), latest: at(START) })
    );
    watch.judge(at(START + 3601), boot(3701)).expect("back in step");
    assert!(watch.judge(at(START - DAYS), boot(3702)).is_err());
    assert!(matches!(watch.judge(at(START + DAYS), boot(3703)), Err(ClockFault::Leapt { .. })), "beyond where it was is a leap");
    watch.judge(at(START + 3604), boot(3704)).unwrap();
}

#[test]
fn the_mark_of_an_earlier_run_counts_from_the_first_reading_on() {
    assert!(ClockWatch::new(at(START)).judge(at(START - 301), boot(7)).is_err());
    ClockWatch::new(at(START)).judge(at(START - 300), boot(7)).unwrap();
    ClockWatch::new(at(START)).judge(at(START + 400 * DAYS), boot(7)).expect("it may have been off for long");
}

#[test]
fn after_a_leap_nothing_is_issued_until_the_clock_is_back_or_has_held() {
    let mut watch = watch();
    let leapt = watch.judge(at(START + DAYS), boot(101)).unwrap_err();
    assert_eq!(leapt, ClockFault::Leapt { now: at(START + DAYS), by: boot(DAYS - 1), left: HOLD });
    assert!(watch.judge(at(START + DAYS + 299), boot(400)).is_err());
    watch.judge(at(START + 301), boot(401)).expect("back in step, as if nothing had been");
    watch.judge(at(START + 302), boot(402)).unwrap();

    assert!(watch.judge(at(START + DAYS), boot(403)).is_err());
    assert!(watch.judge(at(START + DAYS + 299), boot(702)).is_err());
    watch.judge(at(START + DAYS + 300), boot(703)).expect("it has held for five minutes");
    watch.judge(at(START + DAYS + 301), boot(704)).unwrap();
}

#[test]
fn a_clock_that_leaps_again_holds_anew() {
    let mut watch = watch();
    assert!(watch.judge(at(START + DAYS), boot(101)).is_err());
    assert!(watch.judge(at(START + 2 * DAYS), boot(300)).is_err());
    assert!(watch.judge(at(START + 2 * DAYS + 299), boot(599)).is_err());
    watch.judge(at(START + 2 * DAYS + 300), boot(600)).unwrap();
}

proptest! {
    /// Whatever the clocks do: no issuance is more than five minutes before an earlier one; and each is dated by a clock that has
    /// moved with the time since boot since the one before, or that nobody has set for five minutes.
    #[test]
    fn whatever_the_clock_does_no_issuance_is_dated_by_a_leap(
        steps in prop::collection::vec((0_u64..400, prop_oneof![3 => Just(0_i64), 1 => -400_000_i64..400_000]), 1..80),
    ) {
        let (mut watch, mut wall, mut up) = (watch(), START, 100);
        let (mut latest, mut set_at, mut dated) = (START, 0, (START, 100));
        for (passed, step) in steps {
            up += passed;
            wall = (wall + passed).saturating_add_signed(step);
            if step.unsigned_abs() > TOLERATED.as_secs() {
                set_at = up;
            }
            if watch.judge(at(wall), boot(up)).is_ok() {
                prop_assert!(wall + TOLERATED.as_secs() >= latest);
                let in_step = wall <= dated.0 + (up - dated.1) + TOLERATED.as_secs();
                prop_assert!(in_step || up - set_at >= HOLD.as_secs(), "{wall} at {up}, before {dated:?}, set at {set_at}");
                watch.issues(at(wall));
                latest = latest.max(wall);
                dated = (wall, up);
            }
        }
    }
}
