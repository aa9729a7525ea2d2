//! The task that makes the entries of a cluster those that its objects ask for, while this replica leads.
//!
//! What is not known changes nothing: before there was a whole list no entry goes, and while the API server is away all stay as they are.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use runtime::backoff::Backoff;
use runtime::clock::Ticker;
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;
use tokio::sync::broadcast::error::RecvError;

use super::judgement::{Rules, judge_all};
use super::metrics::Deed;
use super::statuses::EntryObjects;
use super::verdicts::Verdict;
use crate::audit::Actor;
use crate::config::ObjectEntriesConfig;
use crate::entry_plan::{EntryChange, Scope, Wanted};
use crate::records::EntryId;
use crate::store::{Apply, ApplyError, Change, Store};

/// How often it is looked whether this replica leads, and what failed is tried again.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two plans: each goes through all entries of the cluster, and a tenant may write without end.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// The first pause after a plan that the store did not take, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The task.
pub(crate) struct EntryFollower {
    pub(super) objects: Arc<EntryObjects>,
    pub(super) trust_domain: TrustDomain,
    pub(super) max_ttl: Duration,
    pub(super) cluster: String,
    pub(super) config: ObjectEntriesConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// When it is to be done again.
struct Pace {
    /// Something has changed since the last plan.
    is_due: bool,
    /// Whether this replica led when last looked at.
    led: bool,
    /// In time since boot.
    not_before: Duration,
    backoff: Backoff,
}

impl EntryFollower {
    /// Works until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let end = shutdown.fired();
        tokio::pin!(end);
        let mut changes = self.store.changes();
        let mut pace = Pace { is_due: true, led: false, not_before: Duration::ZERO, backoff: Backoff::new(PAUSES.0, PAUSES.1) };
        loop {
            self.step(&mut pace).await;
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                () = self.objects.news.entries.notified() => {}
                change = changes.recv() => match change {
                    // With whom there is a relationship decides as well.
                    Ok(Change::Federations | Change::Unknown) | Err(RecvError::Lagged(_)) => pace.is_due = true,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                tick = ticker.tick() => {
                    let _due = tick?;
                }
            }
        }
    }

    async fn step(&self, pace: &mut Pace) {
        let objects = &*self.objects;
        let (asks_anew, is_listed) = {
            let mut known = objects.known.locked();
            (known.index_mut().take_asks(), known.index().is_listed())
        };
        let leads = objects.leads();
        pace.is_due |= asks_anew || (leads && !pace.led);
        pace.led = leads;
        if !(leads && is_listed && pace.is_due) || objects.clock.boottime() < pace.not_before {
            return;
        }
        let pause = match self.bring_in_line().await {
            Ok(()) => {
                pace.is_due = false;
                pace.backoff.reset();
                objects.troubles.stored(None);
                LEAST_PAUSE
            }
            Err(error) => {
                let [random] = bytes(&*self.entropy);
                objects.metrics.failed();
                objects.troubles.stored(Some(error.to_string()));
                pace.backoff.next_delay(random)
            }
        };
        pace.not_before = objects.clock.boottime().saturating_add(pause);
    }

    /// One plan for all of them: what no object asks for any more goes.
    async fn bring_in_line(&self) -> Result<(), ApplyError> {
        let objects = &*self.objects;
        // Before anything is read: whoever leads by then wrote what is read here.
        let fence = objects.tenure.fence();
        let living = objects.known.locked().index().living();
        let federations = self.store.federations().await?.into_iter().map(|stored| stored.federation.trust_domain).collect();
        let rules =
            Rules { cluster: &self.cluster, trust_domain: &self.trust_domain, max_ttl: self.max_ttl, federations: &federations };
        let (mut wanted, mut verdicts) = (Vec::new(), BTreeMap::new());
        for (key, (object, judged)) in judge_all(living, &rules, &self.config) {
            let outcome = judged.map(|spec| {
                let id = spec.spiffe_id.to_string();
                wanted.push(Wanted { id: None, spec });
                id
            });
            verdicts.insert(key, Verdict { uid: object.uid.clone(), generation: object.generation, outcome });
        }
        let scope = Scope { cluster: Some(self.cluster.clone()), ..Scope::default() };
        let now = objects.clock.now().into();
        // Most of what changes in objects changes no entry, and a look holds up no write.
        if !self.store.plan_entries(scope.clone(), wanted.clone(), true, now).await?.changes.is_empty() {
            let new_ids = wanted.iter().map(|_| EntryId::from_random(bytes(&*self.entropy))).collect();
            let document = Apply { scope, wanted, prune: true, expected_version: None, fence: Some(fence), new_ids };
            let done = self.store.apply_entries(document, Actor::System, now).await?;
            done.changes.iter().for_each(|change| self.tell(change));
        }
        objects.verdicts.replace(verdicts);
        objects.news.statuses.notify_one();
        Ok(())
    }

    fn tell(&self, change: &EntryChange) {
        let (deed, what, spec) = match change {
            EntryChange::Create { spec, made: _ } => (Deed::Create, "made", spec),
            EntryChange::Update { before: _, after } => (Deed::Update, "changed", &after.spec),
            EntryChange::Delete { entry, outstanding: _ } => (Deed::Delete, "deleted", &entry.spec),
            EntryChange::Keep(_) => return,
        };
        self.objects.metrics.changed(deed);
        tracing::info!(spiffe_id = %spec.spiffe_id, object = %spec.parent, "the entry of an object of the cluster was {what}");
    }
}
