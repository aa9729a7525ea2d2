//! A bare agent: what an honest one does, step by step, so that a test can do one step wrongly.

use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use identity::TrustDomain;
use mtls::{ClientTls, PeerMatcher, ServerTrust, TlsStream};
use pki::proof::{join_token_transcript, reattestation_transcript};
use pki::{Certificate, KeyAlgorithm, PrivateKey, Timestamp, X509Svid, build_request, sha256};
use proto::v1;
use proto::v1::node_attestation_client::NodeAttestationClient;
use proto::v1::node_client::NodeClient;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

use crate::test_ca::{TRUST_DOMAIN, TestCa};

/// A connection, and the keying material that proofs on it carry.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) exporter: [u8; 32],
    /// Serial of the certificate that the CA showed.
    pub(crate) server_serial: pki::SerialNumber,
}

/// A node with its node key and the SVID that it has.
pub(crate) struct TestAgent {
    pub(crate) node_key: PrivateKey,
    pub(crate) svid: Arc<X509Svid>,
    pub(crate) bundle: v1::Bundle,
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

pub(crate) fn hello() -> v1::Hello {
    v1::Hello { protocol: v1::PROTOCOL_VERSION, build: "test".to_owned(), ..v1::Hello::default() }
}

/// The stable reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_else(|| format!("{status:?}"))
}

/// Connects as `svid`, or without a certificate.
pub(crate) async fn connect(ca: &TestCa, svid: Option<&Arc<X509Svid>>) -> Connection {
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    let trust =
        ServerTrust::PinnedRoot { sha256: ca.root().await, expect: PeerMatcher::SignetCa(trust_domain.clone()), trust_domain };
    let svid = svid.map(|svid| watch::channel(Arc::clone(svid)).1);
    let tls = ClientTls::new(trust, svid, &[b"h2"], ca.clock.clone());
    let seen = Arc::new(Mutex::new(None));
    let connector = TlsConnector { tls, address: ca.address, seen: Arc::clone(&seen) };
    let channel = Endpoint::from_static("http://ca.signet").connect_with_connector(connector).await.unwrap();
    let (exporter, server_serial) = seen.lock().unwrap().take().unwrap();
    Connection { channel, exporter, server_serial }
}

impl Connection {
    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    pub(crate) fn attestation(&self) -> NodeAttestationClient<Channel> {
        NodeAttestationClient::new(self.channel.clone())
    }

    /// An honest request for this connection, and the key of its CSR.
    pub(crate) fn join_request(&self, token: &str, node_key: &PrivateKey) -> (v1::AttestJoinTokenRequest, PrivateKey) {
        let key = key();
        let csr = build_request(&key, None).unwrap();
        let transcript = join_token_transcript(&self.exporter, &sha256(token.as_bytes()), &csr);
        let request = v1::AttestJoinTokenRequest {
            hello: Some(hello()),
            token: token.to_owned(),
            node_public_key: node_key.public_key().spki_der().to_vec(),
            csr,
            proof: node_key.sign(&transcript).unwrap(),
        };
        (request, key)
    }

    /// The whole dialogue; `exporter` is what the proof carries.
    pub(crate) async fn reattest(&self, node_key: &PrivateKey, exporter: &[u8; 32]) -> Result<X509Svid, Status> {
        let (steps, outbound) = mpsc::channel(2);
        let step = |step| v1::ReattestRequest { step: Some(step) };
        let begin =
            v1::reattest_request::Begin { hello: Some(hello()), node_public_key: node_key.public_key().spki_der().to_vec() };
        steps.send(step(v1::reattest_request::Step::Begin(begin))).await.unwrap();
        let mut inbound = self.attestation().reattest(ReceiverStream::new(outbound)).await?.into_inner();
        let nonce: [u8; 32] = match inbound.message().await?.unwrap().step.unwrap() {
            v1::reattest_response::Step::Challenge(challenge) => challenge.nonce.try_into().unwrap(),
            v1::reattest_response::Step::Result(_) => panic!("a result without a challenge"),
        };
        let key = key();
        let csr = build_request(&key, None).unwrap();
        let proof = node_key.sign(&reattestation_transcript(exporter, &nonce, &csr)).unwrap();
        steps.send(step(v1::reattest_request::Step::Proof(v1::reattest_request::Proof { csr, proof }))).await.unwrap();
        match inbound.message().await?.unwrap().step.unwrap() {
            v1::reattest_response::Step::Result(result) => Ok(svid_of(&result.svid.unwrap(), key)),
            v1::reattest_response::Step::Challenge(_) => panic!("a second challenge"),
        }
    }

    pub(crate) async fn renew(&self) -> Result<X509Svid, Status> {
        let key = key();
        let csr = build_request(&key, None).unwrap();
        let answer = self.node().renew_agent(v1::RenewAgentRequest { csr }).await?.into_inner();
        Ok(svid_of(&answer.svid.unwrap(), key))
    }

