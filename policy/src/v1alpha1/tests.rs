//! What no text of a user can say: objects that are stored though they are refused, and the strictest of their kind.

use std::collections::BTreeMap;

use super::*;
use crate::authentication::{TokenJudgement, TokenVerifier};
use crate::decision::{Decision, Refusal, Verdict};
use crate::evaluation::{self, decide};
use crate::mesh::Mesh;
use crate::objects::{
    AuthnPolicy, BindingSubject, Enforcement, JwtRule, Metadata, OriginJwt, PeerMethod, PolicyTarget, PrincipalBinding,
    RbacConfig, RbacMode, ServiceRole, ServiceRoleBinding, StringMatch, Tokens, TriggerRule,
};
use crate::pattern::Pattern;
use crate::request::{
    ClaimValue, Connection, Headers, Peer, PresentedToken, Request, Role, Service, Target, TokenFault, Transport, VerifiedToken,
};

const SERVICES: &[Service<'_>] =
    &[Service { name: "web", host: "web.foo.svc.cluster.local", port: Some(80), port_name: Some("http") }];

fn target() -> Target<'static> {
    Target { namespace: "foo", services: SERVICES, ..Target::default() }
}

fn metadata(namespace: &str, name: &str) -> Metadata {
    Metadata { name: name.to_owned(), namespace: namespace.to_owned(), ..Metadata::default() }
}

fn policy(namespace: &str, name: &str) -> AuthnPolicy {
    AuthnPolicy {
        metadata: metadata(namespace, name),
        targets: Vec::new(),
        peers: Vec::new(),
        peer_is_optional: false,
        origins: Tokens::Rules(Vec::new()),
        origin_is_optional: false,
        binding: PrincipalBinding::UsePeer,
    }
}

/// As [`crate::objects`] makes it of a Policy that cannot be read.
fn strictest(namespace: &str, name: &str) -> AuthnPolicy {
    AuthnPolicy { peers: vec![PeerMethod::Mtls { permissive: false }], origins: Tokens::AllInvalid, ..policy(namespace, name) }
}

fn jwt(issuer: &str) -> OriginJwt {
    OriginJwt { issuer: issuer.to_owned(), ..OriginJwt::default() }
}

fn origins(name: &str, origins: Vec<OriginJwt>) -> AuthnPolicy {
    AuthnPolicy { origins: Tokens::Rules(origins), ..policy("foo", name) }
}

fn decided<'p>(policies: Policies<'p>, connection: &Connection<'_>, request: Option<&Request<'_>>) -> Decision<'p> {
    let policies = evaluation::Policies { v1alpha1: policies, ..evaluation::Policies::default() };
    decide(policies, &Mesh::default(), &target(), connection, request)
}

fn mutual() -> Connection<'static> {
    let peer = Peer::of_uri_names(&[b"spiffe://td/ns/a/sa/b"]);
    Connection { peer, transport: Transport::Tls, ..Connection::default() }
}

/// Row 5 of the conformance table, and the same of a MeshPolicy.
#[test]
fn other_names_than_default_are_not_read() {
    for (namespace, name, expected) in
        [("", "x", RbacState::Off), ("bar", "x", RbacState::Off), ("", "default", RbacState::Enforced)]
    {
        let config = RbacConfig { metadata: metadata(namespace, name), mode: RbacMode::On, enforcement: Enforcement::Enforced };
        assert_eq!(rbac_state(&[config], &Mesh::default(), &target(), None), expected, "{namespace}/{name}");
    }
    assert_eq!(authn_policy(&[strictest("", "x")], &target(), None), None);
    assert!(authn_policy(&[strictest("", "default")], &target(), None).is_some());
}

#[test]
fn a_policy_that_cannot_be_read_lets_nobody_in() {
    let policies = [policy("foo", "default"), strictest("foo", "x")];
    let policies = Policies { authentication: &policies, ..Policies::default() };
    let good =
        VerifiedToken { claims: [("iss".to_owned(), ClaimValue::Text("i".to_owned()))].into(), ..VerifiedToken::default() };
    let request = Request { origin: PresentedToken::Verified(&good), ..Request::default() };
    let plain = Connection::default();
    assert_eq!(decided(policies, &plain, None).reason.as_str(), "plaintext_on_strict");
    assert_eq!(decided(policies, &mutual(), None).verdict, Verdict::Allow);
    let refused = decided(policies, &mutual(), Some(&request));
    assert_eq!(refused.reason.as_str(), "origin_not_authenticated");
    let Some(Refusal::Http(reply)) = refused.refusal else { panic!("it is refused over HTTP") };
    assert_eq!((reply.status, reply.body, reply.challenge), (401, "Origin authentication failed.", None));
}

