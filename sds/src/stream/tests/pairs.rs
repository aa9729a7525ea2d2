//! Chain, key and bundle are verified together before each send.

use std::time::Duration;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, bundle_of, serial_of, state};

#[test]
fn a_pair_that_does_not_verify_is_held_back_and_the_last_good_one_stays() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trust = bundle(&[&authority]);
    let good = authority.fresh("web");
    for bad in [stranger.fresh("web"), authority.svid("web", 7200, Duration::from_secs(3600))] {
        let mut bench = Bench::new(state(&[&good], &trust));
        let stream = bench.open(&["default"]);
        let first = bench.sent(stream);
        bench.ack(stream, &["default"], &first);
        bench.update(&state(&[&bad], &trust));
        bench.silent(&[stream]);
        let alarms = bench.alarms();
        assert!(matches!(alarms.as_slice(), [Alarm::HeldBack { .. }]), "{alarms:?}");
        // Said once, however often it is looked at.
        bench.pass(Duration::from_secs(60));
        bench.silent(&[stream]);
        assert_eq!(bench.alarms(), []);
        let late = bench.open(&["default"]);
        assert_eq!(serial_of(&bench.sent(late)), good.leaf().serial().to_string(), "a new stream gets the last good one");
        // The twin: one that verifies goes out.
        bench.update(&state(&[&authority.fresh("web")], &trust));
        bench.sent(stream);
    }
}

#[test]
fn a_bundle_under_which_the_svid_does_not_verify_is_not_sent_either() {
    let (authority, other) = (Authority::new(), Authority::new());
    let svid = authority.fresh("web");
    let mut bench = Bench::new(state(&[&svid], &bundle(&[&authority])));
    let stream = bench.open(&["ROOTCA"]);
    bench.sent(stream);
    bench.update(&state(&[&svid], &bundle(&[&other])));
    bench.silent(&[stream]);
    let both = bundle(&[&authority, &other]);
    bench.update(&state(&[&svid], &both));
    assert_eq!(bundle_of(&bench.sent(stream)), &*both);
}

#[test]
fn an_svid_that_expired_since_is_not_sent() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.svid("web", 0, Duration::from_secs(600))], &trust));
    bench.pass(Duration::from_secs(598));
    let in_time = bench.open(&["default"]);
    bench.sent(in_time);
    bench.pass(Duration::from_secs(2));
    let late = bench.open(&["default"]);
    let late_trust = bench.open(&["ROOTCA"]);
    bench.silent(&[late, late_trust]);
    assert!(matches!(bench.alarms().as_slice(), [Alarm::HeldBack { .. }]));
    bench.update(&state(&[&authority.svid("web", 600, Duration::from_secs(600))], &trust));
    bench.sent(late);
}

#[test]
fn an_svid_that_is_not_valid_yet_goes_out_when_it_is() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.svid("web", 100, Duration::from_secs(600))], &bundle(&[&authority])));
    let stream = bench.open(&["default"]);
    bench.silent(&[stream]);
    for _ in 0..10 {
        let wakeup = bench.machine.next_wakeup().expect("it looks again by itself");
        bench.pass(wakeup - bench.now.boot);
        if bench.take(stream).is_some() {
            return;
        }
    }
    panic!("it was never sent");
}

#[test]
fn default_does_not_become_the_next_identity_when_the_first_is_held_back() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (bad, other) = (stranger.fresh("web"), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&bad, &other], &bundle(&[&authority])));
    let streams = [bench.open(&["default"]), bench.open(&["spiffe://example.org/api"])];
    bench.silent(&streams[..1]);
    bench.sent(streams[1]);
    let held_back =
        |event: &Event| matches!(event, Event::Unanswered { reason: UnansweredReason::HeldBack, name, .. } if name == "default");
    assert!(bench.machine.take_events().iter().any(held_back));
}

#[test]
fn one_identity_that_fails_does_not_hold_up_the_others() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.svid("web", 0, Duration::from_secs(60)), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&api, &web], &trust));
    bench.pass(Duration::from_secs(120));
    let renewed = authority.fresh("api");
    bench.update(&state(&[&renewed, &web], &trust));
    let stream = bench.open(&["default"]);
    assert_eq!(serial_of(&bench.sent(stream)), renewed.leaf().serial().to_string());
}

#[test]
fn what_was_taken_away_is_never_sent_again() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.fresh("web"), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    let names = ["spiffe://example.org/api"];
    let (stream, other) = (bench.open(&names), bench.open(&["default"]));
    for (stream, names) in [(stream, &names[..]), (other, &["default"])] {
        let response = bench.sent(stream);
        bench.ack(stream, names, &response);
    }
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let renewal = bench.sent(other);
    bench.nack(other, &["default"], &renewal);
    assert_eq!(serial_of(&bench.sent(other)), web.leaf().serial().to_string(), "the last good pair of what is left");
    let again = bench.open(&names);
    bench.silent(&[stream, again]);
    // All of it taken away: silence on every stream, the bundle's too.
    bench.update(&state(&[], &trust));
    let late = bench.open(&["default", "ROOTCA"]);
    bench.silent(&[stream, other, again, late]);
}

#[test]
fn what_ended_before_it_was_sent_is_left_out_at_once_and_the_rest_is_sent() {
    let authority = Authority::new();
    let (brief, lasting) = (authority.svid("web", 0, Duration::from_secs(60)), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&lasting, &brief], &bundle(&[&authority])));
    let stream = bench.open(&["default", "spiffe://example.org/web"]);
    bench.pass(Duration::from_secs(61));
    assert_eq!(serial_of(&bench.sent(stream)), lasting.leaf().serial().to_string());
    bench.silent(&[stream]);
}

#[test]
fn an_alarm_is_raised_once_for_each_svid() {
    let (authority, strangers) = (Authority::new(), [Authority::new(), Authority::new()]);
    let trust = bundle(&[&authority]);
    let (web, api) = (strangers[0].fresh("web"), strangers[1].fresh("api"));
    let mut bench = Bench::new(state(&[&web], &trust));
    let held_back = |alarm| if let Alarm::HeldBack { id, serial, .. } = alarm { Some((id, serial)) } else { None };
    let mut alarms = |svids: &[_]| -> Vec<_> {
        bench.update(&state(svids, &trust));
        bench.alarms().into_iter().filter_map(held_back).collect()
    };
    let named = |svid: &pki::X509Svid| (svid.id().clone(), svid.leaf().serial().to_string());
    assert_eq!(alarms(&[&web]), [named(&web)]);
    // Another identity with the same serial, then the same identity with another one.
    assert_eq!(web.leaf().serial(), api.leaf().serial());
    assert_eq!(alarms(&[&web, &api]), [named(&api)]);
    let renewed = strangers[0].fresh("web");
    assert_eq!(alarms(&[&renewed, &api]), [named(&renewed)]);
    assert_eq!(alarms(&[&renewed, &api]), []);
}
