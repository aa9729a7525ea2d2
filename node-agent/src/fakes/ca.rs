//! The fake CA's door: TLS as the real one has it, and what it was asked.

use identity::HostPort;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use mtls::{ClientAuthentication, HandshakeLimits, MtlsListener, ServerTls, TlsStream};
use pki::{Timestamp, TrustBundle, X509Svid};
use proto::istio::istio_certificate_service_server;
use proto::v1;
use runtime::clock::Clock;
use runtime::shutdown::{self, ShutdownTrigger};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tonic::transport::server::Connected;

use super::service::Fake;
use super::{FakeAuthority, IstioCall};

/// What the CA answers. The default is what a sound CA does.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Names this identity in every SVID instead of the right one.
    pub(crate) wrong_name: Option<String>,
    /// Makes every JWT-SVID for this audience instead of the right ones.
    pub(crate) wrong_audience: Option<&'static str>,
    /// Certifies a key of its own instead of the one asked for.
    pub(crate) wrong_key: bool,
    /// Signs with another authority, of the same trust domain, that is in no bundle.
    pub(crate) stranger: bool,
    /// Sends the bundle of that other authority.
    pub(crate) strange_bundle: bool,
    /// Sequence of the bundles sent.
    pub(crate) bundle_sequence: u64,
    /// Refuses to attest, with this reason.
    pub(crate) refuse_attestation: Option<&'static str>,
    /// Refuses join tokens, with this reason.
    pub(crate) refuse_tokens: Option<&'static str>,
    /// Refuses to attest again by a node key, with this reason.
    pub(crate) refuse_reattestation: Option<&'static str>,
    /// Refuses existing certificates, with this reason.
    pub(crate) refuse_provisioning: Option<&'static str>,
    /// Refuses all that needs an SVID, with this reason.
    pub(crate) refuse_node: Option<&'static str>,
    /// Refuses each CSR and each request for a JWT-SVID, with this reason.
    pub(crate) refuse_issue: Option<&'static str>,
    /// Drops the reply to that many attestations, after having done them.
    pub(crate) lose_replies: usize,
    /// Waits so long before it answers a batch or a request for a JWT-SVID.
    pub(crate) slow_batch: Duration,
    pub(crate) protocol: u32,
    /// What the CA says in its hello that it understands.
    pub(crate) features: &'static [&'static str],
    pub(crate) ttl: Duration,
    /// Whom a bearer token proves, by path.
    pub(crate) bearer_is: &'static str,
    /// Refuses `CreateCertificate` with this.
    pub(crate) refuse_certificate: Option<tonic::Status>,
    /// Leaves out all but the first so many elements of an answer.
    pub(crate) elements: usize,
    /// Signs in the place of the authority that the CA began with.
    pub(crate) successor: Option<Arc<FakeAuthority>>,
    /// Is sent in the place of that authority's.
    pub(crate) bundle: Option<TrustBundle>,
    /// The revocation lists that go with each update.
    pub(crate) revocation: Option<v1::RevocationLists>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            wrong_name: None,
            wrong_audience: None,
            wrong_key: false,
            stranger: false,
            strange_bundle: false,
            bundle_sequence: 5,
            refuse_attestation: None,
            refuse_tokens: None,
            refuse_reattestation: None,
            refuse_provisioning: None,
            refuse_node: None,
            refuse_issue: None,
            lose_replies: 0,
            slow_batch: Duration::ZERO,
            protocol: v1::PROTOCOL_VERSION,
            features: &["bundle-progress"],
            ttl: Duration::from_secs(600),
            bearer_is: "/web",
            refuse_certificate: None,
            elements: usize::MAX,
            successor: None,
            bundle: None,
            revocation: None,
        }
    }
}

/// What the CA was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) tokens: Vec<String>,
    pub(crate) node_keys: Vec<Vec<u8>>,
    pub(crate) reattestations: usize,
    pub(crate) renewals: usize,
    pub(crate) batches: Vec<Vec<String>>,
    /// Entry and audiences of each JWT-SVID asked for.
    pub(crate) tokens_asked: Vec<(String, Vec<String>)>,
    pub(crate) streams: usize,
    pub(crate) acks: Vec<(u64, u64)>,
    /// What agents say in their hello that they understand.
    pub(crate) features: Vec<String>,
    /// How many acknowledgements had come, and what the agent then said of its node.
    pub(crate) progress: Vec<(usize, v1::sync_request::Progress)>,
    pub(crate) certificates: Vec<IstioCall>,
    /// Leaves that nodes attested by.
    pub(crate) provisioned: Vec<pki::Sha256Digest>,
}

