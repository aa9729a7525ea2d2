//! `security.istio.io` AuthorizationPolicy (Istio, `v1` and `v1beta1`).

use super::condition::Condition;
use super::metadata::Metadata;
use super::scope::{SCOPE_FIELDS, Scope};
use super::values::{Match, account, address, path, pattern, port, principal, request_principal, trust_domain};
use crate::diagnostic::{Code, Findings};
use crate::document::{Cursor, Fields, Node};
use crate::path::PathPattern;
use crate::pattern::{AccountPattern, AddressRange, Pattern, RequestPrincipalPattern};

/// Who may, or may not, do what at the workloads that it selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// Whom it selects. In the root namespace: in every namespace.
    pub scope: Scope,
    /// What happens when a rule matches.
    pub action: Action,
    /// Any of them. None at all matches nothing; one without any field matches everything.
    pub rules: Vec<Rule>,
    /// Only shown, not enforced (annotation `istio.io/dry-run`).
    pub dry_run: bool,
}

/// What happens when a rule of the policy matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// The request is allowed, and what no such policy allows is denied.
    #[default]
    Allow,
    /// The request is denied.
    Deny,
    /// The request is to be audited. No request is denied by that.
    Audit,
    /// The provider is asked.
    Custom {
        /// Its name in the configuration of the mesh.
        provider: String,
    },
}

/// One rule: any of `from`, and any of `to`, and all of `when`. What is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Who asks.
    pub from: Vec<Source>,
    /// What is asked for.
    pub to: Vec<Operation>,
    /// What else must hold.
    pub when: Vec<Condition>,
}

/// Who asks: all of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The identity of the peer without `spiffe://`; mTLS only.
    pub principals: Match<Pattern>,
    /// `iss/sub` of the token; HTTP only.
    pub request_principals: Match<RequestPrincipalPattern>,
    /// The namespace of the peer; mTLS only.
    pub namespaces: Match<Pattern>,
    /// The service account of the peer; mTLS only.
    pub service_accounts: Match<AccountPattern>,
    /// The peer of the connection.
    pub ip_blocks: Match<AddressRange>,
    /// The client, as told by a proxy that is trusted.
    pub remote_ip_blocks: Match<AddressRange>,
    /// The trust domain of the peer; mTLS only.
    pub trust_domains: Match<Pattern>,
}

/// What is asked for: all of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// The authority, compared without case; HTTP only.
    pub hosts: Match<Pattern>,
    /// The port that the proxy sees.
    pub ports: Match<u16>,
    /// The method; HTTP only.
    pub methods: Match<Pattern>,
    /// The path without its query; HTTP only.
    pub paths: Match<PathPattern>,
}

/// Istio's limits of the lists.
const MAX_RULES: usize = 512;
const MAX_SOURCES: usize = 512;
/// Limits of our own, which Istio has not.
const MAX_OPERATIONS: usize = 512;
const MAX_CONDITIONS: usize = 512;
/// Istio's limit of `serviceAccounts`.
const MAX_SERVICE_ACCOUNTS: usize = 16;

const FIELDS: &[&str] = &[SCOPE_FIELDS[0], SCOPE_FIELDS[1], SCOPE_FIELDS[2], "rules", "action", "provider"];

const SOURCE_FIELDS: &[&str] = &[
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "trustDomains",
    "notTrustDomains",
];

