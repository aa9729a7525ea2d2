//! The processes that `dev` starts: each with its log file, its lines on standard output, and a certain end.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use runtime::shutdown::{self, ShutdownTrigger};
use runtime::tasks::TaskGroup;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

use super::events::Event;
use crate::failure::Failure;

/// Who is on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    Ca,
    Agent,
    Api,
    Web,
    /// A second `web` that requires a wrong identity of the API.
    WrongWeb,
    /// A program that no entry speaks of.
    Stranger,
}

impl Actor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Agent => "agent",
            Self::Api => "api",
            Self::Web => "web",
            Self::WrongWeb => "web-2",
            Self::Stranger => "stranger",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A line that an actor said, or (`None`) that it has ended.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) actor: Actor,
    pub(super) event: Option<Event>,
}

struct Member {
    actor: Actor,
    child: Child,
    log: PathBuf,
}

/// All processes that run.
pub(super) struct Troupe {
    members: Vec<Member>,
    readers: TaskGroup,
    readers_end: ShutdownTrigger,
    sender: mpsc::Sender<Happening>,
    happenings: mpsc::Receiver<Happening>,
}

impl Troupe {
    pub(super) fn new() -> Self {
        let (readers_end, shutdown) = shutdown::channel();
        let (sender, happenings) = mpsc::channel(PENDING_HAPPENINGS);
        Self { members: Vec::new(), readers: TaskGroup::new(shutdown), readers_end, sender, happenings }
    }

    /// Starts `program` as `actor`. It ends with this process, however this process ends. `input` goes to its standard
    /// input, which is then closed.
    pub(super) async fn start(
        &mut self,
        actor: Actor,
        program: &Path,
        arguments: &[String],
        log: PathBuf,
        input: Option<&str>,
    ) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| Failure::failed(format!("cannot start {actor}")).because(error);
        let log_file = File::options().create(true).append(true).mode(0o600).open(&log).map_err(cannot)?;
        let mut child = command(program)
            .args(arguments)
            .arg("--exit-with-parent")
            .arg(std::process::id().to_string())
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(cannot)?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).await.map_err(cannot)?;
        }
        if let Some(stdout) = child.stdout.take() {
            self.readers.spawn(format!("lines of {actor}"), read_lines(actor, stdout, self.sender.clone()));
        }
        self.members.push(Member { actor, child, log });
        Ok(())
    }

    /// The next thing that any of them says.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            let happening = self.happenings.recv().await.expect("the troupe holds a sender itself");
            // What one of them said before it was dismissed, and its end, are of no account any more.
            if self.member(happening.actor).is_some() {
                return happening;
            }
        }
    }

    pub(super) fn pid_of(&self, actor: Actor) -> Option<u32> {
        self.member(actor)?.child.id()
    }

    /// How an actor ended, with the end of its log.
    pub(super) async fn obituary(&mut self, actor: Actor) -> Failure {
        let Some(member) = self.members.iter_mut().find(|member| member.actor == actor) else {
            return Failure::failed(format!("{actor} has ended"));
        };
        let status = match tokio::time::timeout(GRACE, member.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its standard output but lives".to_owned(),
        };
        let log = last_lines(&member.log);
        Failure::failed(format!("{actor} has ended")).because(format!("{status}\n{log}"))
    }

    /// The end of an actor's log.
    pub(super) fn log_of(&self, actor: Actor) -> String {
        self.member(actor).map(|member| last_lines(&member.log)).unwrap_or_default()
    }

    /// Ends one of them.
    pub(super) async fn dismiss(&mut self, actor: Actor) {
        let leaving: Vec<_> = self.members.extract_if(.., |member| member.actor == actor).collect();
        end_all(leaving).await;
    }

    /// Ends all of them, those that lean on others first: asks, waits a little, then insists.
    pub(super) async fn end(self) {
        let Self { members, readers, readers_end, sender, happenings } = self;
        end_all(members).await;
        drop((sender, happenings));
        readers_end.fire();
        // A reader can only fail to pass on a last line, and nobody listens any more.
        drop(readers.join(GRACE).await);
    }

    fn member(&self, actor: Actor) -> Option<&Member> {
        self.members.iter().find(|member| member.actor == actor)
    }
}

async fn end_all(mut members: Vec<Member>) {
    for member in &members {
        if let Some(pid) = member.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // Only fails when the process is gone already, which is what was wanted.
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
    }
    let polite = async {
        for member in &mut members {
            drop(member.child.wait().await);
        }
    };
    if tokio::time::timeout(PATIENCE, polite).await.is_err() {
        for member in &mut members {
            drop(member.child.kill().await);
        }
    }
}

