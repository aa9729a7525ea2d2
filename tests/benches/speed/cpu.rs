//! Processor time: of this thread, and of a process that is measured from outside.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What this thread has used so far.
pub(crate) fn of_this_thread() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

/// What a process has used so far, in user and kernel, with the threads that ended; in steps of 10 ms (proc_pid_stat(5)).
pub(crate) fn of_process(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; the fields after it are numbers: state is field 3, utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process in bytes (`VmRSS`).
pub(crate) fn resident(pid: u32) -> u64 {
    of_status(pid, "VmRSS:").unwrap()
}

/// The most that it ever was (`VmHWM`); `None` once the process has ended.
pub(crate) fn peak_resident(pid: u32) -> Option<u64> {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}
