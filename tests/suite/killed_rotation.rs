//! `kill -9` of the CA at each step of a rotation: what is stored is a state that a start accepts, the rotation completes, and what a
//! workload holds verifies all the while.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca::{Moment, Step};
use futures_util::future::join_all;
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{
    Agent, Ca, CaOptions, Cli, Process, TestBed, WorkloadClient, WorkloadSvid, eventually, eventually_within, signet_binary,
};
use tokio::task::JoinSet;

/// How long a rotation may take, with agents that come back to a CA that was away.
const LIMIT: Duration = Duration::from_secs(120);

/// The kind of rotation that comes to a step: a root's comes to all but those of a JWT key.
fn kind_of(step: Step) -> &'static str {
    if matches!(step, Step::WriteJwtKey | Step::SwitchJwtKey) { "jwt" } else { "root" }
}

/// Before and after each step of the list.
fn moments() -> impl Iterator<Item = Moment> {
    Step::ALL.into_iter().flat_map(|step| [Moment::Before(step), Moment::After(step)])
}

/// What a workload was given, each answer verified by the bundle beside it when it came.
#[derive(Default)]
struct Held {
    newest: Option<WorkloadSvid>,
    answers: usize,
    faults: Vec<String>,
}

/// A CA, an agent, and a workload that listens all the while.
struct Scene {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    held: Arc<Mutex<Held>>,
    _listening: JoinSet<()>,
}

impl Scene {
    async fn new() -> Self {
        let bed = TestBed::new();
        let options = CaOptions { extra: "[rotation]\nautomatic = false\n".to_owned(), ..CaOptions::default() };
        let ca = Ca::start(&bed, options).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let uid = nix::unistd::getuid();
        ca.create_entry("spiffe://example.org/web", &[&format!("unix:uid:{uid}")], "node-1");
        let held = Arc::new(Mutex::new(Held::default()));
        let mut listening = JoinSet::new();
        listening.spawn(listen(agent.api_socket(), Arc::clone(&held)));
        let scene = Self { bed, ca, agent, held, _listening: listening };
        eventually("the workload to be served", async || scene.with_held(|held| (held.answers > 0).then_some(()))).await;
        scene
    }

