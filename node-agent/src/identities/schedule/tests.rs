mod accounts;

use super::*;
use crate::fakes::FakeAuthority;
use identity::{NodeName, TrustDomain};
use proto::v1;

const T0: u64 = 1_800_000_000;
const NOBODY: BTreeSet<EntryId> = BTreeSet::new();

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(T0 + seconds)
}

fn boot(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn entry(number: u32) -> Arc<Entry> {
    changed(number, |_| {})
}

fn changed(number: u32, change: impl FnOnce(&mut v1::Entry)) -> Arc<Entry> {
    let mut wire = v1::Entry {
        id: format!("e{number:04}"),
        spiffe_id: format!("spiffe://example.org/w{number}"),
        selectors: vec![format!("unix:uid:{number}")],
        parent_node: "n1".to_owned(),
        ..v1::Entry::default()
    };
    change(&mut wire);
    let domain = TrustDomain::parse("example.org").unwrap();
    Arc::new(Entry::from_wire(wire, &domain, &NodeName::parse("n1").unwrap()).unwrap())
}

fn schedule(entries: impl IntoIterator<Item = Arc<Entry>>) -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_entries(&map(entries));
    schedule
}

fn map(entries: impl IntoIterator<Item = Arc<Entry>>) -> BTreeMap<EntryId, Arc<Entry>> {
    entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect()
}

struct Ca(FakeAuthority);

impl Ca {
    fn new() -> Self {
        Self(FakeAuthority::new(at(0)))
    }

    /// Lives 100 s: due from 45 to 55 s after `now`.
    fn svid(&self, order: &Order, now: u64) -> X509Svid {
        self.0.svid(&order.entry.spiffe_id, Duration::from_secs(101), at(now))
    }

    fn issue_all(&self, schedule: &mut Schedule, now: u64) {
        for lane in [Lane::Waiting, Lane::Background] {
            for order in schedule.next_batch(lane, &NOBODY, at(now), boot(now)) {
                schedule.issued(&order, self.svid(&order, now), at(now), boot(now), 128);
            }
        }
    }
}

fn states(schedule: &Schedule) -> Vec<&'static str> {
    schedule.held(&NodeView::default()).identities.iter().map(|identity| identity.state.as_str()).collect()
}

fn ids(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.entry.id.as_str()).collect()
}

#[test]
fn each_entry_is_asked_for_once_and_again_at_half_life() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1), entry(2)]);
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(0), boot(0));
    assert_eq!(ids(&orders), ["e0001", "e0002"]);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(0), boot(0)).is_empty(), "under way");
    for order in &orders {
        schedule.issued(order, ca.svid(order, 0), at(0), boot(0), 0);
    }
    assert_eq!(states(&schedule), ["available", "available"]);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(44), boot(44)).is_empty());
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(56), boot(56)).len(), 2);
}

#[test]
fn a_clock_that_jumped_past_half_life_makes_the_renewal_due_at_once() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    // The machine slept, or the wall clock was set: boot time has hardly moved.
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(90), boot(1)).len(), 1);
}

#[test]
fn a_clock_set_to_before_the_first_second_asks_again_keeps_what_is_held_and_makes_no_storm() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    let not_before = schedule.records.values().next().unwrap().state.svid().unwrap().leaf().not_before();
    let back = not_before.minus(Duration::from_secs(1));
    assert!(schedule.next_batch(Lane::Background, &NOBODY, not_before, boot(1)).is_empty(), "the first second counts");
    assert_eq!(schedule.overdue(back), Overdue { due: 1, late: 0 });
    // Two days of it: what the CA issues begins later still, and is refused each time.
    let mut tries = 0;
    for second in 0..48 * 3600 {
        for order in schedule.next_batch(Lane::Background, &NOBODY, back, boot(second)) {
            tries += 1;
            schedule.failed(&order, "the leaf begins later".to_owned(), None, boot(second), 128);
        }
    }
    assert!((1000..1400).contains(&tries), "{tries} tries in two days, of one each 150 s");
    assert_eq!((states(&schedule), schedule.overdue(back)), (vec!["available"], Overdue { due: 1, late: 1 }));
    schedule.clock_was_set();
    assert_eq!(schedule.overdue(at(1)), Overdue { due: 0, late: 0 }, "the time is right again");
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(48 * 3600)).is_empty());
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(56), boot(48 * 3600)).len(), 1, "the wait of before is over");
}

