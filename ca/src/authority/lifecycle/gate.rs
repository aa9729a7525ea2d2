//! Gates: what must be so before an authority signs, and before it is gone. Facts come in, and what is missing comes out with names
//! and numbers; there is one timer, for receivers that cannot acknowledge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use identity::{NodeName, ReplicaName};
use pki::Timestamp;

use super::{Authority, AuthorityKind, AuthorityName, Lifecycle, Slot};

/// Most names in a text; the rest is a number.
const NAMES_TOLD: usize = 3;

/// What is known of receivers and of what rests on authorities, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every node that may come with the bundle it has: attested, and its SVID, or the time in which it may attest again by its
    /// key, has not ended.
    pub agents: Vec<AgentFacts>,
    /// Certificates by the issuing CA that signed them. An issuing CA that is missing signed none that is good now.
    pub leaves: BTreeMap<AuthorityName, Leaves>,
    /// When the last JWT-SVID ends that a JWT key signed. A key that is missing signed none that is good now.
    pub tokens_until: BTreeMap<AuthorityName, Timestamp>,
    /// How long a receiver of files may take to read them after they were written.
    pub propagation_hold: Duration,
    /// Other replicas that live.
    pub replicas: BTreeSet<ReplicaName>,
    /// Objects of a cluster that show the bundle, or hold certificates.
    pub objects: Vec<ObjectFacts>,
}

/// What is known of objects of a cluster by which receivers who cannot acknowledge learn of a bundle. They show X.509 authorities alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// What they are, for people.
    pub what: &'static str,
    /// The bundle that they were held against.
    pub sequence: u64,
    /// How many there are.
    pub of: u64,
    /// How many do not show that bundle, or rest on what it says is tainted. What is not known is among them.
    pub behind: u64,
    /// The first of those, for people.
    pub first: Vec<String>,
    /// Since when none is behind; `None` while that never was so under this bundle.
    pub written_at: Option<Timestamp>,
}

/// What is known of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFacts {
    /// Its node.
    pub node: NodeName,
    /// Whether it is connected now.
    pub connected: bool,
    /// The bundle sequence that it acknowledged last; 0 before the first.
    pub acknowledged: u64,
    /// Streams of its workloads that have not taken the newest bundle and SVIDs of their agent.
    pub streams_behind: u32,
    /// Sets of files on its node that are not written and read back with the newest bundle and SVIDs.
    pub files_behind: u32,
    /// Since when all of its sets of files are written; `None` when it keeps none, or not all are.
    pub files_written_at: Option<Timestamp>,
    /// SVIDs that it serves now and that rest on something tainted.
    pub svids_tainted: u32,
}

/// Certificates that one issuing CA signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// The newest of their holder for their purpose: their holder has nothing better.
    pub held: u64,
    /// Not ended.
    pub unexpired: u64,
    /// The last second of the one that ends last.
    pub last_end: Option<Timestamp>,
    /// The last second of the first to end of those that workloads hold by an entry. No gate asks for it.
    pub first_workload_end: Option<Timestamp>,
}

/// Whether a step may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Now.
    Open,
    /// Not before these are over.
    Waits(Vec<Waiting>),
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The bundle of this state has not gone out.
    Publication,
    /// Replicas that live, and have no issuing CA that could sign under the new root, or sign under the old one still.
    Replicas(BTreeSet<ReplicaName>),
    /// Agents that have not acknowledged the sequence.
    Agents {
        /// The sequence that each must have.
        sequence: u64,
        /// Which have not.
        behind: BTreeSet<NodeName>,
        /// Of them, those that are not connected.
        absent: BTreeSet<NodeName>,
        /// Of how many.
        of: usize,
    },
    /// Streams of workloads that have not taken what their agent has.
    Streams {
        /// On which nodes.
        nodes: BTreeSet<NodeName>,
        /// How many streams.
        behind: u64,
    },
    /// Sets of files that are not written and read back.
    Files {
        /// On which nodes.
        nodes: BTreeSet<NodeName>,
        /// How many sets.
        behind: u64,
    },
    /// Objects of a cluster that do not show it yet.
    Objects {
        /// What they are.
        what: &'static str,
        /// How many.
        behind: u64,
        /// Of how many.
        of: u64,
        /// The first of them.
        first: Vec<String>,
    },
    /// Whoever reads files may not have read the newest ones.
    PropagationHold {
        /// Until then.
        until: Timestamp,
    },
    /// Certificates rest on it, and their holders have nothing better.
    Leaves {
        /// How many.
        left: u64,
        /// When the last of them ends by itself.
        last_end: Option<Timestamp>,
    },
    /// Agents serve SVIDs that rest on it.
    Svids {
        /// On which nodes.
        nodes: BTreeSet<NodeName>,
        /// How many.
        left: u64,
    },
    /// JWT-SVIDs under this key are good.
    Tokens {
        /// Until then.
        until: Timestamp,
    },
}

