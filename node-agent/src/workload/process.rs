//! A process that cannot be mistaken for a later one of the same number.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// `/proc/<pid>` as it was when opened: reads through it fail once that process is gone, also when its number is in use again.
#[derive(Debug)]
pub(super) struct ProcDirectory(OwnedFd);

impl ProcDirectory {
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(Self(nix::fcntl::open(format!("/proc/{pid}").as_str(), flags, Mode::empty())?))
    }

    /// A descriptor of the executable itself, not of a path to it.
    pub(super) fn executable(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.0, "exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// A small text file of the directory. The kernel escapes what a process can write into it.
    pub(super) fn read(&self, name: &str) -> io::Result<String> {
        let file = File::from(openat(&self.0, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(MAX_PROC_FILE_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// When the process started, in clock ticks since boot: field 22 of `stat` (proc_pid_stat(5)). An ended one is an error.
    fn start_time(&self) -> io::Result<u64> {
        let stat = self.read("stat")?;
        // The second field is the name in parentheses and may hold anything, parentheses too: fields are counted from the last one.
        let mut fields =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace()).ok_or(io::ErrorKind::InvalidData)?;
        match fields.next() {
            Some("Z" | "X" | "x") => Err(Errno::ESRCH.into()),
            Some(_) => {
                let field = fields.nth(18).and_then(|field| field.parse().ok());
                field.ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Tells whether one certain process still runs.
#[derive(Debug)]
pub struct Process(Proof);

#[derive(Debug)]
enum Proof {
    /// From the kernel, for exactly the process that connected.
    Pidfd(AsyncFd<OwnedFd>),
    /// For kernels before 6.5, and for a process given by number.
    StartTime { directory: ProcDirectory, start_time: u64 },
}

impl Process {
    /// From a pidfd. Must be called inside a tokio runtime.
    #[expect(deprecated, reason = "its successor is unsafe, which this workspace forbids; an OwnedFd never swaps its descriptor")]
    pub(super) fn from_pidfd(pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Proof::Pidfd(AsyncFd::with_interest(pidfd, Interest::READABLE)?)))
    }

    /// From the start time that `/proc/<pid>` tells now.
    pub(super) fn from_start_time(pid: i32) -> io::Result<Self> {
        let directory = ProcDirectory::open(pid)?;
        let start_time = directory.start_time()?;
        Ok(Self(Proof::StartTime { directory, start_time }))
    }

    /// Whether it runs now. When that cannot be found out: no.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match &self.0 {
            Proof::Pidfd(pidfd) => {
                // Readable means ended (pidfd_open(2)).
                let mut fds = [PollFd::new(pidfd.get_ref().as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::ZERO) == Ok(0)
            }
            Proof::StartTime { directory, start_time } => directory.start_time().is_ok_and(|found| found == *start_time),
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        match &self.0 {
            Proof::Pidfd(pidfd) => {
                // An error is no proof of life: the connection ends too.
                while self.is_running() {
                    match pidfd.ready(Interest::READABLE).await {
                        Ok(mut guard) => guard.clear_ready_matching(Ready::READABLE),
                        Err(_) => return,
                    }
                }
            }
            Proof::StartTime { .. } => {
                while self.is_running() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

/// Where the agent sees the file that a descriptor of its own stands for.
pub(super) fn path_of(descriptor: &OwnedFd) -> io::Result<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// `status` has about 1.5 KiB; more than this is not a file of this kernel.
const MAX_PROC_FILE_BYTES: u64 = 64 * 1024;

/// How often a process without a pidfd is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
