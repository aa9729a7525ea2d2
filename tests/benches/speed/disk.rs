//! What the disk itself needs for a sync, where the store lies.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use runtime::clock::Clock;

use crate::figures::Latencies;

/// Appends of 4 KiB, each followed by fdatasync, as a commit of the store makes one.
pub(crate) fn syncs(directory: &Path, clock: &dyn Clock) -> Latencies {
    let mut file = File::create(directory.join("sync-probe")).unwrap();
    let mut latencies = Latencies::default();
    for _ in 0..300 {
        file.write_all(&[7; 4096]).unwrap();
        let begin = clock.boottime();
        file.sync_data().unwrap();
        latencies.push(clock.boottime() - begin);
    }
    latencies
}
