//! Secrets with key and certificate for the service accounts of a cluster, in the namespaces that were chosen (docs/kubernetes.md).
//!
//! What is to be done about one account is pure: the `content` of its Secret is judged, `plan` decides. `index` is what watches know, and `world`
//! puts it together; all by arguments. `controller` is what the task of `cluster_objects::reconciler` works on: it works while this replica leads, which
//! saves work and no more. That nothing wrong is written stands on each write: it names the UID and the version of what was judged in that very
//! moment, or makes what is not there; and each certificate is recorded before it is signed, as all are.

mod content;
mod controller;
mod index;
mod memory;
mod metrics;
mod names;
mod namespaces;
mod operator;
mod plan;
mod standing;
mod troubles;
mod worker;
mod world;

pub(crate) use controller::{AccountSecrets, ControllerParts, SecretController, controller};
pub(crate) use metrics::SecretMetrics;
pub(crate) use operator::{AccountSecretState, SecretOperator, SecretRow};
pub(crate) use world::WorldWatcher;
