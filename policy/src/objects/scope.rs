//! Whom an object selects within its namespace.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};

use super::names::is_subdomain;

/// Labels that a workload must have, all of them.
pub type Labels = BTreeMap<String, String>;

/// Whom an object selects. In the root namespace, every namespace takes the place of its own, where the kind allows that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every workload of the namespace.
    #[default]
    Namespace,
    /// Workloads with these labels; every one, if there are none.
    Workloads(Labels),
    /// Gateways and waypoints, by what they serve.
    Targets(Vec<TargetRef>),
}

/// One target of `targetRefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRef {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name, in the namespace of the object.
    pub name: String,
}

/// What a `targetRef` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A Service of Kubernetes.
    Service,
    /// A ServiceEntry of `networking.istio.io`.
    ServiceEntry,
    /// A Gateway of `gateway.networking.k8s.io`.
    Gateway,
    /// A GatewayClass of `gateway.networking.k8s.io`.
    GatewayClass,
}

/// The fields of a `spec` that are read here.
pub(super) const SCOPE_FIELDS: [&str; 3] = ["selector", "targetRef", "targetRefs"];

/// Istio's limit of `targetRefs`.
const MAX_TARGETS: usize = 16;

const TARGETS: [(&str, &[&str], TargetKind); 4] = [
    ("Service", &["", "core"], TargetKind::Service),
    ("ServiceEntry", &["networking.istio.io"], TargetKind::ServiceEntry),
    ("Gateway", &["gateway.networking.k8s.io"], TargetKind::Gateway),
    ("GatewayClass", &["gateway.networking.k8s.io"], TargetKind::GatewayClass),
];

impl Scope {
    /// Reads the scope of a `spec`.
    pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Self {
        let there = fields.those_of(&SCOPE_FIELDS);
        if let [_, second, ..] = there[..] {
            fields.fault(findings, Code::ScopeConflict, second, format!("{} are there", there.join(" and ")));
        }
        if let Some(labels) = selector(fields, findings) {
            return Self::Workloads(labels);
        }
        let mut targets = fields.items("targetRefs", MAX_TARGETS, findings);
        targets.extend(fields.get("targetRef"));
        if targets.is_empty() {
            return Self::Namespace;
        }
        Self::Targets(targets.iter().filter_map(|target| target_ref(target, findings)).collect())
    }

    /// Whom an object that is refused selects: whom it says, if that much can be read, or its namespace.
    pub(super) fn of_refused(fields: Option<&Fields<'_>>) -> Self {
        let mut findings = Findings::new(crate::diagnostic::Subject::default());
        let scope = fields.map(|fields| Self::read(fields, &mut findings)).unwrap_or_default();
        if findings.refused() { Self::Namespace } else { scope }
    }
}

/// Reads `selector.matchLabels`; absent when there is no selector.
pub(super) fn selector(fields: &Fields<'_>, findings: &mut Findings) -> Option<Labels> {
    let selector = fields.get("selector")?.fields(&["matchLabels"], findings);
    Some(labels(&selector, "matchLabels", findings))
}

/// Reads labels that select workloads.
pub(super) fn labels(fields: &Fields<'_>, name: &'static str, findings: &mut Findings) -> Labels {
    let mut labels = Labels::new();
    let entries = fields.get(name).map(|cursor| cursor.entries(findings)).unwrap_or_default();
    if entries.is_empty() {
        fields.fault(findings, Code::SelectorEmpty, name, "no label is named");
    }
    for (key, cursor) in entries {
        let value = cursor.text(findings).unwrap_or_default();
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let what = format!("{} with {} is no label", quoted(key), quoted(value));
            cursor.fault(findings, Code::BadSelector, what);
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn target_ref(cursor: &Cursor<'_>, findings: &mut Findings) -> Option<TargetRef> {
    if cursor.node.is_null() {
        cursor.fault(findings, Code::NullItem, "the target is null");
        return None;
    }
    let fields = cursor.fields(&["group", "kind", "name", "namespace"], findings);
    let (group, kind, name) = (fields.text("group", findings), fields.text("kind", findings), fields.text("name", findings));
    if !is_subdomain(&name) {
        fields.fault(findings, Code::BadTargetRef, "name", format!("{} is no name", quoted(&name)));
    }
    if !fields.text("namespace", findings).is_empty() {
        fields.fault(findings, Code::BadTargetRef, "namespace", "targets are in the namespace of the object");
    }
    let known = TARGETS.iter().find(|(known, groups, _)| *known == kind && groups.contains(&group.as_str()));
    if known.is_none() {
        let what = format!("{} of the group {} is no target", quoted(&kind), quoted(&group));
        fields.fault(findings, Code::BadTargetRef, "kind", what);
    }
    known.map(|(_, _, kind)| TargetRef { kind: *kind, name })
}
