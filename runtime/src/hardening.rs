//! What the kernel lets others see of this process, and how many descriptors it may hold.
//!
//! Both are properties of the whole process, set once at its start, before a secret is read.

use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// No core file of this process, nor of those that it starts, is ever written (setrlimit(2), `RLIMIT_CORE`).
///
/// A collector that core files are piped to (core(5)) is not bound by this limit; [`forbid_tracing`] stops that one too.
///
/// # Errors
/// What the system says.
pub fn forbid_core_dumps() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// Only who holds `CAP_SYS_PTRACE` may trace this process or read its memory from now on, not another process of the same user; and
/// it dumps no core, not to a collector either (prctl(2), `PR_SET_DUMPABLE`).
///
/// Its files in `/proc/<pid>` belong to root from here on (proc(5)), so that an agent of the same user cannot attest it: for services,
/// not for workloads. A program that is started afterwards is as traceable as usual.
///
/// # Errors
/// What the system says.
pub fn forbid_tracing() -> io::Result<()> {
    Ok(set_dumpable(false)?)
}

/// Takes as many descriptors as the system allows (setrlimit(2), `RLIMIT_NOFILE`: the soft limit becomes the hard one) and says how
/// many that are. The usual soft limit of 1,024 is for programs that use select(2).
///
/// # Errors
/// What the system says.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
