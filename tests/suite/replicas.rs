//! Replicas of a CA on one PostgreSQL database: they issue side by side, each by its own issuing CA, agents go to another one when theirs is gone,
//! and a rotation goes on when the replica that leads it is killed or stands still.

mod cut;
mod database_relay;
mod killed;
mod load;
mod network;
mod removal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{
    Agent, AgentOptions, Ca, CaOptions, Cli, Database, PostgresServer, Process, Requirement, TestBed, WorkloadClient,
    eventually_within, needs, signet_binary,
};
use tokio::task::JoinSet;

/// How long anything may take for which another replica must be found silent first.
const LIMIT: Duration = Duration::from_secs(300);

/// What all workloads were given, each answer verified by the bundle beside it when it came.
#[derive(Default)]
struct Held {
    serials: Vec<String>,
    faults: Vec<String>,
}

/// Two replicas, agents that know both, and a workload on each node that listens all the while.
struct Scene {
    bed: TestBed,
    database: Database,
    replicas: [Ca; 2],
    agents: Vec<Agent>,
    held: Arc<Mutex<Held>>,
    _listening: JoinSet<()>,
}

/// The place of a database whose socket is in this directory.
fn at_socket(database: &Database, socket: &Path) -> String {
    format!("socket = \"{}\"\nuser = \"signet\"\ndatabase = \"{}\"\n", socket.display(), database.name())
}

/// Writes the configuration of a replica with its database at this place.
fn configure(bed: &TestBed, place: &str, listen: &str, name: &str, byte: u8) -> PathBuf {
    let rotation = "[rotation]\nautomatic = false\npropagation_hold = \"1s\"\n";
    let extra = format!("[store]\nkind = \"postgres\"\n{place}{rotation}");
    let config = Ca::configure(bed, name, listen, &CaOptions { extra, ..CaOptions::default() });
    let rest = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("replica = \"{name}\"\nreplica_byte = {byte}\n{rest}")).unwrap();
    config
}

impl Scene {
    async fn new(nodes: usize) -> Self {
        let database = PostgresServer::start(&[]).unwrap().new_database();
        let socket = database.socket();
        Self::over(nodes, TestBed::new(), database, &socket).await
    }

