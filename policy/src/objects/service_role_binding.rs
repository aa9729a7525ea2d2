//! `rbac.istio.io` ServiceRoleBinding (Istio 1.1, `v1alpha1`).

use super::condition::brackets;
use super::metadata::Metadata;
use super::names::{is_header_name, is_subdomain};
use super::rbac_config::Enforcement;
use super::values;
use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};
use crate::pattern::{AddressRange, Pattern};

/// Who has a role of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoleBinding {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// Any of them. None at all is nobody.
    pub subjects: Vec<BindingSubject>,
    /// The name of the role; empty for none.
    pub role: String,
    /// Whether it counts, or is only shown.
    pub enforcement: Enforcement,
}

/// Who has the role: all of what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingSubject {
    /// The identity of the peer without `spiffe://`; `*` is anyone, authenticated or not.
    pub user: Option<Pattern>,
    /// A group of the token (`request.auth.claims[groups]`).
    pub group: Option<Pattern>,
    /// All of them.
    pub properties: Vec<Property>,
}

/// One property of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// `source.ip`.
    SourceIp(AddressRange),
    /// `source.namespace`: mTLS only.
    SourceNamespace(Pattern),
    /// `source.principal`: mTLS only; `*` is anyone who is authenticated.
    SourcePrincipal(Pattern),
    /// `source.user`: as the principal, HTTP only.
    SourceUser(Pattern),
    /// `request.auth.principal`: HTTP only, compared as one text.
    RequestPrincipal(Pattern),
    /// `request.auth.audiences`: HTTP only.
    RequestAudience(Pattern),
    /// `request.auth.presenter`: HTTP only.
    RequestPresenter(Pattern),
    /// `request.auth.claims[x]`: HTTP only.
    RequestClaim {
        /// The claim.
        name: String,
        /// What it must be.
        value: Pattern,
    },
    /// `request.headers[x]`: HTTP only.
    Header {
        /// The name, as it was written.
        name: String,
        /// What it must be.
        value: Pattern,
    },
}

/// A limit of our own.
const MAX_ITEMS: usize = 10_000;

const SUBJECT_FIELDS: &[&str] =
    &["user", "group", "properties", UNREAD[0], UNREAD[1], UNREAD[2], UNREAD[3], UNREAD[4], UNREAD[5], UNREAD[6], UNREAD[7]];

/// In the API of Istio 1.1, and read by nothing of it.
const UNREAD: [&str; 8] = ["names", "notNames", "groups", "notGroups", "namespaces", "notNamespaces", "ips", "notIps"];

impl ServiceRoleBinding {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(&["subjects", "roleRef", "mode"], findings);
        let items = fields.items("subjects", MAX_ITEMS, findings);
        if items.is_empty() {
            fields.fault(findings, Code::SubjectsMissing, "subjects", "the binding has no subjects");
        }
        let subjects = items.iter().map(|item| subject(item, findings)).collect();
        let role = role(&fields, findings);
        Self { metadata, subjects, role, enforcement: Enforcement::read(&fields, "mode", findings) }
    }

    /// It binds nobody.
    pub(super) fn strictest(metadata: Metadata) -> Self {
        Self { metadata, subjects: Vec::new(), role: String::new(), enforcement: Enforcement::Enforced }
    }
}

fn role(fields: &Fields<'_>, findings: &mut Findings) -> String {
    let Some(cursor) = fields.get("roleRef") else {
        fields.fault(findings, Code::RoleRefMissing, "roleRef", "the binding names no role");
        return String::new();
    };
    let reference = cursor.fields(&["kind", "name"], findings);
    let (kind, name) = (reference.text("kind", findings), reference.text("name", findings));
    if kind != "ServiceRole" {
        reference.fault(findings, Code::RoleRefMissing, "kind", format!("{} is not ServiceRole", quoted(&kind)));
    }
    if !is_subdomain(&name) {
        reference.fault(findings, Code::RoleRefMissing, "name", format!("{} is no name of a role", quoted(&name)));
    }
    name
}

