//! Authorities in motion: the one task that makes, publishes, activates, taints, revokes and destroys them, and what others see and ask
//! of it.
//!
//! What may happen is [`crate::authority::lifecycle`]'s, which is pure. Here it is carried out: the new state is stored first, then its
//! effects are done, each of which may be done again after a crash.

mod adoption;
mod commands;
mod driver;
mod effects;
mod facts;
mod handle;
mod journal;
pub(crate) mod maker;
mod materials;
mod outlets;
pub(crate) mod places;
mod prober;
mod publication;
mod sequence;
pub(crate) mod steps;

use std::path::PathBuf;
use std::sync::Arc;

use pki::Timestamp;

use crate::authority::lifecycle::gate::{Facts, Waiting};
use crate::authority::lifecycle::rotation::{NoWayBack, Outcome, Phase, Rotation};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Lifecycle, Refusal};
use crate::store::StoreError;

pub use adoption::AdoptionError;
pub(crate) use adoption::{open_issuer, open_jwt};
pub(crate) use driver::{Driver, DriverParts, PluggedIn};
pub(crate) use facts::FactsOfFleet;
pub(crate) use handle::RotationHandle;
#[cfg(test)]
pub(crate) use handle::{Command, Request};
pub(crate) use journal::Journal;
pub use materials::MaterialError;
pub(crate) use materials::{Materials, certificate_of, read_jwt_key};
pub(crate) use outlets::{ListSlot, Outlets, ServingSlot};
pub(crate) use prober::{ProbeCounts, Prober};
pub(crate) use publication::bundle_of;

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
    /// What does not go as it should: what was decided and is not done yet, what lies on disk and is not used.
    pub(crate) faults: Vec<String>,
    /// When this was so.
    pub(crate) at: Timestamp,
}

impl RotationView {
    /// The rotation of a kind that is under way, or the one that ended last.
    pub(crate) fn rotation(&self, kind: AuthorityKind) -> Option<&RotationStanding> {
        self.rotations.iter().find(|standing| standing.rotation.from.kind == kind)
    }
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
