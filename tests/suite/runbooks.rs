//! docs/runbooks, as drills: the commands of each page against a real CA and a real agent, with what one sees.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, Runbook, RunbookHost, RunbookMachine, SdsClient, TestBed, eventually};

const WEB: &str = "spiffe://example.org/web";

/// A CA, a node with a workload that has an identity, and a machine for commands.
struct Scene {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    machine: RunbookMachine,
}

impl Scene {
    async fn start() -> Self {
        let bed = TestBed::new();
        let extra = "[audit]\ncheckpoint_events = 1\ncheckpoint_interval = \"1s\"\n".to_owned();
        let ca = Ca::start(&bed, CaOptions { extra, ..CaOptions::default() }).await;
        let agent = Agent::start_with(&bed, &ca, "node-1", AgentOptions::default()).await;
        ca.create_entry(WEB, &[&format!("unix:uid:{}", nix::unistd::getuid())], "node-1");
        let (etc, backup) = (bed.path().join("etc"), bed.path().join("backup"));
        for directory in [&etc, &backup] {
            std::fs::create_dir(directory).unwrap();
        }
        let phrase = etc.join("backup-passphrase");
        std::fs::write(&phrase, "a passphrase of a drill\n").unwrap();
        std::fs::set_permissions(&phrase, PermissionsExt::from_mode(0o600)).unwrap();
        let node_socket = bed.path().join("node-1-admin.sock");
        let paths: [(&str, &Path); 3] =
            [("/etc/signet", &etc), ("/backup", &backup), ("/var/lib/signet/ca", &bed.path().join("ca-state"))];
        let machine = RunbookMachine::new(&bed, &ca.admin_socket(), &node_socket, &paths);
        let scene = Self { bed, ca, agent, machine };
        scene.kept_checkpoint(0).await;
        scene
    }

    /// Waits until the agent keeps a checkpoint over a later event.
    async fn kept_checkpoint(&self, after: u64) {
        eventually("the agent to keep a checkpoint", async || {
            let kept = self.agent.operate(&["agent", "checkpoint"]);
            (kept.code == 0 && kept.json()["sequence"].as_u64()? > after).then_some(())
        })
        .await;
    }

    /// The serial of what the workload holds.
    async fn serial(&self) -> String {
        let mut client = SdsClient::connect(&self.agent.api_socket()).await.unwrap();
        let mut stream = client.subscribe(&["default"]).await.unwrap();
        let served = stream.next().await.unwrap();
        let chain = served.secrets.iter().find_map(|secret| secret.chain_pem.clone()).unwrap();
        let leaf = pki::certificates_from_pem(chain.as_bytes()).unwrap().swap_remove(0);
        leaf.serial().to_string()
    }

    async fn run(&self, page: &str) {
        let own = async |step: &tests::RunbookStep| {
            if step.command == "signet agent status" {
                // With a new SVID of its own the agent connects anew, in a moment.
                eventually("the agent to be connected", async || {
                    (self.agent.metric("signet_agent_sync_connected").await == Some(1.0)).then_some(())
                })
                .await;
            }
            false
        };
        Runbook::read(page).run(&self.machine, own).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_rotation_of_the_root() {
    let scene = Scene::start().await;
    scene.run("planned-root-rotation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_leaf_key() {
    let mut scene = Scene::start().await;
    let serial = scene.serial().await;
    scene.machine.set("SERIAL", &serial);
    scene.machine.set("ID", WEB);
    scene.run("stolen-leaf-key").await;
    eventually("the workload to have another certificate", async || (scene.serial().await != serial).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_node() {
    let Scene { bed: _bed, ca, agent: _agent, machine } = Scene::start().await;
    let own = async |step: &tests::RunbookStep| {
        if step.command == "signet node list" {
            // Whoever reads a page needs longer than a stream to end.
            eventually("the node to be cut off", async || {
                (ca.operate(&["node", "list"]).ok().json()[0]["connected"] == false).then_some(())
            })
            .await;
        }
        false
    };
    Runbook::read("stolen-node").run(&machine, own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_of_the_issuing_ca() {
    let scene = Scene::start().await;
    scene.run("stolen-issuer-key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_of_the_root() {
    let scene = Scene::start().await;
    scene.run("stolen-root-key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_lost() {
    let mut scene = Scene::start().await;
    let (file, phrase): (PathBuf, PathBuf) = (scene.bed.path().join("backup/ca"), scene.bed.path().join("etc/backup-passphrase"));
    let words = ["ca", "backup", file.to_str().unwrap(), "--passphrase-file", phrase.to_str().unwrap()];
    let socket = scene.ca.admin_socket();
    let saved = Cli::run(&[&words[..], &["--socket", socket.to_str().unwrap(), "-o", "json"]].concat()).ok().json();
    // It went on after that, and was lost.
    scene.ca.create_entry("spiffe://example.org/late", &["unix:uid:4711"], "node-1");
    scene.kept_checkpoint(saved["backup"]["events"].as_u64().unwrap()).await;
    scene.ca.kill_hard().await;
    std::fs::remove_dir_all(scene.ca.state_dir()).unwrap();

    let Scene { bed: _bed, mut ca, agent, machine } = scene;
    let page = Runbook::read("restore");
    let own = async |step: &tests::RunbookStep| {
        let is_start = step.host == RunbookHost::Ca && step.command == "systemctl start signet-ca";
        if is_start {
            ca.start_again().await;
            ca.ready().await;
            // What the page lets one do in the meantime: the agent finds it by itself, and shows what it keeps.
            eventually("the agent to be back", async || {
                let told = ca.operate(&["node", "list"]).ok().json();
                let warned = ca.operate(&["status"]).ok().json()["warnings"].to_string();
                (told[0]["connected"] == true && warned.contains("acknowledge-fork")).then_some(())
            })
            .await;
        }
        is_start
    };
    page.run(&machine, own).await;
    agent.ready().await;
}

/// What stands in the text of a page beside its blocks, for the case that matters go otherwise, is what the program takes.
#[test]
fn every_command_in_the_text_of_a_page_is_one_that_the_program_takes() {
    let mut found = 0;
    for page in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks")).unwrap() {
        let path = page.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("signet ")) {
            // Every word is read before the help is given.
            let line = line.replace("accept-leaves N", "accept-leaves 1");
            let words: Vec<_> = line.split_whitespace().chain(["--help"]).collect();
            let output = Cli::run(&words);
            assert!(
                output.code == 0 && output.stdout.contains("Usage: signet"),
                "{}: `signet {line}`: {output:?}",
                path.display()
            );
            found += 1;
        }
    }
    assert!(found >= 10, "{found} commands");
    assert_ne!(Cli::run(&["drill", "root", "--never", "--help"]).code, 0, "what the program does not take is seen");
}

/// Each page but the index is run by a drill: here, or in `tests/clock` where time must pass.
#[test]
fn every_page_is_a_drill() {
    const DRILLS: [&str; 7] = [
        "everything-expired",
        "planned-root-rotation",
        "restore",
        "stolen-issuer-key",
        "stolen-leaf-key",
        "stolen-node",
        "stolen-root-key",
    ];
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks")).unwrap();
    let mut pages: Vec<_> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.retain(|page| page != "README.md");
    pages.sort();
    assert_eq!(pages, DRILLS.map(|drill| format!("{drill}.md")));
    let index = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks/README.md")).unwrap();
    for page in &pages {
        assert!(index.contains(&format!("({page})")), "{page} is not in the index");
        assert!(!Runbook::read(page.trim_end_matches(".md")).steps().is_empty());
    }
}
