//! Versions, nonces, and what is sent when.

use super::super::*;
use super::fixture::{Authority, Bench, bundle, owned, serial_of, state};

#[test]
fn a_content_is_sent_once_and_the_newest_wins() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let svids = [0, 1, 2].map(|_| authority.fresh("web"));
    let mut bench = Bench::new(state(&[&svids[0]], &trust));
    let stream = bench.open(&["default"]);
    let first = bench.sent(stream);
    bench.silent(&[stream]);
    bench.ack(stream, &["default"], &first);
    bench.update(&state(&[&svids[1]], &trust));
    bench.update(&state(&[&svids[2]], &trust));
    let second = bench.sent(stream);
    assert_eq!(serial_of(&second), svids[2].leaf().serial().to_string(), "the one between was overtaken");
    assert_ne!((&first.version, &first.nonce), (&second.version, &second.nonce));
    bench.silent(&[stream]);
    // The same content again, in another allocation: nothing to say.
    bench.update(&state(&[&svids[2]], &trust));
    bench.silent(&[stream]);
}

#[test]
fn a_version_is_the_content_and_nothing_else() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.fresh("web"), authority.fresh("web"));
    let version = |svid, names: &[&str]| {
        let mut bench = Bench::new(state(&[svid], &trust));
        let _earlier = bench.open(&["ALL"]);
        let stream = bench.open(names);
        bench.sent(stream).version
    };
    assert_eq!(version(&web, &["default", "ROOTCA"]), version(&web, &["ROOTCA", "default"]));
    assert_ne!(version(&web, &["default"]), version(&api, &["default"]));
    assert_ne!(version(&web, &["default"]), version(&web, &["ROOTCA"]));
}

#[test]
fn the_first_request_of_a_stream_is_answered_whatever_version_it_names() {
    let authority = Authority::new();
    let held = state(&[&authority.fresh("web")], &bundle(&[&authority]));
    let mut bench = Bench::new(Arc::clone(&held));
    let stream = bench.open(&["default"]);
    let version = bench.sent(stream).version;
    let mut bench = Bench::new(held);
    let stream = bench.machine.open().unwrap();
    // As Envoy comes back after the connection broke.
    let request = Request { names: owned(&["default"]), version: version.clone(), ..Request::default() };
    bench.machine.request(stream, request, bench.now).unwrap();
    assert_eq!(bench.sent(stream).version, version);
}

#[test]
fn a_state_that_arrives_before_the_ack_goes_out_at_once_and_the_late_ack_is_stale() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open(&["default"]);
    let first = bench.sent(stream);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let second = bench.sent(stream);
    bench.machine.take_events();
    bench.nack(stream, &["ROOTCA"], &first);
    let events = bench.machine.take_events();
    assert!(matches!(events.as_slice(), [Event::StaleNonce { .. }]), "{events:?}");
    bench.silent(&[stream]);
    bench.ack(stream, &["default"], &second);
    assert!(matches!(bench.machine.take_events().as_slice(), [Event::Acked { .. }]));
}

#[test]
fn changed_names_are_answered_and_an_empty_nonce_makes_no_loop() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open(&["default"]);
    let first = bench.sent(stream);
    bench.ack(stream, &["default", "ROOTCA"], &first);
    assert_eq!(bench.sent(stream).resources.len(), 2);
    for _ in 0..3 {
        bench.ask(stream, &["default", "ROOTCA"]);
        bench.silent(&[stream]);
    }
    bench.ask(stream, &[]);
    bench.silent(&[stream]);
    bench.ask(stream, &["ROOTCA"]);
    assert_eq!(bench.sent(stream).resources.len(), 1);
}

#[test]
fn a_request_with_another_version_and_no_error_is_no_answer() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open(&["default"]);
    let first = bench.sent(stream);
    bench.machine.take_events();
    let request = Request { names: owned(&["default"]), version: "other".to_owned(), nonce: first.nonce, ..Request::default() };
    bench.machine.request(stream, request, bench.now).unwrap();
    assert!(bench.machine.take_events().is_empty());
    bench.silent(&[stream]);
}

#[test]
fn streams_are_woken_once_for_each_change() {
    let authority = Authority::new();
    let (trust, svid) = (bundle(&[&authority]), authority.fresh("web"));
    let first = state(&[&svid], &trust);
    let mut bench = Bench::new(Arc::clone(&first));
    bench.machine.take_woken();
    assert!(!bench.machine.take_woken());
    bench.update(&first);
    assert!(!bench.machine.take_woken(), "it has that one");
    bench.update(&state(&[&authority.fresh("web")], &trust));
    assert!(bench.machine.take_woken());
    assert!(!bench.machine.take_woken());
}

#[test]
fn a_push_is_told_with_what_it_carries() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open(&["default", "ROOTCA", "ALL"]);
    assert_eq!(stream.to_string(), "1");
    bench.machine.take_events();
    let response = bench.sent(stream);
    let events = bench.machine.take_events();
    let [Event::Pushed { stream: on, version, certificates: 1, validation_contexts: 2, removed: 0 }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((*on, version), (stream, &response.version));
}

#[test]
fn an_answer_counts_once_and_no_later_one_takes_it_back() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open(&["default"]);
    let first = bench.sent(stream);
    bench.machine.take_events();
    bench.ack(stream, &["default"], &first);
    assert!(matches!(bench.machine.take_events().as_slice(), [Event::Acked { .. }]));
    bench.ack(stream, &["default"], &first);
    assert!(bench.machine.take_events().is_empty(), "said already");
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let second = bench.sent(stream);
    bench.nack(stream, &["default"], &second);
    bench.machine.take_events();
    bench.ack(stream, &["default"], &second);
    assert!(bench.machine.take_events().is_empty(), "it was rejected");
}
