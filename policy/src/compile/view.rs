//! What one workload has of the objects of a mesh.

use std::sync::Arc;

use super::index::RuleIndex;
use super::keys::{Protocol, clauses};
use super::set::{Namespace, PolicySet, Prepared};
use crate::authentication::counting;
use crate::authorization::place;
use crate::mesh::{Mesh, TcpReading};
use crate::objects::{Action, AuthorizationPolicy, Labels, PeerAuthentication, Rule};
use crate::request::{Role, Service, Target};
use crate::selection::selects;
use crate::v1alpha1::Kept;

/// The policies of a workload in their order, with an index for each stage. It is the same for all workloads of one shape, that is of the
/// same namespace, labels, role, attachments, account and services, and costs as much as the policies that it selects.
#[derive(Debug)]
pub struct View {
    generation: u64,
    pub(super) mesh: Arc<Mesh>,
    namespace: String,
    labels: Labels,
    pub(super) role: Role,
    pub(super) peer: Vec<PeerAuthentication>,
    policies: Vec<Arc<Prepared>>,
    pub(super) stages: Stages,
    /// The objects of Istio 1.1, and what they name of the workload.
    pub(super) v1alpha1: Kept,
    service_account: Option<String>,
    services: Vec<KeptService>,
}

#[derive(Debug)]
struct KeptService {
    name: String,
    host: String,
    port: Option<u16>,
    port_name: Option<String>,
}

/// The rules of a workload by what they do.
#[derive(Debug)]
pub(super) struct Stages {
    /// Those that ask a provider which cannot be asked.
    pub(super) bad_custom: StageRules,
    pub(super) custom: StageRules,
    pub(super) audit: StageRules,
    pub(super) deny: StageRules,
    pub(super) allow: StageRules,
    pub(super) shown_deny: StageRules,
    pub(super) shown_allow: StageRules,
}

/// The rules of one stage, by their numbers.
#[derive(Debug, Default)]
pub(super) struct StageRules {
    /// Whether a policy is there, if only one without rules.
    pub(super) has_policies: bool,
    rules: Vec<Place>,
    pub(super) http: RuleIndex,
    pub(super) tcp: RuleIndex,
}

/// Where a rule stands: the number of its policy in the view, and its own in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) policy: usize,
    pub(super) rule: usize,
}

/// How large a view is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewSize {
    /// Policies that select the workload.
    pub policies: usize,
    /// Their rules.
    pub rules: usize,
    /// Values by which rules are found over HTTP, each as often as it leads to a rule.
    pub led: usize,
    /// Rules that nothing leads to over HTTP: each of their stage is looked at in every decision that comes so far.
    pub always: usize,
}

impl View {
    pub(super) fn of(set: &PolicySet, target: &Target<'_>) -> Self {
        let mesh = set.shared_mesh();
        let within_reach: Vec<&Namespace> = set.within_reach(target).collect();
        let peer = within_reach.iter().flat_map(|namespace| &namespace.peer);
        let peer = counting(peer, &mesh, target).map(|(_, policy)| policy.clone()).collect();
        let all = within_reach.iter().flat_map(|namespace| &namespace.authorization);
        let here = |policy: &AuthorizationPolicy| selects(&policy.metadata.namespace, &policy.scope, &mesh, target);
        let mut policies: Vec<Arc<Prepared>> = all.filter(|prepared| here(&prepared.policy)).cloned().collect();
        policies.sort_by(|a, b| place(&a.policy).cmp(&place(&b.policy)));
        Self {
            generation: set.generation(),
            namespace: target.namespace.to_owned(),
            labels: target.labels.clone(),
            role: target.role,
            peer,
            stages: Stages::of(&policies, &mesh, target.role),
            policies,
            mesh,
            v1alpha1: set.v1alpha1(target.namespace),
            service_account: target.service_account.map(str::to_owned),
            services: target.services.iter().map(KeptService::of).collect(),
        }
    }

    /// Of which state of the mesh it is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How large it is.
    #[must_use]
    pub fn size(&self) -> ViewSize {
        let stages = self.stages.all();
        ViewSize {
            policies: self.policies.len(),
            rules: stages.iter().map(|stage| stage.rules.len()).sum(),
            led: stages.iter().map(|stage| stage.http.led()).sum(),
            always: stages.iter().map(|stage| stage.http.always()).sum(),
        }
    }

