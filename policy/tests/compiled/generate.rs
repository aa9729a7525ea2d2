//! Random objects and questions over small alphabets, so that they meet.

use std::collections::BTreeMap;
use std::fmt::Debug;

use policy::mesh::{HeaderReading, Mesh, TcpReading};
use policy::objects::{
    Action, AuthorizationPolicy, Condition, Labels, Match, Metadata, MtlsMode, Operation, PeerAuthentication, Rule, Scope,
    Source, TargetKind, TargetRef, Timestamp,
};
use policy::path::{PathNormalization, PathPattern};
use policy::pattern::{AccountPattern, AddressRange, Pattern, RequestPrincipalPattern};
use policy::request::{
    Attachment, ClaimValue, Connection, Headers, Peer, PresentedToken, Request, Role, Target, TokenFault, Transport,
    VerifiedToken,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) const NAMESPACES: [&str; 3] = ["foo", "istio-system", "bar"];

const IDENTITIES: [&str; 9] = [
    "spiffe://td/ns/foo/sa/a",
    "spiffe://td/ns/foo/sa/b",
    "spiffe://td2/ns/foo/sa/a",
    "spiffe://cluster.local/ns/foo/sa/a",
    "spiffe://other/ns/bar/sa/b",
    "spiffe://td/x/ns/bar/sa/b",
    "spiffe://td/ns/foo/ns/bar/sa/a/sa/b",
    "spiffe://td/web",
    "spiffe://td",
];

/// A question that owns what a request borrows.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    peer: Option<&'static str>,
    tls: bool,
    addresses: [Option<&'static str>; 3],
    port: Option<u16>,
    sni: Option<&'static str>,
    http: bool,
    method: Option<&'static str>,
    path: Option<&'static str>,
    authority: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    token: Option<Result<VerifiedToken, TokenFault>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    role: Role,
    labels: Labels,
    attached: bool,
}

impl Question {
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&Connection<'_>, Option<&Request<'_>>) -> T) -> T {
        let [source_ip, remote_ip, destination_ip] = self.addresses.map(|text| text.map(|text| text.parse().unwrap()));
        let connection = Connection {
            source_ip,
            remote_ip,
            destination_ip,
            destination_port: self.port,
            sni: self.sni.map(str::as_bytes),
            alpn: None,
            transport: if self.tls { Transport::Tls } else { Transport::Plaintext },
            peer: self.peer.map_or(Peer::Absent, |id| Peer::of_uri_names(&[id.as_bytes()])),
        };
        let headers: Vec<(&[u8], &[u8])> = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let request = Request {
            method: self.method.map(str::as_bytes),
            path: self.path.map(str::as_bytes),
            authority: self.authority.map(str::as_bytes),
            headers: Headers(&headers),
            token: match &self.token {
                None => PresentedToken::Absent,
                Some(Ok(token)) => PresentedToken::Verified(token),
                Some(Err(fault)) => PresentedToken::Refused(*fault),
            },
            ..Request::default()
        };
        ask(&connection, self.http.then_some(&request))
    }
}

impl Workload {
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&Target<'_>) -> T) -> T {
        let attachments = [
            Attachment { kind: TargetKind::Service, namespace: "bar", name: "web" },
            Attachment { kind: TargetKind::Gateway, namespace: "foo", name: "web" },
        ];
        let attachments = if self.attached { &attachments[..] } else { &[] };
        ask(&Target { namespace: "foo", labels: &self.labels, role: self.role, attachments, ..Target::default() })
    }
}

pub(crate) fn workload() -> impl Strategy<Value = Workload> {
    let roles = vec![Role::Sidecar, Role::Sidecar, Role::Sidecar, Role::Gateway, Role::Waypoint, Role::Node];
    (select(roles), labels(), any::<bool>()).prop_map(|(role, labels, attached)| Workload { role, labels, attached })
}

fn labels() -> impl Strategy<Value = Labels> {
    select(vec![("app", "a"), ("app", "b")]).prop_map(|(name, value)| [(name.to_owned(), value.to_owned())].into())
}

