//! The sealed SVID cache: SVIDs with their keys, encrypted in the state directory, so that an agent that restarts while the CA is
//! away serves all its clients. Off by default, as workload keys are on no disk otherwise.
//!
//! The file is sealed with a secret that lies elsewhere, for this trust domain, this node and this version of the format. What
//! does not open is left alone with a warning and replaced by the next write: a cache is never a reason not to start. What opens is
//! used only for an entry of now, and only when it verifies under the bundle of now.

mod keeper;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::{NodeName, TrustDomain};
use pki::{PrivateKey, SEALING_RANDOM_BYTES, Timestamp, X509Svid};
use runtime::config::Section;
use runtime::entropy::{self, Entropy};
use runtime::private_files::{self, Overwrite};
use runtime::secret_source::SecretSource;
use zeroize::Zeroizing;

use crate::entry::EntryId;

pub(crate) use keeper::SvidKeeper;

/// The most that the file may hold, in bytes: the SVIDs of the most entries that a node holds.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// The most bytes of a secret.
const MAX_SECRET_BYTES: usize = 4096;

const FILE: &str = "svids.sealed";
const ENTRY_LINE: &str = "# signet entry ";
const ISSUED: &str = ", issued ";
const CERTIFICATE_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The cache of one node.
pub(crate) struct SvidCache {
    file: PathBuf,
    secret: Zeroizing<Vec<u8>>,
    trust_domain: TrustDomain,
    entropy: Arc<dyn Entropy>,
}

impl SvidCache {
    /// Reads the secret; nothing else is touched.
    ///
    /// # Errors
    /// What is wrong with the secret.
    pub(crate) fn new(
        state_dir: &Path,
        secret: &SecretSource,
        trust_domain: TrustDomain,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, String> {
        Ok(Self { file: state_dir.join(FILE), secret: read_secret(secret)?, trust_domain, entropy })
    }

    /// What was stored last for this node; nothing when there is no file.
    ///
    /// # Errors
    /// Why what is there cannot be used.
    pub(crate) fn load(&self, node: Option<&NodeName>) -> Result<Vec<(EntryId, X509Svid)>, String> {
        if !self.file.exists() {
            return Ok(Vec::new());
        }
        let refused = |why: String| format!("{}: {why}", self.file.display());
        let sealed = private_files::read_private(&self.file, MAX_BYTES).map_err(|error| error.to_string())?;
        let content = pki::open(&self.secret, &self.place(node), &sealed).map_err(|error| refused(error.to_string()))?;
        parse(&content).map_err(refused)
    }

    /// Stores these in the place of what was there.
    ///
    /// # Errors
    /// Why not; what was there stays.
    pub(crate) fn store(&self, node: Option<&NodeName>, svids: &[(EntryId, Arc<X509Svid>)]) -> Result<(), String> {
        let content = write(svids);
        let random: [u8; SEALING_RANDOM_BYTES] = entropy::bytes(self.entropy.as_ref());
        let sealed = pki::seal(&self.secret, &self.place(node), content.as_bytes(), random).map_err(|error| error.to_string())?;
        private_files::write_private(&self.file, &sealed, Overwrite::Replace).map_err(|error| error.to_string())
    }

    /// What a file is sealed for.
    fn place(&self, node: Option<&NodeName>) -> Vec<u8> {
        let node = node.map_or("", NodeName::as_str);
        format!("signet SVID cache 1\n{}\n{node}", self.trust_domain).into_bytes()
    }
}

/// Removes what an agent left that was configured to keep a cache.
pub(crate) fn remove(state_dir: &Path) {
    let file = state_dir.join(FILE);
    match std::fs::remove_file(&file) {
        Ok(()) => {
            tracing::info!(file = %file.display(), "no SVID cache is configured any more: the one that was left is removed")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(file = %file.display(), %error, "an SVID cache was left, and could not be removed"),
    }
}

/// Where the secret is, when SVIDs are to be cached. Each of the keys without the other is a fault: it would do nothing, or leave
/// keys in the clear.
pub(crate) fn read_config(root: &Section<'_>) -> Option<SecretSource> {
    let encrypted = root.optional("svid_cache", |text| match text {
        "off" | "encrypted" => Ok(text == "encrypted"),
        _ => Err("expected \"off\" or \"encrypted\""),
    });
    let secret = SecretSource::from_config(root, "svid_cache_key_file", "svid_cache_key_credential");
    match (encrypted, &secret) {
        (Some(true), None) => root.fault("svid_cache", "\"encrypted\" needs svid_cache_key_file or svid_cache_key_credential"),
        (Some(false) | None, Some(_)) => {
            root.fault("svid_cache_key_file", "it and svid_cache_key_credential do nothing without svid_cache = \"encrypted\"");
        }
        (Some(true), Some(_)) | (Some(false) | None, None) => {}
    }
    secret.filter(|_| encrypted == Some(true))
}

/// The secret that seals.
///
/// # Errors
/// What is wrong with it or its place.
pub(crate) fn read_secret(source: &SecretSource) -> Result<Zeroizing<Vec<u8>>, String> {
    let secret = source.read_as(MAX_SECRET_BYTES, |content| {
        let secret = Zeroizing::new(content);
        if secret.len() >= pki::MIN_SEALING_SECRET_BYTES {
            return Ok(secret);
        }
        Err(format!(
            "it has {} bytes, at least {} are needed to seal the SVID cache; make one: (umask 077; head -c 32 /dev/urandom > FILE)",
            secret.len(),
            pki::MIN_SEALING_SECRET_BYTES,
        ))
    });
    secret.map_err(|error| error.to_string())
}

/// For each SVID a line with its entry and its time, its key and its chain, in PEM.
fn write(svids: &[(EntryId, Arc<X509Svid>)]) -> Zeroizing<String> {
    let parts: Vec<_> = svids
        .iter()
        .map(|(entry, svid)| {
            let line = format!("{ENTRY_LINE}{entry}{ISSUED}{}\n", svid.issued().unix_seconds());
            (line, svid.key().to_pkcs8_pem(), pki::certificates_to_pem(svid.chain()))
        })
        .collect();
    // Room for all at once: a text that grows would leave copies of keys behind.
    let length = parts.iter().map(|(line, key, chain)| line.len() + key.len() + chain.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (line, key, chain) in &parts {
        text.push_str(line);
        text.push_str(key);
        text.push_str(chain);
    }
    text
}

fn parse(content: &[u8]) -> Result<Vec<(EntryId, X509Svid)>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it holds no text")?;
    let mut parts = text.split(ENTRY_LINE);
    if parts.next().is_some_and(|before| !before.is_empty()) {
        return Err("it does not begin with an entry".to_owned());
    }
    parts.map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<(EntryId, X509Svid), String> {
    let (line, rest) = text.split_once('\n').ok_or("an entry has no SVID")?;
    let (entry, issued) = line.split_once(ISSUED).ok_or("an SVID has no time of issue")?;
    let entry = EntryId::parse(entry).map_err(|error| error.to_string())?;
    let issued = Timestamp::from_unix_seconds(issued.parse().map_err(|_| "an SVID has no time of issue")?);
    let (key, chain) = rest.split_at(rest.find(CERTIFICATE_BEGIN).ok_or("an SVID has no certificate")?);
    let key = PrivateKey::from_pem(key.as_bytes()).map_err(|error| error.to_string())?;
    let chain = pki::certificates_from_pem(chain.as_bytes()).map_err(|error| error.to_string())?;
    Ok((entry, X509Svid::new(chain, key, issued).map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests;