    fn with_held<T>(&self, look: impl FnOnce(&Held) -> T) -> T {
        look(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills the CA at this moment of a rotation, and sees it through.
    async fn cut(&mut self, moment: Moment) {
        let at = format!("{moment:?}");
        let (Moment::Before(step) | Moment::After(step)) = moment;
        let kind = kind_of(step);
        let (old, ended) = (active(&self.ca, kind), ended(&self.ca));
        self.ca.process.stop().await;
        self.ca.start_to_end_at(Path::new(env!("CARGO_BIN_EXE_ca-ends-at-step")), moment).await;
        let drill = self.drill(kind);
        let status = self.ca.process.exit(LIMIT).await;
        assert_eq!(status.signal(), Some(9), "{at} was not reached: {}", drill.stdout());
        drop(drill);

        // What is left is a state that the CA would start from.
        let config = self.bed.path().join("ca.toml");
        let checked = Cli::run(&["ca".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()]);
        assert_eq!(checked.code, 0, "{at}: {}{}", checked.stdout, checked.stderr);
        self.ca.start_again().await;
        // Cut off before anything was stored, there is none to go on with: it is asked for again.
        let again = (moment == Moment::Before(Step::StoreRotation)).then(|| self.drill(kind));
        let what = format!("the rotation to complete that was cut off at {at}");
        eventually_within(&what, LIMIT, async || (self::ended(&self.ca) == ended + 1).then_some(())).await;
        drop(again);
        assert_eq!(slot(&self.ca, &old), "revoked", "{at}");
        assert_ne!(active(&self.ca, kind), old, "{at}");
        self.judge(&at, kind).await;
    }

    fn drill(&self, kind: &str) -> Process {
        let mut command = Command::new(signet_binary());
        command.args(["drill", kind, "-o", "json", "--socket"]).arg(self.ca.admin_socket());
        Process::start("drill", &mut command, self.bed.path())
    }

    /// What is so after a rotation, however it went.
    async fn judge(&self, at: &str, kind: &str) {
        let verified = self.ca.operate(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "{at}: {}{}", verified.stdout, verified.stderr);
        if kind == "root" {
            let shown = self.ca.operate(&["authority", "show"]).ok().json();
            let root = shown["authorities"].as_array().unwrap().iter().find(|one| one["kind"] == "root").unwrap();
            let fingerprint = root["fingerprint"].as_str().unwrap().to_owned();
            eventually("the workload to rest on the new root alone", async || {
                self.with_held(|held| {
                    let WorkloadSvid { svid, bundle, .. } = held.newest.as_ref()?;
                    let [authority] = bundle.authorities() else { return None };
                    let is_new = data_encoding::HEXLOWER.encode(&authority.fingerprint()) == fingerprint;
                    (is_new && svid.verify(bundle, SystemClock::shared().now().into()).is_ok()).then_some(())
                })
            })
            .await;
        }
        self.with_held(|held| assert_eq!(held.faults, Vec::<String>::new(), "{at}"));
        self.agent.ready().await;
    }
}

/// Follows `FetchX509SVID` until it is stopped.
async fn listen(socket: std::path::PathBuf, held: Arc<Mutex<Held>>) {
    let client = WorkloadClient::connect(&socket).await.unwrap();
    loop {
        let Ok(mut stream) = client.x509_svids().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(answer) = stream.next().await {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.answers += 1;
            let number = held.answers;
            for one in answer {
                if let Err(error) = one.svid.verify(&one.bundle, SystemClock::shared().now().into()) {
                    held.faults.push(format!("answer {number}: {error}"));
                }
                held.newest = Some(one);
            }
        }
    }
}

fn authorities(ca: &Ca) -> Vec<Value> {
    ca.operate(&["authority", "show", "--all"]).ok().json()["authorities"].as_array().unwrap().clone()
}

fn active(ca: &Ca, kind: &str) -> String {
    let all = authorities(ca);
    let active = all.iter().find(|one| one["kind"] == kind && one["slot"] == "active");
    active.unwrap_or_else(|| panic!("no {kind} signs: {all:?}"))["name"].as_str().unwrap().to_owned()
}

fn slot(ca: &Ca, name: &str) -> String {
    authorities(ca).iter().find(|one| one["name"] == name).unwrap()["slot"].as_str().unwrap().to_owned()
}

/// How many rotations are over, by the record.
fn ended(ca: &Ca) -> usize {
    let events = ca.operate(&["audit", "tail", "-n", "1000000"]).ok().json();
    events.as_array().unwrap().iter().filter(|event| event["kind"] == "rotation_ended").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_killed_in_the_middle_of_a_rotation_goes_on_and_nothing_invalid_is_served() {
    let of_root = [
        Moment::After(Step::StoreRotation),
        Moment::After(Step::Rename),
        Moment::Before(Step::RenewServing),
        Moment::Before(Step::SyncDestroyed),
    ];
    let of_jwt = [Moment::After(Step::WriteJwtKey)];
    join_all([&of_root[..], &of_jwt[..]].map(async |moments| {
        let mut scene = Scene::new().await;
        for moment in moments {
            scene.cut(*moment).await;
        }
    }))
    .await;
}

/// Every step of the list, before and after it, three times.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_ca_that_is_killed_at_any_step_of_a_rotation_goes_on_and_nothing_invalid_is_served() {
    let all: Vec<_> = moments().collect();
    for round in 1..=3 {
        // Scenes beside each other: a rotation waits more than it works.
        join_all(all.chunks(all.len().div_ceil(4)).map(async |moments| {
            let mut scene = Scene::new().await;
            for moment in moments {
                scene.cut(*moment).await;
            }
        }))
        .await;
        println!("round {round}: killed at {} moments, all rotations completed", all.len());
    }
}
