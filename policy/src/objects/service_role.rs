//! `rbac.istio.io` ServiceRole (Istio 1.1, `v1alpha1`).

use super::ReadOptions;
use super::condition::brackets;
use super::metadata::Metadata;
use super::names::is_header_name;
use super::values::{address, pattern, port, texts};
use crate::diagnostic::{Code, Findings, Severity, quoted};
use crate::document::{Cursor, Fields};
use crate::pattern::{AddressRange, Pattern};

/// What may be done at services of its namespace, by whom bindings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRole {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// Any of them. None at all grants nothing.
    pub rules: Vec<AccessRule>,
}

/// What may be done: all of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// Names of services such as `a.shop.svc.cluster.local`, of which one is that of the service; never empty.
    pub services: Vec<Pattern>,
    /// Methods; HTTP only, empty for all.
    pub methods: Vec<Pattern>,
    /// Paths; HTTP only, empty for all.
    pub paths: Vec<Pattern>,
    /// All of them.
    pub constraints: Vec<Constraint>,
}

/// What else must hold: one of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// `destination.ip`.
    DestinationIp(Vec<AddressRange>),
    /// `destination.port`.
    DestinationPort(Vec<u16>),
    /// `destination.labels[x]`: of the workload.
    DestinationLabel {
        /// The label.
        label: String,
        /// What it may be.
        values: Vec<Pattern>,
    },
    /// `destination.name`: the short name of the service.
    DestinationName(Vec<Pattern>),
    /// `destination.namespace`: of the workload.
    DestinationNamespace(Vec<Pattern>),
    /// `destination.user`: the service account of the workload.
    DestinationUser(Vec<Pattern>),
    /// `request.headers[x]`: HTTP only.
    Header {
        /// The name, as it was written.
        name: String,
        /// What it may be.
        values: Vec<Pattern>,
    },
    /// `connection.sni`.
    Sni(Vec<Pattern>),
    /// `experimental.envoy.filters.F[k]`: told by a filter of Envoy, and absent everywhere else.
    EnvoyMetadata {
        /// The filter.
        filter: String,
        /// The key of its metadata.
        key: String,
        /// What it may be; `[v]` is a member of a list.
        values: Vec<Pattern>,
    },
}

/// A limit of our own.
const MAX_RULES: usize = 1_000;
const MAX_VALUES: usize = 10_000;

const RULE_FIELDS: &[&str] =
    &["services", "methods", "paths", "constraints", UNREAD[0], UNREAD[1], UNREAD[2], UNREAD[3], UNREAD[4], UNREAD[5]];

/// In the API of Istio 1.1, and read by nothing of it.
const UNREAD: [&str; 6] = ["hosts", "notHosts", "notPaths", "notMethods", "ports", "notPorts"];

impl ServiceRole {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, options: &ReadOptions, findings: &mut Findings) -> Self {
        let fields = spec.fields(&["rules"], findings);
        let items = fields.items("rules", MAX_RULES, findings);
        if items.is_empty() {
            fields.fault(findings, Code::RoleRulesMissing, "rules", "the role has no rules");
        }
        let rules = items.iter().map(|item| AccessRule::read(item, options, findings)).collect();
        Self { metadata, rules }
    }

    /// It grants nothing.
    pub(super) fn strictest(metadata: Metadata) -> Self {
        Self { metadata, rules: Vec::new() }
    }
}

impl AccessRule {
    fn read(item: &Cursor<'_>, options: &ReadOptions, findings: &mut Findings) -> Self {
        if item.node.is_null() {
            item.fault(findings, Code::NullItem, "the rule is null");
            return Self::default();
        }
        let fields = item.fields(RULE_FIELDS, findings);
        for name in fields.those_of(&UNREAD) {
            fields.fault(findings, Code::Unsupported, name, format!("Istio 1.1 does not read {name}"));
        }
        let services = pattern_list(&fields, "services", findings);
        if services.is_empty() {
            fields.fault(findings, Code::ServicesMissing, "services", "the rule names no services");
        }
        let constraints = fields.items("constraints", MAX_RULES, findings);
        Self {
            services,
            methods: pattern_list(&fields, "methods", findings),
            paths: pattern_list(&fields, "paths", findings),
            constraints: constraints.iter().filter_map(|item| Constraint::read(item, options, findings)).collect(),
        }
    }
}

impl Constraint {
    fn read(item: &Cursor<'_>, options: &ReadOptions, findings: &mut Findings) -> Option<Self> {
        if item.node.is_null() {
            item.fault(findings, Code::NullItem, "the constraint is null");
            return None;
        }
        let fields = item.fields(&["key", "values"], findings);
        let key = fields.text("key", findings);
        if key.is_empty() {
            fields.fault(findings, Code::KeyMissing, "key", "the constraint has no key");
            return None;
        }
        let written = texts(&fields, "values", MAX_VALUES, findings);
        if written.is_empty() {
            fields.fault(findings, Code::ValuesMissing, "values", "the constraint has no values");
        }
        let name = key.split('[').next().unwrap_or_default();
        let filter = name.strip_prefix("experimental.envoy.filters.").filter(|filter| !filter.is_empty());
        let path = brackets(key.get(name.len()..).unwrap_or_default());
        match (name, filter, path.as_deref()) {
            ("destination.ip", _, None) if key == name => {
                let blocks = written.iter().filter_map(|(cursor, text)| address(cursor, text, findings));
                return Some(Self::DestinationIp(blocks.collect()));
            }
            ("destination.port", _, None) if key == name => {
                let ports = written.iter().filter_map(|(cursor, text)| port(cursor, text, findings));
                return Some(Self::DestinationPort(ports.collect()));
            }
            _ => {}
        }
        let values: Vec<Pattern> = written.iter().filter_map(|(cursor, text)| pattern(cursor, text, findings)).collect();
        let constraint = match (name, filter, path.as_deref()) {
            ("destination.name", _, None) if key == name => Self::DestinationName(values),
            ("destination.namespace", _, None) if key == name => Self::DestinationNamespace(values),
            ("destination.user", _, None) if key == name => Self::DestinationUser(values),
            ("connection.sni", _, None) if key == name => Self::Sni(values),
            ("destination.labels", _, Some([label])) => Self::DestinationLabel { label: label.clone(), values },
            ("request.headers", _, Some([header])) => {
                if !is_header_name(header.strip_prefix(':').unwrap_or(header)) {
                    fields.fault(findings, Code::BadHeaderName, "key", format!("{} is no header", quoted(header)));
                }
                Self::Header { name: header.clone(), values }
            }
            (_, Some(filter), Some([metadata])) => {
                fields.fault(findings, Code::EnvoyMetadata, "key", format!("{} is told by Envoy alone", quoted(&key)));
                Self::EnvoyMetadata { filter: filter.to_owned(), key: metadata.clone(), values }
            }
            _ => {
                let severity = if options.unknown_constraints_ignored { Severity::Warning } else { Severity::Error };
                let (at, path) = fields.get("key").map_or((item.node.at, String::new()), |key| (key.node.at, key.path));
                findings.add_as(Code::UnknownConstraint, severity, at, &path, format!("{} is no attribute", quoted(&key)));
                return None;
            }
        };
        Some(constraint)
    }

    /// Whether only HTTP has the attribute.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        matches!(self, Self::Header { .. })
    }
}

fn pattern_list(fields: &Fields<'_>, name: &'static str, findings: &mut Findings) -> Vec<Pattern> {
    let texts = texts(fields, name, MAX_VALUES, findings);
    texts.iter().filter_map(|(cursor, text)| pattern(cursor, text, findings)).collect()
}
