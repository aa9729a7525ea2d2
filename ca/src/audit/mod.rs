//! The audit log: what happened to the authority, by whom, in an order that cannot be changed unseen.
//!
//! Owns the events ([`AuditEvent`]), their canonical text, and the hash chain over them. Does not own where they are kept: the
//! store appends each event in the same transaction as the rows it speaks of. Pure: no I/O, no clock.
//!
//! The chain alone shows an event that was edited, taken out, put in or moved, at its position, and a tail that was cut off while the
//! recorded head stayed. Someone who may write the whole database can also cut the tail *and* set the head back, or compute every hash
//! anew from some event on. Checkpoints show that: the CA signs its head as it grows, and agents keep what it signed. [`Verification`]
//! holds one against the other.

mod chain;
mod event;
mod finding;
mod schedule;
mod verification;

pub use chain::{AuditRecord, ChainFault, ChainHead, ChainWalk, GENESIS};
pub use event::{
    AccountSecretAction, Action, Actor, AgentPodRefusal, AuditEvent, AuthorityAction, BackupAction, CertificateRefusal,
    FederationAction, NodeKeyChange, ReplicaAction, RestoredFrom, RevocationAction, TokenRefusal, TokenUse,
};
pub use finding::{AuditFinding, CheckpointSource};
pub use schedule::CheckpointSchedule;
pub use verification::{AuditVerdict, MAX_FINDINGS, ShownCheckpoint, StoredCheckpoint, Verification};
