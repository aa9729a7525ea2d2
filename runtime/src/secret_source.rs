//! Where a secret is read from: a private file, or a credential that the service manager passes on. Never arguments, and of the
//! environment only the name of the directory in which credentials lie.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Section, absolute_path};
use crate::private_files::{PrivateFileError, read_private};

/// Where a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that only its owner can reach. Absolute.
    File(PathBuf),
    /// A credential of this name (systemd.exec(5), `LoadCredential=`), below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretSourceError {
    /// The file is refused.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Nobody passes credentials to this process.
    #[error(
        "there is no credential {name:?}: CREDENTIALS_DIRECTORY is not set, so the service manager passes none to this process; \
         add `LoadCredential={name}:FILE` to the unit, or name a file instead"
    )]
    NoDirectory {
        /// The credential.
        name: String,
    },
    /// What was read is not what belongs there.
    #[error("{place}: {cause}")]
    Content {
        /// Where it was read.
        place: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Those that are passed do not hold it.
    #[error("there is no credential {name:?} in {}; add `LoadCredential={name}:FILE` to the unit", directory.display())]
    NotPassed {
        /// The credential.
        name: String,
        /// Where credentials lie.
        directory: PathBuf,
    },
}

impl SecretSource {
    /// Reads one of two keys of a table, the first a path and the second the name of a credential; both are a fault.
    #[must_use]
    pub fn from_config(section: &Section<'_>, file: &'static str, credential: &'static str) -> Option<Self> {
        let path = section.optional(file, absolute_path);
        let name = section.optional(credential, credential_name);
        match (path, name) {
            (Some(_), Some(_)) => {
                section.fault(credential, format!("there is a {file} too; name one place"));
                None
            }
            (Some(path), None) => Some(Self::File(path)),
            (None, name) => name.map(Self::Credential),
        }
    }

    /// The secret, of at most `max` bytes, as `parse` reads it.
    ///
    /// # Errors
    /// [`SecretSourceError`]; the parser's own error must not tell the secret.
    pub fn read_as<T, E: fmt::Display>(
        &self,
        max: usize,
        parse: impl FnOnce(Vec<u8>) -> Result<T, E>,
    ) -> Result<T, SecretSourceError> {
        let malformed = |cause: E| SecretSourceError::Content { place: self.to_string(), cause: cause.to_string() };
        parse(self.read(max)?).map_err(malformed)
    }

    /// The secret, at most `max` bytes. The caller wipes it.
    ///
    /// # Errors
    /// [`SecretSourceError`].
    pub fn read(&self, max: usize) -> Result<Vec<u8>, SecretSourceError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the service manager says by this where credentials lie; the secret is in no variable"
        )]
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
        self.read_below(directory, max)
    }

    fn read_below(&self, directory: Option<OsString>, max: usize) -> Result<Vec<u8>, SecretSourceError> {
        let name = match self {
            Self::File(path) => return Ok(read_private(path, max)?),
            Self::Credential(name) => name,
        };
        let directory = directory.map(PathBuf::from).filter(|directory| directory.is_absolute());
        let directory = directory.ok_or_else(|| SecretSourceError::NoDirectory { name: name.clone() })?;
        match read_private(&directory.join(name), max) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {
                Err(SecretSourceError::NotPassed { name: name.clone(), directory })
            }
            read => Ok(read?),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// One name, not a path (systemd allows what a file name allows; this is a part of it).
fn credential_name(text: &str) -> Result<String, &'static str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let one_name = Path::new(text).file_name().is_some_and(|name| name == text);
    if plain && one_name && text.len() <= 128 {
        Ok(text.to_owned())
    } else {
        Err("not a name of letters, digits, '.', '-' and '_'")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Document;

    #[test]
    fn a_file_must_be_private_and_a_credential_must_be_passed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("phrase");
        std::fs::write(&path, "secret").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (file, credential) = (SecretSource::File(path.clone()), SecretSource::Credential("phrase".to_owned()));
        let directory = || Some(home.path().as_os_str().to_owned());
        for source in [&file, &credential] {
            mode(0o600);
            assert_eq!(source.read_below(directory(), 64).unwrap(), b"secret");
            assert!(matches!(source.read_below(directory(), 5), Err(SecretSourceError::File(_))), "too long");
            mode(0o644);
            assert!(matches!(source.read_below(directory(), 64), Err(SecretSourceError::File(_))), "open to others");
        }
        for absent in [None, Some(OsString::new()), Some("relative".into())] {
            assert!(matches!(credential.read_below(absent, 64), Err(SecretSourceError::NoDirectory { .. })));
        }
        let other = SecretSource::Credential("other".to_owned());
        assert!(matches!(other.read_below(directory(), 64), Err(SecretSourceError::NotPassed { .. })));
    }

    #[test]
    fn one_place_is_named_and_a_name_is_no_path() {
        let read = |text: &str| {
            let document = Document::parse("c.toml", text).unwrap();
            let source = SecretSource::from_config(&document.root(), "file", "credential");
            document.finish().map(|()| source).map_err(|errors| errors.to_string())
        };
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("file = \"/p\"").unwrap(), Some(SecretSource::File("/p".into())));
        assert_eq!(read("credential = \"a.b-c_1\"").unwrap(), Some(SecretSource::Credential("a.b-c_1".to_owned())));
        for bad in [
            "file = \"p\"",
            "file = \"/p\"\ncredential = \"c\"",
            "credential = \"\"",
            "credential = \"..\"",
            "credential = \"a/b\"",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
