//! Callers in pods, by what an API server has told so far.

use kubernetes::ObjectList;
use kubernetes::follower::{Moment, Step};
use kubernetes::pods::PodDetail;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::fakes::caller::own_caller;

struct Bed {
    pods: Arc<Pods>,
    changes: watch::Sender<u64>,
}

#[expect(clippy::disallowed_methods, reason = "the tests stop this clock, and no other one")]
fn moment() -> Instant {
    Instant::now()
}

fn id(digit: &str) -> String {
    digit.repeat(64)
}

/// A pod with one container.
fn pod(uid: &str, label: &str, digit: &str) -> PodDetail {
    let pod = json!({
        "metadata": { "namespace": "shop", "name": uid, "uid": uid, "resourceVersion": "1", "labels": { "app": label } },
        "spec": { "nodeName": "n1", "serviceAccountName": "web" },
        "status": {
            "phase": "Running",
            "containerStatuses": [{ "name": "app", "image": "app:1", "containerID": format!("containerd://{}", id(digit)) }],
        },
    });
    serde_json::from_value(pod).unwrap()
}

impl Bed {
    fn new() -> Self {
        let (changes, receiver) = watch::channel(0);
        let pods = Pods {
            node: "n1".to_owned(),
            known: Known::default(),
            changes: receiver,
            waiting: Mutex::default(),
            metrics: PodMetrics::default(),
        };
        Self { pods: Arc::new(pods), changes }
    }

    /// The API server lists these, as the watcher hears it.
    fn list(&self, objects: Vec<PodDetail>) {
        let mut known = self.pods.known.locked();
        let mut at = Moment { now: Duration::ZERO, random: 0 };
        // What was begun before is given up, and after a while there is a list again.
        while known.step(at) != Step::List {
            at.now += Duration::from_secs(60);
        }
        known.listed(Ok(ObjectList { objects, version: "1".to_owned() }), at.now, at);
        drop(known);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn attestor(&self) -> NodePods {
        NodePods(Some(Arc::clone(&self.pods)))
    }

    fn waiting(&self) -> usize {
        self.pods.waiting.lock().unwrap().values().sum()
    }
}

fn caller(uid: &str, digit: &str) -> Caller {
    let container = Ok(Some(ContainerPlace { pod_uid: uid.to_owned(), container_id: id(digit) }));
    Caller { container, ..own_caller() }
}

fn has(caller: &Caller, selector: &str) -> bool {
    caller.selectors.contains(&Selector::parse(selector).unwrap())
}

fn of_pods(caller: &Caller) -> usize {
    let is_of_pod = |selector: &&Selector| SelectorKind::OF_PODS.into_iter().any(|kind| selector.is(kind));
    caller.selectors.iter().filter(is_of_pod).count()
}

/// Whether it resolves without anything else happening.
async fn is_outdated(standing: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(1), standing).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_container_is_waited_for_while_it_is_not_listed_and_for_ten_seconds() {
    let (bed, begin) = (Bed::new(), moment());
    let mut early = caller("u1", "a");
    let attestor = bed.attestor();
    let listing = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        bed.list(vec![pod("u2", "web", "b")]);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(bed.waiting(), 1);
        bed.list(vec![pod("u1", "web", "a"), pod("u2", "web", "b")]);
    };
    let (_standing, ()) = tokio::join!(attestor.complete(&mut early), listing);
    assert_eq!((begin.elapsed().as_secs(), bed.waiting()), (6, 0));
    assert!(has(&early, "k8s:pod-label:app:web") && has(&early, "k8s:sa:web") && has(&early, "k8s:ns:shop"), "{early:?}");