/// What an operator accepts to lose, explicitly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Nodes that need not acknowledge; each must be named.
    pub nodes: BTreeSet<NodeName>,
    /// That so many certificates stop working.
    pub leaves: u64,
    /// That JWT-SVIDs stop working.
    pub tokens: bool,
    /// That readers of files, and of objects of a cluster, may not have the newest ones.
    pub files: bool,
}

/// Whether a prepared authority may sign: whoever will meet what it signs has the bundle that vouches for it.
#[must_use]
pub fn activation(state: &Lifecycle, name: AuthorityName, facts: &Facts, now: Timestamp, accepted: &Accepted) -> Gate {
    let Some(authority) = state.get(name) else { return Gate::Open };
    // An issuing CA comes with each leaf, and its root has been through this gate.
    if name.kind == AuthorityKind::Issuer || authority.slot != Slot::Prepared {
        return Gate::Open;
    }
    match authority.published_in {
        None => Gate::Waits(vec![Waiting::Publication]),
        Some(sequence) => {
            let ready = |issuer: &Authority| {
                matches!(issuer.slot, Slot::Prepared | Slot::Active) && issuer.parent == Some(name) && !issuer.has_ended(now)
            };
            let mut waits = replicas(state, facts, |own| own.iter().any(|issuer| ready(issuer)));
            waits.extend(receivers(name.kind, sequence, facts, now, accepted));
            Gate::of(waits)
        }
    }
}

/// Replicas that live and sign under this root still, although another one signs: they follow by themselves.
#[must_use]
pub fn still_under(state: &Lifecycle, root: AuthorityName, facts: &Facts) -> Vec<Waiting> {
    let signs_under = |issuer: &Authority| issuer.slot == Slot::Active && issuer.parent == Some(root);
    replicas(state, facts, |own| !own.iter().any(|issuer| signs_under(issuer)))
}

/// Replicas that live and whose issuing CAs are not so.
fn replicas(state: &Lifecycle, facts: &Facts, is_so: impl Fn(&[&Authority]) -> bool) -> Vec<Waiting> {
    let is_behind = |replica: &&ReplicaName| {
        let own = state.others().filter(|foreign| foreign.replica == **replica).map(|foreign| &foreign.authority);
        let own: Vec<_> = own.filter(|authority| authority.name.kind == AuthorityKind::Issuer).collect();
        !is_so(&own)
    };
    let behind: BTreeSet<_> = facts.replicas.iter().filter(is_behind).cloned().collect();
    if behind.is_empty() { Vec::new() } else { vec![Waiting::Replicas(behind)] }
}

/// Whether an old authority may go: nobody rests on it any more.
#[must_use]
pub fn revocation(state: &Lifecycle, name: AuthorityName, facts: &Facts, now: Timestamp, accepted: &Accepted) -> Gate {
    let Some(authority) = state.get(name) else { return Gate::Open };
    if authority.slot != Slot::Old {
        return Gate::Open;
    }
    let mut waits = Vec::new();
    match name.kind {
        AuthorityKind::Jwt => {
            let until = facts.tokens_until.get(&name).filter(|until| **until >= now);
            waits.extend(until.filter(|_| !accepted.tokens).map(|until| Waiting::Tokens { until: *until }));
        }
        AuthorityKind::Root | AuthorityKind::Issuer => {
            waits.extend(still_under(state, name, facts));
            waits.extend(leaves(resting_on(state, name, facts), authority, accepted));
        }
    }
    if authority.tainted_at.is_some() {
        match authority.taint_published_in {
            None => waits.push(Waiting::Publication),
            Some(sequence) => {
                waits.extend(receivers(name.kind, sequence, facts, now, accepted));
                let of_interest = facts.agents.iter().filter(|agent| !accepted.nodes.contains(&agent.node));
                let (nodes, left) = sum(of_interest, |agent| agent.svids_tainted);
                if left > 0 {
                    waits.push(Waiting::Svids { nodes, left });
                }
            }
        }
    }
    Gate::of(waits)
}

