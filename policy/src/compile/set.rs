//! The objects of a mesh, by namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::view::View;
use crate::authorization::{place, principals_meant, trust_domains_meant};
use crate::evaluation::Policies;
use crate::mesh::Mesh;
use crate::objects::{AuthorizationPolicy, Condition, Match, PeerAuthentication, Rule};
use crate::pattern::Pattern;
use crate::request::Target;
use crate::v1alpha1::Kept;

/// What a mesh decides by. It never changes: whoever has it decides by one state of the mesh, and what comes next is another one.
#[derive(Clone, Debug)]
pub struct PolicySet {
    generation: u64,
    mesh: Arc<Mesh>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
}

/// What is in one namespace.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) peer: Vec<PeerAuthentication>,
    /// In the order of their places.
    pub(super) authorization: Vec<Arc<Prepared>>,
    /// The objects of Istio 1.1.
    pub(super) v1alpha1: Kept,
}

/// A policy, and its rules with every trust domain written out that a principal means.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) policy: AuthorizationPolicy,
    /// For each rule, unless it is the same.
    written_out: Vec<Option<Rule>>,
}

/// Takes the objects of a mesh, in any order.
#[must_use]
pub fn compile(policies: Policies<'_>, mesh: &Mesh) -> PolicySet {
    PolicySet { generation: 1, mesh: Arc::new(mesh.clone()), namespaces: by_namespace(policies, mesh) }
}

impl PolicySet {
    /// Which state of the mesh it is; the next one has the next number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The settings of the mesh.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The next state, in which one namespace has these objects and no others. Objects of other namespaces are passed over. What other
    /// namespaces have is shared with this state.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str, policies: Policies<'_>) -> Self {
        let mut namespaces = self.namespaces.clone();
        match by_namespace(policies, &self.mesh).remove(namespace) {
            Some(new) => namespaces.insert(namespace.to_owned(), new),
            None => namespaces.remove(namespace),
        };
        Self { generation: self.generation + 1, mesh: Arc::clone(&self.mesh), namespaces }
    }

    /// The next state, in which one policy is as it is here, whatever it was before.
    #[must_use]
    pub fn with_policy(&self, policy: &AuthorizationPolicy) -> Self {
        self.changed(&policy.metadata.namespace, &policy.metadata.name, Some(policy))
    }

    /// The next state, in which one policy is not.
    #[must_use]
    pub fn without_policy(&self, namespace: &str, name: &str) -> Self {
        self.changed(namespace, name, None)
    }

    fn changed(&self, namespace: &str, name: &str, new: Option<&AuthorizationPolicy>) -> Self {
        let mut namespaces = self.namespaces.clone();
        let old = namespaces.remove(namespace);
        let (mut peer, mut v1alpha1) = (Vec::new(), Kept::default());
        let mut authorization: Vec<Arc<Prepared>> = Vec::new();
        if let Some(old) = old {
            peer.clone_from(&old.peer);
            v1alpha1.clone_from(&old.v1alpha1);
            authorization.extend(old.authorization.iter().filter(|other| other.policy.metadata.name != name).cloned());
        }
        authorization.extend(new.map(|policy| Arc::new(Prepared::of(policy, &self.mesh))));
        sort(&mut authorization);
        namespaces.insert(namespace.to_owned(), Arc::new(Namespace { peer, authorization, v1alpha1 }));
        Self { generation: self.generation + 1, mesh: Arc::clone(&self.mesh), namespaces }
    }

    /// What one workload has of it.
    #[must_use]
    pub fn view(&self, target: &Target<'_>) -> View {
        View::of(self, target)
    }

    pub(super) fn shared_mesh(&self) -> Arc<Mesh> {
        Arc::clone(&self.mesh)
    }

    /// The objects of Istio 1.1 that a workload of a namespace can have.
    pub(super) fn v1alpha1(&self, namespace: &str) -> Kept {
        let mut kept = Kept::default();
        for (name, there) in &self.namespaces {
            kept.take(&there.v1alpha1, name, namespace);
        }
        kept
    }

    /// The namespaces from which a policy can reach a workload, each once.
    pub(super) fn within_reach<'s>(&'s self, target: &Target<'_>) -> impl Iterator<Item = &'s Namespace> {
        let attached = target.attachments.iter().map(|attachment| attachment.namespace);
        let mut names: Vec<&str> = [self.mesh.root_namespace.as_str(), target.namespace].into_iter().chain(attached).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.namespaces.get(name)).map(Arc::as_ref).collect::<Vec<_>>().into_iter()
    }
}

fn by_namespace(policies: Policies<'_>, mesh: &Mesh) -> BTreeMap<String, Arc<Namespace>> {
    // Named one by one, so that no kind of objects is forgotten here that others decide by.
    let Policies { peer, authorization, v1alpha1 } = policies;
    let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
    for (name, kept) in Kept::by_namespace(v1alpha1) {
        namespaces.entry(name).or_default().v1alpha1 = kept;
    }
    for policy in peer {
        namespaces.entry(policy.metadata.namespace.clone()).or_default().peer.push(policy.clone());
    }
    for policy in authorization {
        let namespace = namespaces.entry(policy.metadata.namespace.clone()).or_default();
        namespace.authorization.push(Arc::new(Prepared::of(policy, mesh)));
    }
    for namespace in namespaces.values_mut() {
        sort(&mut namespace.authorization);
    }
    namespaces.into_iter().map(|(name, namespace)| (name, Arc::new(namespace))).collect()
}

fn sort(policies: &mut [Arc<Prepared>]) {
    policies.sort_by(|a, b| place(&a.policy).cmp(&place(&b.policy)));
}

impl Prepared {
    fn of(policy: &AuthorizationPolicy, mesh: &Mesh) -> Self {
        let written_out = policy.rules.iter().map(|rule| Some(written_out(rule, mesh)).filter(|written| written != rule));
        Self { written_out: written_out.collect(), policy: policy.clone() }
    }

    /// A rule, with every trust domain written out.
    pub(super) fn written_out(&self, rule: usize) -> Option<&Rule> {
        let written = self.written_out.get(rule).and_then(Option::as_ref);
        written.or_else(|| self.policy.rules.get(rule))
    }
}

fn written_out(rule: &Rule, mesh: &Mesh) -> Rule {
    let mut rule = rule.clone();
    for source in &mut rule.from {
        write_out(&mut source.principals, |text| principals_meant(text, mesh));
        write_out(&mut source.trust_domains, |text| trust_domains_meant(text, mesh));
    }
    for condition in &mut rule.when {
        if let Condition::SourcePrincipal(names) = condition {
            write_out(names, |text| principals_meant(text, mesh));
        } else if let Condition::SourceTrustDomain(names) = condition {
            write_out(names, |text| trust_domains_meant(text, mesh));
        }
    }
    rule
}

fn write_out(names: &mut Match<Pattern>, meant: impl Fn(&str) -> Vec<Pattern>) {
    for list in [&mut names.values, &mut names.not_values] {
        *list = list.iter().flat_map(|pattern| meant(&pattern.to_string())).collect();
    }
}
