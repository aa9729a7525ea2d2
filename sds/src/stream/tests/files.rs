//! Secrets from files, as the host found them.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, bundle_of, owned, serial_of, state};
use crate::{FileSecret, FileSecrets, MAX_FILE_NAMES};

const PAIR: &str = "file-cert:/d/tls.crt~/d/tls.key";
const ROOT: &str = "file-root:/d/ca.crt";

fn pair(text: &str) -> Option<Arc<FileSecret>> {
    Some(Arc::new(FileSecret::certificate(text.into(), Zeroizing::new(b"key".to_vec()))))
}

fn found(answers: &[(&str, Option<Arc<FileSecret>>)]) -> Arc<FileSecrets> {
    let answers = answers.iter().map(|(name, secret)| (Arc::from(*name), secret.clone())).collect();
    Arc::new(FileSecrets { answers })
}

impl Bench {
    fn files(&mut self, answers: &[(&str, Option<Arc<FileSecret>>)]) {
        self.machine.update_files(found(answers), self.now);
    }
}

fn names(response: &Response) -> Vec<&str> {
    response.resources.iter().map(|resource| &*resource.name).collect()
}

#[test]
fn files_are_served_beside_identities_to_those_who_asked_and_to_callers_without_any() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let roots = Some(Arc::new(FileSecret::roots(b"root".to_vec())));
    for held in [state(&[&authority.fresh("web")], &trust), state(&[], &trust)] {
        let mut bench = Bench::new(held);
        bench.files(&[]);
        let (certificate, root, own) = (bench.open(&[PAIR]), bench.open_delta(&[ROOT], &[]), bench.open(&["default"]));
        bench.silent(&[certificate, root]);
        assert_eq!(bench.machine.file_names().iter().map(|name| &**name).collect::<Vec<_>>(), [PAIR, ROOT]);
        bench.files(&[(PAIR, pair("one")), (ROOT, roots.clone())]);
        assert!(bench.machine.take_woken());
        let (first, trusted) = (bench.sent(certificate), bench.sent(root));
        assert_eq!((names(&first), names(&trusted)), (vec![PAIR], vec![ROOT]));
        bench.ack(certificate, &[PAIR], &first);
        bench.ack_delta(root, &trusted);
        let _ = bench.take(own);
        // The same content in other values: nothing to say. Another content: to that stream alone.
        bench.files(&[(PAIR, pair("one")), (ROOT, roots.clone())]);
        bench.silent(&[certificate, root, own]);
        bench.files(&[(PAIR, pair("two")), (ROOT, roots.clone())]);
        assert_ne!(bench.sent(certificate).version, first.version);
        bench.silent(&[root, own]);
    }
}

#[test]
fn a_refused_file_is_not_served_nor_kept_as_last_good_and_is_told_removed() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    bench.files(&[(PAIR, pair("one"))]);
    let stream = bench.open_delta(&[PAIR], &[]);
    let first = bench.sent(stream);
    bench.ack_delta(stream, &first);
    bench.files(&[(PAIR, None)]);
    assert_eq!(bench.sent(stream).removed, [Arc::from(PAIR)]);
    let late = bench.open(&[PAIR]);
    bench.silent(&[late]);
    let refused =
        |event: &Event| matches!(event, Event::Unanswered { reason: UnansweredReason::FileRefused, name, .. } if name == PAIR);
    assert!(bench.machine.take_events().iter().any(refused));
    let request = Request { names: owned(&[PAIR]), ..Request::default() };
    assert!(matches!(bench.machine.fetch(request, bench.now), Err(FetchError::NotFound { .. })));
}

#[test]
fn without_files_their_names_are_names_of_nothing() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open(&[PAIR]);
    bench.silent(&[stream]);
    let events = bench.machine.take_events();
    assert!(matches!(events.as_slice(), [Event::Unanswered { reason: UnansweredReason::NotTheCallers, .. }]), "{events:?}");
}

#[test]
fn a_rejected_file_brings_the_last_good_one_back() {
    let mut bench = Bench::new(state(&[], &bundle(&[&Authority::new()])));
    bench.files(&[(PAIR, pair("one"))]);
    let stream = bench.open(&[PAIR]);
    let first = bench.sent(stream);
    bench.ack(stream, &[PAIR], &first);
    bench.files(&[(PAIR, pair("two"))]);
    let second = bench.sent(stream);
    bench.nack(stream, &[PAIR], &second);
    assert_eq!(bench.alarms(), [Alarm::Rejected]);
    assert_eq!(bench.sent(stream).version, first.version);
}

#[test]
fn the_names_of_files_on_all_streams_are_bounded() {
    let mut bench = Bench::new(state(&[], &bundle(&[&Authority::new()])));
    let numbered =
        |from: usize, count: usize| -> Vec<String> { (from..from + count).map(|n| format!("file-root:/{n}")).collect() };
    let mut ask = |names| {
        let stream = bench.machine.open().unwrap();
        bench.machine.request(stream, Request { names, ..Request::default() }, bench.now)
    };
    assert_eq!(ask(numbered(0, MAX_FILE_NAMES)), Ok(()));
    assert_eq!(ask(numbered(0, MAX_FILE_NAMES)), Ok(()), "the same names are no more to look at");
    assert_eq!(ask(numbered(MAX_FILE_NAMES, 1)), Err(RequestError::FileNames { found: MAX_FILE_NAMES + 1 }));
}

#[test]
fn files_go_out_beside_the_last_good_identity_while_no_newer_one_verifies() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let web = authority.fresh("web");
    let mut bench = Bench::new(state(&[&web], &bundle(&[&authority])));
    bench.files(&[(PAIR, pair("one"))]);
    let (file, own) = (bench.open(&[PAIR]), bench.open(&["default"]));
    let (first, response) = (bench.sent(file), bench.sent(own));
    bench.ack(file, &[PAIR], &first);
    bench.ack(own, &["default"], &response);
    // Neither the new SVID nor the old one verifies under the new bundle.
    bench.update(&state(&[&authority.fresh("web")], &bundle(&[&stranger])));
    bench.files(&[(PAIR, pair("two"))]);
    assert_ne!(bench.sent(file).version, first.version);
    let (late, trust) = (bench.open(&["default"]), bench.open(&["ROOTCA"]));
    assert_eq!(serial_of(&bench.sent(late)), web.leaf().serial().to_string());
    assert_eq!(bundle_of(&bench.sent(trust)), &*bundle(&[&authority]));
}
