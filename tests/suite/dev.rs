//! `signet dev`: the newcomer's command.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Cli, Process, TestBed, eventually_within, on_this_machine, signet_binary};

/// P16: the whole story, told and checked by the command itself.
#[tokio::test(flavor = "multi_thread")]
async fn p16_dev_check_runs_the_whole_story() {
    let bed = TestBed::new();
    let state = bed.path().join("dev");
    let output = tokio::task::spawn_blocking(move || {
        Cli::run(&["dev".as_ref(), "--check".as_ref(), "--state-dir".as_ref(), state.as_os_str()])
    });
    let output = tokio::time::timeout(Duration::from_secs(240), output).await.expect("it ends").unwrap().ok();
    for step in ["mTLS", "renew", "refus", "entry explain", "unix:path:"] {
        assert!(output.stdout.contains(step), "{step:?} is not in the story:\n{}", output.stdout);
    }
}

/// P16: Ctrl-C ends everything that was started, in under 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn p16_ctrl_c_ends_dev_and_all_its_children_within_5_s() {
    let bed = TestBed::new();
    let state = bed.path().join("dev");
    let mut command = Command::new(signet_binary());
    command.args(["dev", "--state-dir"]).arg(&state);
    let mut dev = Process::start("dev", &mut command, bed.path());
    eventually_within("web to have called api", Duration::from_secs(60), async || {
        assert!(dev.is_running(), "dev ended early: {}", dev.stderr());
        let said = dev.stdout();
        (said.contains("web (process ") && said.contains("spiffe://")).then_some(())
    })
    .await;
    let children = children_of(dev.id());
    assert!(children.len() >= 4, "CA, agent, web and api are processes of their own: {children:?}");
    let limit = on_this_machine(Duration::from_secs(5), || drop(Cli::run(&["--version"])));
    dev.signal(Signal::SIGINT);
    let status = dev.exit(limit).await;
    assert!(status.success(), "{status}");
    let left: Vec<_> = children.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "still running: {left:?}");
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}
