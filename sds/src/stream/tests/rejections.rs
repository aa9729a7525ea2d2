//! NACKs: the three traps of a real Envoy, and the way out of each.

use std::sync::Arc;
use std::time::Duration;

use pki::X509Svid;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, bundle_of, serial_of, state};

const CERTIFICATE: [&str; 1] = ["default"];
const TRUST: [&str; 1] = ["ROOTCA"];

/// Two streams, as Envoy opens them, that have accepted a first pair.
struct Pair {
    authority: Authority,
    other: Authority,
    bench: Bench,
    first: Arc<X509Svid>,
    certificate: StreamId,
    trust: StreamId,
}

impl Pair {
    fn accepted() -> Self {
        let (authority, other) = (Authority::new(), Authority::new());
        let first = authority.fresh("web");
        let mut bench = Bench::new(state(&[&first], &bundle(&[&authority])));
        let (certificate, trust) = (bench.open(&CERTIFICATE), bench.open(&TRUST));
        for (stream, names) in [(certificate, &CERTIFICATE), (trust, &TRUST)] {
            let response = bench.sent(stream);
            bench.ack(stream, names, &response);
        }
        bench.silent(&[certificate, trust]);
        bench.machine.take_events();
        Self { authority, other, bench, first, certificate, trust }
    }

    /// A new SVID and a new bundle.
    fn rotate(&mut self) -> Arc<X509Svid> {
        let svid = self.authority.fresh("web");
        self.bench.update(&state(&[&svid], &bundle(&[&self.authority, &self.other])));
        svid
    }

    fn send_both(&mut self) -> (Response, Response) {
        (self.bench.sent(self.certificate), self.bench.sent(self.trust))
    }

    fn accept_both(&mut self, responses: &(Response, Response)) {
        self.bench.ack(self.certificate, &CERTIFICATE, &responses.0);
        self.bench.ack(self.trust, &TRUST, &responses.1);
    }

    #[track_caller]
    fn assert_first(&self, responses: &(Response, Response)) {
        assert_eq!(serial_of(&responses.0), self.first.leaf().serial().to_string());
        assert_eq!(bundle_of(&responses.1).authorities().len(), 1);
    }
}

#[test]
fn trap_1_a_nack_sends_the_last_good_pair_again_on_all_streams_once_and_heals_the_other_stream_after_it() {
    let mut pair = Pair::accepted();
    pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    assert!(pair.bench.machine.take_woken(), "all streams are told");
    // The other stream rejects too, with the certificate's error: the same fault, no second recovery.
    pair.bench.nack(pair.trust, &TRUST, &rejected.1);
    let again = pair.send_both();
    pair.assert_first(&again);
    assert_ne!(again.0.nonce, rejected.0.nonce);
    pair.bench.silent(&[pair.certificate, pair.trust]);
    // The bundle's answer comes before the certificate is mended: rejected once more, and owed after the certificate's ACK.
    pair.bench.nack(pair.trust, &TRUST, &again.1);
    pair.bench.silent(&[pair.certificate, pair.trust]);
    pair.bench.ack(pair.certificate, &CERTIFICATE, &again.0);
    let owed = pair.bench.sent(pair.trust);
    assert_eq!(bundle_of(&owed).authorities().len(), 1);
    pair.bench.ack(pair.trust, &TRUST, &owed);
    // Healed; the rejected content is not tried again, the next one is.
    pair.bench.pass(Duration::from_secs(300));
    pair.bench.silent(&[pair.certificate, pair.trust]);
    let next = pair.rotate();
    let responses = pair.send_both();
    assert_eq!(serial_of(&responses.0), next.leaf().serial().to_string());
    assert_eq!(bundle_of(&responses.1).authorities().len(), 2);
}

