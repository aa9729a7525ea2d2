//! One sync stream: hello both ways, everything once, then what changed (docs/protocol.md, section "Sync").
//!
//! The stream is driven by whoever reads it: nothing is prepared before the agent can take it, so nothing is queued.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::NodeName;
use pki::{Timestamp, TrustBundle};
use proto::v1;
use proto::v1::sync_response::Message;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};

use crate::audit::{Action, Actor, AuditEvent};
use crate::checkpoints::{CheckpointDesk, Kept};
use crate::error_reason::ErrorReason;
use crate::federation::ForeignBundles;
use crate::issuing::IssuingError;
use crate::rate::Limiter;
use crate::records::{Entry, EntryId};
use crate::revocation::{Published, RevocationSource, StoredRevocations};
use crate::rpc::callers::Callers;
use crate::rpc::connection::ConnectInfo;
use crate::rpc::message_limit::MessageLimit;
use crate::rpc::status::told;
use crate::rpc::sync_checkpoints::CheckpointFeed;
use crate::rpc::sync_heard::Heard;
use crate::rpc::{checkpoint_wire, credential, entry_wire, hello, wire};
use crate::serving::Credentials;
use crate::store::Store;
use crate::sync::{OpenStream, SyncHub};

/// How long the agent's hello may take.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How often a silent stream's peer is checked again: an SVID that ends wakes nobody.
const RECHECK_PERIOD: Duration = Duration::from_secs(5);

/// What all sync streams share.
pub(crate) struct SyncParts {
    pub(crate) callers: Callers,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hub: Arc<SyncHub>,
    pub(crate) credentials: Credentials,
    pub(crate) checkpoints: Arc<CheckpointDesk>,
    pub(crate) revocation: StoredRevocations,
    pub(crate) lists: watch::Receiver<Arc<Published>>,
    pub(crate) foreign: watch::Receiver<Arc<ForeignBundles>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) message_limit: MessageLimit,
    /// How often a node may say that it trusts this CA anew.
    pub(crate) rebootstraps: Limiter,
}

enum Phase {
    /// Our hello has not been sent.
    Greeting,
    /// It was; theirs is awaited.
    AwaitHello,
    /// Updates flow.
    Live(Box<Live>),
    /// An error or the end was told.
    Over,
}

struct Live {
    open: OpenStream,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    /// `None` for an agent that takes no revocation lists.
    lists: Option<watch::Receiver<Arc<Published>>>,
    /// `None` for an agent that takes no bundles of other trust domains.
    foreign: Option<watch::Receiver<Arc<ForeignBundles>>>,
    /// Entries that the agent was told of, and the bundle; `None` before the first update.
    sent: Option<Sent>,
    view: View,
    heard: Heard,
    /// `None` for an agent that knows no checkpoints.
    checkpoints: Option<CheckpointFeed>,
}

/// How what was sent relates to what is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// The store has not been looked at since the last wake.
    Stale,
    /// There is news, but too many updates wait for their acknowledgement.
    WaitingForRoom,
    /// The agent was sent everything.
    Fresh,
}

struct Sent {
    /// With the revision that it was told of, and whether as revoked.
    entries: BTreeMap<EntryId, (u64, bool)>,
    bundle_sequence: u64,
    /// Of the revocation lists; `None` before the first.
    lists_sequence: Option<u64>,
    /// Of other trust domains: those that its entries federate with.
    foreign: ForeignBundles,
}

/// What woke a live stream.
enum Event {
    Inbound(Box<Result<Option<v1::SyncRequest>, Status>>),
    News,
    /// The loop looks for it.
    Checkpoint,
    Recheck,
    Shutdown,
}

/// A stream of one agent.
pub(crate) struct SyncStream {
    shared: Arc<SyncParts>,
    info: ConnectInfo,
    node: NodeName,
    inbound: Streaming<v1::SyncRequest>,
    phase: Phase,
}

impl SyncStream {
    /// Of a caller that was just checked.
    pub(crate) fn new(shared: Arc<SyncParts>, info: ConnectInfo, node: NodeName, inbound: Streaming<v1::SyncRequest>) -> Self {
        Self { shared, info, node, inbound, phase: Phase::Greeting }
    }

