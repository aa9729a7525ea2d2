//! Workloads: the socket that they use, who is at its other end, and which entries that one matches.
//!
//! A caller is attested once, when its connection is accepted and before a byte of it is read, from what the kernel says:
//! `SO_PEERCRED` and `SO_PEERPIDFD` of the socket, then `/proc/<pid>` through one directory descriptor, then a proof that the
//! process was alive all the while. Nothing that the caller sends counts. A fact that cannot be read is an absent selector with a
//! reason, never a guess.
//!
//! The identity is the connection's. A process that hands its connected socket to another one delegates its identity to it, until it
//! ends itself: then the connection ends, whoever holds the other end. `unix:path` and `unix:sha256` tell apart the programs of users
//! that do not interfere with themselves: a user who can start a program can also trace it, or hand it libraries of his own.
//! `systemd:unit` is the unit of the system's own service manager (see `control_group`).
//!
//! Processes in containers of pods have the selectors of their pod beside these (see `kubernetes`), all of them or none.
//!
//! `unix:sha256` is read only while an entry of the node asks for it. When the first one does, connections that were attested without
//! it are ended: their clients come back, and are attested with it.

mod authority;
mod caller;
mod calls;
mod connection;
mod control_group;
mod demand;
mod executables;
mod gate;
mod hierarchies;
mod kubernetes;
mod limits;
mod matching;
mod metrics;
mod process;
mod refusal_log;
mod selectors;
mod server;

#[cfg(test)]
mod tests;

pub(crate) use self::kubernetes::{AccountEntries, NodePods, PodMetrics, PodWatcher};
pub use self::kubernetes::{ContainerPlace, PlaceError, container_of};
pub use caller::{AttestError, Caller, attest_pid};
pub(crate) use demand::{ExecutableDemand, follow_demand};
pub use executables::ExecutableHashes;
pub use hierarchies::ListFault;
pub use limits::WorkloadLimits;
pub use matching::{NearestMiss, match_entries, nearest_miss};
pub use metrics::WorkloadMetrics;
pub use process::Process;
pub use selectors::Unreadable;
pub(crate) use server::CallerFacts;
pub use server::{ServeError, WorkloadServer};
