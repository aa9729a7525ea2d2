//! Keys in the memory of this process and nowhere else.
//!
//! The file in the place of such a key holds its public half, as that of a key in a token does, below a line that says what it is: once the
//! process has ended, nobody has the private half any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::{PrivateKey, PublicKey, Sha256Digest};

/// The first line of such a file. Text before a block is explanation (RFC 7468 section 2).
const NOTE: &str = "The private half of this key was in the memory of the CA that made it, and in no file.";

/// The keys that were made in memory and not destroyed. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(super) struct KeysInMemory(Arc<Mutex<BTreeMap<Sha256Digest, Arc<PrivateKey>>>>);

impl KeysInMemory {
    /// Holds a key from now on.
    pub(super) fn hold(&self, key: &Arc<PrivateKey>) {
        self.keys().insert(key.public_key().fingerprint(), Arc::clone(key));
    }

    /// The private half, if this process has it.
    pub(super) fn find(&self, public: &PublicKey) -> Option<Arc<PrivateKey>> {
        self.keys().get(&public.fingerprint()).cloned()
    }

    /// Holds it no more. Whoever signs with it does so to the end of that.
    pub(super) fn destroy(&self, public: &PublicKey) {
        self.keys().remove(&public.fingerprint());
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<Sha256Digest, Arc<PrivateKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeysInMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeysInMemory({})", self.keys().len())
    }
}

/// The text of the file of such a key.
pub(super) fn file_text(public: &PublicKey) -> String {
    format!("{NOTE}\n{}", public.to_pem())
}

/// Whether this is the file of such a key.
pub(super) fn is_named_in(pem: &[u8]) -> bool {
    pem.starts_with(NOTE.as_bytes())
}
