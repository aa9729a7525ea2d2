//! `security.istio.io` PeerAuthentication (Istio, `v1` and `v1beta1`).

use std::collections::BTreeMap;

use super::metadata::Metadata;
use super::scope::{Labels, selector};
use super::{ReadOptions, values};
use crate::diagnostic::{Code, Findings, Subject, quoted};
use crate::document::{Cursor, Node};

/// How the workloads that it selects are to be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// Workloads with these labels; absent for all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<Labels>,
    /// For all ports that have no mode of their own.
    pub mode: MtlsMode,
    /// By the port of the workload, not of its service. Only there beside a selector.
    pub port_level: BTreeMap<u16, MtlsMode>,
}

/// Which connections are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// As the wider scope has it.
    #[default]
    Unset,
    /// Plaintext.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Mutual TLS alone.
    Strict,
}

const FIELDS: &[&str] = &["selector", "mtls", "portLevelMtls"];

const MODES: &[(&str, MtlsMode)] = &[
    ("UNSET", MtlsMode::Unset),
    ("DISABLE", MtlsMode::Disable),
    ("PERMISSIVE", MtlsMode::Permissive),
    ("STRICT", MtlsMode::Strict),
];

impl PeerAuthentication {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, options: &ReadOptions, findings: &mut Findings) -> Self {
        let fields = spec.fields(FIELDS, findings);
        let selector = selector(&fields, findings);
        let mode = fields.get("mtls").map(|cursor| mode(&cursor, findings)).unwrap_or_default();
        let mut port_level = BTreeMap::new();
        if let Some(ports) = fields.get("portLevelMtls") {
            let entries = ports.entries(findings);
            if entries.is_empty() {
                ports.fault(findings, Code::PortLevelEmpty, "no port is named");
            }
            if selector.as_ref().is_none_or(Labels::is_empty) {
                ports.fault(findings, Code::PortLevelWithoutSelector, "no workload is selected");
            }
            for (key, cursor) in entries {
                match values::port(&cursor, key, findings) {
                    Some(0) => cursor.fault(findings, Code::BadPort, "0 is no port"),
                    Some(port) => drop(port_level.insert(port, mode_of_port(&cursor, findings))),
                    None if key.is_empty() => cursor.fault(findings, Code::BadPort, format!("{} is no port", quoted(key))),
                    None => {}
                }
            }
        }
        if selector.as_ref().is_some_and(|labels| !labels.is_empty()) && metadata.namespace == options.root_namespace {
            fields.fault(findings, Code::RootSelector, "selector", "a selector stands in the root namespace");
        }
        Self { metadata, selector, mode, port_level }
    }

    /// STRICT on every port.
    pub(super) fn strictest(metadata: Metadata, spec: Option<&Node>) -> Self {
        let mut findings = Findings::new(Subject::default());
        let fields = spec.map(|spec| Cursor::new(spec).fields(FIELDS, &mut findings));
        let told_twice = findings.has(Code::FieldTwice);
        let mut findings = Findings::new(Subject::default());
        let selector = fields.filter(|_| !told_twice).and_then(|fields| selector(&fields, &mut findings));
        let selector = selector.filter(|_| !findings.refused());
        Self { metadata, selector, mode: MtlsMode::Strict, port_level: BTreeMap::new() }
    }
}

fn mode(cursor: &Cursor<'_>, findings: &mut Findings) -> MtlsMode {
    let fields = cursor.fields(&["mode"], findings);
    fields.get("mode").and_then(|mode| mode.word(MODES, findings)).unwrap_or_default()
}

/// A port whose settings are null has none of its own.
fn mode_of_port(cursor: &Cursor<'_>, findings: &mut Findings) -> MtlsMode {
    if cursor.node.is_null() { MtlsMode::Unset } else { mode(cursor, findings) }
}
