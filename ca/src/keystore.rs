//! The signing authority on disk: how a set of files is read, and how a newer one is noticed where somebody else fills the directory.
//!
//! Sets lie in two places: in generations made here, `<state_dir>/authority/0001`, `0002`, ..., of which the journal says which one
//! counts (`rotation`); or in one plugged-in directory, in either of two layouts (Istio's `cacerts`, or `kubernetes.io/tls`),
//! which [`Keystore`] watches. What makes a set valid is [`crate::authority`]'s.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::Timestamp;
use runtime::private_files::{PrivateFileError, check_private_dir, read_bounded, read_private};
use runtime::secret_source::{SecretSource, SecretSourceError};
use zeroize::Zeroizing;

use crate::authority::{AuthorityError, AuthorityFile, AuthorityFiles, PrivatePem, SigningAuthority};
use crate::config::CaConfig;
use crate::key_file;
pub use crate::key_file::StateKeyError;
use crate::rotation::places::place_name;

/// Names in a generation, and in a plugged-in directory of Istio's `cacerts` layout.
pub(crate) const CA_CERT: &str = "ca-cert.pem";
pub(crate) const CA_KEY: &str = "ca-key.pem";
pub(crate) const ROOT_CERT: &str = "root-cert.pem";
pub(crate) const CERT_CHAIN: &str = "cert-chain.pem";
/// Names in a plugged-in directory of the `kubernetes.io/tls` layout.
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const TLS_ROOTS: &str = "ca.crt";

const FOUR_NAMES: [&str; 4] = [CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN];
const TLS_NAMES: [&str; 3] = [TLS_CERT, TLS_KEY, TLS_ROOTS];

/// More than any chain or set of roots that would be accepted.
const MAX_CERTIFICATES_BYTES: usize = 256 * 1024;
/// More than an RSA key of 4096 bits in any form.
const MAX_KEY_BYTES: usize = 16 * 1024;

/// After how long a set that failed is tried again although nothing in it changed: it may only not have been valid yet.
const RETRY: Duration = Duration::from_secs(60);

/// Why no authority is loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// There is no generation.
    #[error("{}: no authority; make one with `signet ca init`, or name a directory in [authority] directory", directory.display())]
    NoAuthority {
        /// Where generations lie.
        directory: PathBuf,
    },
    /// Files of both layouts stand side by side, and guessing would be dangerous.
    #[error("{}: holds both {} and {}; keep the files of one layout", directory.display(), FOUR_NAMES.join(" "), TLS_NAMES.join(" "))]
    TwoLayouts {
        /// The plugged-in directory.
        directory: PathBuf,
    },
    /// The directory cannot be read.
    #[error("{}: cannot be read: {cause}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A file or directory is not safe to use.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The passphrase of its key.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// The set is not valid.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A key of which the state directory has one.
    #[error(transparent)]
    StateKey(#[from] StateKeyError),
    /// A running CA does not change its root: certificates under the old one would stop working at once.
    #[error(
        "{}: the newer authority does not keep the root {}; the authority in use goes on. A change of root needs a restart, and every \
         agent the new bundle",
        place.display(), data_encoding::HEXLOWER.encode(root)
    )]
    RootChanged {
        /// Where the newer set lies.
        place: PathBuf,
        /// SHA-256 of the root in use.
        root: pki::Sha256Digest,
    },
}

/// Which files a set is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The four names in a generation or in a plugged-in directory.
    Four(PathBuf),
    /// The three names of `kubernetes.io/tls`.
    Tls(PathBuf),
}

/// What tells one content of a file from another without reading it; `None` when there is no such file.
pub(crate) type Stamp = Option<(u64, u64, i64, i64, i64, i64, u64)>;

/// A set as it was seen: where, and the state of each of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sighting {
    place: Place,
    stamps: Vec<Stamp>,
}

/// A plugged-in directory, watched for a newer set.
#[derive(Debug)]
pub struct Keystore {
    directory: PathBuf,
    trust_domain: TrustDomain,
    root: pki::Sha256Digest,
    passphrase: Option<SecretSource>,
    in_use: Sighting,
    failed: Option<(Sighting, Timestamp)>,
    before: Option<Sighting>,
}

impl Keystore {
    /// Loads the authority in `directory` and verifies it whole, for the trust domain and with the passphrase of the configuration.
    ///
    /// # Errors
    /// [`KeystoreError`], naming the file and the reason.
    pub fn open(directory: &Path, config: &CaConfig, now: Timestamp) -> Result<(Self, SigningAuthority), KeystoreError> {
        let in_use = look(directory)?;
        let passphrase = config.key_passphrase.clone();
        let authority = in_use.place.load(passphrase.as_ref(), &config.trust_domain, now)?;
        let root = authority.root().fingerprint();
        let trust_domain = config.trust_domain.clone();
        let directory = directory.to_owned();
        Ok((Self { directory, trust_domain, root, passphrase, in_use, failed: None, before: None }, authority))
    }

