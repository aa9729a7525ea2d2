//! Questions of a table, and the answers in the words of the table.
//!
//! A question is `T` or `H` and its attributes: `from=td/ns/a/sa/b` (several with commas: several URIs in one certificate), `tls` (without
//! a client certificate), `ip`, `remote`, `hops` (`remote` from x-forwarded-for), `dip`, `port`, `sni`, `method`, `path`, `host`, `header=name:value` (as often as need be),
//! `claims={...}` (a token that was found good), `token=fault`; `origin={...}` and `origin-token=fault` (the same for what objects of Istio
//! 1.1 look at). In values, `\_` is a space and `\0` is NUL.
//!
//! An answer is the verdict, the stage, the reason; then, where they are there, the rule, `audit=rule`, `shadow=stage:verdict:rule`,
//! `ask=providers`, and what is said on the wire where that is not 403, or the end of a connection.

use policy::compile::{Scratch, compile, evaluate};
use policy::decision::{Decision, Refusal, Stage, Verdict};
use policy::evaluation::{Policies, decide};
use policy::request::{
    Attachment, ClaimValue, Connection, Headers, Peer, PresentedToken, Request, Service, Target, TokenFault, Transport,
    VerifiedToken, client_address,
};
use policy::v1alpha1;

use crate::table::{Case, pairs};

/// What a question owns, for the request to borrow.
#[derive(Default)]
struct Question {
    http: bool,
    method: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    sni: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    token: Option<VerifiedToken>,
    fault: Option<TokenFault>,
    origin: Option<VerifiedToken>,
    origin_fault: Option<TokenFault>,
    hops: Option<usize>,
}

pub(crate) fn answer(case: &Case, asked: &str) -> String {
    let (kind, rest) = asked.split_once(' ').unwrap_or((asked, ""));
    let mut question = Question { http: kind == "H", ..Question::default() };
    assert!(question.http || kind == "T", "{kind} is no kind of question");
    let mut connection = Connection::default();
    for (key, value) in pairs(rest) {
        match key {
            "from" => {
                let uris: Vec<String> =
                    value.split(',').map(|id| format!("spiffe://{}", String::from_utf8(bytes(id)).unwrap())).collect();
                let uris: Vec<&[u8]> = uris.iter().map(String::as_bytes).collect();
                connection.peer = Peer::of_uri_names(&uris);
                connection.transport = Transport::Tls;
            }
            "tls" => connection.transport = Transport::Tls,
            "ip" => connection.source_ip = Some(value.parse().unwrap()),
            "remote" => connection.remote_ip = Some(value.parse().unwrap()),
            "hops" => question.hops = Some(value.parse().unwrap()),
            "dip" => connection.destination_ip = Some(value.parse().unwrap()),
            "port" => connection.destination_port = Some(value.parse().unwrap()),
            _ => question.set(key, value),
        }
    }
    connection.sni = question.sni.as_deref();
    let headers: Vec<(&[u8], &[u8])> = question.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    if let (Some(hops), Some(source)) = (question.hops, connection.source_ip) {
        connection.remote_ip = Some(client_address(source, Headers(&headers), hops));
    }
    let request = Request {
        method: question.method.as_deref(),
        path: question.path.as_deref(),
        authority: question.authority.as_deref(),
        headers: Headers(&headers),
        token: presented(question.token.as_ref(), question.fault),
        origin: presented(question.origin.as_ref(), question.origin_fault),
    };
    let attachments: Vec<_> =
        case.attachments.iter().map(|(kind, namespace, name)| Attachment { kind: *kind, namespace, name }).collect();
    let services = case.services.iter().map(|service| Service {
        name: &service.name,
        host: &service.host,
        port: service.port,
        port_name: service.port_name.as_deref(),
    });
    let services: Vec<_> = services.collect();
    let target = Target {
        namespace: &case.namespace,
        labels: &case.labels,
        role: case.role,
        attachments: &attachments,
        service_account: case.account.as_deref(),
        services: &services,
    };
    let first = v1alpha1::Policies {
        authentication: &case.authentication,
        rbac: &case.rbac,
        roles: &case.roles,
        bindings: &case.bindings,
    };
    let policies = Policies { peer: &case.peer, authorization: &case.policies, v1alpha1: first };
    let request = question.http.then_some(&request);
    let decided = decide(policies, &case.mesh, &target, &connection, request);
    let view = compile(policies, &case.mesh).view(&target);
    let mut scratch = Scratch::default();
    assert_eq!(evaluate(&view, &connection, request, &mut scratch), decided, "compiled: {}: {asked}", case.title);
    assert_eq!(view.accept(&connection).decide(request, &mut scratch), decided, "accepted: {}: {asked}", case.title);
    said(&decided, question.http)
}

