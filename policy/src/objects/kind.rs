//! The kinds of objects, and where their API has them.

use std::fmt;

/// A kind of object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy,
    /// `security.istio.io` PeerAuthentication.
    PeerAuthentication,
    /// `security.istio.io` RequestAuthentication.
    RequestAuthentication,
    /// `authentication.istio.io` Policy.
    Policy,
    /// `authentication.istio.io` MeshPolicy.
    MeshPolicy,
    /// `rbac.istio.io` ClusterRbacConfig.
    ClusterRbacConfig,
    /// `rbac.istio.io` RbacConfig.
    RbacConfig,
    /// `rbac.istio.io` ServiceRole.
    ServiceRole,
    /// `rbac.istio.io` ServiceRoleBinding.
    ServiceRoleBinding,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::AuthorizationPolicy,
        Self::PeerAuthentication,
        Self::RequestAuthentication,
        Self::Policy,
        Self::MeshPolicy,
        Self::ClusterRbacConfig,
        Self::RbacConfig,
        Self::ServiceRole,
        Self::ServiceRoleBinding,
        Self::DestinationRule,
    ];

    /// As it stands in `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::Policy => "Policy",
            Self::MeshPolicy => "MeshPolicy",
            Self::ClusterRbacConfig => "ClusterRbacConfig",
            Self::RbacConfig => "RbacConfig",
            Self::ServiceRole => "ServiceRole",
            Self::ServiceRoleBinding => "ServiceRoleBinding",
            Self::DestinationRule => "DestinationRule",
        }
    }

    /// Its API group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy | Self::PeerAuthentication | Self::RequestAuthentication => "security.istio.io",
            Self::Policy | Self::MeshPolicy => "authentication.istio.io",
            Self::ClusterRbacConfig | Self::RbacConfig | Self::ServiceRole | Self::ServiceRoleBinding => "rbac.istio.io",
            Self::DestinationRule => "networking.istio.io",
        }
    }

    /// The versions of it that are read, which are one object.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::AuthorizationPolicy | Self::PeerAuthentication | Self::RequestAuthentication => &["v1", "v1beta1"],
            Self::Policy
            | Self::MeshPolicy
            | Self::ClusterRbacConfig
            | Self::RbacConfig
            | Self::ServiceRole
            | Self::ServiceRoleBinding => &["v1alpha1"],
            Self::DestinationRule => &["v1", "v1beta1", "v1alpha3"],
        }
    }

    /// Whether it belongs to the cluster and not to a namespace.
    #[must_use]
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::MeshPolicy | Self::ClusterRbacConfig)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
