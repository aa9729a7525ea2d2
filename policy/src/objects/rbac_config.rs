//! `rbac.istio.io` ClusterRbacConfig and RbacConfig (Istio 1.1, `v1alpha1`): one message; the older kind counts where the newer is absent.

use super::metadata::Metadata;
use super::token::names;
use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};

/// For which services roles and bindings decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbacConfig {
    /// Its name and age. A ClusterRbacConfig has no namespace.
    pub metadata: Metadata,
    /// For which of them.
    pub mode: RbacMode,
    /// Whether they decide, or are only shown together with all bindings.
    pub enforcement: Enforcement,
}

/// For which services roles and bindings decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RbacMode {
    /// For none.
    #[default]
    Off,
    /// For all.
    On,
    /// For these alone.
    OnWithInclusion(RbacTarget),
    /// For all but these.
    OnWithExclusion(RbacTarget),
}

/// Services by their names or their namespaces, compared exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RbacTarget {
    /// Names such as `a.shop.svc.cluster.local`.
    pub services: Vec<String>,
    /// Namespaces, all services of which are meant.
    pub namespaces: Vec<String>,
}

/// Whether it decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// It decides.
    #[default]
    Enforced,
    /// What it would decide is only shown.
    Permissive,
}

#[derive(Clone, Copy)]
enum Written {
    Off,
    On,
    OnWithInclusion,
    OnWithExclusion,
}

const MODES: &[(&str, Written)] = &[
    ("OFF", Written::Off),
    ("ON", Written::On),
    ("ON_WITH_INCLUSION", Written::OnWithInclusion),
    ("ON_WITH_EXCLUSION", Written::OnWithExclusion),
];

impl Enforcement {
    pub(super) fn read(fields: &Fields<'_>, name: &'static str, findings: &mut Findings) -> Self {
        const WORDS: &[(&str, Enforcement)] = &[("ENFORCED", Enforcement::Enforced), ("PERMISSIVE", Enforcement::Permissive)];
        fields.get(name).and_then(|word| word.word(WORDS, findings)).unwrap_or_default()
    }
}

impl RbacConfig {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(&["mode", "inclusion", "exclusion", "enforcementMode"], findings);
        if metadata.name != "default" {
            findings.add_to_name(Code::RbacConfigName, format!("{} is not default", quoted(&metadata.name)));
        }
        let mut target = |name| fields.get(name).map(|cursor| RbacTarget::read(&cursor, findings));
        let (inclusion, exclusion) = (target("inclusion"), target("exclusion"));
        let written = fields.get("mode").and_then(|mode| mode.word(MODES, findings)).unwrap_or(Written::Off);
        let needed = |target: Option<RbacTarget>, name, findings: &mut Findings| {
            if target.is_none() {
                fields.fault(findings, Code::RbacTargetMissing, name, format!("the mode asks for {name}"));
            }
            target.unwrap_or_default()
        };
        let mode = match written {
            Written::Off => RbacMode::Off,
            Written::On => RbacMode::On,
            Written::OnWithInclusion => RbacMode::OnWithInclusion(needed(inclusion, "inclusion", findings)),
            Written::OnWithExclusion => RbacMode::OnWithExclusion(needed(exclusion, "exclusion", findings)),
        };
        Self { metadata, mode, enforcement: Enforcement::read(&fields, "enforcementMode", findings) }
    }

    /// On for all.
    pub(super) fn strictest(metadata: Metadata) -> Self {
        Self { metadata, mode: RbacMode::On, enforcement: Enforcement::Enforced }
    }
}

impl RbacTarget {
    fn read(cursor: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = cursor.fields(&["services", "namespaces", "workloadSelectors"], findings);
        if fields.get("workloadSelectors").is_some() {
            fields.fault(findings, Code::Unsupported, "workloadSelectors", "Istio 1.1 reads no workload selectors");
        }
        let target = Self { services: names(&fields, "services", findings), namespaces: names(&fields, "namespaces", findings) };
        for (name, list) in [("services", &target.services), ("namespaces", &target.namespaces)] {
            if let Some(pattern) = list.iter().find(|text| text.contains('*')) {
                fields.fault(findings, Code::ExactNamesOnly, name, format!("{} has a *", quoted(pattern)));
            }
        }
        target
    }
}
