//! Why a call is refused, and what its caller is told.

use std::time::Duration;

use pki::{RequestPemError, SvidError, TemplateError};

use super::impersonation::ImpersonationRefusal;
use crate::admission::CallerError;
use crate::error_reason::{ErrorReason, Told};
use crate::issuance::IssuanceError;
use crate::issuing::IssuingError;
use crate::node_pods::PodsUnavailable;
use crate::oidc::{KeysUnavailable, TokenRefusal};
use crate::rate::TooFast;
use crate::service_accounts::{ReviewError, ReviewRefusal};
use crate::store::StoreError;

/// Why a call is refused. What `Display` says is for the caller; [`CallError::for_log`] says more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Too many calls are being worked on.
    #[error("the CA is busy with other callers: try again later")]
    Busy,
    /// Neither a token nor a certificate.
    #[error("show a bearer token in the metadata \"authorization\", or a client certificate of this CA")]
    NoCredential,
    /// A header that is not exactly one bearer token.
    #[error("the metadata \"authorization\" must be exactly one value, \"Bearer\" and a token")]
    Authorization,
    /// A token that is not good. Which check it failed would help nobody but who forges them.
    #[error("the token is not accepted; the CA's log says why")]
    Token(TokenRefusal),
    /// A token that cannot be judged now.
    #[error("the keys of the token's issuer are not known at present: try again later")]
    KeysUnavailable(KeysUnavailable),
    /// A token that the API server does not vouch for. The same words as for any other.
    #[error("the token is not accepted; the CA's log says why")]
    Review(ReviewRefusal),
    /// A token that the API server was not asked about.
    #[error("whom the token stands for cannot be asked at present: try again later")]
    ReviewUnavailable(ReviewError),
    /// A certificate that was good in the handshake.
    #[error("the client certificate is not good any more: {0}")]
    Certificate(SvidError),
    /// For another identity than the caller's own. Whoever is told so has proved who it is.
    #[error("the identity of somebody else (ImpersonatedIdentity) is refused: {0}")]
    Impersonation(ImpersonationRefusal),
    /// Whether a pod has the identity cannot be told now.
    #[error(
        "whether the identity of somebody else (ImpersonatedIdentity) is for this node cannot be asked at present: try again later"
    )]
    PodsUnavailable(PodsUnavailable),
    /// Too many calls of one caller.
    #[error("more certificates were asked for by this identity than it may have for now ({}): try again in {:?}", .0.limit, .0.wait)]
    TooFast(TooFast),
    /// The caller may not have a certificate.
    #[error(transparent)]
    Admission(#[from] CallerError),
    /// A key of the metadata has a value of the wrong kind.
    #[error("the value of {key:?} in the metadata is not a string")]
    MetadataType {
        /// Which.
        key: &'static str,
    },
    /// Another signer than this CA.
    #[error("there is no signer {asked:?} here: leave \"CertSigner\" empty")]
    Signer {
        /// What was asked for, cut to 64 characters.
        asked: String,
    },
    /// The request is not one PEM block.
    #[error("the certificate request is refused: {0}")]
    Pem(#[from] RequestPemError),
    /// It asks for no name, which this call requires, though none is taken from it.
    #[error("the certificate request has no subject alternative name")]
    NoNames,
    /// No certificate was made.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    /// The ledger did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CallError {
    /// All that is known, for the log.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::Token(why) => why.to_string(),
            Self::KeysUnavailable(why) => why.to_string(),
            Self::Review(why) => why.to_string(),
            Self::ReviewUnavailable(why) => why.to_string(),
            Self::PodsUnavailable(why) => why.to_string(),
            Self::Admission(CallerError::NoLongerGranted { id, why }) => format!("what {id} was admitted by: {why}"),
            Self::Admission(CallerError::NotRenewable { serial, id, reason }) => {
                format!("the certificate {serial} of {id} was issued for \"{reason}\", which nobody can show again")
            }
            Self::Admission(CallerError::GrantDiffers { held, granted }) => {
                format!("{held} would be {granted} by the rules of now")
            }
            Self::Busy
            | Self::NoCredential
            | Self::Authorization
            | Self::Certificate(_)
            | Self::Impersonation(_)
            | Self::TooFast(_)
            | Self::Admission(_)
            | Self::MetadataType { .. }
            | Self::Signer { .. }
            | Self::Pem(_)
            | Self::NoNames
            | Self::Issuing(_)
            | Self::Store(_) => self.to_string(),
        }
    }
}

impl Told for CallError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Busy => Some(ErrorReason::NotReady),
            Self::NoCredential => Some(ErrorReason::NoCredential),
            Self::Authorization | Self::Token(_) | Self::Review(_) | Self::Certificate(_) => Some(ErrorReason::CredentialInvalid),
            Self::Impersonation(_) => Some(ErrorReason::ImpersonationRefused),
            Self::PodsUnavailable(_) => Some(ErrorReason::PodsUnavailable),
            Self::KeysUnavailable(_) => Some(ErrorReason::KeysUnavailable),
            Self::ReviewUnavailable(_) => Some(ErrorReason::ReviewUnavailable),
            Self::TooFast(_) => Some(ErrorReason::RateExceeded),
            Self::Admission(refused) => match refused {
                CallerError::Revoked { .. } | CallerError::NotRecorded { .. } => Some(ErrorReason::CredentialInvalid),
                CallerError::Reserved { .. } | CallerError::NotRenewable { .. } => Some(ErrorReason::NotRenewable),
                CallerError::LineEnded { .. } => Some(ErrorReason::LineEnded),
                CallerError::NoLongerGranted { .. } | CallerError::GrantDiffers { .. } | CallerError::NotAWorkload { .. } => {
                    Some(ErrorReason::NoLongerGranted)
                }
                CallerError::Grounds(_) => Some(ErrorReason::CredentialInvalid),
            },
            Self::MetadataType { .. } | Self::Signer { .. } => Some(ErrorReason::RequestInvalid),
            Self::Pem(_) | Self::NoNames => Some(ErrorReason::CsrInvalid),
            // To these callers a CA that cannot issue is not ready, and may be later.
            Self::Issuing(IssuingError::Issuance(IssuanceError::Template(
                TemplateError::IssuerEndsTooSoon { .. } | TemplateError::IssuerNotYetValid { .. },
            ))) => Some(ErrorReason::NotReady),
            Self::Issuing(error) => error.reason(),
            // Only an unavailable store fails a read of the ledger.
            Self::Store(_) => Some(ErrorReason::StoreUnavailable),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooFast(TooFast { wait, limit: _ }) => Some(*wait),
            Self::ReviewUnavailable(why) => why.retry_after(),
            Self::PodsUnavailable(why) => why.retry_after(),
            Self::Busy
            | Self::NoCredential
            | Self::Authorization
            | Self::Token(_)
            | Self::KeysUnavailable(_)
            | Self::Review(_)
            | Self::Certificate(_)
            | Self::Impersonation(_)
            | Self::Admission(_)
            | Self::MetadataType { .. }
            | Self::Signer { .. }
            | Self::Pem(_)
            | Self::NoNames
            | Self::Issuing(_)
            | Self::Store(_) => None,
        }
    }
}
