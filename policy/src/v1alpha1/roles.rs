//! Who may do what: Istio 1.1 ServiceRole and ServiceRoleBinding.

use super::authentication::Caller;
use crate::authorization::{Facts, matches_header};
use crate::objects::{AccessRule, BindingSubject, Constraint, Property, ServiceRole, ServiceRoleBinding};
use crate::pattern::{Leaning, Pattern};
use crate::request::{Service, Target};

/// A role of the namespace, and who is bound to it there.
#[derive(Clone, Debug)]
pub(super) struct BoundRole<'p> {
    pub(super) role: &'p ServiceRole,
    pub(super) bindings: Vec<&'p ServiceRoleBinding>,
}

/// What roles are held against.
pub(super) struct Reading<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) target: &'a Target<'a>,
    pub(super) service: Option<&'a Service<'a>>,
    pub(super) caller: &'a Caller<'a>,
}

impl<'p> BoundRole<'p> {
    /// The roles of a namespace. A binding holds for a role of its own namespace; no other one is read.
    pub(super) fn of(roles: &'p [ServiceRole], bindings: &'p [ServiceRoleBinding], namespace: &str) -> Vec<Self> {
        let mut here: Vec<&ServiceRole> = roles.iter().filter(|role| role.metadata.namespace == namespace).collect();
        here.sort_by_key(|role| role.metadata.name.as_str());
        let bound = here.into_iter().map(|role| {
            let of_role = |binding: &&ServiceRoleBinding| {
                binding.metadata.namespace == namespace && !binding.role.is_empty() && binding.role == role.metadata.name
            };
            Self { role, bindings: bindings.iter().filter(of_role).collect() }
        });
        bound.collect()
    }

    /// Whether Istio 1.1 writes the role down for this transport: over TCP, one subject that asks for HTTP takes all others along.
    pub(super) fn stands(&self, facts: &Facts<'_>) -> bool {
        let over_http = |subject: &BindingSubject| subject.group.is_some() || subject.properties.iter().any(is_http_only);
        facts.http.is_some() || !self.bindings.iter().flat_map(|binding| &binding.subjects).any(over_http)
    }
}

