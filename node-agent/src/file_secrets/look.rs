//! One look at the files of one name for one reader.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mtls::{PemFault, check_pem_pair, check_pem_roots};
use pki::Timestamp;
use sds::{FILE_CERTIFICATE_PREFIX, FILE_ROOT_PREFIX, FileSecret};
use zeroize::Zeroizing;

use super::reader::Reader;
use super::settings::FileSecretSettings;
use super::walk::{Opened, Refusal, Stamp, open};

/// The largest file read, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 64 * 1024;

/// What a look found.
#[derive(Debug)]
pub(super) enum Found {
    /// A secret, whole.
    Secret(Arc<FileSecret>),
    /// The reader could read the files, and they hold nothing that can be served: what it had before stays.
    Unfit(Unfit),
    /// It gets nothing.
    Refused(Refusal),
}

/// Why files cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("a file has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("a file could not be read: {0}")]
    Unread(std::io::ErrorKind),
    #[error(transparent)]
    Content(#[from] PemFault),
}

/// What the files of a name held when they were read last. It saves reading, never judging.
#[derive(Debug, Default)]
pub(super) struct ContentCache(BTreeMap<Arc<str>, Cached>);

#[derive(Debug)]
struct Cached {
    stamps: Vec<Stamp>,
    content: Result<Arc<FileSecret>, Unfit>,
}

impl ContentCache {
    /// Looks at the files of `name` for a reader, at `now`.
    pub(super) fn look(&mut self, name: &Arc<str>, reader: &Reader, settings: &FileSecretSettings, now: Timestamp) -> Found {
        let opened = if let Some(path) = name.strip_prefix(FILE_ROOT_PREFIX) {
            open(Path::new(path), reader, settings).map(|root| vec![root])
        } else {
            match name.strip_prefix(FILE_CERTIFICATE_PREFIX).and_then(|paths| paths.split_once('~')) {
                Some((chain, key)) if !key.contains('~') => open(Path::new(chain), reader, settings)
                    .and_then(|chain| Ok(vec![chain, open(Path::new(key), reader, settings)?])),
                Some(_) | None => Err(Refusal::NotPlain),
            }
        };
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => return Found::Refused(refusal),
        };
        let stamps: Vec<_> = opened.iter().map(|opened| opened.stamp).collect();
        if let Some(cached) = self.0.get(name).filter(|cached| cached.stamps == stamps && settled(&stamps, now)) {
            return found(cached.content.clone());
        }
        let content = read(&mut opened);
        self.0.insert(Arc::clone(name), Cached { stamps, content: content.clone() });
        found(content)
    }

    /// Forgets the content of names that nobody asks for.
    pub(super) fn keep(&mut self, is_asked_for: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|name, _| is_asked_for(name));
    }
}

fn found(content: Result<Arc<FileSecret>, Unfit>) -> Found {
    match content {
        Ok(secret) => Found::Secret(secret),
        Err(unfit) => Found::Unfit(unfit),
    }
}

/// Roots alone, or a chain and then its key.
fn read(opened: &mut [Opened]) -> Result<Arc<FileSecret>, Unfit> {
    match opened {
        [root] => {
            let pem = bytes(root)?;
            check_pem_roots(&pem)?;
            Ok(Arc::new(FileSecret::roots(pem.to_vec())))
        }
        [chain, key] => {
            let (chain, key) = (bytes(chain)?, bytes(key)?);
            check_pem_pair(&chain, &key)?;
            Ok(Arc::new(FileSecret::certificate(chain.to_vec(), key)))
        }
        _ => Err(Unfit::Content(PemFault::Chain)),
    }
}

fn bytes(opened: &mut Opened) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
    let limit = u64::try_from(MAX_FILE_BYTES + 1).unwrap_or(u64::MAX);
    (&mut opened.file).take(limit).read_to_end(&mut bytes).map_err(|error| Unfit::Unread(error.kind()))?;
    if bytes.len() > MAX_FILE_BYTES { Err(Unfit::TooLarge) } else { Ok(bytes) }
}

/// Whether the last change is long enough ago that another one would show in the stamps.
fn settled(stamps: &[Stamp], now: Timestamp) -> bool {
    stamps.iter().all(|stamp| {
        let changed = u64::try_from(stamp.changed.0).map(Timestamp::from_unix_seconds);
        changed.is_ok_and(|changed| now.since(changed) > SETTLED_AFTER)
    })
}

/// Far more than the grain of a file system's clock.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
