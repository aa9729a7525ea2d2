//! Incremental streams.

use std::time::Duration;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, owned, serial_of, state};
use crate::SecretState;

const WEB: &str = "spiffe://example.org/web";
const API: &str = "spiffe://example.org/api";

fn names(response: &Response) -> Vec<&str> {
    response.resources.iter().map(|resource| &*resource.name).collect()
}

fn removed(response: &Response) -> Vec<&str> {
    response.removed.iter().map(|name| &**name).collect()
}

fn version_of(response: &Response, name: &str) -> String {
    response.resources.iter().find(|resource| &*resource.name == name).expect("the name was sent").version.clone()
}

#[test]
fn each_name_has_a_version_of_its_own_and_only_what_changed_is_sent() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open_delta(&["default", "ROOTCA"], &[]);
    let first = bench.sent(stream);
    assert_eq!(names(&first), ["ROOTCA", "default"]);
    assert_ne!(version_of(&first, "ROOTCA"), version_of(&first, "default"));
    bench.silent(&[stream]);
    bench.ack_delta(stream, &first);
    bench.silent(&[stream]);
    let renewed = authority.fresh("web");
    bench.update(&state(&[&renewed], &trust));
    let second = bench.sent(stream);
    assert_eq!((names(&second), serial_of(&second)), (vec!["default"], renewed.leaf().serial().to_string()));
    bench.ack_delta(stream, &second);
    bench.silent(&[stream]);
}

#[test]
fn what_is_not_accepted_yet_comes_along_so_that_the_newest_response_says_all() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open_delta(&["default", "ROOTCA"], &[]);
    let first = bench.sent(stream);
    let renewed = authority.fresh("web");
    bench.update(&state(&[&renewed], &bundle(&[&authority])));
    let second = bench.sent(stream);
    assert_eq!(names(&second), ["ROOTCA", "default"]);
    bench.machine.take_events();
    bench.nack_delta(stream, &first);
    assert!(matches!(bench.machine.take_events().as_slice(), [Event::StaleNonce { .. }]));
    bench.ack_delta(stream, &second);
    assert!(matches!(bench.machine.take_events().as_slice(), [Event::Acked { .. }]));
    bench.update(&state(&[&renewed], &bundle(&[&authority, &other])));
    assert_eq!(names(&bench.sent(stream)), ["ROOTCA"]);
}

#[test]
fn after_a_broken_connection_only_what_differs_is_sent_even_by_another_process() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, renewed) = (authority.fresh("web"), authority.fresh("web"));
    let mut bench = Bench::new(state(&[&web], &trust));
    let stream = bench.open_delta(&["default", "ROOTCA"], &[]);
    let first = bench.sent(stream);
    let held = [("default", version_of(&first, "default")), ("ROOTCA", version_of(&first, "ROOTCA"))];
    let held: Vec<_> = held.iter().map(|(name, version)| (*name, version.as_str())).collect();

    let mut same = Bench::new(state(&[&web], &trust));
    let stream = same.open_delta(&["default", "ROOTCA"], &held);
    same.silent(&[stream]);
    let mut other = Bench::new(state(&[&renewed], &trust));
    let stream = other.open_delta(&["default", "ROOTCA"], &held);
    assert_eq!(names(&other.sent(stream)), ["default"]);
    // A version of somebody else's making, however long, is another version.
    let mut foreign = Bench::new(state(&[&web], &trust));
    let long = format!("{}{}", held[0].1, "0".repeat(1000));
    let stream = foreign.open_delta(&["default", "ROOTCA"], &[("default", &long), held[1]]);
    assert_eq!(names(&foreign.sent(stream)), ["default"]);
    // What was not subscribed to is not sent for being held, and later requests bring no versions.
    let mut narrow = Bench::new(state(&[&web], &trust));
    let stream = narrow.open_delta(&["ROOTCA"], &[("default", "v"), held[1]]);
    narrow.silent(&[stream]);
    let late = DeltaRequest {
        subscribe: owned(&["default"]),
        initial_versions: vec![("default".to_owned(), held[0].1.to_owned())],
        ..DeltaRequest::default()
    };
    narrow.ask_delta(stream, late);
    assert_eq!(names(&narrow.sent(stream)), ["default"]);
}

