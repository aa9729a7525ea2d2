//! What comes of a connection by what its client speaks and what its server takes.

use super::ClientSettings;
use crate::authentication::PortProtocol;
use crate::objects::{AuthnPolicy, ClientTlsMode, MtlsMode, PeerMethod};

/// Whether clients speak mutual TLS of the mesh where no rule says what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoMtls {
    /// They speak plaintext, as always in Istio 1.1.
    Off,
    /// They do, to endpoints of the mesh that take it (MeshConfig `enableAutoMtls`).
    On,
}

/// What the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerMode {
    /// Plaintext; TLS is the application's own matter. Also whoever is not of the mesh.
    Plaintext,
    /// Plaintext, and mutual TLS of the mesh.
    Permissive,
    /// Mutual TLS.
    Strict,
}

/// What comes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meeting {
    /// It comes about in plaintext, and the server learns nobody's name.
    Plaintext,
    /// It comes about over mutual TLS, and the server learns who is there.
    MutualTls,
    /// It comes about over mutual TLS if the server's CA vouches for the certificate that the client names.
    MutualTlsIfTrusted,
    /// The server ends plaintext.
    PlaintextRejected,
    /// The bytes of TLS reach the application, which may or may not understand them.
    TlsToApplication,
    /// The bytes of TLS reach what reads HTTP.
    ProtocolError,
    /// The server demands a certificate, and the client has none to show.
    NoClientCertificate,
    /// The client waits for a handshake that the server does not answer.
    HandshakeFails,
}

impl ServerMode {
    /// That of Istio PeerAuthentication; PERMISSIVE where none is set.
    #[must_use]
    pub fn of(mode: MtlsMode) -> Self {
        match mode {
            MtlsMode::Disable => Self::Plaintext,
            MtlsMode::Unset | MtlsMode::Permissive => Self::Permissive,
            MtlsMode::Strict => Self::Strict,
        }
    }

    /// That of an Istio 1.1 Policy; plaintext where there is none, or where it asks no peer for mutual TLS.
    #[must_use]
    pub fn of_v1alpha1(policy: Option<&AuthnPolicy>) -> Self {
        let modes = policy.into_iter().flat_map(|policy| &policy.peers);
        let first = modes.filter_map(|method| match method {
            PeerMethod::Mtls { permissive: false } => Some(Self::Strict),
            PeerMethod::Mtls { permissive: true } => Some(Self::Permissive),
            PeerMethod::Jwt(_) => None,
        });
        first.take(1).next().unwrap_or(Self::Plaintext)
    }
}

/// What a client speaks. What a rule says wins; `in_mesh` is whether the endpoint is known to speak mutual TLS of the mesh.
#[must_use]
pub fn client_mode(settings: &ClientSettings<'_>, auto: AutoMtls, server: ServerMode, in_mesh: bool) -> ClientTlsMode {
    match (settings.tls, auto, server) {
        (Some(tls), _, _) => tls.mode,
        (None, AutoMtls::On, ServerMode::Permissive | ServerMode::Strict) if in_mesh => ClientTlsMode::IstioMutual,
        (None, AutoMtls::On | AutoMtls::Off, _) => ClientTlsMode::Disable,
    }
}

/// What comes of a connection. Clients with TLS of their own do not offer the protocol by which a PERMISSIVE server knows the mesh.
#[must_use]
pub fn meet(client: ClientTlsMode, server: ServerMode, port: PortProtocol) -> Meeting {
    use {ClientTlsMode as C, ServerMode as S};
    match (client, server, port) {
        (C::Disable, S::Plaintext | S::Permissive, _) => Meeting::Plaintext,
        (C::Disable, S::Strict, _) => Meeting::PlaintextRejected,
        (C::Simple | C::Mutual, S::Permissive, PortProtocol::Http) => Meeting::ProtocolError,
        (C::Simple | C::Mutual, S::Plaintext, _) | (C::Simple | C::Mutual, S::Permissive, PortProtocol::Other) => {
            Meeting::TlsToApplication
        }
        (C::Simple, S::Strict, _) => Meeting::NoClientCertificate,
        (C::Mutual, S::Strict, _) => Meeting::MutualTlsIfTrusted,
        (C::IstioMutual, S::Plaintext, _) => Meeting::HandshakeFails,
        (C::IstioMutual, S::Permissive | S::Strict, _) => Meeting::MutualTls,
    }
}

