//! The bearer token of this process: a file that the kubelet replaces long before the token in it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::clock::Clock;
use runtime::private_files::read_bounded;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::ApiError;

/// For how long what was read counts; after that the file is read again.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

pub(crate) struct Bearer {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Arc<Zeroizing<String>>,
    read_at: Duration,
}

impl Bearer {
    /// Nothing is read yet.
    pub(crate) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock, held: Mutex::new(None) }
    }

    /// The token that lies there now, or did a second ago.
    pub(crate) async fn token(&self) -> Result<Arc<Zeroizing<String>>, ApiError> {
        let mut held = self.held.lock().await;
        let now = self.clock.boottime();
        if let Some(held) = held.as_ref().filter(|held| now.saturating_sub(held.read_at) < FRESH_FOR) {
            return Ok(Arc::clone(&held.token));
        }
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let token = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let token = Arc::new(token.map_err(|cause| ApiError::Local { what: "token_file", cause })?);
        *held = Some(Held { token: Arc::clone(&token), read_at: now });
        Ok(token)
    }
}

/// Reads a token, and says why there is none. Blocks.
pub(crate) fn read(path: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let bytes = read_bounded(path, MAX_TOKEN_BYTES).map(Zeroizing::new).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(bytes.trim_ascii()).ok();
    let is_token = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let malformed = || format!("{}: it holds no token ({} bytes)", path.display(), bytes.len());
    text.filter(is_token).map(|text| Zeroizing::new(text.to_owned())).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use runtime::clock::TestClock;

    use super::*;

    #[tokio::test]
    async fn a_token_that_is_replaced_is_read_within_a_second_and_none_that_is_no_token() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let clock = TestClock::at(SystemTime::UNIX_EPOCH);
        let bearer = Bearer::new(path.clone(), Arc::<TestClock>::clone(&clock));
        assert_eq!(bearer.token().await.unwrap().as_str(), "first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(bearer.token().await.unwrap().as_str(), "first");
        clock.advance(FRESH_FOR);
        assert_eq!(bearer.token().await.unwrap().as_str(), "second");
        for bad in ["", "\n", "two words", "\u{e9}", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            std::fs::write(&path, bad).unwrap();
            clock.advance(FRESH_FOR);
            let error = bearer.token().await.unwrap_err();
            assert!(matches!(error, ApiError::Local { what: "token_file", .. }), "{error}");
            assert!(!error.to_string().contains("words"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(bearer.token().await.is_err(), "what was there before does not count for ever");
    }
}
