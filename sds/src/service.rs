//! The gRPC service: moves bytes between Envoy and the state machine of its connection.

mod live;
mod log;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::{Stream, stream};
use pki::Sha256Digest;
use prost::Message;
use proto::envoy::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use runtime::clock::Clock;
use tokio::sync::watch;
use tonic::{Request, Status};

use crate::file_secret::is_file_name;
use crate::server::{Requests, SdsServer};
use crate::stream::{Connection, DeltaRequest, FetchError, RequestError, Response, StreamId, TooManyStreams};
use crate::{BearerRefusal, BearerToken, FileNames, SdsMetrics, SdsProgress, SecretSource, ValidationContextKind, wire};
pub(crate) use live::Shared;
use live::{Driver, OpenStream, Sources, files_changed};

/// Most tokens at work on one connection.
const MAX_TOKENS: usize = 8;

/// How long a fetch waits for what the host must get first: files, or a certificate for a token.
const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// All streams of one peer connection; clones are the same connection.
///
/// The host makes one per accepted connection and puts it into the request extensions (tonic does that with what
/// `Connected::connect_info` returns).
pub struct SdsConnection<C> {
    caller: C,
    shared: Arc<Shared>,
    /// What streams with a token of their own share, by the token's digest, as long as one of them is open.
    bearers: Arc<Mutex<BTreeMap<Sha256Digest, Weak<Shared>>>>,
}

/// `envoy.service.secret.v3.SecretDiscoveryService`: `StreamSecrets`, `DeltaSecrets` and `FetchSecrets`.
pub struct SdsService<S> {
    source: Arc<S>,
    validation: ValidationContextKind,
    clock: Arc<dyn Clock>,
    metrics: SdsMetrics,
    progress: SdsProgress,
}

impl<C> SdsConnection<C> {
    /// For an attested caller. What happens on its streams is logged in the span that is current now.
    pub fn new(caller: C) -> Self {
        Self { caller, shared: Arc::new(Shared::new()), bearers: Arc::default() }
    }

    /// Who is at the other end.
    pub fn caller(&self) -> &C {
        &self.caller
    }
}

impl<C: Clone> Clone for SdsConnection<C> {
    fn clone(&self) -> Self {
        let (shared, bearers) = (Arc::clone(&self.shared), Arc::clone(&self.bearers));
        Self { caller: self.caller.clone(), shared, bearers }
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
        Self { source, validation, clock, metrics, progress: SdsProgress::default() }
    }

    /// How far the peers of all connections are.
    pub fn progress(&self) -> SdsProgress {
        self.progress.clone()
    }

    /// As it is routed to.
    pub fn into_server(self) -> SdsServer<S> {
        SdsServer::new(self)
    }

    fn driver<T>(&self, request: &Request<T>) -> Result<Driver, Status> {
        let connection = request
            .extensions()
            .get::<SdsConnection<S::Caller>>()
            .ok_or_else(|| Status::permission_denied("this connection has no attested caller"))?;
        let token = BearerToken::from_metadata(request.metadata());
        match token.map_err(|fault| Status::unauthenticated(fault.to_string()))? {
            Some(token) => self.bearer_driver(connection, token),
            None => Ok(self.own_driver(connection)),
        }
    }

    fn own_driver(&self, connection: &SdsConnection<S::Caller>) -> Driver {
        let sources = || {
            let (names, wanted) = watch::channel(FileNames::default());
            let files = self.source.files(&connection.caller, wanted).map(|found| (names, found));
            Sources { secrets: self.source.subscribe(&connection.caller), files }
        };
        let (shared, clock) = (Arc::clone(&connection.shared), Arc::clone(&self.clock));
        Driver::new(shared, self.validation, clock, self.metrics.clone(), || self.watched(&connection.shared, sources))
    }

    /// For a machine that is being made: its progress counts from now on.
    fn watched(&self, shared: &Arc<Shared>, sources: impl FnOnce() -> Sources) -> Sources {
        self.progress.watch(shared);
        sources()
    }

