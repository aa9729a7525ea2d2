//! A breadth-first walk over every order of what operators, the driver, crashes and one agent can do, with the promises held against
//! each state and each step.
//!
//! The agent stands for all: it takes bundles late, asks for leaves at any moment, and keeps one until it ends.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use identity::NodeName;

use super::super::gate::{Accepted, AgentFacts, Facts, Leaves, activation, revocation};
use super::super::rotation::{Next, Outcome, Pace, Rotation};
use super::*;

/// Everything that a crash of the CA leaves, and what it takes.
#[derive(Clone, Debug)]
struct World {
    /// In the store.
    state: Lifecycle,
    /// In the store: sequence and content of each bundle that went out.
    bundles: BTreeMap<u64, (BTreeSet<AuthorityName>, BTreeSet<AuthorityName>)>,
    /// In the driver: effects not done yet.
    pending: VecDeque<Effect>,
    /// In the driver: who signs; `None` after a crash.
    signer: Option<AuthorityName>,
    /// At the agent: the bundle sequence in use, and the issuing CAs that signed what it holds: the newest first, at most two.
    agent: (u64, Vec<AuthorityName>),
}

#[derive(Clone, Debug)]
enum Act {
    Do(Event),
    Effect,
    Crash,
    Acknowledge,
    Ask,
    Expire,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: adopted(),
            bundles: BTreeMap::new(),
            pending: VecDeque::from([Effect::Publish, Effect::Sign]),
            signer: None,
            agent: (0, Vec::new()),
        };
        world.settle();
        world.act(&Act::Acknowledge);
        world
    }

    fn facts(&self) -> Facts {
        let (acknowledged, held) = &self.agent;
        let tainted: BTreeSet<_> = self.bundle(*acknowledged).map(|(_, tainted)| tainted.clone()).unwrap_or_default();
        let mut leaves: BTreeMap<_, Leaves> = BTreeMap::new();
        for (age, issuer) in held.iter().enumerate() {
            let leaves = leaves.entry(*issuer).or_default();
            leaves.unexpired += 1;
            leaves.held += u64::from(age == 0);
        }
        let newest_tainted = held.first().is_some_and(|issuer| tainted.contains(issuer));
        let agent = AgentFacts {
            node: NodeName::parse("n").unwrap(),
            connected: true,
            acknowledged: *acknowledged,
            streams_behind: 0,
            files_behind: 0,
            files_written_at: None,
            svids_tainted: u32::from(newest_tainted),
        };
        Facts { agents: vec![agent], leaves, ..Facts::default() }
    }

    fn bundle(&self, sequence: u64) -> Option<&(BTreeSet<AuthorityName>, BTreeSet<AuthorityName>)> {
        self.bundles.get(&sequence)
    }

    fn content(&self) -> (BTreeSet<AuthorityName>, BTreeSet<AuthorityName>) {
        let names = |authorities: &mut dyn Iterator<Item = &Authority>| authorities.map(|authority| authority.name).collect();
        (names(&mut self.state.in_bundle(AuthorityKind::Root)), names(&mut self.state.tainted()))
    }

    /// What can happen now. Successors are bounded, so that the walk ends.
    fn acts(&self) -> Vec<Act> {
        let facts = self.facts();
        let mut acts = vec![Act::Crash, Act::Acknowledge, Act::Ask, Act::Expire];
        if !self.pending.is_empty() {
            acts.push(Act::Effect);
        }
        // The driver takes no command before the effects of the one before are done, except the making, which may fail for long.
        if self.pending.iter().any(|effect| !matches!(effect, Effect::Make { .. })) {
            return acts;
        }
        for kind in [AuthorityKind::Root, AuthorityKind::Issuer] {
            if self.state.of(kind).count() < 2 + usize::from(kind == AuthorityKind::Issuer) {
                acts.push(Act::Do(Event::Prepare(kind)));
            }
        }
        for authority in self.state.authorities().filter(|authority| authority.name.kind != AuthorityKind::Jwt) {
            let name = authority.name;
            let none = Accepted::default();
            acts.extend([
                Act::Do(Event::Activate { name, gate: activation(&self.state, name, &facts, now(), &none) }),
                Act::Do(Event::Taint(name)),
                Act::Do(Event::Revoke { name, gate: revocation(&self.state, name, &facts, now(), &none) }),
            ]);
        }
        acts
    }

    /// False when it was refused or did nothing.
    fn act(&mut self, act: &Act) -> bool {
        match act {
            Act::Do(event) => match apply(&self.state, event.clone(), now()) {
                Ok(transition) => self.take(transition),
                Err(_) => return false,
            },
            Act::Effect => self.effect(),
            Act::Crash => {
                self.pending = resume(&self.state).into();
                self.signer = None;
            }
            Act::Acknowledge => self.agent.0 = self.bundles.keys().last().copied().unwrap_or(0),
            Act::Ask => return self.ask(),
            Act::Expire => return self.agent.1.pop().is_some(),
        }
        true
    }

    fn take(&mut self, transition: Transition) {
        held_by_step(&self.state, &transition.state);
        self.state = transition.state;
        self.pending.extend(transition.effects);
    }

    fn effect(&mut self) {
        let event = match self.pending.pop_front() {
            None => return,
            Some(Effect::Make { name, .. }) => Event::Made { name, material: material(name) },
            Some(Effect::Publish) => {
                let content = self.content();
                let last = self.bundles.last_key_value();
                let sequence = match last {
                    Some((sequence, published)) if *published == content => *sequence,
                    Some((sequence, _)) => sequence + 1,
                    None => 1,
                };
                self.bundles.insert(sequence, content);
                Event::Published { sequence }
            }
            Some(Effect::Sign) => {
                self.signer = self.state.active(AuthorityKind::Issuer).map(|issuer| issuer.name);
                return;
            }
            Some(Effect::Destroy(name)) => Event::Destroyed(name),
        };
        // What was dropped while it was made is destroyed by an effect of its own.
        if let Ok(transition) = apply(&self.state, event, now()) {
            self.take(transition);
        }
    }

    fn ask(&mut self) -> bool {
        // A CA that has not come up again answers nobody.
        let Some(signer) = self.signer else { return false };
        if self.agent.1.first() == Some(&signer) {
            return false;
        }
        self.agent.1.insert(0, signer);
        self.agent.1.truncate(2);
        true
    }

    fn settle(&mut self) {
        while !self.pending.is_empty() {
            self.effect();
        }
    }

    fn root_of(&self, issuer: AuthorityName) -> AuthorityName {
        self.state.get(issuer).unwrap().parent.unwrap()
    }

    /// The promises.
    fn hold(&self) {
        self.state.check().unwrap();
        let (roots, _) = self.content();
        assert!(!roots.is_empty(), "a bundle without roots");
        assert!(self.state.active(AuthorityKind::Root).is_some() && self.state.active(AuthorityKind::Issuer).is_some());
        let (acknowledged, held) = &self.agent;
        let known = &self.bundle(*acknowledged).expect("agents have bundles that went out").0;
        if let Some(newest) = held.first() {
            assert!(roots.contains(&self.root_of(*newest)), "the root of a leaf in use left the bundle");
        }
        for issuer in held.iter().take(1).chain(self.signer.as_ref()) {
            assert!(known.contains(&self.root_of(*issuer)), "{issuer} signs, and the agent does not know its root");
        }
    }

    /// Two worlds that go on alike have the same text: sequences count from the agent's.
    fn key(&self) -> String {
        let last = self.bundles.last_key_value();
        let known = self.bundle(self.agent.0);
        let published: Vec<_> = self
            .state
            .authorities()
            .map(|authority| {
                let reached = |sequence: Option<u64>| sequence.map(|sequence| sequence <= self.agent.0);
                (
                    authority.name,
                    authority.slot,
                    authority.destroyed,
                    reached(authority.published_in),
                    reached(authority.taint_published_in),
                    authority.tainted_at.is_some(),
                )
            })
            .collect();
        format!("{published:?}{:?}{known:?}{:?}{:?}{:?}", last.map(|last| last.1), self.pending, self.signer, self.agent.1)
    }
}

