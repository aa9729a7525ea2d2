//! The objects that are read.

use std::collections::BTreeMap;

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

/// The same objects, kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    authentication: Vec<AuthnPolicy>,
    rbac: Vec<RbacConfig>,
    roles: Vec<ServiceRole>,
    bindings: Vec<ServiceRoleBinding>,
}

impl Kept {
    /// The objects of each namespace; those of the cluster have the empty one.
    pub(crate) fn by_namespace(policies: Policies<'_>) -> BTreeMap<String, Self> {
        let Policies { authentication, rbac, roles, bindings } = policies;
        let mut kept: BTreeMap<String, Self> = BTreeMap::new();
        for policy in authentication {
            kept.entry(policy.metadata.namespace.clone()).or_default().authentication.push(policy.clone());
        }
        for config in rbac {
            kept.entry(config.metadata.namespace.clone()).or_default().rbac.push(config.clone());
        }
        for role in roles {
            kept.entry(role.metadata.namespace.clone()).or_default().roles.push(role.clone());
        }
        for binding in bindings {
            kept.entry(binding.metadata.namespace.clone()).or_default().bindings.push(binding.clone());
        }
        kept
    }

    /// Takes what a workload of a namespace can have of those of another one, which may be the same: the cluster's own Policies reach
    /// it, and every RbacConfig does.
    pub(crate) fn take(&mut self, other: &Self, from: &str, namespace: &str) {
        self.rbac.extend(other.rbac.iter().cloned());
        if from == namespace || from.is_empty() {
            self.authentication.extend(other.authentication.iter().cloned());
        }
        if from == namespace {
            self.roles.extend(other.roles.iter().cloned());
            self.bindings.extend(other.bindings.iter().cloned());
        }
    }

    /// Whether nothing is decided by them: roles decide by a configuration alone.
    pub(crate) fn decides_nothing(&self) -> bool {
        self.authentication.is_empty() && self.rbac.is_empty()
    }

    pub(crate) fn policies(&self) -> Policies<'_> {
        Policies { authentication: &self.authentication, rbac: &self.rbac, roles: &self.roles, bindings: &self.bindings }
    }
}