    /// Streams of the connection that bear the same token have one machine, and no other stream has a part in it.
    fn bearer_driver(&self, connection: &SdsConnection<S::Caller>, token: BearerToken) -> Result<Driver, Status> {
        let mut bearers = connection.bearers.lock().unwrap_or_else(PoisonError::into_inner);
        bearers.retain(|_, shared| shared.strong_count() > 0);
        let digest = token.digest();
        if let Some(shared) = bearers.get(&digest).and_then(Weak::upgrade) {
            return Ok(Driver::of(shared, Arc::clone(&self.clock), self.metrics.clone()));
        }
        if bearers.len() >= MAX_TOKENS {
            return Err(Status::resource_exhausted(format!("the connection bears {MAX_TOKENS} tokens, no more are taken")));
        }
        let secrets = self.source.bearer(&connection.caller, token).map_err(|refusal| match refusal {
            BearerRefusal::Off => Status::unauthenticated(refusal.to_string()),
            BearerRefusal::TooMany => Status::resource_exhausted(refusal.to_string()),
        })?;
        // Plain, as Istio's agents send it: who comes with a token comes from there.
        let (kind, clock) = (ValidationContextKind::TrustedCa, Arc::clone(&self.clock));
        let shared = Arc::new(connection.shared.beside());
        let sources = || self.watched(&shared, || Sources { secrets, files: None });
        let driver = Driver::new(Arc::clone(&shared), kind, clock, self.metrics.clone(), sources);
        bearers.insert(digest, Arc::downgrade(driver.shared()));
        Ok(driver)
    }

    /// What is said on a stream of the protocol `P`, from now on until it ends.
    ///
    /// # Errors
    /// The stream does not open.
    pub(crate) fn responses<P: Protocol>(
        &self,
        request: Request<Requests<P::Request>>,
    ) -> Result<ResponseStream<P::Response>, Status> {
        let open = self.driver(&request)?.open(P::open).ok_or_else(gone)?;
        let open = open.map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let responses = stream::unfold(Some((open, request.into_inner())), |running| async {
            let (open, requests) = running?;
            next::<P>(open, requests).await
        });
        Ok(Box::pin(responses))
    }
}

/// One of the two streaming methods: the messages that travel, and the kind of stream in the machine.
pub(crate) trait Protocol: 'static {
    type Request: Message + Default + 'static;
    type Response: Message + 'static;

    fn open(machine: &mut Connection) -> Result<StreamId, TooManyStreams>;
    fn take(open: &OpenStream, message: Self::Request) -> Result<(), RequestError>;
    fn write(response: Response) -> Self::Response;
}

/// `StreamSecrets`.
pub(crate) struct StateOfTheWorld;

/// `DeltaSecrets`.
pub(crate) struct Incremental;

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn open(machine: &mut Connection) -> Result<StreamId, TooManyStreams> {
        machine.open()
    }

    fn take(open: &OpenStream, message: DiscoveryRequest) -> Result<(), RequestError> {
        let request = crate::stream::Request::from(message);
        open.driver.step(|machine, now| machine.request(open.id, request, now)).unwrap_or(Ok(()))
    }

    fn write(response: Response) -> DiscoveryResponse {
        wire::response(response)
    }
}

impl Protocol for Incremental {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn open(machine: &mut Connection) -> Result<StreamId, TooManyStreams> {
        machine.open_delta()
    }

    fn take(open: &OpenStream, message: DeltaDiscoveryRequest) -> Result<(), RequestError> {
        let request = DeltaRequest::from(message);
        open.driver.step(|machine, now| machine.request_delta(open.id, request, now)).unwrap_or(Ok(()))
    }

    fn write(response: Response) -> DeltaDiscoveryResponse {
        wire::delta_response(response)
    }
}