    /// The next message to the agent; `None` after the end. An error is the last message.
    pub(crate) async fn next_message(&mut self) -> Option<Result<v1::SyncResponse, Status>> {
        let hub = Arc::clone(&self.shared.hub);
        let outcome = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Greeting => {
                self.phase = Phase::AwaitHello;
                let hello = hello::ours(self.shared.credentials.now());
                return Some(Ok(v1::SyncResponse { message: Some(Message::Hello(hello)) }));
            }
            Phase::Over => return None,
            // Whatever the stream waits for: a store that is cut off may leave a question open for long. What it was about to say is lost with it.
            phase @ (Phase::AwaitHello | Phase::Live(_)) => tokio::select! {
                () = hub.until_cut_off() => Err(ErrorReason::StoreUnavailable
                    .status("this replica is cut off from the database: connect to another one")),
                outcome = self.go_on(phase) => outcome,
            },
        };
        drop(hub);
        if let Err(status) = &outcome {
            tracing::info!(node = %self.node, code = ?status.code(), why = status.message(), "sync stream ended by the CA");
        }
        outcome.map(|message| message.map(|message| v1::SyncResponse { message: Some(message) })).transpose()
    }

    async fn go_on(&mut self, phase: Phase) -> Result<Option<Message>, Status> {
        match phase {
            Phase::AwaitHello => {
                let live = self.await_hello().await?;
                self.live(Box::new(live)).await
            }
            Phase::Live(live) => self.live(live).await,
            Phase::Greeting | Phase::Over => Ok(None),
        }
    }

    async fn await_hello(&mut self) -> Result<Live, Status> {
        let message = tokio::time::timeout(HELLO_DEADLINE, self.inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no hello within {HELLO_DEADLINE:?}")))?
            .map_err(|status| self.shared.message_limit.explain(status))?;
        let theirs = match message.and_then(|message| message.message) {
            Some(v1::sync_request::Message::Hello(theirs)) => Some(theirs),
            Some(v1::sync_request::Message::Ack(_) | v1::sync_request::Message::Progress(_)) | None => None,
        };
        let credentials = &self.shared.credentials;
        let knows = |feature| theirs.as_ref().is_some_and(|theirs| theirs.features.iter().any(|known| known == feature));
        let (knows_checkpoints, knows_revocation) = (knows(hello::AUDIT_CHECKPOINTS), knows(hello::REVOCATION));
        let knows_federation = knows(hello::FEDERATION);
        let kept = theirs.as_ref().and_then(|theirs| theirs.audit_checkpoint.clone());
        let rebootstrap = theirs.as_ref().and_then(|theirs| theirs.rebootstrap);
        hello::check(theirs, credentials.trust_domain(), credentials.now()).map_err(|error| told(&error))?;
        self.shared.callers.check(&self.info).await?;
        if let Some(rebootstrap) = rebootstrap {
            self.note_rebootstrap(rebootstrap).await?;
        }
        let checkpoints = if knows_checkpoints { Some(self.checkpoint_feed(kept).await) } else { None };
        Ok(Live {
            open: self.shared.hub.open(self.node.clone()),
            bundle: credentials.bundle_changes(),
            lists: knows_revocation.then(|| self.shared.lists.clone()),
            foreign: knows_federation.then(|| self.shared.foreign.clone()),
            sent: None,
            view: View::Stale,
            heard: Heard::new(Arc::clone(&self.shared.store), self.node.clone()),
            checkpoints,
        })
    }

    /// Writes it into the audit chain, a few times for each node: one that tells it again and again must not fill the chain.
    async fn note_rebootstrap(&self, word: v1::Rebootstrap) -> Result<(), Status> {
        let SyncParts { store, credentials, rebootstraps, .. } = &*self.shared;
        let v1::Rebootstrap { at, former_sequence } = word;
        let at = at.and_then(|at| SystemTime::try_from(at).ok()).map_or(Timestamp::from_unix_seconds(0), Timestamp::from);
        if rebootstraps.charge(self.node.as_str(), 1).is_err() {
            return Ok(());
        }
        tracing::warn!(node = %self.node, %at, former_sequence, "an operator had a node trust this CA anew");
        let action = Action::AgentRebootstrapped { node: self.node.clone(), at, former_sequence };
        let event = AuditEvent { actor: Actor::Agent(self.node.clone()), action };
        store.note(event, credentials.now()).await.map_err(|error| told(&error))
    }

    /// What an agent says that it keeps is judged only now that it is known to be one.
    async fn checkpoint_feed(&self, kept: Option<v1::AuditCheckpoint>) -> CheckpointFeed {
        let SyncParts { checkpoints, store, .. } = &*self.shared;
        let kept: Kept = checkpoints.judge(&self.node, kept.map(checkpoint_wire::signed)).await;
        CheckpointFeed::new(checkpoints.newest(), Arc::clone(store), kept)
    }

    /// Until there is something to send (`Some`), the agent ended the stream (`None`), or the stream must end.
    async fn live(&mut self, mut live: Box<Live>) -> Result<Option<Message>, Status> {
        loop {
            if live.view == View::Stale {
                // The order matters: what changes after these two marks wakes us again, what changed before is read now.
                let wake = live.open.seen();
                let bundle = Arc::clone(&live.bundle.borrow_and_update());
                let lists = live.lists.as_mut().map(|lists| Arc::clone(&lists.borrow_and_update()));
                let foreign = live.foreign.as_mut().map(|foreign| Arc::clone(&foreign.borrow_and_update()));
                if wake.replaced {
                    return Err(Status::aborted("another sync stream of this node took over"));
                }
                self.shared.callers.check(&self.info).await?;
                if let Some(update) = self.update(&mut live, &bundle, lists.as_deref(), foreign.as_deref()).await? {
                    self.phase = Phase::Live(live);
                    return Ok(Some(Message::Update(update)));
                }
            }
            if let Some(checkpoints) = next_checkpoints(&mut live).await? {
                self.phase = Phase::Live(live);
                return Ok(Some(Message::Checkpoints(checkpoints)));
            }
            let event = {
                let Live { open, bundle, lists, foreign, checkpoints, .. } = &mut *live;
                // Whichever arm wins, the others lose nothing: messages stay in the transport, wakes stay marked.
                tokio::select! {
                    () = self.shared.shutdown.fired() => Event::Shutdown,
                    message = self.inbound.message() => Event::Inbound(Box::new(message)),
                    () = open.woken() => Event::News,
                    changed = bundle.changed() => if changed.is_ok() { Event::News } else { Event::Shutdown },
                    () = value_changed(lists) => Event::News,
                    () = value_changed(foreign) => Event::News,
                    () = checkpoint_made(checkpoints) => Event::Checkpoint,
                    () = tokio::time::sleep(RECHECK_PERIOD) => Event::Recheck,
                }
            };
            match event {
                Event::Shutdown => return Err(ErrorReason::NotReady.status("the CA is shutting down: connect again")),
                Event::Inbound(message) => match *message {
                    Err(status) if status.code() == Code::OutOfRange => {
                        return Err(self.shared.message_limit.explain(status));
                    }
                    Err(status) => {
                        tracing::debug!(node = %self.node, why = status.message(), "sync stream broke");
                        return Ok(None);
                    }
                    Ok(None) => return Ok(None),
                    Ok(Some(message)) => {
                        self.shared.callers.check(&self.info).await?;
                        take_word(&mut live, message, self.shared.credentials.now()).await?;
                        if live.view == View::WaitingForRoom {
                            live.view = View::Stale;
                        }
                    }
                },
                Event::News => live.view = View::Stale,
                Event::Checkpoint => self.shared.callers.check(&self.info).await.map(drop)?,
                Event::Recheck => {
                    self.shared.callers.check(&self.info).await?;
                }
            }
        }
    }

    /// What the agent does not know yet; `None` when that is nothing, or too many updates wait for acknowledgement.
    async fn update(
        &self,
        live: &mut Live,
        bundle: &TrustBundle,
        lists: Option<&Published>,
        foreign: Option<&ForeignBundles>,
    ) -> Result<Option<v1::SyncUpdate>, Status> {
        let held = self.shared.store.node_entries(self.node.clone()).await.map_err(|error| told(&IssuingError::Store(error)))?;
        let in_force: Vec<_> = held.in_force(self.shared.credentials.now()).collect();
        // Before the comparison: also when there is nothing to send, the next end must wake us.
        live.open.entry_ends_at(in_force.iter().filter_map(|entry| entry.spec.expires_at).min());
        let known = live.sent.as_ref();
        let revoked = |entry: &Entry| self.shared.revocation.is_denied(&entry.spec.spiffe_id);
        let now_there: BTreeMap<_, _> =
            in_force.iter().map(|entry| (entry.id.clone(), (entry.revision, revoked(entry)))).collect();
        let is_new = |entry: &Entry| known.is_none_or(|sent| sent.entries.get(&entry.id) != now_there.get(&entry.id));
        let wire = |entry: &Entry| {
            let revoked = now_there.get(&entry.id).is_some_and(|(_, revoked)| *revoked);
            v1::Entry { revoked, ..entry_wire::entry_for(&self.node, entry) }
        };
        let upserted: Vec<_> = in_force.iter().copied().filter(|entry| is_new(entry)).map(wire).collect();
        let gone = |sent: &Sent| {
            sent.entries.keys().filter(|id| !now_there.contains_key(*id)).map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
        };
        let removed = known.map(gone).unwrap_or_default();
        let new_bundle = known.is_none_or(|sent| sent.bundle_sequence != bundle.sequence());
        let known_lists = known.and_then(|sent| sent.lists_sequence);
        // Lists that were made for another bundle do not verify under this one: they come anew for it.
        let new_lists = lists.filter(|lists| lists.is_for(bundle) && Some(lists.set.sequence()) != known_lists);
        let foreign_now = foreign.map(|foreign| wanted_of(foreign, &in_force)).unwrap_or_default();
        let new_foreign = foreign.is_some() && known.is_none_or(|sent| sent.foreign != foreign_now);
        if known.is_some() && upserted.is_empty() && removed.is_empty() && !new_bundle && new_lists.is_none() && !new_foreign {
            live.view = View::Fresh;
            return Ok(None);
        }
        let replaces_entries = known.is_none();
        let Some(sequence) = live.open.next_sequence() else {
            live.view = View::WaitingForRoom;
            return Ok(None);
        };
        live.view = View::Fresh;
        let lists_sequence = new_lists.map(|lists| lists.set.sequence()).or(known_lists);
        let foreign_bundles = new_foreign.then(|| credential::foreign_bundles(&foreign_now));
        live.sent = Some(Sent { entries: now_there, bundle_sequence: bundle.sequence(), lists_sequence, foreign: foreign_now });
        let revocation = new_lists.map(|lists| credential::revocation(bundle.trust_domain(), &lists.set));
        let bundle = new_bundle.then(|| credential::bundle(bundle));
        Ok(Some(v1::SyncUpdate { sequence, replaces_entries, upserted, removed, bundle, revocation, foreign_bundles }))
    }
}

