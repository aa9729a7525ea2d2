//! The services let nobody look into them: no core dumps, no tracing by the same user. Workloads stay as they are.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use tests::{Agent, AgentOptions, Ca, CaOptions, Process, Requirement, TestBed, eventually, needs, signet_binary};

/// Nobody's user and group.
const NOBODY: u32 = 65534;

fn core_limit(pid: u32) -> Vec<String> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// Whether the kernel lets this user's processes look into one another's, here into that one: proc(5) gives the files of a process
/// that is not dumpable to root.
fn is_dumpable_by(uid: u32, pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid() == uid
}

fn can_read_environ(uid: u32, pid: u32) -> bool {
    let mut look = Command::new("cat");
    look.arg(format!("/proc/{pid}/environ")).uid(uid).gid(uid);
    look.output().unwrap().status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_and_no_verb_dumps_core() {
    // Only root may have a limit above what the machine gives, and without one there would be nothing to see.
    if !needs("no_service_and_no_verb_dumps_core", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let mut first = Agent::start(&bed, &ca, "node-1").await;
    let with_a_limit = |name: &str, words: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 1024 && exec \"$0\" \"$@\""]).args(words);
        Process::start(name, &mut command, bed.path())
    };
    let (binary, socket) = (signet_binary(), first.api_socket());
    let [binary, socket] = [&binary, &socket].map(|path| path.to_str().unwrap());
    let control = with_a_limit("control", &["sleep", "600"]);
    eventually("a limit that is not zero", async || (core_limit(control.id())[0] != "0").then_some(())).await;
    let watching = with_a_limit("watching", &[binary, "svid", "watch", "--api-socket", socket]);
    let off = async |pid| eventually("core dumps to be off", async || (core_limit(pid) == ["0", "0"]).then_some(())).await;
    off(watching.id()).await;
    off(ca.process.id()).await;
    first.process.stop().await;
    let config = bed.path().join("node-1.toml");
    let agent = with_a_limit("agent", &[binary, "agent", "run", "--config", config.to_str().unwrap()]);
    off(agent.id()).await;
}

/// The agent runs as a user of its own here, and a workload of that same user gets its identity, by all that `/proc` tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn services_are_not_for_their_own_user_to_trace_and_workloads_of_that_user_are_attested() {
    if !needs("services_are_not_for_their_own_user_to_trace_and_workloads_of_that_user_are_attested", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    let config = Agent::configure(&bed, &ca, "node-1", &token, AgentOptions::default());
    // `unix:sha256` and `unix:path` are read through the agent's own /proc/self too, which is root's as well.
    let program = bed.path().join("workload");
    let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_sds-fetch")]).arg(&program).status().unwrap();
    assert!(copied.success());
    let path = format!("unix:path:{}", std::fs::canonicalize(&program).unwrap().display());
    let digest = String::from_utf8(Command::new("sha256sum").arg(&program).output().unwrap().stdout).unwrap();
    let digest = format!("unix:sha256:{}", digest.split(' ').next().unwrap());
    let uid = format!("unix:uid:{NOBODY}");
    let _entry = ca.create_entry("spiffe://example.org/web", &[&uid, &path, &digest], "node-1");
    for owned in [bed.path().to_owned(), config.clone(), bed.path().join("node-1-token")] {
        chown(owned, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let binary = bed.path().join("signet");
    let copied = Command::new("install").args(["-m", "755"]).args([&signet_binary(), &binary]).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(&binary);
    command.args(["agent", "run", "-o", "json", "--config"]).arg(&config).uid(NOBODY).gid(NOBODY);
    let mut agent = Process::start("agent", &mut command, bed.path());
    let _up = agent.first_line().await;

    let mut sleeper = Command::new("sleep");
    let sleeper = Process::start("sleeper", sleeper.arg("600").uid(NOBODY).gid(NOBODY), bed.path());
    eventually("an ordinary process", async || can_read_environ(NOBODY, sleeper.id()).then_some(())).await;
    assert!(is_dumpable_by(NOBODY, sleeper.id()));
    assert!(!is_dumpable_by(NOBODY, agent.id()) && !can_read_environ(NOBODY, agent.id()));
    eventually("the workload's identity", async || agent.stderr().contains("identity fetched").then_some(())).await;
    let socket = bed.path().join("node-1-public/api.sock");
    let mut fetch = Command::new(&program);
    fetch.arg(&socket).args(["600", "default"]).uid(NOBODY).gid(NOBODY);
    let fetch = Process::start("fetch", &mut fetch, bed.path());
    eventually("the workload's SVID", async || fetch.stdout().contains("spiffe://example.org/web").then_some(())).await;
    assert!(is_dumpable_by(NOBODY, fetch.id()));
    agent.stop().await;

    // A CA of that user, the same.
    let config = Ca::configure(&bed, "own", "127.0.0.1:0", &CaOptions::default());
    let as_nobody = |verb: &str| {
        let mut command = Command::new(&binary);
        command.args(["ca", verb, "-o", "json", "--config"]).arg(&config).uid(NOBODY).gid(NOBODY);
        command
    };
    assert!(as_nobody("init").output().unwrap().status.success());
    let mut own = Process::start("own", &mut as_nobody("run"), bed.path());
    let _up = own.first_line().await;
    assert!(!is_dumpable_by(NOBODY, own.id()) && !can_read_environ(NOBODY, own.id()));
    own.stop().await;
}
