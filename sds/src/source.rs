//! Where secrets come from.

use std::sync::Arc;

use pki::{TrustBundle, X509Svid};
use tokio::sync::watch;

/// What one attested caller may receive now, whole: something that is absent was taken away.
#[derive(Clone, Debug, Default)]
pub struct SecretState {
    /// In a stable order; the first is `default`. While this is empty the caller gets nothing, the bundle neither.
    pub svids: Vec<Arc<X509Svid>>,
    /// The trust domain's bundle.
    pub bundle: Option<Arc<TrustBundle>>,
}

/// Gives each caller its own secrets and nobody else's.
pub trait SecretSource: Send + Sync + 'static {
    /// An attested caller, as the host knows it.
    type Caller: Clone + Send + Sync + 'static;

    /// The state of this caller, now and whenever it changes.
    ///
    /// The source drops the sender when the caller is gone: its streams end. All receivers are dropped when the connection ends.
    fn subscribe(&self, caller: &Self::Caller) -> watch::Receiver<Arc<SecretState>>;
}
