//! The format of the tables.
//!
//! ```text
//! == row 37 title              a case; `row NN` may be left out
//! mesh key=value ...           settings, if they are not the default
//! workload key=value ...       namespace, role, labels (a:b,c:d), attachments (Kind:namespace:name,...), account, services
//!                              (name:port:port-name,...; a name without dots is one of foo.svc.cluster.local)
//! -- name namespace [key=value ...]    a policy (namespace `-`: of the cluster), and the YAML of its spec below; kind, dry-run, created, refused=code (it is refused with
//!                              this code, and not there), lenient (unknown constraints are ignored)
//! >> T key=value ... => allow default no_allow_policies     a question over TCP (H: over HTTP) and its answer
//! ```

use policy::mesh::{HeaderReading, Mesh, TcpReading};
use policy::objects::{
    AuthnPolicy, AuthorizationPolicy, Kind, Labels, Object, Outcome, PeerAuthentication, RbacConfig, ReadOptions, ServiceRole,
    ServiceRoleBinding, TargetKind,
};
use policy::path::{FragmentRule, PathNormalization};
use policy::request::Role;

/// One case of a table.
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) row: Option<String>,
    pub(crate) mesh: Mesh,
    pub(crate) namespace: String,
    pub(crate) role: Role,
    pub(crate) labels: Labels,
    pub(crate) attachments: Vec<(TargetKind, String, String)>,
    pub(crate) policies: Vec<AuthorizationPolicy>,
    pub(crate) peer: Vec<PeerAuthentication>,
    pub(crate) authentication: Vec<AuthnPolicy>,
    pub(crate) rbac: Vec<RbacConfig>,
    pub(crate) roles: Vec<ServiceRole>,
    pub(crate) bindings: Vec<ServiceRoleBinding>,
    pub(crate) account: Option<String>,
    pub(crate) services: Vec<Service>,
    pub(crate) questions: Vec<(String, String)>,
}

/// A service of the workload.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) port_name: Option<String>,
}

fn read_case(name: &str, title: &str, body: &str) -> Case {
    let row = title.strip_prefix("row ").and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    let mut case = Case {
        title: title.to_owned(),
        row,
        mesh: Mesh::default(),
        namespace: "foo".to_owned(),
        role: Role::Sidecar,
        labels: Labels::new(),
        attachments: Vec::new(),
        policies: Vec::new(),
        peer: Vec::new(),
        authentication: Vec::new(),
        rbac: Vec::new(),
        roles: Vec::new(),
        bindings: Vec::new(),
        account: None,
        services: Vec::new(),
        questions: Vec::new(),
    };
    let mut head: Option<String> = None;
    let mut spec = String::new();
    let finish = |head: &mut Option<String>, spec: &mut String, case: &mut Case| {
        if let Some(head) = head.take() {
            object(name, &head, spec, case);
        }
        spec.clear();
    };
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("-- ") {
            finish(&mut head, &mut spec, &mut case);
            head = Some(rest.to_owned());
        } else if let Some(rest) = line.strip_prefix(">> ") {
            let (asked, expected) = rest.split_once(" => ").expect("a question has an answer");
            case.questions.push((asked.to_owned(), expected.to_owned()));
        } else if let Some(rest) = line.strip_prefix("mesh ") {
            pairs(rest).for_each(|(key, value)| mesh(&mut case.mesh, key, value));
        } else if let Some(rest) = line.strip_prefix("workload ") {
            pairs(rest).for_each(|(key, value)| workload(&mut case, key, value));
        } else if !line.is_empty() {
            spec.push_str(line);
            spec.push('\n');
        }
    }
    finish(&mut head, &mut spec, &mut case);
    case
}

pub(crate) fn read(name: &str, text: &str) -> Vec<Case> {
    let mut parts = text.split("\n== ");
    parts.next();
    let cases = parts.map(|part| {
        let (title, body) = part.split_once('\n').expect("a case has a body");
        read_case(name, title, body)
    });
    cases.collect()
}

pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn object(table: &str, head: &str, spec: &str, case: &mut Case) {
    let title = &case.title;
    let mut kind = "AuthorizationPolicy";
    let mut refused = None;
    let mut options = ReadOptions::default();
    let mut words = head.split_whitespace();
    let (name, namespace) = (words.next().expect("a name"), words.next().expect("a namespace"));
    let mut metadata = format!("  name: {name}\n");
    if namespace != "-" {
        metadata.push_str(&format!("  namespace: {namespace}\n"));
    }
    for (key, value) in words.map(|word| word.split_once('=').unwrap_or((word, ""))) {
        match key {
            "kind" => kind = value,
            "refused" => refused = Some(value),
            "lenient" => options.unknown_constraints_ignored = true,
            "dry-run" => metadata.push_str(&format!("  annotations: {{istio.io/dry-run: \"{value}\"}}\n")),
            "created" => metadata.push_str(&format!("  creationTimestamp: \"{value}\"\n")),
            _ => panic!("{table}: {title}: {key} is no key of a policy"),
        }
    }
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let api = Kind::ALL.iter().find(|known| known.as_str() == kind).expect("a known kind");
    let version = format!("{}/{}", api.group(), api.versions()[0]);
    let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n{metadata}spec:\n{spec}");
    let mut reading = policy::objects::read(&text, &options);
    let outcome = reading.objects.pop().map(|object| object.outcome);
    if let Some(code) = refused {
        assert!(matches!(outcome, Some(Outcome::Refused { .. })), "{table}: {title}: {name} is not refused");
        let said: Vec<_> = reading.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
        assert!(said.contains(&code), "{table}: {title}: {name} is refused with {said:?}");
        return;
    }
    match outcome {
        Some(Outcome::Accepted(Object::AuthorizationPolicy(policy))) => case.policies.push(policy),
        Some(Outcome::Accepted(Object::PeerAuthentication(policy))) => case.peer.push(policy),
        Some(Outcome::Accepted(Object::Policy(policy) | Object::MeshPolicy(policy))) => case.authentication.push(policy),
        Some(Outcome::Accepted(Object::ClusterRbacConfig(config) | Object::RbacConfig(config))) => case.rbac.push(config),
        Some(Outcome::Accepted(Object::ServiceRole(role))) => case.roles.push(role),
        Some(Outcome::Accepted(Object::ServiceRoleBinding(binding))) => case.bindings.push(binding),
        other => panic!("{table}: {title}: {other:?}\n{:?}\n{text}", reading.diagnostics),
    }
}

fn mesh(mesh: &mut Mesh, key: &str, value: &str) {
    match (key, value) {
        ("trust-domain", value) => mesh.trust_domain = value.to_owned(),
        ("aliases", value) => mesh.trust_domain_aliases = value.split(',').map(str::to_owned).collect(),
        ("providers", value) => mesh.providers = value.split(',').map(str::to_owned).collect(),
        ("several-providers", _) => mesh.several_providers = true,
        ("path", "NONE") => mesh.path_normalization = PathNormalization::None,
        ("path", "BASE") => mesh.path_normalization = PathNormalization::Base,
        ("path", "MERGE_SLASHES") => mesh.path_normalization = PathNormalization::MergeSlashes,
        ("path", "DECODE_AND_MERGE_SLASHES") => mesh.path_normalization = PathNormalization::DecodeAndMergeSlashes,
        ("fragment", "refuse") => mesh.fragment = FragmentRule::Refuse,
        ("tcp", "ztunnel") => mesh.tcp = TcpReading::Ztunnel,
        ("headers", "envoy-1.40") => mesh.headers = HeaderReading::Envoy140,
        ("headers", "envoy-1.36") => mesh.headers = HeaderReading::Envoy136,
        other => panic!("{other:?} is no setting of a mesh"),
    }
}

fn workload(case: &mut Case, key: &str, value: &str) {
    match (key, value) {
        ("namespace", value) => case.namespace = value.to_owned(),
        ("labels", value) => {
            let labels = value.split(',').map(|label| label.split_once(':').expect("a label has a value"));
            case.labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        }
        ("account", value) => case.account = Some(value.to_owned()),
        ("services", value) => case.services = value.split(',').map(service).collect(),
        ("role", "gateway") => case.role = Role::Gateway,
        ("role", "waypoint") => case.role = Role::Waypoint,
        ("role", "node") => case.role = Role::Node,
        ("attachments", value) => {
            for attachment in value.split(',') {
                let [kind, namespace, name] = attachment.split(':').collect::<Vec<_>>().try_into().expect("three parts");
                let kind = match kind {
                    "Service" => TargetKind::Service,
                    "ServiceEntry" => TargetKind::ServiceEntry,
                    "Gateway" => TargetKind::Gateway,
                    "GatewayClass" => TargetKind::GatewayClass,
                    other => panic!("{other} is no target"),
                };
                case.attachments.push((kind, namespace.to_owned(), name.to_owned()));
            }
        }
        other => panic!("{other:?} is no setting of a workload"),
    }
}

fn service(text: &str) -> Service {
    let mut parts = text.split(':');
    let host = parts.next().expect("a name");
    let (name, host) = match host.split_once('.') {
        Some((name, _)) => (name.to_owned(), host.to_owned()),
        None => (host.to_owned(), format!("{host}.foo.svc.cluster.local")),
    };
    let port = parts.next().map(|port| port.parse().expect("a port"));
    Service { name, host, port, port_name: parts.next().map(str::to_owned) }
}
