//! A signal to the process whose number a file has.
//!
//! A number in a file is hearsay: the file may be old and the number another's by now, and the agent may signal processes that the
//! file's owner may not. So the process is held fast first, then looked at, and signalled through what holds it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::ReloadError;
use crate::files::config::{ReloadSignal, SignalHook};

/// Sends it.
pub(super) fn send(hook: &SignalHook) -> Result<(), ReloadError> {
    let path = &hook.pid_file;
    let (number, file_owner) = read(path).map_err(|why| ReloadError::PidFile { path: path.clone(), why })?;
    let failed = |source: std::io::Error| ReloadError::Process { pid: number, path: path.clone(), source };
    let pid = Pid::from_raw(number).ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
    let real_user = real_user(number).map_err(failed)?;
    let other = |why: String| ReloadError::OtherProcess { pid: number, path: path.clone(), why };
    if ![0, geteuid().as_raw(), real_user].contains(&file_owner) {
        return Err(other(format!(
            "it runs as uid {real_user}, and the file belongs to uid {file_owner}, who may not signal it"
        )));
    }
    if let Some(executable) = &hook.executable
        && !runs(number, executable)
    {
        return Err(other(format!("it does not run {}", executable.display())));
    }
    // Readable means ended (pidfd_open(2)): then what was looked at may be another's.
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO) != Ok(0) {
        return Err(failed(nix::errno::Errno::ESRCH.into()));
    }
    let signal = match hook.signal {
        ReloadSignal::Hup => Signal::HUP,
        ReloadSignal::Usr1 => Signal::USR1,
        ReloadSignal::Usr2 => Signal::USR2,
    };
    pidfd_send_signal(&process, signal).map_err(|errno| failed(errno.into()))?;
    tracing::info!(pid = number, pid_file = %path.display(), "told a process that its files have changed");
    Ok(())
}

/// The number on the first line of a file that nobody but its owner may change, and that owner.
fn read(path: &Path) -> Result<(i32, u32), String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file: File = file.map_err(|error| format!("cannot be opened: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("cannot be looked at: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("others than its owner may write to it (mode {:04o}): `chmod go-w` it", metadata.mode() & 0o7777));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    let number = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    match number {
        // 1 is the init process, 0 and less are groups.
        Some(pid) if pid > 1 => Ok((pid, metadata.uid())),
        Some(pid) => Err(format!("process {pid} is never signalled")),
        None => Err("its first line is not the number of a process".to_owned()),
    }
}

/// The first of the four numbers after `Uid:` in `status` (proc_pid_status(5)).
fn real_user(pid: i32) -> std::io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// By file, not by name: the name of a process's executable is what its own mount namespace says.
fn runs(pid: i32, executable: &Path) -> bool {
    let same =
        |running: std::fs::Metadata, meant: std::fs::Metadata| (running.dev(), running.ino()) == (meant.dev(), meant.ino());
    let running = std::fs::metadata(format!("/proc/{pid}/exe"));
    running.and_then(|running| Ok(same(running, std::fs::metadata(executable)?))).unwrap_or(false)
}

/// Some programs write more than the number.
const MAX_BYTES: u64 = 4096;
