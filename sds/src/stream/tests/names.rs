//! What names mean, and for whom.

use super::super::message::printable;
use super::super::*;
use super::fixture::{Authority, Bench, bundle, bundle_of, owned, serial_of, state, svid_of};

const WEB: &str = "spiffe://example.org/web";
const API: &str = "spiffe://example.org/api";

#[test]
fn each_name_stands_for_its_secret() {
    let authority = Authority::new();
    let (web, api, trust) = (authority.fresh("web"), authority.fresh("api"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    for (name, svid) in [("default", &web), (WEB, &web), (API, &api)] {
        let stream = bench.open(&[name]);
        let response = bench.sent(stream);
        assert_eq!(serial_of(&response), svid.leaf().serial().to_string(), "{name}");
        assert_eq!(&*response.resources[0].name, name, "a secret bears the name by which it was asked for");
        assert_eq!(svid_of(&response.resources[0]).unwrap().chain().len(), 2, "leaf and intermediate");
    }
    for name in ["ROOTCA", "ALL", "spiffe://example.org"] {
        let stream = bench.open(&[name]);
        let response = bench.sent(stream);
        assert_eq!(bundle_of(&response), &*trust, "{name}");
    }
}

#[test]
fn a_stream_with_several_names_gets_one_response_with_what_there_is() {
    let authority = Authority::new();
    let (web, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web], &trust));
    let names = ["default", "file-root:/etc/x", "ROOTCA", "default"];
    let stream = bench.open(&names);
    let response = bench.sent(stream);
    let answered: Vec<_> = response.resources.iter().map(|resource| resource.name.to_string()).collect();
    assert_eq!(answered, ["ROOTCA", "default"]);
    bench.ack(stream, &names, &response);
    bench.silent(&[stream]);
}

#[test]
fn anothers_name_is_left_unanswered_and_said_once_until_it_is_the_callers() {
    let authority = Authority::new();
    let (web, api, trust) = (authority.fresh("web"), authority.fresh("api"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web], &trust));
    let stream = bench.open(&[API]);
    bench.silent(&[stream]);
    bench.ask(stream, &[API]);
    bench.silent(&[stream]);
    let unanswered = |events: Vec<Event>| -> Vec<_> {
        let name = |event| if let Event::Unanswered { name, reason, .. } = event { Some((name, reason)) } else { None };
        events.into_iter().filter_map(name).collect()
    };
    let events = bench.machine.take_events();
    assert_eq!(unanswered(events), [(API.to_owned(), UnansweredReason::NotTheCallers)]);
    bench.update(&state(&[&web, &api], &trust));
    assert!(bench.machine.take_woken());
    assert_eq!(serial_of(&bench.sent(stream)), api.leaf().serial().to_string());
    // A malformed name, another trust domain, a prefix of an own name: the same silence.
    for name in ["nobody", "spiffe://other.org", "spiffe://example.org/we", "Default", "spiffe://example.org/"] {
        let stream = bench.open(&[name]);
        bench.silent(&[stream]);
    }
}

#[test]
fn a_caller_without_identity_gets_nothing_not_even_the_bundle_until_it_has_one() {
    let authority = Authority::new();
    let (web, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[], &trust));
    let streams = [bench.open(&["default"]), bench.open(&["ROOTCA"])];
    bench.silent(&streams);
    bench.update(&state(&[&web], &trust));
    for stream in streams {
        bench.sent(stream);
    }
}

#[test]
fn the_form_of_a_validation_context_is_the_peers_choice_and_part_of_the_version() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let mut versions = Vec::new();
    for (asked, expected) in [
        (None, ValidationContextKind::SpiffeValidator),
        (Some(ValidationContextKind::TrustedCa), ValidationContextKind::TrustedCa),
    ] {
        let stream = bench.machine.open().unwrap();
        let request = Request { names: owned(&["ROOTCA"]), validation: asked, ..Request::default() };
        bench.machine.request(stream, request, bench.now).unwrap();
        let response = bench.sent(stream);
        let Secret::ValidationContext { kind, .. } = &response.resources[0].secret else { panic!("{response:?}") };
        assert_eq!(*kind, expected);
        // Later requests come without node metadata, and the choice stays.
        bench.ack(stream, &["ROOTCA"], &response);
        bench.silent(&[stream]);
        versions.push(response.version);
    }
    assert_ne!(versions[0], versions[1]);
}

