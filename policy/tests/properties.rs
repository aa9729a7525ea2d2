//! What holds of every decision, whatever the policies and whatever is asked.

use policy::decision::{Decision, Verdict};
use policy::evaluation::{Policies, decide};
use policy::mesh::{HeaderReading, Mesh, TcpReading};
use policy::objects::{Action, AuthorizationPolicy, Condition, Labels, Match, Metadata, Operation, Rule, Scope, Source};
use policy::path::PathPattern;
use policy::pattern::{AddressRange, Pattern};
use policy::request::{Connection, Headers, Peer, Request, Target, Transport};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A question that owns what a request borrows.
#[derive(Clone, Debug)]
struct Question {
    identity: Option<&'static str>,
    ip: &'static str,
    port: u16,
    http: bool,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

fn answer<'p>(policies: &'p [AuthorizationPolicy], mesh: &Mesh, question: &Question) -> Decision<'p> {
    let peer = question.identity.map_or(Peer::Absent, |id| Peer::of_uri_names(&[id.as_bytes()]));
    let connection = Connection {
        source_ip: question.ip.parse().ok(),
        destination_port: Some(question.port),
        transport: if question.identity.is_some() { Transport::Tls } else { Transport::Plaintext },
        peer,
        ..Connection::default()
    };
    let headers: Vec<(&[u8], &[u8])> = question.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let request = Request {
        method: Some(question.method.as_bytes()),
        path: Some(question.path.as_bytes()),
        headers: Headers(&headers),
        ..Request::default()
    };
    let labels = Labels::new();
    let target = Target { namespace: "foo", labels: &labels, ..Target::default() };
    let policies = Policies { authorization: policies, ..Policies::default() };
    decide(policies, mesh, &target, &connection, question.http.then_some(&request))
}

fn question() -> impl Strategy<Value = Question> {
    let identities = [
        None,
        Some("spiffe://td/ns/foo/sa/a"),
        Some("spiffe://td/ns/bar/sa/b"),
        Some("spiffe://td/x/ns/bar/sa/b"),
        Some("spiffe://cluster.local/ns/foo/sa/a"),
    ];
    let lines = vec((select(&["x", "X", "y"][..]), select(&["1", "2", "", "1,2"][..])), 0..4);
    let paths = ["/", "/a", "/a/b", "//a", "/a/../b", "/a/x*/b", "/%00"];
    (
        select(identities.to_vec()),
        select(&["10.0.0.1", "11.0.0.1"][..]),
        80_u16..82,
        any::<bool>(),
        select(&["GET", "POST"][..]),
        select(paths.to_vec()),
        lines,
    )
        .prop_map(|(identity, ip, port, http, method, path, headers)| Question {
            identity,
            ip,
            port,
            http,
            method,
            path,
            headers,
        })
}

fn wanted<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Match<T>> {
    let none = || Just(Vec::new());
    let list = || vec(select(values.clone()), 1..3);
    prop_oneof![
        4 => Just(Match::default()),
        3 => (list(), none()).prop_map(|(values, not_values)| Match { values, not_values }),
        2 => (none(), list()).prop_map(|(values, not_values)| Match { values, not_values }),
        1 => (list(), list()).prop_map(|(values, not_values)| Match { values, not_values }),
    ]
}

