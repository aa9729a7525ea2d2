//! Whether the server is who was meant: secure naming.

use crate::mesh::Mesh;
use crate::objects::{ClientTls, ClientTlsMode};
use crate::request::{Peer, PeerFault};

use super::AutoMtls;

/// The names of a server's certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerNames<'a> {
    /// Its URIs.
    pub uris: &'a [&'a [u8]],
    /// Its DNS names.
    pub dns: &'a [&'a [u8]],
}

/// Why a server is not who was meant. The client ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingFault {
    /// It is somebody else.
    #[error("the certificate of the server has none of the names that are expected")]
    NotExpected,
    /// Nobody can tell who it is by its URIs, and no DNS name of it is expected.
    #[error(transparent)]
    Unreadable(#[from] PeerFault),
}

/// Who vouches for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerVerification<'p> {
    /// There is no TLS.
    NoTls,
    /// Nobody: anyone in between can be the server.
    Unverified,
    /// The CA of the mesh.
    Mesh,
    /// The CAs of the operating system.
    System,
    /// What the rule names: a file, or a Secret.
    Named(&'p str),
}

/// Who vouches for the server by these settings. Istio 1.1 ([`AutoMtls::Off`]) verified nothing where no CA was named.
#[must_use]
pub fn server_verification(tls: &ClientTls, auto: AutoMtls) -> ServerVerification<'_> {
    match tls.mode {
        ClientTlsMode::Disable => ServerVerification::NoTls,
        ClientTlsMode::IstioMutual => ServerVerification::Mesh,
        ClientTlsMode::Simple | ClientTlsMode::Mutual if tls.insecure_skip_verify => ServerVerification::Unverified,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => match (tls.ca_certificates.as_str(), tls.credential_name.as_str(), auto)
        {
            ("", "", AutoMtls::Off) => ServerVerification::Unverified,
            ("", "", AutoMtls::On) => ServerVerification::System,
            ("", secret, _) => ServerVerification::Named(secret),
            (file, _, _) => ServerVerification::Named(file),
        },
    }
}

