//! What all objects have in common: type, metadata, and what becomes of one that is refused.

use super::metadata::Metadata;
use super::{
    AuthnPolicy, AuthorizationPolicy, DestinationRule, PeerAuthentication, RbacConfig, RequestAuthentication, ServiceRole,
    ServiceRoleBinding,
};
use super::{Kind, Object, ObjectId, Outcome, ReadObject, ReadOptions, Reading};
use crate::diagnostic::{Code, Findings, Severity, Subject, quoted};
use crate::document::{Cursor, Document, Fault, Node, Value};

/// Groups of which an unknown kind would be taken for a policy.
const GROUPS: [&str; 3] = ["security.istio.io", "authentication.istio.io", "rbac.istio.io"];

/// Items of one list at most.
const MAX_ITEMS: usize = 100_000;

/// Reads the objects of a text.
pub(super) fn read(text: &str, options: &ReadOptions) -> Reading {
    let mut reading = Reading::default();
    for document in crate::document::read(text, &options.limits) {
        reading.document(&document, options);
    }
    reading
}

/// Apart from `status`, which is for controllers to write.
const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

/// The text under a key; empty when there is none.
fn text_of<'a>(node: Option<&'a Node>, key: &str) -> &'a str {
    node.and_then(|node| node.get(key)).and_then(Node::text).unwrap_or_default()
}

fn subject_of(document: usize, node: Option<&Node>, options: &ReadOptions) -> Subject {
    let clip = |text: &str| text.chars().take(253).collect::<String>();
    let metadata = node.and_then(|node| node.get("metadata"));
    let kind = clip(text_of(node, "kind"));
    let cluster = Kind::ALL.iter().any(|known| known.as_str() == kind && known.is_cluster_scoped());
    let namespace = match text_of(metadata, "namespace") {
        _ if cluster => String::new(),
        "" => options.default_namespace.clone(),
        namespace => clip(namespace),
    };
    Subject { document, kind, namespace, name: clip(text_of(metadata, "name")) }
}

impl Reading {
    fn document(&mut self, document: &Document, options: &ReadOptions) {
        let Some(root) = &document.root else {
            let mut findings = Findings::new(Subject { document: document.index, ..Subject::default() });
            tell(&document.faults, &mut findings);
            self.unidentified(findings);
            return;
        };
        let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
        match root.get("items") {
            Some(Node { value: Value::List(items), .. }) if is_list => {
                for item in items.iter().take(MAX_ITEMS) {
                    self.object(document.index, item, &document.faults, options);
                }
            }
            _ => self.object(document.index, root, &document.faults, options),
        }
    }

    fn object(&mut self, document: usize, node: &Node, faults: &[Fault], options: &ReadOptions) {
        let subject = subject_of(document, Some(node), options);
        let name_at = node.get("metadata").and_then(|metadata| metadata.get("name")).map_or(node.at, |name| name.at);
        let mut findings = Findings::new(subject.clone()).named_at(name_at);
        tell(faults, &mut findings);
        if !matches!(node.value, Value::Map(_)) {
            findings.add(Code::NotAnObject, node.at, "", "it is no map");
            return self.unidentified(findings);
        }
        let kind = match kind_of(node, &mut findings) {
            Ok(Some(kind)) => kind,
            Ok(None) => return self.diagnostics.extend(findings.into_diagnostics()),
            Err(()) => return self.unidentified(findings),
        };
        let cursor = Cursor::new(node);
        let fields = cursor.fields(FIELDS, &mut findings);
        // Any of them may have been meant as `spec`.
        let unknown = findings.has(Code::UnknownField);
        let metadata = Metadata::read(kind, fields.get("metadata").as_ref(), options, &mut findings);
        let empty = Node { at: node.at, value: Value::Map(Vec::new()) };
        let spec = fields.get("spec").unwrap_or_else(|| Cursor { node: &empty, path: "spec".to_owned() });
        let object = read_spec(kind, metadata.clone(), &spec, options, &mut findings);
        // Its name as it stands there: a last good version is found by it, were something wrong with just that.
        let id = ObjectId { kind, namespace: subject.namespace, name: subject.name };
        let outcome = if findings.refused() {
            // Where the tree cannot be relied on, nothing but the name is taken from it: no dry run either.
            let spec = if faults.is_empty() && !unknown { Some(spec.node) } else { None };
            let dry_run = metadata.dry_run.filter(|_| faults.is_empty());
            let (namespace, name) = (id.namespace.clone(), id.name.clone());
            let metadata = Metadata { namespace, name, dry_run, ..metadata };
            Outcome::Refused { strictest: strictest(kind, metadata, spec) }
        } else {
            Outcome::Accepted(object)
        };
        self.objects.push(ReadObject { id, document, outcome });
        self.diagnostics.extend(findings.into_diagnostics());
    }