impl Meeting {
    /// Whether requests come through it; where that hangs on a CA that is not known here, they may.
    #[must_use]
    pub fn connects(self) -> bool {
        matches!(self, Self::Plaintext | Self::MutualTls | Self::MutualTlsIfTrusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::{Chain, FirstBytes, chain};

    const CLIENTS: [ClientTlsMode; 4] =
        [ClientTlsMode::Disable, ClientTlsMode::Simple, ClientTlsMode::Mutual, ClientTlsMode::IstioMutual];

    /// The whole table, client by client: plaintext, PERMISSIVE, STRICT.
    #[test]
    fn every_client_meets_every_server() {
        use {Meeting as M, PortProtocol as P};
        for (client, port, expected) in [
            (ClientTlsMode::Disable, P::Http, [M::Plaintext, M::Plaintext, M::PlaintextRejected]),
            (ClientTlsMode::Disable, P::Other, [M::Plaintext, M::Plaintext, M::PlaintextRejected]),
            (ClientTlsMode::Simple, P::Http, [M::TlsToApplication, M::ProtocolError, M::NoClientCertificate]),
            (ClientTlsMode::Simple, P::Other, [M::TlsToApplication, M::TlsToApplication, M::NoClientCertificate]),
            (ClientTlsMode::Mutual, P::Http, [M::TlsToApplication, M::ProtocolError, M::MutualTlsIfTrusted]),
            (ClientTlsMode::Mutual, P::Other, [M::TlsToApplication, M::TlsToApplication, M::MutualTlsIfTrusted]),
            (ClientTlsMode::IstioMutual, P::Http, [M::HandshakeFails, M::MutualTls, M::MutualTls]),
            (ClientTlsMode::IstioMutual, P::Other, [M::HandshakeFails, M::MutualTls, M::MutualTls]),
        ] {
            let found = [ServerMode::Plaintext, ServerMode::Permissive, ServerMode::Strict].map(|mode| meet(client, mode, port));
            assert_eq!(found, expected, "{client:?} {port:?}");
        }
        let through = [M::Plaintext, M::MutualTls, M::MutualTlsIfTrusted];
        for meeting in
            CLIENTS.iter().flat_map(|client| [ServerMode::Permissive, ServerMode::Strict].map(|s| meet(*client, s, P::Http)))
        {
            assert_eq!(meeting.connects(), through.contains(&meeting));
        }
    }

    /// What a client meets is what a server does with its first bytes.
    #[test]
    fn servers_do_as_the_table_says() {
        for port in [PortProtocol::Http, PortProtocol::Other] {
            for mode in [MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict] {
                for client in CLIENTS {
                    let first = match client {
                        ClientTlsMode::Disable => FirstBytes::Plaintext,
                        ClientTlsMode::Simple | ClientTlsMode::Mutual => FirstBytes::Tls(&[b"h2"]),
                        ClientTlsMode::IstioMutual => FirstBytes::Tls(&[b"istio", b"h2"]),
                    };
                    let taken = match meet(client, ServerMode::of(mode), port) {
                        Meeting::Plaintext => Chain::Plaintext,
                        Meeting::MutualTls | Meeting::MutualTlsIfTrusted | Meeting::NoClientCertificate => Chain::MutualTls,
                        Meeting::PlaintextRejected | Meeting::ProtocolError => Chain::Refused,
                        Meeting::TlsToApplication | Meeting::HandshakeFails => Chain::PassThrough,
                    };
                    assert_eq!(chain(mode, first, port), taken, "{client:?} {mode:?} {port:?}");
                }
            }
        }
        assert_eq!(ServerMode::of(MtlsMode::Unset), ServerMode::Permissive);
    }
}