#[test]
fn trap_2_the_next_push_waits_until_the_last_good_pair_was_accepted() {
    let mut pair = Pair::accepted();
    pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    let next = pair.rotate();
    let again = pair.send_both();
    pair.assert_first(&again);
    pair.bench.ack(pair.certificate, &CERTIFICATE, &again.0);
    pair.bench.silent(&[pair.certificate, pair.trust]);
    pair.bench.ack(pair.trust, &TRUST, &again.1);
    let responses = pair.send_both();
    assert_eq!(serial_of(&responses.0), next.leaf().serial().to_string());
    pair.accept_both(&responses);
    pair.bench.silent(&[pair.certificate, pair.trust]);
}

#[test]
fn trap_2_a_peer_that_answers_nothing_holds_up_the_next_push_for_a_second_only() {
    let mut pair = Pair::accepted();
    pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    pair.send_both();
    let next = pair.rotate();
    pair.bench.silent(&[pair.certificate, pair.trust]);
    let wakeup = pair.bench.machine.next_wakeup().expect("it wakes by itself");
    assert!(wakeup - pair.bench.now.boot <= Duration::from_secs(1));
    pair.bench.pass(Duration::from_secs(1));
    assert_eq!(serial_of(&pair.send_both().0), next.leaf().serial().to_string());
}

#[test]
fn trap_3_a_nack_of_first_content_sends_nothing_and_the_next_content_heals_both_streams() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &trust));
    let streams = [bench.open(&CERTIFICATE), bench.open(&TRUST)];
    let first = streams.map(|stream| bench.sent(stream));
    // Envoy accepts the certificate, since nothing can be built yet, and tells its fault on the bundle's stream.
    bench.ack(streams[0], &CERTIFICATE, &first[0]);
    bench.nack(streams[1], &TRUST, &first[1]);
    assert_eq!(bench.alarms(), [Alarm::RejectedFirst]);
    for _ in 0..5 {
        bench.pass(Duration::from_secs(60));
        bench.silent(&streams);
    }
    // Only the certificate changes. The bundle is owed nevertheless: Envoy does not ask again.
    let renewed = authority.fresh("web");
    bench.update(&state(&[&renewed], &trust));
    bench.silent(&streams[1..]);
    let certificate = bench.sent(streams[0]);
    assert_eq!(serial_of(&certificate), renewed.leaf().serial().to_string());
    bench.silent(&streams[1..]);
    bench.ack(streams[0], &CERTIFICATE, &certificate);
    let owed = bench.sent(streams[1]);
    assert_eq!(owed.version, first[1].version);
    assert_ne!(owed.nonce, first[1].nonce);
    bench.ack(streams[1], &TRUST, &owed);
    bench.silent(&streams);
    assert_eq!(bench.machine.next_wakeup(), None);
}