    pub(crate) async fn issue(&self, entry: &str) -> Result<Result<X509Svid, v1::IssueError>, Status> {
        let key = key();
        let csr = build_request(&key, None).unwrap();
        let items = vec![v1::batch_issue_request::Item { entry_id: entry.to_owned(), csr, service_account: None }];
        let mut answer = self.node().batch_issue(v1::BatchIssueRequest { items }).await?.into_inner();
        Ok(match answer.items.remove(0).outcome.unwrap() {
            v1::batch_issue_response::item::Outcome::Svid(svid) => Ok(svid_of(&svid, key)),
            v1::batch_issue_response::item::Outcome::Error(error) => Err(error),
        })
    }

    /// Asks for an entry that is not there: answered to whoever may ask.
    pub(crate) async fn no_entry(&self) -> Result<(), Status> {
        let error = self.issue(&"0".repeat(32)).await?.unwrap_err();
        assert_eq!(error.reason, "ENTRY_NOT_FOUND");
        Ok(())
    }

    /// A sync stream whose hello was sent.
    pub(crate) async fn sync(&self, hello: v1::Hello) -> Result<SyncStream, Status> {
        let (messages, outbound) = mpsc::channel(8);
        let hello = v1::SyncRequest { message: Some(v1::sync_request::Message::Hello(hello)) };
        messages.send(hello).await.unwrap();
        let inbound = self.node().sync(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(SyncStream { messages, inbound })
    }
}

pub(crate) struct SyncStream {
    messages: mpsc::Sender<v1::SyncRequest>,
    inbound: Streaming<v1::SyncResponse>,
}

impl SyncStream {
    /// The CA's hello.
    pub(crate) async fn hello(&mut self) -> v1::Hello {
        match self.inbound.message().await.unwrap().unwrap().message.unwrap() {
            v1::sync_response::Message::Hello(hello) => hello,
            v1::sync_response::Message::Update(update) => panic!("not a hello: {update:?}"),
            v1::sync_response::Message::Checkpoints(checkpoints) => panic!("not a hello: {checkpoints:?}"),
        }
    }

    /// The next update, or how the stream ended.
    pub(crate) async fn update(&mut self) -> Result<v1::SyncUpdate, Status> {
        let message = self.inbound.message().await?.ok_or_else(|| Status::cancelled("ended without a status"))?;
        match message.message.unwrap() {
            v1::sync_response::Message::Update(update) => Ok(update),
            v1::sync_response::Message::Hello(hello) => panic!("a second hello: {hello:?}"),
            v1::sync_response::Message::Checkpoints(checkpoints) => panic!("not an update: {checkpoints:?}"),
        }
    }

    /// The checkpoints that come next, or how the stream ended.
    pub(crate) async fn checkpoints(&mut self) -> Result<Vec<v1::AuditCheckpoint>, Status> {
        let message = self.inbound.message().await?.ok_or_else(|| Status::cancelled("ended without a status"))?;
        match message.message.unwrap() {
            v1::sync_response::Message::Checkpoints(v1::AuditCheckpoints { checkpoints }) => Ok(checkpoints),
            other @ (v1::sync_response::Message::Hello(_) | v1::sync_response::Message::Update(_)) => {
                panic!("not checkpoints: {other:?}")
            }
        }
    }

    pub(crate) async fn acknowledge(&self, sequence: u64, bundle_sequence: u64) {
        let ack = v1::sync_request::Ack { sequence, bundle_sequence };
        self.messages.send(v1::SyncRequest { message: Some(v1::sync_request::Message::Ack(ack)) }).await.unwrap();
    }
}

impl TestAgent {
    /// Attests a fresh node.
    pub(crate) async fn attest(ca: &TestCa, node: &str) -> Self {
        let node_key = key();
        let token = ca.token(node).await;
        let connection = connect(ca, None).await;
        let (request, key) = connection.join_request(&token, &node_key);
        let answer = connection.attestation().attest_join_token(request).await.unwrap().into_inner();
        assert_eq!(answer.node, node);
        let svid = Arc::new(svid_of(&answer.svid.unwrap(), key));
        assert_eq!(svid.id().path(), format!("/signet/agent/{node}"));
        Self { node_key, svid, bundle: answer.bundle.unwrap() }
    }

    /// A connection with the SVID that it has.
    pub(crate) async fn connect(&self, ca: &TestCa) -> Connection {
        connect(ca, Some(&self.svid)).await
    }
}

/// An SVID as the CA sent it, with the key of its request.
pub(crate) fn svid_of(svid: &v1::X509Svid, key: PrivateKey) -> X509Svid {
    let chain = svid.chain.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let issued = u64::try_from(svid.issued_at.as_ref().unwrap().seconds).unwrap();
    X509Svid::new(chain, key, Timestamp::from_unix_seconds(issued)).unwrap()
}

type Seen = ([u8; 32], pki::SerialNumber);

#[derive(Clone)]
struct TlsConnector {
    tls: ClientTls,
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Option<Seen>>>,
}

impl tower_service::Service<Uri> for TlsConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { tls, address, seen } = self.clone();
        Box::pin(async move {
            let stream = tls.connect(TcpStream::connect(address).await?).await.map_err(std::io::Error::other)?;
            let exporter = stream.exporter(pki::proof::ATTESTATION_EXPORTER_LABEL).map_err(std::io::Error::other)?;
            let serial = stream.peer().unwrap().serial().clone();
            *seen.lock().unwrap() = Some((exporter, serial));
            Ok(TokioIo::new(stream))
        })
    }
}
