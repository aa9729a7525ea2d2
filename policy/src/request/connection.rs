//! What is known of a connection.

use std::net::IpAddr;

use identity::SpiffeId;

use super::Peer;

/// What is known of a connection when it was accepted.
#[derive(Clone, Debug, Default)]
pub struct Connection<'a> {
    /// The address of whoever is at the other end of the connection (Envoy `direct_remote_ip`).
    pub source_ip: Option<IpAddr>,
    /// The address of the client, as a trusted hop tells it by `x-forwarded-for` ([`super::client_address`]) or the PROXY protocol (Envoy
    /// `remote_ip`). Where it is absent, nobody stands between, and `source_ip` counts.
    pub remote_ip: Option<IpAddr>,
    /// The address that was asked for.
    pub destination_ip: Option<IpAddr>,
    /// The port that the proxy sees, which inbound is that of the workload.
    pub destination_port: Option<u16>,
    /// The server name of the TLS handshake.
    pub sni: Option<&'a [u8]>,
    /// The protocol that the TLS handshake agreed on.
    pub alpn: Option<&'a [u8]>,
    /// Whether TLS was ended here.
    pub transport: Transport,
    /// Who showed a certificate.
    pub peer: Peer,
}

/// Whether TLS was ended here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// It was not: nobody proved who they are, whatever else is said.
    #[default]
    Plaintext,
    /// It was.
    Tls,
}

impl Connection<'_> {
    /// The identity that the peer proved, if it proved one.
    #[must_use]
    pub fn identity(&self) -> Option<&SpiffeId> {
        match (self.transport, &self.peer) {
            (Transport::Tls, Peer::Identity(id)) => Some(id),
            (Transport::Tls, Peer::Absent | Peer::Unreadable(_)) | (Transport::Plaintext, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_counts_over_tls_alone() {
        let peer = Peer::of_uri_names(&[b"spiffe://td/ns/a/sa/b"]);
        let plain = Connection { peer: peer.clone(), ..Connection::default() };
        assert_eq!(plain.identity(), None);
        let tls = Connection { peer, transport: Transport::Tls, ..Connection::default() };
        assert_eq!(tls.identity().map(SpiffeId::as_str), Some("spiffe://td/ns/a/sa/b"));
    }
}
