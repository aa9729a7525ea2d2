//! Federation with other trust domains (SPIFFE Federation): the own bundle published, theirs followed. Never merged: a foreign bundle is a
//! bundle beside the own one all the way to whoever verifies with it.

mod endpoint;
mod fetching;
mod judgement;
mod metrics;
mod poller;
mod records;
mod relation;
mod schedule;
mod standing;

pub use endpoint::EndpointError;
pub(crate) use endpoint::{Endpoint, check_pair};
pub use judgement::{BundleRefusal, Judged, judge};
pub(crate) use metrics::FederationMetrics;
pub(crate) use poller::{Poller, PollerParts};
pub use records::{BundleEndpoint, EndpointTrust, Federation, FederationFault, ForeignDocument, StoredFederation};
pub(crate) use standing::{FederationViews, ForeignBundles, Standing};

/// The most relationships: each costs a poll and a part of what agents keep.
pub(crate) const MAX_FEDERATIONS: usize = 64;

/// The longest document of a foreign bundle, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