impl Reading<'_> {
    /// The place of the first rule that matches, if one of these bindings has a subject that does. It is the same role for both.
    pub(super) fn granted(&self, bound: &BoundRole<'_>, counts: impl Fn(&ServiceRoleBinding) -> bool) -> Option<usize> {
        let mut subjects = bound.bindings.iter().filter(|binding| counts(binding)).flat_map(|binding| &binding.subjects);
        if !bound.stands(self.facts) || !subjects.any(|subject| self.is_subject(subject)) {
            return None;
        }
        bound.role.rules.iter().position(|rule| self.rule_matches(rule))
    }

    /// Whether a role is about the service at all.
    pub(super) fn names_service(&self, bound: &BoundRole<'_>) -> bool {
        bound.role.rules.iter().any(|rule| self.is_service(rule))
    }

    fn is_service(&self, rule: &AccessRule) -> bool {
        self.service.is_some_and(|service| any(&rule.services, service.host))
    }

    /// Services, methods, paths and constraints, all of them. Over TCP, a rule that asks for HTTP is not there.
    fn rule_matches(&self, rule: &AccessRule) -> bool {
        let http = self.facts.http.as_ref();
        let of_http = match http {
            None => rule.methods.is_empty() && rule.paths.is_empty(),
            Some(http) => {
                let method = http.request.method;
                let has_method = |pattern: &Pattern| method.is_some_and(|method| pattern.matches(method));
                (rule.methods.is_empty() || rule.methods.iter().any(has_method))
                    && (rule.paths.is_empty() || rule.paths.iter().any(|pattern| self.path_matches(pattern)))
            }
        };
        self.is_service(rule) && of_http && rule.constraints.iter().all(|constraint| self.constraint_holds(constraint))
    }

    /// The path with its query must match, as Istio 1.1 has it, and the path alone: a suffix is not to be met by what stands in a query.
    fn path_matches(&self, pattern: &Pattern) -> bool {
        let http = self.facts.http.as_ref();
        let both = http.and_then(|http| http.path().zip(http.path_and_query()));
        both.is_some_and(|(path, whole)| pattern.matches(path) && pattern.matches(whole))
    }

    fn constraint_holds(&self, constraint: &Constraint) -> bool {
        let connection = self.facts.connection;
        match constraint {
            Constraint::DestinationIp(blocks) => {
                connection.destination_ip.is_some_and(|address| blocks.iter().any(|block| block.contains(address)))
            }
            Constraint::DestinationPort(ports) => connection.destination_port.is_some_and(|port| ports.contains(&port)),
            Constraint::DestinationLabel { label, values } => {
                self.target.labels.get(label).is_some_and(|value| any(values, value))
            }
            Constraint::DestinationName(values) => self.service.is_some_and(|service| any(values, service.name)),
            Constraint::DestinationNamespace(values) => any(values, self.target.namespace),
            Constraint::DestinationUser(values) => self.target.service_account.is_some_and(|account| any(values, account)),
            Constraint::Header { name, values } => self.header_matches(name, values),
            Constraint::Sni(values) => connection.sni.is_some_and(|sni| values.iter().any(|pattern| pattern.matches(sni))),
            // Envoy alone has it; here it is absent.
            Constraint::EnvoyMetadata { .. } => false,
        }
    }

    fn header_matches(&self, name: &str, patterns: &[Pattern]) -> bool {
        let matches = |lines: &[&[u8]]| matches_header(patterns, lines, Leaning::Admits, self.facts.mesh.headers);
        self.facts.http.as_ref().is_some_and(|http| http.with_lines(name, matches))
    }

    /// User, group and properties, all of them. A subject that says nothing is nobody.
    fn is_subject(&self, subject: &BindingSubject) -> bool {
        if subject.user.is_none() && subject.group.is_none() && subject.properties.is_empty() {
            return false;
        }
        let user = subject.user.as_ref().is_none_or(|user| match user {
            // Anyone, authenticated or not.
            Pattern::Present => true,
            Pattern::Exact(_) | Pattern::Prefix(_) | Pattern::Suffix(_) => self.is_principal(user),
        });
        let group = subject.group.as_ref().is_none_or(|group| self.claim_matches("groups", group));
        user && group && subject.properties.iter().all(|property| self.has(property))
    }

    fn has(&self, property: &Property) -> bool {
        let caller = self.caller;
        match property {
            Property::SourceIp(block) => self.facts.connection.source_ip.is_some_and(|address| block.contains(address)),
            Property::SourceNamespace(pattern) => {
                self.facts.peer.is_some_and(|peer| peer.is_in_namespace(pattern, Leaning::Admits))
            }
            Property::SourcePrincipal(pattern) | Property::SourceUser(pattern) => self.is_principal(pattern),
            Property::RequestPrincipal(pattern) => {
                caller.principal.as_ref().is_some_and(|principal| pattern.matches(principal.as_bytes()))
            }
            // Istio 1.1 told the first one alone.
            Property::RequestAudience(pattern) => {
                caller.claim("aud").first().is_some_and(|audience| pattern.matches(audience.as_bytes()))
            }
            Property::RequestPresenter(pattern) => self.claim_matches("azp", pattern),
            Property::RequestClaim { name, value } => self.claim_matches(name, value),
            Property::Header { name, value } => self.header_matches(name, std::slice::from_ref(value)),
        }
    }

    fn is_principal(&self, pattern: &Pattern) -> bool {
        self.facts.peer.is_some_and(|peer| peer.is_principal(pattern, self.facts.mesh, false, Leaning::Admits))
    }

    fn claim_matches(&self, name: &str, pattern: &Pattern) -> bool {
        self.caller.claim(name).iter().any(|value| pattern.matches(value.as_bytes()))
    }
}

/// What the control plane of Istio 1.1 compares: an empty text is there.
fn any(patterns: &[Pattern], value: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches_present(value.as_bytes()))
}

fn is_http_only(property: &Property) -> bool {
    match property {
        Property::SourceIp(_) | Property::SourceNamespace(_) | Property::SourcePrincipal(_) => false,
        Property::SourceUser(_)
        | Property::RequestPrincipal(_)
        | Property::RequestAudience(_)
        | Property::RequestPresenter(_)
        | Property::RequestClaim { .. }
        | Property::Header { .. } => true,
    }
}
