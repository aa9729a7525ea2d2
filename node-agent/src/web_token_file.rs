//! A file with a JSON Web Token that others renew, such as the projected token of a Kubernetes service account: read at each use,
//! forgotten after it, never shown.

use std::path::{Path, PathBuf};

use runtime::private_files::{self, PrivateFileError};
use zeroize::Zeroizing;

/// The most bytes of such a file.
const MAX_BYTES: usize = 16 * 1024;

/// Why there is no token to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebTokenFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] PrivateFileError),
    /// What stands in it is no token. It is not shown.
    #[error("{} holds no JWT ({found} bytes): expected three parts of base64url with dots between them", path.display())]
    NoToken {
        /// Which file.
        path: PathBuf,
        /// Its length, white space around it left out.
        found: usize,
    },
}

/// The token that stands there now. Blocks.
///
/// # Errors
/// [`WebTokenFileError`] naming file and fault, and nothing of what stands in it.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, WebTokenFileError> {
    let bytes = Zeroizing::new(private_files::read_bounded(path, MAX_BYTES)?);
    let text = bytes.trim_ascii();
    let of_a_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let parts = text.split(|byte| *byte == b'.');
    let sound = text.iter().all(of_a_token) && parts.clone().count() == 3 && parts.clone().all(|part| !part.is_empty());
    match std::str::from_utf8(text) {
        Ok(token) if sound => Ok(Zeroizing::new(token.to_owned())),
        Ok(_) | Err(_) => Err(WebTokenFileError::NoToken { path: path.to_owned(), found: text.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_with_white_space_around_it_and_nothing_else_is_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read(file.path())
        };
        assert_eq!(with(" a.b-_9.c\n").unwrap().as_str(), "a.b-_9.c");
        for bad in ["", "a.b", "a.b.c.d", "a..c", "a.b.c d", "a.b.\u{e9}", "a.b.c="] {
            let error = with(bad).unwrap_err().to_string();
            assert!(error.contains("holds no JWT") && (bad.is_empty() || !error.contains(bad)), "{error}");
        }
        assert!(matches!(with(&format!("a.b.{}", "c".repeat(MAX_BYTES))), Err(WebTokenFileError::Read(_))));
        assert!(matches!(read(Path::new("/nonexistent/token")), Err(WebTokenFileError::Read(_))));
    }
}
