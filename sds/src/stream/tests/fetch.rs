//! `FetchSecrets`.

use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, owned, serial_of, state};
use crate::SecretState;

fn fetch(bench: &mut Bench, names: &[&str]) -> Result<Response, FetchError> {
    let request = Request { names: owned(names), ..Request::default() };
    bench.machine.fetch(request, bench.now)
}

#[test]
fn a_fetch_gives_what_a_stream_would_and_leaves_no_trace() {
    let authority = Authority::new();
    let svid = authority.fresh("web");
    let mut bench = Bench::new(state(&[&svid], &bundle(&[&authority])));
    let stream = bench.open(&["default"]);
    let streamed = bench.sent(stream);
    let fetched = fetch(&mut bench, &["default"]).unwrap();
    assert_eq!((fetched.version, fetched.nonce.as_str()), (streamed.version, ""));
    assert_eq!(serial_of(&fetch(&mut bench, &["default"]).unwrap()), svid.leaf().serial().to_string());
    assert_eq!(fetch(&mut bench, &["default", "ROOTCA", "ALL"]).unwrap().resources.len(), 3);
    assert!(bench.machine.take_events().iter().any(|event| matches!(event, Event::Fetched { certificates: 1, .. })));
}

#[test]
fn each_absence_has_its_own_answer() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let web = authority.fresh("web");
    let mut bench = Bench::new(Arc::new(SecretState { bundle: Some(Arc::clone(&trust)), ..SecretState::default() }));
    let not_yet = |name: &str| Err(FetchError::NotYet { name: name.to_owned() });
    assert_eq!(fetch(&mut bench, &["default"]).map(drop), not_yet("default"), "before the entries are known");
    bench.update(&state(&[], &trust));
    assert_eq!(fetch(&mut bench, &["default"]).map(drop), Err(FetchError::NoIdentity));
    assert_eq!(fetch(&mut bench, &["ROOTCA"]).map(drop), Err(FetchError::NoIdentity));
    let pending = vec![web.id().clone()];
    let awaited = SecretState { known: true, pending, bundle: Some(Arc::clone(&trust)), ..SecretState::default() };
    bench.update(&Arc::new(awaited));
    assert_eq!(fetch(&mut bench, &["default"]).map(drop), not_yet("default"), "entitled, and not issued yet");
    assert_eq!(fetch(&mut bench, &["ROOTCA"]).map(drop), not_yet("ROOTCA"));
    let (web_id, api_id) = ("spiffe://example.org/web", "spiffe://example.org/api");
    assert_eq!(fetch(&mut bench, &[web_id]).map(drop), not_yet(web_id));
    assert_eq!(fetch(&mut bench, &[api_id]).map(drop), Err(FetchError::NotFound { name: api_id.to_owned() }), "another's");
    bench.update(&state(&[&web], &trust));
    assert!(fetch(&mut bench, &["default"]).is_ok());
    for name in ["spiffe://example.org/api", "nobody"] {
        let refused = fetch(&mut bench, &["default", name]).map(drop);
        assert_eq!(refused, Err(FetchError::NotFound { name: name.to_owned() }), "one name without an answer, and none is given");
    }
    assert_eq!(fetch(&mut bench, &[]).map(drop), Err(FetchError::NoNames));
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let refused = fetch(&mut bench, &[&long]).map(drop);
    assert_eq!(refused, Err(FetchError::Request(RequestError::NameLength { found: MAX_NAME_BYTES + 1 })));
}

#[test]
fn what_does_not_verify_any_more_is_not_fetched() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.svid("web", 0, Duration::from_secs(600))], &trust));
    assert!(fetch(&mut bench, &["default"]).is_ok());
    bench.pass(Duration::from_secs(601));
    for name in ["default", "ROOTCA"] {
        assert_eq!(fetch(&mut bench, &[name]).map(drop), Err(FetchError::NotYet { name: name.to_owned() }));
    }
}

#[test]
fn what_ended_is_left_out_at_once_and_the_rest_is_fetched() {
    let authority = Authority::new();
    let (brief, lasting) = (authority.svid("web", 0, Duration::from_secs(60)), authority.fresh("api"));
    let mut bench = Bench::new(state(&[&lasting, &brief], &bundle(&[&authority])));
    bench.pass(Duration::from_secs(61));
    assert_eq!(serial_of(&fetch(&mut bench, &["default"]).unwrap()), lasting.leaf().serial().to_string());
    let web = "spiffe://example.org/web";
    assert_eq!(fetch(&mut bench, &[web]).map(drop), Err(FetchError::NotYet { name: web.to_owned() }));
}
