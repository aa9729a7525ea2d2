//! Why a call failed, as far as the agent acts differently on it.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::connection::CALL_DEADLINE;
use crate::metrics::IssuanceOutcome;

/// The domain of `google.rpc.ErrorInfo` in which the reasons are Signet's.
const DOMAIN: &str = "signet";

/// The longest pause that a CA can ask for: a slip of its operator must not keep identities from being renewed.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why the CA refused, by the reason in its `google.rpc.ErrorInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The agent's SVID no longer counts; come without it and prove the node key.
    MustReattest,
    /// An operator banned the node.
    Banned,
    /// The certificate shown is not an agent's.
    NotAnAgent,
    /// The two speak different versions of the protocol.
    ProtocolMismatch,
    /// One needs a feature that the other does not know.
    UnknownRequiredFeature,
    /// The join token is unknown, expired, or used by another key.
    Token,
    /// The existing certificate attested a node before.
    CertificateUsed,
    /// The proof does not verify, or the CA does not know the node key.
    ProofInvalid,
    /// The entry is gone or another node's.
    EntryNotFound,
    /// An operator revoked the identity.
    IdentityRevoked,
    /// Anything else.
    Other,
}

impl RefusalReason {
    /// From the reason's text in `ErrorInfo` or in an item of a batch.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text {
            "MUST_REATTEST" => Self::MustReattest,
            "BANNED" => Self::Banned,
            "NOT_AN_AGENT" => Self::NotAnAgent,
            "PROTOCOL_MISMATCH" => Self::ProtocolMismatch,
            "UNKNOWN_REQUIRED_FEATURE" => Self::UnknownRequiredFeature,
            "TOKEN_UNKNOWN" | "TOKEN_EXPIRED" | "TOKEN_USED" => Self::Token,
            "CERTIFICATE_USED" => Self::CertificateUsed,
            "PROOF_INVALID" => Self::ProofInvalid,
            "ENTRY_NOT_FOUND" => Self::EntryNotFound,
            "IDENTITY_REVOKED" => Self::IdentityRevoked,
            _ => Self::Other,
        }
    }
}

/// Why a call to the CA gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallFault {
    /// The CA answered, and said no.
    #[error("the CA refuses{}: {message}", Named(reason_text))]
    Refused {
        /// What for.
        reason: RefusalReason,
        /// The reason as the CA wrote it; empty when it gave none.
        reason_text: String,
        /// Its words for people.
        message: String,
    },
    /// No answer: the connection failed, or the CA cannot serve now.
    #[error("the CA is not available: {0}")]
    Unavailable(String),
    /// The CA asks to come back later (`google.rpc.RetryInfo`).
    #[error("the CA is busy, and asks to come back after {after:?}: {message}")]
    Busy {
        /// Its words for people.
        message: String,
        /// How long it wants to be left alone, at most [`LONGEST_PAUSE`].
        after: Duration,
    },
    /// No answer in time.
    #[error("the CA did not answer within {0:?}")]
    Deadline(Duration),
    /// It answered with something that the agent must not use.
    #[error("the CA's answer is refused: {0}")]
    Answer(String),
}

struct Named<'a>(&'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

impl CallFault {
    /// Reads a gRPC status. A reason in another domain is not one of ours and counts as none.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
        match (info, status.code()) {
            (_, Code::Unavailable | Code::ResourceExhausted) if pause.is_some_and(|pause| !pause.is_zero()) => {
                let after = pause.unwrap_or_default().min(LONGEST_PAUSE);
                Self::Busy { message: status.message().to_owned(), after }
            }
            (_, Code::Unavailable | Code::Cancelled | Code::Aborted | Code::ResourceExhausted)
            | (None, Code::Unknown | Code::Internal) => Self::Unavailable(status.message().to_owned()),
            (_, Code::DeadlineExceeded) => Self::Deadline(CALL_DEADLINE),
            (info, _) => {
                let reason_text = info.map(|info| info.reason).unwrap_or_default();
                let reason = RefusalReason::from_text(&reason_text);
                let message = status.message().to_owned();
                // The code tells a person something only where no reason does.
                let message = if reason_text.is_empty() { format!("{message} ({:?})", status.code()) } else { message };
                Self::Refused { reason, reason_text, message }
            }
        }
    }

    /// The reason, when the CA refused.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            Self::Unavailable(_) | Self::Busy { .. } | Self::Deadline(_) | Self::Answer(_) => None,
        }
    }
}

impl CallFault {
    /// How it is counted.
    pub(crate) fn outcome(&self) -> IssuanceOutcome {
        match self {
            Self::Refused { .. } => IssuanceOutcome::Refused,
            Self::Unavailable(_) | Self::Busy { .. } | Self::Deadline(_) => IssuanceOutcome::Unavailable,
            Self::Answer(_) => IssuanceOutcome::Invalid,
        }
    }

    /// How long the CA wants to be left alone, if it said so.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => Some(*after),
            Self::Refused { .. } | Self::Unavailable(_) | Self::Deadline(_) | Self::Answer(_) => None,
        }
    }
}

/// Bounds a call by the common deadline and reads its failure.
///
/// # Errors
/// [`CallFault`].
pub(crate) async fn call<T>(rpc: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, CallFault> {
    match tokio::time::timeout(CALL_DEADLINE, rpc).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallFault::from_status(&status)),
        Err(_) => Err(CallFault::Deadline(CALL_DEADLINE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    fn status(code: Code, reason: &str, domain: &str) -> Status {
        Status::with_error_details(code, "no", ErrorDetails::with_error_info(reason, domain, HashMap::new()))
    }

    #[test]
    fn reasons_of_our_domain_are_read_and_others_are_not() {
        let fault = CallFault::from_status(&status(Code::Unauthenticated, "MUST_REATTEST", "signet"));
        assert_eq!(fault.refusal(), Some(RefusalReason::MustReattest));
        assert_eq!(fault.to_string(), "the CA refuses (MUST_REATTEST): no");
        let fault = CallFault::from_status(&status(Code::Unauthenticated, "MUST_REATTEST", "elsewhere"));
        assert_eq!(fault.refusal(), Some(RefusalReason::Other));
        assert_eq!(CallFault::from_status(&Status::permission_denied("no")).refusal(), Some(RefusalReason::Other));
    }

    #[test]
    fn a_ca_that_asks_for_a_pause_gets_it_within_bounds() {
        let asked = |code, seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            CallFault::from_status(&Status::with_error_details(code, "over your rate", details)).pause()
        };
        assert_eq!(asked(Code::ResourceExhausted, 7), Some(Duration::from_secs(7)));
        assert_eq!(asked(Code::Unavailable, 86_400), Some(LONGEST_PAUSE));
        assert_eq!(asked(Code::Unavailable, 0), None);
        assert_eq!(asked(Code::PermissionDenied, 7), None, "a refusal stays one");
        let without = CallFault::from_status(&Status::resource_exhausted("slower"));
        assert!(matches!(without, CallFault::Unavailable(_)) && without.pause().is_none());
    }

    #[test]
    fn a_ca_that_cannot_serve_is_not_one_that_refuses() {
        for fault in [status(Code::Unavailable, "STORE_UNAVAILABLE", "signet"), Status::unknown("transport error")] {
            assert!(matches!(CallFault::from_status(&fault), CallFault::Unavailable(_)), "{fault}");
        }
    }
}
