//! A child process with its output in files, ended by its pid when dropped.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::wait::PATIENCE;
use crate::{eventually, eventually_within};

/// A process that this test started. Dropping it kills it and waits for it; if the test is failing, the end of its log is shown.
pub struct Process {
    name: String,
    child: Child,
    /// Open while it is fed.
    input: Option<ChildStdin>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a command with its output in `<directory>/<name>.{out,err}`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Self {
        Self::spawn(name, command.stdin(Stdio::null()), directory)
    }

    /// The same with a standard input that stays open until the process is dropped; see [`Self::tell`].
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_fed(name: &str, command: &mut Command, directory: &Path) -> Self {
        Self::spawn(name, command.stdin(Stdio::piped()), directory)
    }

    fn spawn(name: &str, command: &mut Command, directory: &Path) -> Self {
        let stdout = directory.join(format!("{name}.out"));
        let stderr = directory.join(format!("{name}.err"));
        let mut child = command
            .stdout(File::create(&stdout).expect("the log directory is writable"))
            .stderr(File::options().append(true).create(true).open(&stderr).expect("the log directory is writable"))
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name} ({command:?}): {error}"));
        let input = child.stdin.take();
        Self { name: name.to_owned(), child, input, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its memory that is present now, in KiB (`VmRSS` of proc(5)).
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("the kernel counts in kB")
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn open_descriptors(&self) -> u64 {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("the process lives").count();
        u64::try_from(open).expect("a count fits")
    }

    /// Leaves it descriptors below `current` and no more: with 1 it gets none, whatever it closes.
    ///
    /// # Panics
    /// When it is gone.
    pub fn limit_descriptors(&self, current: u64) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // A child has the hard limit of this process.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(current), maximum }).expect("a child of ours can be limited");
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it does not read.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was started to be fed");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} does not read its input: {error}", self.name));
    }

    /// What it has written to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has written to standard error, over all its starts under this name.
    #[must_use]
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Its first complete line on standard output.
    ///
    /// # Panics
    /// When it ends first or says nothing for [`PATIENCE`].
    pub async fn first_line(&mut self) -> String {
        let name = self.name.clone();
        eventually(&format!("the first line of {name}"), async || {
            // The end is looked at before the line: a process may write it and end between the two looks.
            let ended = self.child.try_wait().expect("a child can be waited for");
            let line = self.stdout().split_once('\n').map(|(line, _)| line.to_owned());
            if line.is_none()
                && let Some(status) = ended
            {
                panic!("{name} ended with {status} before it was up: {}", self.stderr());
            }
            line
        })
        .await
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|error| panic!("signalling {}: {error}", self.name));
    }

    /// Waits for its end, for at most `limit`.
    ///
    /// # Panics
    /// When it is still running then.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually_within(&what, limit, async || self.child.try_wait().expect("a child can be waited for")).await
    }

    /// Ends it as `kill -9` would.
    pub async fn kill_hard(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.exit(PATIENCE).await;
        assert_eq!(status.signal(), Some(9), "{} ended by itself: {status}", self.name);
    }

    /// Asks it to end and demands that it does so well.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.exit(PATIENCE).await;
        assert!(status.success(), "{} ended with {status}: {}", self.name, tail(&self.stderr()));
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits i32"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {} (pid {}) wrote last:\n{}{}",
                self.name,
                self.child.id(),
                tail(&self.stdout()),
                tail(&self.stderr())
            );
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].iter().map(|line| format!("    {line}\n")).collect()
}
