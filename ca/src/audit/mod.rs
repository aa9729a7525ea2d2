//! The audit log: what happened to the authority, by whom, in an order that cannot be changed unseen.
//!
//! Owns the events ([`AuditEvent`]), their canonical text, and the hash chain over them. Does not own where they are kept: the
//! store appends each event in the same transaction as the rows it speaks of. Pure: no I/O, no clock.
//!
//! What the chain shows: an event that was edited, taken out, put in or moved, at its position, and a tail that was cut off while the
//! recorded head stayed. What it cannot show alone: someone who may write the whole database can cut the tail *and* set the
//! head back, or compute every hash anew from some event on. Only a head that was published elsewhere shows that (signed
//! checkpoints, not there yet); until then keep the sequence and hash that `signet audit verify` prints.

mod chain;
mod event;

pub use chain::{AuditRecord, ChainFault, ChainHead, ChainWalk, GENESIS};
pub use event::{Action, Actor, AuditEvent, CertificateRefusal, NodeKeyChange, TokenRefusal, TokenUse};

/// What a walk over the whole chain found.
#[derive(Clone, Debug)]
pub struct AuditVerdict {
    /// How many events were walked before the walk ended, the one at fault included.
    pub events: u64,
    /// The head that the store remembers.
    pub head: ChainHead,
    /// The first fault; none when the chain holds.
    pub fault: Option<ChainFault>,
}
