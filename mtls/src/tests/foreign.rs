//! Peers that are not ours: a plain rustls that wants resumption, TLS 1.2, or lies about its key.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::fixture::{Bench, wire};
use crate::verify::{Anchors, Verifier};
use crate::{ClientAuthentication, PeerRejection, TlsError, backend};

fn certified(bench: &Bench, key_of: &pki::X509Svid) -> Arc<SingleCertAndKey> {
    let key = backend::signing_key(key_of.key().pkcs8_der()).unwrap();
    Arc::new(CertifiedKey::new(bench.server_chain(), key).into())
}

fn client_config(bench: &Bench, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let anchors = Anchors::Bundle { bundle: bench.authority.bundle(), read: None };
    ClientConfig::builder_with_provider(backend::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Verifier::of_server(anchors, Some(bench.anyone()), bench.clock.clone()))
        .with_no_client_auth()
}

fn server_config(bench: &Bench, key_of: &pki::X509Svid) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(backend::provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certified(bench, key_of));
    config.session_storage = ServerSessionMemoryCache::new(32);
    config.send_tls13_tickets = 2;
    config
}

fn name() -> ServerName<'static> {
    ServerName::try_from("example.org").unwrap()
}

#[tokio::test]
async fn our_server_gives_a_client_that_wants_to_resume_nothing_to_resume() {
    let bench = Bench::new();
    let server = bench.server(ClientAuthentication::Optional);
    let mut config = client_config(&bench, &[&TLS13]);
    config.resumption = Resumption::in_memory_sessions(32);
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..2 {
        let (near, far) = wire();
        let (client, ours) = tokio::join!(connector.connect(name(), near), server.accept(far));
        let (mut client, mut ours) = (client.unwrap(), ours.unwrap());
        // Tickets would come with the first bytes.
        ours.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn our_client_resumes_nothing_though_the_server_offers_it() {
    let bench = Bench::new();
    let svid = bench.server_svid.borrow().clone();
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&bench, &svid)));
    let mut eager = client_config(&bench, &[&TLS13]);
    eager.resumption = Resumption::in_memory_sessions(32);
    let eager = TlsConnector::from(Arc::new(eager));
    let ours = bench.client(bench.anyone());
    let mut kinds = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        let (near, far) = wire();
        let (client, server) = tokio::join!(ours.connect(near), acceptor.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        kinds[0].push(server.get_ref().1.handshake_kind().unwrap());

        let (near, far) = wire();
        let (client, server) = tokio::join!(eager.connect(name(), near), acceptor.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        server.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        kinds[1].push(server.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[0], [HandshakeKind::Full, HandshakeKind::Full]);
    assert_eq!(kinds[1], [HandshakeKind::Full, HandshakeKind::Resumed], "the server does offer it, or this test shows nothing");
}

#[tokio::test]
async fn a_client_that_speaks_tls_1_2_only_is_refused() {
    let bench = Bench::new();
    let server = bench.server(ClientAuthentication::Optional);
    for (version, passes) in [(&TLS13, true), (&TLS12, false)] {
        let connector = TlsConnector::from(Arc::new(client_config(&bench, &[version])));
        let (near, far) = wire();
        let (client, ours) = tokio::join!(connector.connect(name(), near), server.accept(far));
        assert_eq!((client.is_ok(), ours.is_ok()), (passes, passes), "{version:?}");
        if let Err(refused) = ours {
            assert!(matches!(refused, TlsError::Protocol { .. }), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_server_with_a_copied_chain_but_another_key_is_refused() {
    let bench = Bench::new();
    let (own, other) = (bench.server_svid.borrow().clone(), bench.authority.svid("/api"));
    for (key_of, passes) in [(own, true), (other, false)] {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&bench, &key_of)));
        let (near, far) = wire();
        let ours = bench.client(bench.anyone());
        let (client, _server) = tokio::join!(ours.connect(near), acceptor.accept(far));
        assert_eq!(client.is_ok(), passes);
        if let Err(refused) = client {
            let signature = matches!(refused, TlsError::PeerRejected { why: PeerRejection::HandshakeSignature { .. } });
            assert!(signature, "{refused}");
        }
    }
}

#[tokio::test]
async fn a_client_with_a_copied_chain_but_another_key_is_refused() {
    let bench = Bench::new();
    let server = bench.server(ClientAuthentication::Optional);
    let (own, other) = (bench.server_svid.borrow().clone(), bench.authority.svid("/api"));
    for (key_of, passes) in [(own, true), (other, false)] {
        let mut config = client_config(&bench, &[&TLS13]);
        config.client_auth_cert_resolver = certified(&bench, &key_of);
        let (near, far) = wire();
        let connector = TlsConnector::from(Arc::new(config));
        let (_client, ours) = tokio::join!(connector.connect(name(), near), server.accept(far));
        assert_eq!(ours.is_ok(), passes);
        if let Err(refused) = ours {
            let signature = matches!(refused, TlsError::PeerRejected { why: PeerRejection::HandshakeSignature { .. } });
            assert!(signature, "{refused}");
        }
    }
}

#[tokio::test]
async fn what_is_not_tls_is_named_so() {
    let bench = Bench::new();
    let (mut near, far) = wire();
    near.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await.unwrap();
    let refused = bench.server(ClientAuthentication::Optional).accept(far).await.unwrap_err();
    assert!(matches!(refused, TlsError::Protocol { .. }), "{refused}");

    let (near, far) = wire();
    drop(near);
    let refused = bench.server(ClientAuthentication::Optional).accept(far).await.unwrap_err();
    assert!(matches!(refused, TlsError::Io { .. }), "{refused}");
}
