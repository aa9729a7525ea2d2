//! Handshakes between both sides of this crate; each refusal stands beside the same handshake that passes.

mod documents;
mod fixture;
mod foreign;
mod https;
mod key_exchange;
mod listener;
mod stall;

use std::io::ErrorKind;
use std::time::Duration;

use pki::sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::{ClientAuthentication, ClientTls, PeerMatcher, PeerRejection, ServerTls, ServerTrust, TlsError};
use fixture::{Authority, Bench, clock, handshake, id};

#[tokio::test]
async fn a_matching_pair_speaks_and_each_knows_the_other() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(PeerMatcher::Exact(id("spiffe://example.org/api"))).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.peer().unwrap().id().as_str(), "spiffe://example.org/api");
    assert_eq!(server.peer().unwrap().id().as_str(), "spiffe://example.org/web");
    assert_eq!(client.peer_chain(), bench.server_chain());
    assert_eq!(client.peer().unwrap().leaf().der(), &client.peer_chain()[0]);
    assert_eq!(client.peer().unwrap().serial(), bench.server_svid.borrow().leaf().serial());
    assert_eq!(client.peer().unwrap().not_after(), bench.server_svid.borrow().leaf().not_after());
    assert!(client.peer().unwrap().pinned_root().is_none());
    assert_eq!((client.alpn(), server.alpn()), (Some(&b"h2"[..]), Some(&b"h2"[..])));

    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"ping");
}

#[tokio::test]
async fn the_exporter_is_equal_at_both_ends_and_differs_by_label_and_connection() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(bench.anyone()).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    let exported = client.exporter("EXPORTER-test-a").unwrap();
    assert_eq!(exported, server.exporter("EXPORTER-test-a").unwrap());
    assert_ne!(exported, client.exporter("EXPORTER-test-b").unwrap());
    let (again, _) = bench.handshake(bench.anyone()).await;
    assert_ne!(exported, again.unwrap().exporter("EXPORTER-test-a").unwrap());
}

#[tokio::test]
async fn a_server_with_another_id_is_refused_and_both_ends_say_why() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(PeerMatcher::Exact(id("spiffe://example.org/other"))).await;
    let refused = client.unwrap_err();
    assert!(matches!(&refused, TlsError::PeerRejected { why: PeerRejection::WrongId { .. } }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "peer rejected: the peer is spiffe://example.org/api, and spiffe://example.org/other is wanted"
    );
    assert_eq!(server.unwrap_err().to_string(), "the peer refused the handshake with the TLS alert AccessDenied");
    let (client, server) = bench.handshake(PeerMatcher::Exact(id("spiffe://example.org/api"))).await;
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn a_server_that_is_known_by_name_must_bear_it_under_the_roots_given_for_that() {
    let bench = Bench::new();
    let name = identity::DnsName::parse("api.example.org").unwrap();
    bench.server_svid.send_replace(bench.authority.svid_named("/api", std::slice::from_ref(&name), &[]));
    let stranger = Authority::new("example.org", &bench.clock);
    let attempt = async |name: &str, roots: &Authority| {
        let address: identity::HostPort = format!("{name}:443").parse().unwrap();
        let roots = pki::TrustedRoots::of_bundle(&roots.bundle());
        let trust = ServerTrust::ServerName { name: address.host().clone(), roots };
        let client = ClientTls::new(trust, Some(bench.client_svid.subscribe()), &[b"h2"], bench.clock.clone());
        handshake(&client, &bench.server(ClientAuthentication::Required)).await
    };
    let (client, server) = attempt("api.example.org", &bench.authority).await;
    assert!(client.unwrap().peer().is_none(), "a name makes nobody a peer of a trust domain");
    assert_eq!(server.unwrap().peer().unwrap().id().as_str(), "spiffe://example.org/web");
    let (other, _) = attempt("other.example.org", &bench.authority).await;
    assert_eq!(other.unwrap_err().to_string(), "peer rejected: the certificate does not name other.example.org");
    let (unknown, _) = attempt("api.example.org", &stranger).await;
    assert!(matches!(unknown.unwrap_err(), TlsError::PeerRejected { why: PeerRejection::Svid(_) }));
}

#[tokio::test]
async fn only_a_ca_can_play_the_ca() {
    let bench = Bench::new();
    let ca = || PeerMatcher::SignetCa(bench.authority.domain.clone());
    for (path, passes) in [("/signet/ca/ca-1", true), ("/api", false), ("/signet/agent/n", false), ("/ca/ca-1", false)] {
        bench.server_svid.send_replace(bench.authority.svid(path));
        let (client, server) = bench.handshake(ca()).await;
        assert_eq!((client.is_ok(), server.is_ok()), (passes, passes), "{path}");
        if !passes {
            let refused = client.unwrap_err().to_string();
            assert!(refused.contains("a CA of Signet, spiffe://example.org/signet/ca/<replica> is wanted"), "{refused}");
        }
    }
}

#[tokio::test]
async fn an_authority_outside_the_bundle_is_refused_by_either_side() {
    let bench = Bench::new();
    let stranger = Authority::new("example.org", &bench.clock);
    assert!(bench.handshake(bench.anyone()).await.0.is_ok());

    bench.server_svid.send_replace(stranger.svid("/api"));
    let (client, server) = bench.handshake(bench.anyone()).await;
    let refused = client.unwrap_err().to_string();
    assert!(refused.starts_with("peer rejected: no authority of the trust domain example.org issued this chain"), "{refused}");
    assert!(server.unwrap_err().to_string().ends_with("UnknownCA"));

    bench.server_svid.send_replace(bench.authority.svid("/api"));
    bench.client_svid.send_replace(stranger.svid("/web"));
    let (client, server) = bench.handshake(bench.anyone()).await;
    let refused = server.unwrap_err().to_string();
    assert!(refused.starts_with("peer rejected: no authority of the trust domain example.org issued this chain"), "{refused}");
    // The client of TLS 1.3 finished before the server looked at its certificate; its first read tells.
    let told = client.unwrap().read_u8().await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::InvalidData);
    assert!(told.to_string().contains("UnknownCA"), "{told}");
}

