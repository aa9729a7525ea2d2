//! One decision by what is compiled.

use super::index::Scratch;
use super::view::{Place, StageRules, View};
use crate::authentication::{PeerMode, judge_connection, peer_mode};
use crate::authorization::{Facts, Reading};
use crate::decision::{Decision, Reason, Refusal, RuleRef, Shadow, Stage, Verdict};
use crate::mesh::TcpReading;
use crate::objects::Action;
use crate::request::{Connection, PresentedToken, Request};
use crate::v1alpha1::{self, Authorized};

/// A connection, and what it is to a workload, for all requests that come on it.
pub struct Accepted<'a> {
    view: &'a View,
    mode: PeerMode<'a>,
    facts: Facts<'a>,
    judged: Result<(), Reason>,
}

/// Decides about a request, or, where there is none, about a connection over TCP; as [`crate::evaluation::decide`] does by the same
/// objects.
#[must_use]
pub fn evaluate<'v>(
    view: &'v View,
    connection: &Connection<'_>,
    request: Option<&Request<'_>>,
    scratch: &mut Scratch,
) -> Decision<'v> {
    let mode = peer_mode(&view.peer, &view.mesh, &view.target(), connection.destination_port);
    let facts = Facts::of_connection(&view.mesh, view.role, connection);
    decide(view, mode, &facts, &judge_connection(mode.mode, connection), request, scratch)
}

impl View {
    /// Takes a connection: what depends on it alone is done once for all requests that come on it.
    #[must_use]
    pub fn accept<'a>(&'a self, connection: &'a Connection<'a>) -> Accepted<'a> {
        let mode = peer_mode(&self.peer, &self.mesh, &self.target(), connection.destination_port);
        let facts = Facts::of_connection(&self.mesh, self.role, connection);
        Accepted { view: self, mode, facts, judged: judge_connection(mode.mode, connection) }
    }
}

impl<'a> Accepted<'a> {
    /// Decides as [`evaluate`] does.
    #[must_use]
    pub fn decide(&self, request: Option<&Request<'_>>, scratch: &mut Scratch) -> Decision<'a> {
        decide(self.view, self.mode, &self.facts, &self.judged, request, scratch)
    }
}

fn decide<'v>(
    view: &'v View,
    mode: PeerMode<'v>,
    connection: &Facts<'_>,
    judged: &Result<(), Reason>,
    request: Option<&Request<'_>>,
    scratch: &mut Scratch,
) -> Decision<'v> {
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
    if let Err(reason) = judged {
        return Decision { refusal: Some(Refusal::Close), ..refuse(Stage::PeerAuthentication, reason.clone()) };
    }
    // Where there are objects of Istio 1.1, they are read as they are, which allocates.
    let services = if view.v1alpha1.decides_nothing() { Vec::new() } else { view.services() };
    let target = view.target_of_services(&services);
    let first = (!view.v1alpha1.decides_nothing()).then(|| v1alpha1::View::of(view.v1alpha1.policies(), &view.mesh, &target));
    if let Some(Err(denied)) = first.as_ref().map(|first| first.judge_connection(connection.connection)) {
        let refusal = Some(Refusal::Close);
        return Decision { refusal, matched: Some(denied.by), ..refuse(denied.stage, denied.reason) };
    }
    let facts = match connection.with(request) {
        Ok(facts) => facts,
        Err(reason) => return refuse(Stage::Request, reason),
    };
    if let Some(PresentedToken::Refused(fault)) = request.map(|request| request.token) {
        return refuse(Stage::RequestAuthentication, Reason::TokenRefused(fault));
    }
    let roles = match first.as_ref().map(|first| first.authenticate(&facts).map(|callers| first.authorize(&facts, &callers))) {
        None => None,
        Some(Ok(roles)) => Some(roles),
        Some(Err(denied)) => return Decision { matched: Some(denied.by), ..refuse(denied.stage, denied.reason) },
    };
    let mut search = Search { view, facts: &facts, scratch };
    let bad_custom = search.first_asking(&view.stages.bad_custom);
    let providers = if bad_custom.is_some() { Vec::new() } else { search.providers() };
    let (verdict, stage, matched, reason) = match bad_custom {
        Some(bad) => (Verdict::Deny, Stage::Custom, Some(bad), Reason::BadCustomProvider),
        None => search.outcome(),
    };
    let (verdict, stage, matched, reason) = match &roles {
        Some(roles) => roles.after(verdict, (stage, matched, reason)),
        None => (verdict, stage, matched, reason),
    };
    let decided = match verdict {
        Verdict::Allow => decision(verdict, stage, reason),
        Verdict::Deny => refuse(stage, reason),
    };
    let mut shadow = search.shadow();
    shadow.extend(roles.into_iter().flat_map(Authorized::shadow));
    Decision { matched, shadow, audit: search.first_asking(&view.stages.audit), providers, ..decided }
}

