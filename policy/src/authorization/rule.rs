//! Whether one rule of an Istio AuthorizationPolicy matches.

use std::net::IpAddr;

use super::facts::Facts;
use super::headers;
use crate::mesh::TcpReading;
use crate::objects::{Action, Condition, Match, Operation, Rule, Source};
use crate::pattern::{AddressRange, Leaning, Pattern};

/// A rule beside what it is read with.
pub(super) struct Reading<'a> {
    pub(super) facts: &'a Facts<'a>,
    /// The namespace of its policy.
    pub(super) namespace: &'a str,
    /// Whether its policy is one that allows.
    pub(super) allows: bool,
}

/// One field of a source, of an operation, or a condition.
struct Field {
    /// Whether anything is asked for.
    asked: bool,
    /// Whether the connection can have what is asked for, by its kind.
    known: bool,
    /// Whether it is as asked.
    holds: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn of(facts: &'a Facts<'a>, namespace: &'a str, action: &Action) -> Self {
        Self { facts, namespace, allows: *action == Action::Allow }
    }

    /// Any source, any operation and every condition; what is not there asks for nothing.
    pub(super) fn matches(&self, rule: &Rule) -> bool {
        let from: Vec<Vec<Field>> = rule.from.iter().map(|source| self.source(source)).collect();
        let to: Vec<Vec<Field>> = rule.to.iter().map(|operation| self.operation(operation)).collect();
        let when: Vec<Vec<Field>> = rule.when.iter().map(|condition| vec![self.condition(condition)]).collect();
        let mut fields = from.iter().chain(&to).chain(&when).flatten();
        if self.allows && fields.any(|field| field.asked && !field.known) {
            return false;
        }
        let any = |items: &[Vec<Field>]| items.is_empty() || items.iter().any(|fields| self.holds(fields));
        any(&from) && any(&to) && when.iter().all(|fields| self.holds(fields))
    }

    /// Whether all fields hold, of those that the connection can have. What has none of those left is read in two ways.
    fn holds(&self, fields: &[Field]) -> bool {
        let emptied = fields.iter().any(|field| field.asked) && !fields.iter().any(|field| field.asked && field.known);
        match (emptied, self.facts.tcp) {
            (true, TcpReading::Ztunnel) => false,
            (true, TcpReading::Envoy) | (false, _) => {
                fields.iter().filter(|field| field.asked && field.known).all(|field| field.holds)
            }
        }
    }

    fn leaning(&self) -> Leaning {
        if self.allows { Leaning::Admits } else { Leaning::Refuses }
    }

    /// A field whose values are matched as one: any of the values, and not any of those that are unwanted.
    fn field<T>(&self, known: bool, wanted: &Match<T>, any: impl Fn(&[T], Leaning) -> bool) -> Field {
        let leaning = self.leaning();
        let holds = (wanted.values.is_empty() || any(&wanted.values, leaning))
            && (wanted.not_values.is_empty() || !any(&wanted.not_values, leaning.negated()));
        Field { asked: !wanted.is_empty(), known, holds }
    }

    /// A field whose values are matched one by one.
    fn each<T>(&self, known: bool, wanted: &Match<T>, is: impl Fn(&T, Leaning) -> bool) -> Field {
        self.field(known, wanted, |values, leaning| values.iter().any(|value| is(value, leaning)))
    }

    fn source(&self, source: &Source) -> Vec<Field> {
        let (facts, token) = (self.facts, self.facts.http.as_ref().and_then(|http| http.token));
        vec![
            self.principals(&source.principals),
            self.each(self.http(), &source.request_principals, |wanted, _| {
                token.is_some_and(|token| wanted.matches(token.issuer(), token.subject()))
            }),
            self.namespaces(&source.namespaces),
            self.each(true, &source.service_accounts, |wanted, leaning| {
                facts.peer.is_some_and(|peer| peer.is_account(wanted, self.namespace, leaning))
            }),
            self.addresses(true, &source.ip_blocks, facts.source_ip()),
            self.addresses(self.beyond_ztunnel(), &source.remote_ip_blocks, facts.remote_ip()),
            self.trust_domains(&source.trust_domains),
        ]
    }

