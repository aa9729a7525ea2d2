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
