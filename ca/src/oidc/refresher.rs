//! Looks up the keys of one issuer: reads a file that changed, or fetches a document. A thin shell around `keys`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mtls::https::{HttpsClient, HttpsUrl};
use pki::{JsonWebKeys, MAX_JWKS_BYTES};
use runtime::clock::Ticker;
use runtime::private_files::read_bounded;
use runtime::shutdown::Shutdown;

use super::keys::KeySource;
use super::metrics::{Look, OidcMetrics};
use crate::keystore::{Stamp, stamp};

/// The most skipped keys that are named at once.
const MAX_SKIPPED_TOLD: usize = 4;
const PERIOD: Duration = Duration::from_secs(1);

/// Where the keys come from.
pub(crate) enum Place {
    /// A file, and its state when it was read last.
    File {
        /// Absolute.
        path: PathBuf,
        /// `None` before the first reading and after one that failed.
        read: Option<Stamp>,
    },
    /// A document on the web.
    Https {
        /// Where.
        url: HttpsUrl,
        /// By whom it is fetched.
        client: HttpsClient,
    },
}

/// The one who looks.
pub struct KeyRefresher {
    pub(crate) source: Arc<KeySource>,
    pub(crate) place: Place,
    pub(crate) metrics: OidcMetrics,
    /// What was said of the last key set, so that each oddity is told once.
    pub(crate) told: Option<String>,
}

impl KeyRefresher {
    /// Looks until shutdown.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub async fn run(mut self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        let mut asked = false;
        loop {
            if self.source.is_due(asked) {
                tokio::select! {
                    // A look that is cut short publishes nothing, and nobody is left to read it.
                    () = &mut end => return Ok(()),
                    () = self.look() => {}
                }
            }
            asked = tokio::select! {
                () = &mut end => return Ok(()),
                // Both may be ready: the other stays so for the next turn.
                tick = ticker.tick() => {
                    tick?;
                    false
                }
                () = self.source.asked() => true,
            };
        }
    }

    async fn look(&mut self) {
        self.source.begin();
        let outcome = self.place.keys().await;
        let issuer = self.source.issuer().to_owned();
        self.metrics.looked(match &outcome {
            Ok(Some(_)) => Look::Loaded,
            Ok(None) => Look::Unchanged,
            Err(_) => Look::Failed,
        });
        if let Ok(Some(keys)) = &outcome {
            let oddity = oddity(keys);
            if let Some(oddity) = oddity.as_ref().filter(|oddity| self.told.as_ref() != Some(*oddity)) {
                tracing::warn!(issuer, oddity, "the keys of an OIDC issuer");
            }
            self.told = oddity;
        }
        let fault = outcome.as_ref().err().cloned();
        let before = self.source.end(outcome);
        match (before, fault) {
            (before, Some(fault)) if before.as_ref() != Some(&fault) => {
                tracing::warn!(issuer, cause = fault, "the keys of an OIDC issuer could not be looked up");
            }
            (Some(_), None) => tracing::info!(issuer, "the keys of an OIDC issuer are known again"),
            (None, None) | (_, Some(_)) => {}
        }
    }
}

/// Reads a key set from a file.
pub(crate) fn read_keys(path: &Path) -> Result<JsonWebKeys, String> {
    let content = read_bounded(path, MAX_JWKS_BYTES).map_err(|error| error.to_string())?;
    JsonWebKeys::parse(&content).map_err(|error| format!("{}: {error}", path.display()))
}

/// What is odd about a key set that was taken: an issuer without a usable key has no good token.
pub(crate) fn oddity(keys: &JsonWebKeys) -> Option<String> {
    let skipped = keys.skipped().iter().map(|skipped| format!("number {}: {}", skipped.position + 1, skipped.fault));
    let skipped: Vec<_> = skipped.take(MAX_SKIPPED_TOLD).collect();
    match (keys.usable(), skipped.is_empty()) {
        (0, true) => Some("the key set is empty: no token of this issuer is good".to_owned()),
        (0, false) => Some(format!("no key of the set can be used: no token of this issuer is good; {}", skipped.join("; "))),
        (_, true) => None,
        (_, false) => Some(format!("keys that cannot be used are passed over; {}", skipped.join("; "))),
    }
}

impl Place {
    /// The keys, or `None` when they are those of before.
    async fn keys(&mut self) -> Result<Option<JsonWebKeys>, String> {
        match self {
            Self::File { path, read } => {
                // Taken before the reading: a change meanwhile shows at the next look.
                let found = stamp(path);
                if found.is_some() && *read == Some(found) {
                    return Ok(None);
                }
                *read = None;
                let keys = read_keys(path)?;
                *read = Some(found);
                Ok(Some(keys))
            }
            Self::Https { url, client } => {
                let content = client.get(url).await.map_err(|error| error.to_string())?;
                JsonWebKeys::parse(&content).map(Some).map_err(|error| format!("{url}: {error}"))
            }
        }
    }
}
