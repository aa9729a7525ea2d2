//! One decision: the connection, then what the request says, then its token, then policies of authorization.

use crate::authentication::{judge_connection, peer_mode};
use crate::authorization::{Facts, Stages};
use crate::decision::{Decision, Reason, Refusal, Stage, Verdict};
use crate::mesh::Mesh;
use crate::objects::{AuthorizationPolicy, PeerAuthentication};
use crate::request::{Connection, PresentedToken, Request, Target};

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
    let facts = match Facts::of(mesh, target, connection, request) {
        Ok(facts) => facts,
        Err(reason) => return refuse(Stage::Request, reason),
    };
    if let Some(PresentedToken::Refused(fault)) = request.map(|request| request.token) {
        return refuse(Stage::RequestAuthentication, Reason::TokenRefused(fault));
    }
    let stages = Stages::of(policies.authorization, mesh, target, &facts);
    let custom = stages.custom();
    let (stage, matched, reason) = stages.outcome(&custom);
    let decided = match reason {
        Reason::NoAllowPolicies | Reason::AllowMatched => decision(Verdict::Allow, stage, reason),
        Reason::NoAllowMatched
        | Reason::DenyMatched
        | Reason::BadCustomProvider
        | Reason::PlaintextOnStrict
        | Reason::NoClientCertificate
        | Reason::PeerUnreadable(_)
        | Reason::PathRefused(_)
        | Reason::HeaderRefused(_)
        | Reason::TokenRefused(_) => refuse(stage, reason),
    };
    Decision { matched, shadow: stages.shadow(), audit: stages.audit(), providers: custom.ask, ..decided }
}