#[test]
fn a_role_or_a_binding_that_cannot_be_read_grants_nothing() {
    let config = [RbacConfig { metadata: metadata("", "default"), mode: RbacMode::On, enforcement: Enforcement::Enforced }];
    let any_service = crate::objects::AccessRule { services: vec![Pattern::Present], ..Default::default() };
    let role = |name: &str, rules| ServiceRole { metadata: metadata("foo", name), rules };
    let binding = |role: &str, subjects| ServiceRoleBinding {
        metadata: metadata("foo", "b"),
        subjects,
        role: role.to_owned(),
        enforcement: Enforcement::Enforced,
    };
    let anyone = || vec![BindingSubject { user: Some(Pattern::Present), ..BindingSubject::default() }];
    for (role, binding, expected) in [
        (role("r", vec![any_service.clone()]), binding("r", anyone()), Verdict::Allow),
        (role("r", Vec::new()), binding("r", anyone()), Verdict::Deny),
        (role("r", vec![any_service.clone()]), binding("r", Vec::new()), Verdict::Deny),
        // A subject that says nothing is nobody.
        (role("r", vec![any_service.clone()]), binding("r", vec![BindingSubject::default()]), Verdict::Deny),
        (role("", vec![any_service.clone()]), binding("", anyone()), Verdict::Deny),
        (role("r", vec![crate::objects::AccessRule::default()]), binding("r", anyone()), Verdict::Deny),
    ] {
        let policies = Policies { rbac: &config, roles: &[role], bindings: &[binding], ..Policies::default() };
        assert_eq!(decided_verdict(policies), expected);
    }
}

fn decided_verdict(policies: Policies<'_>) -> Verdict {
    decided(policies, &Connection::default(), None).verdict
}

#[test]
fn an_expression_that_cannot_be_read_asks_for_a_token() {
    let bad = || vec![StringMatch::Regex("(".to_owned())];
    for (excluded, included) in [(bad(), Vec::new()), (Vec::new(), bad())] {
        let rule = OriginJwt { triggers: vec![TriggerRule { excluded, included }], ..jwt("i") };
        let policies = [origins("default", vec![rule])];
        let request = Request { path: Some(b"/("), ..Request::default() };
        let policies = Policies { authentication: &policies, ..Policies::default() };
        assert_eq!(decided(policies, &Connection::default(), Some(&request)).reason.as_str(), "origin_not_authenticated");
    }
}

/// Takes `issuer,audience` for a token.
struct Known;

impl TokenVerifier for Known {
    fn verify(&self, token: &[u8], rule: &JwtRule) -> Result<VerifiedToken, TokenFault> {
        let text = std::str::from_utf8(token).map_err(|_| TokenFault::Malformed)?;
        let (issuer, audience) = text.split_once(',').ok_or(TokenFault::Malformed)?;
        match audience {
            "expired" if issuer == rule.issuer => return Err(TokenFault::Expired),
            _ => {}
        }
        let text = |value: &str| ClaimValue::Text(value.to_owned());
        let claims = [("iss", text(issuer)), ("aud", text(audience)), ("exp", ClaimValue::Number("1".to_owned()))];
        let claims: BTreeMap<_, _> = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(VerifiedToken { claims, ..VerifiedToken::default() })
    }
}