pub(crate) fn mesh() -> impl Strategy<Value = Mesh> {
    let normalization = vec![PathNormalization::None, PathNormalization::Base, PathNormalization::DecodeAndMergeSlashes];
    let headers = vec![HeaderReading::Strict, HeaderReading::Envoy140, HeaderReading::Envoy136];
    let providers = vec![vec![], vec!["p"], vec!["p", "q"]];
    (select(normalization), select(headers), select(providers), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(path_normalization, headers, providers, several_providers, ztunnel, aliases)| Mesh {
            trust_domain: "td".to_owned(),
            trust_domain_aliases: if aliases { vec!["td2".to_owned()] } else { Vec::new() },
            path_normalization,
            headers,
            tcp: if ztunnel { TcpReading::Ztunnel } else { TcpReading::Envoy },
            providers: providers.into_iter().map(str::to_owned).collect(),
            several_providers,
            ..Mesh::default()
        },
    )
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let addresses = || option::weighted(0.8, select(vec!["10.0.0.1", "10.1.0.1", "11.0.0.1", "::ffff:10.0.0.1", "fd00::1"]));
    let paths = vec!["/", "/a", "/a/b", "/a/b/c", "//a", "/a/../b", "/%61", "/a?x=y", "/A", "/%00", "*"];
    let connection = (
        option::weighted(0.8, select(IDENTITIES.to_vec())),
        prop::bool::weighted(0.9),
        [addresses(), addresses(), addresses()],
        option::weighted(0.9, 80_u16..82),
        option::of(select(vec!["a", "a.b", "x", ""])),
    );
    let request = (
        prop::bool::weighted(0.75),
        option::weighted(0.9, select(vec!["GET", "POST", "get", ""])),
        option::weighted(0.9, select(paths)),
        option::weighted(0.9, select(vec!["a.b", "A.B", "a.b:80", "x.b", ""])),
        vec((select(vec!["x", "X", "y", "content-type"]), select(vec!["1", "2", "", "1,2", "application/grpc"])), 0..4),
        option::of(token()),
    );
    (connection, request).prop_map(|((peer, tls, addresses, port, sni), (http, method, path, authority, headers, token))| {
        Question { peer, tls, addresses, port, sni, http, method, path, authority, headers, token }
    })
}

