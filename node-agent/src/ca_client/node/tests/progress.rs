//! What a node tells of itself on its sync stream.

use super::*;
use crate::ca_client::CaProvider;
use crate::fakes::FakeAuthority;
use crate::progress::Report;

/// A node that reports, and where it takes the reports from.
fn reporting(bed: &Bed) -> (Running, watch::Sender<Option<Report>>) {
    let pin = FirstTrust::Fingerprint(bed.ca.fingerprint());
    let mut node = bed.prepare(Some(&bed.directory.path().join("token")), Some(&pin)).unwrap();
    let (sender, reports) = watch::channel(None);
    node.report(reports);
    (Bed::run(node), sender)
}

/// Of a node with three streams, one of them behind, and two SVIDs.
fn report(bundle_sequence: u64) -> Report {
    Report { bundle_sequence, streams: 3, streams_behind: 1, files: 2, files_behind: 0, svids: 2, ..Report::default() }
}

impl Bed {
    /// What was told last, and how many acknowledgements had come before.
    fn told(&self) -> Option<(usize, (u64, u32, u32, u32))> {
        let seen = self.ca.seen();
        let (acks, progress) = seen.progress.last()?;
        Some((*acks, (progress.bundle_sequence, progress.streams_behind, progress.files_behind, progress.svids_tainted)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_is_told_as_taken_by_nobody_before_it_is_acknowledged() {
    let bed = Bed::new().await;
    let (running, reports) = reporting(&bed);
    bed.ready(&running).await;
    assert!(bed.ca.seen().features.contains(&"bundle-progress".to_owned()));
    assert!(bed.ca.seen().progress.is_empty(), "what nobody has looked at is not told");
    reports.send_replace(Some(report(5)));
    bed.until("the report is told", || bed.told().is_some_and(|told| told.1 == (5, 1, 0, 0))).await;

    let acks = bed.ca.seen().acks.len();
    let old = &bed.ca.authority;
    bed.ca.answer(|answers| answers.bundle = Some(FakeAuthority::bundle_of(&[old], &[[9; 32]], 6)));
    bed.until("the bundle is acknowledged", || bed.ca.seen().acks.last().is_some_and(|ack| ack.1 == 6)).await;
    // All streams and sets of files are behind, and every SVID may rest on the key; told before the acknowledgement.
    assert_eq!(bed.told(), Some((acks, (6, 3, 2, 2))));
    bed.clock.advance(Duration::from_secs(5));
    let words = bed.ca.seen().progress.len();
    reports.send_replace(Some(Report { streams_behind: 0, ..report(5) }));
    bed.ca.answer(|answers| answers.ttl = Duration::from_secs(500));
    bed.until("another update is acknowledged", || bed.ca.seen().acks.len() >= acks + 2).await;
    assert_eq!(bed.ca.seen().progress.len(), words, "what is known of an older bundle is not told");

    reports.send_replace(Some(Report { tainted_keys: 1, streams_behind: 0, svids_tainted: 1, ..report(6) }));
    bed.until("the new report is told", || bed.told().is_some_and(|told| told.1 == (6, 0, 0, 1))).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_is_told_anew_and_the_agents_own_svid_counts() {
    let bed = Bed::new().await;
    let (running, reports) = reporting(&bed);
    reports.send_replace(Some(report(5)));
    bed.until("it is told", || bed.told().is_some_and(|told| told.1 == (5, 1, 0, 0))).await;
    let (words, acks) = (bed.ca.seen().progress.len(), bed.ca.seen().acks.len());
    bed.ca.hang_up();
    bed.until("it is told again", || bed.ca.seen().progress.len() > words).await;
    assert_eq!(bed.told(), Some((acks, (5, 1, 0, 0))), "before the first acknowledgement");

    // The CA taints what the agent holds, and does not renew it.
    let old = Arc::clone(&bed.ca.authority);
    bed.ca.answer(|answers| answers.bundle = Some(FakeAuthority::bundle_of(&[&old], &[old.root_key()], 6)));
    let known = Report { tainted_keys: 1, ..report(6) };
    reports.send_replace(Some(known));
    bed.until("its own SVID is told", || bed.told().is_some_and(|told| told.1 == (6, 1, 0, 1))).await;
    let new = Arc::new(FakeAuthority::new(bed.clock.now().into()));
    bed.ca.rotate(&new, &old, &FakeAuthority::bundle_of(&[&old, &new], &[old.root_key()], 7), bed.clock.now().into());
    reports.send_replace(Some(Report { bundle_sequence: 7, ..known }));
    bed.until("it was renewed", || bed.told().is_some_and(|told| told.1 == (7, 1, 0, 0))).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_does_not_know_such_words_is_told_none() {
    let bed = Bed::new().await;
    bed.ca.answer(|answers| answers.features = &[]);
    let (running, reports) = reporting(&bed);
    reports.send_replace(Some(report(5)));
    bed.ready(&running).await;
    bed.ca.answer(|answers| answers.bundle_sequence = 6);
    bed.until("the next bundle is acknowledged", || bed.ca.seen().acks.last().is_some_and(|ack| ack.1 == 6)).await;
    assert!(bed.ca.seen().progress.is_empty());
    running.stop().await;
}
