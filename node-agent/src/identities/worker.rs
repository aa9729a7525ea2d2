//! The one task that fetches identities: makes key and CSR, asks, checks the answer, publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pki::{KeyAlgorithm, PrivateKey, RevocationSet, Timestamp, TrustBundle, X509Svid};
use proto::v1;
use runtime::clock::{Clock, Tick, Ticker};
use runtime::entropy::{self, Entropy};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::schedule::{Lane, Order, Schedule};
use crate::ca_client::view::NodeView;
use crate::ca_client::{CallFault, RefusalReason, wire};
use crate::entry::{EntryId, ServiceAccount};
use crate::metrics::{AgentMetrics, Alarm, IssuanceOutcome};
use crate::secrets::CallerSecrets;
use crate::svid_cache::SvidCache;

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(250);

/// One CSR for one entry.
#[derive(Debug)]
pub(crate) struct IssueItem {
    pub(crate) entry_id: EntryId,
    /// For which it is asked in the place of an entry.
    pub(crate) account: Option<ServiceAccount>,
    /// DER.
    pub(crate) csr: Vec<u8>,
    /// The SVID that the new one is to replace, for CAs that renew by it.
    pub(crate) held: Option<Arc<X509Svid>>,
}

/// What came for one item: an answer that nobody has checked yet, or why there is none.
pub(crate) type IssueAnswer = Result<v1::X509Svid, CallFault>;

/// Who signs: the CA, or a fake of it.
pub(crate) trait SvidIssuer: Send + Sync + 'static {
    /// Answers each item, in order.
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>>;
}

/// Why an identity could not be fetched.
struct Failed {
    outcome: IssuanceOutcome,
    why: String,
    /// For how long the CA wants to be left alone, if it said so.
    pause: Option<Duration>,
    /// The CA says that the identity was revoked.
    is_revoked: bool,
}

impl Failed {
    fn invalid(why: String) -> Self {
        Self { outcome: IssuanceOutcome::Invalid, why, pause: None, is_revoked: false }
    }
}

impl From<&CallFault> for Failed {
    fn from(fault: &CallFault) -> Self {
        let is_revoked = fault.refusal() == Some(RefusalReason::IdentityRevoked);
        Self { outcome: fault.outcome(), why: fault.to_string(), pause: fault.pause(), is_revoked }
    }
}

/// A batch that came back.
type Finished = (Vec<(Order, PrivateKey)>, Result<Vec<IssueAnswer>, CallFault>);

/// The task and what it works with.
pub(crate) struct IdentityWorker {
    schedule: Schedule,
    /// The bundle and the lists under which all that is held was last checked; each new SVID is checked when it comes.
    checked_under: Option<(Arc<TrustBundle>, Option<Arc<RevocationSet>>)>,
    /// When the first entry that grants something now ends.
    next_entry_end: Option<Timestamp>,
    cache: Option<Arc<SvidCache>>,
    /// SVIDs from before a restart that wait for the entries to be known.
    restored: Vec<(EntryId, X509Svid)>,
    issuer: Arc<dyn SvidIssuer>,
    views: watch::Receiver<Arc<NodeView>>,
    channels: watch::Receiver<Option<Channel>>,
    secrets: Arc<CallerSecrets>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: AgentMetrics,
}

impl IdentityWorker {
    pub(crate) fn new(
        issuer: Arc<dyn SvidIssuer>,
        views: watch::Receiver<Arc<NodeView>>,
        channels: watch::Receiver<Option<Channel>>,
        secrets: Arc<CallerSecrets>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: AgentMetrics,
    ) -> Self {
        Self {
            schedule: Schedule::default(),
            checked_under: None,
            next_entry_end: None,
            cache: None,
            restored: Vec::new(),
            issuer,
            views,
            channels,
            secrets,
            clock,
            entropy,
            metrics,
        }
    }

    /// Begins with the SVIDs that a cache has of before the start.
    pub(crate) fn with_cache(self, cache: Option<Arc<SvidCache>>) -> Self {
        Self { cache, ..self }
    }

    /// Publishes what is known and held already, so that the first caller is answered by it.
    pub(crate) async fn opened(mut self) -> Self {
        self.open_cache().await;
        self.take_view();
        self
    }

