//! The gRPC service: moves bytes between Envoy and the state machine of its connection.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use runtime::clock::Clock;
use runtime::log_budget::LogBudget;
use tokio::sync::watch;
use tonic::{Request, Status, Streaming};

use crate::stream::{Alarm, Connection, Event, Now, RequestError, Response, StreamId};
use crate::{SdsMetrics, SecretSource, SecretState, ValidationContextKind, wire};

/// The largest request read, in bytes: Envoy's with its whole node are 61 kB. Each stream may hold a half-sent one.
const MAX_REQUEST_BYTES: usize = 256 << 10;

/// The longest sleep between two looks at the clock, which goes on during a suspend while the sleep does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// All streams of one peer connection; clones are the same connection.
///
/// The host makes one per accepted connection and puts it into the request extensions (tonic does that with what
/// `Connected::connect_info` returns).
pub struct SdsConnection<C> {
    caller: C,
    shared: Arc<Shared>,
}

struct Shared {
    span: tracing::Span,
    /// Made by the first stream.
    live: Mutex<Option<Live>>,
    /// Counted up when streams should look again.
    wake: watch::Sender<u64>,
}

struct Live {
    machine: Connection,
    /// For all streams of the connection together: a peer that errs without end does not fill the disk.
    log: LogBudget,
    secrets: watch::Receiver<Arc<SecretState>>,
}

/// `envoy.service.secret.v3.SecretDiscoveryService`: `StreamSecrets`. `DeltaSecrets` and `FetchSecrets` are UNIMPLEMENTED.
pub struct SdsService<S> {
    source: Arc<S>,
    validation: ValidationContextKind,
    clock: Arc<dyn Clock>,
    metrics: SdsMetrics,
}

impl<C> SdsConnection<C> {
    /// For an attested caller. What happens on its streams is logged in the span that is current now.
    pub fn new(caller: C) -> Self {
        let shared = Shared { span: tracing::Span::current(), live: Mutex::default(), wake: watch::Sender::default() };
        Self { caller, shared: Arc::new(shared) }
    }

    /// Who is at the other end.
    pub fn caller(&self) -> &C {
        &self.caller
    }
}

impl<C: Clone> Clone for SdsConnection<C> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<C: fmt::Debug> fmt::Debug for SdsConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdsConnection").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for SdsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdsService").field("validation", &self.validation).finish_non_exhaustive()
    }
}

impl<S: SecretSource> SdsService<S> {
    /// A service over `source`. `validation` is the form of validation contexts where a peer's node metadata do not ask for plain
    /// `trusted_ca` (`disable_spiffe_cert_validation: true`).
    pub fn new(source: Arc<S>, validation: ValidationContextKind, clock: Arc<dyn Clock>, metrics: SdsMetrics) -> Self {
        Self { source, validation, clock, metrics }
    }

    /// As tonic serves it, with the bound on request sizes.
    pub fn into_server(self) -> SecretDiscoveryServiceServer<Self> {
        SecretDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    fn open(&self, connection: &SdsConnection<S::Caller>) -> Result<OpenStream, Status> {
        let clock = Arc::clone(&self.clock);
        let now = read(&*clock);
        let mut guard = connection.shared.lock();
        let live = guard.get_or_insert_with(|| {
            let mut secrets = self.source.subscribe(&connection.caller);
            let state = Arc::clone(&secrets.borrow_and_update());
            Live { machine: Connection::new(self.validation, state, now), log: LogBudget::new(now.boot), secrets }
        });
        let id = live.machine.open().map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let secrets = live.secrets.clone();
        drop(guard);
        self.metrics.opened();
        let wake = connection.shared.wake.subscribe();
        Ok(OpenStream { id, shared: Arc::clone(&connection.shared), secrets, wake, clock, metrics: self.metrics.clone() })
    }
}

/// One open stream; closes itself in the machine when dropped.
struct OpenStream {
    id: StreamId,
    shared: Arc<Shared>,
    secrets: watch::Receiver<Arc<SecretState>>,
    wake: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
    metrics: SdsMetrics,
}

impl OpenStream {
    /// Runs `step` on the machine with the newest state and the time, then logs, counts, and wakes the other streams.
    fn step<T>(&self, step: impl FnOnce(&mut Connection, Now) -> T) -> Option<T> {
        let now = read(&*self.clock);
        let mut guard = self.shared.lock();
        let live = guard.as_mut()?;
        let state = Arc::clone(&live.secrets.borrow());
        live.machine.update(state, now);
        let outcome = step(&mut live.machine, now);
        let events: Vec<_> = live.machine.take_events().into_iter().map(|event| (live.log.take(now.boot), event)).collect();
        let woken = live.machine.take_woken();
        drop(guard);
        if woken {
            self.shared.wake.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.shared.span.in_scope(|| {
            for (line, event) in &events {
                self.metrics.count(event);
                if let Some(left_out) = line {
                    tell_left_out(*left_out);
                    log(event);
                }
            }
        });
        Some(outcome)
    }

    fn take(&self, message: DiscoveryRequest) -> Result<(), RequestError> {
        let request = wire::request(message);
        self.step(|machine, now| machine.request(self.id, request, now)).unwrap_or(Ok(()))
    }

    /// A stream that is refused counts against the same budget: the peer can open the next at once.
    fn log_refusal(&self, error: &RequestError) {
        let boot = self.clock.boottime();
        let line = self.shared.lock().as_mut().and_then(|live| live.log.take(boot));
        if let Some(left_out) = line {
            self.shared.span.in_scope(|| {
                tell_left_out(left_out);
                tracing::warn!(stream = %self.id, %error, "SDS stream refused");
            });
        }
    }

    fn transmit(&self) -> Option<Response> {
        self.step(|machine, now| machine.transmit(self.id, now)).flatten()
    }

    /// How long until the machine wants to be asked again, at most [`LONGEST_SLEEP`].
    fn sleep(&self) -> Duration {
        let until_wakeup = self.step(|machine, now| machine.next_wakeup().map(|at| at.saturating_sub(now.boot))).flatten();
        until_wakeup.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.step(|machine, now| machine.close(self.id, now));
        self.metrics.closed();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        // The machine has no half-done state that a panic could leave behind worse than a wrong answer to its own peer.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<S: SecretSource> SecretDiscoveryService for SdsService<S> {
    type DeltaSecretsStream = ResponseStream<DeltaDiscoveryResponse>;
    type StreamSecretsStream = ResponseStream<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::StreamSecretsStream>, Status> {
        let connection = request
            .extensions()
            .get::<SdsConnection<S::Caller>>()
            .ok_or_else(|| Status::permission_denied("this connection has no attested caller"))?;
        let open = self.open(connection)?;
        let responses = stream::unfold(Some((open, request.into_inner())), |running| async {
            let (open, requests) = running?;
            next(open, requests).await
        });
        Ok(tonic::Response::new(Box::pin(responses)))
    }

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("DeltaSecrets is not served; set api_type: GRPC"))
    }