#[test]
fn a_peer_that_rejects_everything_is_tried_again_after_1_to_60_seconds_with_an_alarm() {
    let mut pair = Pair::accepted();
    pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    assert_eq!(pair.bench.alarms(), [Alarm::Rejected]);
    let mut again = pair.bench.sent(pair.certificate);
    let trust = pair.bench.sent(pair.trust);
    pair.bench.ack(pair.trust, &TRUST, &trust);
    let mut waits = Vec::new();
    for _ in 0..9 {
        pair.bench.nack(pair.certificate, &CERTIFICATE, &again);
        // The same NACK twice is one.
        pair.bench.nack(pair.certificate, &CERTIFICATE, &again);
        assert!(matches!(pair.bench.alarms().as_slice(), [Alarm::RejectedAgain { .. }]));
        pair.bench.silent(&[pair.certificate, pair.trust]);
        let mut wait = 0;
        again = loop {
            assert!(pair.bench.machine.next_wakeup().is_some() && wait < 60, "a retry is planned");
            pair.bench.pass(Duration::from_secs(1));
            wait += 1;
            if let Some(response) = pair.bench.take(pair.certificate) {
                break response;
            }
        };
        waits.push(wait);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn a_nack_while_only_one_half_changed_sends_both_halves_again() {
    let mut pair = Pair::accepted();
    let svid = pair.authority.fresh("web");
    pair.bench.update(&state(&[&svid], &bundle(&[&pair.authority])));
    pair.bench.silent(&[pair.trust]);
    let rejected = pair.bench.sent(pair.certificate);
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected);
    let again = pair.send_both();
    pair.assert_first(&again);
    pair.accept_both(&again);
    // A new stream of the connection gets the last good one as well.
    let late = pair.bench.open(&CERTIFICATE);
    assert_eq!(serial_of(&pair.bench.sent(late)), pair.first.leaf().serial().to_string());
}

#[test]
fn a_rejected_content_is_tried_again_when_the_last_good_one_ends() {
    let mut pair = Pair::accepted();
    let renewed = pair.authority.svid("web", 1800, Duration::from_secs(3600));
    pair.bench.pass(Duration::from_secs(1800));
    pair.bench.update(&state(&[&renewed], &bundle(&[&pair.authority])));
    let rejected = pair.bench.sent(pair.certificate);
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected);
    let again = pair.send_both();
    pair.accept_both(&again);
    pair.bench.pass(Duration::from_secs(1700));
    pair.bench.silent(&[pair.certificate, pair.trust]);
    let wakeup = pair.bench.machine.next_wakeup().expect("it wakes by itself");
    assert!(wakeup - pair.bench.now.boot <= Duration::from_secs(100), "in time for the end of the last good one");
    pair.bench.pass(Duration::from_secs(100));
    assert_eq!(serial_of(&pair.bench.sent(pair.certificate)), renewed.leaf().serial().to_string());
}

#[test]
fn an_offer_that_was_sent_and_overtaken_before_its_ack_is_good_enough_to_go_back_to() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let [first, second] = [0, 1].map(|_| authority.fresh("web"));
    let mut bench = Bench::new(state(&[&first], &trust));
    let stream = bench.open(&CERTIFICATE);
    bench.sent(stream);
    bench.update(&state(&[&second], &trust));
    let rejected = bench.sent(stream);
    bench.nack(stream, &CERTIFICATE, &rejected);
    assert_eq!(serial_of(&bench.sent(stream)), first.leaf().serial().to_string());
}

#[test]
fn while_a_last_good_pair_stands_for_the_newest_it_looks_again_every_ten_seconds() {
    let mut pair = Pair::accepted();
    pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    let in_ten = Some(pair.bench.now.boot + Duration::from_secs(10));
    assert_eq!(pair.bench.machine.next_wakeup(), in_ten);
    let again = pair.send_both();
    pair.accept_both(&again);
    assert_eq!(pair.bench.machine.next_wakeup(), in_ten);
}

#[test]
fn the_last_good_pair_is_the_newest_that_all_streams_accepted() {
    let mut pair = Pair::accepted();
    let second = pair.rotate();
    let responses = pair.send_both();
    pair.accept_both(&responses);
    pair.rotate();
    let rejected = pair.bench.sent(pair.certificate);
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected);
    assert_eq!(serial_of(&pair.bench.sent(pair.certificate)), second.leaf().serial().to_string());
}

#[test]
fn a_last_good_pair_that_has_ended_is_not_gone_back_to() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let brief = authority.svid("web", 0, Duration::from_secs(600));
    let mut bench = Bench::new(state(&[&brief], &trust));
    let stream = bench.open(&CERTIFICATE);
    let first = bench.sent(stream);
    bench.ack(stream, &CERTIFICATE, &first);
    bench.update(&state(&[&authority.fresh("web")], &trust));
    let second = bench.sent(stream);
    bench.pass(Duration::from_secs(601));
    bench.nack(stream, &CERTIFICATE, &second);
    assert_eq!(bench.alarms(), [Alarm::RejectedFirst]);
    bench.silent(&[stream]);
}

