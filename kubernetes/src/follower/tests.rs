//! The machine beside a server whose past is known.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pods::{Phase, Pod, PodsOfNodes};
use crate::{Call, Kind, Message};

type PodFollower = Follower<PodsOfNodes>;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Moment {
    Moment { now: SECOND * u32::try_from(seconds).unwrap(), random: 0 }
}

fn pod(name: &str, node: Option<&str>, version: u64) -> Pod {
    Pod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{version}"),
        node: node.map(str::to_owned),
        service_account: Some("web".to_owned()),
        phase: Phase::Running,
        is_terminating: false,
        version: version.to_string(),
    }
}

fn list(pods: &[Pod], version: u64) -> ObjectList<Pod> {
    ObjectList { objects: pods.to_vec(), version: version.to_string() }
}

fn names(follower: &PodFollower, node: &str) -> Vec<String> {
    follower.index().pods_of(node).map(|pod| pod.name.clone()).collect()
}

/// One that watches since second 0, from version 5.
fn watching(pods: &[Pod]) -> PodFollower {
    let mut follower = PodFollower::default();
    assert_eq!(follower.step(at(0)), Step::List);
    follower.listed(Ok(list(pods, 5)), at(0).now, at(0));
    assert_eq!(follower.step(at(0)), Step::Watch { version: "5".to_owned() });
    follower.opened(Ok(()), at(0));
    assert_eq!(follower.step(at(0)), Step::Hear { until: SILENCE });
    follower
}

fn refused() -> ApiError {
    ApiError::Forbidden { call: Call::Watch(Kind::Pods), message: Message::default() }
}

#[test]
fn it_lists_watches_and_knows_which_pods_are_bound_to_which_node() {
    let mut follower = watching(&[pod("a", Some("n1"), 1), pod("b", Some("n2"), 2), pod("c", None, 3)]);
    assert_eq!(
        (names(&follower, "n1"), names(&follower, "n2"), names(&follower, "n3")),
        (vec!["a".into()], vec!["b".into()], vec![])
    );
    follower.told(ObjectEvent::Applied(pod("c", Some("n1"), 6)), at(1));
    follower.told(ObjectEvent::Deleted(pod("a", Some("n1"), 7)), at(2));
    // The same name, on another node: what was there is gone.
    follower.told(ObjectEvent::Applied(pod("b", Some("n1"), 8)), at(3));
    assert_eq!((names(&follower, "n1"), names(&follower, "n2")), (vec!["b".into(), "c".into()], vec![]));
    assert_eq!((follower.heard(), follower.index().count()), (Some(at(0).now), 2), "it may have happened before the watch began");
    follower.told(ObjectEvent::Bookmark("40".to_owned()), at(7));
    assert_eq!(follower.heard(), Some(at(7).now));
    follower.ended(None, at(10));
    assert_eq!(follower.fault(), None, "a server ends watches in their time");
    let Step::Rest { until } = follower.step(at(10)) else { panic!("it does not rest") };
    assert_eq!(follower.step(Moment { now: until, random: 0 }), Step::Watch { version: "40".to_owned() });
    assert_eq!(follower.heard(), Some(at(7).now), "what was known then still was so then");
    follower.opened(Ok(()), at(11));
    follower.told(ObjectEvent::Applied(pod("d", Some("n1"), 41)), at(11));
    assert_eq!(follower.heard(), Some(at(7).now), "it is told what happened meanwhile, and there may be more of it");
}

#[test]
fn a_list_counts_from_when_it_was_asked_for() {
    let mut follower = PodFollower::default();
    assert_eq!((follower.step(at(3)), follower.heard()), (Step::List, None));
    follower.listed(Ok(list(&[], 5)), at(3).now, at(30));
    assert_eq!(follower.heard(), Some(at(3).now));
    assert_eq!(follower.step(at(30)), Step::Watch { version: "5".to_owned() });
    follower.opened(Ok(()), at(40));
    assert_eq!(follower.heard(), Some(at(3).now), "that a watch begins says nothing of pods");
}