/// The names of which the server must have one; absent where none is asked for. `accounts` are the service accounts behind the host, by
/// namespace and name; `tls` is absent where no rule says anything and mutual TLS of the mesh is spoken all the same.
///
/// Mutual TLS of the mesh asks for the accounts in the trust domain of the mesh and its aliases, and where there are none, nobody is the
/// server (Istio takes anyone then).
#[must_use]
pub fn expected_names(tls: Option<&ClientTls>, mesh: &Mesh, accounts: &[(&str, &str)]) -> Option<Vec<String>> {
    let mode = tls.map_or(ClientTlsMode::IstioMutual, |tls| tls.mode);
    let named = tls.map(|tls| tls.subject_alt_names.clone()).filter(|names| !names.is_empty());
    match (mode, named) {
        (ClientTlsMode::Disable, _) | (ClientTlsMode::Simple | ClientTlsMode::Mutual, None) => None,
        (_, Some(named)) => Some(named),
        (ClientTlsMode::IstioMutual, None) => {
            let domains = || std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
            let names = accounts.iter().flat_map(|(namespace, account)| {
                domains().map(move |domain| format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
            });
            Some(names.collect())
        }
    }
}

/// Whether a server whose certificate was verified is one of those that are expected.
///
/// # Errors
/// [`NamingFault`].
pub fn judge_server(expected: &[String], server: ServerNames<'_>) -> Result<(), NamingFault> {
    let has_dns = |name: &String| server.dns.iter().any(|presented| is_dns_name(presented, name));
    if expected.iter().any(has_dns) {
        return Ok(());
    }
    match Peer::of_uri_names(server.uris) {
        Peer::Identity(id) if expected.iter().any(|name| name == id.as_str()) => Ok(()),
        Peer::Unreadable(fault) => Err(NamingFault::Unreadable(fault)),
        Peer::Identity(_) | Peer::Absent => Err(NamingFault::NotExpected),
    }
}

/// Whether a DNS name of a certificate names a host. A star stands for one label (CVE-2020-15104), the first (RFC 6125 section 6.4.3).
fn is_dns_name(presented: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    match presented.strip_prefix(b"*") {
        Some(domain) if domain.first() == Some(&b'.') => {
            let dot = name.iter().position(|byte| *byte == b'.');
            let behind = dot.filter(|at| *at > 0).and_then(|at| name.get(at..));
            behind.is_some_and(|behind| behind.eq_ignore_ascii_case(domain))
        }
        Some(_) => false,
        None => !presented.is_empty() && presented.eq_ignore_ascii_case(name) && !presented.contains(&b':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(mode: ClientTlsMode) -> ClientTls {
        ClientTls { mode, ..ClientTls::default() }
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_mesh_expects_the_accounts_behind_a_host() {
        let mesh = Mesh { trust_domain: "td".to_owned(), trust_domain_aliases: owned(&["old"]), ..Mesh::default() };
        let accounts = [("foo", "a"), ("foo", "b")];
        let all = owned(&[
            "spiffe://td/ns/foo/sa/a",
            "spiffe://old/ns/foo/sa/a",
            "spiffe://td/ns/foo/sa/b",
            "spiffe://old/ns/foo/sa/b",
        ]);
        assert_eq!(expected_names(None, &mesh, &accounts), Some(all.clone()));
        assert_eq!(expected_names(Some(&tls(ClientTlsMode::IstioMutual)), &mesh, &accounts), Some(all));
        assert_eq!(expected_names(None, &mesh, &[]), Some(Vec::new()));
        for mode in [ClientTlsMode::Disable, ClientTlsMode::Simple, ClientTlsMode::Mutual] {
            assert_eq!(expected_names(Some(&tls(mode)), &mesh, &accounts), None, "{mode:?}");
        }
        let named = owned(&["spiffe://x/y"]);
        for mode in [ClientTlsMode::Simple, ClientTlsMode::Mutual, ClientTlsMode::IstioMutual] {
            let tls = ClientTls { subject_alt_names: named.clone(), ..tls(mode) };
            assert_eq!(expected_names(Some(&tls), &mesh, &accounts), Some(named.clone()), "{mode:?}");
        }
    }

    /// Row 36 of the conformance table.
    #[test]
    fn a_server_has_one_of_the_names_or_is_nobody() {
        let expected = owned(&["spiffe://td/ns/foo/sa/a", "web.example.com"]);
        for (uris, dns, meant) in [
            (&["spiffe://td/ns/foo/sa/a"][..], &[][..], true),
            (&["spiffe://td/ns/foo/sa/b"], &[], false),
            (&["spiffe://td/ns/foo/sa/a", "spiffe://td/ns/foo/sa/b"], &[], false),
            (&["spiffe://td/ns/foo/sa/a\0x"], &[], false),
            (&["spiffe://td/ns/foo/sa/ab"], &[], false),
            (&[], &[], false),
            (&[], &["WEB.example.com"], true),
            (&[], &["*.example.com"], true),
            (&[], &["*.com"], false),
            (&[], &["*"], false),
            (&[], &["*eb.example.com"], false),
            (&[], &["web.example.com\0.evil"], false),
            (&[], &["spiffe://td/ns/foo/sa/a"], false),
        ] {
            let uris: Vec<&[u8]> = uris.iter().map(|uri: &&str| uri.as_bytes()).collect();
            let dns: Vec<&[u8]> = dns.iter().map(|name: &&str| name.as_bytes()).collect();
            let server = ServerNames { uris: &uris, dns: &dns };
            assert_eq!(judge_server(&expected, server).is_ok(), meant, "{uris:?} {dns:?}");
            assert!(judge_server(&[], server).is_err());
        }
        // CVE-2020-15104
        let server = ServerNames { uris: &[], dns: &[b"*.example.com"] };
        assert!(judge_server(&owned(&["a.b.example.com"]), server).is_err());
        assert!(judge_server(&owned(&[".example.com"]), server).is_err());
    }

    #[test]
    fn somebody_vouches_for_a_server() {
        use {AutoMtls as A, ServerVerification as V};
        let named = |file: &str, secret: &str| ClientTls {
            ca_certificates: file.to_owned(),
            credential_name: secret.to_owned(),
            ..tls(ClientTlsMode::Simple)
        };
        for (tls, auto, expected) in [
            (tls(ClientTlsMode::Disable), A::On, V::NoTls),
            (tls(ClientTlsMode::IstioMutual), A::Off, V::Mesh),
            (tls(ClientTlsMode::Simple), A::Off, V::Unverified),
            (tls(ClientTlsMode::Mutual), A::Off, V::Unverified),
            (tls(ClientTlsMode::Simple), A::On, V::System),
            (named("ca.pem", ""), A::Off, V::Named("ca.pem")),
            (named("", "secret"), A::On, V::Named("secret")),
            (ClientTls { insecure_skip_verify: true, ..named("ca.pem", "") }, A::On, V::Unverified),
        ] {
            assert_eq!(server_verification(&tls, auto), expected, "{tls:?} {auto:?}");
        }
    }
}
