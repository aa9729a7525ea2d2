//! Replicas under load, one of which is killed in the middle of a rotation of the root that it leads: every certificate that anybody holds is on
//! record, and nothing is rotated twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proto::workload::JwtsvidRequest;

use super::*;

/// What each replica has issued before anything is done to one of them.
const ISSUED: u64 = 12;
/// Between two things that are asked for, so that the machine has time for the replicas.
const PAUSE: Duration = Duration::from_millis(100);

/// Entries that change all the while, so that their certificates are issued anew, and workloads that ask for one token after the other.
pub(super) struct Load {
    goes_on: Arc<AtomicBool>,
    tokens: Arc<AtomicU64>,
    running: JoinSet<()>,
}

impl Load {
    /// Entries are changed through either replica.
    pub(super) fn start(scene: &Scene, entries: Vec<String>) -> Self {
        let (goes_on, tokens) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let mut running = JoinSet::new();
        for replica in &scene.replicas {
            running.spawn(change(replica.admin_socket(), entries.clone(), Arc::clone(&goes_on)));
        }
        for agent in &scene.agents {
            running.spawn(ask(agent.api_socket(), Arc::clone(&goes_on), Arc::clone(&tokens)));
        }
        Self { goes_on, tokens, running }
    }

    /// Until it has come to nothing new.
    pub(super) async fn end(self) -> u64 {
        self.goes_on.store(false, Ordering::SeqCst);
        self.running.join_all().await;
        self.tokens.load(Ordering::SeqCst)
    }
}

/// Changes one entry after the other, as long as the replica answers.
async fn change(socket: PathBuf, entries: Vec<String>, goes_on: Arc<AtomicBool>) {
    for (number, entry) in entries.iter().cycle().enumerate() {
        if !goes_on.load(Ordering::SeqCst) {
            return;
        }
        let (entry, socket, name) = (entry.clone(), socket.clone(), format!("n{number}.example.org"));
        let changed = tokio::task::spawn_blocking(move || {
            let socket = socket.to_str().unwrap();
            // Whoever was killed does not do it.
            drop(Cli::run(&["entry", "update", &entry, "--dns", &name, "--socket", socket]));
        });
        changed.await.unwrap();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for tokens, each for another audience, since one for the same would be given again.
async fn ask(socket: PathBuf, goes_on: Arc<AtomicBool>, tokens: Arc<AtomicU64>) {
    let client = WorkloadClient::connect(&socket).await.unwrap();
    for number in 0_u64.. {
        if !goes_on.load(Ordering::SeqCst) {
            return;
        }
        let audience = vec![format!("audience-{number}")];
        let request = client.request(JwtsvidRequest { audience, spiffe_id: String::new() });
        match client.service().fetch_jwtsvid(request).await {
            Ok(answer) => drop(tokens.fetch_add(u64::try_from(answer.into_inner().svids.len()).unwrap(), Ordering::SeqCst)),
            // There is no CA for it at the moment.
            Err(status) => drop(status),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Scene {
    /// Entries of all nodes.
    pub(super) fn entries(&self, at: &Ca) -> Vec<String> {
        let entries = at.operate(&["entry", "list"]).ok().json();
        entries.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) async fn until_issued(&self, bytes: &[u8]) {
        let before: Vec<_> = bytes.iter().map(|byte| self.recorded_by(*byte)).collect();
        eventually_within("certificates under load", LIMIT, async || {
            bytes.iter().zip(&before).all(|(byte, before)| self.recorded_by(*byte) >= before + ISSUED).then_some(())
        })
        .await;
    }

    pub(super) async fn until_new_root_is_told(&self) {
        eventually_within("the new root to be in the bundle", LIMIT, async || {
            let published =
                "SELECT count(*) FROM signet.authorities WHERE kind = 'root' AND number = 2 AND published_in IS NOT NULL";
            (self.database.sql(published) == "1").then_some(())
        })
        .await;
    }

    /// After the load: every certificate and every token that somebody has was recorded before it was signed.
    pub(super) fn everything_is_recorded(&self, tokens: u64) {
        assert_eq!(self.unrecorded(), Vec::<String>::new());
        assert!(tokens > 0 && self.count("jwt_svid_intended") >= tokens, "{tokens}");
        assert_eq!(self.count("rotation_started"), 1, "nothing was rotated twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_leader_that_is_killed_leaves_no_certificate_unrecorded_and_nothing_is_rotated_twice() {
    let name = "under_load_a_leader_that_is_killed_leaves_no_certificate_unrecorded_and_nothing_is_rotated_twice";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(4).await;
    let load = Load::start(&scene, scene.entries(&scene.replicas[0]));
    scene.until_issued(&[1, 2]).await;
    let drill = scene.drill(&scene.replicas[0]);
    scene.until_new_root_is_told().await;
    scene.replicas[0].kill_hard().await;
    drop(drill);
    scene.until_issued(&[2]).await;
    scene.judge(&scene.replicas[1]).await;
    // It is back, and issues again as soon as agents come to it.
    scene.replicas[0].start_again().await;
    scene.replicas[0].ready().await;
    scene.replicas[1].kill_hard().await;
    scene.until_issued(&[1]).await;
    let tokens = load.end().await;
    scene.everything_is_recorded(tokens);
}
