//! What files hold, encoded once for all the objects that show it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::{Sha256Digest, TrustBundle, sha256};

use crate::revocation::Published;

/// What a file holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) digest: Sha256Digest,
}

/// What was encoded last, and of what.
#[derive(Debug, Default)]
pub(super) struct Contents {
    roots: Mutex<Option<(Arc<TrustBundle>, Arc<Content>)>>,
    lists: Mutex<Option<(Arc<Published>, Arc<Content>)>>,
}

impl Contents {
    /// The roots of a bundle.
    pub(super) fn roots(&self, bundle: &Arc<TrustBundle>) -> Arc<Content> {
        encoded(&self.roots, bundle, TrustBundle::to_pem)
    }

    /// The revocation lists.
    pub(super) fn lists(&self, lists: &Arc<Published>) -> Arc<Content> {
        encoded(&self.lists, lists, |lists| lists.set.to_pem())
    }
}

fn encoded<T>(last: &Mutex<Option<(Arc<T>, Arc<Content>)>>, of: &Arc<T>, encode: impl Fn(&T) -> String) -> Arc<Content> {
    let mut last: MutexGuard<'_, _> = last.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, content)) = &*last
        && Arc::ptr_eq(known, of)
    {
        return Arc::clone(content);
    }
    let text = encode(of);
    let content = Arc::new(Content { digest: sha256(text.as_bytes()), text });
    *last = Some((Arc::clone(of), Arc::clone(&content)));
    content
}
