//! A real token: SoftHSM. Its module is configured by the environment of its process, and is there once in each, so that every test is
//! run in a process of its own, beside a directory of its own: [`in_a_process_of_its_own`] starts this program again.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them")]

mod inside;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the tests below run under.
pub(crate) const LABEL: &str = "signet";
pub(crate) const PIN: &str = "correct-horse-7";
pub(crate) const CONFIG: &str = "softhsm2.conf";

/// The places of a SoftHSM: its module and its tool.
struct SoftHsm {
    module: PathBuf,
    tool: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "./test says by this where it unpacked SoftHSM, and whether it must be there")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn softhsm() -> Option<SoftHsm> {
    let unpacked = variable("SIGNET_TEST_SOFTHSM").map(PathBuf::from);
    let root = unpacked.unwrap_or_else(|| PathBuf::from("/"));
    let found = SoftHsm { module: root.join("usr/lib/softhsm/libsofthsm2.so"), tool: root.join("usr/bin/softhsm2-util") };
    if found.module.exists() && found.tool.exists() {
        return Some(found);
    }
    assert!(variable("REQUIRE_SOFTHSM").is_none(), "REQUIRE_SOFTHSM is set, and there is no {}", found.module.display());
    if let Some(list) = variable("SIGNET_TEST_SKIPS") {
        use std::io::Write as _;
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        writeln!(list, "tests of a PKCS #11 token (SoftHSM)").unwrap();
    }
    None
}

fn make_token(softhsm: &SoftHsm, home: &Path, label: &str) {
    let mut tool = Command::new(&softhsm.tool);
    tool.args(["--init-token", "--free", "--label", label, "--so-pin", "so-pin-1234", "--pin", PIN, "--module"]);
    checked(tool.arg(&softhsm.module).env("SOFTHSM2_CONF", home.join(CONFIG)));
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let told = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
    output
}

/// Runs a test of [`inside`] beside a fresh token.
fn in_a_process_of_its_own(test: &str) {
    let Some(softhsm) = softhsm() else { return };
    let home = tempfile::tempdir().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let config = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
    std::fs::write(home.path().join(CONFIG), config).unwrap();
    make_token(&softhsm, home.path(), LABEL);
    make_token(&softhsm, home.path(), "another");
    std::os::unix::fs::symlink(&softhsm.module, home.path().join("module.so")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("inside::{test}"), "--ignored", "--nocapture"]).current_dir(home.path());
    let output = checked(child.env("SOFTHSM2_CONF", home.path().join(CONFIG)));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("1 passed"), "no such test: {told}");
}

#[test]
fn keys_are_made_in_the_token_sign_are_found_again_and_destroyed() {
    in_a_process_of_its_own("keys_are_made_sign_are_found_and_destroyed");
}

#[test]
fn a_key_that_could_leave_the_token_or_does_more_than_sign_is_not_used() {
    in_a_process_of_its_own("a_key_that_could_leave_is_not_used");
}

#[test]
fn a_token_that_was_gone_is_opened_anew_and_its_keys_sign_again() {
    in_a_process_of_its_own("a_token_that_was_gone_is_opened_anew");
}

#[test]
fn a_wrong_pin_is_tried_once_and_every_other_way_of_not_opening_is_told_by_name() {
    in_a_process_of_its_own("a_wrong_pin_is_tried_once");
}

#[test]
fn many_signatures_at_once_share_a_few_sessions() {
    in_a_process_of_its_own("many_signatures_at_once");
}
