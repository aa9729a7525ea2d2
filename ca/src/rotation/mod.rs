//! Authorities in motion: the one task that makes, publishes, activates, taints, revokes and destroys them, and what others see and ask
//! of it.
//!
//! What may happen is [`crate::authority::lifecycle`]'s, which is pure. Here it is carried out: the new state is stored first, then its
//! effects are done, each of which may be done again after a crash.

mod adoption;
mod commands;
mod driver;
mod effects;
pub(crate) mod facts;
mod follow;
mod forgotten;
mod handle;
mod journal;
pub(crate) mod maker;
mod materials;
mod materials_replica;
mod materials_upstream;
mod outlets;
pub(crate) mod places;
mod plugged_in;
mod prober;
mod publication;
mod removal;
mod replicas;
mod sequence;
pub(crate) mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use identity::ReplicaName;
use pki::{Certificate, Timestamp};

use crate::authority::lifecycle::gate::{Facts, Waiting};
use crate::authority::lifecycle::rotation::{NoWayBack, Outcome, Phase, Rotation};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Lifecycle, Refusal};
use crate::store::StoreError;
use crate::upstream::metrics::UpstreamKind;

pub use adoption::AdoptionError;
pub(crate) use adoption::{join_others, open_issuer, open_jwt};
pub(crate) use driver::{Driver, DriverParts};
pub(crate) use facts::FactsOfFleet;
pub(crate) use forgotten::enrol;
pub(crate) use handle::RotationHandle;
#[cfg(test)]
pub(crate) use handle::{Command, Request};
pub(crate) use journal::Journal;
pub use materials::MaterialError;
pub(crate) use materials::{KEY_LABEL_PREFIX, Materials, certificate_of, key_label};
pub(crate) use outlets::{ListSlot, Outlets, ServingSlot};
pub(crate) use plugged_in::PluggedIn;
pub(crate) use prober::{ProbeCounts, Prober};
pub(crate) use publication::{PublicationError, bundle_of};

/// What is known of authorities and their rotations at one moment. Read it by [`RotationHandle::view`].
#[derive(Clone, Debug)]
pub(crate) struct RotationView {
    /// All authorities, as stored.
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// Every rotation that is under way, and of each other kind the one that ended last in this process.
    pub(crate) rotations: Vec<RotationStanding>,
    /// By which gates are judged.
    pub(crate) facts: Arc<Facts>,
    /// The sequence of the newest bundle.
    pub(crate) bundle_sequence: u64,
    /// The directory that root and issuing CA come from, when somebody else fills it.
    pub(crate) plugged_in: Option<PathBuf>,
    /// Where the key of each authority in force lies, in words.
    pub(crate) key_places: Arc<BTreeMap<AuthorityName, String>>,
    /// Who signs its issuing CAs, where that is not a root of its own.
    pub(crate) upstream: Option<UpstreamStanding>,
    /// What signs now: the issuing CA, then each certificate above it up to the root.
    pub(crate) path: Arc<[Certificate]>,
    /// What does not go as it should: what was decided and is not done yet, what lies on disk and is not used.
    pub(crate) faults: Vec<String>,
    /// All on record; empty for a CA that has its store to itself.
    pub(crate) replicas: Arc<[ReplicaStanding]>,
    /// When this was so.
    pub(crate) at: Timestamp,
}

/// A replica on record, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaStanding {
    /// Its name.
    pub(crate) name: ReplicaName,
    /// Where its agents connect.
    pub(crate) address: String,
    /// The first byte of the serials that it makes.
    pub(crate) serial_byte: u8,
    /// When it was heard last, by its own clock.
    pub(crate) seen_at: Timestamp,
    /// Whether it is the one that says so.
    pub(crate) is_this: bool,
    /// Whether somebody is behind it.
    pub(crate) lives: bool,
    /// Whether it leads.
    pub(crate) leads: bool,
    /// Whether it is being taken out.
    pub(crate) is_leaving: bool,
    /// For what, when it is.
    pub(crate) waits: Vec<Waiting>,
}

