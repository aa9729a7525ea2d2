//! A bare client of the CA's node services, for tests that do what no honest agent does.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use data_encoding::HEXLOWER;
use hyper_util::rt::TokioIo;
use identity::TrustDomain;
use mtls::{ClientTls, PeerMatcher, ServerTrust, TlsStream};
use pki::proof::{certificate_transcript, join_token_transcript, reattestation_transcript, service_account_transcript};
use pki::{Certificate, KeyAlgorithm, PrivateKey, PublicKey, Timestamp, X509Svid, build_request, sha256};
use proto::v1;
use proto::v1::node_attestation_client::NodeAttestationClient;
use proto::v1::node_client::NodeClient;
use proto::v1::{attest_certificate_request, attest_certificate_response};
use runtime::clock::SystemClock;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{Ca, JoinToken};

/// A connection to a CA, and the keying material that both ends share.
pub struct CaConnection {
    /// For clients of any service.
    pub channel: Channel,
    /// What proofs on this connection must carry.
    pub exporter: [u8; 32],
}

/// What an attestation gave.
#[derive(Debug)]
pub struct AttestedNode {
    /// The agent's SVID and its key.
    pub svid: Arc<X509Svid>,
    /// The node's name as the CA has it.
    pub node: String,
}

impl CaConnection {
    /// Connects as `svid`, or without a certificate, and accepts only a CA whose root has the fingerprint.
    ///
    /// # Errors
    /// The text of the TLS or gRPC failure.
    pub async fn open(
        ca: SocketAddr,
        trust_domain: &str,
        fingerprint: &str,
        svid: Option<Arc<X509Svid>>,
    ) -> Result<Self, String> {
        Self::open_from(ca, trust_domain, fingerprint, svid, None).await
    }

