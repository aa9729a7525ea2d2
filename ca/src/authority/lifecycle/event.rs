//! What happens to authorities, what must be done about it, and what is refused.

use identity::ReplicaName;

use super::gate::{Gate, Waiting};
use super::slots::{AuthorityKind, AuthorityName, Material, Slot};

/// An authority that was made elsewhere: by `signet ca init`, by `signet ca issuer renew`, or by a CA from before lifecycles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Its name. The number of a generation on disk is the number of its issuing CA.
    pub name: AuthorityName,
    /// Its public part.
    pub material: Material,
}

/// What happens. Each may happen twice: the second time changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Authorities made elsewhere sign from now on.
    Adopt(Adopted),
    /// A successor is wanted for the active one of a kind. A root comes with an issuing CA under it.
    Prepare(AuthorityKind),
    /// Key and certificate are on disk, and the certificate is in the ledger.
    Made {
        /// Whose.
        name: AuthorityName,
        /// The public part.
        material: Material,
    },
    /// The bundle of this state went out.
    Published {
        /// Its sequence.
        sequence: u64,
    },
    /// It shall sign from now on, instead of the active one. For an old one: the activation of its successor is undone.
    Activate {
        /// Which.
        name: AuthorityName,
        /// What [`super::gate::activation`] says.
        gate: Gate,
    },
    /// What rests on it shall be renewed at once.
    Taint(AuthorityName),
    /// It leaves the bundle and its key is destroyed; one that never signed is dropped.
    Revoke {
        /// Which.
        name: AuthorityName,
        /// What [`super::gate::revocation`] says.
        gate: Gate,
    },
    /// Its private key is gone from the disk.
    Destroyed(AuthorityName),
    /// A replica that is gone shall not be counted on any more: what rests on its authorities is renewed at once, by others, and what nothing
    /// rests on is dropped.
    TaintReplica(ReplicaName),
    /// Its authorities are taken out.
    RevokeReplica {
        /// Whose.
        replica: ReplicaName,
        /// What [`super::gate::removal`] says.
        gate: Gate,
    },
}

/// What must be done about a state. Each may be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Make key and certificate; tell [`Event::Made`].
    Make {
        /// Of which.
        name: AuthorityName,
        /// The root that signs it; `None`: it signs itself, or is a JWT key.
        parent: Option<AuthorityName>,
    },
    /// Give the bundle of this state its sequence, push it; tell [`Event::Published`].
    Publish,
    /// Sign with the active ones from now on, and renew the CA's own serving certificate.
    Sign,
    /// Remove the private key; tell [`Event::Destroyed`].
    Destroy(AuthorityName),
}

/// Why an event does not happen, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such authority.
    #[error("there is no {0}; `signet authority show` lists the authorities")]
    Unknown(AuthorityName),
    /// Root and issuing CA come from a directory that somebody else fills.
    #[error(
        "the {0} of this CA comes from [authority] directory: whoever fills that directory rotates it; this CA takes up what is put there"
    )]
    PluggedIn(AuthorityKind),
    /// Too many at a time.
    #[error(
        "there are {most} authorities of kind {kind} in force already; revoke old ones first (`signet authority show` lists them)"
    )]
    TooMany {
        /// The kind.
        kind: AuthorityKind,
        /// How many there may be.
        most: usize,
    },
    /// Not in the slot that the event starts from.
    #[error("{name} is {slot}: {way_out}")]
    Slot {
        /// Which.
        name: AuthorityName,
        /// Where it stands.
        slot: Slot,
        /// What to do instead.
        way_out: String,
    },
    /// An issuing CA under a root that does not sign.
    #[error("{name} stands under {parent}, which is {slot}: activate {parent}, and its issuing CA comes with it")]
    ParentNotActive {
        /// Which.
        name: AuthorityName,
        /// Its root.
        parent: AuthorityName,
        /// Where that stands.
        slot: Slot,
    },
    /// A root without an issuing CA that could sign.
    #[error("{0} has no issuing CA that could sign: wait until one is made, or prepare another root")]
    NoIssuer(AuthorityName),
    /// It has ended.
    #[error("{0} has ended: prepare another one")]
    Ended(AuthorityName),
    /// Facts are missing.
    #[error("{name} must wait: {}", waits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Gate {
        /// Which.
        name: AuthorityName,
        /// For what.
        waits: Vec<Waiting>,
    },
    /// It was made twice, differently.
    #[error("{0} was made already, with another key")]
    MadeTwice(AuthorityName),
    /// Adopted under a name that is taken, or an issuing CA before its root.
    #[error("{0} cannot be taken over: {1}")]
    Adoption(AuthorityName, &'static str),
}
