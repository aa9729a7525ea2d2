//! The SDS client of the demo workloads: asks the agent for `default` and `ROOTCA` as Envoy does, acknowledges what it can
//! use, rejects what it cannot, and keeps the last good credentials while the agent is away.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use pki::{Timestamp, TrustBundle, X509Svid};
use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::envoy::google::rpc;
use runtime::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::events::Event;
use super::sds_secret::{Received, SECRET_TYPE, SecretError, decode};
use crate::admin_client;
use crate::failure::Failure;

/// Certificate and trust as the newest that came; both change while they are held.
pub(super) struct Credentials {
    pub(super) svid: watch::Receiver<Arc<X509Svid>>,
    pub(super) bundle: watch::Receiver<Arc<TrustBundle>>,
}

/// Asks for ever.
pub(super) struct SdsClient {
    socket: PathBuf,
    node: &'static str,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    streams: u64,
    bundles: u64,
    inbox: Inbox,
}

/// Holds the senders once there is a first value, and gives the receivers away when there is one of each.
struct Inbox {
    svid: Option<watch::Sender<Arc<X509Svid>>>,
    bundle: Option<watch::Sender<Arc<TrustBundle>>>,
    complete: Option<oneshot::Sender<Credentials>>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("{} ({})", .0.message(), .0.code().description())]
    Status(#[from] tonic::Status),
    #[error("the agent closed it")]
    Closed,
    #[error("{}", .0.one_line())]
    Output(Failure),
}

impl SdsClient {
    /// A client, and where the first complete credentials will be.
    pub(super) fn new(
        socket: PathBuf,
        node: &'static str,
        trust_domain: TrustDomain,
        clock: Arc<dyn Clock>,
    ) -> (Self, oneshot::Receiver<Credentials>) {
        let (complete, credentials) = oneshot::channel();
        let inbox = Inbox { svid: None, bundle: None, complete: Some(complete) };
        (Self { socket, node, trust_domain, clock, streams: 0, bundles: 0, inbox }, credentials)
    }

    /// Keeps a stream open, anew after each loss.
    pub(super) async fn run(mut self) -> Result<Infallible, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = self.bundles;
            let end = match self.stream().await {
                Ok(never) => match never {},
                Err(StreamEnd::Output(failure)) => return Err(failure),
                Err(end) => end,
            };
            Event::StreamLost { stream: self.streams, why: end.to_string() }.tell()?;
            pause = if self.bundles > heard { FIRST_PAUSE } else { pause.saturating_mul(2).min(LONGEST_PAUSE) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn stream(&mut self) -> Result<Infallible, StreamEnd> {
        let channel = admin_client::connect(&self.socket).await?;
        self.streams += 1;
        let (requests, outgoing) = mpsc::channel(PENDING_REQUESTS);
        let node = Node { id: self.node.to_owned(), cluster: "signet-dev".to_owned(), ..Node::default() };
        // The node only here, as `set_node_on_first_message_only` has it.
        send(&requests, DiscoveryRequest { node: Some(node), ..question() }).await?;
        let mut client = SecretDiscoveryServiceClient::new(channel);
        let opening = client.stream_secrets(ReceiverStream::new(outgoing));
        let names = NAMES.map(str::to_owned).to_vec();
        Event::Asked { stream: self.streams, names }.tell().map_err(StreamEnd::Output)?;
        let mut responses = opening.await?.into_inner();
        let mut accepted = String::new();
        while let Some(response) = responses.message().await? {
            let mut answer = DiscoveryRequest { response_nonce: response.nonce.clone(), ..question() };
            match self.take(&response).map_err(StreamEnd::Output)? {
                Ok(()) => accepted.clone_from(&response.version_info),
                Err(error) => {
                    let why = error.to_string();
                    Event::Rejected { stream: self.streams, why: why.clone() }.tell().map_err(StreamEnd::Output)?;
                    answer.error_detail =
                        Some(rpc::Status { code: i32::from(Code::Internal), message: why, details: Vec::new() });
                }
            }
            answer.version_info.clone_from(&accepted);
            send(&requests, answer).await?;
        }
        Err(StreamEnd::Closed)
    }

    /// Takes all resources of a response or, when one is not usable, none.
    fn take(&mut self, response: &DiscoveryResponse) -> Result<Result<(), SecretError>, Failure> {
        let now = Timestamp::from(self.clock.now());
        let received: Result<Vec<_>, _> =
            response.resources.iter().map(|resource| decode(resource, &self.trust_domain, now, self.bundles + 1)).collect();
        let received = match received {
            Ok(received) => received,
            Err(error) => return Ok(Err(error)),
        };
        for one in received {
            match one {
                Received::Svid(svid) => {
                    Event::Identity {
                        stream: self.streams,
                        id: svid.id().to_string(),
                        serial: svid.leaf().serial().to_string(),
                        expires: svid.leaf().not_after().to_string(),
                    }
                    .tell()?;
                    self.inbox.put_svid(*svid);
                }
                Received::Bundle(bundle) => {
                    self.bundles += 1;
                    Event::Bundle {
                        stream: self.streams,
                        trust_domain: bundle.trust_domain().to_string(),
                        authorities: bundle.authorities().len(),
                    }
                    .tell()?;
                    self.inbox.put_bundle(bundle);
                }
            }
        }
        self.inbox.hand_over();
        Ok(Ok(()))
    }
}

impl Inbox {
    fn put_svid(&mut self, svid: X509Svid) {
        put(&mut self.svid, svid);
    }

    fn put_bundle(&mut self, bundle: TrustBundle) {
        put(&mut self.bundle, bundle);
    }

    fn hand_over(&mut self) {
        let (Some(svid), Some(bundle)) = (&self.svid, &self.bundle) else { return };
        if let Some(complete) = self.complete.take() {
            // Refused only by a workload that is ending.
            drop(complete.send(Credentials { svid: svid.subscribe(), bundle: bundle.subscribe() }));
        }
    }
}

fn put<T>(slot: &mut Option<watch::Sender<Arc<T>>>, value: T) {
    let value = Arc::new(value);
    match slot {
        Some(sender) => drop(sender.send_replace(value)),
        None => *slot = Some(watch::Sender::new(value)),
    }
}

fn question() -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: NAMES.map(str::to_owned).to_vec(),
        type_url: SECRET_TYPE.to_owned(),
        ..DiscoveryRequest::default()
    }
}

async fn send(requests: &mpsc::Sender<DiscoveryRequest>, request: DiscoveryRequest) -> Result<(), StreamEnd> {
    requests.send(request).await.map_err(|_| StreamEnd::Closed)
}

const NAMES: [&str; 2] = ["default", "ROOTCA"];
const PENDING_REQUESTS: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
