//! The objects that are read.

use crate::objects::{AuthnPolicy, RbacConfig, ServiceRole, ServiceRoleBinding};

/// The objects of Istio 1.1, of the whole mesh and in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'p> {
    /// Policy, and MeshPolicy, which is the one without a namespace.
    pub authentication: &'p [AuthnPolicy],
    /// RbacConfig, and ClusterRbacConfig, which is the one without a namespace.
    pub rbac: &'p [RbacConfig],
    /// ServiceRole.
    pub roles: &'p [ServiceRole],
    /// ServiceRoleBinding.
    pub bindings: &'p [ServiceRoleBinding],
}
