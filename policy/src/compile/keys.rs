//! What an index can lead to a rule by.
//!
//! A rule asks for any of its sources, any of its operations and all of its conditions. Each of those three is a [`Clause`]: one of its
//! alternatives must hold. Where every alternative of a clause asks for a value of some attribute, the rule can match only if the request
//! has one of those values, so that it is enough to be led to the rule by them. What is unwanted, what may have several values (headers,
//! claims) and what anything matches leads nowhere: it is verified.

use crate::objects::{Condition, Match, Operation, Rule, Source};
use crate::path::PathPattern;
use crate::pattern::{AddressRange, Pattern};

/// An attribute that has one value, or, for an identity of an unusual shape, few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Attribute {
    Principal,
    Account,
    Subject,
    Path,
    Host,
    Namespace,
    SourceIp,
    RemoteIp,
    DestinationIp,
    Sni,
    Port,
    Issuer,
    TrustDomain,
    Method,
}

impl Attribute {
    pub(super) const ALL: [Self; 14] = [
        Self::Principal,
        Self::Account,
        Self::Subject,
        Self::Path,
        Self::Host,
        Self::Namespace,
        Self::SourceIp,
        Self::RemoteIp,
        Self::DestinationIp,
        Self::Sni,
        Self::Port,
        Self::Issuer,
        Self::TrustDomain,
        Self::Method,
    ];
}

/// What is known of where rules are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP, which has every attribute.
    Http,
    /// A connection, as Envoy reads rules for one: what HTTP alone has is not asked for.
    TcpEnvoy,
    /// A connection, as ztunnel reads rules for one. Of what it does not read, some depends on where it is written.
    TcpZtunnel,
}

impl Protocol {
    /// Whether a rule that asks for a value of this attribute matches nothing else here.
    fn has(self, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Principal | Attribute::Namespace | Attribute::SourceIp | Attribute::DestinationIp | Attribute::Port => {
                true
            }
            Attribute::Account | Attribute::RemoteIp | Attribute::Sni | Attribute::TrustDomain => self != Self::TcpZtunnel,
            Attribute::Subject | Attribute::Path | Attribute::Host | Attribute::Issuer | Attribute::Method => self == Self::Http,
        }
    }
}

/// A value, or a kind of values, of an attribute. What is compared without case stands in small letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    /// From its end to its beginning.
    Suffix(Box<[u8]>),
    Range(AddressRange),
}

/// The values of one attribute, any of which is asked for.
pub(super) struct Asked {
    pub(super) attribute: Attribute,
    pub(super) keys: Vec<Key>,
}

/// What one alternative asks for, all of it. An index is led by one.
pub(super) type Alternative = Vec<Asked>;

/// Alternatives, one of which must hold. There is one at least.
pub(super) type Clause = Vec<Alternative>;

/// What a rule of a policy of this namespace asks for, all of it; only clauses by which an index can be led.
pub(super) fn clauses(rule: &Rule, namespace: &str, protocol: Protocol) -> Vec<Clause> {
    let of_source = |source: &Source| read(protocol, |reader| reader.source(source, namespace));
    let of_operation = |operation: &Operation| read(protocol, |reader| reader.operation(operation));
    let of_condition = |condition: &Condition| vec![read(protocol, |reader| reader.condition(condition, namespace))];
    let from: Clause = rule.from.iter().map(of_source).collect();
    let to: Clause = rule.to.iter().map(of_operation).collect();
    let all = [from, to].into_iter().chain(rule.when.iter().map(of_condition));
    all.filter(|clause| !clause.is_empty() && clause.iter().all(|alternative| !alternative.is_empty())).collect()
}

struct Reader {
    protocol: Protocol,
    asked: Alternative,
}

fn read(protocol: Protocol, what: impl FnOnce(&mut Reader)) -> Alternative {
    let mut reader = Reader { protocol, asked: Vec::new() };
    what(&mut reader);
    reader.asked
}

impl Reader {
    fn source(&mut self, source: &Source, namespace: &str) {
        self.patterns(Attribute::Principal, &source.principals);
        self.patterns(Attribute::Namespace, &source.namespaces);
        self.patterns(Attribute::TrustDomain, &source.trust_domains);
        self.values(Attribute::Account, &source.service_accounts, |account| Some(exact(&account.qualified(namespace))));
        self.values(Attribute::SourceIp, &source.ip_blocks, |range| Some(Key::Range(*range)));
        self.values(Attribute::RemoteIp, &source.remote_ip_blocks, |range| Some(Key::Range(*range)));
        self.values(Attribute::Issuer, &source.request_principals, |wanted| of_pattern(wanted.issuer()));
        self.values(Attribute::Subject, &source.request_principals, |wanted| of_pattern(wanted.subject()));
    }

    fn operation(&mut self, operation: &Operation) {
        self.values(Attribute::Host, &operation.hosts, |host| of_pattern(&in_small_letters(host)));
        self.values(Attribute::Port, &operation.ports, |port| Some(of_port(*port)));
        self.patterns(Attribute::Method, &operation.methods);
        self.values(Attribute::Path, &operation.paths, of_path);
    }

