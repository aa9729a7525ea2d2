//! The order of turns, by examples and by properties.

use proptest::prelude::*;

use super::*;

fn name(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn ending(seconds: u64) -> Urgency {
    Urgency::Ending(Timestamp::from_unix_seconds(seconds))
}

fn enter(queue: &mut Queue<String>, identity: &str, urgency: Urgency) -> Result<Option<String>, Full> {
    let held = format!("{identity} {urgency:?} {}", queue.arrivals);
    queue.enter(&name(identity), urgency, held).map(|entered| entered.displaced)
}

/// The identities in the order in which their turns come.
fn order(queue: &mut Queue<String>) -> Vec<String> {
    std::iter::from_fn(|| queue.next()).map(|held| held.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn who_is_about_to_lose_an_identity_goes_first_and_who_has_time_last() {
    let mut queue = Queue::new(8);
    enter(&mut queue, "early", Urgency::Early).unwrap();
    enter(&mut queue, "fresh", Urgency::Fresh).unwrap();
    enter(&mut queue, "later", ending(200)).unwrap();
    enter(&mut queue, "sooner", ending(100)).unwrap();
    assert_eq!(order(&mut queue), ["sooner", "later", "fresh", "early"]);
}

#[test]
fn one_with_much_to_do_waits_for_its_second_until_all_have_had_a_first() {
    let mut queue = Queue::new(64);
    for _ in 0..10 {
        enter(&mut queue, "many", Urgency::Fresh).unwrap();
    }
    for one in ["a", "b", "c"] {
        enter(&mut queue, one, Urgency::Fresh).unwrap();
    }
    assert_eq!(order(&mut queue)[..5], ["many", "a", "b", "c", "many"]);
}

#[test]
fn who_asks_one_by_one_is_not_ahead_of_who_waits() {
    let mut queue = Queue::new(64);
    for one in ["quick", "a", "b"] {
        enter(&mut queue, one, Urgency::Fresh).unwrap();
    }
    assert!(queue.next().unwrap().starts_with("quick"));
    enter(&mut queue, "quick", Urgency::Fresh).unwrap();
    assert_eq!(order(&mut queue), ["a", "b", "quick"]);
}

#[test]
fn urgent_ones_without_end_do_not_starve_the_others() {
    let mut queue = Queue::new(64);
    enter(&mut queue, "fresh", Urgency::Fresh).unwrap();
    enter(&mut queue, "early", Urgency::Early).unwrap();
    let mut served = Vec::new();
    for turn in 0..24 {
        enter(&mut queue, &format!("urgent{turn}"), ending(1)).unwrap();
        served.push(queue.next().unwrap());
    }
    for patient in ["fresh", "early"] {
        assert!(served.iter().any(|held| held.starts_with(patient)), "{patient} waits for ever: {served:?}");
    }
    assert!(served.iter().filter(|held| held.starts_with("urgent")).count() >= 18, "{served:?}");
}

#[test]
fn a_full_queue_takes_one_more_for_one_less_urgent_and_refuses_who_comes_last() {
    let mut queue = Queue::new(4);
    for one in ["a", "b", "c", "d"] {
        assert_eq!(enter(&mut queue, one, Urgency::Fresh).unwrap(), None);
    }
    assert_eq!(enter(&mut queue, "e", Urgency::Fresh).unwrap_err(), Full::Queue { places: 4 });
    assert_eq!(enter(&mut queue, "e", Urgency::Early).unwrap_err(), Full::Queue { places: 4 });
    let displaced = enter(&mut queue, "urgent", ending(1)).unwrap().unwrap();
    assert!(displaced.starts_with("d "), "{displaced}");
    assert_eq!((queue.len(), order(&mut queue)), (4, ["urgent", "a", "b", "c"].map(str::to_owned).to_vec()));
}

#[test]
fn one_identity_has_a_quarter_of_the_places_and_the_greedy_one_makes_room() {
    let mut queue = Queue::new(8);
    for _ in 0..2 {
        enter(&mut queue, "greedy", Urgency::Fresh).unwrap();
    }
    assert_eq!(enter(&mut queue, "greedy", ending(1)).unwrap_err(), Full::Share { places: 2 });
    for one in ["a", "b", "c", "d", "e", "f"] {
        enter(&mut queue, one, Urgency::Fresh).unwrap();
    }
    let displaced = enter(&mut queue, "g", Urgency::Fresh).unwrap().unwrap();
    assert!(displaced.starts_with("greedy"), "{displaced}");
    assert_eq!(enter(&mut queue, "h", Urgency::Fresh).unwrap_err(), Full::Queue { places: 8 });
}

#[test]
fn who_gives_up_frees_its_place_once() {
    let mut queue = Queue::new(1);
    let ticket = queue.enter(&name("a"), Urgency::Fresh, 1).ok().unwrap().ticket;
    assert_eq!((queue.leave(ticket), queue.leave(ticket), queue.len()), (Some(1), None, 0));
    assert!(queue.enter(&name("b"), Urgency::Fresh, 2).is_ok());
    assert_eq!((queue.leave(ticket), queue.next(), queue.next()), (None, Some(2), None));
    assert!(queue.counts.is_empty());
}

#[test]
fn who_was_served_is_not_remembered_for_ever() {
    let mut queue = Queue::new(4);
    enter(&mut queue, "stays", Urgency::Fresh).unwrap();
    for one in 0..1000 {
        enter(&mut queue, &format!("passes{one}"), Urgency::Fresh).unwrap();
        queue.next().unwrap();
    }
    assert!(queue.classes.iter().all(|class| class.last_rounds.len() <= 9), "memory grows with who was there");
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8, Urgency),
    Next,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let urgency = prop_oneof![(0_u64..50).prop_map(ending), Just(Urgency::Fresh), Just(Urgency::Early)];
    let step = prop_oneof![3 => (0_u8..12, urgency).prop_map(|(who, urgency)| Step::Enter(who, urgency)), 1 => Just(Step::Next)];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Nothing is lost, made up or counted wrongly: whoever entered is served, displaced or still there, and the bounds hold always.
    #[test]
    fn whoever_enters_leaves_once_and_the_places_are_never_exceeded(steps in steps(), places in 1_usize..24) {
        let mut queue = Queue::new(places);
        let (mut inside, mut next) = (BTreeMap::<u32, u8>::new(), 0);
        for step in steps {
            match step {
                Step::Enter(who, urgency) => {
                    next += 1;
                    if let Ok(entered) = queue.enter(&name(&who.to_string()), urgency, next) {
                        inside.insert(next, who);
                        if let Some(displaced) = entered.displaced {
                            prop_assert!(inside.remove(&displaced).is_some());
                        }
                    }
                }
                Step::Next => match queue.next() {
                    Some(served) => prop_assert!(inside.remove(&served).is_some()),
                    None => prop_assert!(inside.is_empty()),
                },
            }
            prop_assert_eq!(queue.len(), inside.len());
            prop_assert!(queue.len() <= places);
            for who in 0..12_u8 {
                let count = inside.values().filter(|inside| **inside == who).count();
                prop_assert!(count <= (places / 4).max(1));
                prop_assert_eq!(queue.counts.get(who.to_string().as_str()).copied().unwrap_or(0), count);
            }
        }
        while let Some(served) = queue.next() {
            prop_assert!(inside.remove(&served).is_some());
        }
        prop_assert!(inside.is_empty());
    }

    /// However much one identity asks for, one that asks for a single thing of the same urgency is served among the first: after at
    /// most one of each identity that was there before.
    #[test]
    fn a_single_request_is_not_behind_a_crowd_of_one_identity(crowd in 1_usize..60, others in 0_usize..10) {
        let mut queue = Queue::new(1000);
        for _ in 0..crowd {
            prop_assert!(enter(&mut queue, "crowd", Urgency::Fresh).is_ok());
        }
        for other in 0..others {
            let other = format!("other{other}");
            prop_assert!(enter(&mut queue, &other, Urgency::Fresh).is_ok());
        }
        prop_assert!(enter(&mut queue, "single", Urgency::Fresh).is_ok());
        let position = order(&mut queue).iter().position(|identity| identity == "single").unwrap();
        prop_assert!(position <= others + 1, "{}", position);
    }
}