/// What CUSTOM cannot ask for.
const IDENTITY_FIELDS: &[&str] = &[
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

const OPERATION_FIELDS: &[&str] = &["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"];

/// The actions, as they are written; CUSTOM gets its provider later.
const ACTIONS: &[(&str, Written)] =
    &[("ALLOW", Written::Allow), ("DENY", Written::Deny), ("AUDIT", Written::Audit), ("CUSTOM", Written::Custom)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Allow,
    Deny,
    Audit,
    Custom,
}

/// What the rules of one policy are read with.
struct Reader {
    action: Written,
}

impl AuthorizationPolicy {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(FIELDS, findings);
        let scope = Scope::read(&fields, findings);
        let written = fields.get("action").and_then(|action| action.word(ACTIONS, findings)).unwrap_or(Written::Allow);
        let action = action(written, &fields, findings);
        let reader = Reader { action: written };
        let items = fields.items("rules", MAX_RULES, findings);
        if items.is_empty() && matches!(written, Written::Deny | Written::Custom) {
            fields.fault(findings, Code::RulesMissing, "rules", "the policy has no rules");
        }
        let rules = items.iter().map(|rule| reader.rule(rule, findings)).collect();
        let dry_run = metadata.asks_for_dry_run();
        if dry_run && matches!(written, Written::Audit | Written::Custom) {
            fields.fault(findings, Code::DryRunUnsupported, "action", "the action has no dry run");
        }
        let dry_run = dry_run && matches!(written, Written::Allow | Written::Deny);
        Self { metadata, scope, action, rules, dry_run }
    }

    /// ALLOW allows nothing, AUDIT audits everything, and whatever else it was to be denies everything.
    pub(super) fn strictest(metadata: Metadata, spec: Option<&Node>) -> Self {
        let mut findings = Findings::new(crate::diagnostic::Subject::default());
        let fields = spec.map(|spec| Cursor::new(spec).fields(FIELDS, &mut findings));
        // Only what is told twice could be read in two ways.
        let fields = fields.filter(|_| !findings.has(Code::FieldTwice) && !findings.has(Code::WrongType));
        let scope = Scope::of_refused(fields.as_ref());
        let misspelled = spec.is_some_and(|spec| Cursor::new(spec).may_misspell("action", FIELDS));
        let written = match fields.as_ref().map(|fields| fields.get("action")) {
            Some(Some(action)) => action.word(ACTIONS, &mut findings).unwrap_or(Written::Deny),
            Some(None) if !misspelled => Written::Allow,
            Some(None) | None => Written::Deny,
        };
        let (action, rules) = match written {
            Written::Allow => (Action::Allow, Vec::new()),
            Written::Audit => (Action::Audit, vec![Rule::default()]),
            Written::Deny | Written::Custom => (Action::Deny, vec![Rule::default()]),
        };
        let dry_run = metadata.asks_for_dry_run() && matches!(written, Written::Allow | Written::Deny);
        Self { metadata, scope, action, rules, dry_run }
    }
}

fn action(written: Written, fields: &Fields<'_>, findings: &mut Findings) -> Action {
    let provider = fields.get("provider").map(|cursor| cursor.fields(&["name"], findings).text("name", findings));
    match (written, provider) {
        (Written::Custom, Some(provider)) if !provider.is_empty() => Action::Custom { provider },
        (Written::Custom, _) => {
            fields.fault(findings, Code::ProviderMissing, "provider", "CUSTOM has no provider");
            Action::Deny
        }
        (other, provider) => {
            if provider.is_some() {
                fields.fault(findings, Code::ProviderUnused, "provider", "only CUSTOM has a provider");
            }
            match other {
                Written::Allow => Action::Allow,
                Written::Audit => Action::Audit,
                Written::Deny | Written::Custom => Action::Deny,
            }
        }
    }
}

impl Reader {
    fn rule(&self, cursor: &Cursor<'_>, findings: &mut Findings) -> Rule {
        if cursor.node.is_null() {
            cursor.fault(findings, Code::NullItem, "the rule is null");
            return Rule::default();
        }
        let fields = cursor.fields(&["from", "to", "when"], findings);
        for name in ["from", "to"] {
            if fields.get(name).is_some_and(|list| list.is_empty_list()) {
                fields.fault(findings, Code::EmptyList, name, format!("{name} is empty"));
            }
        }
        let from = fields.items("from", MAX_SOURCES, findings);
        let to = fields.items("to", MAX_OPERATIONS, findings);
        let when = fields.items("when", MAX_CONDITIONS, findings);
        let rule = Rule {
            from: from.iter().filter_map(|item| self.source(item, findings)).collect(),
            to: to.iter().filter_map(|item| operation(item, findings)).collect(),
            when: when.iter().filter_map(|item| self.condition(item, findings)).collect(),
        };
        if self.action == Written::Deny && rule.is_http_only() {
            cursor.fault(findings, Code::HttpOnly, "the rule asks for attributes of HTTP alone");
        }
        rule
    }