fn patterns(texts: &[&str]) -> impl Strategy<Value = Match<Pattern>> + use<> {
    wanted(texts.iter().map(|text| Pattern::of(text)).collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let blocks = ["10.0.0.0/8", "11.0.0.1"].map(|text| AddressRange::parse(text).expect("a range"));
    let paths = ["/a", "/a*", "*/b", "/a/{*}/b", "*"].map(|text| PathPattern::parse(text).expect("a path"));
    let source = (
        patterns(&["td/ns/foo/sa/a", "*/sa/b", "*", "cluster.local/ns/foo/sa/a"]),
        patterns(&["foo", "b*", "*"]),
        wanted(blocks.to_vec()),
    )
        .prop_map(|(principals, namespaces, ip_blocks)| Source { principals, namespaces, ip_blocks, ..Source::default() });
    let operation = (wanted(vec![80, 81]), patterns(&["GET", "P*"]), wanted(paths.to_vec()))
        .prop_map(|(ports, methods, paths)| Operation { ports, methods, paths, ..Operation::default() });
    let header = patterns(&["1", "2", "*", "1,2", "1*"]).prop_map(|values| Condition::Header { name: "x".to_owned(), values });
    (vec(source, 0..3), vec(operation, 0..3), vec(header, 0..2)).prop_map(|(from, to, when)| Rule { from, to, when })
}

fn policy(name: &'static str) -> impl Strategy<Value = AuthorizationPolicy> {
    let actions = vec![
        Action::Allow,
        Action::Deny,
        Action::Allow,
        Action::Deny,
        Action::Audit,
        Action::Custom { provider: "p".to_owned() },
    ];
    (select(actions), vec(rule(), 0..3), any::<bool>(), select(&["foo", "istio-system"][..])).prop_map(
        move |(action, rules, shown, namespace)| {
            let metadata = Metadata { name: name.to_owned(), namespace: namespace.to_owned(), ..Metadata::default() };
            let dry_run = shown && matches!(action, Action::Allow | Action::Deny);
            AuthorizationPolicy { metadata, scope: Scope::Namespace, action, rules, dry_run }
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<AuthorizationPolicy>> {
    (policy("a"), policy("b"), policy("c"), policy("d"), 0_usize..5).prop_map(|(a, b, c, d, count)| {
        let mut all = vec![a, b, c, d];
        all.truncate(count);
        all
    })
}

fn allowed(policies: &[AuthorizationPolicy], mesh: &Mesh, question: &Question) -> bool {
    answer(policies, mesh, question).verdict == Verdict::Allow
}

fn mesh() -> Mesh {
    Mesh { trust_domain: "td".to_owned(), providers: ["p".to_owned()].into(), ..Mesh::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_policies_decides_nothing(policies in policies(), question in question()) {
        let turned: Vec<_> = policies.iter().rev().cloned().collect();
        prop_assert_eq!(answer(&policies, &mesh(), &question), answer(&turned, &mesh(), &question));
    }

    #[test]
    fn one_more_policy_never_opens_what_was_closed(policies in policies(), more in policy("z"), question in question()) {
        let enforced = |action: &Action| policies.iter().any(|policy| policy.action == *action && !policy.dry_run);
        // The first policy that allows closes everything else; the next ones open.
        prop_assume!(more.action != Action::Allow || more.dry_run || !enforced(&Action::Allow));
        let mut with = policies.clone();
        with.push(more);
        prop_assert!(!allowed(&with, &mesh(), &question) || allowed(&policies, &mesh(), &question));
    }

    #[test]
    fn what_is_only_shown_decides_nothing(policies in policies(), question in question()) {
        let enforced: Vec<_> = policies.iter().filter(|policy| !policy.dry_run && policy.action != Action::Audit).cloned().collect();
        let (all, without) = (answer(&policies, &mesh(), &question), answer(&enforced, &mesh(), &question));
        prop_assert_eq!((all.verdict, all.stage, all.matched, &all.reason), (without.verdict, without.stage, without.matched, &without.reason));
    }

    #[test]
    fn the_strict_reading_of_headers_admits_no_more_than_that_of_envoy(policies in policies(), question in question()) {
        let envoy = Mesh { headers: HeaderReading::Envoy140, ..mesh() };
        prop_assert!(!allowed(&policies, &mesh(), &question) || allowed(&policies, &envoy, &question));
    }

    /// Over TCP, Envoy's reading refuses at least what ztunnel's does. ztunnel knows no aliases, so none are there.
    #[test]
    fn the_reading_of_envoy_admits_no_more_than_that_of_ztunnel(policies in policies(), question in question()) {
        let question = Question { http: false, ..question };
        let mesh = Mesh { trust_domain: "cluster.local".to_owned(), ..mesh() };
        let ztunnel = Mesh { tcp: TcpReading::Ztunnel, ..mesh.clone() };
        prop_assert!(!allowed(&policies, &mesh, &question) || allowed(&policies, &ztunnel, &question));
    }
}