/// Whether the authorities of a replica that is gone may be taken out: nothing good rests on them any more.
#[must_use]
pub fn removal(state: &Lifecycle, replica: &ReplicaName, facts: &Facts, now: Timestamp) -> Gate {
    let of_it = state.others().filter(|foreign| foreign.replica == *replica).map(|foreign| &foreign.authority);
    let mut waits = Vec::new();
    for authority in of_it.filter(|authority| authority.slot == Slot::Old) {
        match authority.name.kind {
            AuthorityKind::Jwt => {
                let until = facts.tokens_until.get(&authority.name).filter(|until| **until >= now);
                waits.extend(until.map(|until| Waiting::Tokens { until: *until }));
            }
            AuthorityKind::Root | AuthorityKind::Issuer => {
                waits.extend(leaves(resting_on(state, authority.name, facts), authority, &Accepted::default()));
            }
        }
        if authority.tainted_at.is_some() && authority.taint_published_in.is_none() {
            waits.push(Waiting::Publication);
        }
    }
    Gate::of(waits)
}

/// Certificates that rest on an authority: those that it signed, of a root also those of its issuing CAs.
#[must_use]
pub fn resting_on(state: &Lifecycle, name: AuthorityName, facts: &Facts) -> Leaves {
    let signers: Vec<AuthorityName> = match name.kind {
        AuthorityKind::Root => state.all_under(name).map(|issuer| issuer.name).chain([name]).collect(),
        AuthorityKind::Issuer | AuthorityKind::Jwt => vec![name],
    };
    let mut all = Leaves::default();
    for leaves in signers.iter().filter_map(|signer| facts.leaves.get(signer)) {
        all.held = all.held.saturating_add(leaves.held);
        all.unexpired = all.unexpired.saturating_add(leaves.unexpired);
        all.last_end = all.last_end.max(leaves.last_end);
        all.first_workload_end = earlier(all.first_workload_end, leaves.first_workload_end);
    }
    all
}

/// The earlier one of those that there are.
#[must_use]
pub fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Leaves {
    /// Those that are awaited before `authority` may go. Holders that were told to renew have something better soon; others keep what
    /// they have to its end.
    #[must_use]
    pub fn awaited(&self, authority: &Authority) -> u64 {
        if authority.tainted_at.is_some() { self.held } else { self.unexpired }
    }
}

fn leaves(all: Leaves, authority: &Authority, accepted: &Accepted) -> Option<Waiting> {
    let left = all.awaited(authority);
    (left > accepted.leaves).then_some(Waiting::Leaves { left, last_end: all.last_end })
}

/// Whether everybody has the bundle of this sequence with its roots, and what their agents made of it.
#[must_use]
pub fn distribution(sequence: u64, facts: &Facts, now: Timestamp) -> Gate {
    Gate::of(receivers(AuthorityKind::Root, sequence, facts, now, &Accepted::default()))
}

/// That everybody has the bundle of this sequence, as far as authorities of a kind are of interest, and what their agents made of it.
fn receivers(kind: AuthorityKind, sequence: u64, facts: &Facts, now: Timestamp, accepted: &Accepted) -> Vec<Waiting> {
    let mut waits = Vec::new();
    let agents: Vec<_> = facts.agents.iter().filter(|agent| !accepted.nodes.contains(&agent.node)).collect();
    let behind: Vec<_> = agents.iter().filter(|agent| agent.acknowledged < sequence).collect();
    if !behind.is_empty() {
        waits.push(Waiting::Agents {
            sequence,
            behind: behind.iter().map(|agent| agent.node.clone()).collect(),
            absent: behind.iter().filter(|agent| !agent.connected).map(|agent| agent.node.clone()).collect(),
            of: agents.len(),
        });
    }
    let (nodes, streams) = sum(agents.iter().copied(), |agent| agent.streams_behind);
    if streams > 0 {
        waits.push(Waiting::Streams { nodes, behind: streams });
    }
    let (nodes, sets) = sum(agents.iter().copied(), |agent| agent.files_behind);
    if accepted.files {
        return waits;
    }
    if sets > 0 {
        waits.push(Waiting::Files { nodes, behind: sets });
    }
    let objects: &[ObjectFacts] = if kind == AuthorityKind::Jwt { &[] } else { &facts.objects };
    waits.extend(objects.iter().filter_map(|objects| objects.waiting(sequence)));
    let files_written = agents.iter().filter_map(|agent| agent.files_written_at);
    let written = files_written.chain(objects.iter().filter_map(|objects| objects.written_at)).max();
    let held_until = written.map(|written| written.plus(facts.propagation_hold));
    waits.extend(held_until.filter(|until| now < *until).map(|until| Waiting::PropagationHold { until }));
    waits
}