fn subject(item: &Cursor<'_>, findings: &mut Findings) -> BindingSubject {
    if item.node.is_null() {
        item.fault(findings, Code::NullItem, "the subject is null");
        return BindingSubject::default();
    }
    let fields = item.fields(SUBJECT_FIELDS, findings);
    for name in fields.those_of(&UNREAD) {
        fields.fault(findings, Code::Unsupported, name, format!("Istio 1.1 does not read {name}"));
    }
    let user = value(&fields, "user", values::principal, findings);
    let group = value(&fields, "group", values::pattern, findings);
    let entries = fields.get("properties").map(|cursor| cursor.entries(findings)).unwrap_or_default();
    if user.is_none() && group.is_none() && entries.is_empty() {
        item.fault(findings, Code::SubjectEmpty, "the subject says nothing");
    }
    let properties: Vec<_> = entries.iter().filter_map(|(key, cursor)| property(key, cursor, findings)).collect();
    for property in &properties {
        let twice = match property {
            Property::SourcePrincipal(_) => user.is_some(),
            Property::RequestClaim { name, .. } => group.is_some() && name == "groups",
            Property::SourceIp(_)
            | Property::SourceNamespace(_)
            | Property::SourceUser(_)
            | Property::RequestPrincipal(_)
            | Property::RequestAudience(_)
            | Property::RequestPresenter(_)
            | Property::Header { .. } => false,
        };
        if twice {
            fields.fault(findings, Code::SubjectTwice, "properties", "a property says again what user or group says");
        }
    }
    BindingSubject { user, group, properties }
}

/// The pattern of a field; absent when it is absent or empty.
fn value(
    fields: &Fields<'_>,
    name: &'static str,
    read: impl Fn(&Cursor<'_>, &str, &mut Findings) -> Option<Pattern>,
    findings: &mut Findings,
) -> Option<Pattern> {
    let cursor = fields.get(name)?;
    let text = cursor.text(findings).filter(|text| !text.is_empty())?;
    read(&cursor, text, findings)
}

fn property(key: &str, cursor: &Cursor<'_>, findings: &mut Findings) -> Option<Property> {
    let text = cursor.text(findings)?;
    if text.is_empty() {
        cursor.fault(findings, Code::EmptyText, "the value is empty");
        return None;
    }
    if key == "source.ip" {
        return values::address(cursor, text, findings).map(Property::SourceIp);
    }
    let is_principal = matches!(key, "source.principal" | "source.user");
    let value = if is_principal { values::principal } else { values::pattern }(cursor, text, findings)?;
    let name = key.split('[').next().unwrap_or_default();
    let path = brackets(key.get(name.len()..).unwrap_or_default());
    let property = match (name, path.as_deref()) {
        ("source.namespace", None) if key == name => Property::SourceNamespace(value),
        ("source.principal", None) if key == name => Property::SourcePrincipal(value),
        ("source.user", None) if key == name => Property::SourceUser(value),
        ("request.auth.principal", None) if key == name => Property::RequestPrincipal(value),
        ("request.auth.audiences", None) if key == name => Property::RequestAudience(value),
        ("request.auth.presenter", None) if key == name => Property::RequestPresenter(value),
        ("request.auth.claims", Some([claim])) => Property::RequestClaim { name: claim.clone(), value },
        ("request.headers", Some([header])) => {
            if !is_header_name(header.strip_prefix(':').unwrap_or(header)) {
                cursor.fault(findings, Code::BadHeaderName, format!("{} is no header", quoted(header)));
            }
            Property::Header { name: header.clone(), value }
        }
        _ => {
            cursor.fault(findings, Code::UnknownConstraint, format!("{} is no attribute", quoted(key)));
            return None;
        }
    };
    Some(property)
}
