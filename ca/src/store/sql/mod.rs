//! The store in SQL: its statements, written once for both engines, and the writer and readers that run them.
//!
//! Owns what is asked of a database, and the promises of a group of writes. What differs between engines (opening, schema, commits, faults)
//! is theirs: [`super::sqlite`], [`super::postgres`].

pub(in crate::store) mod acknowledgements;
pub(in crate::store) mod agent_pods;
pub(in crate::store) mod aliases;
pub(in crate::store) mod audit;
pub(in crate::store) mod authorities;
pub(in crate::store) mod bundles;
pub(in crate::store) mod certificates;
pub(in crate::store) mod checkpoints;
pub(in crate::store) mod columns;
pub(in crate::store) mod connection;
pub(in crate::store) mod entries;
mod federations;
pub(in crate::store) mod issuance;
pub(in crate::store) mod issuance_clock;
pub(in crate::store) mod issuer_requests;
pub(in crate::store) mod jwt;
pub(in crate::store) mod leaves;
pub(in crate::store) mod marks;
pub(in crate::store) mod nodes;
pub(in crate::store) mod orphans;
pub(in crate::store) mod parameters;
pub(in crate::store) mod readers;
pub(in crate::store) mod remembered;
pub(in crate::store) mod replicas;
pub(in crate::store) mod revocation_lists;
pub(in crate::store) mod revocations;
pub(in crate::store) mod rotations;
mod store;
pub(in crate::store) mod tokens;
pub(in crate::store) mod writer;

pub(in crate::store) use readers::Engine;
pub(in crate::store) use store::SqlStore;

#[cfg(test)]
#[path = "tests/support.rs"]
pub(in crate::store) mod support;