#[test]
fn what_is_out_of_date_or_not_understood_is_known_no_more_until_the_next_list() {
    let expired = || ApiError::Expired { call: Call::Watch(Kind::Pods), message: Message::default() };
    let malformed = || ApiError::Malformed { call: Call::Watch(Kind::Pods), cause: "x".to_owned() };
    let large = || ApiError::TooLarge { call: Call::Watch(Kind::Pods), max: 1 };
    let ends: [&dyn Fn(&mut PodFollower); 6] = [
        &|follower| follower.told(ObjectEvent::Expired(Message::of("too old")), at(7)),
        &|follower| follower.told(ObjectEvent::Failed(Message::of("etcd")), at(7)),
        &|follower| follower.ended(Some(&malformed()), at(7)),
        &|follower| follower.ended(Some(&large()), at(7)),
        &|follower| drop(follower.step(Moment { now: SILENCE, random: 0 })),
        &|follower| {
            follower.ended(None, at(1));
            assert!(matches!(follower.step(at(7)), Step::Watch { .. }));
            follower.opened(Err(&expired()), at(7));
        },
    ];
    for (place, end) in ends.iter().enumerate() {
        let mut follower = watching(&[pod("a", Some("n1"), 1)]);
        end(&mut follower);
        assert_eq!(follower.heard(), None, "{place}");
        assert!(follower.answered().is_some(), "{place}: what was said once was said");
        assert!(follower.fault().is_some(), "{place}");
        let Step::Rest { until } = follower.step(at(7)) else { panic!("{place}: it does not rest") };
        assert_eq!(follower.step(Moment { now: until, random: 0 }), Step::List, "{place}");
        follower.listed(Ok(list(&[pod("b", Some("n1"), 9)], 10)), at(100).now, at(100));
        assert_eq!(names(&follower, "n1"), ["b"], "{place}: a list takes the place of all that was known");
        assert_eq!(follower.step(at(100)), Step::Watch { version: "10".to_owned() }, "{place}");
    }
}

#[test]
fn what_was_on_its_way_for_long_is_not_taken_for_what_is_now() {
    let told = |follower: &mut PodFollower, second: u64| {
        follower.told(ObjectEvent::Applied(pod("a", Some("n1"), second + 10)), at(second));
        follower.heard().unwrap().as_secs()
    };
    let bookmark = |follower: &mut PodFollower, second: u64| {
        follower.told(ObjectEvent::Bookmark("900".to_owned()), at(second));
        follower.heard().unwrap().as_secs()
    };
    let mut follower = watching(&[]);
    assert_eq!(
        [told(&mut follower, 1), bookmark(&mut follower, 2), told(&mut follower, 6), told(&mut follower, 10)],
        [0, 2, 6, 10]
    );
    // Nothing for 5 s: the way may have been blocked, and more may follow.
    assert_eq!(
        [told(&mut follower, 15), told(&mut follower, 15), bookmark(&mut follower, 16), told(&mut follower, 17)],
        [10, 10, 16, 17]
    );
    // A bookmark itself may have been held.
    assert_eq!([bookmark(&mut follower, 60), told(&mut follower, 61), bookmark(&mut follower, 62)], [17, 17, 62]);
}