impl ObjectFacts {
    /// Of which nothing is known.
    #[must_use]
    pub fn unknown(what: &'static str) -> Self {
        Self { what, sequence: 0, of: 1, behind: 1, first: Vec::new(), written_at: None }
    }

    /// What is to be waited for until all of them show the bundle of this sequence.
    fn waiting(&self, sequence: u64) -> Option<Waiting> {
        let Self { what, sequence: held_against, of, behind, first, written_at: _ } = self;
        let behind = if *held_against < sequence { (*of).max(1) } else { *behind };
        let of = (*of).max(behind);
        (behind > 0).then(|| Waiting::Objects { what, behind, of, first: first.clone() })
    }
}

fn sum<'a>(agents: impl Iterator<Item = &'a AgentFacts>, count: impl Fn(&AgentFacts) -> u32) -> (BTreeSet<NodeName>, u64) {
    let mut nodes = BTreeSet::new();
    let mut all = 0_u64;
    for agent in agents.filter(|agent| count(agent) > 0) {
        nodes.insert(agent.node.clone());
        all = all.saturating_add(u64::from(count(agent)));
    }
    (nodes, all)
}

impl Gate {
    fn of(waits: Vec<Waiting>) -> Self {
        if waits.is_empty() { Self::Open } else { Self::Waits(waits) }
    }
}

/// Names, the first few, for people.
pub(super) struct Names<'a>(pub(super) &'a BTreeSet<NodeName>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self.0.iter().take(NAMES_TOLD).map(NodeName::as_str).collect();
        f.write_str(&told.join(", "))?;
        match self.0.len().saturating_sub(NAMES_TOLD) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicas(behind) => {
                let names: Vec<_> = behind.iter().map(ReplicaName::as_str).collect();
                write!(f, "replicas have no issuing CA under the new root that signs yet: {}", names.join(", "))
            }
            Self::Publication => f.write_str("the bundle has not gone out yet"),
            Self::Agents { sequence, behind, absent, of } => {
                write!(f, "{} of {of} agents have not acknowledged bundle {sequence}: {}", behind.len(), Names(behind))?;
                if absent.is_empty() { Ok(()) } else { write!(f, " (not connected: {})", Names(absent)) }
            }
            Self::Streams { nodes, behind } => {
                write!(f, "{behind} streams of workloads have not taken the newest state of their agent, on {}", Names(nodes))
            }
            Self::Files { nodes, behind } => write!(f, "{behind} sets of files are not written yet, on {}", Names(nodes)),
            Self::Objects { what, behind, of, first } => {
                write!(f, "{behind} of {of} {what} do not show it yet")?;
                if first.is_empty() { Ok(()) } else { write!(f, ": {}", first.join(", ")) }
            }
            Self::PropagationHold { until } => {
                write!(
                    f,
                    "files and objects of the cluster were written and read back, and whoever reads them cannot acknowledge: the hold ends at {until}"
                )
            }
            Self::Leaves { left, last_end: Some(end) } => write!(f, "{left} certificates rest on it, the last until {end}"),
            Self::Leaves { left, last_end: None } => write!(f, "{left} certificates rest on it"),
            Self::Svids { nodes, left } => write!(f, "agents serve {left} SVIDs that rest on it, on {}", Names(nodes)),
            Self::Tokens { until } => write!(f, "JWT-SVIDs under it are good until {until}"),
        }
    }
}