/// Responses until the stream ends, well or with a status.
pub(crate) type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl<S: SecretSource> SdsService<S> {
    /// Answers `FetchSecrets`.
    ///
    /// # Errors
    /// The answer is not whole.
    pub(crate) async fn fetch(&self, request: Request<DiscoveryRequest>) -> Result<DiscoveryResponse, Status> {
        let driver = self.driver(&request)?;
        let by_token = !matches!(BearerToken::from_metadata(request.metadata()), Ok(None));
        let request = crate::stream::Request::from(request.into_inner());
        match fetch(&driver, request, by_token).await? {
            Ok(response) => Ok(wire::response(response)),
            Err(error) => {
                driver.log_refusal(&error);
                Err(status(&error))
            }
        }
    }
}

/// Files are looked at, and certificates for tokens fetched, while a stream is open, so for those one is opened meanwhile.
async fn fetch(driver: &Driver, request: crate::stream::Request, by_token: bool) -> Result<Result<Response, FetchError>, Status> {
    let fetch = || driver.step(|machine, now| machine.fetch(request.clone(), now)).ok_or_else(gone);
    let first = fetch()?;
    let comes = by_token || request.names.iter().any(|name| is_file_name(name));
    if !matches!(first, Err(FetchError::NotYet { .. })) || !comes {
        return Ok(first);
    }
    let open = driver.clone().open(Connection::open).ok_or_else(gone)?;
    let mut open = open.map_err(|error| Status::resource_exhausted(error.to_string()))?;
    let asked = driver.step(|machine, now| machine.request(open.id, request.clone(), now)).ok_or_else(gone)?;
    if let Err(error) = asked {
        return Ok(Err(error.into()));
    }
    let there = async {
        loop {
            if let Some(status) = open.end() {
                return Err(status);
            }
            let fetched = fetch()?;
            if !matches!(fetched, Err(FetchError::NotYet { .. })) {
                return Ok(fetched);
            }
            tokio::select! {
                () = files_changed(&mut open.files) => {}
                // An error means that the sender is gone: seen at the top of the loop.
                _changed = open.secrets.changed() => {}
            }
        }
    };
    tokio::time::timeout(FETCHED_WITHIN, there).await.unwrap_or(Ok(first))
}

fn status(error: &FetchError) -> Status {
    let text = error.to_string();
    match error {
        FetchError::Request(_) | FetchError::NoNames => Status::invalid_argument(text),
        FetchError::NoIdentity | FetchError::Revoked { .. } => Status::permission_denied(text),
        FetchError::NotFound { .. } => Status::not_found(text),
        FetchError::NotYet { .. } => Status::unavailable(text),
    }
}

fn gone() -> Status {
    Status::unavailable("the caller of this connection is gone")
}

/// A stream and its requests, or nothing once it has ended with a status.
type Running<T> = Option<(OpenStream, Requests<T>)>;

/// Waits for the next thing to say on a stream; `None` ends it.
async fn next<P: Protocol>(
    mut open: OpenStream,
    mut requests: Requests<P::Request>,
) -> Option<(Result<P::Response, Status>, Running<P::Request>)> {
    loop {
        // Taken first: a change between here and the wait below is then seen by the wait.
        open.wake.mark_unchanged();
        open.secrets.mark_unchanged();
        open.files.iter_mut().for_each(watch::Receiver::mark_unchanged);
        if let Some(status) = open.end() {
            return Some((Err(status), None));
        }
        if let Some(response) = open.transmit() {
            return Some((Ok(P::write(response)), Some((open, requests))));
        }
        let sleep = open.sleep();
        // The machine decides what is sent and keeps nothing in flight here, so the arms may come in any order.
        tokio::select! {
            message = requests.message() => match message {
                Ok(Some(message)) => {
                    if let Err(error) = P::take(&open, message) {
                        open.driver.log_refusal(&error);
                        return Some((Err(Status::invalid_argument(error.to_string())), None));
                    }
                }
                Ok(None) => return None,
                Err(status) => {
                    tracing::debug!(stream = %open.id, code = ?status.code(), "SDS stream broke");
                    return Some((Err(status), None));
                }
            },
            // An error means that the sender is gone: seen at the top of the loop.
            _changed = open.secrets.changed() => {}
            _woken = open.wake.changed() => {}
            () = files_changed(&mut open.files) => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}