/// The foreign bundles that these entries federate with, as far as there are any: an agent gets no other.
fn wanted_of(foreign: &ForeignBundles, in_force: &[&Entry]) -> ForeignBundles {
    let wanted = in_force.iter().flat_map(|entry| &entry.spec.federates_with);
    wanted.filter_map(|name| Some((name.clone(), Arc::clone(foreign.get(name)?)))).collect()
}

async fn value_changed<T>(value: &mut Option<watch::Receiver<Arc<T>>>) {
    match value {
        Some(value) => {
            // Whoever makes them ends with the CA.
            if value.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

async fn checkpoint_made(checkpoints: &mut Option<CheckpointFeed>) {
    match checkpoints {
        Some(checkpoints) => checkpoints.changed().await,
        None => std::future::pending().await,
    }
}

/// Behind the first update: what an agent may hold comes first.
async fn next_checkpoints(live: &mut Live) -> Result<Option<v1::AuditCheckpoints>, Status> {
    match &mut live.checkpoints {
        Some(checkpoints) if live.sent.is_some() => checkpoints.next().await.map_err(|error| told(&IssuingError::Store(error))),
        Some(_) | None => Ok(None),
    }
}

async fn take_word(live: &mut Live, message: v1::SyncRequest, now: Timestamp) -> Result<(), Status> {
    let v1::SyncRequest { message } = message;
    let Live { open, sent, heard, .. } = live;
    let sent = sent.as_ref().map_or(0, |sent| sent.bundle_sequence);
    match message {
        Some(v1::sync_request::Message::Ack(ack)) => {
            heard.acknowledge(open, ack, sent).await.map_err(|error| Status::invalid_argument(error.to_string()))
        }
        Some(v1::sync_request::Message::Progress(progress)) => {
            heard.progress(open, wire::progress(progress), sent, now).await;
            Ok(())
        }
        Some(v1::sync_request::Message::Hello(_)) => Err(Status::invalid_argument("a second hello on one stream")),
        None => Err(Status::invalid_argument("a message without content")),
    }
}