pub(crate) struct FakeCa {
    pub(crate) address: HostPort,
    pub(crate) authority: Arc<FakeAuthority>,
    pub(crate) answers: watch::Sender<Answers>,
    pub(crate) entries: watch::Sender<Vec<v1::Entry>>,
    seen: Arc<Mutex<Seen>>,
    serving: watch::Sender<Arc<X509Svid>>,
    trusted: watch::Sender<Arc<TrustBundle>>,
    /// Ends every stream and connection.
    hang_up: broadcast::Sender<()>,
    _trigger: ShutdownTrigger,
}

impl FakeCa {
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        Self::start_as(clock, "/signet/ca/ca-1").await
    }

    /// A CA whose serving certificate names this path.
    pub(crate) async fn start_as(clock: Arc<dyn Clock>, path: &str) -> Self {
        let now = Timestamp::from(clock.now());
        let authority = Arc::new(FakeAuthority::new(now));
        let serving = watch::Sender::new(authority.serving(path, now));
        let trusted = watch::Sender::new(Arc::new(authority.bundle(1)));
        let tls = ServerTls::new(
            serving.subscribe(),
            trusted.subscribe(),
            ClientAuthentication::Optional,
            &[b"h2"],
            Arc::clone(&clock),
        )
        .sending_root();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let limits = HandshakeLimits { pending: 64, per_address: 64, concurrent: 8, deadline: Duration::from_secs(5) };
        let listener = MtlsListener::new(listener, tls, limits);
        let (trigger, end) = shutdown::channel();
        let ca = Self {
            address,
            authority,
            answers: watch::Sender::new(Answers::default()),
            entries: watch::Sender::new(Vec::new()),
            seen: Arc::default(),
            serving,
            trusted,
            hang_up: broadcast::Sender::new(1),
            _trigger: trigger,
        };
        let fake = Fake {
            authority: Arc::clone(&ca.authority),
            stranger: Arc::new(FakeAuthority::new(now)),
            answers: ca.answers.subscribe(),
            entries: ca.entries.subscribe(),
            seen: Arc::clone(&ca.seen),
            hang_up: ca.hang_up.clone(),
            clock,
        };
        let seen = Arc::clone(&ca.seen);
        let incoming = futures_util::stream::unfold((listener, seen), |(mut listener, seen)| async move {
            let accepted = listener.next().await;
            seen.lock().unwrap().connections += 1;
            Some((Ok::<_, io::Error>(Stream(accepted.stream)), (listener, seen)))
        });
        let router = tonic::transport::Server::builder()
            .add_service(v1::node_attestation_server::NodeAttestationServer::new(fake.clone()))
            .add_service(v1::node_server::NodeServer::new(fake.clone()))
            .add_service(istio_certificate_service_server::IstioCertificateServiceServer::new(fake));
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
        tokio::spawn(async move { router.serve_with_incoming_shutdown(incoming, async move { end.fired().await }).await });
        ca
    }

    pub(crate) fn fingerprint(&self) -> pki::Sha256Digest {
        self.authority.root.fingerprint()
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn answer(&self, change: impl FnOnce(&mut Answers)) {
        self.answers.send_modify(change);
    }

    /// From now on `signer` signs, this bundle counts and is told, and the CA shows a certificate of `server`.
    pub(crate) fn rotate(&self, signer: &Arc<FakeAuthority>, server: &FakeAuthority, bundle: &TrustBundle, now: Timestamp) {
        self.trusted.send_replace(Arc::new(bundle.clone()));
        self.serving.send_replace(server.serving("/signet/ca/ca-1", now));
        self.answer(|answers| {
            answers.successor = Some(Arc::clone(signer));
            answers.bundle = Some(bundle.clone());
        });
    }

    pub(crate) fn hang_up(&self) {
        let _listeners = self.hang_up.send(());
    }

    /// An entry of node `n1` for `path` with one selector.
    pub(crate) fn entry(&self, id: &str, path: &str, selector: &str) -> v1::Entry {
        v1::Entry {
            id: id.to_owned(),
            spiffe_id: self.authority.id(path).to_string(),
            selectors: vec![selector.to_owned()],
            parent_node: "n1".to_owned(),
            ttl_seconds: 0,
            dns_names: Vec::new(),
            created_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..v1::Entry::default()
        }
    }
}

/// The TLS stream as tonic wants it.
struct Stream(TlsStream<TcpStream>);

/// What a handler may know of its connection.
#[derive(Clone)]
pub(super) struct ConnectInfo {
    pub(super) exporter: [u8; 32],
    pub(super) peer: Option<identity::SpiffeId>,
}

impl Connected for Stream {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        ConnectInfo {
            exporter: self.0.exporter(pki::proof::ATTESTATION_EXPORTER_LABEL).unwrap(),
            peer: self.0.peer().map(|peer| peer.id().clone()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