#[test]
fn bounds_and_foreign_types_end_the_stream_and_their_twins_pass() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let mut ask = |type_url: &str, names: Vec<String>| {
        let stream = bench.machine.open().unwrap();
        let request = Request { type_url: type_url.to_owned(), names, ..Request::default() };
        let outcome = bench.machine.request(stream, request, bench.now);
        bench.machine.close(stream, bench.now);
        outcome
    };
    let numbered = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(ask(SECRET_TYPE_URL, numbered(MAX_NAMES)), Ok(()));
    assert_eq!(ask("", vec!["n".repeat(MAX_NAME_BYTES)]), Ok(()));
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    assert_eq!(ask(cluster, numbered(1)), Err(RequestError::TypeUrl { found: cluster.to_owned() }));
    assert_eq!(ask(SECRET_TYPE_URL, numbered(MAX_NAMES + 1)), Err(RequestError::Names { found: MAX_NAMES + 1 }));
    let long = vec!["n".repeat(MAX_NAME_BYTES + 1)];
    assert_eq!(ask(SECRET_TYPE_URL, long), Err(RequestError::NameLength { found: MAX_NAME_BYTES + 1 }));
    assert_eq!(ask(SECRET_TYPE_URL, vec![String::new()]), Err(RequestError::NameLength { found: 0 }));
}

#[test]
fn the_names_of_all_streams_together_are_bounded_and_a_closed_stream_makes_room() {
    let mut bench = Bench::new(state(&[], &bundle(&[&Authority::new()])));
    let long = |stream: usize| -> Vec<String> { (0..MAX_NAMES).map(|name| format!("{stream:03}-{name:0>1020}")).collect() };
    let request = |names| Request { names, ..Request::default() };
    let streams: Vec<_> = (0..5).map(|_| bench.machine.open().unwrap()).collect();
    for (number, stream) in streams.iter().enumerate().take(4) {
        bench.machine.request(*stream, request(long(number)), bench.now).unwrap();
    }
    let refused = bench.machine.request(streams[4], request(long(4)), bench.now).unwrap_err();
    assert!(matches!(refused, RequestError::TotalNames { .. }), "{refused}");
    bench.machine.request(streams[3], request(long(9)), bench.now).unwrap();
    bench.machine.close(streams[0], bench.now);
    bench.machine.request(streams[4], request(long(4)), bench.now).unwrap();
}

#[test]
fn a_connection_has_a_bounded_number_of_streams_and_a_closed_one_makes_room() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let streams: Vec<_> = (0..MAX_STREAMS).map(|_| bench.machine.open().unwrap()).collect();
    assert_eq!(bench.machine.open(), Err(TooManyStreams));
    bench.machine.close(streams[0], bench.now);
    assert!(bench.machine.open().is_ok());
}

#[test]
fn a_peers_text_cannot_forge_a_log_line() {
    let text = printable(&format!("bad\n2026 ERROR forged \u{1b}[31m{}", "x".repeat(1000)));
    assert!(!text.contains(['\n', '\u{1b}']) && text.chars().count() <= 256, "{text}");
}

#[test]
fn a_name_whose_answer_went_is_said_again_and_the_others_are_not() {
    let authority = Authority::new();
    let (web, api, trust) = (authority.fresh("web"), authority.fresh("api"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web], &trust));
    let said = |bench: &mut Bench| -> Vec<String> {
        let name = |event| if let Event::Unanswered { name, .. } = event { Some(name) } else { None };
        bench.machine.take_events().into_iter().filter_map(name).collect()
    };
    let names = ["default", API, "nobody"];
    let stream = bench.open(&names);
    assert_eq!(said(&mut bench), ["nobody", API]);
    let response = bench.sent(stream);
    bench.ack(stream, &names, &response);
    bench.update(&state(&[&web, &api], &trust));
    let response = bench.sent(stream);
    bench.ack(stream, &names, &response);
    assert_eq!(said(&mut bench), [""; 0]);
    bench.update(&state(&[&web], &trust));
    assert_eq!(said(&mut bench), [API]);
}

#[test]
fn the_form_that_was_chosen_stays_when_a_stream_wants_nothing_for_a_while() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.machine.open().unwrap();
    let validation = Some(ValidationContextKind::TrustedCa);
    let request = Request { names: owned(&["ROOTCA"]), validation, ..Request::default() };
    bench.machine.request(stream, request, bench.now).unwrap();
    bench.ask(stream, &[]);
    bench.ask(stream, &["ROOTCA"]);
    let response = bench.sent(stream);
    let Secret::ValidationContext { kind, .. } = &response.resources[0].secret else { panic!("{response:?}") };
    assert_eq!(*kind, ValidationContextKind::TrustedCa);
}