#[tokio::test]
async fn another_trust_domain_is_refused_even_under_the_same_key() {
    let bench = Bench::new();
    let elsewhere = Authority::new("example.com", &bench.clock);
    bench.server_svid.send_replace(elsewhere.svid("/api"));
    let refused = bench.handshake(bench.anyone()).await.0.unwrap_err().to_string();
    assert_eq!(refused, "peer rejected: spiffe://example.com/api is not of the trust domain example.org");
    // A bundle of theirs makes their chain valid; who is wanted is still ours.
    bench.client_bundle.send_replace(elsewhere.bundle());
    let refused = bench.handshake(bench.anyone()).await.0.unwrap_err();
    assert!(matches!(refused, TlsError::PeerRejected { why: PeerRejection::WrongId { .. } }), "{refused}");
    let theirs = PeerMatcher::AnyOf(elsewhere.domain.clone());
    assert!(bench.handshake(theirs).await.0.is_ok());
}

#[tokio::test]
async fn an_expired_peer_is_refused_with_both_times() {
    let bench = Bench::new();
    assert!(bench.handshake(bench.anyone()).await.0.is_ok());
    bench.clock.advance(Duration::from_secs(3600 - 2));
    assert!(bench.handshake(bench.anyone()).await.0.is_ok(), "the last second counts");
    bench.clock.advance(Duration::from_secs(5));
    let (client, server) = bench.handshake(bench.anyone()).await;
    let refused = client.unwrap_err().to_string();
    let not_after = bench.server_svid.borrow().leaf().not_after();
    let now = pki::Timestamp::from(runtime::clock::Clock::now(&*bench.clock));
    assert_eq!(refused, format!("peer rejected: the leaf certificate ended at {not_after}; it is {now} now"));
    assert!(server.unwrap_err().to_string().ends_with("CertificateExpired"));

    bench.server_svid.send_replace(bench.authority.svid("/api"));
    let (_, server) = bench.handshake(bench.anyone()).await;
    let refused = server.unwrap_err().to_string();
    assert!(refused.contains("the leaf certificate ended at"), "the client's is as old: {refused}");
}

