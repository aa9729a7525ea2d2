//! Telling a program that its files have changed.

mod command;
mod signal;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::board::ReloadOutcome;
use super::config::ReloadConfig;

/// Why a program could not be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file with the process's number is refused.
    #[error("{}: {why}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such process.
    #[error("process {pid} of {} cannot be signalled: {source}", path.display())]
    Process {
        /// Its number.
        pid: i32,
        /// Where the number stood.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not the process that was meant.
    #[error("process {pid} of {} is not signalled: {why}", path.display())]
    OtherProcess {
        /// Its number.
        pid: i32,
        /// Where the number stood.
        path: PathBuf,
        /// What tells.
        why: String,
    },
    /// The command cannot be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The command ended badly.
    #[error("{program} ended with {how}: {said}")]
    Ended {
        /// The program.
        program: String,
        /// Its exit status.
        how: String,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// The command did not end.
    #[error("{program} did not end within {limit:?} and was killed")]
    TimedOut {
        /// The program.
        program: String,
        /// The time that it had.
        limit: Duration,
    },
}

impl ReloadError {
    pub(super) fn outcome(&self) -> ReloadOutcome {
        match self {
            Self::TimedOut { .. } => ReloadOutcome::TimedOut,
            Self::PidFile { .. } | Self::Process { .. } | Self::OtherProcess { .. } | Self::Start { .. } | Self::Ended { .. } => {
                ReloadOutcome::Failed
            }
        }
    }
}

/// Tells it. Dropping the future kills a command that still runs.
pub(super) async fn reload(hook: &ReloadConfig) -> Result<(), ReloadError> {
    match hook {
        ReloadConfig::Signal(hook) => signal::send(hook),
        ReloadConfig::Command(hook) => command::run(hook).await,
    }
}

#[cfg(test)]
mod tests;
