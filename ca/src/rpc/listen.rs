//! The two gRPC servers: for agents over TLS, for operators over the Unix socket. Owns their limits and what is open to whom.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use mtls::{HandshakeLimits, MtlsListener, ServerTls};
use proto::istio::istio_ca_service_server::IstioCaServiceServer;
use proto::istio::istio_certificate_service_server::IstioCertificateServiceServer;
use proto::v1;
use proto::v1::admin_server::AdminServer;
use proto::v1::node_attestation_server::NodeAttestationServer;
use proto::v1::node_server::NodeServer;
use runtime::shutdown::Shutdown;
use runtime::unix_socket::BoundSocket;
use tokio::net::{TcpListener, UnixStream};
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::metrics::{ConnectionOutcome, Metrics};
use crate::rpc::admin::AdminService;
use crate::rpc::attest::{self, AttestService, SharedAttestService};
use crate::rpc::connection::{AnonymousLimit, Connection};
use crate::rpc::istio::{self, IstioService, SharedIstioService};
use crate::rpc::node::{self, NodeService, SharedNodeService};
use crate::rpc::only_agents::OnlyAgents;

/// Before a handshake has finished. Silent peers fill places, which newcomers take from the oldest; none of them delays a good one.
const HANDSHAKES: HandshakeLimits = HandshakeLimits { pending: 1024, concurrent: 64, deadline: Duration::from_secs(10) };
/// Connections without a client certificate at once, and how long each may live: an attestation takes well under a second.
const ANONYMOUS: usize = 512;
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(60);
/// Streams and calls at once on one connection.
const CONCURRENCY: u32 = 100;
/// Until a call's answer begins (streams go on beyond it).
const CALL_DEADLINE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Resets by the peer that may wait to be noticed (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Largest answer: a full update of a node with thousands of entries, or a batch of 500 RSA chains.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Largest message of an operator's program: a document of entries.
const MAX_ADMIN_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// What agents may call.
pub(crate) struct AgentServices {
    pub(crate) attest: Arc<AttestService>,
    pub(crate) node: Arc<NodeService>,
    pub(crate) istio: IstioServices,
    pub(crate) health: HealthServer<HealthService>,
}

/// What callers in Istio's way may call: as configured.
pub(crate) struct IstioServices {
    pub(crate) service: Arc<IstioService>,
    pub(crate) create_certificate: bool,
    pub(crate) handle_csr: bool,
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("the descriptors of signet.v1: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// Serves agents until the end.
///
/// # Errors
/// [`ListenError`].
pub(crate) async fn agents(
    listener: TcpListener,
    tls: ServerTls,
    services: AgentServices,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<(), ListenError> {
    let AgentServices { attest, node, istio, health } = services;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(proto::istio::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    // Reflection tells how to speak to a service, so it is for those who may.
    let reflection = OnlyAgents { service: reflection, callers: node.callers.clone() };
    let attest = NodeAttestationServer::new(SharedAttestService(attest))
        .max_decoding_message_size(attest::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES);
    let node = NodeServer::new(SharedNodeService(node))
        .max_decoding_message_size(node::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES);
    let IstioServices { service, create_certificate, handle_csr } = istio;
    let service = SharedIstioService(service);
    let create_certificate = create_certificate
        .then(|| IstioCertificateServiceServer::new(service.clone()).max_decoding_message_size(istio::MAX_MESSAGE_BYTES));
    let handle_csr = handle_csr.then(|| IstioCaServiceServer::new(service).max_decoding_message_size(istio::MAX_MESSAGE_BYTES));
    bounded()
        .add_service(attest)
        .add_service(node)
        .add_optional_service(create_certificate)
        .add_optional_service(handle_csr)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(connections(listener, tls, metrics), async move { shutdown.fired().await })
        .await?;
    Ok(())
}

/// Serves operators until the end.
///
/// # Errors
/// [`ListenError`].
pub(crate) async fn operators(socket: BoundSocket, admin: AdminService, shutdown: Shutdown) -> Result<(), ListenError> {
    let admin = AdminServer::new(admin).max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let incoming = stream::unfold(socket, |socket| async move {
        let accepted: io::Result<UnixStream> = socket.accept().await;
        Some((accepted, socket))
    });
    bounded().add_service(admin).serve_with_incoming_shutdown(incoming, async move { shutdown.fired().await }).await?;
    Ok(())
}

fn bounded() -> Server {
    Server::builder()
        .max_concurrent_streams(CONCURRENCY)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .timeout(CALL_DEADLINE)
}

/// Finished handshakes as tonic takes them. It never ends and never fails: what is not served is counted and closed.
fn connections(
    listener: TcpListener,
    tls: ServerTls,
    metrics: Metrics,
) -> impl Stream<Item = Result<Connection, std::convert::Infallible>> {
    let listener = MtlsListener::new(listener, tls, HANDSHAKES).reporting_to(Arc::new(metrics.clone()));
    let limit = AnonymousLimit::new(ANONYMOUS, ANONYMOUS_LIFETIME);
    stream::unfold((listener, limit, metrics), |(mut listener, limit, metrics)| async move {
        loop {
            let accepted = listener.next().await;
            let remote = accepted.remote;
            match Connection::new(accepted, &limit) {
                Ok(connection) => {
                    metrics.connection(connection.outcome());
                    return Some((Ok(connection), (listener, limit, metrics)));
                }
                Err(error) => {
                    metrics.connection(ConnectionOutcome::Unserved);
                    tracing::warn!(%remote, %error, "connection closed after its handshake");
                }
            }
        }
    })
}
