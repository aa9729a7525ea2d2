//! The join token between its file and the CA: read late, checked, wiped, never shown.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pki::Sha256Digest;
use zeroize::Zeroizing;

use crate::config::TokenSource;

/// The hex digits of 128 random bits.
const TOKEN_DIGITS: usize = 32;
/// The most that is read: a token, and room for white space around it.
const MAX_READ_BYTES: u64 = 256;
/// How long an agent that can do without a token waits for one by standard input: who pipes one in has done so at the start.
const STDIN_WAIT: PollTimeout = PollTimeout::ZERO;

/// A join token; wiped on drop, `Debug` hides it.
pub struct JoinToken(Zeroizing<String>);

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The source could not be read.
    #[error("cannot read the join token from {from}: {cause}")]
    Read {
        /// File name or `standard input`.
        from: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// Others may write to the file, so what stands in it may be theirs. Nothing was read.
    #[error(
        "the join token file {from} has mode {mode:04o}: others may write to it, so the token in it may be theirs; chmod 600 it"
    )]
    WritableByOthers {
        /// File name.
        from: String,
        /// Its permission bits.
        mode: u32,
    },
    /// What was read is no token. The text itself is not shown.
    #[error("what {from} holds is no join token ({found} bytes): expected 32 lower-case hex digits")]
    Malformed {
        /// File name or `standard input`.
        from: String,
        /// How many bytes stood there, white space around them left out.
        found: usize,
    },
}

impl JoinToken {
    /// Reads the token whole. Blocks.
    ///
    /// # Errors
    /// [`TokenError`] when the source cannot be read or holds something else.
    pub fn read(source: &TokenSource) -> Result<Self, TokenError> {
        let (from, read) = match source {
            TokenSource::Stdin => ("standard input".to_owned(), read_bounded(io::stdin().lock())),
            TokenSource::File(path) => {
                let file = File::open(path).and_then(|file| Ok((Reach::of(&file.metadata()?), file)));
                let from = path.display().to_string();
                match file {
                    Ok((Reach::Writable { mode }, _)) => return Err(TokenError::WritableByOthers { from, mode }),
                    Ok((reach, file)) => {
                        if let Some(warning) = reach.warning(path) {
                            tracing::warn!("{warning}");
                        }
                        (from, read_bounded(file))
                    }
                    Err(error) => (from, Err(error)),
                }
            }
        };
        match read {
            Ok(text) => Self::parse(&text).ok_or_else(|| TokenError::Malformed { from, found: text.trim().len() }),
            Err(cause) => Err(TokenError::Read { from, cause }),
        }
    }

    /// The same for an agent that can do without: `None` when no file is there, or nothing comes by standard input soon.
    ///
    /// # Errors
    /// [`TokenError`] when there is something else.
    pub fn read_if_there(source: &TokenSource) -> Result<Option<Self>, TokenError> {
        let there = match source {
            TokenSource::Stdin => {
                let input = io::stdin();
                // Once it has been read to its end it stays readable, and empty.
                let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, STDIN_WAIT).is_ok_and(|ready| ready > 0)
            }
            TokenSource::File(path) => path.exists(),
        };
        if there { Self::read(source).map(Some) } else { Ok(None) }
    }

    fn parse(text: &str) -> Option<Self> {
        let token = text.trim();
        let sound = token.len() == TOKEN_DIGITS && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        sound.then(|| Self(Zeroizing::new(token.to_owned())))
    }

    /// What the proof of the node key is bound to, and what the CA keeps.
    #[must_use]
    pub fn hash(&self) -> Sha256Digest {
        pki::sha256(self.0.as_bytes())
    }

    /// The secret itself, for the one message that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Who but its owner and root can get at a token file. Pipes and devices count as private: their modes say little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nobody.
    Private,
    /// Some may read it, and race the agent for the token.
    Readable { mode: u32 },
    /// Some may put a token of their own there.
    Writable { mode: u32 },
}

impl Reach {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let mode = metadata.mode() & 0o7777;
        match metadata.is_file() {
            true if mode & 0o022 != 0 => Self::Writable { mode },
            true if mode & 0o044 != 0 => Self::Readable { mode },
            true | false => Self::Private,
        }
    }

    /// What works, but should not stay so.
    pub(crate) fn warning(self, path: &Path) -> Option<String> {
        let Self::Readable { mode } = self else { return None };
        let path = path.display();
        Some(format!(
            "the join token file {path} has mode {mode:04o}: others can read the token; chmod 600 it before the token is written"
        ))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(redacted)")
    }
}

fn read_bounded(source: impl Read) -> io::Result<Zeroizing<String>> {
    // The capacity is the bound: the text never moves while it grows, so no copy of it stays behind.
    let mut text = Zeroizing::new(String::with_capacity(512));
    source.take(MAX_READ_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_read_with_white_space_around_it_and_is_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = "0123456789abcdef0123456789abcdef";
        std::fs::write(file.path(), format!(" {token}\n")).unwrap();
        let read = JoinToken::read(&TokenSource::File(file.path().to_owned())).unwrap();
        assert_eq!(read.expose(), token);
        assert_eq!(read.hash(), pki::sha256(token.as_bytes()));
        assert!(!format!("{read:?}").contains("0123"));
    }

    #[test]
    fn a_token_file_that_others_can_write_is_refused_and_one_that_they_can_read_is_warned_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = "0123456789abcdef0123456789abcdef";
        std::fs::write(file.path(), token).unwrap();
        let source = TokenSource::File(file.path().to_owned());
        for (mode, reads, warns) in
            [(0o600, true, false), (0o644, true, true), (0o640, true, true), (0o620, false, false), (0o602, false, false)]
        {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let read = JoinToken::read(&source);
            assert_eq!(read.is_ok(), reads, "{mode:o}");
            if let Err(refused) = read {
                assert!(refused.to_string().contains("chmod 600") && !refused.to_string().contains(token), "{refused}");
            }
            let warning = Reach::of(&file.path().metadata().unwrap()).warning(file.path());
            assert_eq!(warning.is_some(), warns, "{mode:o}");
            assert!(!warning.unwrap_or_default().contains(token));
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = TokenSource::File(file.path().to_owned());
        for text in ["", "0123", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef00", &"a".repeat(9999)] {
            std::fs::write(file.path(), text).unwrap();
            let error = JoinToken::read(&source).unwrap_err();
            assert!(matches!(error, TokenError::Malformed { .. }), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        let missing = TokenSource::File("/nonexistent/token".into());
        assert!(matches!(JoinToken::read(&missing), Err(TokenError::Read { .. })));
    }
}
