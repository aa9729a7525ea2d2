//! Which connections are taken: Istio PeerAuthentication.

use crate::decision::Reason;
use crate::mesh::Mesh;
use crate::objects::{Labels, MtlsMode, PeerAuthentication};
use crate::request::{Connection, Peer, Target, Transport};

/// Which connections are taken on a port, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerMode<'p> {
    /// The mode, which is never [`MtlsMode::Unset`].
    pub mode: MtlsMode,
    /// How near to the port it was said.
    pub level: Level,
    /// Who said it; absent where nobody did.
    pub by: Option<&'p PeerAuthentication>,
}

/// How near to a port a mode was said; the nearest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nobody said anything: PERMISSIVE.
    Default,
    /// For the mesh: in the root namespace, without a selector.
    Mesh,
    /// For the namespace.
    Namespace,
    /// For the workload, by a selector.
    Workload,
    /// For the port of the workload.
    Port,
}

/// The mode of a port of a workload.
///
/// Of several policies of one level the oldest counts, whole: nothing is merged. A selector in the root namespace selects nothing. A
/// level that leaves the mode unset takes that of the wider one.
#[must_use]
pub fn peer_mode<'p>(policies: &'p [PeerAuthentication], mesh: &Mesh, target: &Target<'_>, port: Option<u16>) -> PeerMode<'p> {
    let mut found = PeerMode { mode: MtlsMode::Permissive, level: Level::Default, by: None };
    for (level, oldest) in counting(policies.iter(), mesh, target) {
        let of_port = port.and_then(|port| oldest.port_level.get(&port)).filter(|_| level == Level::Workload);
        for (mode, level) in [(Some(&oldest.mode), level), (of_port, Level::Port)] {
            if let Some(mode) = mode.filter(|mode| **mode != MtlsMode::Unset) {
                found = PeerMode { mode: *mode, level, by: Some(oldest) };
            }
        }
    }
    found
}

/// The policies that count for a workload, one for each level that has any, the widest first.
pub(crate) fn counting<'p>(
    policies: impl Iterator<Item = &'p PeerAuthentication> + Clone,
    mesh: &Mesh,
    target: &Target<'_>,
) -> impl Iterator<Item = (Level, &'p PeerAuthentication)> {
    [Level::Mesh, Level::Namespace, Level::Workload].into_iter().filter_map(move |level| {
        let here = policies.clone().filter(|policy| level_of(policy, mesh, target) == Some(level));
        let oldest = here.min_by_key(|policy| {
            let metadata = &policy.metadata;
            // Whoever has no age is the youngest.
            (metadata.created.is_none(), metadata.created, metadata.name.as_str())
        });
        oldest.map(|oldest| (level, oldest))
    })
}

fn level_of(policy: &PeerAuthentication, mesh: &Mesh, target: &Target<'_>) -> Option<Level> {
    let namespace = policy.metadata.namespace.as_str();
    let labels = policy.selector.as_ref().filter(|labels| !labels.is_empty());
    match (namespace == mesh.root_namespace, namespace == target.namespace, labels) {
        (true, _, None) => Some(Level::Mesh),
        (false, true, None) => Some(Level::Namespace),
        (false, true, Some(labels)) => has_all(target.labels, labels).then_some(Level::Workload),
        (true, _, Some(_)) | (false, false, _) => None,
    }
}

fn has_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether a connection is one that a mode takes.
///
/// # Errors
/// The reason for which it is refused.
pub fn judge_connection(mode: MtlsMode, connection: &Connection<'_>) -> Result<(), Reason> {
    match (connection.transport, &connection.peer, mode) {
        (Transport::Tls, Peer::Unreadable(fault), _) => Err(Reason::PeerUnreadable(fault.clone())),
        (Transport::Plaintext, _, MtlsMode::Strict) => Err(Reason::PlaintextOnStrict),
        (Transport::Tls, Peer::Absent, MtlsMode::Strict) => Err(Reason::NoClientCertificate),
        (Transport::Plaintext, _, MtlsMode::Unset | MtlsMode::Disable | MtlsMode::Permissive)
        | (Transport::Tls, Peer::Absent, MtlsMode::Unset | MtlsMode::Disable | MtlsMode::Permissive)
        | (Transport::Tls, Peer::Identity(_), _) => Ok(()),
    }
}

/// What the first bytes of a connection show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes<'a> {
    /// No TLS handshake.
    Plaintext,
    /// A TLS handshake that offers these protocols.
    Tls(&'a [&'a [u8]]),
}