#[test]
fn after_faults_there_is_a_list_after_pauses_that_grow() {
    let mut follower = watching(&[]);
    let mut now = SECOND;
    let mut pauses = Vec::new();
    follower.ended(Some(&refused()), Moment { now, random: 0 });
    for _ in 0..8 {
        assert_eq!(follower.heard(), None);
        assert!(follower.fault().is_some_and(|fault| fault.contains("watch pods: forbidden")), "{:?}", follower.fault());
        let Step::Rest { until } = follower.step(Moment { now, random: 0 }) else { panic!("it does not rest") };
        pauses.push((until - now).as_millis());
        now = until;
        assert_eq!(follower.step(Moment { now, random: 0 }), Step::List);
        follower.listed(Ok(list(&[], 5)), now, Moment { now, random: 0 });
        assert_eq!(follower.step(Moment { now, random: 0 }), Step::Watch { version: "5".to_owned() });
        follower.opened(Err(&refused()), Moment { now, random: 0 });
    }
    assert_eq!(pauses, [600, 1200, 2400, 4800, 9600, 19200, 22500, 22500]);
    let Step::Rest { until } = follower.step(Moment { now, random: 0 }) else { panic!("it does not rest") };
    let then = Moment { now: until, random: 0 };
    assert_eq!(follower.step(then), Step::List);
    follower.listed(Ok(list(&[], 5)), until, then);
    assert!(matches!(follower.step(then), Step::Watch { .. }));
    follower.opened(Ok(()), then);
    assert_eq!(follower.fault(), None);
    follower.told(ObjectEvent::Bookmark("6".to_owned()), then);
    follower.ended(None, then);
    assert_eq!(follower.step(then), Step::Rest { until: until + SECOND * 6 / 10 });
    // A server that wants to be left alone is.
    let mut follower = PodFollower::default();
    assert_eq!(follower.step(at(0)), Step::List);
    let busy =
        ApiError::Busy { call: Call::List(Kind::Pods), status: 429, after: Some(SECOND * 20), message: Message::default() };
    follower.listed(Err(&busy), at(0).now, at(0));
    assert_eq!(follower.step(at(0)), Step::Rest { until: SECOND * 20 });
}

#[test]
fn more_pods_than_are_read_are_none() {
    let mut follower = watching(&[]);
    for number in 0..=Pod::MOST {
        follower.told(ObjectEvent::Applied(pod(&format!("p{number}"), Some("n"), 6)), at(1));
    }
    assert_eq!(follower.heard(), None);
    assert!(follower.fault().is_some_and(|fault| fault.contains("200000")), "{:?}", follower.fault());
}

/// What a server does next, or the way to it.
#[derive(Clone, Debug)]
enum Act {
    /// A pod of few is written, on one of few nodes or none.
    Write(u8, u8),
    /// One is deleted.
    Delete(u8),
    /// The next things that happened are told, at most so many.
    Deliver(u8),
    /// A bookmark, when all was told.
    Bookmark,
    /// What happened so far is forgotten.
    Compact,
    /// The watch ends, well or by a fault.
    End(bool),
    /// The machine does what is due, and it goes well or not.
    Work(bool),
    /// Time passes.
    Pass(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..6_u8, 0..4_u8).prop_map(|(pod, node)| Act::Write(pod, node)),
        2 => (0..6_u8).prop_map(Act::Delete),
        4 => (1..4_u8).prop_map(Act::Deliver),
        1 => Just(Act::Bookmark),
        1 => Just(Act::Compact),
        1 => any::<bool>().prop_map(Act::End),
        6 => prop::bool::weighted(0.8).prop_map(Act::Work),
        3 => (0..120_u8).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..120)
}

/// A server, with all its past: what each version was made by, the first being version 1.
#[derive(Default)]
struct Server {
    past: Vec<ObjectEvent<Pod>>,
    compacted: usize,
}

impl Server {
    /// The pods as they were at a version, by name.
    fn at(&self, version: usize) -> BTreeMap<String, Pod> {
        let mut pods = BTreeMap::new();
        for event in &self.past[..version] {
            match event {
                ObjectEvent::Applied(pod) => drop(pods.insert(pod.name.clone(), pod.clone())),
                ObjectEvent::Deleted(pod) => drop(pods.remove(&pod.name)),
                ObjectEvent::Bookmark(_) | ObjectEvent::Expired(_) | ObjectEvent::Failed(_) => {}
            }
        }
        pods
    }
}

fn known(follower: &PodFollower) -> BTreeMap<String, Pod> {
    ["n0", "n1", "n2"].iter().flat_map(|node| follower.index().pods_of(node)).map(|pod| (pod.name.clone(), pod.clone())).collect()
}

