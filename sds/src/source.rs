//! Where secrets come from.

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::SpiffeId;
use pki::{RevocationSet, TrustBundle, X509Svid};
use tokio::sync::watch;

use crate::{BearerRefusal, BearerToken, FileSecrets};

/// What one attested caller may receive now, whole: something that is absent was taken away.
#[derive(Clone, Debug, Default)]
pub struct SecretState {
    /// Whether the host knows all that the caller is entitled to. While it does not, absence proves nothing: nothing is told removed.
    pub known: bool,
    /// Why whoever this is for is not taken for who it says (any more): its streams end with UNAUTHENTICATED.
    pub refused: Option<Arc<str>>,
    /// Identities that the caller is entitled to and that have no SVID at the moment.
    pub pending: Vec<SpiffeId>,
    /// Identities that the caller would be entitled to, had they not been revoked: their streams stay open and get nothing.
    pub revoked: Vec<SpiffeId>,
    /// Whether the first identity of the caller is a revoked one: then `default` is nobody, and no other takes its place.
    pub default_revoked: bool,
    /// In a stable order; the first is `default`. While this is empty the caller gets nothing, the bundle neither.
    pub svids: Vec<Arc<X509Svid>>,
    /// The trust domain's bundle.
    pub bundle: Option<Arc<TrustBundle>>,
    /// What was revoked of the trust domain's certificates: lists that verified under `bundle`. They go with the bundle while they are
    /// whole and current, and turn nobody away when they are not.
    pub revocation: Option<Arc<RevocationSet>>,
    /// Bundles of other trust domains that the caller may verify with, none of them twice: each speaks for its own trust domain alone, and
    /// is merged with nothing.
    pub foreign: Vec<Arc<TrustBundle>>,
}

/// Names that begin with [`crate::FILE_CERTIFICATE_PREFIX`] or [`crate::FILE_ROOT_PREFIX`], at most [`crate::MAX_FILE_NAMES`].
pub type FileNames = Arc<BTreeSet<Arc<str>>>;

/// Gives each caller its own secrets and nobody else's.
pub trait SecretSource: Send + Sync + 'static {
    /// An attested caller, as the host knows it.
    type Caller: Clone + Send + Sync + 'static;

    /// The state of this caller, now and whenever it changes.
    ///
    /// The source drops the sender when the caller is gone: its streams end. All receivers are dropped when the connection ends.
    fn subscribe(&self, caller: &Self::Caller) -> watch::Receiver<Arc<SecretState>>;

    /// What the files hold that this caller asks for in `names`, now and whenever they or the names change; `None` when secrets from
    /// files are not given at all, which is the default. The source forgets them when all receivers are dropped.
    fn files(&self, caller: &Self::Caller, names: watch::Receiver<FileNames>) -> Option<watch::Receiver<Arc<FileSecrets>>> {
        let _ = (caller, names);
        None
    }

    /// The state of whoever `token` stands for, apart from all that the caller may have itself; by default there is none. Asked once
    /// for all streams of a connection that bear the same token at a time; forgotten when all receivers are dropped.
    ///
    /// # Errors
    /// [`BearerRefusal`]: the stream ends, and is never served as the caller's own.
    fn bearer(&self, caller: &Self::Caller, token: BearerToken) -> Result<watch::Receiver<Arc<SecretState>>, BearerRefusal> {
        let _ = (caller, token);
        Err(BearerRefusal::Off)
    }
}
