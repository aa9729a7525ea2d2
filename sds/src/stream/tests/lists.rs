//! Revocation lists beside the bundle: when they are given, and when they are taken away.

use std::sync::Arc;
use std::time::Duration;

use pki::{AuthorityRole, RevocationSet};

use super::super::lists::STALE_BEFORE;
use super::super::*;
use super::fixture::{Authority, Bench, START, bundle, lists, lists_in, owned, state, whole_lists, with_lists};
use crate::{SecretState, StreamProgress};

const DAY: u64 = 86_400;
const ROOTCA: &[&str] = &["ROOTCA"];

fn open(bench: &mut Bench, kind: ValidationContextKind) -> StreamId {
    let stream = bench.machine.open().unwrap();
    let request = Request { names: owned(ROOTCA), validation: Some(kind), ..Request::default() };
    bench.machine.request(stream, request, bench.now).unwrap();
    stream
}

/// A stream of each form, and how many lists each was sent.
fn given(state: &Arc<SecretState>) -> (usize, usize) {
    let mut bench = Bench::new(Arc::clone(state));
    let [spiffe, plain] =
        [ValidationContextKind::SpiffeValidator, ValidationContextKind::TrustedCa].map(|kind| open(&mut bench, kind));
    (lists_in(&bench.sent(spiffe)), lists_in(&bench.sent(plain)))
}

#[test]
fn each_form_is_given_lists_only_where_all_that_it_asks_for_are_there() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (one, both) = (bundle(&[&ca]), bundle(&[&ca, &other]));
    let web = ca.fresh("web");
    let with = |bundle, lists: &Arc<RevocationSet>| given(&with_lists(&state(&[&web], bundle), lists));
    let [root, issuer] = [AuthorityRole::Root, AuthorityRole::Issuer].map(|role| ca.list(role, &[], 7 * DAY));
    let whole = lists(&[&ca], &[root.clone(), issuer.clone()], true);
    assert_eq!(given(&state(&[&web], &one)), (0, 0), "without lists there are none");
    assert_eq!(with(&one, &whole), (2, 2));

    // The publisher says that one is missing. That of a root, or of a CA that signs leaves.
    let rootless = lists(&[&ca], std::slice::from_ref(&issuer), false);
    assert_eq!(with(&one, &rootless), (0, 0));
    let rootless = Arc::new(RevocationSet::clone(&rootless).with_complete_for_leaves(true));
    assert_eq!(with(&one, &rootless), (0, 1), "whoever looks at leaves alone can do without that of the root");
    // A root that came to the bundle after the lists.
    assert_eq!(with(&both, &whole), (0, 2));
    // Lists under which the own certificate would be refused, whatever is said of them.
    let issuerless = lists(&[&ca], std::slice::from_ref(&root), true);
    assert_eq!(with(&one, &issuerless), (1, 0));

    let stale = |role| ca.list(role, &[], 20);
    assert_eq!(with(&one, &lists(&[&ca], &[stale(AuthorityRole::Root), issuer.clone()], true)), (0, 1));
    assert_eq!(with(&one, &lists(&[&ca], &[root, stale(AuthorityRole::Issuer)], true)), (0, 0));
}

#[test]
fn new_lists_are_pushed_and_accepted_like_a_new_bundle_and_the_same_again_are_not() {
    let ca = Authority::new();
    let (web, one) = (ca.fresh("web"), bundle(&[&ca]));
    let pair = state(&[&web], &one);
    let first = whole_lists(&ca, &[], 7 * DAY);
    let mut bench = Bench::new(with_lists(&pair, &first));
    let (trust, own) = (bench.open(ROOTCA), bench.open(&["default"]));
    let delta = bench.open_delta(ROOTCA, &[]);
    let before = bench.sent(trust);
    bench.ack(trust, ROOTCA, &before);
    let certificate = bench.sent(own);
    bench.ack(own, &["default"], &certificate);
    let told = bench.sent(delta);
    bench.ack_delta(delta, &told);
    assert_eq!(bench.machine.progress(), StreamProgress { streams: 3, behind: 0 });

    let again = Arc::new(RevocationSet::clone(&first));
    bench.update(&with_lists(&pair, &again));
    bench.silent(&[trust, own, delta]);
    bench.update(&with_lists(&pair, &whole_lists(&ca, &[&web], 7 * DAY)));
    assert_eq!(bench.machine.progress(), StreamProgress { streams: 3, behind: 2 });
    let after = bench.sent(trust);
    assert_eq!(lists_in(&after), 2);
    assert_ne!(after.version, before.version);
    bench.silent(&[own]);
    assert_eq!(lists_in(&bench.sent(delta)), 2);
    bench.ack(trust, ROOTCA, &after);
    assert_eq!(bench.machine.progress(), StreamProgress { streams: 3, behind: 1 });
}

