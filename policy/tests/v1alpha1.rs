//! What holds of every decision by objects of Istio 1.1, whatever they are and whatever is asked.

use policy::compile::{Scratch, compile, evaluate};
use policy::decision::{Decision, Stage, Verdict};
use policy::evaluation::{Policies, decide};
use policy::mesh::Mesh;
use policy::objects::{
    AccessRule, AuthnPolicy, AuthorizationPolicy, BindingSubject, Constraint, Enforcement, Metadata, Object, OriginJwt, Outcome,
    PeerMethod, PolicyTarget, PrincipalBinding, Property, RbacConfig, RbacMode, ReadOptions, ServiceRole, ServiceRoleBinding,
    StringMatch, Timestamp, Tokens, TriggerRule,
};
use policy::pattern::{AddressRange, Pattern};
use policy::request::{
    ClaimValue, Connection, Headers, Peer, PresentedToken, Request, Service, Target, TokenFault, Transport, VerifiedToken,
};
use policy::v1alpha1;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

/// The objects of a case, which policies borrow.
#[derive(Clone, Debug)]
struct Objects {
    authentication: Vec<AuthnPolicy>,
    rbac: Vec<RbacConfig>,
    roles: Vec<ServiceRole>,
    bindings: Vec<ServiceRoleBinding>,
}

#[derive(Clone, Debug)]
struct Question {
    identity: Option<&'static str>,
    port: u16,
    http: bool,
    method: &'static str,
    path: &'static str,
    header: Option<&'static str>,
    token: Option<Result<(&'static str, &'static str), TokenFault>>,
}

fn metadata(namespace: &str, name: String, created: Option<i64>) -> Metadata {
    Metadata { name, namespace: namespace.to_owned(), created: created.map(Timestamp), dry_run: None }
}

fn pattern(texts: &'static [&'static str]) -> impl Strategy<Value = Pattern> + Clone {
    select(texts).prop_map(Pattern::of)
}

fn access_rule() -> impl Strategy<Value = AccessRule> {
    let constraint = prop_oneof![
        select(&[80_u16, 81][..]).prop_map(|port| Constraint::DestinationPort(vec![port])),
        pattern(&["1", "*"]).prop_map(|value| Constraint::Header { name: "x".to_owned(), values: vec![value] }),
    ];
    (
        vec(pattern(&["*", "*", "web.foo.svc", "api*"]), 1..2),
        vec(pattern(&["GET", "*"]), 0..2),
        vec(pattern(&["/a", "/a*", "*b"]), 0..2),
        vec(constraint, 0..2),
    )
        .prop_map(|(services, methods, paths, constraints)| AccessRule { services, methods, paths, constraints })
}

fn subject() -> impl Strategy<Value = BindingSubject> {
    let property = prop_oneof![
        pattern(&["*", "td/*"]).prop_map(Property::SourcePrincipal),
        pattern(&["a", "b"]).prop_map(Property::SourceNamespace),
        pattern(&["i/s", "*"]).prop_map(Property::RequestPrincipal),
        pattern(&["1", "*"]).prop_map(|value| Property::Header { name: "x".to_owned(), value }),
        Just(Property::SourceIp(AddressRange::parse("10.0.0.0/8").expect("a range"))),
    ];
    let user = of(pattern(&["*", "td/ns/a/sa/x", "*/sa/x"]));
    let mixed = (user.clone(), of(pattern(&["g"])), vec(property.clone(), 0..2));
    prop_oneof![
        user.prop_map(|user| BindingSubject { user, ..BindingSubject::default() }),
        property.prop_map(|property| BindingSubject { properties: vec![property], ..BindingSubject::default() }),
        mixed.prop_map(|(user, group, properties)| BindingSubject { user, group, properties }),
    ]
}

