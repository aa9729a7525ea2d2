//! What the objects of Istio 1.1 are to one workload, and what they decide there.

use super::Policies;
use super::authentication::{Caller, authenticate, mtls_mode};
use super::roles::{BoundRole, Reading};
use super::selection::{RbacState, authn_policy, rbac_state};
use crate::authentication::judge_connection;
use crate::authorization::Facts;
use crate::decision::{Reason, RuleRef, Shadow, Stage, Verdict};
use crate::mesh::Mesh;
use crate::objects::{AuthnPolicy, Enforcement};
use crate::request::{Connection, Service, Target};

/// The objects that a workload has, by the services that it stands behind. One that stands behind none has one part all the same, with
/// what holds for its namespace and the mesh.
pub(crate) struct View<'p, 't> {
    target: &'t Target<'t>,
    parts: Vec<Part<'p, 't>>,
    roles: Vec<BoundRole<'p>>,
}

struct Part<'p, 't> {
    service: Option<&'t Service<'t>>,
    policy: Option<&'p AuthnPolicy>,
    rbac: RbacState,
}

/// Where it ends, why, and by what: for a Policy, the place of the method among `peers` or `origins`.
pub(crate) struct Denied<'p> {
    pub(crate) stage: Stage,
    pub(crate) reason: Reason,
    pub(crate) by: RuleRef<'p>,
}

/// The stage, the rule and the reason of a decision.
type Outcome<'p> = (Stage, Option<RuleRef<'p>>, Reason);

/// Who is asking, a line for each part.
pub(crate) struct Callers<'a>(Vec<Caller<'a>>);

/// What roles decide.
pub(crate) struct Authorized<'p> {
    /// Whether a service that they decide for grants nothing.
    denied: bool,
    /// The role that grants it.
    granted: Option<RuleRef<'p>>,
    shadow: Vec<Shadow<'p>>,
}

impl<'p, 't> View<'p, 't> {
    pub(crate) fn of(policies: Policies<'p>, mesh: &Mesh, target: &'t Target<'t>) -> Self {
        let part = |service: Option<&'t Service<'t>>| Part {
            service,
            policy: authn_policy(policies.authentication, target, service),
            rbac: rbac_state(policies.rbac, mesh, target, service),
        };
        let mut parts: Vec<Part<'p, 't>> = target.services.iter().map(|service| part(Some(service))).collect();
        if parts.is_empty() {
            parts.push(part(None));
        }
        Self { target, parts, roles: BoundRole::of(policies.roles, policies.bindings, target.namespace) }
    }

    /// Whether the connection is one that every Policy takes.
    pub(crate) fn judge_connection(&self, connection: &Connection<'_>) -> Result<(), Denied<'p>> {
        for policy in self.parts.iter().filter_map(|part| part.policy) {
            let (mode, place) = mtls_mode(policy, self.target.role);
            let judged = judge_connection(mode, connection);
            judged.map_err(|reason| Denied { stage: Stage::PeerAuthentication, reason, by: rule_of(policy, place) })?;
        }
        Ok(())
    }

    /// Whether the request is authenticated as every Policy asks. Over TCP they ask for nothing but the connection.
    pub(crate) fn authenticate<'a>(&self, facts: &Facts<'a>) -> Result<Callers<'a>, Denied<'p>> {
        let callers = self.parts.iter().map(|part| {
            let (Some(policy), Some(http)) = (part.policy, &facts.http) else { return Ok(Caller::default()) };
            let judged = authenticate(policy, self.target.role, facts.connection, http);
            judged.map_err(|(stage, reason, place)| Denied { stage, reason, by: rule_of(policy, place) })
        });
        callers.collect::<Result<_, _>>().map(Callers)
    }

    /// What roles decide: for every service for which they do, one must grant it.
    pub(crate) fn authorize(&self, facts: &Facts<'_>, callers: &Callers<'_>) -> Authorized<'p> {
        let mut authorized = Authorized { denied: false, granted: None, shadow: Vec::new() };
        for (part, caller) in self.parts.iter().zip(&callers.0) {
            let reading = Reading { facts, target: self.target, service: part.service, caller };
            let granted = |counts: &dyn Fn(Enforcement) -> bool| {
                self.roles.iter().find_map(|bound| {
                    let place = reading.granted(bound, |binding| counts(binding.enforcement))?;
                    let metadata = &bound.role.metadata;
                    Some(RuleRef { namespace: &metadata.namespace, name: &metadata.name, rule: place })
                })
            };
            match part.rbac {
                RbacState::Off => {}
                RbacState::Permissive => authorized.shadow.push(shadow(granted(&|_| true))),
                RbacState::Enforced => {
                    let found = granted(&|enforcement| enforcement == Enforcement::Enforced);
                    authorized.denied |= found.is_none();
                    authorized.granted = authorized.granted.or(found);
                    let of_service = self.roles.iter().filter(|bound| reading.names_service(bound));
                    let mut bindings = of_service.flat_map(|bound| &bound.bindings);
                    if bindings.any(|binding| binding.enforcement == Enforcement::Permissive) {
                        authorized.shadow.push(shadow(granted(&|enforcement| enforcement == Enforcement::Permissive)));
                    }
                }
            }
        }
        authorized
    }
}

fn rule_of(policy: &AuthnPolicy, place: usize) -> RuleRef<'_> {
    RuleRef { namespace: &policy.metadata.namespace, name: &policy.metadata.name, rule: place }
}

fn shadow(matched: Option<RuleRef<'_>>) -> Shadow<'_> {
    let verdict = if matched.is_some() { Verdict::Allow } else { Verdict::Deny };
    Shadow { stage: Stage::RbacV1, verdict, matched }
}

impl<'p> Authorized<'p> {
    /// What comes of both generations, after what AuthorizationPolicy says, with the verdict: both must allow.
    pub(crate) fn after(&self, verdict: Verdict, said: Outcome<'p>) -> (Verdict, Stage, Option<RuleRef<'p>>, Reason) {
        let (stage, matched, reason) = self.outcome_after(said);
        let verdict = if stage == Stage::RbacV1 && self.denied { Verdict::Deny } else { verdict };
        (verdict, stage, matched, reason)
    }

    /// As [`Self::after`], without the verdict.
    pub(crate) fn outcome_after(&self, (stage, matched, reason): Outcome<'p>) -> Outcome<'p> {
        match (&reason, self.denied, self.granted) {
            (Reason::NoAllowPolicies | Reason::AllowMatched, true, _) => (Stage::RbacV1, None, Reason::NoRoleBinding),
            (Reason::NoAllowPolicies, false, Some(role)) => (Stage::RbacV1, Some(role), Reason::RoleMatched),
            _ => (stage, matched, reason),
        }
    }

    /// What roles would have decided that are only shown.
    pub(crate) fn shadow(self) -> Vec<Shadow<'p>> {
        self.shadow
    }
}
