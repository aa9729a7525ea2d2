//! The one map from domain errors to what a gRPC peer sees: code, stable reason, and a sentence.
//!
//! Internal detail never leaves: what concerns the store or a bug goes to the log, the peer learns that it happened.

use std::time::Duration;

use pki::TemplateError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::admission::AdmissionError;
use crate::attestation::AttestError;
use crate::error_reason::{ErrorReason, Told};
use crate::issuance::{IssuanceError, LedgerError};
use crate::issuing::IssuingError;
use crate::pod_identities::PodIdentityError;
use crate::rate::TooFast;
use crate::rpc::hello::HelloError;
use crate::sessions::StandingError;
use crate::store::{AgentPodError, CertificateUseError, RedeemError, StoreError};

/// The `domain` of every `google.rpc.ErrorInfo` that Signet sends.
pub(crate) const ERROR_DOMAIN: &str = "signet";

impl ErrorReason {
    /// The gRPC code that goes with it, always the same.
    pub(crate) fn code(self) -> Code {
        match self {
            Self::MustReattest | Self::NoCredential | Self::CredentialInvalid => Code::Unauthenticated,
            Self::Banned
            | Self::NotAnAgent
            | Self::TokenUnknown
            | Self::TokenExpired
            | Self::TokenUsed
            | Self::ProofInvalid
            | Self::CertificateRefused
            | Self::CertificateUsed
            | Self::ServiceAccountRefused
            | Self::PodUsed
            | Self::NotRenewable
            | Self::LineEnded
            | Self::NoLongerGranted
            | Self::ImpersonationRefused
            | Self::NoLivePod
            | Self::IdentityRevoked
            | Self::NotDownstream => Code::PermissionDenied,
            Self::ProtocolMismatch | Self::UnknownRequiredFeature | Self::IssuerEndsTooSoon => Code::FailedPrecondition,
            Self::CsrInvalid | Self::AudienceInvalid | Self::TtlAboveMax | Self::TtlTooShort | Self::RequestInvalid => {
                Code::InvalidArgument
            }
            Self::EntryNotFound => Code::NotFound,
            Self::StoreUnavailable
            | Self::ClockUntrusted
            | Self::NotReady
            | Self::KeysUnavailable
            | Self::ReviewUnavailable
            | Self::PodsUnavailable
            | Self::Overloaded => Code::Unavailable,
            Self::RateExceeded => Code::ResourceExhausted,
        }
    }

    /// A status that carries this reason.
    pub(crate) fn status(self, message: impl Into<String>) -> Status {
        let details = ErrorDetails::with_error_info(self.as_str(), ERROR_DOMAIN, []);
        Status::with_error_details(self.code(), message, details)
    }
}

/// What the peer sees of an error; what it may not see is logged here.
pub(crate) fn told(error: &impl Told) -> Status {
    match error.reason() {
        Some(ErrorReason::StoreUnavailable) => {
            tracing::error!(%error, "the store did not answer");
            ErrorReason::StoreUnavailable.status("the CA's store did not answer: try again later, and look at the CA's log")
        }
        Some(reason) => reason.status(error.to_string()),
        None => {
            tracing::error!(%error, "an internal error was answered as INTERNAL");
            Status::internal("an internal error of the CA: look at its log")
        }
    }
}

/// The same, with advice on when to try again (`google.rpc.RetryInfo`) wherever another try may help. `caller` spreads those who are
/// refused at the same moment: the same caller is always told the same, others something else.
pub(crate) fn told_with_retry(error: &impl Told, caller: impl AsRef<[u8]>) -> Status {
    let status = told(error);
    let Some(delay) = retry_delay(error, caller) else { return status };
    let mut details = status.get_error_details();
    details.set_retry_info(Some(delay));
    Status::with_error_details(status.code(), status.message(), details)
}

/// When this caller should try again; `None` where that would not help.
pub(crate) fn retry_delay(error: &impl Told, caller: impl AsRef<[u8]>) -> Option<Duration> {
    let is_away = || error.reason().is_some_and(|reason| reason.code() == Code::Unavailable);
    let base = error.retry_after().or_else(|| is_away().then_some(UNAVAILABLE_WAIT))?;
    Some(base.saturating_add(spread(caller.as_ref(), SPREAD)))
}

/// A part of `width` that belongs to this caller.
fn spread(caller: &[u8], width: Duration) -> Duration {
    let [first, second, ..] = pki::sha256(caller);
    width * u32::from(u16::from_be_bytes([first, second])) / (1 << 16)
}

/// What makes the CA unavailable seldom passes in less.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(2);
/// Over how much time the next tries are spread.
const SPREAD: Duration = Duration::from_secs(8);

