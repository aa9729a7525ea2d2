//! Signals that reach the right process or none, and commands that end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use runtime::clock::SystemClock;

use super::*;
use crate::files::config::{CommandHook, ReloadSignal, SignalHook};

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("/bin/sleep").arg("60").spawn().unwrap())
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn pid_file(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("pid");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        path
    }
}

fn hook(pid_file: &Path, executable: Option<&str>) -> ReloadConfig {
    let executable = executable.map(PathBuf::from);
    ReloadConfig::Signal(SignalHook { signal: ReloadSignal::Hup, pid_file: pid_file.to_owned(), executable })
}

#[tokio::test]
async fn the_process_of_the_file_gets_the_signal() {
    let bed = Bed::new();
    let mut sleeper = Sleeper::start();
    // As PostgreSQL writes it: more lines follow.
    let file = bed.pid_file(&format!("{}\n/var/lib\n", sleeper.0.id()));
    reload(&hook(&file, Some("/bin/sleep"))).await.unwrap();
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(1));
}

#[tokio::test]
async fn files_that_name_no_process_signal_nobody() {
    let bed = Bed::new();
    for text in ["", "x", "1", "0", "-1", "99999999999", "12 34", "+", "\n7"] {
        let error = reload(&hook(&bed.pid_file(text), None)).await.unwrap_err();
        assert!(matches!(error, ReloadError::PidFile { .. }), "{text:?}: {error}");
    }
    let mut gone = Sleeper::start();
    let number = gone.0.id();
    gone.0.kill().unwrap();
    gone.0.wait().unwrap();
    let error = reload(&hook(&bed.pid_file(&number.to_string()), None)).await.unwrap_err();
    assert!(matches!(error, ReloadError::Process { .. }), "{error}");
    let error = reload(&hook(&bed.0.path().join("absent"), None)).await.unwrap_err();
    assert!(matches!(error, ReloadError::PidFile { .. }), "{error}");
}

#[tokio::test]
async fn a_number_that_is_anothers_by_now_is_not_signalled() {
    let bed = Bed::new();
    let mut sleeper = Sleeper::start();
    let file = bed.pid_file(&sleeper.0.id().to_string());
    let error = reload(&hook(&file, Some("/bin/cat"))).await.unwrap_err();
    assert!(matches!(error, ReloadError::OtherProcess { .. }), "{error}");
    assert!(sleeper.is_running());
    reload(&hook(&file, Some("/bin/sleep"))).await.unwrap();
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(1), "the twin passes");
}

/// The agent may signal any process; who writes the file may not.
#[tokio::test]
async fn a_file_that_others_write_signals_nothing_that_they_may_not() {
    let bed = Bed::new();
    let mut sleeper = Sleeper::start();
    let file = bed.pid_file(&sleeper.0.id().to_string());
    for mode in [0o664, 0o646] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert!(matches!(reload(&hook(&file, None)).await, Err(ReloadError::PidFile { .. })));
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let link = bed.0.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(reload(&hook(&link, None)).await, Err(ReloadError::PidFile { .. })));
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
        assert!(matches!(reload(&hook(&file, None)).await, Err(ReloadError::OtherProcess { .. })));
        assert!(sleeper.is_running());
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
    reload(&hook(&file, None)).await.unwrap();
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(1), "the twin passes");
}

fn shell(script: &str, timeout: Duration) -> CommandHook {
    CommandHook { program: "sh".into(), arguments: vec!["-c".into(), script.into()], timeout }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_command_gets_a_clean_environment_and_its_end_is_told() {
    let bed = Bed::new();
    let seen = bed.0.path().join("seen");
    let script = format!("env > {0}; pwd >> {0}; cat >> {0}", seen.display());
    command::run(&shell(&script, LONG)).await.unwrap();
    let seen = std::fs::read_to_string(seen).unwrap();
    let names: Vec<_> = seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // `PWD` and `_` are the shell's own.
    assert!(names.iter().all(|name| ["PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)), "{seen}");
    assert!(seen.lines().any(|line| line == "/"), "{seen}");
    let error = command::run(&shell("echo not today >&2; exit 3", LONG)).await.unwrap_err();
    assert!(error.to_string().contains("3") && error.to_string().contains("not today"), "{error}");
    let absent = CommandHook { program: "/no/such/program".into(), arguments: Vec::new(), timeout: LONG };
    assert!(matches!(command::run(&absent).await, Err(ReloadError::Start { .. })));
}

#[tokio::test]
async fn output_is_read_to_its_end_and_kept_to_a_bound() {
    let error = command::run(&shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", LONG)).await.unwrap_err();
    let said = error.to_string();
    assert!((4096..4300).contains(&said.len()) && said.contains(" ..."), "{}", said.len());
}

#[tokio::test]
async fn a_command_that_does_not_end_is_killed_with_its_children() {
    let bed = Bed::new();
    let children = bed.0.path().join("children");
    let script = format!("sleep 60 & echo $! > {}; wait", children.display());
    let error = command::run(&shell(&script, Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(error, ReloadError::TimedOut { .. }), "{error}");
    assert_eq!(error.outcome(), ReloadOutcome::TimedOut);
    await_end(&children).await;
}

#[tokio::test]
async fn a_command_that_is_given_up_is_killed_with_its_children() {
    let bed = Bed::new();
    let children = bed.0.path().join("children");
    let script = format!("sleep 60 & echo $! > {}; wait", children.display());
    let hook = shell(&script, LONG);
    let started = async {
        while !std::fs::read_to_string(&children).is_ok_and(|text| text.ends_with('\n')) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = command::run(&hook) => panic!("{ended:?}"),
        () = started => {}
    }
    await_end(&children).await;
}

/// A child that goes on in the background, holding the output open, delays nobody.
#[tokio::test]
async fn a_child_left_behind_on_purpose_lives_on() {
    let clock = SystemClock::shared();
    let before = clock.boottime();
    let bed = Bed::new();
    let children = bed.0.path().join("children");
    command::run(&shell(&format!("sleep 60 & echo $! > {}", children.display()), LONG)).await.unwrap();
    assert!(clock.boottime() - before < Duration::from_secs(20));
    let number: i32 = std::fs::read_to_string(&children).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGKILL).unwrap();
}

async fn await_end(children: &Path) {
    let text = std::fs::read_to_string(children).unwrap();
    let status = PathBuf::from(format!("/proc/{}/stat", text.trim()));
    for _ in 0..500 {
        // Gone, or ended and not reaped by whoever has adopted it.
        let state = std::fs::File::open(&status).ok().and_then(|file| BufReader::new(file).lines().next()?.ok());
        if state.is_none_or(|line| line.contains(") Z ")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} still runs", status.display());
}