#[test]
fn a_waiting_workload_is_served_in_a_lane_of_its_own_and_batches_are_bounded() {
    let mut schedule = schedule((0..1200).map(entry));
    let waiting = BTreeSet::from([entry(1100).id.clone()]);
    let background = schedule.next_batch(Lane::Background, &waiting, at(0), boot(0));
    assert_eq!(background.len(), MAX_BATCH);
    assert_eq!(ids(&schedule.next_batch(Lane::Waiting, &waiting, at(0), boot(0))), ["e1100"]);
    assert!(schedule.next_batch(Lane::Waiting, &waiting, at(0), boot(0)).is_empty());
}

#[test]
fn what_is_missing_comes_before_renewals_and_what_ends_first_before_the_rest() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 20);
    schedule.set_entries(&map([entry(1), entry(2)]));
    ca.issue_all(&mut schedule, 0);
    schedule.set_entries(&map([entry(1), entry(2), entry(3)]));
    assert_eq!(ids(&schedule.next_batch(Lane::Background, &NOBODY, at(80), boot(80))), ["e0003", "e0002", "e0001"]);
}

#[test]
fn a_failure_keeps_the_valid_svid_and_backs_off_per_identity() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1), entry(2)]);
    ca.issue_all(&mut schedule, 0);
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60));
    schedule.failed(&orders[0], "the CA is away".to_owned(), None, boot(60), 128);
    schedule.issued(&orders[1], ca.svid(&orders[1], 60), at(60), boot(60), 128);
    assert_eq!(states(&schedule), ["available", "available"]);
    assert_eq!(schedule.held(&NodeView::default()).identities[0].last_error.as_deref(), Some("the CA is away"));
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60)).is_empty());
    let retry = schedule.next_batch(Lane::Background, &NOBODY, at(62), boot(62));
    assert_eq!(ids(&retry), ["e0001"]);
    schedule.failed(&retry[0], "still".to_owned(), None, boot(62), 128);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(63), boot(63)).is_empty(), "the second wait is longer");
    schedule.retry_now();
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(63), boot(63)).len(), 1);
}

#[test]
fn backoff_ends_at_150_seconds() {
    let mut schedule = schedule([entry(1)]);
    let mut time = 0;
    for _ in 0..20 {
        time += 190;
        let orders = schedule.next_batch(Lane::Background, &NOBODY, at(time), boot(time));
        assert_eq!(orders.len(), 1, "at most 125 % of 150 s later");
        schedule.failed(&orders[0], "no".to_owned(), None, boot(time), 255);
    }
}

#[test]
fn an_ended_svid_is_withdrawn_and_one_still_good_is_not() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    assert!(!schedule.withdraw_expired(at(100)));
    assert_eq!(states(&schedule), ["available"]);
    assert!(schedule.withdraw_expired(at(101)));
    assert_eq!(states(&schedule), ["unavailable"]);
    ca.issue_all(&mut schedule, 101);
    assert_eq!(states(&schedule), ["available"]);
}

#[test]
fn an_svid_whose_authority_left_the_bundle_is_withdrawn_and_fetched_anew() {
    let (ca, other) = (Ca::new(), Ca::new());
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    assert!(!schedule.withdraw_invalid(&ca.0.bundle(1), at(1)));
    assert!(schedule.withdraw_invalid(&other.0.bundle(2), at(1)));
    assert_eq!(states(&schedule), ["unavailable"]);
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).len(), 1);
}

#[test]
fn a_removed_entry_loses_its_svid_and_a_late_answer_for_it_is_dropped() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    let order = schedule.next_batch(Lane::Background, &NOBODY, at(0), boot(0)).remove(0);
    schedule.set_entries(&BTreeMap::new());
    schedule.issued(&order, ca.svid(&order, 0), at(0), boot(0), 0);
    assert!(schedule.held(&NodeView::default()).identities.is_empty());
    // The same ID comes back meaning somebody else.
    schedule.set_entries(&map([changed(1, |entry| entry.spiffe_id = "spiffe://example.org/other".to_owned())]));
    schedule.issued(&order, ca.svid(&order, 0), at(0), boot(0), 0);
    assert_eq!(states(&schedule), ["initializing"]);
}

