//! Whether one rule of an Istio AuthorizationPolicy matches.

use std::net::IpAddr;

use super::facts::Facts;
use super::headers;
use crate::mesh::TcpReading;
use crate::objects::{Action, Condition, Match, Operation, Rule, Source};
use crate::pattern::{AddressRange, Leaning, Pattern};

/// A rule beside what it is read with.
pub(crate) struct Reading<'a> {
    facts: &'a Facts<'a>,
    /// The namespace of its policy.
    namespace: &'a str,
    /// Whether its policy is one that allows.
    allows: bool,
    /// Whether the trust domains that a principal means stand in the rule already, each for itself.
    written_out: bool,
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
    /// For rules as they are in their policy.
    pub(crate) fn of(facts: &'a Facts<'a>, namespace: &'a str, action: &Action) -> Self {
        Self { facts, namespace, allows: *action == Action::Allow, written_out: false }
    }

    /// For rules that name each trust domain that they mean.
    pub(crate) fn of_written_out(facts: &'a Facts<'a>, namespace: &'a str, action: &Action) -> Self {
        Self { written_out: true, ..Self::of(facts, namespace, action) }
    }

    /// Any source, any operation and every condition; what is not there asks for nothing.
    pub(crate) fn matches(&self, rule: &Rule) -> bool {
        // Over HTTP there is everything to be asked for.
        if self.allows && self.facts.is_tcp() && self.asks_for_unknown(rule) {
            return false;
        }
        (rule.from.is_empty() || rule.from.iter().any(|source| self.holds(&self.source(source))))
            && (rule.to.is_empty() || rule.to.iter().any(|operation| self.holds(&self.operation(operation))))
            && rule.when.iter().all(|condition| self.holds(&[self.condition(condition)]))
    }

    /// Whether anything is asked for that the connection cannot have.
    fn asks_for_unknown(&self, rule: &Rule) -> bool {
        let from = rule.from.iter().flat_map(|source| self.source(source));
        let to = rule.to.iter().flat_map(|operation| self.operation(operation));
        let when = rule.when.iter().map(|condition| self.condition(condition));
        from.chain(to).chain(when).any(|field| field.asked && !field.known)
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
        if wanted.is_empty() || !known {
            return Field { asked: !wanted.is_empty(), known, holds: wanted.is_empty() };
        }
        let holds = (wanted.values.is_empty() || any(&wanted.values, leaning))
            && (wanted.not_values.is_empty() || !any(&wanted.not_values, leaning.negated()));
        Field { asked: true, known, holds }
    }

    /// A field whose values are matched one by one.
    fn each<T>(&self, known: bool, wanted: &Match<T>, is: impl Fn(&T, Leaning) -> bool) -> Field {
        self.field(known, wanted, |values, leaning| values.iter().any(|value| is(value, leaning)))
    }

    fn source(&self, source: &Source) -> [Field; 7] {
        let (facts, token) = (self.facts, self.facts.http.as_ref().and_then(|http| http.token));
        [
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

    fn operation(&self, operation: &Operation) -> [Field; 4] {
        let http = self.facts.http.as_ref();
        let authority = http.and_then(|http| http.request.authority);
        let method = http.and_then(|http| http.request.method);
        let path = http.and_then(|http| http.path());
        [
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
            Condition::Header { name, values } => self.field(self.http(), values, |patterns, leaning| {
                let any = |lines: &[&[u8]]| headers::matches(patterns, lines, leaning, facts.mesh.headers);
                facts.http.as_ref().is_some_and(|http| http.with_lines(name, any))
            }),
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
            Condition::RequestAudience(names) => self.claim(&["aud"], names),
            Condition::RequestPresenter(names) => self.claim(&["azp"], names),
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
        let aliases_count = self.beyond_ztunnel() && !self.written_out;
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
            facts.peer.is_some_and(|peer| peer.is_in_trust_domain(wanted, facts.mesh, !self.written_out))
        })
    }

    fn addresses(&self, known: bool, wanted: &Match<AddressRange>, found: Option<IpAddr>) -> Field {
        self.each(known, wanted, |wanted, _| found.is_some_and(|address| wanted.contains(address)))
    }

    fn claim(&self, path: &[impl AsRef<str>], wanted: &Match<Pattern>) -> Field {
        let token = self.facts.http.as_ref().and_then(|http| http.token);
        self.each(self.http(), wanted, |wanted, _| {
            token.is_some_and(|token| token.any_value(path, |value| wanted.matches(value.as_bytes())))
        })
    }
}