    /// The newer authority, when there is one since the last answer and it verifies. Meant to be called every second: it looks at
    /// names and file states, and reads only when those changed.
    ///
    /// # Errors
    /// [`KeystoreError`], told once per set and again each minute; the set in use stays the one to use.
    pub fn newer(&mut self, now: Timestamp) -> Result<Option<SigningAuthority>, KeystoreError> {
        let found = look(&self.directory)?;
        if found == self.in_use {
            return Ok(None);
        }
        if self.failed.as_ref().is_some_and(|(failed, at)| *failed == found && now >= *at && now.since(*at) < RETRY) {
            return Ok(None);
        }
        let loaded = found.place.load(self.passphrase.as_ref(), &self.trust_domain, now).and_then(|authority| {
            if authority.root().fingerprint() == self.root {
                Ok(authority)
            } else {
                Err(KeystoreError::RootChanged { place: found.place.directory().to_owned(), root: self.root })
            }
        });
        match loaded {
            Ok(authority) => {
                self.failed = None;
                self.before = Some(std::mem::replace(&mut self.in_use, found));
                Ok(Some(authority))
            }
            Err(error) => {
                self.failed = Some((found, now));
                Err(error)
            }
        }
    }

    /// The caller could not take up what [`Self::newer`] gave last: the next call gives it again.
    pub fn not_taken(&mut self) {
        if let Some(before) = self.before.take() {
            self.in_use = before;
        }
    }
}

fn look(directory: &Path) -> Result<Sighting, KeystoreError> {
    let place = layout_of(directory)?;
    let stamps = place.names().iter().map(|name| stamp(&place.directory().join(name))).collect();
    Ok(Sighting { place, stamps })
}

impl Place {
    fn directory(&self) -> &Path {
        match self {
            Self::Four(directory) | Self::Tls(directory) => directory,
        }
    }

    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Four(_) => &FOUR_NAMES,
            Self::Tls(_) => &TLS_NAMES,
        }
    }

    fn load(
        &self,
        passphrase: Option<&SecretSource>,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<SigningAuthority, KeystoreError> {
        let directory = self.directory();
        let protection = key_file::protection(passphrase)?;
        let files = match self {
            Self::Four(_) => AuthorityFiles {
                certificate: read_certificates(&directory.join(CA_CERT))?,
                key: read_key(&directory.join(CA_KEY))?,
                chain: Some(read_certificates(&directory.join(CERT_CHAIN))?),
                roots: read_certificates(&directory.join(ROOT_CERT))?,
                protection,
            },
            Self::Tls(_) => AuthorityFiles {
                certificate: read_certificates(&directory.join(TLS_CERT))?,
                key: read_key(&directory.join(TLS_KEY))?,
                chain: None,
                roots: read_certificates(&directory.join(TLS_ROOTS))?,
                protection,
            },
        };
        Ok(SigningAuthority::verify(files, trust_domain, now)?)
    }
}

/// The numbers of the generations in a directory; none when there is no such directory.
///
/// # Errors
/// [`KeystoreError::Directory`], or [`KeystoreError::File`] when others may write to it.
pub(crate) fn generations(directory: &Path) -> Result<BTreeSet<u32>, KeystoreError> {
    let unreadable = |cause| KeystoreError::Directory { directory: directory.to_owned(), cause };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(unreadable(error)),
    };
    check_private_dir(directory)?;
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok().filter(|number| place_name(*number) == name));
        // Anything else is not ours to judge: a set being written has another name until it is whole.
        numbers.extend(number);
    }
    Ok(numbers)
}

/// The issuing CA of a generation, verified whole at `now`.
///
/// # Errors
/// [`KeystoreError`], naming the file and the reason.
pub(crate) fn load_generation(
    directory: &Path,
    passphrase: Option<&SecretSource>,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<SigningAuthority, KeystoreError> {
    Place::Four(directory.to_owned()).load(passphrase, trust_domain, now)
}

/// The same; when it or its root has ended, as it was in the last second in which all of it was valid.
///
/// # Errors
/// [`KeystoreError`].
pub(crate) fn load_generation_as_it_was(
    directory: &Path,
    passphrase: Option<&SecretSource>,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<SigningAuthority, KeystoreError> {
    let mut at = now;
    loop {
        match load_generation(directory, passphrase, trust_domain, at) {
            Err(KeystoreError::Authority(AuthorityError::Expired { not_after, .. })) if not_after < at => at = not_after,
            loaded => return loaded,
        }
    }
}

/// The layout of a plugged-in directory: that of whichever names are there. Which of them are missing is told when the set is verified.
fn layout_of(directory: &Path) -> Result<Place, KeystoreError> {
    let present = |names: &[&str]| names.iter().any(|name| directory.join(name).exists());
    fs::read_dir(directory).map_err(|cause| KeystoreError::Directory { directory: directory.to_owned(), cause })?;
    match (present(&FOUR_NAMES), present(&TLS_NAMES)) {
        (true, true) => Err(KeystoreError::TwoLayouts { directory: directory.to_owned() }),
        (false, true) => Ok(Place::Tls(directory.to_owned())),
        (true, false) | (false, false) => Ok(Place::Four(directory.to_owned())),
    }
}

/// The state of a file as it is now.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.size(),
    ))
}

fn read_certificates(path: &Path) -> Result<AuthorityFile<Vec<u8>>, KeystoreError> {
    let content = if_there(read_bounded(path, MAX_CERTIFICATES_BYTES))?;
    Ok(AuthorityFile { path: path.to_owned(), content })
}

fn read_key(path: &Path) -> Result<AuthorityFile<PrivatePem>, KeystoreError> {
    let content = if_there(read_private(path, MAX_KEY_BYTES))?.map(|pem| PrivatePem(Zeroizing::new(pem)));
    Ok(AuthorityFile { path: path.to_owned(), content })
}

fn if_there<T>(read: Result<T, PrivateFileError>) -> Result<Option<T>, PrivateFileError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