fn token() -> impl Strategy<Value = Result<VerifiedToken, TokenFault>> {
    let text =
        |texts: &[&'static str]| option::weighted(0.8, select(texts.to_vec()).prop_map(|text| ClaimValue::Text(text.to_owned())));
    let list = || vec(select(vec!["1", "2"]).prop_map(|text| ClaimValue::Text(text.to_owned())), 0..3).prop_map(ClaimValue::List);
    let claims =
        (text(&["i", "https://i/x", ""]), text(&["s", "sub", "x/s", ""]), text(&["1"]), text(&["1", "2"]), option::of(list()));
    let good = claims.prop_map(|(iss, sub, aud, azp, groups)| {
        let claims = [("iss", iss), ("sub", sub), ("aud", aud), ("azp", azp), ("g", groups)];
        let claims = claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(VerifiedToken { claims: claims.collect(), ..VerifiedToken::default() })
    });
    prop_oneof![9 => good, 1 => Just(Err(TokenFault::Expired))]
}

fn wanted<T: Clone + Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Match<T>> {
    let none = || Just(Vec::new());
    let list = || vec(select(values.clone()), 1..3);
    prop_oneof![
        5 => (list(), none()).prop_map(|(values, not_values)| Match { values, not_values }),
        2 => (none(), list()).prop_map(|(values, not_values)| Match { values, not_values }),
        1 => (list(), list()).prop_map(|(values, not_values)| Match { values, not_values }),
    ]
}

fn patterns(texts: &[&str]) -> impl Strategy<Value = Match<Pattern>> + use<> {
    wanted(texts.iter().map(|text| Pattern::of(text)).collect())
}

fn principals() -> impl Strategy<Value = Match<Pattern>> {
    patterns(&[
        "td/ns/foo/sa/a",
        "td2/ns/foo/sa/a",
        "cluster.local/ns/foo/sa/*",
        "*/ns/foo/sa/b",
        "*d/ns/foo/sa/a",
        "*d2/ns/foo/sa/a",
        "other/ns/bar/*",
        "td/web",
        "*sa/b",
        "*",
    ])
}

fn namespaces() -> impl Strategy<Value = Match<Pattern>> {
    patterns(&["foo", "bar", "b*", "*o", "*"])
}

fn trust_domains() -> impl Strategy<Value = Match<Pattern>> {
    patterns(&["td", "td2", "t*", "*2", "cluster.local", "*"])
}

fn accounts() -> impl Strategy<Value = Match<AccountPattern>> {
    wanted(["a", "b", "foo/a", "bar/b", "bar/a"].map(|text| AccountPattern::parse(text).unwrap()).to_vec())
}

fn blocks() -> impl Strategy<Value = Match<AddressRange>> {
    let texts = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.1", "0.0.0.0/0", "fd00::/8"];
    wanted(texts.map(|text| AddressRange::parse(text).unwrap()).to_vec())
}

fn request_principals() -> impl Strategy<Value = Match<RequestPrincipalPattern>> {
    let texts = ["*", "i/s", "https://i/x/*", "*/sub", "*ub", "i*", "plain", "i/x/s"];
    wanted(texts.map(RequestPrincipalPattern::of).to_vec())
}

fn paths() -> impl Strategy<Value = Match<PathPattern>> {
    let texts = ["/a", "/a*", "/a/b*", "*/b", "/a/{*}", "/a/{**}", "/{*}/b", "*", "/"];
    wanted(texts.map(|text| PathPattern::parse(text).unwrap()).to_vec())
}

fn condition() -> BoxedStrategy<Condition> {
    let claim = || patterns(&["1", "2", "*", "1*"]);
    let header = (select(vec!["x", "Y", ":path", ":method", "host"]), patterns(&["1", "2", "*", "1,2", "/a", "GET"]))
        .prop_map(|(name, values)| Condition::Header { name: name.to_owned(), values });
    prop_oneof![
        3 => header,
        1 => blocks().prop_map(Condition::SourceIp),
        1 => blocks().prop_map(Condition::RemoteIp),
        1 => blocks().prop_map(Condition::DestinationIp),
        1 => namespaces().prop_map(Condition::SourceNamespace),
        1 => principals().prop_map(Condition::SourcePrincipal),
        1 => accounts().prop_map(Condition::SourceServiceAccount),
        1 => trust_domains().prop_map(Condition::SourceTrustDomain),
        1 => request_principals().prop_map(Condition::RequestPrincipal),
        1 => claim().prop_map(Condition::RequestAudience),
        1 => claim().prop_map(Condition::RequestPresenter),
        1 => claim().prop_map(|values| Condition::RequestClaim { path: vec!["g".to_owned()], values }),
        1 => wanted(vec![80, 81]).prop_map(Condition::DestinationPort),
        1 => patterns(&["a", "a*", "*b", "*"]).prop_map(Condition::Sni),
        1 => claim().prop_map(|values| Condition::EnvoyMetadata { filter: "f".to_owned(), key: "k".to_owned(), values }),
    ]
    .boxed()
}

/// Sources with one field.
fn narrow_source() -> BoxedStrategy<Source> {
    prop_oneof![
        principals().prop_map(|principals| Source { principals, ..Source::default() }),
        namespaces().prop_map(|namespaces| Source { namespaces, ..Source::default() }),
        accounts().prop_map(|service_accounts| Source { service_accounts, ..Source::default() }),
        trust_domains().prop_map(|trust_domains| Source { trust_domains, ..Source::default() }),
        request_principals().prop_map(|request_principals| Source { request_principals, ..Source::default() }),
        blocks().prop_map(|ip_blocks| Source { ip_blocks, ..Source::default() }),
        blocks().prop_map(|remote_ip_blocks| Source { remote_ip_blocks, ..Source::default() }),
    ]
    .boxed()
}

/// Operations with one field.
fn narrow_operation() -> BoxedStrategy<Operation> {
    prop_oneof![
        patterns(&["a.b", "A.*", "*.B", "a.b:80", "*"]).prop_map(|hosts| Operation { hosts, ..Operation::default() }),
        wanted(vec![80, 81]).prop_map(|ports| Operation { ports, ..Operation::default() }),
        patterns(&["GET", "P*", "*T", "*"]).prop_map(|methods| Operation { methods, ..Operation::default() }),
        paths().prop_map(|paths| Operation { paths, ..Operation::default() }),
    ]
    .boxed()
}

/// Several fields of those that have one.
fn source() -> impl Strategy<Value = Source> {
    (narrow_source(), narrow_source(), any::<bool>()).prop_map(|(a, b, both)| {
        if !both {
            return a;
        }
        Source {
            principals: either(a.principals, b.principals),
            request_principals: either(a.request_principals, b.request_principals),
            namespaces: either(a.namespaces, b.namespaces),
            service_accounts: either(a.service_accounts, b.service_accounts),
            ip_blocks: either(a.ip_blocks, b.ip_blocks),
            remote_ip_blocks: either(a.remote_ip_blocks, b.remote_ip_blocks),
            trust_domains: either(a.trust_domains, b.trust_domains),
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    (narrow_operation(), narrow_operation(), any::<bool>()).prop_map(|(a, b, both)| {
        if !both {
            return a;
        }
        Operation {
            hosts: either(a.hosts, b.hosts),
            ports: either(a.ports, b.ports),
            methods: either(a.methods, b.methods),
            paths: either(a.paths, b.paths),
        }
    })
}

fn either<T>(a: Match<T>, b: Match<T>) -> Match<T> {
    if a.is_empty() { b } else { a }
}

fn rule() -> impl Strategy<Value = Rule> {
    (vec(source(), 0..3), vec(operation(), 0..3), vec(condition(), 0..2)).prop_map(|(from, to, when)| Rule { from, to, when })
}

fn narrow_rule() -> BoxedStrategy<Rule> {
    prop_oneof![
        vec(narrow_source(), 1..3).prop_map(|from| Rule { from, ..Rule::default() }),
        vec(narrow_operation(), 1..3).prop_map(|to| Rule { to, ..Rule::default() }),
        condition().prop_map(|condition| Rule { when: vec![condition], ..Rule::default() }),
    ]
    .boxed()
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Allow),
        4 => Just(Action::Deny),
        1 => Just(Action::Audit),
        2 => select(vec!["p", "q"]).prop_map(|provider| Action::Custom { provider: provider.to_owned() }),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    let target = |kind| Scope::Targets(vec![TargetRef { kind, name: "web".to_owned() }]);
    prop_oneof![
        6 => Just(Scope::Namespace),
        2 => labels().prop_map(Scope::Workloads),
        1 => Just(target(TargetKind::Service)),
        1 => Just(target(TargetKind::Gateway)),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let namespaces = vec![NAMESPACES[0], NAMESPACES[0], NAMESPACES[1], NAMESPACES[2]];
    (select(vec!["a", "b", "c", "d", "e"]), select(namespaces), option::of(0_i64..3)).prop_map(|(name, namespace, created)| {
        Metadata {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            created: created.map(Timestamp),
            ..Metadata::default()
        }
    })
}

fn policy_of(rules: impl Strategy<Value = Vec<Rule>>) -> impl Strategy<Value = AuthorizationPolicy> {
    (metadata(), scope(), action(), rules, prop::bool::weighted(0.2)).prop_map(|(metadata, scope, action, rules, shown)| {
        let dry_run = shown && matches!(action, Action::Allow | Action::Deny);
        AuthorizationPolicy { metadata, scope, action, rules, dry_run }
    })
}

pub(crate) fn policy(most_rules: usize) -> impl Strategy<Value = AuthorizationPolicy> {
    policy_of(vec(rule(), 0..=most_rules))
}

/// With rules of one field each.
pub(crate) fn narrow_policy() -> impl Strategy<Value = AuthorizationPolicy> {
    policy_of(vec(narrow_rule(), 1..3))
}

pub(crate) fn peer_authentication() -> impl Strategy<Value = PeerAuthentication> {
    let modes = || select(vec![MtlsMode::Unset, MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict]);
    (metadata(), option::of(labels()), modes(), option::of(modes())).prop_map(|(metadata, selector, mode, of_port)| {
        let port_level: BTreeMap<u16, MtlsMode> = of_port.into_iter().map(|mode| (80, mode)).collect();
        PeerAuthentication { metadata, selector, mode, port_level }
    })
}

/// One policy of each name.
pub(crate) fn distinct(policies: Vec<AuthorizationPolicy>) -> Vec<AuthorizationPolicy> {
    let named = policies.into_iter().map(|policy| ((policy.metadata.namespace.clone(), policy.metadata.name.clone()), policy));
    named.collect::<BTreeMap<_, _>>().into_values().collect()
}
