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
use proto::v1::authority_admin_server::AuthorityAdminServer;
use proto::v1::backup_server::BackupServer;
use proto::v1::federation_admin_server::FederationAdminServer;
use proto::v1::kubernetes_admin_server::KubernetesAdminServer;
use proto::v1::node_attestation_server::NodeAttestationServer;
use proto::v1::node_server::NodeServer;
use proto::v1::upstream_server::UpstreamServer;
use runtime::shutdown::Shutdown;
use runtime::unix_socket::BoundSocket;
use tokio::net::{TcpListener, UnixStream};
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::config::LimitsConfig;
use crate::metrics::{ConnectionOutcome, Metrics};
use crate::rpc::admin::AdminService;
use crate::rpc::attest::{AttestService, SharedAttestService};
use crate::rpc::authority_admin::AuthorityAdminService;
use crate::rpc::backup::BackupService;
use crate::rpc::connection::{Connection, ConnectionBounds, ConnectionLimits};
use crate::rpc::federation_admin::FederationAdminService;
use crate::rpc::intake::OpenToAll;
use crate::rpc::istio::{IstioService, SharedIstioService};
use crate::rpc::kubernetes_admin::KubernetesAdminService;
use crate::rpc::message_limit::{Explained, MessageLimit};
use crate::rpc::node::{NodeService, SharedNodeService};
use crate::rpc::only_agents::OnlyAgents;
use crate::rpc::upstream::{SharedUpstreamService, UpstreamService};

/// Handshakes that compute at once.
const COMPUTING_HANDSHAKES: usize = 64;
/// How long a connection without a client certificate may live: an attestation takes well under a second.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(60);
/// Until a call's answer begins (streams go on beyond it).
const CALL_DEADLINE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Resets by the peer that may wait to be noticed (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams of one connection that the peer has made us reset (CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 128;
/// What a peer may send before it is read: of one stream, and of all of its connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Largest question about health or descriptors.
const MAX_QUESTION_BYTES: usize = 4 * 1024;
/// Largest question of another CA: a request of the largest size, and what else is in it.
const MAX_UPSTREAM_MESSAGE_BYTES: usize = pki::MAX_CSR_BYTES + 1024;
/// Largest answer: a full update of a node with thousands of entries, or a batch of 500 RSA chains.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Largest message of an operator's program: a document of entries.
const MAX_ADMIN_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Largest question about authorities: the names of all nodes that an operator gives up.
const MAX_AUTHORITY_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Largest question about federation: a bundle to begin with.
const MAX_FEDERATION_MESSAGE_BYTES: usize = crate::federation::MAX_DOCUMENT_BYTES + 8 * 1024;

/// What agents may call.
pub(crate) struct AgentServices {
    pub(crate) attest: Arc<AttestService>,
    pub(crate) node: Arc<NodeService>,
    pub(crate) istio: IstioServices,
    /// For other CAs; `None` where the configuration names none.
    pub(crate) upstream: Option<Arc<UpstreamService>>,
    pub(crate) health: HealthServer<HealthService>,
    pub(crate) limits: LimitsConfig,
}

/// What callers in Istio's way may call: as configured.
pub(crate) struct IstioServices {
    pub(crate) service: Arc<IstioService>,
    pub(crate) create_certificate: bool,
    pub(crate) handle_csr: bool,
}

/// What operators may call.
pub(crate) struct OperatorServices {
    pub(crate) admin: AdminService,
    pub(crate) authorities: AuthorityAdminService,
    pub(crate) federations: FederationAdminService,
    pub(crate) kubernetes: KubernetesAdminService,
    pub(crate) backup: BackupService,
    pub(crate) limits: LimitsConfig,
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
    let AgentServices { attest, node, istio, upstream, health, limits } = services;
    let LimitsConfig { attestation_bytes, sync_message_bytes, create_certificate_bytes, .. } = limits;
    let message_limit = |key, bytes| MessageLimit { key, bytes, metrics: metrics.limits.clone() };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(proto::istio::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?
        .max_decoding_message_size(MAX_QUESTION_BYTES);
    let health = OpenToAll { service: health.max_decoding_message_size(MAX_QUESTION_BYTES), message_bytes: MAX_QUESTION_BYTES };
    // Reflection tells how to speak to a service, so it is for those who may. `Node` checks each message by itself; that who may not
    // speak is refused before the first one is taken in keeps large ones for callers with a name.
    let callers = Arc::new(node.callers.clone());
    let reflection = OnlyAgents { service: reflection, callers: Arc::clone(&callers) };
    let attest = Explained {
        service: NodeAttestationServer::new(SharedAttestService(attest))
            .max_decoding_message_size(attestation_bytes)
            .max_encoding_message_size(MAX_ANSWER_BYTES),
        limit: message_limit("attestation_bytes", attestation_bytes),
    };
    let attest = OpenToAll { service: attest, message_bytes: attestation_bytes };
    let node = Explained {
        service: NodeServer::new(SharedNodeService(node))
            .max_decoding_message_size(sync_message_bytes)
            .max_encoding_message_size(MAX_ANSWER_BYTES),
        limit: message_limit("sync_message_bytes", sync_message_bytes),
    };
    let node = OnlyAgents { service: node, callers };
    let IstioServices { service, create_certificate, handle_csr } = istio;
    let service = SharedIstioService(service);
    let limit = message_limit("create_certificate_bytes", create_certificate_bytes);
    let message_bytes = create_certificate_bytes;
    let create_certificate = create_certificate.then(|| {
        let service = IstioCertificateServiceServer::new(service.clone()).max_decoding_message_size(message_bytes);
        OpenToAll { service: Explained { service, limit: limit.clone() }, message_bytes }
    });
    let handle_csr = handle_csr.then(|| {
        let service = IstioCaServiceServer::new(service).max_decoding_message_size(message_bytes);
        OpenToAll { service: Explained { service, limit }, message_bytes }
    });
    let upstream = upstream.map(|service| {
        let service = UpstreamServer::new(SharedUpstreamService(service)).max_decoding_message_size(MAX_UPSTREAM_MESSAGE_BYTES);
        OpenToAll { service, message_bytes: MAX_UPSTREAM_MESSAGE_BYTES }
    });
    bounded(&limits)
        .add_service(attest)
        .add_service(node)
        .add_optional_service(upstream)
        .add_optional_service(create_certificate)
        .add_optional_service(handle_csr)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(connections(listener, tls, &limits, metrics), async move { shutdown.fired().await })
        .await?;
    Ok(())
}

/// Serves operators until the end.
///
/// # Errors
/// [`ListenError`].
pub(crate) async fn operators(socket: BoundSocket, services: OperatorServices, shutdown: Shutdown) -> Result<(), ListenError> {
    let OperatorServices { admin, authorities, federations, kubernetes, backup, limits } = services;
    let admin = AdminServer::new(admin).max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let authorities = AuthorityAdminServer::new(authorities).max_decoding_message_size(MAX_AUTHORITY_MESSAGE_BYTES);
    let backup = BackupServer::new(backup).max_decoding_message_size(MAX_QUESTION_BYTES);
    let federations = FederationAdminServer::new(federations).max_decoding_message_size(MAX_FEDERATION_MESSAGE_BYTES);
    let kubernetes = KubernetesAdminServer::new(kubernetes).max_decoding_message_size(MAX_QUESTION_BYTES);
    let incoming = stream::unfold(socket, |socket| async move {
        let accepted: io::Result<UnixStream> = socket.accept().await;
        Some((accepted, socket))
    });
    bounded(&limits)
        .add_service(admin)
        .add_service(authorities)
        .add_service(federations)
        .add_service(kubernetes)
        .add_service(backup)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.fired().await })
        .await?;
    Ok(())
}

fn bounded(limits: &LimitsConfig) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        // h2 takes lists that are shorter than what it is told.
        .http2_max_header_list_size(limits.header_bytes + 1)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .timeout(CALL_DEADLINE)
}

