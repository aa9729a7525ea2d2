//! `networking.istio.io` DestinationRule (Istio 1.1 to now), of which the TLS settings of clients are read.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::Metadata;
use super::names::{is_label, is_subdomain};
use super::scope::{Labels, labels};
use super::token::names;
use super::values::port_number;
use crate::diagnostic::{Code, Findings, Subject, quoted};
use crate::document::{Cursor, Fields, Node};

/// How clients connect to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRule {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// The host: a service name, a DNS name, `*.DOMAIN` or `*`.
    pub host: String,
    /// The clients that it holds for; absent for all.
    pub workloads: Option<Labels>,
    /// What holds for the whole host.
    pub policy: TrafficPolicy,
    /// What holds for parts of it.
    pub subsets: Vec<Subset>,
    /// Who may see the rule; empty for everybody.
    pub export_to: Vec<ExportTo>,
}

/// The TLS settings of a host or a subset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// For ports that have none of their own.
    pub tls: Option<ClientTls>,
    /// By the port of the service. An entry takes the place of `tls`, were it empty.
    pub ports: BTreeMap<u16, Option<ClientTls>>,
}

/// A part of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// The labels of its endpoints.
    pub labels: Labels,
    /// What holds over the policy of the host.
    pub policy: TrafficPolicy,
}

/// Who may see the rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportTo {
    /// The namespace of the rule (`.`).
    Own,
    /// Every namespace (`*`).
    All,
    /// One namespace.
    Namespace(String),
}

/// How a client does TLS (Istio `ClientTLSSettings`, `TLSSettings` in 1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Which kind of it.
    pub mode: ClientTlsMode,
    /// The file of the client's certificates; empty for none.
    pub client_certificate: String,
    /// The file of its key; empty for none.
    pub private_key: String,
    /// The file of the CA certificates that vouch for the server; empty for none.
    pub ca_certificates: String,
    /// The Secret of all three; empty for none.
    pub credential_name: String,
    /// Names of which the server must have one; empty for those of the mesh, or none.
    pub subject_alt_names: Vec<String>,
    /// The server name that is asked for; empty for that of the cluster, or of the host.
    pub sni: String,
    /// Whether the server is not verified at all.
    pub insecure_skip_verify: bool,
}

/// Which kind of TLS a client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// None.
    #[default]
    Disable,
    /// The server alone has a certificate.
    Simple,
    /// Both have one, and the client's is named here.
    Mutual,
    /// Both have one of the mesh.
    IstioMutual,
}

const FIELDS: &[&str] = &["host", "workloadSelector", "trafficPolicy", "subsets", "exportTo"];

/// Known to Istio, and no matter of access.
const UNENFORCED: [&str; 6] = ["loadBalancer", "connectionPool", "outlierDetection", "tunnel", "proxyProtocol", "retryBudget"];

const POLICY_FIELDS: &[&str] =
    &[UNENFORCED[0], UNENFORCED[1], UNENFORCED[2], UNENFORCED[3], UNENFORCED[4], UNENFORCED[5], "tls", "portLevelSettings"];

const PORT_FIELDS: &[&str] = &[UNENFORCED[0], UNENFORCED[1], UNENFORCED[2], "tls", "port"];

const TLS_FIELDS: &[&str] = &[
    "mode",
    "clientCertificate",
    "privateKey",
    "caCertificates",
    "caCrl",
    "credentialName",
    "subjectAltNames",
    "sni",
    "insecureSkipVerify",
];

const MODES: &[(&str, ClientTlsMode)] = &[
    ("DISABLE", ClientTlsMode::Disable),
    ("SIMPLE", ClientTlsMode::Simple),
    ("MUTUAL", ClientTlsMode::Mutual),
    ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
];

/// Limits of our own.
const MAX_ITEMS: usize = 1_000;

