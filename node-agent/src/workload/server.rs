//! The public socket of the agent: accepts, attests, and hands attested connections to the services.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, Stream, future::BoxFuture};
use runtime::accept::pause_after_error;
use runtime::clock::Clock;
use runtime::shutdown::{self, Shutdown};
use runtime::unix_socket::{BoundSocket, SocketError};
use tokio::net::UnixStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::caller::{Caller, Peer};
use super::calls::BoundedCalls;
use super::connection::AttestedStream;
use super::demand::{Content, ExecutableDemand};
use super::gate::Gate;
use super::kubernetes::NodePods;
use super::limits::{Full, Limits, Slot, WorkloadLimits};
use super::metrics::{Refusal, WorkloadMetrics};
use super::refusal_log::RefusalLog;

/// Why the socket is no longer served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The description of the services does not build: a bug.
    #[error("gRPC reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the workload socket failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// The bound socket; nobody is served yet.
#[derive(Debug)]
pub struct WorkloadServer {
    socket: BoundSocket,
    limits: Limits,
}

impl WorkloadServer {
    /// Binds at `path` with mode 0666: everybody may connect, and gets what is its own, within `limits`.
    ///
    /// # Errors
    /// [`SocketError`] naming the path, what is wrong with it and what to do.
    pub fn bind(path: &Path, limits: WorkloadLimits) -> Result<Self, SocketError> {
        Ok(Self { socket: BoundSocket::bind(path, 0o666)?, limits: Limits::new(limits) })
    }

    /// Where it is bound.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Serves `routes`, and beside them gRPC health and reflection, until `shutdown`; then connections get a short while to end
    /// and are cut. Requests carry an [`sds::SdsConnection`] of their [`super::Caller`] in their extensions.
    ///
    /// # Errors
    /// [`ServeError`] when the transport fails.
    pub async fn run(
        self,
        routes: Routes,
        metrics: WorkloadMetrics,
        facts: CallerFacts,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<(), ServeError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        for service in [SDS_SERVICE, WORKLOAD_API_SERVICE] {
            health.set_service_status(service, tonic_health::ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(proto::workload::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let health_service = health_service.max_decoding_message_size(MAX_QUESTION_BYTES);
        let reflection = reflection.max_decoding_message_size(MAX_QUESTION_BYTES);
        let routes = routes.add_service(health_service).add_service(reflection);
        let (cutter, cut) = shutdown::channel();
        let gate = Gate::new(MAX_ATTESTING);
        let refusals = RefusalLog::new(clock);
        let calls = BoundedCalls {
            service: routes.prepare(),
            limits: self.limits.clone(),
            refusals: refusals.clone(),
            metrics: metrics.clone(),
        };
        let attender = Attender { gate, refusals, metrics, facts, cut };
        let incoming = incoming(Acceptor { socket: self.socket, limits: self.limits, attender });
        let serving = Server::builder()
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
            .serve_with_incoming_shutdown(calls, incoming, shutdown.fired());
        let cutting = async {
            shutdown.fired().await;
            // SDS streams have no end of their own: whoever has not gone by now is cut.
            tokio::time::sleep(DRAIN).await;
            cutter.fire();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = cutting => Ok(()),
        }
    }
}

/// What a caller's selectors are made of beside what the kernel says; clones share it.
#[derive(Clone)]
pub struct CallerFacts {
    /// The content of executables.
    pub(crate) executables: ExecutableDemand,
    /// The pods of this node.
    pub(crate) pods: NodePods,
}

/// Takes connections one by one and attests several at a time, so that a slow account lookup delays nobody else.
struct Acceptor {
    socket: BoundSocket,
    limits: Limits,
    attender: Attender,
}

/// Attests one connection; clones share the bounds.
#[derive(Clone)]
struct Attender {
    gate: Gate,
    refusals: RefusalLog,
    metrics: WorkloadMetrics,
    facts: CallerFacts,
    cut: Shutdown,
}

/// A connection whose caller the kernel has told all about.
struct Attested {
    stream: UnixStream,
    caller: Caller,
    slot: Slot,
    /// What was said of the content of its executable.
    content: Content,
}

/// Connections on their way to the services.
#[derive(Default)]
struct Entering {
    attesting: FuturesUnordered<BoxFuture<'static, Option<Attested>>>,
    /// As many as may wait for their containers to be listed; all others are ready at once.
    completing: FuturesUnordered<BoxFuture<'static, AttestedStream>>,
}

fn incoming(acceptor: Acceptor) -> impl Stream<Item = io::Result<AttestedStream>> {
    stream::unfold((acceptor, Entering::default()), |(acceptor, mut entering)| async move {
        loop {
            let Entering { attesting, completing } = &mut entering;
            let may_accept = attesting.len() < MAX_ATTESTING;
            // Any order is fine: no arm loses anything when another one is taken.
            tokio::select! {
                accepted = acceptor.socket.accept(), if may_accept => match accepted {
                    Ok(stream) => attesting.extend(acceptor.admit(stream)),
                    Err(error) => pause_after_error(&error).await,
                },
                Some(attested) = attesting.next(), if !attesting.is_empty() => {
                    completing.extend(attested.map(|attested| acceptor.attender.clone().complete(attested).boxed()));
                }
                Some(stream) = completing.next(), if !completing.is_empty() => return Some((Ok(stream), (acceptor, entering))),
            }
        }
    })
}

impl Acceptor {
    /// Asks the kernel who connected, at once, and starts the attestation.
    fn admit(&self, stream: UnixStream) -> Option<BoxFuture<'static, Option<Attested>>> {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                self.attender.refusals.say("connection", &error);
                self.attender.metrics.refused(Refusal::NotAttested);
                return None;
            }
        };
        let slot = match self.limits.take(peer.uid()) {
            Ok(slot) => slot,
            Err(full) => {
                let (pid, uid) = (peer.pid(), peer.uid());
                self.attender
                    .refusals
                    .say("connection", &format_args!("process {pid} of uid {uid}: too many are open ({full:?})"));
                self.attender.metrics.refused(match full {
                    Full::Total => Refusal::TooMany,
                    Full::OfUser => Refusal::TooManyOfUser,
                });
                return None;
            }
        };
        Some(self.attender.clone().attest(stream, peer, slot).boxed())
    }
}