/// What no step may do.
fn held_by_step(before: &Lifecycle, after: &Lifecycle) {
    for old in before.authorities() {
        let new = after.get(old.name).expect("an authority is never forgotten");
        let forward = old.slot <= new.slot || (old.slot == Slot::Old && new.slot == Slot::Active && old.tainted_at.is_none());
        assert!(forward, "{} went from {} to {}", old.name, old.slot, new.slot);
        assert!(old.material.is_none() || old.material == new.material, "{} has another key", old.name);
        assert!(old.parent == new.parent && (old.tainted_at.is_none() || old.tainted_at == new.tainted_at));
    }
}

/// All worlds that are reached, each held against the promises.
fn reached(most: usize) -> Vec<World> {
    let first = World::new();
    let mut seen = HashSet::from([first.key()]);
    let mut all = vec![first];
    let mut next = 0;
    while next < all.len() && all.len() < most {
        for act in all[next].acts() {
            let mut world = all[next].clone();
            if !world.act(&act) {
                continue;
            }
            world.hold();
            if seen.insert(world.key()) {
                all.push(world);
            }
        }
        next += 1;
    }
    all
}

#[test]
fn no_order_of_events_and_crashes_breaks_a_promise() {
    let all = reached(25_000);
    // A walk that goes nowhere would hold everything.
    let seen = |wanted: &dyn Fn(&World) -> bool| all.iter().filter(|world| wanted(world)).count();
    let slot = |world: &World, text: &str| world.state.get(name(text)).map(|authority| authority.slot);
    assert!(seen(&|world| slot(world, "root-2") == Some(Slot::Active)) > 100);
    assert!(seen(&|world| slot(world, "root-1") == Some(Slot::Revoked)) > 10);
    assert!(seen(&|world| slot(world, "root-2") == Some(Slot::Old)) > 10, "rolled back");
    println!("{} worlds", all.len());
}