    async fn fetch_secrets(&self, _request: Request<DiscoveryRequest>) -> Result<tonic::Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("FetchSecrets is not served; use StreamSecrets"))
    }
}

/// A stream and its requests, or nothing once it has ended with a status.
type Running = Option<(OpenStream, Streaming<DiscoveryRequest>)>;

/// Waits for the next thing to say on a stream; `None` ends it.
async fn next(
    mut open: OpenStream,
    mut requests: Streaming<DiscoveryRequest>,
) -> Option<(Result<DiscoveryResponse, Status>, Running)> {
    loop {
        // Taken first: a change between here and the wait below is then seen by the wait.
        open.wake.mark_unchanged();
        open.secrets.mark_unchanged();
        if open.secrets.has_changed().is_err() {
            return Some((Err(Status::unavailable("the caller of this connection is gone")), None));
        }
        if let Some(response) = open.transmit() {
            return Some((Ok(wire::response(response)), Some((open, requests))));
        }
        let sleep = open.sleep();
        // The machine decides what is sent and keeps nothing in flight here, so the arms may come in any order.
        tokio::select! {
            message = requests.message() => match message {
                Ok(Some(message)) => {
                    if let Err(error) = open.take(message) {
                        open.log_refusal(&error);
                        return Some((Err(Status::invalid_argument(error.to_string())), None));
                    }
                }
                Ok(None) => return None,
                Err(status) => {
                    tracing::debug!(stream = %open.id, code = ?status.code(), "SDS stream broke");
                    return None;
                }
            },
            // An error means that the sender is gone: seen at the top of the loop.
            _changed = open.secrets.changed() => {}
            _woken = open.wake.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

fn read(clock: &dyn Clock) -> Now {
    Now { wall: clock.now().into(), boot: clock.boottime() }
}

fn tell_left_out(lines: u64) {
    if lines > 0 {
        tracing::warn!(lines, "lines about this connection were left out: it causes too many");
    }
}

fn log(event: &Event) {
    match event {
        Event::Pushed { stream, version, certificates, validation_contexts } => {
            tracing::info!(%stream, version, certificates, validation_contexts, "secrets sent");
        }
        Event::Acked { stream, version } => tracing::debug!(%stream, version, "secrets accepted"),
        Event::Nacked { stream, version, why } => tracing::warn!(%stream, version, why, "secrets rejected by the peer"),
        Event::StaleNonce { stream } => tracing::debug!(%stream, "request for an overtaken response ignored"),
        Event::Unanswered { stream, name, reason } => tracing::warn!(%stream, name, ?reason, "name left unanswered"),
        Event::Alarm(Alarm::HeldBack { id, serial, why }) => {
            tracing::error!(%id, serial, %why, "SVID does not verify with the bundle: held back, the last good pair stays");
        }
        Event::Alarm(Alarm::Rejected) => tracing::error!("peer rejected a pair: the last good one is sent again"),
        Event::Alarm(Alarm::RejectedFirst) => {
            tracing::error!("peer rejected its first pair: nothing is sent until the content changes");
        }
        Event::Alarm(Alarm::RejectedAgain { retry_in }) => {
            tracing::error!(?retry_in, "peer rejects the last good pair too: trying again later");
        }
    }
}
