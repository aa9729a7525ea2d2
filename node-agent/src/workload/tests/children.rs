//! Child processes for the other tests: programs of the system, and this test binary itself running one of the functions below.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use runtime::clock::SystemClock;

use super::super::caller::{AttestError, Caller, Peer};
use super::super::executables::ExecutableHashes;

/// With hashes that remember nothing of earlier calls.
pub(super) fn attest_pid(pid: i32) -> Result<Caller, AttestError> {
    super::super::caller::attest_pid(pid, &ExecutableHashes::new(SystemClock::shared()))
}

/// Ended and reaped when dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// The next line that one of the functions below says.
    pub(super) fn hear(&mut self) -> String {
        let mut stdout = BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the child ended without a word");
            // The test harness of the child does not end its own line before the function speaks.
            if let Some((_, said)) = line.split_once(SAYS) {
                return said.trim_end().to_owned();
            }
        }
    }

    pub(super) fn tell(&mut self, line: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    pub(super) fn end(&mut self) {
        drop(self.0.kill());
        self.0.wait().unwrap();
    }

    /// Ends it, and leaves its number taken.
    pub(super) fn end_unreaped(&mut self) {
        self.0.kill().unwrap();
        let mut rest = Vec::new();
        self.0.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        // The pipe closes a moment before the process has ended.
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A copy of `sleep` under another name, running.
pub(super) fn sleeper(directory: &Path, name: &str) -> (PathBuf, Running) {
    let program = directory.join(name);
    copy_of_sleep(&program);
    let running = Running::start(Command::new(&program).arg("60"));
    wait_for_exec(running.pid(), &program);
    (program, running)
}

/// By a process of its own: were the file open for writing here, a child that another test forks at that moment would hold it open
/// too, and it could not be executed ("text file busy").
pub(super) fn copy_of_sleep(to: &Path) {
    assert!(Command::new("cp").arg("/bin/sleep").arg(to).status().unwrap().success());
}

/// `spawn` returns after the exec, but a shell in between has its own.
pub(super) fn wait_for_exec(pid: i32, program: &Path) {
    for _ in 0..2000 {
        if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} does not start", program.display());
}

/// This binary, running one function of this module.
pub(super) fn child(function: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    as_child(&mut command, function);
    command
}

/// The same by a command that ends with the path of this binary.
pub(super) fn as_child(command: &mut Command, function: &str) {
    let name = format!("workload::tests::children::{function}");
    command.args([&name, "--exact", "--nocapture"]).env(CHILD, "1");
}

/// Set for children, and for nobody who runs all tests.
const CHILD: &str = "SIGNET_TEST_CHILD";

const SAYS: &str = "child says: ";

fn say(what: impl std::fmt::Display) {
    println!("{SAYS}{what}");
    std::io::stdout().flush().unwrap();
}

/// What a child is first told; `None` when nobody started this as one.
fn told() -> Option<String> {
    variable(CHILD).map(|_| listen())
}

/// The next line of standard input.
fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn connects_and_hands_its_socket_to_a_child() {
    let Some(socket) = told() else { return };
    let stream = StdUnixStream::connect(socket).unwrap();
    let heir = Command::new("/bin/sleep")
        .arg("60")
        .stdin(Stdio::from(OwnedFd::from(stream.try_clone().unwrap())))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    say(heir.id());
    listen();
    std::process::exit(0);
}

#[test]
fn connects_and_becomes_another_user() {
    let Some(socket) = told() else { return };
    let _connection = StdUnixStream::connect(socket).unwrap();
    say("connected");
    listen();
    nix::unistd::setuid(Uid::from_raw(65_534)).unwrap();
    say("changed");
    listen();
}

#[test]
fn says_who_connects_to_it() {
    let Some(path) = told() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        say("ready");
        let (stream, _) = listener.accept().await.unwrap();
        match Peer::of(&stream) {
            Ok(peer) => say(peer.pid()),
            Err(error) => say(error),
        }
    });
}

#[test]
fn attests_a_thousand_times_and_counts_its_descriptors() {
    if told().is_none() {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut dead = Running::start(Command::new("/bin/sleep").arg("60"));
    let mut alive = Running::start(Command::new("/bin/sleep").arg("60"));
    dead.end_unreaped();
    assert!(attest_pid(alive.pid()).is_ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = descriptors();
    for _ in 0..500 {
        assert!(attest_pid(dead.pid()).is_err());
        assert!(attest_pid(alive.pid()).is_ok());
        runtime.block_on(async {
            let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
            assert!(Peer::of(&ours).unwrap().attest(None).is_ok());
        });
    }
    alive.end();
    // One pipe end more or less belongs to the two children.
    say(descriptors().abs_diff(before) <= 2);
}

/// Whether the machine can do what a test needs. If not, the test is named in the last line of `./test`, as those of the suite are,
/// and where root was promised it fails.
pub(super) fn possible(test: &str, need: &str, met: bool) -> bool {
    if met {
        return true;
    }
    assert!(variable("REQUIRE_ROOT").is_none(), "{test} needs {need}, which this machine lacks");
    skipped(test, need);
    false
}

/// Names a test in the last line of `./test`.
pub(super) fn skipped(test: &str, need: &str) {
    if let Some(list) = variable("SIGNET_TEST_SKIPS") {
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(list, "{test} (needs {need})").unwrap();
    }
    eprintln!("{test} did not run: it needs {need}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "`./test` and tests tell others through the environment what they promised or want"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A control group of version 2 at the root of its hierarchy, as the service manager makes one for a unit; removed when dropped.
pub(super) struct ControlGroup(PathBuf);

impl ControlGroup {
    /// `None` where this user may not, or where names would not be counted from the root.
    pub(super) fn make(unit: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self/ns/cgroup").ok()?.ino() != 0xEFFF_FFFB {
            return None;
        }
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root =
            roots.into_iter().find(|root| root.join("cgroup.procs").exists() && root.join("cgroup.controllers").exists())?;
        let group = root.join(unit);
        std::fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    pub(super) fn take(&self, pid: i32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Its processes may have ended a moment ago.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process that the test did not start itself.
pub(super) fn end_by_pid(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}
