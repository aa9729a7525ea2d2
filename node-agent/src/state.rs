//! The state directory of the agent: what survives a restart.
//!
//! | file | what |
//! | --- | --- |
//! | `lock` | held while the agent runs |
//! | `node-key.pem` | the node key, made once, before the first token is sent |
//! | `agent-svid.pem` | when the agent SVID was issued, its key, its chain |
//! | `entries.bin` | the entries of the node as the last sync left them |
//! | `svids.sealed` | the SVIDs of the node's workloads, encrypted; only where that is configured |
//! | `audit-checkpoint.json` | the newest checkpoint of the CA's audit chain |
//! | `audit-alarm.json` | a checkpoint that contradicted it; for an operator to take away |
//! | `revocation.bin` | the newest revocation lists with their sequence |
//! | `rebootstrap.json` | that an operator had the node trust the CA anew, until the CA has heard of it |
//! | `foreign.bin` | the newest bundles of other trust domains that entries of the node federate with |
//! | `bundle.json` | the newest trust bundle with its sequence and its tainted keys, a SPIFFE JWKS document |
//!
//! Facts that must agree lie in one file, and each file is replaced whole, so that no crash leaves a key beside another key's
//! certificate or a bundle under another's sequence. An agent before JWT-SVIDs kept the bundle as PEM in `bundle.pem`, which is read
//! where there is no `bundle.json` yet, and goes when one is written.

mod checkpoint;
mod entries;
mod foreign;
mod rebootstrap;
mod revocation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::TrustDomain;
use pki::{JwksContent, KeyAlgorithm, KeyError, KeyProtection, PrivateKey, Timestamp, TrustBundle, X509Svid};
use runtime::entropy::{self, SystemEntropy};
use runtime::private_files::{self, DirLock, Overwrite, PrivateFileError};
use runtime::secret_source::SecretSourceError;
use zeroize::Zeroizing;

/// The most that any of the files may hold, in bytes: 64 authorities of 4 KiB in base64, with room.
const MAX_FILE_BYTES: usize = 512 * 1024;
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

pub(crate) use entries::StoredEntries;

/// The state directory, locked.
pub struct StateDir {
    path: PathBuf,
    protection: KeyProtection,
    /// `None` for a look without a claim.
    _lock: Option<DirLock>,
}

