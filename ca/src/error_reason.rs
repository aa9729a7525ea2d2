//! The stable reasons by which a peer is told why it is refused; which error has which is `rpc::status`'s.

use std::time::Duration;

/// Stable reasons, sent as `google.rpc.ErrorInfo` in upper snake case. docs/protocol.md lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorReason {
    MustReattest,
    Banned,
    NotAnAgent,
    ProtocolMismatch,
    UnknownRequiredFeature,
    TokenUnknown,
    TokenExpired,
    TokenUsed,
    ProofInvalid,
    CertificateRefused,
    CertificateUsed,
    ServiceAccountRefused,
    PodUsed,
    CsrInvalid,
    AudienceInvalid,
    EntryNotFound,
    IssuerEndsTooSoon,
    TtlAboveMax,
    StoreUnavailable,
    ClockUntrusted,
    NotReady,
    NoCredential,
    CredentialInvalid,
    NotRenewable,
    LineEnded,
    NoLongerGranted,
    RequestInvalid,
    TtlTooShort,
    RateExceeded,
    KeysUnavailable,
    ReviewUnavailable,
    ImpersonationRefused,
    PodsUnavailable,
    NoLivePod,
    Overloaded,
    IdentityRevoked,
    NotDownstream,
}

impl ErrorReason {
    /// The text on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MustReattest => "MUST_REATTEST",
            Self::Banned => "BANNED",
            Self::NotAnAgent => "NOT_AN_AGENT",
            Self::ProtocolMismatch => "PROTOCOL_MISMATCH",
            Self::UnknownRequiredFeature => "UNKNOWN_REQUIRED_FEATURE",
            Self::TokenUnknown => "TOKEN_UNKNOWN",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenUsed => "TOKEN_USED",
            Self::ProofInvalid => "PROOF_INVALID",
            Self::CertificateRefused => "CERTIFICATE_REFUSED",
            Self::CertificateUsed => "CERTIFICATE_USED",
            Self::ServiceAccountRefused => "SERVICE_ACCOUNT_REFUSED",
            Self::PodUsed => "POD_USED",
            Self::CsrInvalid => "CSR_INVALID",
            Self::AudienceInvalid => "AUDIENCE_INVALID",
            Self::EntryNotFound => "ENTRY_NOT_FOUND",
            Self::IssuerEndsTooSoon => "ISSUER_ENDS_TOO_SOON",
            Self::TtlAboveMax => "TTL_ABOVE_MAX",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::ClockUntrusted => "CLOCK_UNTRUSTED",
            Self::NotReady => "NOT_READY",
            Self::NoCredential => "NO_CREDENTIAL",
            Self::CredentialInvalid => "CREDENTIAL_INVALID",
            Self::NotRenewable => "NOT_RENEWABLE",
            Self::LineEnded => "LINE_ENDED",
            Self::NoLongerGranted => "NO_LONGER_GRANTED",
            Self::RequestInvalid => "REQUEST_INVALID",
            Self::TtlTooShort => "TTL_TOO_SHORT",
            Self::RateExceeded => "RATE_EXCEEDED",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::ReviewUnavailable => "REVIEW_UNAVAILABLE",
            Self::ImpersonationRefused => "IMPERSONATION_REFUSED",
            Self::PodsUnavailable => "PODS_UNAVAILABLE",
            Self::NoLivePod => "NO_LIVE_POD",
            Self::Overloaded => "OVERLOADED",
            Self::IdentityRevoked => "IDENTITY_REVOKED",
            Self::NotDownstream => "NOT_DOWNSTREAM",
        }
    }
}

/// An error that a peer is told about: which reason, and what to say.
pub(crate) trait Told: std::error::Error {
    /// The stable reason; `None` is a bug of ours, told as INTERNAL without detail.
    fn reason(&self) -> Option<ErrorReason>;

    /// How long the peer should wait at least before it tries again, where the error itself knows.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