fn judged(
    policies: &[AuthnPolicy],
    services: &[Service<'_>],
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Option<String>, TokenFault> {
    let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let request = Request { path: Some(path.as_bytes()), headers: Headers(&headers), ..Request::default() };
    let policies = Policies { authentication: policies, ..Policies::default() };
    let target = Target { services, ..target() };
    match judge_tokens(policies, &target, &request, &Known) {
        TokenJudgement::Absent => Ok(None),
        TokenJudgement::Verified(token) => Ok(token.issuer().map(str::to_owned)),
        TokenJudgement::Refused(fault) => Err(fault),
    }
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_first_token_counts_where_rules_look() {
    let usual = jwt("i");
    let own = OriginJwt { headers: list(&["X-B", "x-a"]), params: list(&["t"]), audiences: list(&["x"]), ..jwt("j") };
    let policies = [AuthnPolicy { peers: vec![PeerMethod::Jwt(usual)], ..origins("default", vec![own]) }];
    for (path, headers, expected) in [
        ("/", &[][..], Ok(None)),
        ("/", &[("authorization", "Basic i,x")], Ok(None)),
        ("/", &[("authorization", "Bearer i,x")], Ok(Some("i"))),
        ("/?access_token=i,x", &[], Ok(Some("i"))),
        ("/?t=j,x", &[], Ok(Some("j"))),
        ("/?t=j,y", &[], Err(TokenFault::Audience)),
        ("/", &[("x-a", "j,x")], Ok(Some("j"))),
        ("/", &[("x-a", "Token j,x")], Ok(Some("j"))),
        // Each issuer has its own places.
        ("/", &[("authorization", "Bearer j,x")], Err(TokenFault::UnknownIssuer)),
        ("/", &[("x-a", "i,x")], Err(TokenFault::UnknownIssuer)),
        ("/", &[("x-a", "k,x")], Err(TokenFault::UnknownIssuer)),
        ("/", &[("x-a", "junk")], Err(TokenFault::Malformed)),
        ("/", &[("x-a", "j,expired")], Err(TokenFault::Expired)),
        // Authorization, then headers by name, then parameters; nothing behind the first.
        ("/?t=j,x", &[("x-b", "j,expired"), ("x-a", "j,x")], Ok(Some("j"))),
        ("/?t=j,x", &[("x-b", "j,x"), ("x-a", "j,expired")], Err(TokenFault::Expired)),
        ("/?t=j,x", &[("authorization", "Bearer junk"), ("x-a", "j,x")], Err(TokenFault::Malformed)),
        ("/?t=junk", &[("x-a", "j,x")], Ok(Some("j"))),
        // Two in one place are none.
        ("/", &[("x-a", "j,x"), ("x-a", "j,x")], Ok(Some("j"))),
        ("/", &[("x-a", "j,x"), ("x-a", "i,x")], Err(TokenFault::Malformed)),
        ("/", &[("x-a", ""), ("x-a", "j,x")], Ok(Some("j"))),
    ] {
        let expected = expected.map(|issuer: Option<&str>| issuer.map(str::to_owned));
        assert_eq!(judged(&policies, SERVICES, path, headers), expected, "{path} {headers:?}");
    }
    assert_eq!(judged(&[], SERVICES, "/", &[("authorization", "Bearer i,x")]), Ok(None));
    assert_eq!(judged(&policies, &[], "/", &[("authorization", "Bearer i,x")]), Ok(Some("i".to_owned())));
    assert_eq!(judged(&[strictest("foo", "default")], SERVICES, "/", &[("authorization", "Bearer i,x")]), Ok(None));
}

#[test]
fn behind_one_port_a_token_is_good_for_every_service() {
    let targeted = |name: &str, rule| AuthnPolicy {
        targets: vec![PolicyTarget { name: name.to_owned(), ports: Vec::new() }],
        ..origins(name, vec![rule])
    };
    let to = |audience: &str| OriginJwt { audiences: list(&[audience]), ..jwt("i") };
    let elsewhere = OriginJwt { headers: list(&["x-a"]), ..jwt("i") };
    let both = [Service { name: "a", ..Service::default() }, Service { name: "b", ..Service::default() }];
    let headers = [("authorization", "Bearer i,x")];
    for (second, expected) in [
        (to("x"), Ok(Some("i".to_owned()))),
        (to("y"), Err(TokenFault::Audience)),
        (elsewhere, Err(TokenFault::UnknownIssuer)),
        (jwt("j"), Ok(Some("i".to_owned()))),
    ] {
        let policies = [targeted("a", to("x")), targeted("b", second.clone())];
        assert_eq!(judged(&policies, &both, "/", &headers), expected, "{second:?}");
        assert_eq!(judged(&policies, &both[..1], "/", &headers), Ok(Some("i".to_owned())));
    }
}

#[test]
fn gateways_are_asked_by_whoever_has_no_certificate() {
    let policies = [AuthnPolicy { peers: vec![PeerMethod::Mtls { permissive: false }], ..policy("foo", "default") }];
    let policies = evaluation::Policies {
        v1alpha1: Policies { authentication: &policies, ..Policies::default() },
        ..evaluation::Policies::default()
    };
    for (role, expected) in [
        (Role::Gateway, Verdict::Allow),
        (Role::Sidecar, Verdict::Deny),
        (Role::Waypoint, Verdict::Deny),
        (Role::Node, Verdict::Deny),
    ] {
        let target = Target { role, ..target() };
        let found = decide(policies, &Mesh::default(), &target, &Connection::default(), Some(&Request::default()));
        assert_eq!(found.verdict, expected, "{role:?}");
    }
}

#[test]
fn whoever_is_refused_is_told_no_policy() {
    let peers = [AuthnPolicy { peers: vec![PeerMethod::Jwt(jwt("i"))], ..policy("foo", "default") }];
    let request = Request::default();
    let policies = Policies { authentication: &peers, ..Policies::default() };
    let refused = decided(policies, &Connection::default(), Some(&request));
    let Some(Refusal::Http(reply)) = refused.refusal else { panic!("it is refused over HTTP") };
    assert_eq!((reply.status, reply.body, reply.challenge), (401, "Peer authentication failed.", None));
    assert_eq!(refused.details(), None);
    let config = [RbacConfig { metadata: metadata("", "default"), mode: RbacMode::On, enforcement: Enforcement::Enforced }];
    let policies = Policies { rbac: &config, ..Policies::default() };
    let refused = decided(policies, &Connection::default(), Some(&request));
    let Some(Refusal::Http(reply)) = refused.refusal else { panic!("it is refused over HTTP") };
    assert_eq!((reply.status, reply.body, reply.challenge), (403, "RBAC: access denied", None));
    assert_eq!(refused.details().as_deref(), Some("rbac_access_denied_matched_policy[none]"));
    assert_eq!(decided(policies, &Connection::default(), None).refusal, Some(Refusal::Close));
}
