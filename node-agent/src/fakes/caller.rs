//! This process, as a caller.

use runtime::clock::SystemClock;

use crate::workload::{Caller, ExecutableHashes, attest_pid};

/// The running test, attested.
pub(crate) fn own_caller() -> Caller {
    let own = i32::try_from(std::process::id()).unwrap();
    attest_pid(own, &ExecutableHashes::new(SystemClock::shared())).unwrap()
}