struct Search<'s, 'v> {
    view: &'v View,
    facts: &'s Facts<'s>,
    scratch: &'s mut Scratch,
}

impl<'v> Search<'_, 'v> {
    /// What rules that deny and allow decide.
    fn outcome(&mut self) -> (Verdict, Stage, Option<RuleRef<'v>>, Reason) {
        let stages = &self.view.stages;
        if let Some(denied) = self.first(&stages.deny) {
            return (Verdict::Deny, Stage::Deny, Some(denied), Reason::DenyMatched);
        }
        if !stages.allow.has_policies {
            return (Verdict::Allow, Stage::Default, None, Reason::NoAllowPolicies);
        }
        match self.first(&stages.allow) {
            Some(allowed) => (Verdict::Allow, Stage::Allow, Some(allowed), Reason::AllowMatched),
            None => (Verdict::Deny, Stage::Allow, None, Reason::NoAllowMatched),
        }
    }

    /// What policies that are only shown would have decided.
    fn shadow(&mut self) -> Vec<Shadow<'v>> {
        let stages = &self.view.stages;
        let mut shown = Vec::new();
        for (rules, stage, matched, otherwise) in [
            (&stages.shown_deny, Stage::Deny, Verdict::Deny, Verdict::Allow),
            (&stages.shown_allow, Stage::Allow, Verdict::Allow, Verdict::Deny),
        ] {
            if rules.has_policies {
                let rule = self.first(rules);
                shown.push(Shadow { stage, verdict: if rule.is_some() { matched } else { otherwise }, matched: rule });
            }
        }
        shown
    }

    /// The first rule that matches, of those that ask somebody or ask for something, which ztunnel is never sent.
    fn first_asking(&mut self, rules: &StageRules) -> Option<RuleRef<'v>> {
        if self.is_ztunnel() { None } else { self.first(rules) }
    }

    /// The providers that are asked, sorted, each once.
    fn providers(&mut self) -> Vec<&'v str> {
        let mut providers: Vec<&'v str> = Vec::new();
        if self.is_ztunnel() {
            return providers;
        }
        let rules = &self.view.stages.custom;
        self.search(rules);
        for place in self.candidates(rules) {
            if let Some(Action::Custom { provider }) = self.view.policy(place).map(|policy| &policy.action)
                && !providers.contains(&provider.as_str())
                && self.matches(place).is_some()
            {
                providers.push(provider);
            }
        }
        providers.sort_unstable();
        providers
    }

    fn is_ztunnel(&self) -> bool {
        self.facts.is_tcp() && self.facts.tcp == TcpReading::Ztunnel
    }

    fn first(&mut self, rules: &StageRules) -> Option<RuleRef<'v>> {
        self.search(rules);
        self.candidates(rules).find_map(|place| self.matches(place))
    }

    /// Finds the rules that can match.
    fn search(&mut self, rules: &StageRules) {
        let index = if self.facts.is_tcp() { &rules.tcp } else { &rules.http };
        index.search(self.facts, self.scratch);
    }

    fn candidates(&self, rules: &StageRules) -> impl Iterator<Item = Place> {
        self.scratch.candidates.iter().filter_map(|number| rules.place(*number))
    }

    /// The rule, if it does match: by the code that reads objects as they are.
    fn matches(&self, place: Place) -> Option<RuleRef<'v>> {
        let policy = self.view.policy(place)?;
        let rule = self.view.rule(place, self.is_ztunnel())?;
        let metadata = &policy.metadata;
        let reading = Reading::of_written_out(self.facts, &metadata.namespace, &policy.action);
        reading.matches(rule).then_some(RuleRef { namespace: &metadata.namespace, name: &metadata.name, rule: place.rule })
    }
}
