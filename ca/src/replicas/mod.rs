//! This process among the replicas that share a store: which one it is, and whether it leads.
//!
//! Both are leases with an epoch, in the store. What a process holds it names in each write of a rotation ([`crate::store::Fence`]), and the
//! store refuses it once another process has taken it. So nothing stands on timers: they decide when somebody may try, and never who is right.

mod keeper;
mod tenure;
mod watched;

use std::collections::{BTreeMap, BTreeSet};

use identity::ReplicaName;

use crate::store::Lease;

pub(crate) use keeper::LeaseKeeper;
pub(crate) use tenure::{FencedLedger, Tenure, TenureError};

/// The other replicas on record, as this one sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Company {
    /// Those that live, as far as one can know.
    pub(crate) live: BTreeSet<ReplicaName>,
    /// Those behind which nobody is, with their leases: given up, or as they have been for longer than anybody is silent who lives.
    pub(crate) gone: BTreeMap<ReplicaName, Lease>,
}
