//! One verified connection, from the opening of the sync stream to its end.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use identity::NodeName;
use pki::{KeyAlgorithm, PrivateKey, X509Svid};
use proto::v1;
use runtime::clock::Tick;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::connection::CaConnection;
use super::fault::{CallFault, RefusalReason, call};
use super::lifecycle::{Action, Failure};
use super::node::NodeClient;
use super::rebootstrap::RebootstrapNote;
use super::storing::EntryChange;
use super::told::Told;
use super::trust::warn_of_lapses;
use super::view::{Applied, BundleChange, RevocationChange, StreamPosition};
use super::wire;
use crate::metrics::{Alarm, IssuanceOutcome};

/// The largest update taken, in bytes.
const MAX_UPDATE_BYTES: usize = 64 * 1024 * 1024;

/// Why a session ended.
enum End {
    /// The agent has a new SVID: connect with that.
    Rotated,
    /// The SVID does not count any more, by our clock.
    Lapsed,
    /// The CA refused, the connection was lost, or an answer was not to be used.
    Fault(CallFault),
}

/// The sending half of a sync stream.
type Requests = mpsc::Sender<v1::SyncRequest>;

impl NodeClient {
    /// Keeps in step with the CA over this connection for as long as it lasts, and settles what comes next.
    pub(super) async fn serve(&mut self, connection: CaConnection) {
        let CaConnection { channel, exporter: _, told } = connection;
        let end = match self.open_stream(channel.clone()).await {
            Ok((requests, updates)) => self.follow(channel, requests, updates).await,
            Err(fault) => End::Fault(fault),
        };
        if self.status.send_if_modified(|status| std::mem::replace(&mut status.connected, false)) {
            self.in_step_at = self.boot();
        }
        match end {
            // The old connection carries what is under way on it to its end; it closes when its last user is done.
            End::Rotated => return,
            End::Lapsed => {}
            End::Fault(fault) => self.settle(&blame(fault, &told)),
        }
        self.channel.send_replace(None);
    }

    /// Sends our hello, and checks the CA's, which comes first.
    async fn open_stream(&mut self, channel: Channel) -> Result<(Requests, tonic::Streaming<v1::SyncResponse>), CallFault> {
        use v1::sync_request::Message as Ask;
        let (requests, outgoing) = mpsc::channel(16);
        let hello = wire::sync_hello(self.settings.clock.now(), self.kept_checkpoint(), self.note.map(RebootstrapNote::to_wire));
        let hello = v1::SyncRequest { message: Some(Ask::Hello(hello)) };
        requests.send(hello).await.map_err(|_| CallFault::Unavailable("the stream ended".to_owned()))?;
        let mut client = v1::node_client::NodeClient::new(channel).max_decoding_message_size(MAX_UPDATE_BYTES);
        let mut updates = call(client.sync(ReceiverStream::new(outgoing))).await?;
        let first = tokio::time::timeout(super::connection::CALL_DEADLINE, next(&mut updates))
            .await
            .map_err(|_| CallFault::Deadline(super::connection::CALL_DEADLINE))??;
        match first {
            Some(v1::sync_response::Message::Hello(hello)) => {
                self.progress.begin(hello.features.iter().any(|feature| feature == wire::BUNDLE_PROGRESS));
                wire::check_hello(Some(hello)).map_err(|fault| CallFault::Answer(fault.to_string()))?;
            }
            Some(v1::sync_response::Message::Update(_) | v1::sync_response::Message::Checkpoints(_)) | None => {
                return Err(CallFault::Answer("the first message on the sync stream is not its hello".to_owned()));
            }
        }
        Ok((requests, updates))
    }

