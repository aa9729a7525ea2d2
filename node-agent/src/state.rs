//! The state directory of the agent: what survives a restart.
//!
//! | file | what |
//! | --- | --- |
//! | `lock` | held while the agent runs |
//! | `node-key.pem` | the node key, made once, before the first token is sent |
//! | `agent-svid.pem` | when the agent SVID was issued, its key, its chain |
//! | `bundle.pem` | the sequence of the newest trust bundle, and its authorities |
//!
//! Facts that must agree lie in one file, and each file is replaced whole, so that no crash leaves a key beside another key's
//! certificate or a bundle under another's sequence. The leading line of the last two is text that PEM readers skip.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::TrustDomain;
use pki::{KeyAlgorithm, PrivateKey, Timestamp, TrustBundle, X509Svid};
use runtime::private_files::{self, DirLock, Overwrite, PrivateFileError};
use zeroize::Zeroizing;

/// The most that any of the files may hold, in bytes: 64 authorities of 4 KiB in PEM, with room.
const MAX_FILE_BYTES: usize = 512 * 1024;
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The state directory, locked.
pub struct StateDir {
    path: PathBuf,
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
    /// No key could be made.
    #[error("cannot make the node key: {0}")]
    Key(#[from] pki::KeyError),
}

impl StateDir {
    /// Makes the directory when it is missing, checks that nobody else may write to it, and locks it.
    ///
    /// # Errors
    /// [`StateError::File`] when it is refused or another process has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        private_files::ensure_private_dir(path)?;
        let lock = DirLock::acquire(path)?;
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    /// Looks at an existing directory without locking it: for reading only.
    ///
    /// # Errors
    /// [`StateError::File`] when others may write to it.
    pub(crate) fn inspect(path: &Path) -> Result<Self, StateError> {
        private_files::check_private_dir(path)?;
        Ok(Self { path: path.to_owned(), _lock: None })
    }

    /// The node key. Made and stored on the first call, so that it is there before any token is sent.
    ///
    /// # Errors
    /// [`StateError`]; a damaged key is never replaced, as the CA knows the node by it.
    pub fn node_key(&self) -> Result<PrivateKey, StateError> {
        let path = self.path.join(NODE_KEY);
        if path.exists() {
            let pem = Zeroizing::new(private_files::read_private(&path, MAX_FILE_BYTES)?);
            return PrivateKey::from_pem(&pem).map_err(|error| StateError::Damaged { path, cause: error.to_string() });
        }
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        private_files::write_private(&path, key.to_pkcs8_pem().as_bytes(), Overwrite::Refuse)?;
        Ok(key)
    }

    /// The agent SVID, as far as it can be read. Whether it is still good is not checked here.
    #[must_use]
    pub fn svid(&self) -> StoredSvid {
        let path = self.path.join(AGENT_SVID);
        if !path.exists() {
            return StoredSvid::Absent;
        }
        match Self::read_svid(&path) {
            Ok(svid) => StoredSvid::Present(Arc::new(svid)),
            Err(cause) => StoredSvid::Damaged(format!("{}: {cause}", path.display())),
        }
    }

    fn read_svid(path: &Path) -> Result<X509Svid, String> {
        let bytes = Zeroizing::new(private_files::read_private(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?);
        let text = std::str::from_utf8(&bytes).map_err(|_| "not text")?;
        let (issued, text) = split_header(text, SVID_HEADER).ok_or("it does not begin with the time of issue")?;
        let (key, chain) = text.split_at(text.find(CERTIFICATE_BEGIN).ok_or("no certificate in it")?);
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|error| error.to_string())?;
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
        text.push_str(&svid.key().to_pkcs8_pem());
        text.push_str(&pki::certificates_to_pem(svid.chain()));
        Ok(private_files::write_private(&self.path.join(AGENT_SVID), text.as_bytes(), Overwrite::Replace)?)
    }

    /// The newest bundle that was stored.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when it is there and cannot be read: it must not silently give way to something else.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Result<Option<TrustBundle>, StateError> {
        let path = self.path.join(BUNDLE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = private_files::read_bounded(&path, MAX_FILE_BYTES)?;
        let bundle = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| split_header(text, BUNDLE_HEADER))
            .ok_or_else(|| "it does not begin with its sequence".to_owned())
            .and_then(|(sequence, pem)| {
                TrustBundle::from_pem(trust_domain.clone(), pem.as_bytes(), sequence).map_err(|error| error.to_string())
            });
        bundle.map(Some).map_err(|cause| StateError::Damaged { path, cause })
    }

    /// Stores a bundle and its sequence.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses.
    pub fn store_bundle(&self, bundle: &TrustBundle) -> Result<(), StateError> {
        let text = format!("{BUNDLE_HEADER}{}\n{}", bundle.sequence(), bundle.to_pem());
        Ok(private_files::write_public(&self.path.join(BUNDLE), text.as_bytes(), Overwrite::Replace)?)
    }
}

/// The number in a leading line, and the text after that line.
fn split_header<'a>(text: &'a str, header: &str) -> Option<(u64, &'a str)> {
    let (line, rest) = text.split_once('\n')?;
    Some((line.strip_prefix(header)?.parse().ok()?, rest))
}

const NODE_KEY: &str = "node-key.pem";
const AGENT_SVID: &str = "agent-svid.pem";
const BUNDLE: &str = "bundle.pem";
const SVID_HEADER: &str = "# Signet agent SVID, issued ";
const BUNDLE_HEADER: &str = "# Signet trust bundle, sequence ";

#[cfg(test)]
mod tests;
