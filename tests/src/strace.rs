//! strace(1) around a process under test: what it asked of the kernel, and faults put in its way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{Process, eventually_within};

/// The system calls that durability is judged by: what is written and synced, and what is sent.
const CALLS: &str = "trace=pwrite64,pwritev,fsync,fdatasync,sync_file_range,write,writev,sendto,sendmsg";

/// The words to put before a command so that it runs traced, as its own direct child (the tracer stands beside it).
///
/// What is written is in `output` whole, in hex. Each sync begins `sync_delay` late: whoever answers without waiting for it is
/// seen to.
#[must_use]
pub fn traced(output: &Path, sync_delay: Duration) -> Vec<String> {
    let delay = format!("inject=fsync,fdatasync:delay_enter={}", sync_delay.as_micros());
    // Twice the page size of SQLite: every page is seen whole.
    let options = ["strace", "-D", "-f", "-ttt", "-T", "-yy", "-xx", "-s", "8192", "-e", CALLS, "-e", "signal=none", "-e"];
    let mut words: Vec<_> = options.into_iter().map(str::to_owned).collect();
    words.extend([delay, "-o".to_owned(), output.display().to_string()]);
    words
}

/// strace attached to a running process. Dropping it detaches.
pub struct Strace {
    process: Process,
    output: PathBuf,
}

impl Strace {
    /// Puts a fault into the way of calls that concern a file, from now until [`Self::detach`].
    ///
    /// `calls` and `fault` are strace's own words, such as `fsync,fdatasync` and `error=EIO` or `error=EIO:when=1`.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub async fn inject(directory: &Path, pid: u32, file: &Path, calls: &str, fault: &str) -> Self {
        let name = format!("strace-{pid}");
        let output = directory.join(format!("{name}.trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-P"]).arg(file).arg("-o").arg(&output);
        command.args(["-e", &format!("trace={calls},pwrite64"), "-e", &format!("inject={calls}:{fault}")]);
        let before = std::fs::read_to_string(directory.join(format!("{name}.err"))).unwrap_or_default().len();
        let process = Process::start(&name, &mut command, directory);
        eventually_within("strace to be attached", Duration::from_secs(30), async || {
            process.stderr()[before..].contains("attached").then_some(())
        })
        .await;
        Self { process, output }
    }

    /// What was asked of the file, oldest first, in strace's words: the calls that meet the fault, and writes.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.output).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How many calls met the fault so far.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.lines().iter().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count()
    }

    /// Lets the process go on as it was.
    pub async fn detach(mut self) {
        self.process.signal(Signal::SIGINT);
        // strace ends by the signal that it was sent.
        let _status = self.process.exit(Duration::from_secs(30)).await;
    }
}

/// Whether strace is here and may trace.
#[must_use]
pub(crate) fn strace_works() -> bool {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "trace=none", "true"]).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
