//! The objects of users, typed and validated: one file for each kind.
//!
//! An object is read whole or not at all. One that is refused leaves behind the strictest of its kind on what it selects, for
//! [`crate::admission`] to use where it never had a good version.

mod authn_policy;
mod authorization_policy;
mod condition;
mod destination_rule;
mod envelope;
mod kind;
mod metadata;
mod names;
mod peer_authentication;
mod rbac_config;
mod request_authentication;
mod scope;
mod service_role;
mod service_role_binding;
mod string_match;
mod token;
mod values;

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::document::Limits;

pub use authn_policy::{AuthnPolicy, OriginJwt, PeerMethod, PolicyTarget, PrincipalBinding, ServicePort, TriggerRule};
pub use authorization_policy::{Action, AuthorizationPolicy, Operation, Rule, Source};
pub use condition::Condition;
pub use destination_rule::{ClientTls, ClientTlsMode, DestinationRule, ExportTo, Subset, TrafficPolicy};
pub use kind::Kind;
pub use metadata::{Metadata, Timestamp};
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use rbac_config::{Enforcement, RbacConfig, RbacMode, RbacTarget};
pub use request_authentication::{ClaimOutput, JwtRule, RequestAuthentication, TokenHeader};
pub use scope::{Labels, Scope, TargetKind, TargetRef};
pub use service_role::{AccessRule, Constraint, ServiceRole};
pub use service_role_binding::{BindingSubject, Property, ServiceRoleBinding};
pub use string_match::StringMatch;
pub use token::{KeySource, Tokens};
pub use values::Match;

/// What tells an object from all others. The version of its API does not: `v1` and `v1beta1` are one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for an object of the cluster.
    pub namespace: String,
    /// The name, as it was written.
    pub name: String,
}

/// An object that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
    /// `security.istio.io` PeerAuthentication.
    PeerAuthentication(PeerAuthentication),
    /// `security.istio.io` RequestAuthentication.
    RequestAuthentication(RequestAuthentication),
    /// `authentication.istio.io` Policy.
    Policy(AuthnPolicy),
    /// `authentication.istio.io` MeshPolicy.
    MeshPolicy(AuthnPolicy),
    /// `rbac.istio.io` ClusterRbacConfig.
    ClusterRbacConfig(RbacConfig),
    /// `rbac.istio.io` RbacConfig.
    RbacConfig(RbacConfig),
    /// `rbac.istio.io` ServiceRole.
    ServiceRole(ServiceRole),
    /// `rbac.istio.io` ServiceRoleBinding.
    ServiceRoleBinding(ServiceRoleBinding),
    /// `networking.istio.io` DestinationRule.
    DestinationRule(DestinationRule),
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read whole.
    Accepted(Object),
    /// It was refused whole.
    Refused {
        /// The strictest of its kind on what it selects, or on its namespace where that cannot be read.
        strictest: Object,
    },
}

/// An object of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadObject {
    /// Which one.
    pub id: ObjectId,
    /// The document that it stands in, from 1.
    pub document: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The objects of kinds that are read, in their order.
    pub objects: Vec<ReadObject>,
    /// What is said of them, and of documents that are none.
    pub diagnostics: Vec<Diagnostic>,
    /// How many documents are refused of which nobody can tell whose they are. No last good version can stand in for them.
    pub unidentified: usize,
}

/// How a text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// How much is read at most.
    pub limits: Limits,
    /// The namespace of objects that name none.
    pub default_namespace: String,
    /// The namespace whose objects hold for the mesh (MeshConfig `rootNamespace`).
    pub root_namespace: String,
    /// Compatibility with Istio 1.1: keys of ServiceRole constraints that do not exist are left out, which widens the permission.
    pub unknown_constraints_ignored: bool,
}

impl Default for ReadOptions {
    /// Namespace `default`, root namespace `istio-system`, nothing ignored.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            default_namespace: "default".to_owned(),
            root_namespace: "istio-system".to_owned(),
            unknown_constraints_ignored: false,
        }
    }
}

/// Reads the objects of a text: YAML or JSON, several documents, lists as `kubectl get -o yaml` writes them.
#[must_use]
pub fn read(text: &str, options: &ReadOptions) -> Reading {
    envelope::read(text, options)
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_cluster_scoped() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Reading {
    /// Adds what was found in another text, such as the next file of a folder.
    pub fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.diagnostics.append(&mut other.diagnostics);
        self.unidentified += other.unidentified;
    }
}

impl Object {
    /// The strictest of a kind on all that its namespace holds.
    pub(crate) fn strictest(kind: Kind, metadata: Metadata) -> Self {
        envelope::strictest(kind, metadata, None)
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        ObjectId { kind: self.kind(), namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::Policy(_) => Kind::Policy,
            Self::MeshPolicy(_) => Kind::MeshPolicy,
            Self::ClusterRbacConfig(_) => Kind::ClusterRbacConfig,
            Self::RbacConfig(_) => Kind::RbacConfig,
            Self::ServiceRole(_) => Kind::ServiceRole,
            Self::ServiceRoleBinding(_) => Kind::ServiceRoleBinding,
            Self::DestinationRule(_) => Kind::DestinationRule,
        }
    }

    /// Its name, namespace and age.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::AuthorizationPolicy(object) => &object.metadata,
            Self::PeerAuthentication(object) => &object.metadata,
            Self::RequestAuthentication(object) => &object.metadata,
            Self::Policy(object) => &object.metadata,
            Self::MeshPolicy(object) => &object.metadata,
            Self::ClusterRbacConfig(object) => &object.metadata,
            Self::RbacConfig(object) => &object.metadata,
            Self::ServiceRole(object) => &object.metadata,
            Self::ServiceRoleBinding(object) => &object.metadata,
            Self::DestinationRule(object) => &object.metadata,
        }
    }
}

#[cfg(test)]
mod tests;
