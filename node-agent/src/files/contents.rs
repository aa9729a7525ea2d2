//! Which files a set has, and what is in them. Pure.

use pki::{RevocationSet, TrustBundle, X509Svid};
use zeroize::Zeroizing;

use super::config::{FileSetConfig, Formats};

/// One file of a set.
pub(super) struct SetFile {
    pub(super) name: &'static str,
    /// Overwritten when dropped: it may be a key.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub(super) mode: u32,
}

/// Every name that a set may have: a link of that name in the directory is ours to make and to remove.
pub(super) const NAMES: [&str; 5] = ["key.pem", CHAIN, "root-cert.pem", "combined.pem", LISTS];

/// The file with the chain alone.
pub(super) const CHAIN: &str = "cert-chain.pem";

/// The file with the revocation lists.
pub(super) const LISTS: &str = "crl.pem";

/// What says whom to trust: the roots, and the revocation lists where there are any. All of them, also when they are not whole or a stale
/// one is among them: whoever reads them from a file has no better ones.
pub(super) fn trust_files(config: &FileSetConfig, bundle: &TrustBundle, revocation: Option<&RevocationSet>) -> Vec<SetFile> {
    let [_, _, root_name, _, lists_name] = NAMES;
    let lists = revocation.filter(|set| !set.lists().is_empty()).map(|set| public(config, lists_name, &set.to_pem()));
    [public(config, root_name, &bundle.to_pem())].into_iter().chain(lists).collect()
}

fn public(config: &FileSetConfig, name: &'static str, text: &str) -> SetFile {
    SetFile { name, bytes: Zeroizing::new(text.as_bytes().to_vec()), mode: config.cert_mode }
}

/// The files of an identity. The chain begins with the leaf and leaves the root out (RFC 8446 section 4.4.2).
pub(super) fn files(
    config: &FileSetConfig,
    svid: &X509Svid,
    bundle: &TrustBundle,
    revocation: Option<&RevocationSet>,
) -> Vec<SetFile> {
    let [key_name, chain_name, _, combined_name, _] = NAMES;
    let Formats { pem, combined } = config.formats;
    let key = svid.key().to_pkcs8_pem();
    let chain = pki::certificates_to_pem(svid.chain());
    let mut files = trust_files(config, bundle, revocation);
    if pem {
        files.push(public(config, chain_name, &chain));
        files.push(SetFile { name: key_name, bytes: Zeroizing::new(key.as_bytes().to_vec()), mode: config.key_mode });
    }
    if combined {
        // Room for all at once: a buffer that grows would leave copies of the key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(chain.len() + key.len()));
        bytes.extend_from_slice(chain.as_bytes());
        bytes.extend_from_slice(key.as_bytes());
        files.push(SetFile { name: combined_name, bytes, mode: config.key_mode });
    }
    files
}