/// What was found of the agent SVID.
#[derive(Debug)]
pub enum StoredSvid {
    /// None: the node has never attested.
    Absent,
    /// One that holds together. It may have expired.
    Present(Arc<X509Svid>),
    /// A file that does not hold together: the node has attested, but needs a new SVID.
    Damaged(String),
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or one of its files is refused or cannot be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A file does not hold what it should.
    #[error("{} is damaged: {cause}; restore it, or empty the directory and attest anew with a fresh join token", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The node key is not protected as the configuration says, or its passphrase is another.
    #[error("{}: {cause}", path.display())]
    Protection {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// The passphrase of the keys.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// No key could be made.
    #[error("cannot make the node key: {0}")]
    Key(#[from] KeyError),
}

impl StateDir {
    /// Makes the directory when it is missing, checks that nobody else may write to it, and locks it.
    ///
    /// # Errors
    /// [`StateError::File`] when it is refused or another process has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        private_files::ensure_private_dir(path)?;
        let lock = DirLock::acquire(path)?;
        Ok(Self { path: path.to_owned(), protection: KeyProtection::Plain, _lock: Some(lock) })
    }

    /// Looks at an existing directory without locking it: for reading only.
    ///
    /// # Errors
    /// [`StateError::File`] when others may write to it.
    pub(crate) fn inspect(path: &Path) -> Result<Self, StateError> {
        private_files::check_private_dir(path)?;
        Ok(Self { path: path.to_owned(), protection: KeyProtection::Plain, _lock: None })
    }

    /// Keys are read and written so from here on; without this they lie as they are.
    #[must_use]
    pub fn protecting(mut self, protection: KeyProtection) -> Self {
        self.protection = protection;
        self
    }

    /// The node key, if one was made.
    ///
    /// # Errors
    /// [`StateError`] when it is there and cannot be used.
    pub(crate) fn stored_node_key(&self) -> Result<Option<PrivateKey>, StateError> {
        let path = self.path.join(NODE_KEY);
        if !path.exists() {
            return Ok(None);
        }
        let pem = Zeroizing::new(private_files::read_private(&path, MAX_FILE_BYTES)?);
        match PrivateKey::from_protected_pem(&pem, &self.protection) {
            Ok(key) => Ok(Some(key)),
            Err(cause @ (KeyError::Encrypted | KeyError::NotEncrypted | KeyError::WrongPassphrase)) => {
                Err(StateError::Protection { path, cause })
            }
            Err(error) => Err(StateError::Damaged { path, cause: error.to_string() }),
        }
    }

    /// The node key. Made and stored on the first call, so that it is there before any token is sent.
    ///
    /// # Errors
    /// [`StateError`]; a damaged key is never replaced, as the CA knows the node by it.
    pub fn node_key(&self) -> Result<PrivateKey, StateError> {
        if let Some(key) = self.stored_node_key()? {
            return Ok(key);
        }
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        private_files::write_private(&self.path.join(NODE_KEY), self.pem_of(&key).as_bytes(), Overwrite::Refuse)?;
        Ok(key)
    }

    fn pem_of(&self, key: &PrivateKey) -> Zeroizing<String> {
        key.to_protected_pem(&self.protection, &entropy::bytes(&SystemEntropy))
    }

    /// The agent SVID, as far as it can be read. Whether it is still good is not checked here.
    #[must_use]
    pub fn svid(&self) -> StoredSvid {
        let path = self.path.join(AGENT_SVID);
        if !path.exists() {
            return StoredSvid::Absent;
        }
        match self.read_svid(&path) {
            Ok(svid) => StoredSvid::Present(Arc::new(svid)),
            Err(cause) => StoredSvid::Damaged(format!("{}: {cause}", path.display())),
        }
    }

    fn read_svid(&self, path: &Path) -> Result<X509Svid, String> {
        let bytes = Zeroizing::new(private_files::read_private(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?);
        let text = std::str::from_utf8(&bytes).map_err(|_| "not text")?;
        let (issued, text) = split_header(text, SVID_HEADER).ok_or("it does not begin with the time of issue")?;
        let (key, chain) = text.split_at(text.find(CERTIFICATE_BEGIN).ok_or("no certificate in it")?);
        let key = PrivateKey::from_protected_pem(key.as_bytes(), &self.protection).map_err(|error| error.to_string())?;
        let chain = pki::certificates_from_pem(chain.as_bytes()).map_err(|error| error.to_string())?;
        let issued = Timestamp::from_unix_seconds(issued);
        X509Svid::new(chain, key, issued).map_err(|error| error.to_string())
    }

    /// Stores key and SVID together.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses; the SVID before then stays.
    pub fn store_svid(&self, svid: &X509Svid) -> Result<(), StateError> {
        let mut text = Zeroizing::new(format!("{SVID_HEADER}{}\n", svid.issued().unix_seconds()));
        text.push_str(&self.pem_of(svid.key()));
        text.push_str(&pki::certificates_to_pem(svid.chain()));
        Ok(private_files::write_private(&self.path.join(AGENT_SVID), text.as_bytes(), Overwrite::Replace)?)
    }

    /// The newest bundle that was stored.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when it is there and cannot be read: it must not silently give way to something else.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Result<Option<TrustBundle>, StateError> {
        let (path, former) = (self.path.join(BUNDLE), self.path.join(FORMER_BUNDLE));
        let (path, read): (_, fn(&TrustDomain, &[u8]) -> _) = match (path.exists(), former.exists()) {
            (true, _) => (path, read_bundle),
            (false, true) => (former, read_former_bundle),
            (false, false) => return Ok(None),
        };
        let bytes = private_files::read_bounded(&path, MAX_FILE_BYTES)?;
        read(trust_domain, &bytes).map(Some).map_err(|cause| StateError::Damaged { path, cause })
    }

    /// Stores a bundle, its sequence and its tainted keys: an agent that starts while the CA is away knows what to replace.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses.
    pub fn store_bundle(&self, bundle: &TrustBundle) -> Result<(), StateError> {
        let text = bundle.to_jwks(JwksContent::Kept);
        private_files::write_public(&self.path.join(BUNDLE), text.as_bytes(), Overwrite::Replace)?;
        // What is left of it is never read again beside the newer file.
        if let Err(error) = std::fs::remove_file(self.path.join(FORMER_BUNDLE))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = FORMER_BUNDLE, "the former bundle file was not removed");
        }
        Ok(())
    }
}

fn read_bundle(trust_domain: &TrustDomain, json: &[u8]) -> Result<TrustBundle, String> {
    let bundle = TrustBundle::from_jwks(trust_domain.clone(), json).map_err(|error| error.to_string())?;
    // Elsewhere such a document says that nothing is valid any more; no CA says so to its own agents.
    if bundle.authorities().is_empty() { Err("it holds no X.509 authority".to_owned()) } else { Ok(bundle) }
}

fn read_former_bundle(trust_domain: &TrustDomain, pem: &[u8]) -> Result<TrustBundle, String> {
    let text = std::str::from_utf8(pem).ok().and_then(|text| split_header(text, FORMER_BUNDLE_HEADER));
    let (sequence, pem) = text.ok_or("it does not begin with its sequence")?;
    TrustBundle::from_pem(trust_domain.clone(), pem.as_bytes(), sequence).map_err(|error| error.to_string())
}

/// The number in a leading line, and the text after that line.
fn split_header<'a>(text: &'a str, header: &str) -> Option<(u64, &'a str)> {
    let (line, rest) = text.split_once('\n')?;
    Some((line.strip_prefix(header)?.parse().ok()?, rest))
}

const NODE_KEY: &str = "node-key.pem";
const AGENT_SVID: &str = "agent-svid.pem";
const BUNDLE: &str = "bundle.json";
const FORMER_BUNDLE: &str = "bundle.pem";
const SVID_HEADER: &str = "# Signet agent SVID, issued ";
const FORMER_BUNDLE_HEADER: &str = "# Signet trust bundle, sequence ";

#[cfg(test)]
mod tests;