/// As `set_agent_svid` and the reads of a session mean it: a record that is gone or has moved on sends the agent to attestation.
impl Told for StoreError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::NotFound { .. } | Self::Superseded { .. } => Some(ErrorReason::MustReattest),
            Self::Banned { .. } => Some(ErrorReason::Banned),
            Self::Denied { .. } => Some(ErrorReason::IdentityRevoked),
            Self::ClockBehind(_) => Some(ErrorReason::ClockUntrusted),
            Self::Unavailable(_) => Some(ErrorReason::StoreUnavailable),
            Self::Exists { .. } | Self::Changed { .. } | Self::Fenced { .. } | Self::InUse { .. } | Self::OfObject { .. } => None,
        }
    }
}

/// What the store refuses of an intent, but for its time, is the CA's own doing and none of the peer's.
impl Told for LedgerError {
    fn reason(&self) -> Option<ErrorReason> {
        Some(match &self.0 {
            StoreError::ClockBehind(_) => ErrorReason::ClockUntrusted,
            StoreError::Denied { .. } => ErrorReason::IdentityRevoked,
            StoreError::Unavailable(_)
            | StoreError::NotFound { .. }
            | StoreError::Exists { .. }
            | StoreError::Banned { .. }
            | StoreError::Superseded { .. }
            | StoreError::Changed { .. }
            | StoreError::Fenced { .. }
            | StoreError::InUse { .. }
            | StoreError::OfObject { .. } => ErrorReason::StoreUnavailable,
        })
    }
}

impl Told for HelloError {
    fn reason(&self) -> Option<ErrorReason> {
        Some(match self {
            Self::Missing | Self::ProtocolMismatch { .. } => ErrorReason::ProtocolMismatch,
            Self::UnknownRequiredFeature { .. } => ErrorReason::UnknownRequiredFeature,
        })
    }
}

impl Told for StandingError {
    fn reason(&self) -> Option<ErrorReason> {
        Some(match self {
            Self::NoCertificate | Self::Lapsed { .. } | Self::UnknownNode { .. } | Self::Superseded { .. } => {
                ErrorReason::MustReattest
            }
            Self::NotAnAgent { .. } => ErrorReason::NotAnAgent,
            Self::Banned { .. } => ErrorReason::Banned,
            Self::Store(_) => ErrorReason::StoreUnavailable,
        })
    }
}

impl Told for AttestError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::NodeKey(_) | Self::Proof | Self::CertificateProof => Some(ErrorReason::ProofInvalid),
            Self::Certificate(_) => Some(ErrorReason::CertificateRefused),
            Self::CertificateUse(error) => Some(match error {
                CertificateUseError::Used | CertificateUseError::OtherName { .. } => ErrorReason::CertificateUsed,
                CertificateUseError::NodeOfAnotherKey { .. } | CertificateUseError::KeyOfAnotherNode { .. } => {
                    ErrorReason::CertificateRefused
                }
                CertificateUseError::Banned => ErrorReason::Banned,
                CertificateUseError::Store(_) => ErrorReason::StoreUnavailable,
            }),
            Self::ServiceAccount(_) => Some(ErrorReason::ServiceAccountRefused),
            Self::ReviewUnavailable(_) => Some(ErrorReason::ReviewUnavailable),
            Self::PodsUnavailable(_) => Some(ErrorReason::PodsUnavailable),
            Self::AgentPod(error) => Some(match error {
                AgentPodError::Used => ErrorReason::PodUsed,
                AgentPodError::NodeOfAnotherKey { .. } | AgentPodError::KeyOfAnotherNode { .. } => {
                    ErrorReason::ServiceAccountRefused
                }
                AgentPodError::Banned => ErrorReason::Banned,
                AgentPodError::Store(_) => ErrorReason::StoreUnavailable,
            }),
            Self::NodeKeyReused | Self::CertificateKeyReused => Some(ErrorReason::CsrInvalid),
            Self::Redeem(error) => Some(match error {
                RedeemError::Unknown => ErrorReason::TokenUnknown,
                RedeemError::Expired { .. } => ErrorReason::TokenExpired,
                RedeemError::UsedByAnotherKey => ErrorReason::TokenUsed,
                RedeemError::KeyOfAnotherNode { .. } => ErrorReason::ProofInvalid,
                RedeemError::Banned => ErrorReason::Banned,
                RedeemError::Store(_) => ErrorReason::StoreUnavailable,
            }),
            Self::NoRecord | Self::WindowOver { .. } => Some(ErrorReason::MustReattest),
            Self::Banned { .. } => Some(ErrorReason::Banned),
            Self::Busy => Some(ErrorReason::NotReady),
            Self::TooFast(_) => Some(ErrorReason::RateExceeded),
            Self::Store(error) => error.reason(),
            Self::Issuing(error) => error.reason(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooFast(TooFast { wait, limit: _ }) => Some(*wait),
            Self::Issuing(error) => error.retry_after(),
            Self::ReviewUnavailable(error) => error.retry_after(),
            Self::PodsUnavailable(error) => error.retry_after(),
            Self::NodeKey(_)
            | Self::Proof
            | Self::NodeKeyReused
            | Self::CertificateProof
            | Self::CertificateKeyReused
            | Self::Certificate(_)
            | Self::CertificateUse(_)
            | Self::ServiceAccount(_)
            | Self::AgentPod(_)
            | Self::Redeem(_)
            | Self::NoRecord
            | Self::WindowOver { .. }
            | Self::Banned { .. }
            | Self::Busy
            | Self::Store(_) => None,
        }
    }
}

