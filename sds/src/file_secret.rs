//! Secrets from files of the node, which a caller asks for by their paths.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pki::{Sha256Digest, Sha256Hasher};
use zeroize::Zeroizing;

/// The beginning of `file-cert:<certificate>~<key>`.
pub const FILE_CERTIFICATE_PREFIX: &str = "file-cert:";

/// The beginning of `file-root:<path>`.
pub const FILE_ROOT_PREFIX: &str = "file-root:";

/// Most names of files on one connection: each is looked at again and again.
pub const MAX_FILE_NAMES: usize = 32;

/// Whether `name` asks for files.
pub(crate) fn is_file_name(name: &str) -> bool {
    name.starts_with(FILE_CERTIFICATE_PREFIX) || name.starts_with(FILE_ROOT_PREFIX)
}

/// What the host found for one caller under the names that it asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSecrets {
    /// `None`: not for this caller, or not there. A name that is absent was not looked at yet.
    pub answers: BTreeMap<Arc<str>, Option<Arc<FileSecret>>>,
}

impl FileSecrets {
    /// The secret under `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<FileSecret>> {
        self.answers.get(name)?.as_ref()
    }
}

/// The content of one name's files, whole and checked by the host.
#[derive(PartialEq, Eq)]
pub struct FileSecret {
    content: FileContent,
    digest: Sha256Digest,
}

#[derive(PartialEq, Eq)]
pub(crate) enum FileContent {
    Certificate { chain: Vec<u8>, key: Zeroizing<Vec<u8>> },
    Roots(Vec<u8>),
}

impl FileSecret {
    /// A chain in PEM, leaf first, and its key in PEM. That they belong together is for the host to check.
    #[must_use]
    pub fn certificate(chain: Vec<u8>, key: Zeroizing<Vec<u8>>) -> Self {
        let digest = digest(b"certificate", &chain);
        Self { content: FileContent::Certificate { chain, key }, digest }
    }

    /// Certificates in PEM to trust.
    #[must_use]
    pub fn roots(pem: Vec<u8>) -> Self {
        let digest = digest(b"roots", &pem);
        Self { content: FileContent::Roots(pem), digest }
    }

    pub(crate) fn content(&self) -> &FileContent {
        &self.content
    }

    pub(crate) fn is_certificate(&self) -> bool {
        matches!(self.content, FileContent::Certificate { .. })
    }

    /// Of what is public in it: a key has no part in a version that is sent around, and fits one chain only.
    pub(crate) fn digest(&self) -> &Sha256Digest {
        &self.digest
    }
}

impl fmt::Debug for FileSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_certificate() { "FileSecret(certificate)" } else { "FileSecret(roots)" })
    }
}

fn digest(kind: &[u8], content: &[u8]) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(kind);
    hasher.update(&[0]);
    hasher.update(content);
    hasher.finish()
}
