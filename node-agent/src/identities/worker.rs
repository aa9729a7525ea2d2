//! The one task that fetches identities: makes key and CSR, asks, checks the answer, publishes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pki::{KeyAlgorithm, PrivateKey, Timestamp, TrustBundle, X509Svid};
use proto::v1;
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{self, Entropy};
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::schedule::{Lane, Order, Schedule};
use crate::ca_client::view::NodeView;
use crate::ca_client::{CallFault, wire};
use crate::entry::EntryId;
use crate::metrics::{AgentMetrics, IssuanceOutcome};
use crate::secrets::CallerSecrets;

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(250);

/// One CSR for one entry.
#[derive(Debug)]
pub(crate) struct IssueItem {
    pub(crate) entry_id: EntryId,
    /// DER.
    pub(crate) csr: Vec<u8>,
}

/// What came for one item: an answer that nobody has checked yet, or why there is none.
pub(crate) type IssueAnswer = Result<v1::X509Svid, CallFault>;

/// Who signs: the CA, or a fake of it.
pub(crate) trait SvidIssuer: Send + Sync + 'static {
    /// Answers each item, in order.
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>>;
}

/// A batch that came back.
type Finished = (Vec<(Order, PrivateKey)>, Result<Vec<IssueAnswer>, CallFault>);

/// The task and what it works with.
pub(crate) struct IdentityWorker {
    schedule: Schedule,
    /// The bundle under which all that is held was last checked; each new SVID is checked when it comes.
    checked_under: Option<Arc<TrustBundle>>,
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
        Self { schedule: Schedule::default(), checked_under: None, issuer, views, channels, secrets, clock, entropy, metrics }
    }

    /// Works until the end.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(TICK)?;
        let mut batches: FuturesUnordered<BoxFuture<'static, Finished>> = FuturesUnordered::new();
        self.take_view();
        loop {
            for lane in [Lane::Waiting, Lane::Background] {
                if let Some(batch) = self.next_batch(lane) {
                    batches.push(batch);
                }
            }
            // Any order is fine: each arm brings the schedule up to date and the next turn looks at all of it again. A batch
            // whose entry changed meanwhile is told apart by its revision.
            tokio::select! {
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
                () = self.secrets.subscribed() => {}
                tick = ticker.tick() => {
                    tick?;
                    let now = self.now();
                    if self.schedule.withdraw_expired(now) {
                        self.publish();
                    }
                    self.secrets.forget_gone_callers();
                    self.report(now);
                }
            }
        }
    }

    /// Entries and bundle of now. What does not hold under the bundle is withdrawn before anything is published.
    fn take_view(&mut self) {
        let view = Arc::clone(&self.views.borrow_and_update());
        self.schedule.set_entries(&view.entries);
        if let Some(bundle) = &view.bundle
            && !self.checked_under.as_ref().is_some_and(|checked| Arc::ptr_eq(checked, bundle))
        {
            self.schedule.withdraw_invalid(bundle, self.now());
            self.checked_under = Some(Arc::clone(bundle));
        }
        self.publish();
    }

    /// Keys and CSRs for the next batch of a lane, and the call that brings its answers.
    fn next_batch(&mut self, lane: Lane) -> Option<BoxFuture<'static, Finished>> {
        let waiting = self.secrets.waiting();
        let orders = self.schedule.next_batch(lane, &waiting, self.now(), self.clock.boottime());
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
                Err(error) => self.failed(&order, IssuanceOutcome::Invalid, format!("cannot make key and CSR: {error}")),
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
                    self.failed(order, fault.outcome(), fault.to_string());
                }
            }
        }
        self.publish();
    }

    /// An answer is used only when it is what the entry says, for the key made here, and good under our bundle now.
    fn take_answer(&mut self, order: &Order, key: PrivateKey, answer: IssueAnswer) {
        let now = self.now();
        let bundle = self.views.borrow().bundle.clone();
        let checked: Result<X509Svid, (IssuanceOutcome, String)> = match (answer, bundle) {
            (Ok(svid), Some(bundle)) => wire::svid(svid, &order.entry.spiffe_id, key, &bundle, now)
                .map_err(|fault| (IssuanceOutcome::Invalid, format!("the CA's answer is refused: {fault}"))),
            (Ok(_), None) => Err((IssuanceOutcome::Invalid, "no trust bundle to check the answer under".to_owned())),
            (Err(fault), _) => Err((fault.outcome(), fault.to_string())),
        };
        match checked {
            Ok(svid) => {
                tracing::info!(id = %svid.id(), serial = %svid.leaf().serial(), renew_at = %svid.renew_at(), "identity fetched");
                self.metrics.issuance(IssuanceOutcome::Issued);
                let random = self.random();
                self.schedule.issued(order, svid, now, self.clock.boottime(), random);
            }
            Err((outcome, why)) => self.failed(order, outcome, why),
        }
    }

    fn failed(&mut self, order: &Order, outcome: IssuanceOutcome, why: String) {
        tracing::warn!(id = %order.entry.spiffe_id, entry = %order.entry.id, why, "an identity could not be fetched; what is held stays");
        self.metrics.issuance(outcome);
        let random = self.random();
        self.schedule.failed(order, why, self.clock.boottime(), random);
    }

    fn publish(&self) {
        let bundle = self.views.borrow().bundle.clone();
        self.secrets.publish(self.schedule.held(bundle));
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
    Ok((key, IssueItem { entry_id: order.entry.id.clone(), csr }))
}

#[cfg(test)]
mod tests;