/// What a port was declared to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortProtocol {
    /// HTTP.
    Http,
    /// Anything else, or it is not known yet.
    Other,
}

/// How a connection is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    /// TLS is ended here, and a client certificate is demanded.
    MutualTls,
    /// As plaintext.
    Plaintext,
    /// Its TLS is the application's own: the bytes are passed on unread, and its peer is nobody.
    PassThrough,
    /// Not at all.
    Refused,
}

/// What clients of a mesh offer, by which their TLS is told from that of applications.
const MESH_PROTOCOLS: [&[u8]; 5] = [b"istio", b"istio-peer-exchange", b"istio-http/1.0", b"istio-http/1.1", b"istio-h2"];

/// How a connection is taken under a mode.
#[must_use]
pub fn chain(mode: MtlsMode, first: FirstBytes<'_>, port: PortProtocol) -> Chain {
    match (mode, first) {
        (MtlsMode::Strict, FirstBytes::Plaintext) => Chain::Refused,
        (MtlsMode::Strict, FirstBytes::Tls(_)) => Chain::MutualTls,
        (MtlsMode::Disable | MtlsMode::Permissive | MtlsMode::Unset, FirstBytes::Plaintext) => Chain::Plaintext,
        (MtlsMode::Permissive | MtlsMode::Unset, FirstBytes::Tls(offered))
            if offered.iter().any(|protocol| MESH_PROTOCOLS.contains(protocol)) =>
        {
            Chain::MutualTls
        }
        (MtlsMode::Permissive | MtlsMode::Unset, FirstBytes::Tls(_)) if port == PortProtocol::Http => Chain::Refused,
        (MtlsMode::Disable | MtlsMode::Permissive | MtlsMode::Unset, FirstBytes::Tls(_)) => Chain::PassThrough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_tells_the_mesh_by_what_it_offers() {
        use {Chain as C, MtlsMode as M};
        let (http, other) = (PortProtocol::Http, PortProtocol::Other);
        let plain = FirstBytes::Plaintext;
        let mesh = FirstBytes::Tls(&[b"istio-peer-exchange", b"istio"]);
        let own = FirstBytes::Tls(&[b"h2", b"http/1.1"]);
        let silent = FirstBytes::Tls(&[]);
        for (mode, first, port, expected) in [
            (M::Strict, plain, other, C::Refused),
            (M::Strict, mesh, other, C::MutualTls),
            (M::Strict, own, http, C::MutualTls),
            (M::Permissive, plain, http, C::Plaintext),
            (M::Permissive, mesh, http, C::MutualTls),
            (M::Permissive, own, http, C::Refused),
            (M::Permissive, silent, http, C::Refused),
            (M::Permissive, own, other, C::PassThrough),
            (M::Permissive, silent, other, C::PassThrough),
            (M::Disable, plain, http, C::Plaintext),
            (M::Disable, mesh, other, C::PassThrough),
            (M::Disable, own, http, C::PassThrough),
        ] {
            assert_eq!(chain(mode, first, port), expected, "{mode:?} {first:?} {port:?}");
        }
        for protocol in MESH_PROTOCOLS {
            assert_eq!(chain(M::Permissive, FirstBytes::Tls(&[protocol]), http), C::MutualTls);
        }
    }

    #[test]
    fn strict_takes_whoever_shows_a_certificate() {
        let peer = Peer::of_uri_names(&[b"spiffe://td/ns/a/sa/b"]);
        let unreadable = Peer::of_uri_names(&[]);
        let connection = |transport, peer: &Peer| Connection { transport, peer: peer.clone(), ..Connection::default() };
        for mode in [MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict] {
            let strict = mode == MtlsMode::Strict;
            let judged =
                |transport, peer: &Peer| judge_connection(mode, &connection(transport, peer)).map_err(|reason| reason.as_str());
            assert_eq!(judged(Transport::Tls, &peer), Ok(()));
            assert_eq!(judged(Transport::Plaintext, &Peer::Absent), if strict { Err("plaintext_on_strict") } else { Ok(()) });
            assert_eq!(judged(Transport::Plaintext, &peer), if strict { Err("plaintext_on_strict") } else { Ok(()) });
            assert_eq!(judged(Transport::Tls, &Peer::Absent), if strict { Err("no_client_certificate") } else { Ok(()) });
            assert_eq!(judged(Transport::Tls, &unreadable), Err("peer_unreadable"));
        }
    }
}
