//! Authorities, SVIDs and the two ends of a handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use identity::{DnsName, SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, CertificateDer, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte,
    SERIAL_RANDOM_BYTES, SerialNumber, Timestamp, TrustBundle, X509Svid, prepare_authority, prepare_leaf,
};
use runtime::clock::{Clock, TestClock};
use runtime::entropy::{SeededEntropy, bytes};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::sync::watch;

use crate::{ClientAuthentication, ClientTls, PeerMatcher, ServerTls, ServerTrust, TlsError, TlsStream};

pub(super) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(super) fn clock() -> Arc<TestClock> {
    TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_172_400))
}

/// A root, an issuing CA below it, and leaves of one hour.
pub(super) struct Authority {
    pub(super) domain: TrustDomain,
    pub(super) root: Certificate,
    issuer: Certificate,
    issuer_key: PrivateKey,
    clock: Arc<TestClock>,
}

impl Authority {
    pub(super) fn new(domain: &str, clock: &Arc<TestClock>) -> Self {
        let trust_domain = TrustDomain::parse(domain).unwrap();
        let make = |role, key: &PrivateKey, signer: &PrivateKey, issuer: Option<&Certificate>| {
            let spec = AuthoritySpec {
                role,
                trust_domain: &trust_domain,
                public_key: key.public_key(),
                lifetime: Duration::from_secs(86_400),
                serial: serial(),
                now: clock.now().into(),
            };
            prepare_authority(&spec, issuer).unwrap().sign(signer).unwrap()
        };
        let (root_key, issuer_key) = (key(), key());
        let root = make(AuthorityRole::Root, &root_key, &root_key, None);
        let issuer = make(AuthorityRole::Issuer, &issuer_key, &root_key, Some(&root));
        Self { domain: trust_domain, root, issuer, issuer_key, clock: clock.clone() }
    }

    pub(super) fn svid(&self, path: &str) -> Arc<X509Svid> {
        self.svid_named(path, &[], &[])
    }

    /// An SVID that names a server of the web too.
    pub(super) fn svid_named(&self, path: &str, dns_names: &[DnsName], ip_addresses: &[IpAddr]) -> Arc<X509Svid> {
        let hour = Duration::from_secs(3600);
        let (key, now) = (key(), Timestamp::from(self.clock.now()));
        let request = LeafRequest {
            id: &id(&format!("spiffe://{}{path}", self.domain)),
            dns_names,
            ip_addresses,
            public_key: key.public_key(),
            ttl: None,
            serial: serial(),
            now,
        };
        let unsigned = prepare_leaf(&LeafProfile::new(hour, hour).unwrap(), &request, &self.issuer).unwrap();
        let leaf = unsigned.sign(&self.issuer_key).unwrap();
        Arc::new(X509Svid::new(vec![leaf, self.issuer.clone()], key, now).unwrap())
    }

    pub(super) fn bundle(&self) -> Arc<TrustBundle> {
        Arc::new(TrustBundle::new(self.domain.clone(), vec![self.root.clone()], 1).unwrap())
    }
}

/// A client `/web` and a server `/api` of one authority, whose parts a test replaces.
pub(super) struct Bench {
    pub(super) clock: Arc<TestClock>,
    pub(super) authority: Authority,
    pub(super) client_svid: watch::Sender<Arc<X509Svid>>,
    pub(super) client_bundle: watch::Sender<Arc<TrustBundle>>,
    pub(super) server_svid: watch::Sender<Arc<X509Svid>>,
    pub(super) server_bundle: watch::Sender<Arc<TrustBundle>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let clock = clock();
        let authority = Authority::new("example.org", &clock);
        Self {
            client_svid: watch::Sender::new(authority.svid("/web")),
            client_bundle: watch::Sender::new(authority.bundle()),
            server_svid: watch::Sender::new(authority.svid("/api")),
            server_bundle: watch::Sender::new(authority.bundle()),
            clock,
            authority,
        }
    }

    pub(super) fn anyone(&self) -> PeerMatcher {
        PeerMatcher::AnyOf(self.authority.domain.clone())
    }

    pub(super) fn trust(&self, expect: PeerMatcher) -> ServerTrust {
        ServerTrust::Bundle { bundle: self.client_bundle.subscribe(), expect }
    }

    pub(super) fn client(&self, expect: PeerMatcher) -> ClientTls {
        ClientTls::new(self.trust(expect), Some(self.client_svid.subscribe()), &[b"h2"], self.clock.clone())
    }

    pub(super) fn server(&self, clients: ClientAuthentication) -> ServerTls {
        let (svid, bundle) = (self.server_svid.subscribe(), self.server_bundle.subscribe());
        ServerTls::new(svid, bundle, clients, &[b"h2"], self.clock.clone())
    }

    pub(super) fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        self.server_svid.borrow().chain().iter().map(|certificate| certificate.der().clone()).collect()
    }

    pub(super) async fn handshake(&self, expect: PeerMatcher) -> (Outcome, Outcome) {
        handshake(&self.client(expect), &self.server(ClientAuthentication::Required)).await
    }
}

pub(super) type Outcome = Result<TlsStream<DuplexStream>, TlsError>;

/// Both ends: the client's outcome, then the server's.
pub(super) async fn handshake(client: &ClientTls, server: &ServerTls) -> (Outcome, Outcome) {
    let (near, far) = duplex(1 << 16);
    tokio::join!(client.connect(near), server.accept(far))
}

/// A pair of streams through which a foreign TLS implementation speaks to ours.
pub(super) fn wire() -> (impl AsyncRead + AsyncWrite + Unpin, DuplexStream) {
    duplex(1 << 16)
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let entropy = SeededEntropy::insecure_from_seed(NEXT.fetch_add(1, Ordering::Relaxed) << 32);
    SerialNumber::new(ReplicaByte::new(1).unwrap(), bytes::<SERIAL_RANDOM_BYTES>(&entropy))
}