    /// The workload, as far as connections are taken by it.
    pub(super) fn target(&self) -> Target<'_> {
        Target { namespace: &self.namespace, labels: &self.labels, role: self.role, ..Target::default() }
    }

    /// The services of the workload.
    pub(super) fn services(&self) -> Vec<Service<'_>> {
        self.services.iter().map(KeptService::borrowed).collect()
    }

    /// The workload, as far as objects of Istio 1.1 name it.
    pub(super) fn target_of_services<'a>(&'a self, services: &'a [Service<'a>]) -> Target<'a> {
        Target { service_account: self.service_account.as_deref(), services, ..self.target() }
    }

    pub(super) fn policy(&self, place: Place) -> Option<&AuthorizationPolicy> {
        self.policies.get(place.policy).map(|prepared| &prepared.policy)
    }

    /// A rule as it is read here: with trust domains written out, or, where no trust domain means another one, as it is.
    pub(super) fn rule(&self, place: Place, as_it_is: bool) -> Option<&Rule> {
        let prepared = self.policies.get(place.policy)?;
        if as_it_is { prepared.policy.rules.get(place.rule) } else { prepared.written_out(place.rule) }
    }
}

impl KeptService {
    fn of(service: &Service<'_>) -> Self {
        Self {
            name: service.name.to_owned(),
            host: service.host.to_owned(),
            port: service.port,
            port_name: service.port_name.map(str::to_owned),
        }
    }

    fn borrowed(&self) -> Service<'_> {
        Service { name: &self.name, host: &self.host, port: self.port, port_name: self.port_name.as_deref() }
    }
}

impl Stages {
    fn of(policies: &[Arc<Prepared>], mesh: &Mesh, role: Role) -> Self {
        let tcp = if role == Role::Node { TcpReading::Ztunnel } else { mesh.tcp };
        let of = |wanted: &dyn Fn(&AuthorizationPolicy) -> bool| StageRules::of(policies, wanted, tcp);
        let provider = |policy: &AuthorizationPolicy| match &policy.action {
            Action::Custom { provider } => Some(provider.clone()),
            Action::Allow | Action::Deny | Action::Audit => None,
        };
        let mut providers: Vec<String> = policies.iter().filter_map(|prepared| provider(&prepared.policy)).collect();
        providers.sort_unstable();
        providers.dedup();
        let too_many = providers.len() > 1 && !mesh.several_providers;
        let bad = |policy: &AuthorizationPolicy| provider(policy).map(|provider| too_many || !mesh.providers.contains(&provider));
        Self {
            bad_custom: of(&|policy| bad(policy) == Some(true)),
            custom: of(&|policy| bad(policy) == Some(false)),
            audit: of(&|policy| policy.action == Action::Audit),
            deny: of(&|policy| policy.action == Action::Deny && !policy.dry_run),
            allow: of(&|policy| policy.action == Action::Allow && !policy.dry_run),
            shown_deny: of(&|policy| policy.action == Action::Deny && policy.dry_run),
            shown_allow: of(&|policy| policy.action == Action::Allow && policy.dry_run),
        }
    }

    fn all(&self) -> [&StageRules; 7] {
        [&self.bad_custom, &self.custom, &self.audit, &self.deny, &self.allow, &self.shown_deny, &self.shown_allow]
    }
}

impl StageRules {
    fn of(policies: &[Arc<Prepared>], wanted: &dyn Fn(&AuthorizationPolicy) -> bool, tcp: TcpReading) -> Self {
        let (mut has_policies, mut rules, mut over_http, mut over_tcp) = (false, Vec::new(), Vec::new(), Vec::new());
        for (number, prepared) in policies.iter().enumerate().filter(|(_, prepared)| wanted(&prepared.policy)) {
            has_policies = true;
            let namespace = &prepared.policy.metadata.namespace;
            for (rule, as_it_is) in prepared.policy.rules.iter().enumerate() {
                let written_out = prepared.written_out(rule).unwrap_or(as_it_is);
                rules.push(Place { policy: number, rule });
                over_http.push(clauses(written_out, namespace, Protocol::Http));
                over_tcp.push(match tcp {
                    TcpReading::Envoy => clauses(written_out, namespace, Protocol::TcpEnvoy),
                    TcpReading::Ztunnel => clauses(as_it_is, namespace, Protocol::TcpZtunnel),
                });
            }
        }
        Self { has_policies, rules, http: RuleIndex::of(&over_http), tcp: RuleIndex::of(&over_tcp) }
    }

    pub(super) fn place(&self, number: usize) -> Option<Place> {
        self.rules.get(number).copied()
    }
}