/// Runs a verb of this program to its end and gives its standard output.
///
/// # Errors
/// Standard error of the verb, when it does not exit 0.
pub(super) async fn verb(program: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let typed = format!("signet {}", arguments.join(" "));
    let failed = |why: &dyn fmt::Display| Failure::failed(format!("`{typed}` failed")).because(why);
    let run = command(program).args(arguments).stdin(Stdio::null()).output();
    let output = match tokio::time::timeout(VERB_DEADLINE, run).await {
        Ok(output) => output.map_err(|error| failed(&error))?,
        Err(_) => return Err(failed(&format!("no end after {} s", VERB_DEADLINE.as_secs()))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(&format!("{}: {}", output.status, said.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// In a process group of its own: Ctrl-C at the terminal reaches `dev` alone, which then ends the others in order.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).kill_on_drop(true);
    command
}

/// Makes the kernel kill this process when `parent` ends, even by `kill -9`.
///
/// # Errors
/// When the kernel refuses, or the parent has ended already.
pub(crate) fn end_with_parent(parent: i32) -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Failure::failed("cannot tie this process to its parent").because(error))?;
    // The parent may have ended before the line above took effect.
    if getppid() == Pid::from_raw(parent) {
        return Ok(());
    }
    Err(Failure::usage(format!("process {parent} is not the parent of this one")).because("it has ended, or never was"))
}

async fn read_lines(actor: Actor, stdout: ChildStdout, sender: mpsc::Sender<Happening>) -> Result<(), Failure> {
    let mut lines = BufReader::new(stdout.take(MAX_OUTPUT)).lines();
    // An unreadable line is as good as the end: these are our own programs.
    while let Ok(Some(line)) = lines.next_line().await {
        let event = serde_json::from_str(&line)
            .or_else(|_| serde_json::from_str(&line).map(|addresses: serde_json::Value| Event::Bound { addresses }));
        let Ok(event) = event else { continue };
        if sender.send(Happening { actor, event: Some(event) }).await.is_err() {
            return Ok(());
        }
    }
    drop(sender.send(Happening { actor, event: None }).await);
    Ok(())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let tail = text.get(text.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
    let lines: Vec<_> = String::from_utf8_lossy(tail).lines().map(str::to_owned).collect();
    let shown = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
    format!("last lines of {}:\n{}", log.display(), shown.join("\n"))
}

const PENDING_HAPPENINGS: usize = 256;
/// `dev` ends in less than 5 s: this for the polite way, the rest for the other.
const PATIENCE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_millis(500);
const VERB_DEADLINE: Duration = Duration::from_secs(20);
/// A bound on what is read of one process: weeks of a call a second.
const MAX_OUTPUT: u64 = 1 << 30;
const LOG_TAIL_BYTES: usize = 8192;
const LOG_TAIL_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        vec!["-c".to_owned(), script.to_owned()]
    }

    async fn started(troupe: &mut Troupe, actor: Actor, script: &str, log: &Path) -> u32 {
        troupe.start(actor, Path::new("/bin/sh"), &shell(script), log.to_owned(), None).await.unwrap();
        troupe.pid_of(actor).unwrap()
    }

    fn is_running(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[tokio::test]
    async fn a_process_that_does_not_want_to_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut troupe = Troupe::new();
        let line = r#"echo '{"event":"listening","address":"a"}'"#;
        let script = format!("trap '' TERM; {line}; while :; do sleep 0.1; done");
        let stubborn = started(&mut troupe, Actor::Api, &script, &dir.path().join("api.log")).await;
        let Happening { actor: Actor::Api, event: Some(Event::Listening { .. }) } = troupe.next().await else {
            panic!("it said that it listens");
        };
        assert!(is_running(stubborn));
        tokio::time::timeout(Duration::from_secs(5), troupe.end()).await.expect("an end in less than 5 s");
        assert!(!is_running(stubborn));
    }

    #[tokio::test]
    async fn the_dismissed_are_not_missed_and_the_dead_have_an_obituary() {
        let dir = tempfile::tempdir().unwrap();
        let mut troupe = Troupe::new();
        let leaving = started(&mut troupe, Actor::WrongWeb, "exec sleep 60", &dir.path().join("web.log")).await;
        troupe.dismiss(Actor::WrongWeb).await;
        assert!(!is_running(leaving));
        started(&mut troupe, Actor::Ca, "echo 'no such port' >&2; exit 7", &dir.path().join("ca.log")).await;
        let Happening { actor: Actor::Ca, event: None } = troupe.next().await else { panic!("the CA has ended") };
        let obituary = troupe.obituary(Actor::Ca).await.one_line();
        assert!(obituary.contains("exit status: 7") && obituary.contains("no such port"), "{obituary}");
        troupe.end().await;
    }

    #[test]
    fn a_process_ends_with_its_parent_only() {
        let parent = getppid().as_raw();
        assert!(end_with_parent(parent).is_ok());
        assert!(end_with_parent(parent + 1).is_err());
    }
}