    /// The second replica reaches the database by the socket in this directory.
    async fn over(nodes: usize, bed: TestBed, database: Database, socket: &Path) -> Self {
        let first = configure(&bed, &at_socket(&database, &database.socket()), "127.0.0.1:0", "ca-a", 1);
        configure(&bed, &at_socket(&database, socket), "127.0.0.1:0", "ca-b", 2);
        // The authorities are made once; the second replica comes to them.
        let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), first.as_os_str()]).ok();
        let a = Ca::run(bed.path(), "ca-a", "example.org").await;
        let b = Ca::run(bed.path(), "ca-b", "example.org").await;
        Self::with(nodes, bed, database, [a, b]).await
    }

    /// With replicas that run.
    async fn with(nodes: usize, bed: TestBed, database: Database, replicas: [Ca; 2]) -> Self {
        let uid = nix::unistd::getuid();
        let start = |number: usize| {
            let (node, bed, replicas) = (format!("node-{number}"), &bed, &replicas);
            async move {
                let addresses = replicas.iter().map(|replica| replica.address).collect();
                let options = AgentOptions { ca_addresses: addresses, ..AgentOptions::default() };
                let agent = Agent::start_with(bed, &replicas[0], &node, options).await;
                replicas[1].create_entry("spiffe://example.org/web", &[&format!("unix:uid:{uid}")], &node);
                agent
            }
        };
        let mut agents = join_all((1..=nodes).map(start)).await;
        // Which replica an agent begins with is chance: there are more of them until each has one.
        while nodes > 1 && !each_has_one(&replicas, agents.len()).await {
            agents.push(start(agents.len() + 1).await);
        }
        let (held, mut listening) = (Arc::new(Mutex::new(Held::default())), JoinSet::new());
        for agent in &agents {
            listening.spawn(listen(agent.api_socket(), Arc::clone(&held)));
        }
        let all = agents.len();
        let scene = Self { bed, database, replicas, agents, held, _listening: listening };
        eventually_within("every workload to be served", LIMIT, async || {
            (scene.serials().iter().collect::<BTreeSet<_>>().len() >= all).then_some(())
        })
        .await;
        scene
    }

    /// Rows of the ledger with serials of the replica with this byte.
    fn recorded_by(&self, byte: u8) -> u64 {
        let sql = format!("SELECT count(*) FROM signet.issuance WHERE get_byte(serial, 0) = {byte}");
        self.database.sql(&sql).parse().unwrap()
    }

    /// Until all agents have their streams at this replica.
    async fn all_at(&self, replica: &Ca) {
        let all = u64::try_from(self.agents.len()).unwrap();
        eventually_within("all agents to be connected there", LIMIT, async || (connected(replica) == all).then_some(())).await;
    }

    /// What another replica says of one.
    fn shown(&self, at: &Ca, name: &str) -> Option<Value> {
        let all = at.operate(&["replica", "list"]).ok().json();
        all.as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
    }

    /// Until one replica sees that another one lives, or does not.
    async fn until_seen(&self, at: &Ca, name: &str, lives: bool) {
        eventually_within(&format!("{name} to be known to live: {lives}"), LIMIT, async || {
            (self.shown(at, name)?["lives"] == lives).then_some(())
        })
        .await;
    }

    fn serials(&self) -> Vec<String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).serials.clone()
    }

    /// Serials of certificates that a workload was given and that are not on record.
    fn unrecorded(&self) -> Vec<String> {
        let serials: Vec<_> =
            self.serials().iter().collect::<BTreeSet<_>>().into_iter().map(|serial| format!("('{serial}')")).collect();
        let missing = |some: &[String]| {
            let sql = format!(
                "SELECT held.serial FROM (VALUES {}) AS held (serial)
                 WHERE NOT EXISTS (SELECT 1 FROM signet.issuance WHERE issuance.serial = decode(held.serial, 'hex'))",
                some.join(", ")
            );
            self.database.sql(&sql).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        serials.chunks(1000).flat_map(missing).collect()
    }

    /// Begins a rotation of the root at a replica; the command goes on watching.
    fn drill(&self, replica: &Ca) -> Process {
        let mut command = std::process::Command::new(signet_binary());
        command.args(["drill", "root", "-o", "json", "--socket"]).arg(replica.admin_socket());
        Process::start("drill", &mut command, self.bed.path())
    }

    fn count(&self, kind: &str) -> u64 {
        self.database.sql(&format!("SELECT count(*) FROM signet.audit WHERE kind = '{kind}'")).parse().unwrap()
    }

    fn slot(&self, name: &str) -> String {
        let (kind, number) = name.split_once('-').unwrap();
        self.database.sql(&format!("SELECT slot FROM signet.authorities WHERE kind = '{kind}' AND number = {number}"))
    }

    /// What is so after a rotation of the root, whoever led it.
    async fn judge(&self, through: &Ca) {
        eventually_within("the rotation to complete", LIMIT, async || (self.count("rotation_ended") == 1).then_some(())).await;
        assert_eq!((self.count("rotation_started"), self.slot("root-1").as_str()), (1, "revoked"));
        let active = self.database.sql("SELECT count(*) FROM signet.authorities WHERE kind = 'root' AND slot = 'active'");
        assert_eq!(active, "1");
        // Each move of each authority once: nothing was rotated twice.
        let twice = self.database.sql(
            "SELECT count(*) FROM (SELECT body FROM signet.audit WHERE kind = 'authority_moved' GROUP BY body HAVING count(*) > 1) AS moves",
        );
        assert_eq!(twice, "0");
        assert_eq!(self.count("node_reattested"), 0, "agents went to another replica with the SVID that they had");
        let verified = through.operate(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
        for agent in &self.agents {
            agent.ready().await;
        }
        // Every certificate that a workload holds is on record, and none was invalid when it came.
        assert_eq!(self.unrecorded(), Vec::<String>::new());
        assert_eq!(self.held.lock().unwrap_or_else(PoisonError::into_inner).faults, Vec::<String>::new());
    }
}

/// How many agents have their streams at this replica.
fn connected(replica: &Ca) -> u64 {
    replica.operate(&["status"]).ok().json()["nodes_connected"].as_u64().unwrap()
}

/// Once so many agents are connected: whether no replica is without one.
async fn each_has_one(replicas: &[Ca; 2], agents: usize) -> bool {
    let agents = u64::try_from(agents).unwrap();
    let counts = eventually_within("each agent to be connected", LIMIT, async || {
        let counts = replicas.each_ref().map(connected);
        (counts.iter().sum::<u64>() == agents).then_some(counts)
    });
    counts.await.iter().all(|count| *count > 0)
}

/// Follows `FetchX509SVID` until it is stopped.
async fn listen(socket: PathBuf, held: Arc<Mutex<Held>>) {
    let client = WorkloadClient::connect(&socket).await.unwrap();
    loop {
        let Ok(mut stream) = client.x509_svids().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(answer) = stream.next().await {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            for one in answer {
                if let Err(error) = one.svid.verify(&one.bundle, SystemClock::shared().now().into()) {
                    held.faults.push(error.to_string());
                }
                held.serials.push(one.svid.leaf().serial().to_string());
            }
        }
    }
}

fn leader(replica: &Ca) -> Value {
    replica.operate(&["authority", "show"]).ok().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_issue_by_their_own_issuing_cas_and_a_drill_goes_on_when_its_leader_is_killed() {
    let name = "replicas_issue_by_their_own_issuing_cas_and_a_drill_goes_on_when_its_leader_is_killed";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(4).await;
    // Side by side: serials of both, under issuing CAs of both, and one root.
    let bytes =
        scene.database.sql("SELECT count(DISTINCT get_byte(serial, 0)) FROM signet.leaves JOIN signet.issuance USING (position)");
    assert_eq!(bytes, "2");
    let issuers =
        scene.database.sql("SELECT count(DISTINCT replica) FROM signet.authorities WHERE kind = 'issuer' AND slot = 'active'");
    assert_eq!(issuers, "2");
    let roots = scene.database.sql("SELECT count(*) FROM signet.authorities WHERE kind = 'root'");
    assert_eq!(roots, "1");
    // The command goes to the replica that leads; the other one says which that is.
    let refused = scene.replicas[1].operate(&["authority", "prepare", "root"]);
    assert!(refused.code != 0 && refused.stderr.contains("ca-a leads"), "{}{}", refused.stdout, refused.stderr);
    assert!(leader(&scene.replicas[1])["authorities"].is_array(), "looking needs no lead");

    let drill = scene.drill(&scene.replicas[0]);
    eventually_within("the new root to be in the bundle", LIMIT, async || {
        let published = "SELECT count(*) FROM signet.authorities WHERE kind = 'root' AND number = 2 AND published_in IS NOT NULL";
        (scene.database.sql(published) == "1").then_some(())
    })
    .await;
    scene.replicas[0].kill_hard().await;
    drop(drill);
    scene.judge(&scene.replicas[1]).await;
    assert_eq!(scene.count("lead_taken"), 2);
    // Whoever was killed comes back to what the other one did.
    scene.replicas[0].start_again().await;
    scene.replicas[0].ready().await;
    assert_eq!(scene.count("rotation_ended"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_writes_nothing_of_the_rotation_that_another_one_took_over() {
    let name = "a_leader_that_stood_still_writes_nothing_of_the_rotation_that_another_one_took_over";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let scene = Scene::new(2).await;
    let drill = scene.drill(&scene.replicas[0]);
    eventually_within("the rotation to begin", LIMIT, async || (scene.count("rotation_started") == 1).then_some(())).await;
    scene.replicas[0].process.signal(Signal::SIGSTOP);
    eventually_within("the other replica to lead", LIMIT, async || (scene.count("lead_taken") == 2).then_some(())).await;
    // It wakes up in the middle of what it was doing.
    scene.replicas[0].process.signal(Signal::SIGCONT);
    scene.judge(&scene.replicas[1]).await;
    drop(drill);
    assert_eq!(scene.count("lead_taken"), 2, "the one that was replaced does not lead again");
}
