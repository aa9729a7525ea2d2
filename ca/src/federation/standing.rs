//! What others see of the relationships: the bundles, for agents, and how each does, for operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use pki::{Timestamp, TrustBundle};
use tokio::sync::{mpsc, oneshot, watch};

/// The bundles that are held. A new one is a new object.
pub(crate) type ForeignBundles = BTreeMap<TrustDomain, Arc<TrustBundle>>;

/// How each relationship does.
pub(crate) type Standings = BTreeMap<TrustDomain, Standing>;

/// How a relationship does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest bundle.
    pub(crate) bundle: Option<Arc<TrustBundle>>,
    /// How often it is asked for.
    pub(crate) interval: Duration,
    /// The last good answer since the CA started; of another replica, when that took it.
    pub(crate) answered_at: Option<Timestamp>,
    /// When it is asked next.
    pub(crate) next_at: Timestamp,
    /// What went wrong the last time.
    pub(crate) trouble: Option<String>,
    /// No good answer came for too long.
    pub(crate) stale: bool,
}

/// Where both are seen, whenever they change.
#[derive(Clone)]
pub(crate) struct FederationViews {
    pub(crate) bundles: watch::Receiver<Arc<ForeignBundles>>,
    pub(crate) standings: watch::Receiver<Arc<Standings>>,
    /// Why the bundle endpoint does not show what it should.
    pub(crate) endpoint_trouble: watch::Receiver<Option<String>>,
    /// Whose endpoint is to be asked at once; dropped unsent when there is no such relationship.
    pub(crate) refreshes: mpsc::Sender<(TrustDomain, oneshot::Sender<()>)>,
}

impl FederationViews {
    /// Has an endpoint asked now, and comes back when that has ended and is seen in the standings, when there is no such relationship, or when
    /// the poller is gone.
    pub(crate) async fn refresh(&self, trust_domain: TrustDomain) {
        let (done, ended) = oneshot::channel();
        if self.refreshes.send((trust_domain, done)).await.is_ok() {
            // Unsent: there was nothing to be asked.
            drop(ended.await);
        }
    }

    /// What an operator should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let standings = Arc::clone(&self.standings.borrow());
        let of_one = |(trust_domain, standing): (&TrustDomain, &Standing)| {
            let trouble = standing.trouble.as_deref().unwrap_or("it has not answered yet");
            match (&standing.bundle, standing.stale) {
                (Some(bundle), true) => Some(format!(
                    "the bundle of {trust_domain} (sequence {}) may be old, and is given out all the same: {trouble}",
                    bundle.sequence()
                )),
                (None, true) => Some(format!("there is no bundle of {trust_domain}, and nothing of it is accepted: {trouble}")),
                (Some(_) | None, false) => None,
            }
        };
        let endpoint = self.endpoint_trouble.borrow().clone();
        let endpoint = endpoint.map(|why| format!("the bundle endpoint goes on with what it showed before: {why}"));
        standings.iter().filter_map(of_one).chain(endpoint).collect()
    }
}