    /// The same from this address of the machine.
    ///
    /// # Errors
    /// The text of the TLS or gRPC failure.
    pub async fn open_from(
        ca: SocketAddr,
        trust_domain: &str,
        fingerprint: &str,
        svid: Option<Arc<X509Svid>>,
        from: Option<IpAddr>,
    ) -> Result<Self, String> {
        let tls = client_tls(trust_domain, fingerprint, svid);
        let exporter = Arc::new(Mutex::new(None));
        let connector = Connector { tls, ca, from, exporter: exporter.clone() };
        let endpoint = Endpoint::from_static("http://ca.signet");
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))?;
        let exporter = exporter.lock().expect("nobody panics with it").take().expect("a connected channel has an exporter");
        Ok(Self { channel, exporter })
    }

    /// The node services, which want an agent's certificate.
    #[must_use]
    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// The SVID for a service account on the node of this agent, with a key made here.
    ///
    /// # Errors
    /// The refusal of the item.
    ///
    /// # Panics
    /// When the call as a whole is refused.
    pub async fn issue_for_account(&self, namespace: &str, name: &str) -> Result<X509Svid, v1::IssueError> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let item = v1::batch_issue_request::Item {
            entry_id: String::new(),
            csr: build_request(&key, None).expect("requests can be made"),
            service_account: Some(v1::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }),
        };
        let answer = self.node().batch_issue(v1::BatchIssueRequest { items: vec![item] }).await;
        let answer = answer.expect("the batch is looked at").into_inner();
        match answer.items.into_iter().next().and_then(|item| item.outcome).expect("each item has an outcome") {
            v1::batch_issue_response::item::Outcome::Svid(svid) => Ok(svid_of(&svid, key)),
            v1::batch_issue_response::item::Outcome::Error(error) => Err(error),
        }
    }

    /// Redeems a join token with a node key.
    ///
    /// # Errors
    /// The CA's refusal.
    pub async fn attest(&self, token: &str, node_key: &PrivateKey) -> Result<AttestedNode, Status> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let csr = build_request(&key, None).expect("requests can be made");
        let transcript = join_token_transcript(&self.exporter, &sha256(token.as_bytes()), &csr);
        let request = v1::AttestJoinTokenRequest {
            hello: Some(hello()),
            token: token.to_owned(),
            node_public_key: node_key.public_key().spki_der().to_vec(),
            csr,
            proof: node_key.sign(&transcript).expect("the node key signs"),
        };
        let answer = NodeAttestationClient::new(self.channel.clone()).attest_join_token(request).await?.into_inner();
        let svid = answer.svid.expect("an attestation carries an SVID");
        Ok(AttestedNode { svid: Arc::new(svid_of(&svid, key)), node: answer.node })
    }

    /// Shows the token of a service account, with a proof by `signer` over this exporter and the digest of `proved`.
    ///
    /// # Errors
    /// The CA's refusal.
    pub async fn attest_service_account(
        &self,
        token: &str,
        node_key: &PrivateKey,
        (signer, exporter, proved): (&PrivateKey, &[u8; 32], &str),
    ) -> Result<AttestedNode, Status> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let csr = build_request(&key, None).expect("requests can be made");
        let transcript = service_account_transcript(exporter, &sha256(proved.as_bytes()), &csr);
        let request = v1::AttestServiceAccountRequest {
            hello: Some(hello()),
            token: token.to_owned(),
            node_public_key: node_key.public_key().spki_der().to_vec(),
            csr,
            proof: signer.sign(&transcript).expect("the node key signs"),
        };
        let answer = NodeAttestationClient::new(self.channel.clone()).attest_service_account(request).await?.into_inner();
        let svid = answer.svid.expect("an attestation carries an SVID");
        Ok(AttestedNode { svid: Arc::new(svid_of(&svid, key)), node: answer.node })
    }

    /// Re-attests as the node of `node_public_key`, with a proof by `signer`.
    ///
    /// # Errors
    /// The CA's refusal.
    pub async fn reattest(&self, node_public_key: &PublicKey, signer: &PrivateKey) -> Result<AttestedNode, Status> {
        let (steps, requests) = mpsc::unbounded_channel();
        let begin = v1::reattest_request::Begin { hello: Some(hello()), node_public_key: node_public_key.spki_der().to_vec() };
        let send = |step| drop(steps.send(v1::ReattestRequest { step: Some(step) }));
        send(v1::reattest_request::Step::Begin(begin));
        let requests = UnboundedReceiverStream::new(requests);
        let mut answers = NodeAttestationClient::new(self.channel.clone()).reattest(requests).await?.into_inner();
        let challenge = answers.message().await?.and_then(|answer| answer.step);
        let Some(v1::reattest_response::Step::Challenge(challenge)) = challenge else {
            panic!("the CA sends no challenge: {challenge:?}")
        };
        let nonce = challenge.nonce.try_into().expect("a nonce has 32 bytes");
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let csr = build_request(&key, None).expect("requests can be made");
        let proof = signer.sign(&reattestation_transcript(&self.exporter, &nonce, &csr)).expect("the node key signs");
        send(v1::reattest_request::Step::Proof(v1::reattest_request::Proof { csr, proof }));
        let result = answers.message().await?.and_then(|answer| answer.step);
        let Some(v1::reattest_response::Step::Result(result)) = result else { panic!("the CA sends no result: {result:?}") };
        let svid = result.svid.expect("an attestation carries an SVID");
        Ok(AttestedNode { svid: Arc::new(svid_of(&svid, key)), node: result.node })
    }

    /// Attests by a certificate that somebody else issued, with a node key.
    ///
    /// # Errors
    /// The CA's refusal.
    pub async fn attest_certificate(
        &self,
        certificate: &Certificate,
        certificate_key: &PrivateKey,
        node_key: &PrivateKey,
    ) -> Result<AttestedNode, Status> {
        let (steps, requests) = mpsc::unbounded_channel();
        let send = |step| drop(steps.send(v1::AttestCertificateRequest { step: Some(step) }));
        let node_public_key = node_key.public_key().spki_der().to_vec();
        let chain = vec![certificate.der().to_vec()];
        let begin = attest_certificate_request::Begin { hello: Some(hello()), chain, node_public_key: node_public_key.clone() };
        send(attest_certificate_request::Step::Begin(begin));
        let requests = UnboundedReceiverStream::new(requests);
        let mut answers = NodeAttestationClient::new(self.channel.clone()).attest_certificate(requests).await?.into_inner();
        let challenge = answers.message().await?.and_then(|answer| answer.step);
        let Some(attest_certificate_response::Step::Challenge(challenge)) = challenge else {
            panic!("the CA sends no challenge: {challenge:?}")
        };
        let nonce = challenge.nonce.try_into().expect("a nonce has 32 bytes");
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        let csr = build_request(&key, None).expect("requests can be made");
        let transcript = certificate_transcript(&self.exporter, &nonce, &csr, &node_public_key, certificate.der());
        let sign = |key: &PrivateKey| key.sign(&transcript).expect("the key signs");
        let (node_proof, certificate_proof) = (sign(node_key), sign(certificate_key));
        send(attest_certificate_request::Step::Proof(attest_certificate_request::Proof { csr, node_proof, certificate_proof }));
        let result = answers.message().await?.and_then(|answer| answer.step);
        let Some(attest_certificate_response::Step::Result(result)) = result else {
            panic!("the CA sends no result: {result:?}")
        };
        let svid = result.svid.expect("an attestation carries an SVID");
        Ok(AttestedNode { svid: Arc::new(svid_of(&svid, key)), node: result.node })
    }
}

