//! The `signet` command as its user types it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The binary under test, built beside the suite.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn signet_binary() -> PathBuf {
    let suite = std::env::current_exe().expect("a running program has a path");
    let binary = suite.parent().and_then(Path::parent).expect("the suite lies in target/<profile>/deps").join("signet");
    assert!(binary.is_file(), "{} is missing; build it with: cargo build --workspace --bins --tests", binary.display());
    binary
}

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// Exit code; 128 and more stand for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CliOutput {
    /// Demands success.
    ///
    /// # Panics
    /// When the command failed.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "signet failed: {}{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {:?} ({})", self.stdout, self.stderr))
    }
}

/// Runs `signet` with its standard input closed or filled.
pub struct Cli;

impl Cli {
    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> CliOutput {
        Self::output_of(Command::new(signet_binary()).args(arguments))
    }

    pub(crate) fn output_of(command: &mut Command) -> CliOutput {
        let output = command.stdin(Stdio::null()).output().expect("signet can be started");
        CliOutput {
            code: output.status.code().unwrap_or(128),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
