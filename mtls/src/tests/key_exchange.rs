//! Which key exchange a handshake ends with: between our own ends, and with peers that offer less or in another order.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, NamedGroup, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::fixture::{Bench, wire};
use crate::verify::{Anchors, Verifier};
use crate::{ClientAuthentication, backend};

#[cfg(feature = "aws-lc")]
const PREFERRED: NamedGroup = NamedGroup::X25519MLKEM768;
#[cfg(feature = "ring")]
const PREFERRED: NamedGroup = NamedGroup::X25519;

/// The groups of these names, in their order.
fn groups(names: &[NamedGroup]) -> Arc<CryptoProvider> {
    let provider = backend::provider();
    let named = |name: &NamedGroup| provider.kx_groups.iter().copied().find(|group| group.name() == *name).unwrap();
    let kx_groups: Vec<&'static dyn SupportedKxGroup> = names.iter().map(named).collect();
    Arc::new(CryptoProvider { kx_groups, ..(*provider).clone() })
}

/// A client that is not ours, with these groups.
fn client(bench: &Bench, names: &[NamedGroup]) -> TlsConnector {
    let anchors = Anchors::Bundle { bundle: bench.authority.bundle(), read: None };
    let config = ClientConfig::builder_with_provider(groups(names))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Verifier::of_server(anchors, Some(bench.anyone()), bench.clock.clone()))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A server that is not ours, with these groups.
fn server(bench: &Bench, names: &[NamedGroup]) -> TlsAcceptor {
    let key = backend::signing_key(bench.server_svid.borrow().key().pkcs8_der()).unwrap();
    let certified = SingleCertAndKey::from(CertifiedKey::new(bench.server_chain(), key));
    let config = ServerConfig::builder_with_provider(groups(names))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    TlsAcceptor::from(Arc::new(config))
}

async fn foreign_client_at_our_server(names: &[NamedGroup]) -> NamedGroup {
    let bench = Bench::new();
    let (near, far) = wire();
    let ours = bench.server(ClientAuthentication::Optional);
    let client = client(&bench, names);
    let name = ServerName::try_from("example.org").unwrap();
    let (client, ours) = tokio::join!(client.connect(name, near), ours.accept(far));
    let group = ours.unwrap().key_exchange_group();
    assert_eq!(client.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name(), group);
    group
}

#[tokio::test]
async fn both_ends_of_ours_agree_on_the_preferred_group() {
    let bench = Bench::new();
    let (client, server) = bench.handshake(bench.anyone()).await;
    assert_eq!((client.unwrap().key_exchange_group(), server.unwrap().key_exchange_group()), (PREFERRED, PREFERRED));
}

#[tokio::test]
async fn a_client_with_one_classical_group_is_answered_in_it() {
    for name in [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1] {
        assert_eq!(foreign_client_at_our_server(&[name]).await, name);
    }
}

#[tokio::test]
async fn a_server_with_one_classical_group_is_spoken_to_in_it() {
    for name in [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1] {
        let bench = Bench::new();
        let (near, far) = wire();
        let (ours, acceptor) = (bench.client(bench.anyone()), server(&bench, &[name]));
        let (ours, _server) = tokio::join!(ours.connect(near), acceptor.accept(far));
        assert_eq!(ours.unwrap().key_exchange_group(), name);
    }
}

/// The control: a server that leaves the order to the client ends with the client's first group.
#[cfg(feature = "aws-lc")]
#[tokio::test]
async fn a_client_that_offers_the_hybrid_last_is_answered_in_it_all_the_same() {
    let order = [NamedGroup::secp256r1, NamedGroup::X25519, NamedGroup::X25519MLKEM768];
    let bench = Bench::new();
    let (near, far) = wire();
    let (client, lenient) = (client(&bench, &order), server(&bench, &order));
    let name = ServerName::try_from("example.org").unwrap();
    let (client, _server) = tokio::join!(client.connect(name, near), lenient.accept(far));
    assert_eq!(client.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name(), NamedGroup::secp256r1);

    assert_eq!(foreign_client_at_our_server(&order).await, NamedGroup::X25519MLKEM768);
}