fn authn_policy() -> impl Strategy<Value = (bool, AuthnPolicy)> {
    let triggers = prop_oneof![
        Just(Vec::new()),
        Just(vec![TriggerRule { excluded: vec![StringMatch::Exact("/a".to_owned())], included: Vec::new() }]),
        Just(vec![TriggerRule { excluded: Vec::new(), included: vec![StringMatch::Prefix("/a".to_owned())] }]),
    ];
    let jwt = (select(&["i", "j"][..]), triggers).prop_map(|(issuer, triggers)| OriginJwt {
        issuer: issuer.to_owned(),
        triggers,
        ..OriginJwt::default()
    });
    let peer =
        prop_oneof![any::<bool>().prop_map(|permissive| PeerMethod::Mtls { permissive }), jwt.clone().prop_map(PeerMethod::Jwt)];
    let targets = of(select(&["web", "api"][..]));
    let binding = select(&[PrincipalBinding::UsePeer, PrincipalBinding::UseOrigin][..]);
    (any::<(bool, bool, bool)>(), targets, vec(peer, 0..2), vec(jwt, 0..2), binding).prop_map(
        |((in_mesh, peer_is_optional, origin_is_optional), target, peers, origins, binding)| {
            let target = target.map(|name| PolicyTarget { name: name.to_owned(), ports: Vec::new() });
            let policy = AuthnPolicy {
                metadata: Metadata::default(),
                targets: target.into_iter().collect(),
                peers,
                peer_is_optional,
                origins: Tokens::Rules(origins),
                origin_is_optional,
                binding,
            };
            (in_mesh, policy)
        },
    )
}

fn objects() -> impl Strategy<Value = Objects> {
    let enforcement = || select(&[Enforcement::Enforced, Enforcement::Enforced, Enforcement::Permissive][..]);
    let config = of((select(&[RbacMode::On, RbacMode::On, RbacMode::On, RbacMode::Off][..]), enforcement()));
    let ages = || of(0_i64..3);
    let roles = vec((select(&["foo", "foo", "bar"][..]), vec(access_rule(), 1..4)), 2..5);
    let bindings = vec((select(&["foo", "foo", "bar"][..]), vec(subject(), 1..3), 0_usize..3, enforcement()), 1..7);
    let policies = prop_oneof![2 => Just(Vec::new()), 3 => vec((authn_policy(), ages()), 1..3)];
    (config, roles, bindings, policies).prop_map(|(config, roles, bindings, policies)| Objects {
        rbac: config
            .map(|(mode, enforcement)| RbacConfig { metadata: metadata("", "default".to_owned(), None), mode, enforcement })
            .into_iter()
            .collect(),
        roles: roles
            .into_iter()
            .enumerate()
            .map(|(place, (namespace, rules))| ServiceRole { metadata: metadata(namespace, format!("r{place}"), None), rules })
            .collect(),
        bindings: bindings
            .into_iter()
            .enumerate()
            .map(|(place, (namespace, subjects, role, enforcement))| ServiceRoleBinding {
                metadata: metadata(namespace, format!("b{place}"), None),
                subjects,
                role: format!("r{role}"),
                enforcement,
            })
            .collect(),
        authentication: policies
            .into_iter()
            .enumerate()
            .map(|(place, ((in_mesh, policy), age))| {
                let mesh = in_mesh && policy.targets.is_empty();
                let metadata = if mesh {
                    metadata("", "default".to_owned(), Some(age.unwrap_or(9) * 10 + i64::try_from(place).unwrap_or_default()))
                } else {
                    metadata("foo", format!("p{place}"), age)
                };
                AuthnPolicy { metadata, ..policy }
            })
            .collect(),
    })
}

fn question() -> impl Strategy<Value = Question> {
    let identities = [None, Some("spiffe://td/ns/a/sa/x"), Some("spiffe://td/ns/b/sa/y"), Some("spiffe://td/x/ns/a/sa/x")];
    let token = prop_oneof![
        Just(None),
        Just(Some(Err(TokenFault::Expired))),
        (select(&["i", "j", "k"][..]), select(&["s", "t"][..])).prop_map(|pair| Some(Ok(pair))),
    ];
    (
        select(identities.to_vec()),
        80_u16..82,
        any::<bool>(),
        select(&["GET", "PUT"][..]),
        select(&["/a", "/ab", "/a?b", "/c/../a", "/c"][..]),
        of(select(&["1", "2"][..])),
        token,
    )
        .prop_map(|(identity, port, http, method, path, header, token)| Question {
            identity,
            port,
            http,
            method,
            path,
            header,
            token,
        })
}

