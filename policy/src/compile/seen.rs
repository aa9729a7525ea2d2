//! What a request shows to an index.

use std::net::IpAddr;

use super::keys::{Attribute, port_bytes};
use crate::authorization::Facts;

/// A value of an attribute.
#[derive(Clone, Copy)]
pub(super) enum Seen<'a> {
    Bytes(&'a [u8]),
    Address(IpAddr),
}

/// Each value of an attribute that a match could rest on. `text` is room to write in.
pub(super) fn each(attribute: Attribute, facts: &Facts<'_>, text: &mut Vec<u8>, mut see: impl FnMut(Seen<'_>)) {
    let http = facts.http.as_ref();
    let token = http.and_then(|http| http.token);
    let connection = facts.connection;
    let bytes: Option<&[u8]> = match attribute {
        Attribute::Principal => facts.peer.map(|peer| peer.principal().as_bytes()),
        Attribute::TrustDomain => facts.peer.map(|peer| peer.trust_domain().as_bytes()),
        Attribute::Sni => connection.sni,
        Attribute::Method => http.and_then(|http| http.request.method),
        Attribute::Path => http.and_then(|http| http.path()),
        Attribute::Issuer => token.and_then(|token| token.issuer()).map(str::as_bytes),
        Attribute::Subject => token.and_then(|token| token.subject()).map(str::as_bytes),
        Attribute::Port => return connection.destination_port.into_iter().for_each(|port| see(Seen::Bytes(&port_bytes(port)))),
        Attribute::SourceIp => return facts.source_ip().into_iter().for_each(|address| see(Seen::Address(address))),
        Attribute::RemoteIp => return facts.remote_ip().into_iter().for_each(|address| see(Seen::Address(address))),
        Attribute::DestinationIp => return connection.destination_ip.into_iter().for_each(|address| see(Seen::Address(address))),
        Attribute::Host => {
            let Some(authority) = http.and_then(|http| http.request.authority) else { return };
            text.clear();
            text.extend(authority.iter().map(u8::to_ascii_lowercase));
            return see(Seen::Bytes(text));
        }
        Attribute::Namespace => {
            let namespaces = facts.peer.into_iter().flat_map(|peer| peer.namespaces());
            return namespaces.for_each(|namespace| see(Seen::Bytes(namespace.as_bytes())));
        }
        Attribute::Account => {
            let Some(peer) = facts.peer else { return };
            for namespace in peer.namespaces() {
                for account in peer.accounts() {
                    text.clear();
                    for part in [namespace, "/", account] {
                        text.extend_from_slice(part.as_bytes());
                    }
                    see(Seen::Bytes(text));
                }
            }
            return;
        }
    };
    if let Some(bytes) = bytes {
        see(Seen::Bytes(bytes));
    }
}