/// TLS to a CA whose root has the fingerprint, as `svid` or without a certificate.
pub(crate) fn client_tls(trust_domain: &str, fingerprint: &str, svid: Option<Arc<X509Svid>>) -> ClientTls {
    let trust_domain = TrustDomain::parse(trust_domain).expect("the test names a trust domain");
    let sha256 = HEXLOWER.decode(fingerprint.as_bytes()).expect("a fingerprint is hex");
    let trust = ServerTrust::PinnedRoot {
        sha256: sha256.try_into().expect("a fingerprint has 32 bytes"),
        expect: PeerMatcher::SignetCa(trust_domain.clone()),
        trust_domain,
    };
    let svid = svid.map(|svid| watch::channel(svid).1);
    ClientTls::new(trust, svid, &[b"h2"], SystemClock::shared())
}

/// The hello of an honest agent.
#[must_use]
pub fn hello() -> v1::Hello {
    v1::Hello { protocol: v1::PROTOCOL_VERSION, build: "suite".to_owned(), ..v1::Hello::default() }
}

/// An SVID as the CA sent it, with the key of its request.
///
/// # Panics
/// When the CA sent something else.
#[must_use]
pub fn svid_of(svid: &v1::X509Svid, key: PrivateKey) -> X509Svid {
    let chain = svid.chain.iter().map(|der| Certificate::from_der(der).expect("the CA sends certificates")).collect();
    let issued = svid.issued_at.expect("the CA says when it issued").seconds;
    X509Svid::new(chain, key, Timestamp::from_unix_seconds(u64::try_from(issued).expect("the CA lives after 1970")))
        .expect("the CA sends a chain for the key of the request")
}

/// Attests a fresh node at `ca` and connects as it.
///
/// # Panics
/// When the CA refuses an honest node.
pub async fn attested_connection(ca: &Ca, node: &str) -> (CaConnection, AttestedNode) {
    let token = ca.create_token(node);
    let open = async |svid| CaConnection::open(ca.address, &ca.trust_domain, &token.ca_fingerprint, svid).await;
    let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
    let unauthenticated = open(None).await.expect("the CA speaks with everyone");
    let attested = unauthenticated.attest(&token.token, &node_key).await.expect("an honest node attests");
    let connection = open(Some(attested.svid.clone())).await.expect("the CA knows its agents");
    (connection, attested)
}

/// The SVIDs for entries, with keys made here, as an agent would fetch them.
///
/// # Errors
/// The CA's refusal of the whole call or of one item.
pub async fn issue(connection: &CaConnection, entries: &[&str]) -> Result<Vec<X509Svid>, Status> {
    let keys: Vec<_> = entries.iter().map(|_| PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made")).collect();
    let items = entries.iter().zip(&keys).map(|(entry, key)| v1::batch_issue_request::Item {
        entry_id: (*entry).to_owned(),
        csr: build_request(key, None).expect("requests can be made"),
        service_account: None,
    });
    let request = v1::BatchIssueRequest { items: items.collect() };
    let answer = connection.node().batch_issue(request).await?.into_inner();
    let outcomes = answer.items.into_iter().map(|item| item.outcome.expect("each item has an outcome"));
    outcomes
        .zip(keys)
        .map(|(outcome, key)| match outcome {
            v1::batch_issue_response::item::Outcome::Svid(svid) => Ok(svid_of(&svid, key)),
            v1::batch_issue_response::item::Outcome::Error(error) => {
                Err(Status::new(tonic::Code::from_i32(error.code), error.message))
            }
        })
        .collect()
}

/// Connects a token's holder without a certificate.
///
/// # Errors
/// The text of the TLS or gRPC failure.
pub async fn bare_connection(ca: &Ca, token: &JoinToken) -> Result<CaConnection, String> {
    CaConnection::open(ca.address, &ca.trust_domain, &token.ca_fingerprint, None).await
}

#[derive(Clone)]
struct Connector {
    tls: ClientTls,
    ca: SocketAddr,
    from: Option<IpAddr>,
    exporter: Arc<Mutex<Option<[u8; 32]>>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { tls, ca, from, exporter } = self.clone();
        Box::pin(async move {
            let tcp = match from {
                None => TcpStream::connect(ca).await?,
                Some(from) => {
                    let socket = TcpSocket::new_v4()?;
                    socket.bind(SocketAddr::new(from, 0))?;
                    socket.connect(ca).await?
                }
            };
            // As the agent does: the head of a call and its body are two writes.
            tcp.set_nodelay(true)?;
            let stream = tls.connect(tcp).await.map_err(std::io::Error::other)?;
            let material = stream.exporter(pki::proof::ATTESTATION_EXPORTER_LABEL).map_err(std::io::Error::other)?;
            *exporter.lock().expect("nobody panics with it") = Some(material);
            Ok(TokioIo::new(stream))
        })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