impl DestinationRule {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(FIELDS, findings);
        let policy = fields.get("trafficPolicy").map(|cursor| TrafficPolicy::read(&cursor, findings));
        let workloads = fields.get("workloadSelector").map(|cursor| {
            let selector = cursor.fields(&["matchLabels"], findings);
            labels(&selector, "matchLabels", findings)
        });
        let host = host(&fields, findings);
        let mut seen = BTreeSet::new();
        let items = fields.items("subsets", MAX_ITEMS, findings);
        let subsets = items.iter().map(|item| subset(item, &mut seen, findings)).collect();
        let export_to = export_to(&fields, findings);
        Self { metadata, host, workloads, policy: policy.unwrap_or_default(), subsets, export_to }
    }

    /// Mutual TLS of the mesh on every port; where the host cannot be read, to all hosts from its namespace.
    pub(super) fn strictest(metadata: Metadata, spec: Option<&Node>) -> Self {
        let mut findings = Findings::new(Subject::default());
        let fields = spec.map(|spec| Cursor::new(spec).fields(FIELDS, &mut findings));
        let fields = fields.filter(|_| !findings.has(Code::FieldTwice));
        let mut findings = Findings::new(Subject::default());
        let read = fields.map(|fields| (host(&fields, &mut findings), export_to(&fields, &mut findings)));
        let read = read.filter(|_| !findings.refused());
        let (host, export_to) = read.unwrap_or_else(|| ("*".to_owned(), vec![ExportTo::Own]));
        let tls = ClientTls { mode: ClientTlsMode::IstioMutual, ..ClientTls::default() };
        let policy = TrafficPolicy { tls: Some(tls), ports: BTreeMap::new() };
        Self { metadata, host, workloads: None, policy, subsets: Vec::new(), export_to }
    }
}

fn host(fields: &Fields<'_>, findings: &mut Findings) -> String {
    let host = fields.text("host", findings);
    let name = host.strip_prefix("*.").unwrap_or(&host);
    if host != "*" && !is_subdomain(&name.to_ascii_lowercase()) {
        fields.fault(findings, Code::BadHost, "host", format!("{} is no host", quoted(&host)));
    }
    host
}

fn export_to(fields: &Fields<'_>, findings: &mut Findings) -> Vec<ExportTo> {
    let mut exports = Vec::new();
    for name in names(fields, "exportTo", findings) {
        match name.as_str() {
            "." => exports.push(ExportTo::Own),
            "*" => exports.push(ExportTo::All),
            other if is_label(other) => exports.push(ExportTo::Namespace(name)),
            other => fields.fault(findings, Code::BadExportTo, "exportTo", format!("{} is no namespace", quoted(other))),
        }
    }
    exports
}

fn subset(item: &Cursor<'_>, seen: &mut BTreeSet<String>, findings: &mut Findings) -> Subset {
    let fields = item.fields(&["name", "labels", "trafficPolicy"], findings);
    let name = fields.text("name", findings);
    if !is_label(&name.to_ascii_lowercase()) || !seen.insert(name.clone()) {
        fields.fault(findings, Code::BadSubset, "name", format!("{} is no name of a subset, or is there twice", quoted(&name)));
    }
    let labels = if fields.get("labels").is_some() { labels(&fields, "labels", findings) } else { Labels::new() };
    let policy = fields.get("trafficPolicy").map(|cursor| TrafficPolicy::read(&cursor, findings));
    Subset { name, labels, policy: policy.unwrap_or_default() }
}

impl TrafficPolicy {
    fn read(cursor: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = cursor.fields(POLICY_FIELDS, findings);
        if fields.is_empty() {
            cursor.fault(findings, Code::TrafficPolicyEmpty, "the traffic policy has no field");
        }
        unenforced(&fields, findings);
        let tls = fields.get("tls").map(|tls| ClientTls::read(&tls, findings));
        let mut ports = BTreeMap::new();
        for item in fields.items("portLevelSettings", MAX_ITEMS, findings) {
            let settings = item.fields(PORT_FIELDS, findings);
            if settings.those_of(&["tls", UNENFORCED[0], UNENFORCED[1], UNENFORCED[2]]).is_empty() {
                item.fault(findings, Code::TrafficPolicyEmpty, "the settings of the port have no field");
            }
            unenforced(&settings, findings);
            let tls = settings.get("tls").map(|tls| ClientTls::read(&tls, findings));
            let Some(port) = port(&settings, findings) else { continue };
            if ports.insert(port, tls).is_some() {
                item.fault(findings, Code::TlsConflict, format!("the port {port} has two settings"));
            }
        }
        Self { tls, ports }
    }
}

