//! One decision: the connection, then what the request says, then its token, then policies of authorization.

use crate::authentication::{judge_connection, peer_mode};
use crate::authorization::{Facts, Stages};
use crate::decision::{Decision, Reason, Refusal, Stage, Verdict};
use crate::mesh::Mesh;
use crate::objects::{AuthorizationPolicy, PeerAuthentication};
use crate::request::{Connection, PresentedToken, Request, Target};
use crate::v1alpha1::{self, View};

/// The objects that a decision rests on, of the whole mesh and in any order.
///
/// Policies about tokens are not among them: their part is over when a request comes here with what is known of its token
/// ([`crate::authentication::judge_tokens`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'p> {
    /// Which connections are taken.
    pub peer: &'p [PeerAuthentication],
    /// Who may do what.
    pub authorization: &'p [AuthorizationPolicy],
    /// The objects of Istio 1.1, which must allow as well.
    pub v1alpha1: v1alpha1::Policies<'p>,
}

/// Decides about a request, or, where there is none, about a connection over TCP, which is to be done before anything behind it is dialled.
#[must_use]
pub fn decide<'p>(
    policies: Policies<'p>,
    mesh: &Mesh,
    target: &Target<'_>,
    connection: &Connection<'_>,
    request: Option<&Request<'_>>,
) -> Decision<'p> {
    let mode = peer_mode(policies.peer, mesh, target, connection.destination_port);
    let decision = |verdict, stage, reason| Decision {
        verdict,
        stage,
        matched: None,
        reason,
        mode,
        shadow: Vec::new(),
        audit: None,
        providers: Vec::new(),
        refusal: None,
    };
    let refuse = |stage, reason: Reason| {
        let refusal = request.map_or(Refusal::Close, |request| reason.refusal(request.is_grpc()));
        Decision { refusal: Some(refusal), ..decision(Verdict::Deny, stage, reason) }
    };
    if let Err(reason) = judge_connection(mode.mode, connection) {
        return Decision { refusal: Some(Refusal::Close), ..refuse(Stage::PeerAuthentication, reason) };
    }
    let view = View::of(policies.v1alpha1, mesh, target);
    if let Err(denied) = view.judge_connection(connection) {
        let refusal = Some(Refusal::Close);
        return Decision { refusal, matched: Some(denied.by), ..refuse(denied.stage, denied.reason) };
    }
    let facts = match Facts::of(mesh, target, connection, request) {
        Ok(facts) => facts,
        Err(reason) => return refuse(Stage::Request, reason),
    };
    if let Some(PresentedToken::Refused(fault)) = request.map(|request| request.token) {
        return refuse(Stage::RequestAuthentication, Reason::TokenRefused(fault));
    }
    let callers = match view.authenticate(&facts) {
        Ok(callers) => callers,
        Err(denied) => return Decision { matched: Some(denied.by), ..refuse(denied.stage, denied.reason) },
    };
    let roles = view.authorize(&facts, &callers);
    let stages = Stages::of(policies.authorization, mesh, target, &facts);
    let custom = stages.custom();
    let (stage, matched, reason) = roles.outcome_after(stages.outcome(&custom));
    let decided = match reason {
        Reason::NoAllowPolicies | Reason::AllowMatched | Reason::RoleMatched => decision(Verdict::Allow, stage, reason),
        Reason::NoAllowMatched
        | Reason::DenyMatched
        | Reason::BadCustomProvider
        | Reason::PlaintextOnStrict
        | Reason::NoClientCertificate
        | Reason::PeerUnreadable(_)
        | Reason::PathRefused(_)
        | Reason::HeaderRefused(_)
        | Reason::TokenRefused(_)
        | Reason::PeerNotAuthenticated(_)
        | Reason::OriginNotAuthenticated(_)
        | Reason::NoRoleBinding => refuse(stage, reason),
    };
    let mut shadow = stages.shadow();
    shadow.extend(roles.shadow());
    Decision { matched, shadow, audit: stages.audit(), providers: custom.ask, ..decided }
}