#[test]
fn from_everywhere_a_crash_leads_to_the_same_place_as_none() {
    for world in reached(6_000) {
        let (mut straight, mut crashed) = (world.clone(), world);
        straight.settle();
        crashed.act(&Act::Crash);
        crashed.settle();
        crashed.hold();
        assert_eq!(slots(&crashed.state), slots(&straight.state));
        assert_eq!(crashed.content(), straight.content());
        assert_eq!(crashed.bundles.last_key_value(), straight.bundles.last_key_value());
        let repeated = resume(&crashed.state);
        assert!(repeated.iter().all(|effect| matches!(effect, Effect::Publish | Effect::Sign)), "{repeated:?}");
    }
}

#[test]
fn from_everywhere_a_rotation_is_driven_to_its_end_or_undone() {
    for world in reached(3_000) {
        for (kind, pace) in [(AuthorityKind::Root, Pace::Taint), (AuthorityKind::Issuer, Pace::Natural)] {
            for aborting in [false, true] {
                driven(world.clone(), kind, pace, aborting);
            }
        }
    }
}

fn driven(mut world: World, kind: AuthorityKind, pace: Pace, aborting: bool) {
    let from = world.state.active(kind).unwrap().name;
    let mut rotation = Rotation { from, started_at: now(), pace, aborting: false, accepted: Accepted::default() };
    for turn in 0..40 {
        // The operator changes their mind in the middle.
        rotation.aborting = aborting && turn > 3;
        world.settle();
        match rotation.next(&world.state, &world.facts(), now()) {
            Next::Apply(_, event) => {
                let transition = apply(&world.state, event, now()).expect("a rotation asks for nothing that is refused");
                world.take(transition);
            }
            Next::Wait(..) => {
                world.act(&Act::Acknowledge);
                world.act(&Act::Ask);
                if pace == Pace::Natural {
                    world.agent.1.truncate(1);
                }
            }
            Next::Done(outcome) => {
                world.settle();
                world.hold();
                let slot = world.state.get(from).unwrap().slot;
                match outcome {
                    Outcome::Completed => assert_eq!(slot, Slot::Revoked, "{from} {}", world.key()),
                    Outcome::RolledBack => assert_eq!(slot, Slot::Active, "{from} {}", world.key()),
                }
                return;
            }
        }
        world.hold();
    }
    panic!("the rotation of {from} does not end: {}", world.key());
}