fn port(settings: &Fields<'_>, findings: &mut Findings) -> Option<u16> {
    let selector = settings.get("port").map(|cursor| cursor.fields(&["number", "name"], findings));
    if let Some(fields) = selector.as_ref().filter(|fields| fields.get("name").is_some()) {
        fields.fault(findings, Code::Unsupported, "name", "Istio reads the number of a port alone");
    }
    let Some(number) = selector.and_then(|fields| fields.get("number")) else {
        settings.fault(findings, Code::PortMissing, "port", "the settings name no port");
        return None;
    };
    port_number(&number, findings)
}

fn unenforced(fields: &Fields<'_>, findings: &mut Findings) {
    for name in fields.those_of(&UNENFORCED) {
        fields.fault(findings, Code::NotEnforced, name, format!("{name} is not enforced here"));
    }
}

impl ClientTls {
    fn read(cursor: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = cursor.fields(TLS_FIELDS, findings);
        let tls = Self {
            mode: fields.get("mode").and_then(|mode| mode.word(MODES, findings)).unwrap_or_default(),
            client_certificate: fields.text("clientCertificate", findings),
            private_key: fields.text("privateKey", findings),
            ca_certificates: fields.text("caCertificates", findings),
            credential_name: fields.text("credentialName", findings),
            subject_alt_names: names(&fields, "subjectAltNames", findings),
            sni: fields.text("sni", findings),
            insecure_skip_verify: fields.boolean("insecureSkipVerify", findings),
        };
        if fields.get("caCrl").is_some() {
            fields.fault(findings, Code::NotEnforced, "caCrl", "caCrl is not enforced here");
        }
        tls.check(&fields, findings);
        tls
    }

    fn check(&self, fields: &Fields<'_>, findings: &mut Findings) {
        match self.mode {
            ClientTlsMode::Disable => {}
            ClientTlsMode::IstioMutual => {
                for name in fields.those_of(&["clientCertificate", "privateKey", "caCertificates", "credentialName"]) {
                    fields.fault(findings, Code::NotEnforced, name, "ISTIO_MUTUAL takes what the mesh has");
                }
            }
            ClientTlsMode::Simple | ClientTlsMode::Mutual => self.check_named(fields, findings),
        }
    }

    /// What the rule names itself must be there, once.
    fn check_named(&self, fields: &Fields<'_>, findings: &mut Findings) {
        let files = fields.those_of(&["clientCertificate", "privateKey", "caCertificates"]);
        let credential = !self.credential_name.is_empty();
        if let ([first, ..], true) = (&files[..], credential) {
            fields.fault(findings, Code::TlsConflict, "credentialName", format!("credentialName stands beside {first}"));
        }
        let incomplete = self.client_certificate.is_empty() || self.private_key.is_empty();
        if self.mode == ClientTlsMode::Mutual && !credential && incomplete {
            fields.fault(findings, Code::TlsIncomplete, "mode", "MUTUAL has no client certificate, or no key");
        }
        let verifies = !self.ca_certificates.is_empty() || !self.subject_alt_names.is_empty();
        if self.insecure_skip_verify && verifies {
            fields.fault(findings, Code::TlsConflict, "insecureSkipVerify", "what to verify is named and is not verified");
        }
        if self.insecure_skip_verify || (self.ca_certificates.is_empty() && !credential) {
            fields.fault(findings, Code::Unverified, "mode", "nothing here says who vouches for the server");
        }
    }
}