    async fn follow(&mut self, channel: Channel, requests: Requests, mut updates: tonic::Streaming<v1::SyncResponse>) -> End {
        let Some(node) = self.view.borrow().node.clone() else {
            return End::Lapsed;
        };
        // What was refused on an earlier connection says nothing about this one.
        while self.refusals.try_recv().is_ok() {}
        let mut position = StreamPosition::default();
        let mut renewal: OptionFuture<BoxFuture<'static, Result<X509Svid, CallFault>>> = None.into();
        let mut renewing = false;
        // Others may use the connection once the CA has shown that it serves us.
        let mut serving = false;
        loop {
            // The arms may come in any order. An update and a renewal touch different things. A refusal or the end of the
            // stream drops a renewal under way: if the CA has answered it already, the SVID held is still good there as the
            // node's previous one.
            tokio::select! {
                message = next(&mut updates) => match message {
                    Ok(Some(v1::sync_response::Message::Update(update))) => {
                        if let Err(fault) = self.apply(&mut position, &node, update, &requests).await {
                            return End::Fault(fault);
                        }
                        if !std::mem::replace(&mut serving, true) {
                            self.channel.send_replace(Some(channel.clone()));
                        }
                    }
                    Ok(Some(v1::sync_response::Message::Checkpoints(offered))) => self.take_checkpoints(offered).await,
                    Ok(Some(v1::sync_response::Message::Hello(_)) | None) => {
                        return End::Fault(CallFault::Answer("a message on the sync stream is neither update nor end".to_owned()));
                    }
                    Err(fault) => return End::Fault(fault),
                },
                tick = self.ticker.tick() => {
                    match tick {
                        Ok(Tick::Elapsed) => {}
                        Ok(Tick::ClockSet) => self.lifecycle.clock_was_set(),
                        Err(error) => {
                            tracing::error!(%error, "the timer failed");
                            return End::Fault(CallFault::Unavailable(error.to_string()));
                        }
                    }
                    let (now, boot) = (self.now(), self.boot());
                    if self.lifecycle.next(now, boot) != Action::Connect {
                        return End::Lapsed;
                    }
                    if !renewing && self.lifecycle.renewal_due(now, boot) {
                        renewing = true;
                        renewal = Some(self.renew(channel.clone())).into();
                    }
                    self.store_again().await;
                    self.publish_health();
                    self.tell_progress(&requests);
                },
                Some(outcome) = &mut renewal => {
                    renewing = false;
                    renewal = None.into();
                    match outcome {
                        Ok(svid) => {
                            tracing::info!(serial = %svid.leaf().serial(), not_after = %svid.leaf().not_after(), "the agent SVID is renewed");
                            self.settings.metrics.agent_renewal(IssuanceOutcome::Issued);
                            self.hold(Arc::new(svid)).await;
                            return End::Rotated;
                        }
                        Err(fault) => {
                            tracing::warn!(%fault, "the agent SVID could not be renewed; the one held stays in use");
                            self.settings.metrics.agent_renewal(fault.outcome());
                            let (boot, random) = (self.boot(), self.random());
                            self.lifecycle.renewal_failed(boot, random);
                            // Another replica may renew it.
                            if self.settings.ca.has_others() && matches!(fault, CallFault::Unavailable(_) | CallFault::Deadline(_)) {
                                return End::Fault(fault);
                            }
                        }
                    }
                },
                Some(fault) = self.refusals.recv() => return End::Fault(fault),
            }
        }
    }

    /// Applies an update, persists a new bundle, publishes, and only then acknowledges.
    async fn apply(
        &mut self,
        position: &mut StreamPosition,
        node: &NodeName,
        update: v1::SyncUpdate,
        requests: &Requests,
    ) -> Result<(), CallFault> {
        let held = Arc::clone(&self.view.borrow());
        let applied = position.apply(&held, &self.settings.trust_domain, node, update);
        let Applied { view, ack, refused, bundle, revocation, foreign_refused } =
            applied.map_err(|fault| CallFault::Answer(fault.to_string()))?;
        for (entry, error) in refused {
            self.settings.metrics.alarm(Alarm::EntryRefused);
            tracing::error!(entry, %error, "an entry from the CA is refused: nobody gets an identity by it");
        }
        match &bundle {
            BundleChange::Same => {}
            BundleChange::Newer => {
                if let Some(bundle) = &view.bundle {
                    tracing::info!(sequence = bundle.sequence(), authorities = bundle.authorities().len(), "new trust bundle");
                    warn_of_lapses(bundle, self.settings.clock.now().into());
                    self.store_bundle(Arc::clone(bundle)).await;
                }
            }
            BundleChange::Refused { found, held } => {
                self.settings.metrics.alarm(Alarm::BundleRefused);
                tracing::error!(found, held, "the CA sent an older or contradicting trust bundle: refused, the one held stays");
            }
        }
        match &revocation {
            RevocationChange::Same => {}
            RevocationChange::Newer => {
                if let Some(lists) = &view.revocation {
                    tracing::info!(sequence = lists.sequence(), lists = lists.lists().len(), "new revocation lists");
                }
            }
            RevocationChange::Refused(why) => {
                self.settings.metrics.alarm(Alarm::RevocationRefused);
                tracing::error!(why, "revocation lists from the CA are refused: those held stay");
            }
        }
        for why in foreign_refused {
            self.settings.metrics.alarm(Alarm::ForeignBundleRefused);
            tracing::error!(why, "a bundle of another trust domain is refused: nothing of that is accepted");
        }
        if view.foreign != held.foreign {
            tracing::info!(trust_domains = view.foreign.len(), "new bundles of other trust domains");
            self.store_foreign(Arc::clone(&view.foreign)).await;
        }
        // A new bundle alone may leave fewer of them as well.
        if let Some(lists) = view.revocation.as_ref().filter(|lists| held.revocation.as_ref() != Some(*lists)) {
            self.store_revocation(Arc::clone(lists)).await;
        }
        let entries = EntryChange::between(&held, &view);
        self.view.send_replace(Arc::new(view));
        self.note_taint();
        self.note_entries(entries).await;
        self.lifecycle.connected();
        self.rebootstrap_told().await;
        self.status.send_modify(|status| {
            status.connected = true;
            status.trouble = None;
        });
        self.publish_health();
        // Before the acknowledgement: of a new bundle nobody here has taken anything yet.
        if let Some(progress) = self.next_progress(bundle == BundleChange::Newer) {
            let progress = v1::SyncRequest { message: Some(v1::sync_request::Message::Progress(progress)) };
            requests.send(progress).await.map_err(|_| CallFault::Unavailable("the sync stream ended".to_owned()))?;
        }
        let ack = v1::SyncRequest { message: Some(v1::sync_request::Message::Ack(ack)) };
        requests.send(ack).await.map_err(|_| CallFault::Unavailable("the sync stream ended".to_owned()))
    }