impl RotationView {
    /// The rotation of a kind that is under way, or the one that ended last.
    pub(crate) fn rotation(&self, kind: AuthorityKind) -> Option<&RotationStanding> {
        self.rotations.iter().find(|standing| standing.rotation.from.kind == kind)
    }
}

/// Where an issuing CA comes from that no root of this CA's own signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamStanding {
    /// From whom.
    pub(crate) kind: UpstreamKind,
    /// When it was reached last.
    pub(crate) reached_at: Option<Timestamp>,
    /// Why what came from there is not used, or nothing comes.
    pub(crate) fault: Option<String>,
}

/// Where a rotation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RotationStanding {
    /// Its goal.
    pub(crate) rotation: Rotation,
    /// How far it is.
    pub(crate) phase: Phase,
    /// When each phase began that has, as far as that is known: what was not stored is forgotten with the process.
    pub(crate) began: Vec<(Phase, Timestamp)>,
    /// What it waits for; empty while it goes on by itself.
    pub(crate) waits: Vec<Waiting>,
    /// The most certificates that were counted on the old authority, of which what is left is the remainder.
    pub(crate) leaves_most: u64,
    /// What a client of the CA saw meanwhile.
    pub(crate) probes: Probes,
    /// How it ended; `None` while it is under way.
    pub(crate) outcome: Option<Outcome>,
}

impl RotationStanding {
    /// One that has just begun, or is taken up again.
    fn begun(rotation: Rotation) -> Self {
        let (phase, began) = (Phase::Prepare, vec![(Phase::Prepare, rotation.started_at)]);
        Self { rotation, phase, began, waits: Vec::new(), leaves_most: 0, probes: Probes::default(), outcome: None }
    }

    /// It is in this phase, and was not before, or not in this process: what is stored says better since when.
    fn enter(&mut self, phase: Phase, state: &Lifecycle, now: Timestamp) {
        self.phase = phase;
        if self.began.iter().all(|(known, _)| *known != phase) {
            self.began.push((phase, self.rotation.entered(phase, state).unwrap_or(now)));
        }
    }

    /// Whether it is not over.
    pub(crate) fn is_under_way(&self) -> bool {
        self.outcome.is_none()
    }
}

/// What the prober saw during a rotation: handshakes with the CA's own port, by the bundle that the slowest agent has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probes {
    /// How many were made.
    pub(crate) made: u64,
    /// How many of them failed.
    pub(crate) failed: u64,
    /// Why the last failure was one.
    pub(crate) last_failure: Option<String>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// The authorities that it was about: for `prepare` what was made, a root with its issuing CA.
    pub(crate) names: Vec<AuthorityName>,
    /// It was so already.
    pub(crate) unchanged: bool,
    /// How things are after it.
    pub(crate) view: Arc<RotationView>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    /// The lifecycle refuses it, with the way out.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rotation cannot be undone any more.
    #[error(transparent)]
    NoWayBack(#[from] NoWayBack),
    /// None of this kind is under way.
    #[error("no rotation of the {0} is under way; `signet authority show` tells what is")]
    NoRotation(AuthorityKind),
    /// Another replica moves what all share.
    #[error("the replica {leader} leads rotations of the root: give the command there ({address})")]
    AnotherLeads {
        /// Which.
        leader: ReplicaName,
        /// Where its agents connect.
        address: String,
    },
    /// It is to be taken out, and is not gone.
    #[error("the replica {0} lives: stop it first. One that was killed or is cut off is known to be gone after some seconds")]
    ReplicaLives(ReplicaName),
    /// None of this name.
    #[error("there is no replica {0}; `signet replica list` tells which there are")]
    NoReplica(ReplicaName),
    /// Nobody does at the moment.
    #[error("no replica leads at the moment; one takes the lead within seconds")]
    NobodyLeads,
    /// Another replica was faster, as is usual among several: the next look begins with what that one made.
    #[error("{0}: another replica was faster")]
    Overtaken(StoreError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be done, or it was stored and doing it failed so far; the text tells which.
    #[error("{0}")]
    Failed(String),
    /// The CA is about to end.
    #[error("the CA is about to end; what was stored goes on at its next start")]
    Closing,
}

#[cfg(test)]
mod tests;