impl Told for IssuingError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Csr(_) | Self::CsrTooLarge { .. } | Self::Issuance(IssuanceError::Request(_)) => Some(ErrorReason::CsrInvalid),
            Self::TooFast(_) => Some(ErrorReason::RateExceeded),
            Self::Overloaded(_) => Some(ErrorReason::Overloaded),
            Self::EntryNotFound { .. } | Self::Admission(AdmissionError::OtherNode { .. } | AdmissionError::Ended { .. }) => {
                Some(ErrorReason::EntryNotFound)
            }
            Self::Admission(AdmissionError::Banned { .. }) => Some(ErrorReason::Banned),
            Self::Admission(AdmissionError::Denied { .. }) => Some(ErrorReason::IdentityRevoked),
            Self::Clock(_) => Some(ErrorReason::ClockUntrusted),
            Self::Issuance(IssuanceError::Template(TemplateError::TtlAboveMax { .. })) => Some(ErrorReason::TtlAboveMax),
            Self::Issuance(IssuanceError::Template(TemplateError::IssuerEndsTooSoon { .. })) => {
                Some(ErrorReason::IssuerEndsTooSoon)
            }
            Self::Issuance(IssuanceError::Template(TemplateError::TtlTooShort { .. })) => Some(ErrorReason::TtlTooShort),
            Self::Issuance(IssuanceError::Ledger(error)) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::PodIdentity(error) => match error {
                PodIdentityError::Off | PodIdentityError::NotByPod { .. } => Some(ErrorReason::ServiceAccountRefused),
                PodIdentityError::Unnamed => Some(ErrorReason::RequestInvalid),
                PodIdentityError::NoLivePod { .. } => Some(ErrorReason::NoLivePod),
                PodIdentityError::Unavailable(_) => Some(ErrorReason::PodsUnavailable),
                PodIdentityError::Admission(AdmissionError::Banned { .. }) => Some(ErrorReason::Banned),
                PodIdentityError::Admission(_) => None,
                PodIdentityError::Store(error) => error.reason(),
            },
            Self::Admission(
                AdmissionError::NotAWorkload { .. } | AdmissionError::NoAccount { .. } | AdmissionError::OtherPod { .. },
            )
            | Self::Issuance(
                IssuanceError::Template(_)
                | IssuanceError::Mint(_)
                | IssuanceError::Lint { .. }
                | IssuanceError::Signing { .. }
                | IssuanceError::SignatureInvalid { .. },
            ) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooFast(TooFast { wait, limit: _ }) => Some(*wait),
            Self::PodIdentity(PodIdentityError::Unavailable(error)) => error.retry_after(),
            Self::PodIdentity(_)
            | Self::Csr(_)
            | Self::CsrTooLarge { .. }
            | Self::Overloaded(_)
            | Self::EntryNotFound { .. }
            | Self::Admission(_)
            | Self::Clock(_)
            | Self::Issuance(_)
            | Self::Store(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_travels_in_error_info_with_its_code() {
        let status = told(&StandingError::NoCertificate);
        assert_eq!(status.code(), Code::Unauthenticated);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("MUST_REATTEST", "signet"));
    }

    #[test]
    fn whoever_may_try_again_is_told_when_each_at_a_time_of_its_own() {
        let unavailable = StandingError::Store(StoreError::Unavailable("x".to_owned()));
        let wait = |caller: &str| {
            let status = told_with_retry(&unavailable, caller);
            assert_eq!(status.get_details_error_info().unwrap().reason, "STORE_UNAVAILABLE");
            status.get_details_retry_info().unwrap().retry_delay.unwrap()
        };
        assert_eq!(wait("a"), wait("a"));
        assert_ne!(wait("a"), wait("b"));
        for caller in ["a", "b", "c", "d"] {
            assert!((UNAVAILABLE_WAIT..UNAVAILABLE_WAIT + SPREAD).contains(&wait(caller)), "{:?}", wait(caller));
        }
        // Trying again does not help who may not speak.
        assert!(told_with_retry(&StandingError::NoCertificate, "a").get_details_retry_info().is_none());
    }

    #[test]
    fn what_the_store_says_stays_in_the_log() {
        let status = told(&StandingError::Store(StoreError::Unavailable("/secret/path: disk full".to_owned())));
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!status.message().contains("secret"), "{}", status.message());
    }
}
