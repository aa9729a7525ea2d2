//! The values of labels: what a metric is told of.

use mtls::HandshakeOutcome;

/// Whose certificate ends when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The trust anchor.
    Root,
    /// The issuing CA.
    Issuer,
    /// What this CA shows to agents.
    Serving,
}

/// What a certificate is issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An entry.
    Workload,
    /// A caller in Istio's way.
    Caller,
    /// The Secret of a service account.
    AccountSecret,
    /// An agent SVID.
    Agent,
    /// The CA's own serving certificate.
    Serving,
}

/// What is called in Istio's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IstioMethod {
    /// `IstioCertificateService/CreateCertificate`.
    CreateCertificate,
    /// `IstioCAService/HandleCSR`.
    HandleCsr,
}

/// How a node attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttestationKind {
    /// By join token.
    JoinToken,
    /// By a certificate of a provisioning authority.
    Certificate,
    /// By the token of its agent's pod.
    ServiceAccount,
    /// By its registered node key.
    Reattestation,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionOutcome {
    /// Served; the client showed an SVID.
    Identified,
    /// Served; the client showed nothing.
    Anonymous,
    /// Closed after the handshake: no keying material.
    Unserved,
}

pub(super) fn handshake_label(outcome: HandshakeOutcome) -> &'static str {
    match outcome {
        HandshakeOutcome::Finished => "finished",
        HandshakeOutcome::PeerRejected => "peer_rejected",
        HandshakeOutcome::PeerAlert => "peer_alert",
        HandshakeOutcome::Protocol => "protocol",
        HandshakeOutcome::Io => "io",
        HandshakeOutcome::Timeout => "timeout",
        HandshakeOutcome::EvictedSilent => "evicted_silent",
        HandshakeOutcome::EvictedStalled => "evicted_stalled",
        HandshakeOutcome::AddressEvictedSilent => "address_evicted_silent",
        HandshakeOutcome::AddressEvictedStalled => "address_evicted_stalled",
        HandshakeOutcome::Config => "config",
    }
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
            Self::Serving => "serving",
        }
    }
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Caller => "caller",
            Self::AccountSecret => "account_secret",
            Self::Agent => "agent",
            Self::Serving => "serving",
        }
    }
}

impl IstioMethod {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CreateCertificate => "create_certificate",
            Self::HandleCsr => "handle_csr",
        }
    }
}

impl AttestationKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::JoinToken => "join_token",
            Self::Certificate => "certificate",
            Self::ServiceAccount => "service_account",
            Self::Reattestation => "reattestation",
        }
    }
}

impl ConnectionOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Identified => "identified",
            Self::Anonymous => "anonymous",
            Self::Unserved => "unserved",
        }
    }
}
