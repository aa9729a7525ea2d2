use identity::SpiffeId;
use pki::SerialNumber;
use pki::crl::RevocationReason;
use proptest::prelude::*;

use super::*;

const KEYS: [Sha256Digest; 2] = [[1; 32], [2; 32]];
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn revocation(number: u16, key: Option<usize>, not_after: u64) -> Revocation {
    Revocation {
        serial: SerialNumber::from_bytes(&[&[1], &number.to_be_bytes()[..]].concat()).unwrap(),
        issuer_key: key.map(|key| KEYS[key]),
        subject: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        caller: "spiffe://example.org/signet/agent/n1".to_owned(),
        not_after: at(not_after),
        revoked_at: at(NOW - 100),
        reason: RevocationReason::KeyCompromise,
    }
}

fn names(key: usize, revocations: &[Revocation], now: u64) -> Vec<SerialNumber> {
    entries_of(&KEYS[key], revocations, at(now)).into_iter().map(|entry| entry.serial).collect()
}

#[test]
fn an_entry_leaves_its_list_only_when_no_clock_accepts_the_certificate_any_more() {
    let skew = CLOCK_SKEW.as_secs();
    let all = [revocation(1, Some(0), NOW), revocation(2, Some(1), NOW), revocation(3, None, NOW)];
    let serial = |number: usize| all[number].serial.clone();
    assert_eq!(names(0, &all, NOW), [serial(0), serial(2)]);
    assert_eq!(names(1, &all, NOW + skew), [serial(1), serial(2)]);
    assert!(names(1, &all, NOW + skew + 1).is_empty());
}

#[test]
fn lists_outlive_the_leaves_of_their_ca_even_when_the_last_one_is_about_to_be_replaced() {
    let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
    assert_eq!(life_of_lists(day * 7, hour), day * 7);
    for longest in [hour, day, day * 10, day * 397] {
        let life = life_of_lists(day * 7, longest);
        let Updates { this_update, next_update } = updates(at(NOW), life);
        // The next one is due at half, and a leaf that is signed then ends before this list does.
        let half = this_update.plus(next_update.since(this_update) / 2);
        assert!(half.plus(longest) < next_update, "{longest:?}");
    }
}

proptest! {
    #[test]
    fn what_is_revoked_and_has_not_ended_is_on_its_list_and_nothing_else_is(
        revocations in prop::collection::vec((any::<u16>(), prop::option::of(0_usize..2), NOW - 5000..NOW + 5000), 0..40),
        now in NOW - 4000..NOW + 6000,
    ) {
        let revocations: Vec<_> =
            revocations.into_iter().map(|(number, key, not_after)| revocation(number, key, not_after)).collect();
        for (place, key) in KEYS.into_iter().enumerate() {
            let named = names(place, &revocations, now);
            prop_assert!(named.is_sorted_by(|a, b| a < b), "in order, none twice");
            for revocation in &revocations {
                let concerned = revocation.issuer_key.is_none_or(|of| of == key);
                if concerned && now <= revocation.not_after.unix_seconds() {
                    prop_assert!(named.contains(&revocation.serial));
                }
            }
            for serial in &named {
                let may_stand_there = |revocation: &Revocation| {
                    revocation.serial == *serial
                        && revocation.issuer_key.is_none_or(|of| of == key)
                        && now <= revocation.not_after.plus(CLOCK_SKEW).unix_seconds()
                };
                prop_assert!(revocations.iter().any(may_stand_there));
            }
        }
    }
}
