//! Why a handshake failed, from this end's view.

use std::io;
use std::time::Duration;

use identity::SpiffeId;
use pki::SvidError;
use rustls::CertificateError;

use crate::PeerMatcher;

/// Why a handshake failed, by who is at fault; `Display` names the fault and, for time, both clocks.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// This end refuses the peer.
    #[error("peer rejected: {why}")]
    PeerRejected {
        /// The check that failed, with what was seen and what was wanted.
        #[source]
        why: PeerRejection,
    },
    /// The peer refuses this end, and said so by an alert (RFC 8446 section 6.2). The reason is in the peer's log.
    #[error("the peer refused the handshake with the TLS alert {alert}")]
    PeerAlert {
        /// The alert's name.
        alert: String,
    },
    /// What the peer sent is not the TLS that this end speaks.
    #[error("the peer does not speak TLS 1.3 as expected: {what}")]
    Protocol {
        /// What was wrong.
        what: String,
    },
    /// The connection broke.
    #[error("the connection failed during the handshake: {source}")]
    Io {
        /// What the system says.
        source: io::Error,
    },
    /// The handshake took too long.
    #[error("the handshake was not finished after {after:?}")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// This end's own credentials cannot be used.
    #[error("this end's TLS credentials cannot be used: {what}")]
    Config {
        /// Why.
        what: String,
    },
}

/// Why a peer's certificate is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerRejection {
    /// The chain is no valid SVID under the trusted authorities.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// A valid SVID of somebody else.
    #[error("the peer is {seen}, and {wanted} is wanted")]
    WrongId {
        /// Who it is.
        seen: SpiffeId,
        /// Who was wanted.
        wanted: PeerMatcher,
    },
    /// A certificate is required and none came.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The chain is valid, but the peer did not prove that it holds the key (RFC 8446 section 4.4.3).
    #[error("the peer did not prove possession of its key: {what}")]
    HandshakeSignature {
        /// What was wrong.
        what: String,
    },
}

impl TlsError {
    /// What an I/O error of a handshake says; `rejection` is what the verifier of this handshake found.
    pub(crate) fn from_handshake(error: io::Error, rejection: Option<PeerRejection>) -> Self {
        if let Some(why) = rejection {
            return Self::PeerRejected { why };
        }
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Io { source: error };
        };
        if let rustls::Error::AlertReceived(alert) = tls {
            return Self::PeerAlert { alert: format!("{alert:?}") };
        }
        if matches!(tls, rustls::Error::NoCertificatesPresented) {
            return Self::PeerRejected { why: PeerRejection::NoCertificate };
        }
        // The verifier accepted the chain, so what is invalid is the signature made with its key.
        if let rustls::Error::InvalidCertificate(what) = tls {
            return Self::PeerRejected { why: PeerRejection::HandshakeSignature { what: what.to_string() } };
        }
        Self::Protocol { what: tls.to_string() }
    }
}

impl PeerRejection {
    /// The rustls error whose alert tells the peer most (RFC 8446 section 6.2), without this end's details.
    pub(crate) fn to_alert(&self) -> rustls::Error {
        match self {
            Self::Svid(why) => alert_for(why).into(),
            Self::WrongId { .. } => CertificateError::ApplicationVerificationFailure.into(),
            Self::NoCertificate => rustls::Error::NoCertificatesPresented,
            Self::HandshakeSignature { .. } => CertificateError::BadSignature.into(),
        }
    }
}

/// One of the alerts that name a certificate's fault; `bad_certificate` where none fits better.
fn alert_for(why: &SvidError) -> CertificateError {
    use SvidError as E;
    match why {
        E::Expired { .. } => CertificateError::Expired,
        E::NotYetValid { .. } => CertificateError::NotValidYet,
        E::UnknownAuthority { .. } | E::UnknownRoot { .. } | E::PinnedRootDiffers { .. } | E::PinnedRoot { .. } => {
            CertificateError::UnknownIssuer
        }
        E::Signature => CertificateError::BadSignature,
        E::TrustDomain { .. } | E::ServerName { .. } => CertificateError::ApplicationVerificationFailure,
        E::ExtendedKeyUsage | E::IssuerExtendedKeyUsage => CertificateError::InvalidPurpose,
        E::EmptyChain
        | E::ChainTooLong { .. }
        | E::Certificate { .. }
        | E::UriSanCount { .. }
        | E::SpiffeId { .. }
        | E::NoPath { .. }
        | E::LeafIsCa
        | E::LeafNameConstraints
        | E::KeyUsageMissing
        | E::KeyUsageNotCritical
        | E::DigitalSignatureMissing
        | E::LeafMaySignCertificates
        | E::LeafMaySignRevocations
        | E::UnknownCriticalExtension { .. }
        | E::IntermediateNotCa
        | E::IntermediateKeyUsage { .. }
        | E::IntermediateUriSan { .. }
        | E::IntermediateNoRevocation { .. }
        | E::PathLength
        | E::NameConstraints
        | E::Path { .. }
        | E::KeyMismatch => CertificateError::BadEncoding,
    }
}