    let (mut never, begin) = (caller("u1", "c"), moment());
    let mut standing = Box::pin(attestor.complete(&mut never).await.outdated());
    assert_eq!((begin.elapsed().as_secs(), bed.waiting(), of_pods(&never)), (10, 0, 0));
    let why = never.unreadable.iter().filter(|absent| absent.why.contains("does not list") && absent.passing).count();
    assert_eq!(why, SelectorKind::OF_PODS.len(), "each kind has the reason: {never:?}");
    assert!(!is_outdated(&mut standing).await);
    bed.list(vec![pod("u1", "web", "c")]);
    assert!(is_outdated(&mut standing).await, "it is listed after all, and nobody else would look again");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_at_once_is_not_waited_for_and_ends_when_it_changes() {
    let (bed, begin) = (Bed::new(), moment());
    bed.list(vec![pod("u1", "web", "a"), pod("u2", "web", "b")]);
    let attestor = bed.attestor();
    let (mut one, mut other) = (caller("u1", "a"), caller("u2", "b"));
    let mut one_ends = Box::pin(attestor.complete(&mut one).await.outdated());
    let mut other_ends = Box::pin(attestor.complete(&mut other).await.outdated());
    assert_eq!((begin.elapsed(), of_pods(&one), of_pods(&other)), (Duration::ZERO, 7, 7));
    bed.list(vec![pod("u1", "web", "a"), pod("u2", "other", "b")]);
    assert!(!is_outdated(&mut one_ends).await, "nothing of it has changed");
    assert!(is_outdated(&mut other_ends).await, "its label has");
    bed.list(vec![pod("u2", "other", "b")]);
    assert!(is_outdated(&mut one_ends).await, "it is gone");
    attestor.complete_now(&mut one);
    assert!(one.unreadable.iter().any(|absent| absent.passing), "a look of a moment waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn few_wait_and_of_one_pod_fewer_and_the_rest_is_told_at_once() {
    let bed = Bed::new();
    let attestor = bed.attestor();
    let waiting = async {
        let mut calls: Vec<_> = (0..40).map(|_| caller("u1", "a")).collect();
        let calls = calls.iter_mut().map(|caller| attestor.complete(caller));
        futures_util::future::join_all(calls).await;
        moment()
    };
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bed.waiting(), MAX_WAITING_OF_POD);
        let (mut other, begin) = (caller("u2", "b"), moment());
        bed.list(vec![pod("u2", "web", "b")]);
        let _standing = attestor.complete(&mut other).await;
        assert_eq!((of_pods(&other), begin.elapsed()), (7, Duration::ZERO));
    };
    tokio::join!(waiting, looking);
    assert_eq!(bed.waiting(), 0);
    let mut turns = Vec::new();
    while let Some(turn) = bed.pods.turn(&format!("u{}", turns.len() / 8)) {
        turns.push(turn);
    }
    assert_eq!(turns.len(), MAX_WAITING);
    drop(turns);
    assert!(bed.pods.turn("u0").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_waited_for_and_never_told_as_passing() {
    let (bed, begin) = (Bed::new(), moment());
    let mut too_much = pod("u2", "web", "b");
    too_much.is_cut = true;
    bed.list(vec![pod("u1", "web", "a"), too_much]);
    let mut unbelieved = Caller { container: Err("two containers".to_owned()), ..own_caller() };
    let mut cut = caller("u2", "b");
    for (caller, why) in [(&mut unbelieved, "two containers"), (&mut cut, "more than 256")] {
        let _standing = bed.attestor().complete(caller).await;
        assert_eq!(of_pods(caller), 0);
        assert!(caller.unreadable.iter().any(|absent| absent.why.contains(why) && !absent.passing), "{caller:?}");
    }
    let mut outside = own_caller();
    let before = outside.unreadable.len();
    let mut standing = Box::pin(bed.attestor().complete(&mut outside).await.outdated());
    assert_eq!((outside.unreadable.len(), begin.elapsed()), (before, Duration::ZERO), "a process in no pod lacks nothing");
    bed.list(Vec::new());
    assert!(!is_outdated(&mut standing).await);
    let mut uncounted = caller("u1", "a");
    let _standing = NodePods::off().complete(&mut uncounted).await;
    assert!(of_pods(&uncounted) == 0 && uncounted.unreadable.iter().any(|absent| absent.why.contains("[kubernetes]")));
}