#[test]
fn an_entry_whose_certificate_changes_is_fetched_anew_and_keeps_its_svid_only_under_the_same_identity() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    schedule.set_entries(&map([changed(1, |entry| entry.selectors.push("unix:gid:1".to_owned()))]));
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty(), "selectors are not in the certificate");
    schedule.set_entries(&map([changed(1, |entry| entry.dns_names.push("w.example.org".to_owned()))]));
    assert_eq!(states(&schedule), ["available"]);
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1));
    assert_eq!(orders.len(), 1);
    schedule.issued(&orders[0], ca.svid(&orders[0], 1), at(1), boot(1), 0);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty());
    schedule.set_entries(&map([changed(1, |entry| entry.spiffe_id = "spiffe://example.org/other".to_owned())]));
    assert_eq!(states(&schedule), ["initializing"]);
}

#[test]
fn clocks_far_apart_do_not_make_the_worker_renew_in_a_circle() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    let order = schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60)).remove(0);
    // Stamped by a CA whose clock is a minute behind: due on arrival.
    schedule.issued(&order, ca.svid(&order, 0), at(60), boot(60), 128);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60)).is_empty());
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(63), boot(63)).len(), 1);
}

#[test]
fn overdue_tells_due_from_late() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    assert_eq!(schedule.overdue(at(0)), Overdue { due: 1, late: 0 });
    ca.issue_all(&mut schedule, 0);
    assert_eq!(schedule.overdue(at(1)), Overdue { due: 0, late: 0 });
    assert_eq!(schedule.overdue(at(55)), Overdue { due: 1, late: 0 });
    assert_eq!(schedule.overdue(at(70)), Overdue { due: 1, late: 1 });
}

#[test]
fn readers_see_entries_by_age_then_id() {
    let older = changed(2, |entry| entry.created_at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 }));
    let younger = changed(1, |entry| entry.created_at = Some(prost_types::Timestamp { seconds: 2, nanos: 0 }));
    let same_age = changed(3, |entry| entry.created_at = Some(prost_types::Timestamp { seconds: 2, nanos: 0 }));
    let held = schedule([younger, older, same_age]).held(&NodeView::default());
    let order: Vec<_> = held.identities.iter().map(|identity| identity.entry.id.as_str()).collect();
    assert_eq!(order, ["e0002", "e0001", "e0003"]);
}

fn ending(number: u32, end: u64) -> Arc<Entry> {
    let end = i64::try_from(T0 + end).unwrap();
    changed(number, |entry| entry.expires_at = Some(prost_types::Timestamp { seconds: end, nanos: 0 }))
}

#[test]
fn a_certificate_that_ends_with_its_entry_is_not_renewed_until_the_entry_gets_a_later_end() {
    let ca = Ca::new();
    // The certificates of this CA live until 100 s after they were made.
    let mut ends_with_it = schedule([ending(1, 101)]);
    ca.issue_all(&mut ends_with_it, 0);
    assert!(ends_with_it.next_batch(Lane::Background, &NOBODY, at(99), boot(99)).is_empty());
    assert_eq!(ends_with_it.overdue(at(99)), Overdue { due: 0, late: 0 });
    ends_with_it.set_entries(&map([ending(1, 102)]));
    assert_eq!(ends_with_it.next_batch(Lane::Background, &NOBODY, at(99), boot(99)).len(), 1);
    let mut lasting = schedule([ending(1, 500)]);
    ca.issue_all(&mut lasting, 0);
    assert_eq!(lasting.next_batch(Lane::Background, &NOBODY, at(99), boot(99)).len(), 1);
}

fn tainted_by(ca: &Ca, keys: &[pki::Sha256Digest], sequence: u64) -> Arc<TrustBundle> {
    Arc::new(FakeAuthority::bundle_of(&[&ca.0], keys, sequence))
}

