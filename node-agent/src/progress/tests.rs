//! What a node tells of itself.

use pki::Timestamp;

use super::*;
use crate::fakes::FakeAuthority;

fn report() -> Report {
    Report {
        bundle_sequence: 5,
        tainted_keys: 1,
        streams: 9,
        streams_behind: 2,
        files: 4,
        files_behind: 1,
        svids: 7,
        svids_tainted: 3,
    }
}

fn authority() -> FakeAuthority {
    FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000))
}

fn told(progress: &Progress) -> [u64; 6] {
    let Progress { bundle_sequence, streams_behind, streams, files_behind, files, svids_tainted } = *progress;
    let [streams_behind, streams, files_behind, files, svids_tainted] =
        [streams_behind, streams, files_behind, files, svids_tainted].map(u64::from);
    [bundle_sequence, streams_behind, streams, files_behind, files, svids_tainted]
}

#[test]
fn a_report_speaks_of_its_own_bundle_alone_and_of_every_other_the_worst_is_told() {
    let authority = authority();
    let bundle = |tainted: &[pki::Sha256Digest], sequence| FakeAuthority::bundle_of(&[&authority], tainted, sequence);
    let [one, two] = [[1; 32], [2; 32]];
    assert_eq!(told(&report().progress(&bundle(&[one], 5), false)), [5, 2, 9, 1, 4, 3]);
    assert_eq!(told(&report().progress(&bundle(&[one], 5), true)), [5, 2, 9, 1, 4, 4]);
    for (tainted, sequence) in [(&[one][..], 6), (&[one], 4), (&[one, two], 5)] {
        assert_eq!(told(&report().progress(&bundle(tainted, sequence), true)), [sequence, 9, 9, 4, 4, 8]);
    }
    assert_eq!(told(&report().progress(&bundle(&[], 6), false)), [6, 9, 9, 4, 4, 0], "nothing is tainted in it");
}
