//! Why the node cannot go on without an operator, and what to do about it.

use crate::ca_client::fault::CallFault;
use crate::state::StateError;
use crate::token::TokenError;

/// Why the node cannot go on without an operator.
#[derive(Debug, thiserror::Error)]
pub enum NodeFailure {
    /// The CA is not the one whose root was pinned. Nothing was sent to it.
    #[error(
        "the CA at {address} is not the pinned one: ca_fingerprint is {expected}, the root it sent has {found}. The join token \
         was not sent"
    )]
    Fingerprint {
        /// Where.
        address: String,
        /// The pin, in hex.
        expected: String,
        /// What the CA sent, in hex.
        found: String,
    },
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The CA refuses the token.
    #[error("{0}")]
    TokenRefused(CallFault),
    /// The node has never attested and there is nothing to do so by.
    #[error(
        "this node has never attested and nothing is configured to do so by: set join_token_file (`signet token create` prints the \
         command), or certificate_directory or service_account_token_file in [attestation]"
    )]
    NoFirstProof,
    /// Nothing says which CA to trust.
    #[error("nothing says which CA to trust: set ca_fingerprint or trust_bundle (`signet token create` prints the fingerprint)")]
    NoTrust,
    /// The bundle file cannot be used.
    #[error("trust_bundle {path}: {cause}")]
    TrustBundle {
        /// Which file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The roots of a CA of Istio cannot be used.
    #[error("istio.roots: {0}")]
    IstioRoots(String),
    /// What the configuration names for Vault cannot be used.
    #[error("vault.{0}")]
    Vault(::vault::VaultError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system gives no timer.
    #[error("cannot make a timer: {0}")]
    Timer(std::io::Error),
}

impl NodeFailure {
    /// What an operator does about it, where the failure's own words do not say so.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Fingerprint { .. } => Some("compare with the fingerprint that `signet status` shows on the CA"),
            Self::Token(TokenError::Read { .. } | TokenError::Malformed { .. }) => {
                Some("make a token with `signet token create --node NAME` on the CA, and run the command that it prints")
            }
            // The CA's words say what to do about a token that it refuses.
            Self::Token(TokenError::WritableByOthers { .. })
            | Self::TokenRefused(_)
            | Self::NoFirstProof
            | Self::NoTrust
            | Self::TrustBundle { .. }
            | Self::IstioRoots(_)
            | Self::Vault(_)
            | Self::State(_)
            | Self::Timer(_) => None,
        }
    }
}
