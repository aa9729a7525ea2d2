//! What `deploy/kubernetes` puts into a cluster: its objects as a real API server takes them, the programs under the rendered configuration, and under
//! exactly the rights that are rendered.

mod cluster;
mod entries;
mod manifests;
mod objects;
mod programs;
mod root_secret;
mod rules;
mod trust;

pub(crate) use cluster::define;
pub(crate) use entries::{definition, entry};

/// The base and every overlay; each but the base has a file of values of the same name for the chart.
const OVERLAYS: [&str; 10] = [
    "base",
    "authority-secret",
    "csi",
    "entries",
    "ha",
    "monitoring",
    "root-secret",
    "secrets-cluster",
    "secrets-namespace",
    "trust",
];

/// Where a kustomization lies.
fn directory(overlay: &str) -> String {
    if overlay == "base" { overlay.to_owned() } else { format!("overlays/{overlay}") }
}
