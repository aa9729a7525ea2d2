//! The objects of Istio 1.1 (`v1alpha1` of `authentication.istio.io` and `rbac.istio.io`), decided by reading them as they are.
//!
//! They name services where those of today select workloads: the nearest Policy replaces all others whole, and roles count once a
//! ClusterRbacConfig is on for a service. Where a workload has objects of both generations, both must allow. Where several services stand
//! behind one port, each of them must.

mod authentication;
mod objects;
mod roles;
mod selection;
mod token;
mod view;

pub(crate) use objects::Kept;
pub use objects::Policies;
pub use selection::{RbacState, authn_policy, rbac_state};
pub use token::judge_tokens;
pub(crate) use view::{Authorized, View};

#[cfg(test)]
mod tests;
