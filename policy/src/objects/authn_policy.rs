//! `authentication.istio.io` Policy and MeshPolicy (Istio 1.1, `v1alpha1`): one message, two scopes.

use std::collections::BTreeSet;

use super::Kind;
use super::metadata::Metadata;
use super::names::{is_label, is_port_name};
use super::string_match::StringMatch;
use super::token::{KeySource, Tokens, header_names, names};
use super::values::port_number;
use crate::diagnostic::{Code, Findings, Subject, quoted};
use crate::document::{Cursor, Fields, Node};

/// How peers and end users authenticate to a service, a namespace or the mesh. The narrowest one replaces the others whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthnPolicy {
    /// Its name, namespace and age. A MeshPolicy has no namespace.
    pub metadata: Metadata,
    /// The services that it holds for; empty for the whole namespace or mesh.
    pub targets: Vec<PolicyTarget>,
    /// How peers authenticate, tried in order; empty asks for nothing.
    pub peers: Vec<PeerMethod>,
    /// Whether a peer that does not authenticate is let in.
    pub peer_is_optional: bool,
    /// How end users authenticate, tried in order; empty asks for nothing.
    pub origins: Tokens<OriginJwt>,
    /// Whether an end user who does not authenticate is let in.
    pub origin_is_optional: bool,
    /// Whose name `request.auth.principal` is.
    pub binding: PrincipalBinding,
}

/// A service that the policy holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTarget {
    /// Its short name, in the namespace of the policy.
    pub name: String,
    /// Its ports, those of the service; empty for all.
    pub ports: Vec<ServicePort>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicePort {
    /// By its number, which is never 0.
    Number(u16),
    /// By its name.
    Name(String),
}

/// One way in which a peer authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMethod {
    /// By mutual TLS.
    Mtls {
        /// Whether plaintext is taken too.
        permissive: bool,
    },
    /// By a token.
    Jwt(OriginJwt),
}

/// Tokens of one issuer (Istio 1.1 `Jwt`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginJwt {
    /// `iss`.
    pub issuer: String,
    /// One of these must be in `aud`; empty asks for none.
    pub audiences: Vec<String>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Headers in which a token is looked for.
    pub headers: Vec<String>,
    /// Query parameters in which a token is looked for.
    pub params: Vec<String>,
    /// Which paths ask for it: any of them, or all paths if there are none.
    pub triggers: Vec<TriggerRule>,
}

/// Which paths ask for a token: none of the excluded, and one of the included unless there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerRule {
    /// These do not.
    pub excluded: Vec<StringMatch>,
    /// These do.
    pub included: Vec<StringMatch>,
}

/// Whose name `request.auth.principal` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrincipalBinding {
    /// The peer's.
    #[default]
    UsePeer,
    /// The end user's.
    UseOrigin,
}

/// Limits of our own.
const MAX_ITEMS: usize = 1_000;

const FIELDS: &[&str] = &["targets", "peers", "peerIsOptional", "origins", "originIsOptional", "principalBinding"];

const JWT_FIELDS: &[&str] = &["issuer", "audiences", "jwksUri", "jwks", "jwtHeaders", "jwtParams", "triggerRules"];

const BINDINGS: &[(&str, PrincipalBinding)] =
    &[("USE_PEER", PrincipalBinding::UsePeer), ("USE_ORIGIN", PrincipalBinding::UseOrigin)];

const PERMISSIVE: &[(&str, bool)] = &[("STRICT", false), ("PERMISSIVE", true)];

impl AuthnPolicy {
    pub(super) fn read(kind: Kind, metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(FIELDS, findings);
        let items = fields.items("targets", MAX_ITEMS, findings);
        check_name(kind, &metadata.name, &fields, items.is_empty(), findings);
        let targets = items.iter().map(|item| target(item, findings)).collect();
        let mut issuers = BTreeSet::new();
        let peers = fields.items("peers", MAX_ITEMS, findings);
        let peers = peers.iter().filter_map(|item| peer(item, &mut issuers, findings)).collect();
        let origins = fields.items("origins", MAX_ITEMS, findings);
        let origins: Vec<_> = origins.iter().filter_map(|item| origin(item, &mut issuers, findings)).collect();
        let binding = fields.get("principalBinding").and_then(|word| word.word(BINDINGS, findings)).unwrap_or_default();
        if binding == PrincipalBinding::UseOrigin && origins.is_empty() {
            fields.fault(findings, Code::BindingWithoutOrigin, "principalBinding", "USE_ORIGIN stands without origins");
        }
        Self {
            metadata,
            targets,
            peers,
            peer_is_optional: fields.boolean("peerIsOptional", findings),
            origins: Tokens::Rules(origins),
            origin_is_optional: fields.boolean("originIsOptional", findings),
            binding,
        }
    }

    /// Mutual TLS alone, and no token is valid.
    pub(super) fn strictest(metadata: Metadata, spec: Option<&Node>) -> Self {
        let mut findings = Findings::new(Subject::default());
        let fields = spec.map(|spec| Cursor::new(spec).fields(FIELDS, &mut findings));
        let fields = fields.filter(|_| !findings.has(Code::FieldTwice));
        let mut findings = Findings::new(Subject::default());
        let items = fields.map(|fields| fields.items("targets", MAX_ITEMS, &mut findings)).unwrap_or_default();
        let targets = items.iter().map(|item| target(item, &mut findings)).collect();
        Self {
            metadata,
            targets: if findings.refused() { Vec::new() } else { targets },
            peers: vec![PeerMethod::Mtls { permissive: false }],
            peer_is_optional: false,
            origins: Tokens::AllInvalid,
            origin_is_optional: false,
            binding: PrincipalBinding::UsePeer,
        }
    }
}