#[test]
fn lists_are_all_taken_away_before_the_first_goes_stale_and_nobody_is_left_without_a_bundle() {
    let ca = Authority::new();
    let (web, one) = (ca.svid("web", 0, Duration::from_secs(8 * 3600)), bundle(&[&ca]));
    let pair = state(&[&web], &one);
    let [root, issuer] =
        [(AuthorityRole::Root, 3600), (AuthorityRole::Issuer, 7200)].map(|(role, until)| ca.list(role, &[], until));
    let mut bench = Bench::new(with_lists(&pair, &lists(&[&ca], &[root, issuer], true)));
    let kinds = [ValidationContextKind::SpiffeValidator, ValidationContextKind::TrustedCa];
    let [spiffe, plain] = kinds.map(|kind| open(&mut bench, kind));
    for stream in [spiffe, plain] {
        let sent = bench.sent(stream);
        assert_eq!(lists_in(&sent), 2);
        bench.ack(stream, ROOTCA, &sent);
    }
    let wake = |bench: &mut Bench, second: u64| {
        let at = bench.machine.next_wakeup().expect("it wants to be asked again");
        assert_eq!(bench.now.wall.plus(at - bench.now.boot).unix_seconds(), START + second - STALE_BEFORE.as_secs());
        bench.pass(at - bench.now.boot - Duration::from_secs(1));
        bench.silent(&[spiffe, plain]);
        bench.pass(Duration::from_secs(1));
    };
    // That of the root goes first: whoever looks at leaves alone does not ask for it.
    wake(&mut bench, 3600);
    for (stream, left) in [(spiffe, 0), (plain, 1)] {
        let sent = bench.sent(stream);
        assert_eq!(lists_in(&sent), left);
        bench.ack(stream, ROOTCA, &sent);
    }
    wake(&mut bench, 7200);
    bench.silent(&[spiffe]);
    let sent = bench.sent(plain);
    assert_eq!(lists_in(&sent), 0);
    bench.ack(plain, ROOTCA, &sent);
    assert_eq!(bench.machine.next_wakeup(), None);
    assert!(bench.alarms().is_empty(), "it is the host that tells of stale lists");
    // New ones come with the next state.
    bench.update(&with_lists(&pair, &whole_lists(&ca, &[], 7 * DAY)));
    assert_eq!((lists_in(&bench.sent(spiffe)), lists_in(&bench.sent(plain))), (2, 2));
}

#[test]
fn a_clock_that_was_set_takes_stale_lists_away_without_waiting() {
    let ca = Authority::new();
    let (web, one) = (ca.svid("web", 0, Duration::from_secs(8 * 3600)), bundle(&[&ca]));
    let mut bench = Bench::new(with_lists(&state(&[&web], &one), &whole_lists(&ca, &[], 7200)));
    let stream = bench.open(ROOTCA);
    assert_eq!(lists_in(&bench.sent(stream)), 2);
    bench.now.wall = bench.now.wall.plus(Duration::from_secs(7200));
    assert_eq!(lists_in(&bench.sent(stream)), 0);
    // Back again: they are current, and come back.
    bench.now.wall = bench.now.wall.minus(Duration::from_secs(7200));
    assert_eq!(lists_in(&bench.sent(stream)), 2);
    bench.silent(&[stream]);
}