/// Finished handshakes as tonic takes them. It never ends and never fails: what is not served is counted and closed.
fn connections(
    listener: TcpListener,
    tls: ServerTls,
    limits: &LimitsConfig,
    metrics: Metrics,
) -> impl Stream<Item = Result<Connection, std::convert::Infallible>> + use<> {
    let handshakes = HandshakeLimits {
        pending: limits.handshakes,
        per_address: limits.connections_per_address,
        concurrent: COMPUTING_HANDSHAKES,
        deadline: limits.handshake_deadline,
    };
    let bounds = ConnectionBounds {
        anonymous: limits.anonymous_connections,
        per_identity: limits.connections_per_identity,
        anonymous_lifetime: ANONYMOUS_LIFETIME,
        anonymous_bytes: limits.anonymous_bytes,
    };
    let listener = MtlsListener::new(listener, tls, handshakes).reporting_to(Arc::new(metrics.clone()));
    let limits = ConnectionLimits::new(bounds, metrics.limits.clone());
    stream::unfold((listener, limits, metrics), |(mut listener, limits, metrics)| async move {
        loop {
            let accepted = listener.next().await;
            let remote = accepted.remote;
            match Connection::new(accepted, &limits) {
                Ok(connection) => {
                    metrics.connection(connection.outcome());
                    return Some((Ok(connection), (listener, limits, metrics)));
                }
                Err(error) => {
                    metrics.connection(ConnectionOutcome::Unserved);
                    tracing::warn!(%remote, %error, "connection closed after its handshake: no keying material");
                }
            }
        }
    })
}