fn tainted(schedule: &Schedule) -> usize {
    schedule.held(&NodeView::default()).tainted()
}

#[test]
fn what_rests_on_a_tainted_key_serves_on_and_is_replaced_at_once_by_what_does_not() {
    for key in [FakeAuthority::issuer_key, FakeAuthority::root_key] {
        let (old, new) = (Ca::new(), Ca::new());
        let mut schedule = schedule([entry(1), entry(2)]);
        old.issue_all(&mut schedule, 0);
        let keys = |count: usize| [key(&old.0), [9; 32]][..count].to_vec();
        let bundle = |count| Arc::new(FakeAuthority::bundle_of(&[&old.0, &new.0], &keys(count), 2));
        schedule.note_taints(&bundle(0), None);
        assert_eq!(tainted(&schedule), 0);
        assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty());

        schedule.note_taints(&bundle(1), None);
        assert_eq!((tainted(&schedule), states(&schedule)), (2, vec!["available", "available"]));
        let orders = schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1));
        assert_eq!(ids(&orders), ["e0001", "e0002"]);
        schedule.issued(&orders[0], new.svid(&orders[0], 1), at(1), boot(1), 128);
        schedule.failed(&orders[1], "away".to_owned(), None, boot(1), 128);
        assert_eq!((tainted(&schedule), states(&schedule)), (1, vec!["available", "available"]));
        assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty(), "the other one waits");
        // A key that nothing rests on makes nothing due, and ends no wait.
        schedule.note_taints(&bundle(2), None);
        assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty());
        let orders = schedule.next_batch(Lane::Background, &NOBODY, at(5), boot(5));
        assert_eq!(ids(&orders), ["e0002"]);
        schedule.issued(&orders[0], new.svid(&orders[0], 5), at(5), boot(5), 128);
        assert_eq!(tainted(&schedule), 0);
    }
}

#[test]
fn an_answer_that_rests_on_a_tainted_key_itself_is_taken_and_replaced_without_a_circle() {
    let (ca, sound) = (Ca::new(), Ca::new());
    let mut schedule = schedule([entry(1)]);
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(0), boot(0));
    schedule.note_taints(&tainted_by(&ca, &[ca.0.issuer_key()], 2), None);
    schedule.issued(&orders[0], ca.svid(&orders[0], 0), at(0), boot(0), 128);
    assert_eq!((tainted(&schedule), states(&schedule)), (1, vec!["available"]));
    let mut asked = Vec::new();
    for now in 0..40 {
        for order in schedule.next_batch(Lane::Background, &NOBODY, at(now), boot(now)) {
            schedule.issued(&order, ca.svid(&order, now), at(now), boot(now), 128);
            asked.push(now);
        }
    }
    assert!(asked.len() >= 3 && asked.windows(2).all(|pair| pair[1] > pair[0]), "{asked:?}");
    assert!(asked.len() < 10, "ever more rarely: {asked:?}");
    let order = (40..300).find_map(|now| schedule.next_batch(Lane::Background, &NOBODY, at(now), boot(now)).pop()).unwrap();
    schedule.issued(&order, sound.svid(&order, 0), at(1), boot(1), 128);
    assert_eq!(tainted(&schedule), 0);
}

