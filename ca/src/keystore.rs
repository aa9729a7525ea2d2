//! The signing authority on disk: how a set of files is read, and how a newer one is noticed where somebody else fills the directory.
//!
//! Sets lie in two places: in generations made here, `<state_dir>/authority/0001`, `0002`, ..., of which the journal says which one
//! counts (`rotation`); or in one plugged-in directory, in either of two layouts (Istio's `cacerts`, or `kubernetes.io/tls`),
//! which `Keystore` watches. What makes a set valid is [`crate::authority`]'s.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::Timestamp;
use runtime::private_files::{PrivateFileError, check_private_dir, read_bounded};
use runtime::secret_source::SecretSourceError;

use crate::authority::{AuthorityError, AuthorityFile, AuthorityFiles, KeyContent, SigningAuthority};
use crate::config::CaConfig;
pub use crate::key_file::StateKeyError;
use crate::rotation::places::place_name;
use crate::signing_keys::{SigningKeyError, SigningKeys};

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
    /// The key of the set.
    #[error(transparent)]
    SigningKey(SigningKeyError),
    /// A key of which the state directory has one.
    #[error(transparent)]
    StateKey(#[from] StateKeyError),
}

impl From<SigningKeyError> for KeystoreError {
    fn from(error: SigningKeyError) -> Self {
        match error {
            SigningKeyError::File(cause) => Self::File(cause),
            SigningKeyError::Passphrase(cause) => Self::Passphrase(cause),
            other @ (SigningKeyError::Key { .. }
            | SigningKeyError::Jwt { .. }
            | SigningKeyError::NoToken { .. }
            | SigningKeyError::InToken { .. }
            | SigningKeyError::Forgotten { .. }
            | SigningKeyError::NotMade(_)
            | SigningKeyError::NotGenerated(_)
            | SigningKeyError::NotRemoved { .. }) => Self::SigningKey(other),
        }
    }
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
pub(crate) struct Keystore {
    directory: PathBuf,
    trust_domain: TrustDomain,
    keys: SigningKeys,
    /// What was given out last; `None` when it was not used.
    given: Option<Sighting>,
    /// What the last look found, where that was something else.
    seen: Option<Sighting>,
    failed: Option<(Sighting, Timestamp)>,
}

impl Keystore {
    /// Loads the authority in `directory` and verifies it whole, for the trust domain and with the passphrase of the configuration.
    ///
    /// # Errors
    /// [`KeystoreError`], naming the file and the reason.
    pub(crate) async fn open(
        directory: &Path,
        config: &CaConfig,
        keys: SigningKeys,
        now: Timestamp,
    ) -> Result<(Self, SigningAuthority), KeystoreError> {
        let given = look(directory)?;
        let authority = given.place.load(&keys, &config.trust_domain, now).await?;
        let trust_domain = config.trust_domain.clone();
        let directory = directory.to_owned();
        Ok((Self { directory, trust_domain, keys, given: Some(given), seen: None, failed: None }, authority))
    }

    /// What was given out last is not used: it is given out again when it lies there.
    pub(crate) fn forget(&mut self) {
        self.given = None;
    }

    /// Whether the last look found what was given out last.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.seen.is_none()
    }

    /// The newer authority, when there is one since the last answer and it verifies. Meant to be called every second: it looks at
    /// names and file states, and reads only when those changed and have been the same in two looks, so that a set that is being written
    /// is not taken. One that changes while it is read is looked at again.
    ///
    /// # Errors
    /// [`KeystoreError`], told once per set and again each minute; the set in use stays the one to use.
    pub(crate) async fn newer(&mut self, now: Timestamp) -> Result<Option<SigningAuthority>, KeystoreError> {
        let found = look(&self.directory)?;
        if self.given.as_ref() == Some(&found) {
            self.seen = None;
            return Ok(None);
        }
        if self.seen.replace(found.clone()).is_none_or(|seen| seen != found) {
            return Ok(None);
        }
        if self.failed.as_ref().is_some_and(|(failed, at)| *failed == found && now >= *at && now.since(*at) < RETRY) {
            return Ok(None);
        }
        let loaded = found.place.load(&self.keys, &self.trust_domain, now).await;
        if look(&self.directory)? != found {
            return Ok(None);
        }
        match loaded {
            Ok(authority) => {
                (self.failed, self.given) = (None, Some(found));
                Ok(Some(authority))
            }
            Err(error) => {
                self.failed = Some((found, now));
                Err(error)
            }
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

    async fn load(
        &self,
        keys: &SigningKeys,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<SigningAuthority, KeystoreError> {
        let directory = self.directory();
        let protection = keys.protection()?;
        let files = match self {
            Self::Four(_) => AuthorityFiles {
                certificate: read_certificates(&directory.join(CA_CERT))?,
                key: read_key(keys, &directory.join(CA_KEY)).await?,
                chain: Some(read_certificates(&directory.join(CERT_CHAIN))?),
                roots: read_certificates(&directory.join(ROOT_CERT))?,
                protection,
            },
            Self::Tls(_) => AuthorityFiles {
                certificate: read_certificates(&directory.join(TLS_CERT))?,
                key: read_key(keys, &directory.join(TLS_KEY)).await?,
                chain: None,
                roots: read_certificates(&directory.join(TLS_ROOTS))?,
                protection,
            },
        };
        Ok(SigningAuthority::verify(files, trust_domain, now).await?)
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
pub(crate) async fn load_generation(
    directory: &Path,
    keys: &SigningKeys,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<SigningAuthority, KeystoreError> {
    Place::Four(directory.to_owned()).load(keys, trust_domain, now).await
}

/// The same; when it or its root has ended, as it was in the last second in which all of it was valid.
///
/// # Errors
/// [`KeystoreError`].
pub(crate) async fn load_generation_as_it_was(
    directory: &Path,
    keys: &SigningKeys,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<SigningAuthority, KeystoreError> {
    let mut at = now;
    loop {
        match load_generation(directory, keys, trust_domain, at).await {
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

async fn read_key(keys: &SigningKeys, path: &Path) -> Result<AuthorityFile<KeyContent>, KeystoreError> {
    Ok(AuthorityFile { path: path.to_owned(), content: keys.content(path).await? })
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