    fn operation(&self, operation: &Operation) -> Vec<Field> {
        let http = self.facts.http.as_ref();
        let authority = http.and_then(|http| http.request.authority);
        let method = http.and_then(|http| http.request.method);
        let path = http.and_then(|http| http.path());
        vec![
            self.each(self.http(), &operation.hosts, |wanted, _| {
                authority.is_some_and(|value| wanted.matches_ignoring_case(value))
            }),
            self.each(true, &operation.ports, |wanted, _| self.facts.connection.destination_port == Some(*wanted)),
            self.each(self.http(), &operation.methods, |wanted, _| method.is_some_and(|value| wanted.matches(value))),
            self.each(self.http(), &operation.paths, |wanted, leaning| path.is_some_and(|value| wanted.matches(value, leaning))),
        ]
    }

    fn condition(&self, condition: &Condition) -> Field {
        let facts = self.facts;
        match condition {
            Condition::Header { name, values } => {
                let lines = facts.http.as_ref().map(|http| http.lines(name)).unwrap_or_default();
                self.field(self.http(), values, |patterns, leaning| {
                    headers::matches(patterns, &lines, leaning, facts.mesh.headers)
                })
            }
            Condition::SourceIp(blocks) => self.addresses(true, blocks, facts.source_ip()),
            Condition::RemoteIp(blocks) => self.addresses(self.beyond_ztunnel(), blocks, facts.remote_ip()),
            Condition::SourceNamespace(names) => self.namespaces(names),
            Condition::SourcePrincipal(names) => self.principals(names),
            Condition::SourceServiceAccount(names) => self.each(self.beyond_ztunnel(), names, |wanted, leaning| {
                facts.peer.is_some_and(|peer| peer.is_account(wanted, self.namespace, leaning))
            }),
            Condition::SourceTrustDomain(names) => self.trust_domains(names),
            Condition::RequestPrincipal(names) => {
                let token = facts.http.as_ref().and_then(|http| http.token);
                self.each(self.http(), names, |wanted, _| {
                    token.is_some_and(|token| wanted.matches(token.issuer(), token.subject()))
                })
            }
            Condition::RequestAudience(names) => self.claim(&["aud".to_owned()], names),
            Condition::RequestPresenter(names) => self.claim(&["azp".to_owned()], names),
            Condition::RequestClaim { path, values } => self.claim(path, values),
            Condition::DestinationIp(blocks) => self.addresses(true, blocks, facts.connection.destination_ip),
            Condition::DestinationPort(ports) => {
                self.each(true, ports, |wanted, _| facts.connection.destination_port == Some(*wanted))
            }
            Condition::Sni(names) => self
                .each(self.beyond_ztunnel(), names, |wanted, _| facts.connection.sni.is_some_and(|value| wanted.matches(value))),
            // Envoy alone has it; here it is absent.
            Condition::EnvoyMetadata { values, .. } => self.each(self.beyond_ztunnel(), values, |_, _| false),
        }
    }

    /// Whether attributes of HTTP are there to be asked for.
    fn http(&self) -> bool {
        !self.facts.is_tcp()
    }

    /// Whether attributes are there to be asked for that a connection has, and ztunnel does not read.
    fn beyond_ztunnel(&self) -> bool {
        self.http() || self.facts.tcp != TcpReading::Ztunnel
    }

    fn principals(&self, wanted: &Match<Pattern>) -> Field {
        let facts = self.facts;
        let aliases_count = self.beyond_ztunnel();
        self.each(true, wanted, |wanted, leaning| {
            facts.peer.is_some_and(|peer| peer.is_principal(wanted, facts.mesh, aliases_count, leaning))
        })
    }

    fn namespaces(&self, wanted: &Match<Pattern>) -> Field {
        self.each(true, wanted, |wanted, leaning| self.facts.peer.is_some_and(|peer| peer.is_in_namespace(wanted, leaning)))
    }

    fn trust_domains(&self, wanted: &Match<Pattern>) -> Field {
        let facts = self.facts;
        self.each(self.beyond_ztunnel(), wanted, |wanted, _| {
            facts.peer.is_some_and(|peer| peer.is_in_trust_domain(wanted, facts.mesh))
        })
    }

    fn addresses(&self, known: bool, wanted: &Match<AddressRange>, found: Option<IpAddr>) -> Field {
        self.each(known, wanted, |wanted, _| found.is_some_and(|address| wanted.contains(address)))
    }

    fn claim(&self, path: &[String], wanted: &Match<Pattern>) -> Field {
        let token = self.facts.http.as_ref().and_then(|http| http.token);
        let values = token.map(|token| token.values(path)).unwrap_or_default();
        self.each(self.http(), wanted, |wanted, _| values.iter().any(|value| wanted.matches(value.as_bytes())))
    }
}
