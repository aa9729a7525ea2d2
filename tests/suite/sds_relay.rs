//! A relay between Envoy and the agent's socket that spoils chosen answers on their way, so that a real Envoy rejects them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use prost::Message;
use proto::envoy::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};

/// What to do to the next certificate that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// The chain becomes text that is no certificate.
    GarbageChain,
    /// Chain and key become empty.
    Empty,
}

/// In which order the answers of the first pair reach Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstPair {
    /// As they come.
    AsSent,
    /// The bundle waits until Envoy has answered for the certificate.
    CertificateFirst,
}

/// What passed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// An answer to a stream that asked for `name`, spoilt or not.
    Sent { name: String, nonce: String, spoilt: bool },
    /// Envoy accepted.
    Ack { name: String, nonce: String },
    /// Envoy rejected, with its words.
    Nack { name: String, nonce: String, why: String },
}

#[derive(Clone)]
pub(crate) struct SdsRelay {
    pub(crate) socket: PathBuf,
    upstream: Channel,
    plan: Arc<Mutex<VecDeque<Spoil>>>,
    bundle_last: bool,
    log: watch::Sender<Vec<Passed>>,
}

/// Keeps the relay's server running while it lives.
pub(crate) struct RelayTask(#[expect(dead_code, reason = "it ends the task on drop")] JoinSet<()>);

impl SdsRelay {
    /// `order`: which half of the first pair Envoy sees first.
    pub(crate) async fn start(socket: PathBuf, agent: &Path, order: FirstPair) -> (Self, RelayTask) {
        let agent = agent.to_owned();
        let connector = UnixConnector { agent };
        let upstream =
            Endpoint::from_static("http://sds").connect_with_connector(connector).await.expect("the agent's socket answers");
        let relay = Self {
            socket: socket.clone(),
            upstream,
            plan: Arc::default(),
            bundle_last: order == FirstPair::CertificateFirst,
            log: watch::Sender::default(),
        };
        let listener = UnixListener::bind(&socket).expect("the test's directory is writable");
        let server = tonic::transport::Server::builder()
            .add_service(SecretDiscoveryServiceServer::new(relay.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let mut task = JoinSet::new();
        task.spawn(async move { drop(server.await) });
        (relay, RelayTask(task))
    }

    /// Spoils the next certificate that passes.
    pub(crate) fn spoil_next(&self, how: Spoil) {
        self.plan.lock().unwrap().push_back(how);
    }

    /// Everything that passed so far.
    pub(crate) fn passed(&self) -> Vec<Passed> {
        self.log.borrow().clone()
    }

    async fn certificate_was_answered(&self) {
        let answered =
            |passed: &Passed| matches!(passed, Passed::Ack { name, .. } | Passed::Nack { name, .. } if name == "default");
        let mut log = self.log.subscribe();
        drop(log.wait_for(|log| log.iter().any(answered)).await);
    }

    fn note(&self, passed: Passed) {
        self.log.send_modify(|log| log.push(passed));
    }

    fn forward(&self, name: &str, mut response: DiscoveryResponse) -> DiscoveryResponse {
        let mut spoilt = false;
        for any in &mut response.resources {
            let mut secret = Secret::decode(any.value.as_slice()).expect("the agent sends secrets");
            let Some(Type::TlsCertificate(certificate)) = &mut secret.r#type else { continue };
            let Some(how) = self.plan.lock().unwrap().pop_front() else { continue };
            let inline = |bytes: &[u8]| {
                Some(DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())), ..DataSource::default() })
            };
            match how {
                Spoil::GarbageChain => {
                    certificate.certificate_chain = inline(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
                }
                Spoil::Empty => (certificate.certificate_chain, certificate.private_key) = (inline(b""), inline(b"")),
            }
            any.value = secret.encode_to_vec();
            spoilt = true;
        }
        self.note(Passed::Sent { name: name.to_owned(), nonce: response.nonce.clone(), spoilt });
        response
    }

    fn note_request(&self, request: &DiscoveryRequest) {
        let (name, nonce) = (request.resource_names.join(","), request.response_nonce.clone());
        match &request.error_detail {
            Some(error) => self.note(Passed::Nack { name, nonce, why: error.message.clone() }),
            None if !nonce.is_empty() => self.note(Passed::Ack { name, nonce }),
            None => {}
        }
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for SdsRelay {
    type StreamSecretsStream = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;
    type DeltaSecretsStream = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (forward, upstream) = mpsc::unbounded_channel();
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.ok_or_else(|| Status::cancelled("no request"))?;
        let name = first.resource_names.join(",");
        self.note_request(&first);
        drop(forward.send(first));
        let responses = SecretDiscoveryServiceClient::new(self.upstream.clone())
            .stream_secrets(UnboundedReceiverStream::new(upstream))
            .await?
            .into_inner();
        let relay = self.clone();
        // Requests flow on for as long as Envoy reads the answers: the two halves are one stream.
        let requests = relay.clone();
        let pump = incoming.map(move |request| {
            let request = request?;
            requests.note_request(&request);
            drop(forward.send(request));
            Ok(None)
        });
        let answers = responses.then(move |response| {
            let (relay, name) = (relay.clone(), name.clone());
            async move {
                let response = response?;
                if relay.bundle_last && name == "ROOTCA" {
                    relay.certificate_was_answered().await;
                }
                Ok(Some(relay.forward(&name, response)))
            }
        });
        let merged = pump.merge(answers).filter_map(|item: Result<Option<DiscoveryResponse>, Status>| item.transpose());
        Ok(Response::new(Box::pin(merged)))
    }

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("the relay passes StreamSecrets alone"))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("the relay passes StreamSecrets alone"))
    }
}

#[derive(Clone)]
struct UnixConnector {
    agent: PathBuf,
}

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let agent = self.agent.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(agent).await?)) })
    }
}
