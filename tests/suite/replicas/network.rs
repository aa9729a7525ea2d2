//! Replicas under load, and the network of the one that leads a rotation of the root is cut: it, alone, in a network namespace of its own; the
//! database, the other replica and all agents in another one. Nobody is told: packets are lost.
//!
//! Both namespaces are made here, so that nothing listens at an address of the machine: the test runs itself once more where there is no network yet.

use std::process::Command;

use super::load::Load;
use super::*;
use crate::postgres::serve_at;

/// Where the database, the agents and the other replica are.
const HERE: &str = "10.77.0.1";
/// Where the replica is that is cut off.
const THERE: &str = "10.77.0.2";
/// The end of the wire on this side.
const WIRE: &str = "signet-here";

#[test]
fn under_load_a_leader_whose_network_is_cut_records_nothing_and_nothing_is_rotated_twice() {
    let name = "under_load_a_leader_whose_network_is_cut_records_nothing_and_nothing_is_rotated_twice";
    if !needs(name, Requirement::Postgres) || !needs(name, Requirement::Root) {
        return;
    }
    let child = Command::new("unshare")
        .args(["--net", "--fork", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "replicas::network::in_a_network_namespace", "--nocapture"])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{out}{err}");
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace at the other end of a wire. It ends with its keeper.
struct OtherNetwork {
    _keeper: Process,
    /// Before a command that is to run there, as its own process.
    enter: Vec<String>,
}

impl OtherNetwork {
    async fn start(bed: &TestBed) -> Self {
        let keeper = Process::start("network", Command::new("unshare").args(["--net", "--", "sleep", "infinity"]), bed.path());
        let network = format!("/proc/{}/ns/net", keeper.id());
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually_within("another network", LIMIT, async || (std::fs::read_link(&network).ok()? != ours).then_some(())).await;
        let enter = ["nsenter".to_owned(), format!("--net={network}"), "--".to_owned()].to_vec();
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", WIRE, "type", "veth", "peer", "name", "signet-there", "netns", &keeper.id().to_string()]);
        run("ip", &["address", "add", &format!("{HERE}/24"), "dev", WIRE]);
        run("ip", &["link", "set", WIRE, "up"]);
        let there = Self { _keeper: keeper, enter };
        there.run(&["ip", "link", "set", "lo", "up"]);
        there.run(&["ip", "address", "add", &format!("{THERE}/24"), "dev", "signet-there"]);
        there.run(&["ip", "link", "set", "signet-there", "up"]);
        there
    }

    fn run(&self, words: &[&str]) {
        let enter: Vec<_> = self.enter.iter().skip(1).map(String::as_str).collect();
        run("nsenter", &[&enter, words].concat());
    }
}

/// The wire is down, or up, on this side: at the other one it is a wire with nobody at its end.
fn set_wire(up: bool) {
    run("ip", &["link", "set", WIRE, if up { "up" } else { "down" }]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other half of the test above, which runs it in a network of its own"]
async fn in_a_network_namespace() {
    let bed = TestBed::new();
    let there = OtherNetwork::start(&bed).await;
    let server = PostgresServer::start(&[]).unwrap();
    let roots = serve_at(HERE.parse().unwrap(), &bed, &server);
    let database = server.new_database();
    let by_wire = format!(
        "address = \"{HERE}:5432\"\ntls_roots = \"{}\"\nuser = \"signet\"\ndatabase = \"{}\"\n",
        roots.display(),
        database.name()
    );
    let first = configure(&bed, &by_wire, &format!("{THERE}:8443"), "ca-a", 1);
    configure(&bed, &at_socket(&database, &database.socket()), "127.0.0.1:0", "ca-b", 2);
    let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), first.as_os_str()]).ok();
    let a = Ca::run_under(&there.enter, bed.path(), "ca-a", "example.org").await;
    let b = Ca::run(bed.path(), "ca-b", "example.org").await;
    let mut scene = Scene::with(4, bed, database, [a, b]).await;

    let load = Load::start(&scene, scene.entries(&scene.replicas[0]));
    scene.until_issued(&[1, 2]).await;
    let drill = scene.drill(&scene.replicas[0]);
    scene.until_new_root_is_told().await;
    set_wire(false);
    scene.all_at(&scene.replicas[1]).await;
    let recorded = scene.recorded_by(1);
    scene.until_issued(&[2]).await;
    scene.judge(&scene.replicas[1]).await;
    drop(drill);
    assert_eq!(scene.recorded_by(1), recorded, "whoever is cut off records nothing");

    // It finds out that it was taken out with the root and ends; its supervisor starts it again.
    set_wire(true);
    let ended = scene.replicas[0].process.exit(LIMIT).await;
    assert!(!ended.success(), "{}", scene.replicas[0].process.stderr());
    assert_eq!(scene.recorded_by(1), recorded, "under what was taken out nothing is recorded");
    scene.replicas[0] = Ca::run_under(&there.enter, scene.bed.path(), "ca-a", "example.org").await;
    scene.replicas[1].kill_hard().await;
    scene.until_issued(&[1]).await;
    let tokens = load.end().await;
    scene.everything_is_recorded(tokens);
}
