//! The identities of this node's workloads: made here, kept fresh, withdrawn.
//!
//! [`schedule`] decides, without I/O; [`worker`] is the one task that makes keys, asks the CA, checks what comes back and
//! publishes. Keys are made here and never leave memory.

mod held;
pub(crate) mod schedule;
mod worker;

pub(crate) use held::{Held, HeldIdentity, IDENTITY_STATES, IdentityState};
pub(crate) use schedule::must_go;
pub(crate) use worker::{IdentityWorker, IssueAnswer, IssueItem, SvidIssuer};