impl Question {
    fn set(&mut self, key: &str, value: &str) {
        match key {
            "method" => self.method = Some(bytes(value)),
            "path" => self.path = Some(bytes(value)),
            "host" => self.authority = Some(bytes(value)),
            "sni" => self.sni = Some(bytes(value)),
            "header" => {
                let (name, value) = value.split_once(':').expect("a header has a value");
                self.headers.push((bytes(name), bytes(value)));
            }
            "claims" => self.token = Some(verified(value)),
            "token" => self.fault = Some(fault(value)),
            "origin" => self.origin = Some(verified(value)),
            "origin-token" => self.origin_fault = Some(fault(value)),
            _ => panic!("{key} is no attribute"),
        }
    }
}

fn presented(token: Option<&VerifiedToken>, fault: Option<TokenFault>) -> PresentedToken<'_> {
    match (token, fault) {
        (_, Some(fault)) => PresentedToken::Refused(fault),
        (Some(token), None) => PresentedToken::Verified(token),
        (None, None) => PresentedToken::Absent,
    }
}

fn verified(text: &str) -> VerifiedToken {
    let value: serde_json::Value = serde_json::from_str(&String::from_utf8(bytes(text)).unwrap()).unwrap();
    let ClaimValue::Object(claims) = claim(&value) else { panic!("claims are an object") };
    VerifiedToken { claims, ..VerifiedToken::default() }
}

fn bytes(text: &str) -> Vec<u8> {
    text.replace("\\_", " ").replace("\\0", "\0").into_bytes()
}

fn fault(name: &str) -> TokenFault {
    match name {
        "malformed" => TokenFault::Malformed,
        "unknown-issuer" => TokenFault::UnknownIssuer,
        "bad-signature" => TokenFault::BadSignature,
        "expired" => TokenFault::Expired,
        "not-yet-valid" => TokenFault::NotYetValid,
        "no-expiry" => TokenFault::NoExpiry,
        "audience" => TokenFault::Audience,
        "keys-unavailable" => TokenFault::KeysUnavailable,
        other => panic!("{other} is no fault of a token"),
    }
}

fn claim(value: &serde_json::Value) -> ClaimValue {
    match value {
        serde_json::Value::Null => ClaimValue::Null,
        serde_json::Value::Bool(value) => ClaimValue::Bool(*value),
        serde_json::Value::Number(value) => ClaimValue::Number(value.to_string()),
        serde_json::Value::String(value) => ClaimValue::Text(value.clone()),
        serde_json::Value::Array(items) => ClaimValue::List(items.iter().map(claim).collect()),
        serde_json::Value::Object(members) => {
            ClaimValue::Object(members.iter().map(|(name, value)| (name.clone(), claim(value))).collect())
        }
    }
}

fn said(decision: &Decision<'_>, http: bool) -> String {
    let verdict = |verdict| if verdict == Verdict::Allow { "allow" } else { "deny" };
    let stage = |stage: Stage| format!("{stage:?}").to_lowercase();
    let mut said = format!("{} {} {}", verdict(decision.verdict), stage(decision.stage), decision.reason);
    if let Some(by) = decision.mode.by.filter(|_| decision.stage == Stage::PeerAuthentication) {
        said.push_str(&format!(" {:?}:{}/{}", decision.mode.level, by.metadata.namespace, by.metadata.name).to_lowercase());
    }
    if let Some(rule) = decision.matched {
        said.push_str(&format!(" {}/{}/{}", rule.namespace, rule.name, rule.rule));
    }
    if let Some(rule) = decision.audit {
        said.push_str(&format!(" audit={}/{}/{}", rule.namespace, rule.name, rule.rule));
    }
    for shadow in &decision.shadow {
        let rule = shadow.matched.map(|rule| format!(":{}/{}/{}", rule.namespace, rule.name, rule.rule)).unwrap_or_default();
        said.push_str(&format!(" shadow={}:{}{rule}", stage(shadow.stage), verdict(shadow.verdict)));
    }
    if !decision.providers.is_empty() {
        said.push_str(&format!(" ask={}", decision.providers.join(",")));
    }
    assert_eq!(decision.refusal.is_some(), decision.verdict == Verdict::Deny);
    match decision.refusal {
        None => {}
        Some(Refusal::Close) if !http => {}
        Some(Refusal::Close) => said.push_str(" close"),
        Some(Refusal::Http(reply)) if reply.status == 403 && reply.challenge.is_none() => {
            assert_eq!(reply.body, "RBAC: access denied")
        }
        Some(Refusal::Http(reply)) => said.push_str(&format!(" {}", reply.status)),
        Some(Refusal::Grpc { status, .. }) => said.push_str(&format!(" grpc-status={status}")),
    }
    said
}
