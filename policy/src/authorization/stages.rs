//! The order of stages: CUSTOM, AUDIT, DENY, ALLOW (Istio AuthorizationPolicy `action`).

use std::collections::BTreeSet;

use super::facts::Facts;
use super::rule::Reading;
use crate::decision::{Reason, RuleRef, Shadow, Stage, Verdict};
use crate::mesh::{Mesh, TcpReading};
use crate::objects::{Action, AuthorizationPolicy};
use crate::request::Target;
use crate::selection::selects;

/// The policies of a workload in their order, and what is known.
pub(crate) struct Stages<'a, 'p> {
    facts: &'a Facts<'a>,
    selected: Vec<&'p AuthorizationPolicy>,
}

/// What comes of the policies that ask providers.
pub(crate) struct Custom<'p> {
    /// Whom to ask, sorted, each once.
    pub(crate) ask: Vec<&'p str>,
    /// A rule that matched and cannot be asked about.
    bad: Option<RuleRef<'p>>,
}

/// The place of a policy among others. Whoever has no age is the youngest.
pub(crate) fn place(policy: &AuthorizationPolicy) -> impl Ord {
    let metadata = &policy.metadata;
    (metadata.created.is_none(), metadata.created, metadata.namespace.as_str(), metadata.name.as_str())
}

impl<'a, 'p> Stages<'a, 'p> {
    /// Selects the policies of a workload. They count in the order of their age, their namespace and their name, and their rules in the
    /// order that they are written in, so that the rule that is named does not depend on the order in which policies came.
    pub(crate) fn of(policies: &'p [AuthorizationPolicy], mesh: &Mesh, target: &Target<'_>, facts: &'a Facts<'a>) -> Self {
        let here = |policy: &&AuthorizationPolicy| selects(&policy.metadata.namespace, &policy.scope, mesh, target);
        let mut selected: Vec<&AuthorizationPolicy> = policies.iter().filter(here).collect();
        selected.sort_by_key(|policy| place(policy));
        Self { facts, selected }
    }

    /// Where it is decided, by which rule, and why.
    pub(crate) fn outcome(&self, custom: &Custom<'p>) -> (Stage, Option<RuleRef<'p>>, Reason) {
        if let Some(bad) = custom.bad {
            return (Stage::Custom, Some(bad), Reason::BadCustomProvider);
        }
        if let Some(denied) = self.first_match(|policy| policy.action == Action::Deny && !policy.dry_run) {
            return (Stage::Deny, Some(denied), Reason::DenyMatched);
        }
        let allows = |policy: &AuthorizationPolicy| policy.action == Action::Allow && !policy.dry_run;
        if !self.selected.iter().any(|policy| allows(policy)) {
            return (Stage::Default, None, Reason::NoAllowPolicies);
        }
        match self.first_match(allows) {
            Some(allowed) => (Stage::Allow, Some(allowed), Reason::AllowMatched),
            None => (Stage::Allow, None, Reason::NoAllowMatched),
        }
    }

    /// ztunnel is never sent a policy that asks a provider, or one that audits.
    fn beyond_deny_and_allow(&self) -> bool {
        !self.facts.is_tcp() || self.facts.tcp != TcpReading::Ztunnel
    }

    /// What comes of the policies that ask providers.
    pub(crate) fn custom(&self) -> Custom<'p> {
        let mut all: BTreeSet<&'p str> = BTreeSet::new();
        let mut asked: Vec<(&'p str, RuleRef<'p>)> = Vec::new();
        for policy in self.selected.iter().filter(|_| self.beyond_deny_and_allow()) {
            if let Action::Custom { provider } = &policy.action {
                all.insert(provider);
                asked.extend(self.match_of(policy).map(|matched| (provider.as_str(), matched)));
            }
        }
        let mesh = self.facts.mesh;
        let too_many = all.len() > 1 && !mesh.several_providers;
        let bad = asked.iter().find(|(provider, _)| too_many || !mesh.providers.contains(*provider)).map(|(_, matched)| *matched);
        let ask: BTreeSet<&'p str> = asked.iter().map(|(provider, _)| *provider).filter(|_| bad.is_none()).collect();
        Custom { ask: ask.into_iter().collect(), bad }
    }

    /// The rule that asks for an audit.
    pub(crate) fn audit(&self) -> Option<RuleRef<'p>> {
        self.first_match(|policy| policy.action == Action::Audit && self.beyond_deny_and_allow())
    }

    /// What the policies that are only shown would have decided.
    pub(crate) fn shadow(&self) -> Vec<Shadow<'p>> {
        let stages = [(Stage::Deny, Action::Deny, Verdict::Deny), (Stage::Allow, Action::Allow, Verdict::Allow)];
        let shown = stages.into_iter().filter_map(|(stage, action, when_matched)| {
            let of_stage = |policy: &AuthorizationPolicy| policy.dry_run && policy.action == action;
            self.selected.iter().any(|policy| of_stage(policy)).then(|| {
                let matched = self.first_match(of_stage);
                let verdict = match (matched, when_matched) {
                    (Some(_), verdict) => verdict,
                    (None, Verdict::Deny) => Verdict::Allow,
                    (None, Verdict::Allow) => Verdict::Deny,
                };
                Shadow { stage, verdict, matched }
            })
        });
        shown.collect()
    }

    fn first_match(&self, wanted: impl Fn(&AuthorizationPolicy) -> bool) -> Option<RuleRef<'p>> {
        self.selected.iter().filter(|policy| wanted(policy)).find_map(|policy| self.match_of(policy))
    }

    fn match_of(&self, policy: &'p AuthorizationPolicy) -> Option<RuleRef<'p>> {
        let metadata = &policy.metadata;
        let reading = Reading::of(self.facts, &metadata.namespace, &policy.action);
        let rule = policy.rules.iter().position(|rule| reading.matches(rule))?;
        Some(RuleRef { namespace: &metadata.namespace, name: &metadata.name, rule })
    }
}