    fn source(&self, item: &Cursor<'_>, findings: &mut Findings) -> Option<Source> {
        let fields = inner(item, "source", SOURCE_FIELDS, findings)?;
        if self.action == Written::Custom {
            for name in fields.those_of(IDENTITY_FIELDS) {
                fields.fault(findings, Code::CustomUnsupported, name, format!("CUSTOM cannot ask for {name}"));
            }
        }
        let accounts = fields.those_of(&["serviceAccounts", "notServiceAccounts"]);
        let others = fields.those_of(&["principals", "notPrincipals", "namespaces", "notNamespaces"]);
        if let ([account, ..], [other, ..]) = (&accounts[..], &others[..]) {
            fields.fault(findings, Code::ServiceAccountsMixed, account, format!("{account} stands beside {other}"));
        }
        for name in accounts {
            if fields.items(name, usize::MAX, findings).len() > MAX_SERVICE_ACCOUNTS {
                fields.fault(findings, Code::TooManyItems, name, format!("at most {MAX_SERVICE_ACCOUNTS} are allowed"));
            }
        }
        Some(Source {
            principals: Match::read(&fields, ("principals", "notPrincipals"), findings, principal),
            request_principals: Match::read(&fields, ("requestPrincipals", "notRequestPrincipals"), findings, request_principal),
            namespaces: patterns(&fields, ("namespaces", "notNamespaces"), findings),
            service_accounts: Match::read(&fields, ("serviceAccounts", "notServiceAccounts"), findings, account),
            ip_blocks: Match::read(&fields, ("ipBlocks", "notIpBlocks"), findings, address),
            remote_ip_blocks: Match::read(&fields, ("remoteIpBlocks", "notRemoteIpBlocks"), findings, address),
            trust_domains: Match::read(&fields, ("trustDomains", "notTrustDomains"), findings, trust_domain),
        })
    }

    fn condition(&self, item: &Cursor<'_>, findings: &mut Findings) -> Option<Condition> {
        let condition = Condition::read(item, findings)?;
        if self.action == Written::Custom && condition.is_about_identity() {
            item.fault(findings, Code::CustomUnsupported, "CUSTOM cannot ask for who the peer is");
        }
        Some(condition)
    }
}

impl Rule {
    /// Whether it asks for something, and only for what HTTP has.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        let sources = self.from.iter().map(Source::asks);
        let operations = self.to.iter().map(Operation::asks);
        let conditions = self.when.iter().map(|condition| (condition.is_http_only(), !condition.is_http_only()));
        let (http, other) =
            sources.chain(operations).chain(conditions).fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
        http && !other
    }
}

impl Source {
    /// Whether it asks for what only HTTP has, and for what TCP has too.
    fn asks(&self) -> (bool, bool) {
        let connection = !self.principals.is_empty()
            || !self.namespaces.is_empty()
            || !self.service_accounts.is_empty()
            || !self.ip_blocks.is_empty()
            || !self.remote_ip_blocks.is_empty()
            || !self.trust_domains.is_empty();
        (!self.request_principals.is_empty(), connection)
    }
}

impl Operation {
    /// As [`Source::asks`].
    fn asks(&self) -> (bool, bool) {
        (!self.hosts.is_empty() || !self.methods.is_empty() || !self.paths.is_empty(), !self.ports.is_empty())
    }
}

fn operation(item: &Cursor<'_>, findings: &mut Findings) -> Option<Operation> {
    let fields = inner(item, "operation", OPERATION_FIELDS, findings)?;
    Some(Operation {
        hosts: patterns(&fields, ("hosts", "notHosts"), findings),
        ports: Match::read(&fields, ("ports", "notPorts"), findings, port),
        methods: patterns(&fields, ("methods", "notMethods"), findings),
        paths: Match::read(&fields, ("paths", "notPaths"), findings, path),
    })
}

/// The `source` of an item of `from`, or the `operation` of one of `to`, which must say something.
fn inner<'a>(item: &Cursor<'a>, name: &'static str, known: &[&'static str], findings: &mut Findings) -> Option<Fields<'a>> {
    if item.node.is_null() {
        item.fault(findings, Code::NullItem, "the item is null");
        return None;
    }
    let fields = item.fields(&[name], findings);
    let Some(inner) = fields.get(name) else {
        fields.fault(findings, Code::ItemMissing, name, format!("the item has no {name}"));
        return None;
    };
    let fields = inner.fields(known, findings);
    let says = known.iter().any(|name| fields.get(name).is_some_and(|field| !field.is_empty_list()));
    if !says {
        inner.fault(findings, Code::ItemEmpty, format!("{name} has no field"));
    }
    Some(fields)
}

fn patterns(fields: &Fields<'_>, names: (&'static str, &'static str), findings: &mut Findings) -> Match<Pattern> {
    Match::read(fields, names, findings, pattern)
}