    /// Tells what changed since the last word. A CA that does not listen at the moment is told later, as is one that has gone.
    fn tell_progress(&mut self, requests: &Requests) {
        let Ok(place) = requests.try_reserve() else { return };
        if let Some(progress) = self.next_progress(false) {
            place.send(v1::SyncRequest { message: Some(v1::sync_request::Message::Progress(progress)) });
        }
    }

    /// A new agent SVID for a fresh key, over the connection that is live.
    fn renew(&self, channel: Channel) -> BoxFuture<'static, Result<X509Svid, CallFault>> {
        let clock = Arc::clone(&self.settings.clock);
        let bundle = self.view.borrow().bundle.clone();
        let id = self.svid.as_ref().map(|svid| svid.id().clone());
        async move {
            let (Some(bundle), Some(id)) = (bundle, id) else {
                return Err(CallFault::Answer("no SVID or no bundle is held to check it against".to_owned()));
            };
            let no_key = |error: pki::KeyError| CallFault::Answer(format!("no key to ask for: {error}"));
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(no_key)?;
            let csr = pki::build_request(&key, None).map_err(no_key)?;
            let mut client = v1::node_client::NodeClient::new(channel);
            let answer = call(client.renew_agent(v1::RenewAgentRequest { csr })).await?;
            let svid = answer.svid.ok_or_else(|| CallFault::Answer("it has no SVID".to_owned()))?;
            wire::svid(svid, &id, key, &bundle, clock.now().into()).map_err(|fault| CallFault::Answer(fault.to_string()))
        }
        .boxed()
    }

    /// What a fault means for the node's standing.
    fn settle(&mut self, fault: &CallFault) {
        self.trouble(&fault.to_string());
        match fault.refusal() {
            Some(RefusalReason::MustReattest | RefusalReason::Banned | RefusalReason::NotAnAgent) => {
                self.lifecycle.lapse(fault.to_string());
                self.failed(Failure::Refused);
            }
            Some(_) => self.failed(Failure::Refused),
            None => self.away(),
        }
        self.publish_health();
    }
}

/// A connection lost because the CA refuses the agent's certificate is a refusal, not an absence: its clock may say that the
/// SVID has ended, or it may not know the SVID's issuer, and waiting for our own clock to agree would take a whole lifetime.
fn blame(fault: CallFault, told: &Told) -> CallFault {
    match (&fault, told.refusal()) {
        (CallFault::Unavailable(_) | CallFault::Busy { .. } | CallFault::Deadline(_), Some(alert)) => CallFault::Refused {
            reason: RefusalReason::MustReattest,
            reason_text: String::new(),
            message: format!("the agent's certificate, in the TLS handshake: {alert}"),
        },
        (_, Some(_) | None) => fault,
    }
}

/// The next message; the end of the stream without a status is a loss like any other.
async fn next(updates: &mut tonic::Streaming<v1::SyncResponse>) -> Result<Option<v1::sync_response::Message>, CallFault> {
    match updates.next().await {
        Some(Ok(response)) => Ok(response.message),
        Some(Err(status)) => Err(CallFault::from_status(&status)),
        None => Err(CallFault::Unavailable("the CA ended the sync stream".to_owned())),
    }
}
