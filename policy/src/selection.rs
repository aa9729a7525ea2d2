//! Which policies a workload has: `selector`, `targetRefs` and the root namespace, for Istio AuthorizationPolicy and RequestAuthentication.

use crate::mesh::Mesh;
use crate::objects::{Scope, TargetKind, TargetRef};
use crate::request::{Attachment, Role, Target};

/// Whether a policy of this namespace holds for a workload. Everything adds up: no scope replaces another one.
pub(crate) fn selects(namespace: &str, scope: &Scope, mesh: &Mesh, target: &Target<'_>) -> bool {
    let reaches = namespace == mesh.root_namespace || namespace == target.namespace;
    match (scope, target.role) {
        (Scope::Namespace | Scope::Workloads(_), Role::Waypoint) | (Scope::Targets(_), Role::Sidecar | Role::Node) => false,
        (Scope::Namespace, Role::Sidecar | Role::Gateway | Role::Node) => reaches,
        (Scope::Workloads(labels), Role::Sidecar | Role::Gateway | Role::Node) => {
            reaches && labels.iter().all(|(name, value)| target.labels.get(name) == Some(value))
        }
        (Scope::Targets(targets), Role::Gateway | Role::Waypoint) => {
            targets.iter().any(|named| target.attachments.iter().any(|there| names(named, namespace, there, mesh)))
        }
    }
}

fn names(named: &TargetRef, namespace: &str, there: &Attachment<'_>, mesh: &Mesh) -> bool {
    let in_reach = match named.kind {
        // A class is of the cluster, so only whoever speaks for the mesh may name it.
        TargetKind::GatewayClass => namespace == mesh.root_namespace,
        TargetKind::Service | TargetKind::ServiceEntry | TargetKind::Gateway => namespace == there.namespace,
    };
    in_reach && named.kind == there.kind && named.name == there.name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn target(labels: &Labels, role: Role) -> Target<'_> {
        const ATTACHMENTS: &[Attachment<'_>] = &[
            Attachment { kind: TargetKind::Gateway, namespace: "foo", name: "gate" },
            Attachment { kind: TargetKind::GatewayClass, namespace: "", name: "class" },
            Attachment { kind: TargetKind::Service, namespace: "shop", name: "web" },
        ];
        Target { namespace: "foo", labels, role, attachments: ATTACHMENTS, ..Target::default() }
    }

    #[test]
    fn selectors_reach_their_namespace_and_from_the_root_every_one() {
        let own = labels(&[("app", "web"), ("version", "v1")]);
        let mesh = Mesh::default();
        for (namespace, scope, expected) in [
            ("foo", Scope::Namespace, true),
            ("bar", Scope::Namespace, false),
            ("istio-system", Scope::Namespace, true),
            ("foo", Scope::Workloads(labels(&[("app", "web")])), true),
            ("foo", Scope::Workloads(labels(&[("app", "web"), ("version", "v2")])), false),
            ("foo", Scope::Workloads(labels(&[("tier", "web")])), false),
            ("bar", Scope::Workloads(labels(&[("app", "web")])), false),
            ("istio-system", Scope::Workloads(labels(&[("app", "web")])), true),
            ("istio-system", Scope::Workloads(labels(&[("app", "api")])), false),
        ] {
            for role in [Role::Sidecar, Role::Gateway, Role::Node] {
                assert_eq!(selects(namespace, &scope, &mesh, &target(&own, role)), expected, "{namespace} {scope:?} {role:?}");
            }
            assert!(!selects(namespace, &scope, &mesh, &target(&own, Role::Waypoint)));
        }
    }

    #[test]
    fn target_refs_reach_gateways_and_waypoints_by_name() {
        let none = labels(&[]);
        let mesh = Mesh::default();
        for (namespace, kind, name, expected) in [
            ("foo", TargetKind::Gateway, "gate", true),
            ("foo", TargetKind::Gateway, "other", false),
            ("foo", TargetKind::Service, "gate", false),
            ("bar", TargetKind::Gateway, "gate", false),
            ("shop", TargetKind::Service, "web", true),
            ("foo", TargetKind::Service, "web", false),
            ("foo", TargetKind::GatewayClass, "class", false),
            ("istio-system", TargetKind::GatewayClass, "class", true),
            ("istio-system", TargetKind::GatewayClass, "other", false),
        ] {
            let scope = Scope::Targets(vec![TargetRef { kind, name: name.to_owned() }]);
            for role in [Role::Gateway, Role::Waypoint] {
                assert_eq!(selects(namespace, &scope, &mesh, &target(&none, role)), expected, "{namespace} {scope:?} {role:?}");
            }
            for role in [Role::Sidecar, Role::Node] {
                assert!(!selects(namespace, &scope, &mesh, &target(&none, role)));
            }
        }
    }
}
