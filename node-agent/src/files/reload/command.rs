//! A command of its own: no shell, a clean environment, bounded output, and an end.

use std::process::Stdio;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::ReloadError;
use crate::files::config::CommandHook;

/// Runs it to its end, or to its timeout.
pub(super) async fn run(hook: &CommandHook) -> Result<(), ReloadError> {
    let CommandHook { program, arguments, timeout } = hook;
    let start = |source| ReloadError::Start { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    let (mut out, mut err) = (Said::default(), Said::default());
    let status = {
        let reading = join(out.fill(child.stdout.take()), err.fill(child.stderr.take())).fuse();
        let ending = tokio::time::timeout(*timeout, child.wait());
        tokio::pin!(reading, ending);
        // Either order is fine: both are waited for, the reading for a short while only, since a child of the command may hold its
        // output open.
        tokio::select! {
            status = &mut ending => {
                drop(tokio::time::timeout(LAST_WORDS, &mut reading).await);
                status
            }
            _ = &mut reading => ending.await,
        }
    };
    let Ok(status) = status else {
        group.kill();
        drop(child.wait().await);
        group.0 = None;
        return Err(ReloadError::TimedOut { program: program.clone(), limit: *timeout });
    };
    // Waited for: its number may be another's from now on.
    group.0 = None;
    let status = status.map_err(start)?;
    if status.success() {
        tracing::info!(program, stdout = ?out.text(), stderr = ?err.text(), "told a program that its files have changed");
        return Ok(());
    }
    tracing::warn!(program, %status, stdout = ?out.text(), stderr = ?err.text(), "a reload command failed");
    Err(ReloadError::Ended { program: program.clone(), how: status.to_string(), said: format!("{:?}", err.text()) })
}

/// The process group of a command that was not waited for yet; killed when dropped.
struct Group(Option<i32>);

impl Group {
    fn kill(&self) {
        if let Some(group) = self.0
            && let Err(errno) = killpg(Pid::from_raw(group), Signal::SIGKILL)
        {
            tracing::debug!(group, %errno, "a reload command had ended by itself");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The beginning of what a command writes. The rest is read, so that the command goes on, and left out.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    left_out: bool,
}

impl Said {
    async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut chunk = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            let room = MAX_SAID.saturating_sub(self.bytes.len()).min(read);
            self.bytes.extend_from_slice(chunk.get(..room).unwrap_or_default());
            self.left_out |= room < read;
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim_end();
        if self.left_out { format!("{text} ...") } else { text.to_owned() }
    }
}

const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What of each output goes to the log, in bytes.
const MAX_SAID: usize = 4096;

/// How long output may follow the end of the command.
const LAST_WORDS: Duration = Duration::from_millis(200);