    fn condition(&mut self, condition: &Condition, namespace: &str) {
        match condition {
            Condition::SourceIp(wanted) => self.values(Attribute::SourceIp, wanted, |range| Some(Key::Range(*range))),
            Condition::RemoteIp(wanted) => self.values(Attribute::RemoteIp, wanted, |range| Some(Key::Range(*range))),
            Condition::DestinationIp(wanted) => self.values(Attribute::DestinationIp, wanted, |range| Some(Key::Range(*range))),
            Condition::DestinationPort(wanted) => self.values(Attribute::Port, wanted, |port| Some(of_port(*port))),
            Condition::SourceNamespace(wanted) => self.patterns(Attribute::Namespace, wanted),
            Condition::SourcePrincipal(wanted) => self.patterns(Attribute::Principal, wanted),
            Condition::SourceTrustDomain(wanted) => self.patterns(Attribute::TrustDomain, wanted),
            Condition::Sni(wanted) => self.patterns(Attribute::Sni, wanted),
            Condition::SourceServiceAccount(wanted) => {
                self.values(Attribute::Account, wanted, |account| Some(exact(&account.qualified(namespace))));
            }
            Condition::RequestPrincipal(wanted) => {
                self.values(Attribute::Issuer, wanted, |wanted| of_pattern(wanted.issuer()));
                self.values(Attribute::Subject, wanted, |wanted| of_pattern(wanted.subject()));
            }
            Condition::Header { .. }
            | Condition::RequestAudience(_)
            | Condition::RequestPresenter(_)
            | Condition::RequestClaim { .. }
            | Condition::EnvoyMetadata { .. } => {}
        }
    }

    fn patterns(&mut self, attribute: Attribute, wanted: &Match<Pattern>) {
        self.values(attribute, wanted, of_pattern);
    }

    /// Where one of the values has no key, anything may match by it.
    fn values<T>(&mut self, attribute: Attribute, wanted: &Match<T>, key: impl Fn(&T) -> Option<Key>) {
        if wanted.values.is_empty() || !self.protocol.has(attribute) {
            return;
        }
        if let Some(mut keys) = wanted.values.iter().map(key).collect::<Option<Vec<Key>>>() {
            keys.sort_unstable();
            keys.dedup();
            self.asked.push(Asked { attribute, keys });
        }
    }
}

/// The bytes of a port as a value.
pub(super) fn port_bytes(port: u16) -> [u8; 2] {
    port.to_be_bytes()
}

fn of_port(port: u16) -> Key {
    Key::Exact(port_bytes(port).into())
}

fn exact(text: &str) -> Key {
    Key::Exact(text.as_bytes().into())
}

fn of_pattern(pattern: &Pattern) -> Option<Key> {
    match pattern {
        Pattern::Present => None,
        Pattern::Exact(text) => Some(exact(text)),
        Pattern::Prefix(prefix) => Some(Key::Prefix(prefix.as_bytes().into())),
        Pattern::Suffix(suffix) => Some(Key::Suffix(suffix.bytes().rev().collect())),
    }
}

fn in_small_letters(pattern: &Pattern) -> Pattern {
    match pattern {
        Pattern::Present => Pattern::Present,
        Pattern::Exact(text) => Pattern::Exact(text.to_ascii_lowercase()),
        Pattern::Prefix(text) => Pattern::Prefix(text.to_ascii_lowercase()),
        Pattern::Suffix(text) => Pattern::Suffix(text.to_ascii_lowercase()),
    }
}

/// A template leads by what stands before its first open segment.
fn of_path(pattern: &PathPattern) -> Option<Key> {
    match pattern {
        PathPattern::Text(pattern) => of_pattern(pattern),
        PathPattern::Template(template) => {
            let text = template.to_string();
            let literal = text.split('{').next().unwrap_or_default();
            Some(Key::Prefix(literal.as_bytes().into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<T>(value: T) -> Match<T> {
        Match { values: vec![value], not_values: Vec::new() }
    }

    fn led_by(rule: &Rule, protocol: Protocol) -> Vec<Attribute> {
        clauses(rule, "foo", protocol).iter().flatten().flatten().map(|asked| asked.attribute).collect()
    }

    #[test]
    fn nothing_leads_by_what_a_connection_is_not_asked_for() {
        use Attribute as A;
        let source = Source {
            principals: one(Pattern::of("a")),
            trust_domains: one(Pattern::of("td")),
            remote_ip_blocks: one(AddressRange::parse("10.0.0.0/8").unwrap()),
            ..Source::default()
        };
        let operation = Operation { ports: one(80), methods: one(Pattern::of("GET")), ..Operation::default() };
        let rule = Rule { from: vec![source], to: vec![operation], when: vec![Condition::Sni(one(Pattern::of("a")))] };
        for (protocol, expected) in [
            (Protocol::Http, &[A::Principal, A::TrustDomain, A::RemoteIp, A::Port, A::Method, A::Sni][..]),
            (Protocol::TcpEnvoy, &[A::Principal, A::TrustDomain, A::RemoteIp, A::Port, A::Sni]),
            (Protocol::TcpZtunnel, &[A::Principal, A::Port]),
        ] {
            assert_eq!(led_by(&rule, protocol), expected, "{protocol:?}");
        }
    }

    #[test]
    fn an_alternative_that_nothing_leads_to_takes_its_clause_with_it() {
        let named = Source { principals: one(Pattern::of("a")), ..Source::default() };
        let anybody = Source { principals: one(Pattern::Present), ..Source::default() };
        let unwanted = Match { values: Vec::new(), not_values: vec![Pattern::of("a")] };
        let not_one = Source { principals: unwanted, ..Source::default() };
        let rule = |from: &[&Source]| Rule { from: from.iter().map(|source| (*source).clone()).collect(), ..Rule::default() };
        assert_eq!(led_by(&rule(&[&named, &named]), Protocol::Http), [Attribute::Principal; 2]);
        for from in [&[&named, &anybody], &[&named, &not_one]] {
            assert_eq!(led_by(&rule(from), Protocol::Http), [], "{from:?}");
        }
    }
}
