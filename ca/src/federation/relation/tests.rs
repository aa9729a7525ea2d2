use identity::TrustDomain;

use super::super::records::BundleEndpoint;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64, random: u8) -> Moment {
    Moment { boot: Duration::from_secs(seconds), now: Timestamp::from_unix_seconds(1_800_000_000 + seconds), random }
}

fn json(sequence: u64, hint: u64) -> Vec<u8> {
    format!(r#"{{"keys":[],"spiffe_sequence":{sequence},"spiffe_refresh_hint":{hint}}}"#).into_bytes()
}

fn stored(sequence: u64, hint: u64) -> ForeignDocument {
    ForeignDocument { json: json(sequence, hint), sequence, taken_at: at(7, 0).now }
}

fn parsed(sequence: u64, hint: u64) -> BundleDocument {
    BundleDocument::parse(TrustDomain::parse("other.org").unwrap(), &json(sequence, hint)).unwrap()
}

fn relation(document: Option<ForeignDocument>) -> Relation {
    let trust_domain = TrustDomain::parse("other.org").unwrap();
    let endpoint = BundleEndpoint::new(&trust_domain, "https://other.org/", None).unwrap();
    let federation = Federation { trust_domain, endpoint, created_at: at(0, 0).now };
    let (relation, fault) = Relation::new(StoredFederation { federation, document }, Duration::ZERO, MINUTE);
    assert_eq!(fault, None);
    relation
}

/// Seconds from `from` until it is asked.
fn delay(relation: &Relation, from: u64) -> u64 {
    (from..from + 200_000).find(|boot| relation.is_due(Duration::from_secs(*boot))).unwrap() - from
}

fn sequence(relation: &Relation) -> Option<u64> {
    relation.bundle().map(|bundle| bundle.sequence())
}

#[test]
fn it_is_asked_at_once_then_by_the_hint_and_sooner_after_a_failure() {
    let mut relation = relation(Some(stored(1, 3600)));
    assert!(relation.is_due(Duration::ZERO), "what was stored may be old");
    let first = relation.asked();
    assert!(relation.awaits(first) && !relation.is_due(Duration::from_secs(10_000)), "one question at a time");
    relation.ask_now(Duration::from_secs(1));
    assert!(relation.is_due(Duration::from_secs(1)) && !relation.awaits(first));
    let second = relation.asked();
    assert!(relation.awaits(second) && !relation.awaits(first), "an answer from before says nothing any more");
    assert!(!relation.took(parsed(2, 3600), Some(stored(2, 3600)), at(10, 0)));
    assert_eq!((sequence(&relation), delay(&relation, 10)), (Some(2), 3600));
    assert!(!relation.took(parsed(2, 7200), None, at(4000, 255)), "the hint alone is another");
    let later = delay(&relation, 4000);
    assert!((7800..=7920).contains(&later), "{later} s: a tenth of two hours later at most");

    let delays: Vec<_> = (0..8)
        .map(|round| {
            assert_eq!(relation.failed("no answer".to_owned(), at(20_000, 128)), round == 0, "told once");
            delay(&relation, 20_000)
        })
        .collect();
    let spread = |seconds: u64| seconds..=seconds + seconds / 50 + 1;
    for (delay, expected) in delays.iter().zip([60, 120, 240, 480, 960, 1920, 3840, 7200]) {
        assert!(spread(expected).contains(delay), "{delays:?}");
    }
    assert_eq!(sequence(&relation), Some(2), "what is held stays");
    assert!(relation.failed("another reason".to_owned(), at(20_000, 0)), "another reason is news");
    assert!(relation.took(parsed(2, 7200), None, at(30_000, 0)), "it had been in trouble");
    assert!(relation.failed("no answer".to_owned(), at(40_000, 0)));
    assert_eq!(delay(&relation, 40_000), 60, "the delays begin anew");
}

#[test]
fn no_draw_of_a_retry_comes_sooner_than_is_allowed() {
    for random in [0, 100, 255] {
        let mut relation = relation(None);
        let _question = relation.asked();
        assert!(relation.failed("no answer".to_owned(), at(0, random)));
        assert!((60..=75).contains(&delay(&relation, 0)));
    }
}

#[test]
fn what_another_replica_stored_counts_as_an_answer() {
    let mut relation = relation(Some(stored(1, 3600)));
    assert!(relation.failed("no answer".to_owned(), at(5000, 0)));
    assert!(relation.found_in_store(Some(stored(1, 3600)), at(5000, 0)).is_none());
    let standing = relation.standing(Duration::from_secs(20_000), at(20_000, 0).now);
    assert!(standing.stale && standing.trouble.is_some(), "the same says nothing");
    assert!(relation.found_in_store(Some(stored(2, 3600)), at(20_000, 0)).is_none());
    let standing = relation.standing(Duration::from_secs(20_000), at(20_000, 0).now);
    assert_eq!((standing.stale, standing.trouble, standing.answered_at), (false, None, Some(at(7, 0).now)));
    assert_eq!((sequence(&relation), delay(&relation, 20_000)), (Some(2), 3600));

    // Begun anew without a bundle: it is waited for.
    assert!(relation.found_in_store(None, at(20_100, 0)).is_none());
    assert!(relation.bundle().is_none() && relation.is_due(Duration::from_secs(20_100)));
}

#[test]
fn what_is_stored_and_does_not_hold_is_not_used_and_asked_for_once() {
    let mut relation = relation(Some(stored(1, 3600)));
    let broken = ForeignDocument { json: b"{}".to_vec(), ..stored(2, 0) };
    assert!(relation.found_in_store(Some(broken.clone()), at(10, 0)).is_some());
    assert!(relation.bundle().is_none() && relation.is_due(Duration::from_secs(10)));
    let _question = relation.asked();
    assert!(relation.failed("no answer".to_owned(), at(11, 0)));
    assert!(relation.found_in_store(Some(broken), at(12, 0)).is_none(), "it is told once");
    assert_eq!(delay(&relation, 11), 60, "and does not make anybody ask more often");
}