fn check_name(kind: Kind, name: &str, fields: &Fields<'_>, without_targets: bool, findings: &mut Findings) {
    let is_default = name == "default";
    let mesh = kind == Kind::MeshPolicy;
    match (mesh, is_default, without_targets) {
        (true, _, false) => fields.fault(findings, Code::MeshPolicyTargets, "targets", "the mesh policy has targets"),
        (true, false, true) => findings.add_to_name(Code::MeshPolicyName, "the mesh policy is not named default"),
        (false, false, true) => findings.add_to_name(Code::PolicyNotDefault, "a policy without targets is not named default"),
        (false, true, false) => findings.add_to_name(Code::PolicyDefaultTargets, "a policy with targets is named default"),
        (_, true, true) | (false, false, false) => {}
    }
}

fn target(item: &Cursor<'_>, findings: &mut Findings) -> PolicyTarget {
    let fields = item.fields(&["name", "labels", "ports"], findings);
    let name = fields.text("name", findings);
    if !is_label(&name) {
        fields.fault(findings, Code::BadTarget, "name", format!("{} is no short name of a service", quoted(&name)));
    }
    if fields.get("labels").is_some() {
        fields.fault(findings, Code::Unsupported, "labels", "Istio 1.1 holds such a policy for the whole service");
    }
    let ports = fields.items("ports", MAX_ITEMS, findings);
    PolicyTarget { name, ports: ports.iter().filter_map(|port| service_port(port, findings)).collect() }
}

fn service_port(item: &Cursor<'_>, findings: &mut Findings) -> Option<ServicePort> {
    let fields = item.fields(&["number", "name"], findings);
    match (fields.get("number"), fields.get("name")) {
        (Some(number), None) => port_number(&number, findings).map(ServicePort::Number),
        (None, Some(_)) => {
            let name = fields.text("name", findings);
            if !is_port_name(&name) {
                fields.fault(findings, Code::BadPort, "name", format!("{} is no name of a port", quoted(&name)));
            }
            Some(ServicePort::Name(name))
        }
        (Some(_), Some(_)) | (None, None) => {
            item.fault(findings, Code::BadPort, "a port has a number or a name");
            None
        }
    }
}

fn peer(item: &Cursor<'_>, issuers: &mut BTreeSet<String>, findings: &mut Findings) -> Option<PeerMethod> {
    let fields = item.fields(&["mtls", "jwt"], findings);
    match (fields.written("mtls"), fields.get("jwt")) {
        (Some(_), Some(_)) => item.fault(findings, Code::MethodTwice, "mtls stands beside jwt"),
        (None, None) => item.fault(findings, Code::MethodMissing, "the method is missing"),
        (None, Some(cursor)) => return Some(PeerMethod::Jwt(jwt(&cursor, issuers, findings))),
        (Some(mtls), None) => {
            if mtls.node.is_null() {
                return Some(PeerMethod::Mtls { permissive: false });
            }
            let fields = mtls.fields(&["allowTls", "mode"], findings);
            if fields.boolean("allowTls", findings) {
                fields.fault(findings, Code::NotEnforced, "allowTls", "allowTls changes nothing");
            }
            let permissive = fields.get("mode").and_then(|mode| mode.word(PERMISSIVE, findings)).unwrap_or_default();
            return Some(PeerMethod::Mtls { permissive });
        }
    }
    None
}

fn origin(item: &Cursor<'_>, issuers: &mut BTreeSet<String>, findings: &mut Findings) -> Option<OriginJwt> {
    let fields = item.fields(&["jwt"], findings);
    let Some(cursor) = fields.get("jwt") else {
        item.fault(findings, Code::MethodMissing, "jwt is missing");
        return None;
    };
    Some(jwt(&cursor, issuers, findings))
}

fn jwt(cursor: &Cursor<'_>, issuers: &mut BTreeSet<String>, findings: &mut Findings) -> OriginJwt {
    let fields = cursor.fields(JWT_FIELDS, findings);
    let issuer = fields.text("issuer", findings);
    if issuer.is_empty() {
        fields.fault(findings, Code::IssuerMissing, "issuer", "the issuer is missing");
    } else if !issuers.insert(issuer.clone()) {
        fields.fault(findings, Code::IssuerTwice, "issuer", format!("{} has two rules", quoted(&issuer)));
    }
    let triggers = fields.items("triggerRules", MAX_ITEMS, findings);
    OriginJwt {
        issuer,
        audiences: names(&fields, "audiences", findings),
        keys: KeySource::read(&fields, findings),
        headers: header_names(&fields, "jwtHeaders", findings),
        params: names(&fields, "jwtParams", findings),
        triggers: triggers.iter().map(|item| trigger(item, findings)).collect(),
    }
}

fn trigger(item: &Cursor<'_>, findings: &mut Findings) -> TriggerRule {
    if item.node.is_null() {
        item.fault(findings, Code::NullItem, "the rule is null");
        return TriggerRule::default();
    }
    let fields = item.fields(&["excludedPaths", "includedPaths"], findings);
    let mut paths = |name| -> Vec<StringMatch> {
        let items = fields.items(name, MAX_ITEMS, findings);
        items.iter().filter_map(|item| StringMatch::read(item, findings)).collect()
    };
    TriggerRule { excluded: paths("excludedPaths"), included: paths("includedPaths") }
}