fn answer<'p>(objects: &'p Objects, modern: &'p [AuthorizationPolicy], question: &Question) -> Decision<'p> {
    let peer = question.identity.map_or(Peer::Absent, |id| Peer::of_uri_names(&[id.as_bytes()]));
    let connection = Connection {
        source_ip: "10.0.0.1".parse().ok(),
        destination_port: Some(question.port),
        transport: if question.identity.is_some() { Transport::Tls } else { Transport::Plaintext },
        peer,
        ..Connection::default()
    };
    let headers: Vec<(&[u8], &[u8])> = question.header.iter().map(|value| (b"x".as_slice(), value.as_bytes())).collect();
    let token = question.token.and_then(Result::ok).map(|(issuer, subject)| {
        let text = |value: &str| ClaimValue::Text(value.to_owned());
        let claims = [("iss", text(issuer)), ("sub", text(subject)), ("groups", text("g"))];
        let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        VerifiedToken { claims, ..VerifiedToken::default() }
    });
    let origin = match (&token, question.token) {
        (Some(token), _) => PresentedToken::Verified(token),
        (None, Some(Err(fault))) => PresentedToken::Refused(fault),
        (None, _) => PresentedToken::Absent,
    };
    let request = Request {
        method: Some(question.method.as_bytes()),
        path: Some(question.path.as_bytes()),
        headers: Headers(&headers),
        origin,
        ..Request::default()
    };
    let services = [Service { name: "web", host: "web.foo.svc", port: Some(80), port_name: None }];
    let target = Target { namespace: "foo", services: &services, ..Target::default() };
    let first = v1alpha1::Policies {
        authentication: &objects.authentication,
        rbac: &objects.rbac,
        roles: &objects.roles,
        bindings: &objects.bindings,
    };
    let policies = Policies { authorization: modern, v1alpha1: first, ..Policies::default() };
    let (mesh, request) = (Mesh::default(), question.http.then_some(&request));
    let decided = decide(policies, &mesh, &target, &connection, request);
    let compiled = compile(policies, &mesh).view(&target);
    assert_eq!(evaluate(&compiled, &connection, request, &mut Scratch::default()), decided, "compiled");
    decided
}

fn modern() -> Vec<AuthorizationPolicy> {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: foo}\n\
                spec: {rules: [{to: [{operation: {ports: ['80']}}]}, {from: [{source: {namespaces: [a]}}]}]}\n";
    let read = policy::objects::read(text, &ReadOptions::default()).objects.into_iter();
    read.filter_map(|object| match object.outcome {
        Outcome::Accepted(Object::AuthorizationPolicy(policy)) => Some(policy),
        Outcome::Accepted(_) | Outcome::Refused { .. } => None,
    })
    .collect()
}

const NOTHING: Objects = Objects { authentication: Vec::new(), rbac: Vec::new(), roles: Vec::new(), bindings: Vec::new() };