#[test]
fn a_name_that_went_is_told_removed_once_and_comes_back() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.fresh("web"), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    let stream = bench.open_delta(&[API, "default", "nobody"], &[]);
    let first = bench.sent(stream);
    assert_eq!((names(&first), removed(&first)), (vec!["default", API], vec![]));
    bench.ack_delta(stream, &first);
    bench.update(&state(&[&web], &trust));
    let second = bench.sent(stream);
    assert_eq!((names(&second), removed(&second)), (vec![], vec![API]));
    bench.ack_delta(stream, &second);
    bench.silent(&[stream]);
    bench.update(&state(&[&web, &api], &trust));
    let third = bench.sent(stream);
    assert_eq!((names(&third), removed(&third)), (vec![API], vec![]));
    bench.ack_delta(stream, &third);
    // The last identity goes: all of it, the trust bundle with it.
    let trusting = bench.open_delta(&["ROOTCA"], &[]);
    let response = bench.sent(trusting);
    bench.ack_delta(trusting, &response);
    bench.update(&state(&[], &trust));
    assert_eq!(removed(&bench.sent(stream)), ["default", API]);
    assert_eq!(removed(&bench.sent(trusting)), ["ROOTCA"]);
}

#[test]
fn a_removal_that_is_not_accepted_yet_comes_along_and_one_that_is_does_not() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.fresh("web"), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    let stream = bench.open_delta(&[API, "default"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.update(&state(&[&web], &trust));
    assert_eq!(removed(&bench.sent(stream)), [API]);
    // The answer to that has not come when the next change does.
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let second = bench.sent(stream);
    assert_eq!((names(&second), removed(&second)), (vec!["default"], vec![API]));
    bench.ack_delta(stream, &second);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let third = bench.sent(stream);
    assert_eq!((names(&third), removed(&third)), (vec!["default"], vec![]));
    // A rejection has the last good content sent again, and what is gone stays unsaid.
    bench.nack_delta(stream, &third);
    let mended = bench.sent(stream);
    assert_eq!((names(&mended), removed(&mended)), (vec!["default"], vec![]));
}

#[test]
fn a_removal_that_is_rejected_is_said_once_and_holds_up_nothing() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open_delta(&["default"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.update(&state(&[], &trust));
    let gone = bench.sent(stream);
    bench.nack_delta(stream, &gone);
    assert_eq!(bench.alarms(), []);
    bench.silent(&[stream]);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    assert_eq!(names(&bench.sent(stream)), ["default"]);
}

#[test]
fn nothing_is_removed_while_entries_are_unknown_or_an_svid_is_to_come_or_held_back() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trust = bundle(&[&authority]);
    let web = authority.fresh("web");
    let pending = vec![web.id().clone()];
    let unknown = SecretState { bundle: Some(Arc::clone(&trust)), ..SecretState::default() };
    let awaited = SecretState { known: true, pending, bundle: Some(Arc::clone(&trust)), ..SecretState::default() };
    for absent in [Arc::new(unknown), Arc::new(awaited), state(&[&stranger.fresh("web")], &trust)] {
        let mut bench = Bench::new(absent);
        let stream = bench.open_delta(&["default", "ROOTCA", WEB], &[("default", "v1"), ("ROOTCA", "v1"), (WEB, "v1")]);
        bench.silent(&[stream]);
        bench.update(&state(&[&web], &trust));
        assert_eq!(names(&bench.sent(stream)), ["ROOTCA", "default", WEB]);
    }
    // The twin: what is known to be nobody's is removed.
    let mut bench = Bench::new(state(&[], &trust));
    let stream = bench.open_delta(&["default", WEB], &[("default", "v1")]);
    assert_eq!(removed(&bench.sent(stream)), ["default"], "and the name that was never held is left unanswered");
}

#[test]
fn unsubscribed_names_are_not_sent_and_resubscribed_ones_are_sent_again() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open_delta(&["default", "ROOTCA"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.ask_delta(stream, DeltaRequest { unsubscribe: owned(&["default", "never"]), ..DeltaRequest::default() });
    bench.update(&state(&[&authority.fresh("web")], &trust));
    bench.silent(&[stream]);
    for _ in 0..2 {
        // Again, though it holds it: it may have forgotten.
        bench.ask_delta(stream, DeltaRequest { subscribe: owned(&["ROOTCA", "default"]), ..DeltaRequest::default() });
        let again = bench.sent(stream);
        assert_eq!(names(&again), ["ROOTCA", "default"]);
        bench.ack_delta(stream, &again);
        bench.silent(&[stream]);
    }
    let both = DeltaRequest { subscribe: owned(&["ALL"]), unsubscribe: owned(&["ALL"]), ..DeltaRequest::default() };
    bench.ask_delta(stream, both);
    bench.silent(&[stream]);
}

#[test]
fn a_subscription_counts_even_when_its_nonce_is_stale() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open_delta(&["default"], &[]);
    let first = bench.sent(stream);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let second = bench.sent(stream);
    let stale = DeltaRequest { subscribe: owned(&["ROOTCA"]), nonce: first.nonce, ..DeltaRequest::default() };
    bench.ask_delta(stream, stale);
    let third = bench.sent(stream);
    assert_eq!(names(&third), ["ROOTCA", "default"], "the certificate was not accepted yet");
    assert_ne!(second.nonce, third.nonce);
}

#[test]
fn a_wildcard_and_too_much_are_refused_and_their_twins_pass() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open_delta(&[], &[]);
    bench.silent(&[stream]);
    let mut subscribe = |names: Vec<String>| {
        let request = DeltaRequest { subscribe: names, ..DeltaRequest::default() };
        bench.machine.request_delta(stream, request, bench.now)
    };
    let numbered = |from: usize, count: usize| (from..from + count).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(subscribe(vec!["*".to_owned()]), Err(RequestError::Wildcard));
    assert_eq!(subscribe(numbered(0, MAX_NAMES)), Ok(()));
    assert_eq!(subscribe(numbered(0, MAX_NAMES)), Ok(()), "the same names are no more names");
    assert_eq!(subscribe(numbered(MAX_NAMES, 1)), Err(RequestError::Names { found: MAX_NAMES + 1 }));
    assert_eq!(subscribe(vec!["n".repeat(MAX_NAME_BYTES + 1)]), Err(RequestError::NameLength { found: MAX_NAME_BYTES + 1 }));
    let type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    let foreign = DeltaRequest { type_url, ..DeltaRequest::default() };
    assert!(matches!(bench.machine.request_delta(stream, foreign, bench.now), Err(RequestError::TypeUrl { .. })));
}

