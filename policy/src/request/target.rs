//! The workload that is asked.

use crate::objects::{Labels, TargetKind};

/// The workload that a request goes to, as the proxy in front of it knows it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels, which selectors are held against.
    pub labels: &'a Labels,
    /// What stands in front of it.
    pub role: Role,
    /// What `targetRefs` may name to reach this proxy: its Gateway, its GatewayClass, the Services and ServiceEntries that it serves here.
    pub attachments: &'a [Attachment<'a>],
    /// Its service account.
    pub service_account: Option<&'a str>,
    /// The services of its namespace that it stands behind at the port that is asked, with the port of each. Objects of Istio 1.1 name
    /// these.
    pub services: &'a [Service<'a>],
}

/// A service, and the port of it that leads to the port that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service<'a> {
    /// Its short name, such as `web`.
    pub name: &'a str,
    /// Its name in full, such as `web.shop.svc.cluster.local`.
    pub host: &'a str,
    /// The number of its port.
    pub port: Option<u16>,
    /// The name of its port.
    pub port_name: Option<&'a str>,
}

impl Default for Target<'_> {
    /// A workload beside a proxy of its own, of which nothing else is known.
    fn default() -> Self {
        const NONE: &Labels = &Labels::new();
        Self { namespace: "", labels: NONE, role: Role::default(), attachments: &[], service_account: None, services: &[] }
    }
}

/// What kind of proxy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// A proxy beside the workload. It ignores policies with `targetRefs`.
    #[default]
    Sidecar,
    /// A gateway of the mesh.
    Gateway,
    /// A waypoint. It ignores policies without `targetRefs`.
    Waypoint,
    /// The proxy of a node, which knows connections only and reads policies as ztunnel does.
    Node,
}

/// Something that `targetRefs` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// Its kind.
    pub kind: TargetKind,
    /// Its namespace; without meaning for a GatewayClass, which is of the cluster.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}
