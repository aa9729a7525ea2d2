//! What holds for the whole mesh: Istio MeshConfig, and the switches for compatibility.

use std::collections::BTreeSet;

use crate::path::{FragmentRule, PathNormalization};

/// Settings of the mesh that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The trust domain of the mesh (MeshConfig `trustDomain`).
    pub trust_domain: String,
    /// Trust domains whose identities are the same as ours (MeshConfig `trustDomainAliases`).
    pub trust_domain_aliases: Vec<String>,
    /// The namespace whose policies reach every namespace (MeshConfig `rootNamespace`).
    pub root_namespace: String,
    /// The form of paths (MeshConfig `pathNormalization`).
    pub path_normalization: PathNormalization,
    /// What becomes of a path with a fragment.
    pub fragment: FragmentRule,
    /// What becomes of attributes of HTTP where there is no HTTP.
    pub tcp: TcpReading,
    /// How repeated header lines are read.
    pub headers: HeaderReading,
    /// The providers that CUSTOM may name (MeshConfig `extensionProviders`).
    pub providers: BTreeSet<String>,
    /// Whether one workload may ask several providers. Istio refuses that unless told otherwise.
    pub several_providers: bool,
}

/// What becomes of a rule that asks for attributes which the connection cannot have. ALLOW loses the rule either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TcpReading {
    /// As Envoy does it: DENY, AUDIT and CUSTOM lose those fields, and what is left empty matches everything.
    #[default]
    Envoy,
    /// As ztunnel does it: DENY loses those fields, and what is left empty matches nothing. It knows no AUDIT, no CUSTOM and no aliases.
    Ztunnel,
}

/// How a header with several lines is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderReading {
    /// In the direction that refuses: where a match refuses, one line or all of them joined by commas is enough; where it admits, every
    /// line must match (CVE-2026-26308).
    #[default]
    Strict,
    /// `compat = "envoy-1.40"`: one line is enough.
    Envoy140,
    /// `compat = "envoy-1.36"`: the lines joined by commas, and nothing else. A repeated header escapes a policy by this.
    Envoy136,
}

impl Default for Mesh {
    /// Trust domain `cluster.local` without aliases, root namespace `istio-system`, no provider, everything else at its strict default.
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: "istio-system".to_owned(),
            path_normalization: PathNormalization::default(),
            fragment: FragmentRule::default(),
            tcp: TcpReading::default(),
            headers: HeaderReading::default(),
            providers: BTreeSet::new(),
            several_providers: false,
        }
    }
}