#[test]
fn when_the_wall_clock_leaps_past_the_last_good_pair_and_the_newest_nothing_is_sent() {
    let authority = Authority::new();
    let trust = bundle(&[&authority]);
    let svids = [0, 1].map(|_| authority.svid("web", 0, Duration::from_secs(600)));
    let mut bench = Bench::new(state(&[&svids[0]], &trust));
    let stream = bench.open(&CERTIFICATE);
    let first = bench.sent(stream);
    bench.ack(stream, &CERTIFICATE, &first);
    bench.update(&state(&[&svids[1]], &trust));
    let rejected = bench.sent(stream);
    bench.nack(stream, &CERTIFICATE, &rejected);
    let again = bench.sent(stream);
    bench.ack(stream, &CERTIFICATE, &again);
    bench.alarms();
    // No second has passed since boot, so that nothing was due to be looked at again.
    bench.now.wall = bench.now.wall.plus(Duration::from_secs(700));
    let late = bench.open(&CERTIFICATE);
    bench.silent(&[late, stream]);
    let held_back = |alarm| if let Alarm::HeldBack { serial, .. } = alarm { Some(serial) } else { None };
    let serials: Vec<_> = bench.alarms().into_iter().filter_map(held_back).collect();
    assert_eq!(serials, svids.map(|svid| svid.leaf().serial().to_string()));
}

#[test]
fn a_stream_that_rejects_the_last_good_pair_waits_for_all_others_and_gets_one_try_more() {
    let mut pair = Pair::accepted();
    let third = pair.bench.open(&["ALL"]);
    let response = pair.bench.sent(third);
    pair.bench.ack(third, &["ALL"], &response);
    pair.rotate();
    let rejected = pair.bench.sent(pair.certificate);
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected);
    let (again, others) = (pair.send_both(), pair.bench.sent(third));
    pair.bench.nack(pair.trust, &TRUST, &again.1);
    pair.bench.ack(third, &["ALL"], &others);
    pair.bench.silent(&[pair.trust]);
    pair.bench.alarms();
    pair.bench.ack(pair.certificate, &CERTIFICATE, &again.0);
    let owed = pair.bench.sent(pair.trust);
    // The recovery is not over while a stream has not accepted: this is no first rejection of a good pair.
    pair.bench.nack(pair.trust, &TRUST, &owed);
    assert_eq!(pair.bench.alarms(), [Alarm::RejectedAgain { retry_in: Duration::from_secs(1) }]);
    pair.bench.silent(&[pair.certificate, pair.trust, third]);
}

#[test]
fn a_rejected_content_is_not_offered_again_after_another_was_accepted() {
    let mut pair = Pair::accepted();
    let bad = pair.rotate();
    let rejected = pair.send_both();
    pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected.0);
    let again = pair.send_both();
    pair.accept_both(&again);
    pair.rotate();
    let next = pair.send_both();
    pair.accept_both(&next);
    pair.bench.update(&state(&[&bad], &bundle(&[&pair.authority, &pair.other])));
    pair.bench.silent(&[pair.certificate, pair.trust]);
}

#[test]
fn the_last_sixteen_rejected_contents_are_remembered() {
    let mut pair = Pair::accepted();
    let trust = bundle(&[&pair.authority]);
    let bad: Vec<_> = (0..17).map(|_| pair.authority.fresh("web")).collect();
    for (number, svid) in bad.iter().enumerate() {
        if number == 16 {
            pair.bench.update(&state(&[&bad[0]], &trust));
            pair.bench.silent(&[pair.certificate]);
        }
        pair.bench.update(&state(&[svid], &trust));
        let rejected = pair.bench.sent(pair.certificate);
        pair.bench.nack(pair.certificate, &CERTIFICATE, &rejected);
        let again = pair.send_both();
        pair.assert_first(&again);
        pair.accept_both(&again);
    }
    pair.bench.update(&state(&[&bad[1]], &trust));
    pair.bench.silent(&[pair.certificate]);
    pair.bench.update(&state(&[&bad[0]], &trust));
    assert_eq!(serial_of(&pair.bench.sent(pair.certificate)), bad[0].leaf().serial().to_string());
}
