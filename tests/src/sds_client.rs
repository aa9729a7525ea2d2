//! A bare SDS client, for tests that look at the stream itself.

use std::path::Path;

use hyper_util::rt::TokioIo;
use proto::envoy::envoy::config::core::v3::{DataSource, Node, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::envoy::google::rpc;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

/// The type of an SDS resource.
pub const SECRET_TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// One connection to an agent's socket.
pub struct SdsClient {
    client: SecretDiscoveryServiceClient<Channel>,
}

/// One stream on it.
pub struct SdsStream {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    names: Vec<String>,
    accepted: String,
}

/// What an answer held.
#[derive(Clone, Debug)]
pub struct SdsResponse {
    /// `version_info`.
    pub version: String,
    /// `nonce`.
    pub nonce: String,
    /// The secrets, decoded.
    pub secrets: Vec<SdsSecret>,
}

/// One secret.
#[derive(Clone)]
pub struct SdsSecret {
    /// Its name.
    pub name: String,
    /// PEM of the chain, when it is a certificate.
    pub chain_pem: Option<String>,
    /// PEM of the key, when it is a certificate.
    pub key_pem: Option<String>,
    /// Whether it is a validation context.
    pub validation: bool,
}

impl std::fmt::Debug for SdsSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdsSecret").field("name", &self.name).field("validation", &self.validation).finish_non_exhaustive()
    }
}

impl SdsClient {
    /// Connects.
    ///
    /// # Errors
    /// The text of the failure.
    pub async fn connect(socket: &Path) -> Result<Self, String> {
        let socket = socket.to_owned();
        let connector = UnixConnector { socket };
        let channel =
            Endpoint::from_static("http://sds").connect_with_connector(connector).await.map_err(|e| format!("{e:?}"))?;
        Ok(Self { client: SecretDiscoveryServiceClient::new(channel) })
    }

    /// Opens a stream and asks for names.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn subscribe<S: AsRef<str>>(&mut self, names: &[S]) -> Result<SdsStream, Status> {
        self.open(names, suite_node(), None).await
    }

    /// The same from a proxy that says more about itself in its first message.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn subscribe_as_node<S: AsRef<str>>(&mut self, names: &[S], node: Node) -> Result<SdsStream, Status> {
        self.open(names, node, None).await
    }

    /// The same with a token in the stream's metadata.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// When the token is no header.
    pub async fn subscribe_as<S: AsRef<str>>(&mut self, names: &[S], token: Option<&str>) -> Result<SdsStream, Status> {
        self.open(names, suite_node(), token).await
    }

    async fn open<S: AsRef<str>>(&mut self, names: &[S], node: Node, token: Option<&str>) -> Result<SdsStream, Status> {
        let names: Vec<_> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        let (requests, incoming) = mpsc::unbounded_channel();
        let mut stream = SdsStream::request(&names, "", "", None);
        stream.node = Some(node);
        drop(requests.send(stream));
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(incoming);
        let mut request = tonic::Request::new(incoming);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a token is a header");
            request.metadata_mut().insert("authorization", value);
        }
        let responses = self.client.stream_secrets(request).await?.into_inner();
        Ok(SdsStream { requests, responses, names, accepted: String::new() })
    }
}

impl SdsStream {
    /// The next answer.
    ///
    /// # Errors
    /// How the stream ended.
    pub async fn next(&mut self) -> Result<SdsResponse, Status> {
        let response = self.responses.message().await?.ok_or_else(|| Status::cancelled("the server ended the stream"))?;
        let secrets = response.resources.iter().map(|any| {
            assert_eq!(any.type_url, SECRET_TYPE_URL);
            let secret = <Secret as prost::Message>::decode(any.value.as_slice()).expect("a Secret");
            decode(secret)
        });
        Ok(SdsResponse { version: response.version_info.clone(), nonce: response.nonce.clone(), secrets: secrets.collect() })
    }

    /// ACKs.
    pub async fn acknowledge(&mut self, response: &SdsResponse) {
        self.accepted.clone_from(&response.version);
        drop(self.requests.send(Self::request(&self.names, &response.version, &response.nonce, None)));
    }

    /// NACKs.
    pub async fn reject(&mut self, response: &SdsResponse, why: &str) {
        let error = rpc::Status { code: 13, message: why.to_owned(), details: Vec::new() };
        drop(self.requests.send(Self::request(&self.names, &self.accepted, &response.nonce, Some(error))));
    }

    fn request(names: &[String], version: &str, nonce: &str, error: Option<rpc::Status>) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: version.to_owned(),
            response_nonce: nonce.to_owned(),
            resource_names: names.to_vec(),
            type_url: SECRET_TYPE_URL.to_owned(),
            error_detail: error,
            ..DiscoveryRequest::default()
        }
    }
}

fn suite_node() -> Node {
    Node { id: "suite".to_owned(), ..Node::default() }
}

fn decode(secret: Secret) -> SdsSecret {
    let (chain_pem, key_pem, validation) = match secret.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            (certificate.certificate_chain.map(text), certificate.private_key.map(text), false)
        }
        Some(Type::ValidationContext(_)) => (None, None, true),
        other => panic!("an unexpected kind of secret: {}", if other.is_some() { "unknown" } else { "none" }),
    };
    SdsSecret { name: secret.name, chain_pem, key_pem, validation }
}

fn text(source: DataSource) -> String {
    match source.specifier {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).expect("PEM is text"),
        Some(Specifier::InlineString(text)) => text,
        _ => panic!("secrets are inline"),
    }
}

/// Connects to one Unix socket.
#[derive(Clone)]
pub(crate) struct UnixConnector {
    pub(crate) socket: std::path::PathBuf,
}

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = self.socket.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(socket).await?)) })
    }
}
