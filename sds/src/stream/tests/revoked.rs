//! Identities that an operator revoked: their streams stay open and are sent nothing.

use std::sync::Arc;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, id, owned, serial_of, state};
use crate::{SecretState, StreamProgress};

const API: &str = "spiffe://example.org/api";
const WEB: &str = "spiffe://example.org/web";

fn revoked(state: &Arc<SecretState>, names: &[&str], default_revoked: bool) -> Arc<SecretState> {
    let revoked = names.iter().map(|name| id(name)).collect();
    Arc::new(SecretState { revoked, default_revoked, ..SecretState::clone(state) })
}

fn reasons(bench: &mut Bench) -> Vec<(String, UnansweredReason)> {
    let reason = |event| if let Event::Unanswered { name, reason, .. } = event { Some((name, reason)) } else { None };
    bench.machine.take_events().into_iter().filter_map(reason).collect()
}

#[test]
fn a_stream_is_sent_nothing_more_and_told_of_no_removal_until_its_identity_is_restored() {
    let authority = Authority::new();
    let (web, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let held = state(&[&web], &trust);
    let mut bench = Bench::new(Arc::clone(&held));
    let (own, roots) = (bench.open(&["default"]), bench.open(&["ROOTCA"]));
    let delta = bench.open_delta(&[WEB, "ROOTCA"], &[]);
    for (stream, names) in [(own, &["default"][..]), (roots, &["ROOTCA"])] {
        let sent = bench.sent(stream);
        bench.ack(stream, names, &sent);
    }
    let sent = bench.sent(delta);
    bench.ack_delta(delta, &sent);
    drop(sent);

    let none = revoked(&state(&[], &trust), &["web"], true);
    bench.update(&none);
    bench.silent(&[own, roots, delta]);
    assert_eq!(bench.machine.progress(), StreamProgress { streams: 3, behind: 0 }, "nobody waits for them");
    assert!(reasons(&mut bench).iter().all(|(_, reason)| *reason == UnansweredReason::Revoked));
    let late = bench.open(&[WEB, "default", "ROOTCA"]);
    bench.silent(&[late]);
    assert_eq!(reasons(&mut bench).len(), 3);
    for name in ["default", WEB, "ROOTCA"] {
        let request = Request { names: owned(&[name]), ..Request::default() };
        let refused = bench.machine.fetch(request, bench.now).map(drop);
        assert_eq!(refused, Err(FetchError::Revoked { name: name.to_owned() }));
    }
    assert_eq!(Arc::strong_count(&web), 2, "nothing of it is kept here: one is the test's, one its state's");

    // Restored, with a new key.
    let again = authority.fresh("web");
    bench.update(&state(&[&again], &trust));
    assert_eq!(serial_of(&bench.sent(own)), again.leaf().serial().to_string());
    assert!(bench.take(delta).is_some() && bench.take(late).is_some());
}

#[test]
fn no_other_identity_takes_the_place_of_a_revoked_default() {
    let authority = Authority::new();
    let (web, api, trust) = (authority.fresh("web"), authority.fresh("api"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&web, &api], &trust));
    let streams = [&["default"][..], &[API], &["ROOTCA"]].map(|names| (bench.open(names), names));
    for (stream, names) in streams {
        let sent = bench.sent(stream);
        bench.ack(stream, names, &sent);
    }
    bench.update(&revoked(&state(&[&api], &trust), &["web"], true));
    bench.silent(&streams.map(|(stream, _)| stream));
    assert_eq!(reasons(&mut bench), [("default".to_owned(), UnansweredReason::Revoked)]);
    let renewed = authority.fresh("api");
    bench.update(&revoked(&state(&[&renewed], &trust), &["web"], true));
    let [(default, _), (other, _), _] = streams;
    bench.silent(&[default]);
    assert_eq!(serial_of(&bench.sent(other)), renewed.leaf().serial().to_string(), "the other identity goes on");
    let last = revoked(&state(&[&renewed], &trust), &["web"], false);
    bench.update(&last);
    assert_eq!(
        serial_of(&bench.sent(default)),
        renewed.leaf().serial().to_string(),
        "where it is not the first, it is not the default"
    );
}

#[test]
fn why_a_name_is_silent_is_said_of_that_name_alone() {
    use UnansweredReason::{HeldBack, NoIdentity, NotTheCallers, NotYet, Revoked};
    const OTHER: &str = "spiffe://example.org/other";
    let authority = Authority::new();
    let (api, trust) = (authority.fresh("api"), bundle(&[&authority]));
    let names = ["default", "ROOTCA", WEB, API, OTHER];
    let nothing = SecretState::clone(&state(&[], &trust));
    let awaited = SecretState { pending: vec![id("web")].into_iter().collect(), ..nothing.clone() };
    for (what, state, expected) in [
        (
            "the default revoked",
            revoked(&state(&[&api], &trust), &["web"], true),
            [Revoked, HeldBack, Revoked, HeldBack, NotTheCallers],
        ),
        ("all revoked", revoked(&state(&[], &trust), &["web"], true), [Revoked, Revoked, Revoked, NotTheCallers, NotTheCallers]),
        ("one is to come", Arc::new(awaited), [NotYet, NotYet, NotYet, NotTheCallers, NotTheCallers]),
        ("held", state(&[&api], &trust), [HeldBack, HeldBack, NotTheCallers, HeldBack, NotTheCallers]),
        ("nothing", Arc::new(nothing.clone()), [NoIdentity; 5]),
        ("nothing yet", Arc::new(SecretState { known: false, ..nothing.clone() }), [NotYet; 5]),
    ] {
        let said = names.map(|name| offer::why_unanswered(name, &state, None));
        assert_eq!(said, expected, "{what}");
    }
}