fn allowed(objects: &Objects, modern: &[AuthorizationPolicy], question: &Question) -> bool {
    answer(objects, modern, question).verdict == Verdict::Allow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_generations_must_allow(objects in objects(), question in question()) {
        let modern = modern();
        prop_assert_eq!(modern.len(), 1);
        let both = allowed(&objects, &modern, &question);
        prop_assert_eq!(both, allowed(&objects, &[], &question) && allowed(&NOTHING, &modern, &question));
    }

    #[test]
    fn the_order_of_objects_decides_nothing(objects in objects(), question in question()) {
        let mut turned = objects.clone();
        turned.authentication.reverse();
        turned.roles.reverse();
        turned.bindings.reverse();
        prop_assert_eq!(answer(&objects, &[], &question), answer(&turned, &[], &question));
    }

    #[test]
    fn what_is_taken_away_grants_nothing(objects in objects(), question in question(), place in 0_usize..4) {
        let mut fewer = objects.clone();
        if place < fewer.roles.len() {
            fewer.roles.remove(place);
        }
        prop_assert!(!allowed(&fewer, &[], &question) || allowed(&objects, &[], &question));
        let mut fewer = objects.clone();
        if place < fewer.bindings.len() {
            fewer.bindings.remove(place);
        }
        // Over TCP a binding can take its role along.
        let http = Question { http: true, ..question };
        prop_assert!(!allowed(&fewer, &[], &http) || allowed(&objects, &[], &http));
    }

    #[test]
    fn what_is_shown_is_what_would_be_decided(objects in objects(), question in question()) {
        let with = |enforcement| {
            let mut objects = objects.clone();
            objects.rbac.iter_mut().for_each(|config| config.enforcement = enforcement);
            objects
        };
        let (mut enforced, permissive) = (with(Enforcement::Enforced), with(Enforcement::Permissive));
        enforced.bindings.iter_mut().for_each(|binding| binding.enforcement = Enforcement::Enforced);
        let (decided, shown) = (answer(&enforced, &[], &question), answer(&permissive, &[], &question));
        prop_assert!(shown.stage != Stage::RbacV1);
        match shown.shadow[..] {
            [] => prop_assert_eq!(decided.verdict, shown.verdict),
            [shadow] => prop_assert_eq!((shadow.verdict, shadow.matched), (decided.verdict, decided.matched)),
            [..] => prop_assert!(false, "one service has one line"),
        }
    }
}

/// The cases above are about every outcome that there is.
#[test]
fn every_outcome_comes_up() {
    use std::collections::BTreeMap;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shown = 0;
    for _ in 0..2_000 {
        let case = (objects(), question()).new_tree(&mut runner).expect("a case").current();
        let decision = answer(&case.0, &[], &case.1);
        *found.entry(decision.reason.as_str()).or_default() += 1;
        shown += usize::from(decision.shadow.iter().any(|shadow| shadow.matched.is_some()));
    }
    let reasons = [
        "no_allow_policies",
        "role_matched",
        "no_role_binding",
        "plaintext_on_strict",
        "peer_not_authenticated",
        "origin_not_authenticated",
    ];
    for reason in reasons {
        assert!(found.get(reason).is_some_and(|count| *count >= 20), "{reason} is too rare: {found:?}");
    }
    assert!(shown >= 20, "{shown} matches that are only shown");
}

/// A set that goes on from another one still has what it had, of the cluster, of the namespace and of others.
#[test]
fn what_is_compiled_keeps_them_when_others_change() {
    let config = |namespace| RbacConfig {
        metadata: metadata(namespace, "default".to_owned(), None),
        mode: RbacMode::On,
        enforcement: Enforcement::Enforced,
    };
    let target = Target { namespace: "foo", ..Target::default() };
    let reason = |set: &policy::compile::PolicySet| {
        let view = set.view(&target);
        evaluate(&view, &Connection::default(), None, &mut Scratch::default()).reason.as_str()
    };
    let modern = modern();
    for namespace in ["", "foo", "bar"] {
        let rbac = [config(namespace)];
        let first = v1alpha1::Policies { rbac: &rbac, ..v1alpha1::Policies::default() };
        let set = compile(Policies { v1alpha1: first, ..Policies::default() }, &Mesh::default());
        assert_eq!(reason(&set), "no_role_binding", "{namespace}");
        let with = set.with_policy(&modern[0]);
        assert_eq!(reason(&with), "no_allow_matched");
        assert_eq!(reason(&with.without_policy("foo", "p")), "no_role_binding", "{namespace}");
        assert_eq!(reason(&set.with_namespace("other", Policies::default())), "no_role_binding", "{namespace}");
        assert_eq!(reason(&set.with_namespace(namespace, Policies::default())), "no_allow_policies", "{namespace}");
    }
}