    /// A document that is refused, and of which nobody can tell whose it is.
    fn unidentified(&mut self, findings: Findings) {
        self.unidentified += 1;
        self.diagnostics.extend(findings.into_diagnostics());
    }
}

fn tell(faults: &[Fault], findings: &mut Findings) {
    for fault in faults {
        findings.add(fault.code, fault.at, "", fault.what.clone());
    }
}

/// The kind, or nothing for an object of somebody else's.
fn kind_of(node: &Node, findings: &mut Findings) -> Result<Option<Kind>, ()> {
    let (api_version, kind) = (text_of(Some(node), "apiVersion"), text_of(Some(node), "kind"));
    let at = node.get("kind").map_or(node.at, |kind| kind.at);
    if api_version.is_empty() || kind.is_empty() {
        findings.add(Code::TypeMissing, node.at, "", "apiVersion or kind is missing");
        return Err(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(known) = Kind::ALL.iter().find(|known| known.as_str() == kind && known.group() == group) {
        if !known.versions().contains(&version) {
            let what = format!("{} is none of {}", quoted(version), known.versions().join(", "));
            findings.add(Code::UnknownVersion, node.get("apiVersion").map_or(node.at, |node| node.at), "apiVersion", what);
        }
        return Ok(Some(*known));
    }
    if GROUPS.contains(&group) {
        let what = format!("{group} has no kind {}", quoted(kind));
        findings.add(Code::UnknownKind, at, "kind", what);
        return Err(());
    }
    findings.add_as(Code::NotAPolicy, Severity::Note, at, "kind", format!("{} is no policy", quoted(kind)));
    Ok(None)
}

fn read_spec(kind: Kind, metadata: Metadata, spec: &Cursor<'_>, options: &ReadOptions, findings: &mut Findings) -> Object {
    match kind {
        Kind::AuthorizationPolicy => Object::AuthorizationPolicy(AuthorizationPolicy::read(metadata, spec, findings)),
        Kind::PeerAuthentication => Object::PeerAuthentication(PeerAuthentication::read(metadata, spec, options, findings)),
        Kind::RequestAuthentication => Object::RequestAuthentication(RequestAuthentication::read(metadata, spec, findings)),
        Kind::Policy => Object::Policy(AuthnPolicy::read(kind, metadata, spec, findings)),
        Kind::MeshPolicy => Object::MeshPolicy(AuthnPolicy::read(kind, metadata, spec, findings)),
        Kind::ClusterRbacConfig => Object::ClusterRbacConfig(RbacConfig::read(metadata, spec, findings)),
        Kind::RbacConfig => Object::RbacConfig(RbacConfig::read(metadata, spec, findings)),
        Kind::ServiceRole => Object::ServiceRole(ServiceRole::read(metadata, spec, options, findings)),
        Kind::ServiceRoleBinding => Object::ServiceRoleBinding(ServiceRoleBinding::read(metadata, spec, findings)),
        Kind::DestinationRule => Object::DestinationRule(DestinationRule::read(metadata, spec, findings)),
    }
}

pub(super) fn strictest(kind: Kind, metadata: Metadata, spec: Option<&Node>) -> Object {
    match kind {
        Kind::AuthorizationPolicy => Object::AuthorizationPolicy(AuthorizationPolicy::strictest(metadata, spec)),
        Kind::PeerAuthentication => Object::PeerAuthentication(PeerAuthentication::strictest(metadata, spec)),
        Kind::RequestAuthentication => Object::RequestAuthentication(RequestAuthentication::strictest(metadata, spec)),
        Kind::Policy => Object::Policy(AuthnPolicy::strictest(metadata, spec)),
        Kind::MeshPolicy => Object::MeshPolicy(AuthnPolicy::strictest(metadata, None)),
        Kind::ClusterRbacConfig => Object::ClusterRbacConfig(RbacConfig::strictest(metadata)),
        Kind::RbacConfig => Object::RbacConfig(RbacConfig::strictest(metadata)),
        Kind::ServiceRole => Object::ServiceRole(ServiceRole::strictest(metadata)),
        Kind::ServiceRoleBinding => Object::ServiceRoleBinding(ServiceRoleBinding::strictest(metadata)),
        Kind::DestinationRule => Object::DestinationRule(DestinationRule::strictest(metadata, spec)),
    }
}