#[test]
fn a_clock_that_goes_back_to_before_their_beginning_takes_lists_away() {
    let ca = Authority::new();
    let one = bundle(&[&ca]);
    let web = ca.svid("web", 0, Duration::from_secs(8 * 3600));
    let begin = |role| ca.list_from(START, role, &[], 7 * DAY);
    let new = lists(&[&ca], &[begin(AuthorityRole::Root), begin(AuthorityRole::Issuer)], true);
    let mut bench = Bench::new(with_lists(&state(&[&web], &one), &new));
    let stream = bench.open(ROOTCA);
    assert_eq!(lists_in(&bench.sent(stream)), 2);
    bench.now.wall = bench.now.wall.minus(Duration::from_secs(30));
    assert_eq!(lists_in(&bench.sent(stream)), 0);
    bench.now.wall = bench.now.wall.plus(Duration::from_secs(30));
    assert_eq!(lists_in(&bench.sent(stream)), 2);
}

/// The peer rejects something new, and what was good before has lists that have ended meanwhile.
#[test]
fn what_is_sent_again_after_a_rejection_has_no_stale_list() {
    let ca = Authority::new();
    let one = bundle(&[&ca]);
    let [web, newer] = [0, 1].map(|_| ca.svid("web", 0, Duration::from_secs(8 * 3600)));
    let ending = whole_lists(&ca, &[], 600);
    let mut bench = Bench::new(with_lists(&state(&[&web], &one), &ending));
    let (trust, own) = (bench.open(ROOTCA), bench.open(&["default"]));
    for (stream, names) in [(trust, ROOTCA), (own, &["default"][..])] {
        let sent = bench.sent(stream);
        bench.ack(stream, names, &sent);
    }
    bench.update(&with_lists(&state(&[&newer], &one), &whole_lists(&ca, &[&web], 7 * DAY)));
    let (rejected, _) = (bench.sent(trust), bench.sent(own));
    bench.pass(Duration::from_secs(601));
    bench.nack(trust, ROOTCA, &rejected);
    let again = bench.sent(trust);
    assert_eq!(lists_in(&again), 0, "the last good pair goes without its lists");
    bench.check_lists(&again, &state(&[&web], &one));
}

#[test]
fn lists_that_begin_later_are_given_when_they_begin() {
    let ca = Authority::new();
    let one = bundle(&[&ca]);
    let web = ca.svid("web", 0, Duration::from_secs(8 * 3600));
    // This clock is behind the publisher's.
    let begin = |role| ca.list_from(START + 1000, role, &[], 7 * DAY);
    let later = lists(&[&ca], &[begin(AuthorityRole::Root), begin(AuthorityRole::Issuer)], true);
    let mut bench = Bench::new(with_lists(&state(&[&web], &one), &later));
    let stream = bench.open(ROOTCA);
    assert_eq!(lists_in(&bench.sent(stream)), 0);
    let at = bench.machine.next_wakeup().unwrap();
    assert_eq!(bench.now.wall.plus(at - bench.now.boot).unix_seconds(), START + 1000);
    bench.pass(at - bench.now.boot);
    assert_eq!(lists_in(&bench.sent(stream)), 2);
}

#[test]
fn what_is_not_given_yet_is_that_of_the_newest_lists() {
    let ca = Authority::new();
    let (web, one) = (ca.svid("web", 0, Duration::from_secs(8 * 3600)), bundle(&[&ca]));
    let pair = state(&[&web], &one);
    let stale = whole_lists(&ca, &[], 10);
    let mut bench = Bench::new(with_lists(&pair, &stale));
    let stream = bench.open(ROOTCA);
    assert_eq!(lists_in(&bench.sent(stream)), 0);
    let begin = |role| ca.list_from(START + 1000, role, &[], 7 * DAY);
    let later = lists(&[&ca], &[begin(AuthorityRole::Root), begin(AuthorityRole::Issuer)], true);
    bench.update(&with_lists(&pair, &later));
    bench.silent(&[stream]);
    bench.pass(Duration::from_secs(1000));
    assert!(bench.machine.next_wakeup().is_some_and(|at| at <= bench.now.boot));
    assert_eq!(lists_in(&bench.sent(stream)), 2);
}
