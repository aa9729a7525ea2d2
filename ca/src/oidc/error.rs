//! Why a token is not taken: for the log in full, for the caller in two words, for the metrics by a closed set.

use pki::{JwtError, Timestamp};

use super::template::{MappingError, excerpt};

/// Why a token proves nothing now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token is not good. The caller is told only that: which check failed is for the log.
    #[error("the token is refused: {0}")]
    Unauthenticated(TokenRefusal),
    /// Whether it is good cannot be told now. The same token may be taken later.
    #[error("the token cannot be judged now: {0}")]
    Unavailable(KeysUnavailable),
}

/// Which check a token failed. No variant carries the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not three parts of base64url with a JSON object in the middle, or over its size.
    #[error("it is no JSON Web Token: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// No rule is for its issuer.
    #[error("no [[oidc]] rule is for the issuer {issuer:?}; the issuer of a rule is compared byte for byte")]
    UnknownIssuer {
        /// Its `iss`, cut to a length that a log can take.
        issuer: String,
    },
    /// Its form, its key, its signature or a time in it.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// What is signed names another issuer than the rule.
    #[error("it is of another issuer than its rule")]
    Issuer,
    /// A claim is missing or of the wrong kind.
    #[error("its {name} is not {expected}")]
    Claim {
        /// The claim.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// It is meant for others.
    #[error("its aud holds none of the audiences of its rule: {}", wanted.join(", "))]
    Audience {
        /// Those of the rule.
        wanted: Vec<String>,
    },
    /// Its time is over.
    #[error("it expired at {expired_at}; it is {now} here")]
    Expired {
        /// Its `exp`.
        expired_at: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("its {name} is {from}; it is {now} here")]
    NotYetValid {
        /// `nbf` or `iat`.
        name: &'static str,
        /// When it begins.
        from: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its claims give no identity.
    #[error("{0}")]
    Mapping(#[from] MappingError),
}

/// Why the keys of an issuer are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the issuer {issuer:?} are not known: {cause}")]
pub struct KeysUnavailable {
    /// Of the rule.
    pub issuer: String,
    /// What went wrong the last time they were looked up.
    pub cause: String,
}

impl TokenRefusal {
    pub(crate) fn unknown_issuer(issuer: &str) -> Self {
        Self::UnknownIssuer { issuer: excerpt(issuer) }
    }

    /// Which kind of check, for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::UnknownIssuer { .. } | Self::Issuer => "issuer",
            Self::Token(JwtError::UnknownKey { .. }) => "unknown_key",
            Self::Claim { .. } | Self::Token(JwtError::Claim { .. }) => "claim",
            Self::Token(_) => "signature",
            Self::Audience { .. } => "audience",
            Self::Expired { .. } | Self::NotYetValid { .. } => "time",
            Self::Mapping(_) => "mapping",
        }
    }
}

impl From<TokenRefusal> for TokenError {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Unauthenticated(refusal)
    }
}

impl From<KeysUnavailable> for TokenError {
    fn from(unavailable: KeysUnavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}
