//! What the node holds for its workloads at one moment, as readers see it.

use std::sync::Arc;

use pki::{RevocationSet, Timestamp, TrustBundle, X509Svid};

use crate::ca_client::view::{EntryKnowledge, ForeignBundles};
use crate::entry::Entry;

/// What a reader may find of one identity.
#[derive(Clone, Debug)]
pub(crate) enum IdentityState {
    /// It was never held yet.
    Initializing,
    /// It is held, and was good when this was published.
    Available(Arc<X509Svid>),
    /// It was held and is not any more: why.
    Unavailable(String),
    /// An operator revoked it: it is neither held nor asked for until it is restored.
    Revoked,
}

/// The words for the states, in their order: a closed set, also the labels of a metric.
pub(crate) const IDENTITY_STATES: [&str; 4] = ["initializing", "available", "unavailable", "revoked"];

/// One entry with its state.
#[derive(Clone, Debug)]
pub(crate) struct HeldIdentity {
    pub(crate) entry: Arc<Entry>,
    pub(crate) state: IdentityState,
    /// Why the last try failed; `None` after a success.
    pub(crate) last_error: Option<String>,
    /// Whether the SVID rests on a key that the bundle names as tainted, or is on a revocation list.
    pub(crate) tainted: bool,
}

/// Everything held, in the order of [`Entry::order`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// How well the entries are known.
    pub(crate) knowledge: EntryKnowledge,
    pub(crate) bundle: Option<Arc<TrustBundle>>,
    /// What was revoked of the trust domain's certificates.
    pub(crate) revocation: Option<Arc<RevocationSet>>,
    /// Bundles of other trust domains, for entries that federate with them.
    pub(crate) foreign: Arc<ForeignBundles>,
    pub(crate) identities: Vec<HeldIdentity>,
    /// Whether who is in a pod and matches no entry of the CA has the identity of the pod's service account.
    pub(crate) has_account_rule: bool,
}

impl IdentityState {
    /// The SVID, when it is held.
    pub(crate) fn svid(&self) -> Option<&Arc<X509Svid>> {
        match self {
            Self::Available(svid) => Some(svid),
            Self::Initializing | Self::Unavailable(_) | Self::Revoked => None,
        }
    }

    /// The word for it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Initializing => IDENTITY_STATES[0],
            Self::Available(_) => IDENTITY_STATES[1],
            Self::Unavailable(_) => IDENTITY_STATES[2],
            Self::Revoked => IDENTITY_STATES[3],
        }
    }
}

impl Held {
    /// How many SVIDs are held.
    pub(crate) fn svids(&self) -> usize {
        self.identities.iter().filter(|identity| identity.state.svid().is_some()).count()
    }

    /// How many of them rest on a tainted key, or are revoked.
    pub(crate) fn tainted(&self) -> usize {
        self.identities.iter().filter(|identity| identity.tainted).count()
    }

    /// When the first identity that is held now ends, if nothing renews it.
    pub(crate) fn first_end(&self) -> Option<Timestamp> {
        self.identities.iter().filter_map(|identity| identity.state.svid()).map(|svid| svid.leaf().not_after()).min()
    }
}