#[test]
fn a_nack_brings_the_last_good_pair_to_every_stream_of_either_kind() {
    let (authority, other) = (Authority::new(), Authority::new());
    let first = authority.fresh("web");
    let mut bench = Bench::new(state(&[&first], &bundle(&[&authority])));
    let (certificate, trust) = (bench.open_delta(&["default"], &[]), bench.open(&["ROOTCA"]));
    let accepted = bench.sent(certificate);
    bench.ack_delta(certificate, &accepted);
    let response = bench.sent(trust);
    bench.ack(trust, &["ROOTCA"], &response);
    bench.update(&state(&[&authority.fresh("web")], &bundle(&[&authority, &other])));
    let rejected = bench.sent(certificate);
    bench.nack_delta(certificate, &rejected);
    assert_eq!(bench.alarms(), [Alarm::Rejected]);
    let again = bench.sent(certificate);
    assert_eq!(serial_of(&again), first.leaf().serial().to_string());
    assert_eq!(version_of(&again, "default"), version_of(&accepted, "default"));
    assert_ne!(again.nonce, accepted.nonce);
    let response = bench.sent(trust);
    bench.ack(trust, &["ROOTCA"], &response);
    bench.ack_delta(certificate, &again);
    bench.pass(Duration::from_secs(300));
    bench.silent(&[certificate, trust]);
}

#[test]
fn a_peer_that_came_back_holding_the_newest_gets_the_pair_before_when_it_rejects_the_next() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let first = authority.fresh("web");
    let version = {
        let mut bench = Bench::new(state(&[&first], &trust));
        let stream = bench.open_delta(&["default"], &[]);
        version_of(&bench.sent(stream), "default")
    };
    let mut bench = Bench::new(state(&[&first], &trust));
    let held = bench.open_delta(&["default"], &[("default", &version)]);
    let other = bench.open_delta(&["ROOTCA"], &[]);
    let response = bench.sent(other);
    bench.ack_delta(other, &response);
    bench.silent(&[held]);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let rejected = bench.sent(held);
    bench.nack_delta(held, &rejected);
    assert_eq!(serial_of(&bench.sent(held)), first.leaf().serial().to_string());
    assert_eq!(names(&bench.sent(other)), ["ROOTCA"], "the other stream too: it may have been spoilt");
}

