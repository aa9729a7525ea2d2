//! Who has taken the newest, as a rotation counts it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, state};
use crate::file_secret::FILE_ROOT_PREFIX;
use crate::{FileSecret, FileSecrets, SecretState, StreamProgress};

/// Open streams, and those that are behind.
fn counts(bench: &Bench) -> (usize, usize) {
    let StreamProgress { streams, behind } = bench.machine.progress();
    (streams, behind)
}

#[test]
fn a_stream_is_behind_until_it_accepted_the_newest_of_its_own_names() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (one, both) = (bundle(&[&authority]), bundle(&[&authority, &other]));
    let web = authority.fresh("web");
    let mut bench = Bench::new(state(&[&web], &one));
    assert_eq!(counts(&bench), (0, 0));
    let silent = bench.open(&[]);
    assert_eq!(counts(&bench), (1, 0), "it asked for nothing");
    let (key, trust) = (bench.open(&["default"]), bench.open(&["ROOTCA"]));
    assert_eq!(counts(&bench), (3, 2));
    let sent = bench.sent(key);
    assert_eq!(counts(&bench), (3, 2), "what was sent is not what was accepted");
    bench.ack(key, &["default"], &sent);
    assert_eq!(counts(&bench), (3, 1));
    let sent = bench.sent(trust);
    bench.ack(trust, &["ROOTCA"], &sent);
    assert_eq!(counts(&bench), (3, 0));

    // A new bundle is none of the key's.
    bench.update(&state(&[&web], &both));
    assert_eq!(counts(&bench), (3, 1));
    let rejected = bench.sent(trust);
    bench.nack(trust, &["ROOTCA"], &rejected);
    assert_eq!(counts(&bench), (3, 1));
    // The last good one in its place does not make it the newest.
    for (stream, names) in [(key, ["default"]), (trust, ["ROOTCA"])] {
        let sent = bench.sent(stream);
        bench.ack(stream, &names, &sent);
    }
    assert_eq!(counts(&bench), (3, 1));
    bench.update(&state(&[&authority.fresh("web")], &both));
    assert_eq!(counts(&bench), (3, 2));
    bench.machine.close(trust, bench.now);
    bench.machine.close(silent, bench.now);
    let sent = bench.sent(key);
    bench.ack(key, &["default"], &sent);
    assert_eq!(counts(&bench), (1, 0), "those that ended are not waited for");
}

#[test]
fn an_incremental_stream_is_behind_until_each_of_its_names_is_accepted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (one, both) = (bundle(&[&authority]), bundle(&[&authority, &other]));
    let web = authority.fresh("web");
    let mut bench = Bench::new(state(&[&web], &one));
    let stream = bench.open_delta(&["default", "ROOTCA", "nobody"], &[]);
    assert_eq!(counts(&bench), (1, 1));
    let first = bench.sent(stream);
    assert_eq!(counts(&bench), (1, 1));
    bench.ack_delta(stream, &first);
    assert_eq!(counts(&bench), (1, 0));
    bench.update(&state(&[&web], &both));
    assert_eq!(counts(&bench), (1, 1));
    let second = bench.sent(stream);
    bench.ack_delta(stream, &second);
    assert_eq!(counts(&bench), (1, 0));

    // What the peer holds from before counts when it is the newest, and else not.
    let versions: BTreeMap<_, _> =
        first.resources.iter().chain(&second.resources).map(|resource| (&*resource.name, resource.version.as_str())).collect();
    let held: Vec<_> = versions.iter().map(|(name, version)| (*name, *version)).collect();
    let mut again = Bench::new(state(&[&web], &both));
    again.open_delta(&["default", "ROOTCA"], &held);
    assert_eq!(counts(&again), (1, 0));
    let mut later = Bench::new(state(&[&authority.fresh("web")], &both));
    later.open_delta(&["default", "ROOTCA"], &held);
    assert_eq!(counts(&later), (1, 1));
}

#[test]
fn what_does_not_verify_is_taken_by_nobody_and_what_is_not_there_is_waited_for_by_nobody() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let stream = bench.open(&["default"]);
    let sent = bench.sent(stream);
    bench.ack(stream, &["default"], &sent);
    bench.update(&state(&[&stranger.fresh("web")], &trust));
    bench.silent(&[stream]);
    assert_eq!(counts(&bench), (1, 1), "the last good one stays with the peer");
    bench.update(&state(&[&authority.svid("web", 0, Duration::from_secs(60))], &trust));
    let sent = bench.sent(stream);
    bench.ack(stream, &["default"], &sent);
    assert_eq!(counts(&bench), (1, 0));
    let pending = SecretState { known: true, pending: vec![super::fixture::id("web")], ..SecretState::default() };
    bench.update(&Arc::new(SecretState { bundle: Some(Arc::clone(&trust)), ..pending }));
    assert_eq!(counts(&bench), (1, 0));
}

#[test]
fn files_are_not_of_the_nodes_bundle() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let file = format!("{FILE_ROOT_PREFIX}/etc/roots.pem");
    let answers = [(Arc::from(file.as_str()), Some(Arc::new(FileSecret::roots(b"root".to_vec()))))];
    bench.machine.update_files(Arc::new(FileSecrets { answers: answers.into() }), bench.now);
    let stream = bench.open(&[&file]);
    assert_eq!(counts(&bench), (1, 0));
    bench.sent(stream);
    assert_eq!(counts(&bench), (1, 0), "nor when the peer has not accepted them");
    bench.open(&[&file, "default"]);
    assert_eq!(counts(&bench), (2, 1));
}

#[test]
fn before_a_machine_has_seen_a_state_whoever_asks_for_identities_is_behind() {
    let authority = Authority::new();
    let first = state(&[&authority.fresh("web")], &bundle(&[&authority]));
    let mut bench = Bench::new(Arc::clone(&first));
    let stream = bench.open(&["default"]);
    bench.open(&[]);
    let sent = bench.sent(stream);
    bench.ack(stream, &["default"], &sent);
    assert!(bench.machine.has(&first) && !bench.machine.has(&state(&[], &bundle(&[&authority]))));
    assert_eq!(bench.machine.progress_before_update(), StreamProgress { streams: 2, behind: 1 });
    assert_eq!(counts(&bench), (2, 0));
}
