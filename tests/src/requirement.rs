//! What a test needs of the machine. A test that cannot run is counted and named in the last line of `./test`, never passed over.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Something that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The suite runs as root (`REQUIRE_ROOT=1` makes its absence a failure).
    Root,
    /// The kernel lets this user make user and mount namespaces.
    UserNamespaces,
    /// The Envoy binary that `./test` installs.
    Envoy,
}

/// Whether the machine has what the test needs. If not, the test is listed as not run, or fails where its running was demanded.
///
/// # Panics
/// When the requirement is missing though `REQUIRE_ROOT` or the full `./test` promised it.
#[must_use]
pub fn needs(test: &str, requirement: Requirement) -> bool {
    let (met, demanded) = match requirement {
        Requirement::Root => (nix::unistd::geteuid().is_root(), variable("REQUIRE_ROOT").is_some()),
        Requirement::UserNamespaces => (user_namespaces_work(), variable("REQUIRE_ROOT").is_some()),
        Requirement::Envoy => (envoy_binary().is_some(), variable("SIGNET_TEST_FAST").is_none()),
    };
    if met {
        return true;
    }
    assert!(!demanded, "{test} needs {requirement:?}, which this machine lacks; run it through ./test");
    if let Some(list) = variable("SIGNET_TEST_SKIPS") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("the list of skipped tests is writable");
        writeln!(list, "{test} (needs {requirement:?})").expect("the list of skipped tests is writable");
    }
    eprintln!("{test} did not run: it needs {requirement:?}");
    false
}

/// The Envoy binary that `./test` installed.
pub(crate) fn envoy_binary() -> Option<PathBuf> {
    variable("SIGNET_TEST_ENVOY").map(PathBuf::from).filter(|path| path.is_file())
}

fn user_namespaces_work() -> bool {
    std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[expect(clippy::disallowed_methods, reason = "`./test` tells the suite what it installed through the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
