//! The stable reasons by which a peer is told why it is refused; which error has which is `rpc::status`'s.

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
    CsrInvalid,
    EntryNotFound,
    IssuerEndsTooSoon,
    TtlAboveMax,
    StoreUnavailable,
    NotReady,
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
            Self::CsrInvalid => "CSR_INVALID",
            Self::EntryNotFound => "ENTRY_NOT_FOUND",
            Self::IssuerEndsTooSoon => "ISSUER_ENDS_TOO_SOON",
            Self::TtlAboveMax => "TTL_ABOVE_MAX",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::NotReady => "NOT_READY",
        }
    }
}

/// An error that a peer is told about: which reason, and what to say.
pub(crate) trait Told: std::error::Error {
    /// The stable reason; `None` is a bug of ours, told as INTERNAL without detail.
    fn reason(&self) -> Option<ErrorReason>;
}