#[test]
fn a_rejected_removal_is_told_once_and_does_not_come_along_again() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let (web, api) = (authority.fresh("web"), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    let stream = bench.open_delta(&[API, "default"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.update(&state(&[&web], &trust));
    let gone = bench.sent(stream);
    bench.machine.take_events();
    bench.nack_delta(stream, &gone);
    assert!(matches!(bench.machine.take_events().as_slice(), [Event::Nacked { .. }]));
    bench.nack_delta(stream, &gone);
    assert!(bench.machine.take_events().is_empty());
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let next = bench.sent(stream);
    assert_eq!((names(&next), removed(&next)), (vec!["default"], vec![]));
}

#[test]
fn an_answer_counts_once_and_no_later_one_takes_it_back() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open_delta(&["default"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let rejected = bench.sent(stream);
    bench.nack_delta(stream, &rejected);
    bench.machine.take_events();
    // A request for something else bears the nonce of the last response as well, and no error.
    bench.ack_delta(stream, &rejected);
    assert!(bench.machine.take_events().is_empty());
    let again = bench.sent(stream);
    assert_eq!(version_of(&again, "default"), version_of(&first, "default"));
}

#[test]
fn a_stream_that_wants_nothing_any_more_has_had_its_first_request() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open_delta(&["default"], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.ask_delta(stream, DeltaRequest { unsubscribe: owned(&["default"]), ..DeltaRequest::default() });
    let initial_versions = vec![("default".to_owned(), version_of(&first, "default"))];
    let late = DeltaRequest { subscribe: owned(&["default"]), initial_versions, ..DeltaRequest::default() };
    bench.ask_delta(stream, late);
    assert_eq!(names(&bench.sent(stream)), ["default"]);
}

#[test]
fn a_stream_holds_what_it_was_told_or_brought_as_long_as_it_wants_it() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let holds = |bench: &Bench, stream: StreamId| bench.machine.streams[&stream].holds_something();
    let brought = bench.open_delta(&["default"], &[("default", "v1")]);
    assert!(holds(&bench, brought));
    let stream = bench.open_delta(&["default"], &[]);
    assert!(!holds(&bench, stream));
    bench.sent(stream);
    assert!(holds(&bench, stream));
    bench.ask_delta(stream, DeltaRequest { unsubscribe: owned(&["default"]), ..DeltaRequest::default() });
    assert!(!holds(&bench, stream));
}

#[test]
fn a_stream_that_came_back_holding_the_last_good_pair_gets_it_again_when_another_stream_rejects_the_next() {
    let (authority, other) = (Authority::new(), Authority::new());
    let web = authority.fresh("web");
    let version = {
        let mut bench = Bench::new(state(&[&web], &bundle(&[&authority])));
        let stream = bench.open_delta(&["default"], &[]);
        version_of(&bench.sent(stream), "default")
    };
    let mut bench = Bench::new(state(&[&web], &bundle(&[&authority])));
    let held = bench.open_delta(&["default"], &[("default", &version)]);
    let trust = bench.open_delta(&["ROOTCA"], &[]);
    let response = bench.sent(trust);
    bench.ack_delta(trust, &response);
    bench.update(&state(&[&web], &bundle(&[&authority, &other])));
    bench.silent(&[held]);
    let rejected = bench.sent(trust);
    bench.nack_delta(trust, &rejected);
    assert_eq!(serial_of(&bench.sent(held)), web.leaf().serial().to_string());
}

#[test]
fn a_name_that_was_left_out_while_the_pair_before_was_sent_is_said_again_with_the_newest() {
    let authority = Authority::new();
    let (web, api, trust) = (authority.fresh("web"), authority.fresh("api"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web], &trust));
    let (delta, other) = (bench.open_delta(&["ROOTCA", API], &[]), bench.open(&["default", API]));
    let response = bench.sent(delta);
    bench.ack_delta(delta, &response);
    let response = bench.sent(other);
    bench.ack(other, &["default", API], &response);
    bench.update(&state(&[&web, &api], &trust));
    assert_eq!(names(&bench.sent(delta)), [API]);
    // Before it is accepted another stream rejects the offer: the pair before, which has no such name, is sent.
    let rejected = bench.sent(other);
    bench.nack(other, &["default", API], &rejected);
    bench.ask_delta(delta, DeltaRequest { subscribe: owned(&["ROOTCA"]), ..DeltaRequest::default() });
    let before = bench.sent(delta);
    assert_eq!(names(&before), ["ROOTCA"]);
    bench.ack_delta(delta, &before);
    let mended = bench.sent(other);
    bench.ack(other, &["default", API], &mended);
    let renewed = authority.fresh("web");
    bench.update(&state(&[&renewed, &api], &trust));
    assert_eq!(names(&bench.sent(delta)), [API], "nothing that is under way says it");
}