#[test]
fn tainted_ones_go_in_small_batches_whoever_waits_first_and_hold_up_neither_what_is_missing_nor_what_ends() {
    let ca = Ca::new();
    let all = 1..=200;
    let mut schedule = schedule(all.clone().map(entry));
    ca.issue_all(&mut schedule, 0);
    // One that nothing taints, and whose time has come; one that has nothing.
    let late = 900;
    let with = |more: &[u32]| map(all.clone().chain(more.iter().copied()).map(entry));
    schedule.set_entries(&with(&[late]));
    let order = schedule.next_batch(Lane::Background, &NOBODY, at(0), boot(0)).pop().unwrap();
    let sound = Ca::new();
    schedule.issued(&order, sound.svid(&order, 0), at(0), boot(0), 128);
    schedule.set_entries(&with(&[late, 901]));
    schedule.note_taints(&tainted_by(&ca, &[ca.0.root_key()], 2), None);
    assert_eq!(tainted(&schedule), 200);

    let waiting: BTreeSet<_> = [150, 7].map(|number| entry(number).id.clone()).into();
    let orders = schedule.next_batch(Lane::Background, &waiting, at(70), boot(70));
    let ids = ids(&orders);
    assert_eq!(&ids[..3], ["e0901", "e0007", "e0150"]);
    assert_eq!((ids.len(), ids[ids.len() - 1]), (1 + MAX_TAINTED + 1, "e0900"));
    assert!(schedule.next_batch(Lane::Background, &waiting, at(70), boot(70)).is_empty(), "one batch at a time");
    let mut batches = vec![orders];
    while let Some(orders) = batches.pop().filter(|orders| !orders.is_empty()) {
        for order in &orders {
            schedule.issued(order, sound.svid(order, 70), at(70), boot(70), 128);
        }
        let next = schedule.next_batch(Lane::Background, &NOBODY, at(70), boot(70));
        assert!(next.len() <= MAX_TAINTED);
        batches.push(next);
    }
    assert_eq!((tainted(&schedule), states(&schedule).len()), (0, 202));
}

#[test]
fn one_from_before_a_restart_that_rests_on_a_tainted_key_serves_until_its_successor_is_there() {
    let (ca, entry) = (Ca::new(), entry(1));
    let mut schedule = schedule([Arc::clone(&entry)]);
    schedule.note_taints(&tainted_by(&ca, &[ca.0.root_key()], 2), None);
    assert!(schedule.restore(&entry.id, ca.0.svid(&entry.spiffe_id, Duration::from_secs(101), at(0))));
    assert_eq!((tainted(&schedule), states(&schedule)), (1, vec!["available"]));
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).len(), 1);
    // What is withdrawn rests on nothing any more.
    schedule.withdraw_expired(at(500));
    assert_eq!((tainted(&schedule), states(&schedule)), (0, vec!["unavailable"]));
}

#[test]
fn a_revoked_identity_is_dropped_with_what_is_under_way_and_fetched_anew_when_it_is_restored() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    assert_eq!(states(&schedule), ["available"]);
    let under_way = schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60));
    assert_eq!(ids(&under_way), ["e0001"]);
    schedule.set_entries(&map([changed(1, |entry| entry.revoked = true)]));
    assert_eq!(states(&schedule), ["revoked"]);
    schedule.issued(&under_way[0], ca.svid(&under_way[0], 60), at(60), boot(60), 0);
    assert_eq!(states(&schedule), ["revoked"], "what was under way is not taken");
    assert!(!schedule.restore(&entry(1).id, ca.svid(&under_way[0], 0)), "nor is what was kept from before a start");
    schedule.retry_now();
    for lane in [Lane::Waiting, Lane::Background] {
        assert!(schedule.next_batch(lane, &NOBODY, at(9000), boot(9000)).is_empty(), "nothing is asked for");
    }
    assert_eq!(schedule.overdue(at(9000)), Overdue::default());
    schedule.set_entries(&map([entry(1)]));
    assert_eq!(states(&schedule), ["initializing"]);
    ca.issue_all(&mut schedule, 9000);
    assert_eq!(states(&schedule), ["available"]);
}

#[test]
fn a_certificate_on_a_list_is_replaced_at_once_and_serves_until_then() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1), entry(2)]);
    ca.issue_all(&mut schedule, 0);
    let held = schedule.held(&NodeView::default()).identities[0].state.svid().cloned().unwrap();
    let (bundle, sound) = (Arc::new(ca.0.bundle(1)), Arc::new(ca.0.lists(&[], 1, at(0))));
    schedule.note_taints(&bundle, Some(&sound));
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1)).is_empty());
    let lists = Arc::new(ca.0.lists(&[&held], 2, at(0)));
    schedule.note_taints(&bundle, Some(&lists));
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(1), boot(1));
    assert_eq!((ids(&orders), states(&schedule)), (vec!["e0001"], vec!["available", "available"]));
    schedule.issued(&orders[0], ca.svid(&orders[0], 1), at(1), boot(1), 0);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(2), boot(2)).is_empty(), "the new one has another serial");
}
