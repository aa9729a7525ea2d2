//! The desk where JWT-SVIDs are asked for: audiences read, issuance driven, counted and logged.

use std::sync::Arc;
use std::time::Duration;

use pki::{AudienceError, AudienceSet, JwtMintError, JwtSvid};
use tokio::sync::watch;

use super::issuance::{JwtIssuanceError, issue};
use crate::admission::{AdmissionError, Admitted};
use crate::error_reason::{ErrorReason, Told};
use crate::issuance_clock::IssuanceClock;
use crate::issuing::IssuingError;
use crate::metrics::Metrics;
use crate::signing_keys::JwtSigningKey;
use crate::store::Store;
use crate::turns::{Overloaded, Turns, Urgency};

/// Why no JWT-SVID is answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwtIssuingError {
    /// The audiences asked for.
    #[error("the audiences are refused: {0}")]
    Audiences(#[from] AudienceError),
    /// No such entry for this caller, or not for this caller, or the store: as with certificates.
    #[error(transparent)]
    Grounds(#[from] IssuingError),
    /// Too many others ask.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The script stopped.
    #[error(transparent)]
    Issuance(#[from] JwtIssuanceError),
}

impl From<AdmissionError> for JwtIssuingError {
    fn from(refused: AdmissionError) -> Self {
        Self::Grounds(refused.into())
    }
}

impl Told for JwtIssuingError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Audiences(_) | Self::Issuance(JwtIssuanceError::Mint(JwtMintError::TooLong)) => {
                Some(ErrorReason::AudienceInvalid)
            }
            Self::Grounds(error) => error.reason(),
            Self::Overloaded(_) => Some(ErrorReason::Overloaded),
            Self::Issuance(JwtIssuanceError::Ledger(error)) => error.reason(),
            Self::Issuance(JwtIssuanceError::Mint(_) | JwtIssuanceError::Signing { .. }) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Grounds(error) = self { error.retry_after() } else { None }
    }
}

/// The desk. One for the process.
pub(crate) struct JwtDesk {
    /// The life of each token.
    pub(crate) ttl: Duration,
    /// The key that signs now.
    pub(crate) key: watch::Receiver<Arc<JwtSigningKey>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<IssuanceClock>,
    pub(crate) metrics: Metrics,
    pub(crate) turns: Arc<Turns>,
}

impl JwtDesk {
    /// A JWT-SVID for whom the caller was admitted to be, for the audiences that it asks for.
    ///
    /// # Errors
    /// [`JwtIssuingError`].
    pub(crate) async fn issue(
        &self,
        admitted: Result<Admitted, IssuingError>,
        audiences: &[String],
    ) -> Result<JwtSvid, JwtIssuingError> {
        let outcome = self.run(admitted, audiences).await;
        match &outcome {
            Ok(svid) => {
                tracing::info!(id = %svid.id(), audiences = %svid.audiences(), expires_at = %svid.expires_at(), "JWT-SVID issued");
                self.metrics.jwt_issuance(Ok(()));
            }
            Err(error) => self.metrics.jwt_issuance(Err(error.reason())),
        }
        outcome
    }

    async fn run(&self, admitted: Result<Admitted, IssuingError>, audiences: &[String]) -> Result<JwtSvid, JwtIssuingError> {
        // Admission first: who may not have the name learns nothing else.
        let admitted = admitted?;
        let audiences = AudienceSet::parse(audiences)?;
        // Nobody renews a token before it is asked for: whoever asks has none that is good for long.
        let _turn = self.turns.take(&Arc::from(admitted.caller()), Urgency::Fresh).await?;
        let now = self.clock.issue_at().map_err(IssuingError::Clock)?;
        // A snapshot: a key that is replaced meanwhile finishes what it began.
        let key = Arc::clone(&self.key.borrow());
        let issued = issue(admitted, &audiences, self.ttl, &key, &*self.store, now).await;
        if let Err(JwtIssuanceError::Ledger(refused)) = &issued {
            self.clock.learn(refused.later_issuance());
        }
        Ok(issued?)
    }
}