proptest! {
    /// Whatever happens, and whatever fails: while the machine says that it was told something, what it knows is all that was so at the
    /// version that it was told last, and nothing else. It goes on from that version, and asks for nothing within the shortest pause after
    /// a fault.
    #[test]
    fn what_is_known_is_all_that_was_so_at_the_version_told_last(acts in acts()) {
        let (mut server, mut follower, mut now) = (Server::default(), PodFollower::default(), SECOND);
        // The version that a running watch has told, and the one that was told last.
        let (mut told, mut reached) = (None::<usize>, 0_usize);
        let mut failed: Option<Duration> = None;
        for act in acts {
            let moment = Moment { now, random: 0 };
            match act {
                Act::Write(name, node) => {
                    let version = u64::try_from(server.past.len()).unwrap() + 1;
                    let node = (node < 3).then(|| format!("n{node}"));
                    server.past.push(ObjectEvent::Applied(pod(&format!("p{name}"), node.as_deref(), version)));
                }
                Act::Delete(name) => {
                    if let Some(mut gone) = server.at(server.past.len()).remove(&format!("p{name}")) {
                        gone.version = (server.past.len() + 1).to_string();
                        server.past.push(ObjectEvent::Deleted(gone));
                    }
                }
                Act::Deliver(most) => if let Some(from) = told {
                    let until = (from + usize::from(most)).min(server.past.len());
                    for event in &server.past[from..until] {
                        follower.told(event.clone(), moment);
                    }
                    told = Some(until);
                    reached = until;
                },
                Act::Bookmark => if told == Some(server.past.len()) {
                    follower.told(ObjectEvent::Bookmark(server.past.len().to_string()), moment);
                },
                Act::Compact => server.compacted = server.past.len(),
                Act::End(well) => if told.take().is_some() {
                    let broken = ApiError::Deadline { call: Call::Watch(Kind::Pods), after: SECOND };
                    follower.ended((!well).then_some(&broken), moment);
                    failed = Some(now);
                },
                Act::Work(well) => match follower.step(moment) {
                    step @ (Step::List | Step::Watch { .. }) => {
                        if let Some(failed) = failed {
                            prop_assert!(now - failed >= Duration::from_millis(600), "{step:?} {:?} after a fault", now - failed);
                        }
                        failed = None;
                        match step {
                            Step::List if well => {
                                reached = server.past.len();
                                let pods: Vec<_> = server.at(reached).into_values().collect();
                                follower.listed(Ok(list(&pods, u64::try_from(reached).unwrap())), now, moment);
                            }
                            Step::List => {
                                follower.listed(Err(&refused()), now, moment);
                                failed = Some(now);
                            }
                            Step::Watch { version } => {
                                prop_assert_eq!(&version, &reached.to_string());
                                if well && reached >= server.compacted {
                                    follower.opened(Ok(()), moment);
                                    told = Some(reached);
                                } else {
                                    let expired = ApiError::Expired { call: Call::Watch(Kind::Pods), message: Message::default() };
                                    let fault = if well { expired } else { refused() };
                                    follower.opened(Err(&fault), moment);
                                    failed = Some(now);
                                }
                            }
                            Step::Rest { .. } | Step::Hear { .. } => {}
                        }
                    }
                    Step::Hear { until } => prop_assert!(told.is_some() && until > now),
                    Step::Rest { until } => {
                        prop_assert!(until > now);
                        // Its silence was too long.
                        if told.take().is_some() {
                            failed = Some(now);
                        }
                    }
                },
                Act::Pass(tenths) => now += Duration::from_millis(u64::from(tenths) * 400),
            }
            if follower.heard().is_some() {
                let was: BTreeMap<_, _> = server.at(reached).into_iter().filter(|(_, pod)| pod.node.is_some()).collect();
                prop_assert_eq!(known(&follower), was);
            }
            prop_assert!(follower.heard().is_none_or(|heard| heard <= now));
        }
    }
}
