//! Which objects of Istio 1.1 a service has.

use crate::mesh::Mesh;
use crate::objects::{AuthnPolicy, Enforcement, Metadata, PolicyTarget, RbacConfig, RbacMode, RbacTarget, ServicePort, Tokens};
use crate::request::{Role, Service, Target};

/// The one name under which MeshPolicy, ClusterRbacConfig and RbacConfig are read.
const DEFAULT: &str = "default";

/// How near to a service a Policy is; the nearest one replaces the others whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Mesh,
    Namespace,
    Service,
}

/// Whether roles decide for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RbacState {
    /// They do not.
    Off,
    /// They do.
    Enforced,
    /// What they would decide is only shown.
    Permissive,
}

/// The Policy of a port of a service: one that names it, else that of the namespace, else that of the mesh. Nothing is merged.
///
/// Of several of one level, one that could not be read counts first, then the oldest; Istio 1.1 took any. A workload without a service has
/// what its namespace or the mesh has.
#[must_use]
pub fn authn_policy<'p>(
    policies: &'p [AuthnPolicy],
    target: &Target<'_>,
    service: Option<&Service<'_>>,
) -> Option<&'p AuthnPolicy> {
    let here = policies.iter().filter_map(|policy| Some((level(policy, target, service)?, policy)));
    let first = here.min_by_key(|(level, policy)| {
        let readable = policy.origins != Tokens::AllInvalid;
        (std::cmp::Reverse(*level), readable, age(&policy.metadata))
    });
    first.map(|(_, policy)| policy)
}

fn level(policy: &AuthnPolicy, target: &Target<'_>, service: Option<&Service<'_>>) -> Option<Level> {
    let metadata = &policy.metadata;
    if metadata.namespace.is_empty() {
        return (metadata.name == DEFAULT).then_some(Level::Mesh);
    }
    if metadata.namespace != target.namespace {
        return None;
    }
    if policy.targets.is_empty() {
        return Some(Level::Namespace);
    }
    let named = policy.targets.iter().any(|wanted| service.is_some_and(|service| is_meant(wanted, service)));
    named.then_some(Level::Service)
}

fn is_meant(wanted: &PolicyTarget, service: &Service<'_>) -> bool {
    let port_is = |port: &ServicePort| match port {
        ServicePort::Number(number) => service.port == Some(*number),
        ServicePort::Name(name) => service.port_name == Some(name),
    };
    wanted.name == service.name && (wanted.ports.is_empty() || wanted.ports.iter().any(port_is))
}

/// The order of age; whoever has none is the youngest.
fn age(metadata: &Metadata) -> (bool, Option<crate::objects::Timestamp>, &str, &str) {
    (metadata.created.is_none(), metadata.created, metadata.namespace.as_str(), metadata.name.as_str())
}

/// Whether roles decide for a service: by the ClusterRbacConfig, and where there is none, by the RbacConfig, that of the root namespace
/// before others, then the oldest. Gateways had no roles in Istio 1.1.
#[must_use]
pub fn rbac_state(configs: &[RbacConfig], mesh: &Mesh, target: &Target<'_>, service: Option<&Service<'_>>) -> RbacState {
    let read = configs.iter().filter(|config| config.metadata.name == DEFAULT);
    let config = read.min_by_key(|config| {
        let namespace = config.metadata.namespace.as_str();
        (!namespace.is_empty(), namespace != mesh.root_namespace, age(&config.metadata))
    });
    let Some(config) = config.filter(|_| target.role != Role::Gateway) else { return RbacState::Off };
    let names = |list: &RbacTarget| {
        list.namespaces.iter().any(|name| name == target.namespace)
            || service.is_some_and(|service| list.services.iter().any(|name| name == service.host))
    };
    let on = match &config.mode {
        RbacMode::Off => false,
        RbacMode::On => true,
        RbacMode::OnWithInclusion(list) => names(list),
        RbacMode::OnWithExclusion(list) => !names(list),
    };
    match (on, config.enforcement) {
        (false, _) => RbacState::Off,
        (true, Enforcement::Enforced) => RbacState::Enforced,
        (true, Enforcement::Permissive) => RbacState::Permissive,
    }
}