    /// Works until the end; to be [opened](Self::opened) before.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(TICK)?;
        let mut batches: FuturesUnordered<BoxFuture<'static, Finished>> = FuturesUnordered::new();
        loop {
            let waiting = self.secrets.waiting();
            for lane in [Lane::Waiting, Lane::Background] {
                if let Some(batch) = self.next_batch(lane, &waiting) {
                    batches.push(batch);
                }
            }
            // Each arm brings the schedule up to date and the next turn looks at all of it again; a batch whose entry changed
            // meanwhile is told apart by its revision. Answers come before news of the connection: a batch that was asked for just
            // before there was one has failed by then, and the news is what has it tried again at once.
            tokio::select! {
                biased;
                () = shutdown.fired() => return Ok(()),
                Some((orders, answers)) = batches.next() => self.take_answers(orders, answers),
                changed = self.views.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.take_view();
                }
                Ok(()) = self.channels.changed() => {
                    if self.channels.borrow_and_update().is_some() {
                        self.schedule.retry_now();
                    }
                }
                tick = ticker.tick() => {
                    if tick? == Tick::ClockSet {
                        self.schedule.clock_was_set();
                    }
                    let now = self.now();
                    if self.next_entry_end.is_some_and(|end| now >= end) {
                        self.take_view();
                    }
                    if self.schedule.withdraw_expired(now) {
                        self.publish();
                    }
                    self.secrets.forget_gone_callers();
                    self.report(now);
                }
                () = self.secrets.subscribed() => {}
            }
        }
    }

    /// A cache that does not open is as none.
    async fn open_cache(&mut self) {
        let Some(cache) = self.cache.take() else { return };
        let node = self.views.borrow().node.clone();
        let loaded = tokio::task::spawn_blocking(move || cache.load(node.as_ref())).await;
        match loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(svids) => self.restored = svids,
            Err(why) => {
                self.metrics.alarm(Alarm::SvidCacheUnusable);
                tracing::warn!(why, "the SVID cache cannot be used; it is replaced when there are SVIDs again");
            }
        }
    }

    /// Takes from the cache what an entry of now grants and what holds under the bundle of now; the rest is forgotten.
    fn restore(&mut self, view: &NodeView, now: Timestamp) {
        let (Some(bundle), true) = (&view.bundle, view.knowledge.is_any() && !self.restored.is_empty()) else { return };
        // What was held for a service account waits for the pods of this node to be known.
        let has_its_time = |(entry, _): &mut (EntryId, X509Svid)| {
            !view.has_account_rule || !entry.is_of_account() || view.entries.contains_key(entry)
        };
        let svids: Vec<_> = self.restored.extract_if(.., has_its_time).collect();
        let all = svids.len();
        if all == 0 {
            return;
        }
        let mut taken = 0;
        for (entry, svid) in svids {
            match svid.verify(bundle, now) {
                Ok(()) => taken += usize::from(self.schedule.restore(&entry, svid)),
                Err(error) => tracing::info!(id = %svid.id(), %error, "an SVID of before the start does not hold any more"),
            }
        }
        tracing::info!(taken, all, "SVIDs of before the start are served");
    }

    /// Entries and bundle of now. What does not hold under the bundle is withdrawn before anything is published.
    fn take_view(&mut self) {
        let view = Arc::clone(&self.views.borrow_and_update());
        let now = self.now();
        let mut entries = view.entries.clone();
        entries.retain(|_, entry| entry.grants_at(now));
        self.next_entry_end = entries.values().filter_map(|entry| entry.expires_at).min();
        self.schedule.set_entries(&entries);
        self.restore(&view, now);
        if let Some(bundle) = &view.bundle
            && !self.is_checked_under(bundle, view.revocation.as_ref())
        {
            self.schedule.withdraw_invalid(bundle, now);
            self.schedule.note_taints(bundle, view.revocation.as_ref());
            self.checked_under = Some((Arc::clone(bundle), view.revocation.clone()));
        }
        self.publish();
    }

    fn is_checked_under(&self, bundle: &Arc<TrustBundle>, revocation: Option<&Arc<RevocationSet>>) -> bool {
        self.checked_under.as_ref().is_some_and(|(checked, lists)| {
            let same_lists = match (lists, revocation) {
                (Some(lists), Some(now)) => Arc::ptr_eq(lists, now),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            same_lists && Arc::ptr_eq(checked, bundle)
        })
    }

    /// Keys and CSRs for the next batch of a lane, and the call that brings its answers.
    fn next_batch(&mut self, lane: Lane, waiting: &BTreeSet<EntryId>) -> Option<BoxFuture<'static, Finished>> {
        let orders = self.schedule.next_batch(lane, waiting, self.now(), self.clock.boottime());
        if orders.is_empty() {
            return None;
        }
        let mut asked = Vec::with_capacity(orders.len());
        let mut items = Vec::with_capacity(orders.len());
        for order in orders {
            match make_request(&order) {
                Ok((key, item)) => {
                    asked.push((order, key));
                    items.push(item);
                }
                Err(error) => self.failed(&order, Failed::invalid(format!("cannot make key and CSR: {error}"))),
            }
        }
        let call = self.issuer.issue(items);
        Some(Box::pin(async move { (asked, call.await) }))
    }

    fn take_answers(&mut self, orders: Vec<(Order, PrivateKey)>, answers: Result<Vec<IssueAnswer>, CallFault>) {
        let answers = answers.and_then(|answers| {
            let (asked, came) = (orders.len(), answers.len());
            if asked == came { Ok(answers) } else { Err(CallFault::Answer(format!("{came} items came for {asked} asked"))) }
        });
        match answers {
            Ok(answers) => {
                for ((order, key), answer) in orders.into_iter().zip(answers) {
                    self.take_answer(&order, key, answer);
                }
            }
            Err(fault) => {
                for (order, _) in &orders {
                    self.failed(order, Failed::from(&fault));
                }
            }
        }
        self.publish();
    }

    /// An answer is used only when it is what the entry says, for the key made here, and good under our bundle now.
    fn take_answer(&mut self, order: &Order, key: PrivateKey, answer: IssueAnswer) {
        let now = self.now();
        let bundle = self.views.borrow().bundle.clone();
        let checked: Result<X509Svid, Failed> = match (answer, bundle) {
            (Ok(svid), Some(bundle)) => wire::svid(svid, &order.entry.spiffe_id, key, &bundle, now)
                .map_err(|fault| Failed::invalid(format!("the CA's answer is refused: {fault}"))),
            (Ok(_), None) => Err(Failed::invalid("no trust bundle to check the answer under".to_owned())),
            (Err(fault), _) => Err(Failed::from(&fault)),
        };
        match checked {
            Ok(svid) => {
                tracing::info!(id = %svid.id(), serial = %svid.leaf().serial(), renew_at = %svid.renew_at(), "identity fetched");
                self.metrics.issuance(IssuanceOutcome::Issued);
                let random = self.random();
                self.schedule.issued(order, svid, now, self.clock.boottime(), random);
            }
            Err(failed) => self.failed(order, failed),
        }
    }

    fn failed(&mut self, order: &Order, failed: Failed) {
        let Failed { outcome, why, pause, is_revoked } = failed;
        if is_revoked {
            tracing::warn!(id = %order.entry.spiffe_id, entry = %order.entry.id, why, "an identity is revoked: it is taken from its workloads");
            self.schedule.revoked(order, &why);
        } else {
            tracing::warn!(id = %order.entry.spiffe_id, entry = %order.entry.id, why, "an identity could not be fetched; what is held stays");
        }
        self.metrics.issuance(outcome);
        let random = self.random();
        self.schedule.failed(order, why, pause, self.clock.boottime(), random);
    }

    fn publish(&self) {
        let view = Arc::clone(&self.views.borrow());
        self.secrets.publish(self.schedule.held(&view));
        self.report(self.now());
    }

    fn report(&self, now: Timestamp) {
        self.metrics.held(&self.secrets.held(), self.schedule.overdue(now), now);
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    fn random(&self) -> u8 {
        let [byte] = entropy::bytes(self.entropy.as_ref());
        byte
    }
}

fn make_request(order: &Order) -> Result<(PrivateKey, IssueItem), pki::KeyError> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let csr = pki::build_request(&key, Some(&order.entry.spiffe_id))?;
    let (entry_id, account) = (order.entry.id.clone(), order.entry.account.clone());
    Ok((key, IssueItem { entry_id, account, csr, held: order.held.clone() }))
}

#[cfg(test)]
mod tests;
