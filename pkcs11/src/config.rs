//! Which token, by which module, and how it is asked.

use std::path::PathBuf;
use std::time::Duration;

use runtime::secret_source::SecretSource;

/// The most sessions, and so signatures at once, that may be configured.
pub const MAX_SESSIONS: usize = 64;

/// Which token, and how it is asked.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The vendor's module: a shared library that only its owner or root can change. Absolute.
    pub module: PathBuf,
    /// The label of the token; one slot has it.
    pub token: String,
    /// Where the user's PIN is. It is read for each login and kept nowhere.
    pub pin: SecretSource,
    /// Signatures at once, each in a session of its own: 1 to [`MAX_SESSIONS`].
    pub sessions: usize,
    /// For how long a caller waits for a session, and then for the token.
    pub patience: Duration,
}