#[tokio::test]
async fn the_next_handshake_sees_rotated_credentials_and_bundles() {
    let bench = Bench::new();
    let serial_of = async || bench.handshake(bench.anyone()).await.0.unwrap().peer().unwrap().serial().clone();
    let first = serial_of().await;
    assert_eq!(serial_of().await, first);
    bench.server_svid.send_replace(bench.authority.svid("/api"));
    assert_ne!(serial_of().await, first);

    let seen = bench.handshake(bench.anyone()).await.1.unwrap().peer().unwrap().serial().clone();
    bench.client_svid.send_replace(bench.authority.svid("/web"));
    assert_ne!(bench.handshake(bench.anyone()).await.1.unwrap().peer().unwrap().serial(), &seen);

    bench.server_bundle.send_replace(Authority::new("example.org", &bench.clock).bundle());
    assert!(bench.handshake(bench.anyone()).await.1.is_err(), "the authority left the bundle");
    bench.server_bundle.send_replace(bench.authority.bundle());
    assert!(bench.handshake(bench.anyone()).await.1.is_ok());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_nobody_where_it_may_be_and_refused_where_not() {
    let bench = Bench::new();
    let bare = ClientTls::new(bench.trust(bench.anyone()), None, &[b"h2"], bench.clock.clone());
    let (client, server) = handshake(&bare, &bench.server(ClientAuthentication::Optional)).await;
    let server = server.unwrap();
    assert!(client.is_ok() && server.peer().is_none() && server.peer_chain().is_empty());

    let (client, server) = handshake(&bare, &bench.server(ClientAuthentication::Required)).await;
    assert_eq!(server.unwrap_err().to_string(), "peer rejected: the peer showed no certificate");
    assert!(client.unwrap().read_u8().await.unwrap_err().to_string().contains("CertificateRequired"));

    // Optional is not unchecked: what is shown must be valid.
    bench.client_svid.send_replace(Authority::new("example.org", &bench.clock).svid("/web"));
    let (_, server) = handshake(&bench.client(bench.anyone()), &bench.server(ClientAuthentication::Optional)).await;
    assert!(matches!(server.unwrap_err(), TlsError::PeerRejected { why: PeerRejection::Svid(_) }));
}

#[tokio::test]
async fn a_pinned_root_is_trusted_and_another_one_is_refused_with_both_fingerprints() {
    let bench = Bench::new();
    bench.server_svid.send_replace(bench.authority.svid("/signet/ca/ca-1"));
    let server = bench.server(ClientAuthentication::Optional).sending_root();
    let pinned = |sha256| {
        let trust_domain = bench.authority.domain.clone();
        let expect = PeerMatcher::SignetCa(trust_domain.clone());
        ClientTls::new(ServerTrust::PinnedRoot { sha256, trust_domain, expect }, None, &[b"h2"], bench.clock.clone())
    };
    let root = &bench.authority.root;
    let client = handshake(&pinned(root.fingerprint()), &server).await.0.unwrap();
    assert_eq!(client.peer().unwrap().pinned_root(), Some(root));
    assert_eq!(client.peer_chain().last(), Some(root.der()));

    let other = sha256(b"another root");
    let (client, end) = handshake(&pinned(other), &server).await;
    let refused = client.unwrap_err().to_string();
    for fingerprint in [other, root.fingerprint()] {
        let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(refused.contains(&hex), "{refused}");
    }
    assert!(end.unwrap_err().to_string().ends_with("UnknownCA"));

    // The pin makes a root trusted, not everybody under it.
    bench.server_svid.send_replace(bench.authority.svid("/api"));
    let refused = handshake(&pinned(root.fingerprint()), &server).await.0.unwrap_err();
    assert!(matches!(refused, TlsError::PeerRejected { why: PeerRejection::WrongId { .. } }), "{refused}");
    // A root that is sent along by somebody who is not below it.
    bench.server_svid.send_replace(Authority::new("example.org", &bench.clock).svid("/signet/ca/ca-1"));
    assert!(handshake(&pinned(root.fingerprint()), &server).await.0.is_err());
    // A server that keeps its root to itself cannot be pinned.
    bench.server_svid.send_replace(bench.authority.svid("/signet/ca/ca-1"));
    assert!(handshake(&pinned(root.fingerprint()), &bench.server(ClientAuthentication::Optional)).await.0.is_err());
}

#[tokio::test]
async fn a_client_that_wants_another_protocol_is_refused() {
    let bench = Bench::new();
    let trust = bench.trust(bench.anyone());
    let client = ClientTls::new(trust, Some(bench.client_svid.subscribe()), &[b"http/1.1"], bench.clock.clone());
    let (client, server) = handshake(&client, &bench.server(ClientAuthentication::Required)).await;
    assert!(matches!(server.unwrap_err(), TlsError::Protocol { .. }));
    assert!(matches!(client.unwrap_err(), TlsError::PeerAlert { alert } if alert == "NoApplicationProtocol"));
}

#[tokio::test]
async fn a_sender_that_is_gone_leaves_its_last_credentials() {
    let (authority, clock) = (Authority::new("example.org", &clock()), clock());
    let (svid, bundle) = (watch::channel(authority.svid("/api")).1, watch::channel(authority.bundle()).1);
    let server = ServerTls::new(svid, bundle.clone(), ClientAuthentication::Optional, &[], clock.clone());
    let trust = ServerTrust::Bundle { bundle, expect: PeerMatcher::AnyOf(authority.domain.clone()) };
    let client = ClientTls::new(trust, None, &[], clock);
    let (client, server) = handshake(&client, &server).await;
    assert!(client.is_ok() && server.unwrap().alpn().is_none());
}