impl Attender {
    async fn attest(self, stream: UnixStream, peer: Peer, slot: Slot) -> Option<Attested> {
        let hashes = self.facts.executables.wanted();
        let asked = hashes.is_some();
        match self.gate.within(ATTESTATION_LIMIT, slot, move || peer.attest(hashes.as_deref())).await {
            Ok((caller, slot)) => Some(Attested { stream, content: Content::of(&caller, asked), caller, slot }),
            Err(error) => {
                self.refusals.say("connection", &error);
                self.metrics.refused(Refusal::NotAttested);
                None
            }
        }
    }

    /// Adds what the cluster says of a caller in a pod.
    async fn complete(self, Attested { stream, mut caller, slot, content }: Attested) -> AttestedStream {
        let standing = self.facts.pods.complete(&mut caller).await;
        for absent in &caller.unreadable {
            tracing::debug!(pid = caller.pid, kind = %absent.kind, why = absent.why, "selector absent");
        }
        let of_content = self.facts.executables.outdates(content);
        let outdated = async move {
            tokio::select! {
                () = of_content => {}
                () = standing.outdated() => {}
            }
        };
        AttestedStream::new(stream, caller, slot, self.cut, outdated, self.metrics)
    }
}

/// The services whose health is told under their own names.
const SDS_SERVICE: &str = "envoy.service.secret.v3.SecretDiscoveryService";
const WORKLOAD_API_SERVICE: &str = "SpiffeWorkloadAPI";

/// One more than SDS allows, so that the refusal comes from the service, with a reason; and some for health.
const MAX_HTTP2_STREAMS: u32 = 128;

/// What a peer may send before it is read: of one stream, and of all of its connection, which is what it can have us keep when it
/// does not read our answers. Half of the second is also what small frames may waste while they are unread, at up to 256 bytes each:
/// two messages of each stream.
const STREAM_WINDOW_BYTES: u32 = 65_535;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;

/// Of the header fields of one request, decoded (RFC 9113 section 6.5.2: 32 bytes more for each field): 16 KiB. One more, since h2
/// takes lists that are shorter than what it is told.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024 + 1;

/// Streams that the peer has reset and no service has seen yet (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// Streams of one connection that the peer has made us reset (CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 128;

/// Of a question about health or descriptors.
const MAX_QUESTION_BYTES: usize = 4 * 1024;

/// Attestations under way at a time; further connections wait in the kernel's queue.
const MAX_ATTESTING: usize = 64;

/// The kernel answers in microseconds; only a name lookup can take long.
const ATTESTATION_LIMIT: Duration = Duration::from_secs(5);

/// How long connections may go on after the shutdown.
const DRAIN: Duration = Duration::from_millis(500);
