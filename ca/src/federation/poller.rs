//! Follows the bundles of other trust domains: one task, which asks each endpoint in its time, judges what it answers, keeps what is newer,
//! and publishes. Whatever fails, the bundle held stays.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::TrustDomain;
use pki::{BundleDocument, Timestamp, TrustBundle, sha256};
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{Entropy, bytes};
use runtime::shutdown::Shutdown;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::fetching::fetch;
use super::judgement::{Judged, judge};
use super::metrics::{FederationMetrics, Poll};
use super::records::{Federation, ForeignDocument, StoredFederation};
use super::relation::{Moment, Relation};
use super::standing::{FederationViews, ForeignBundles, Standings};
use crate::config::FederationConfig;
use crate::store::{Change, Store, StoreError};

const PERIOD: Duration = Duration::from_secs(1);
/// Fetches at a time.
const AT_A_TIME: usize = 8;

/// What the poller stands on.
pub(crate) struct PollerParts {
    pub(crate) config: FederationConfig,
    /// The CA's own bundle, of which nothing may be in another.
    pub(crate) own: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Spreads the questions.
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: FederationMetrics,
}

/// The one who asks.
pub(crate) struct Poller {
    parts: PollerParts,
    changes: broadcast::Receiver<Change>,
    relations: BTreeMap<TrustDomain, Relation>,
    /// The store could not be read when it was last to be: it is read again.
    is_behind: bool,
    bundles: watch::Sender<Arc<ForeignBundles>>,
    standings: watch::Sender<Arc<Standings>>,
    refreshes: mpsc::Receiver<(TrustDomain, oneshot::Sender<()>)>,
    /// Who waits for the next answer of whom.
    waiting: BTreeMap<TrustDomain, Vec<oneshot::Sender<()>>>,
}

/// What a fetch brought, for which question of which relationship.
struct Fetched {
    federation: Federation,
    question: u64,
    outcome: Result<Vec<u8>, String>,
}

/// What became of it.
enum Answer {
    /// It is what is held, or a newer bundle, which is stored by now.
    Good(BundleDocument, Option<ForeignDocument>),
    /// None came, or it was refused.
    Bad(Poll, String),
    /// The store has another one by now.
    Overtaken,
}

impl Poller {
    /// Takes up what the store has; nobody is asked before it runs.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub(crate) async fn open(
        parts: PollerParts,
        endpoint_trouble: watch::Receiver<Option<String>>,
    ) -> Result<(Self, FederationViews), StoreError> {
        let changes = parts.store.changes();
        let (bundles, bundle_changes) = watch::channel(Arc::default());
        let (standings, standing_changes) = watch::channel(Arc::default());
        let stored = parts.store.federations().await?;
        let (refresh, refreshes) = mpsc::channel(AT_A_TIME);
        let (relations, waiting) = (BTreeMap::new(), BTreeMap::new());
        let mut poller = Self { parts, changes, relations, is_behind: false, bundles, standings, refreshes, waiting };
        poller.take_up(stored);
        poller.publish();
        let views =
            FederationViews { bundles: bundle_changes, standings: standing_changes, endpoint_trouble, refreshes: refresh };
        Ok((poller, views))
    }

    /// Asks until the end.
    ///
    /// # Errors
    /// What the system says when it gives no timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        let end = shutdown.fired();
        tokio::pin!(end);
        loop {
            self.ask(&mut fetches);
            let mut answered = None;
            tokio::select! {
                // Any order: what is not taken now is taken at the next turn.
                () = &mut end => return Ok(()),
                tick = ticker.tick() => {
                    tick?;
                    if self.is_behind {
                        self.reload().await;
                    }
                }
                change = self.changes.recv() => match change {
                    Ok(Change::Federations | Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => self.reload().await,
                    Ok(Change::Entries(_) | Change::EntriesOfClusters | Change::Node(_) | Change::Revocations | Change::Authorities) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                Some((name, done)) = self.refreshes.recv() => {
                    // It may have been added a moment ago.
                    self.reload().await;
                    self.refresh(name, done);
                }
                Some(fetched) = fetches.join_next() => match fetched {
                    Ok(fetched) => answered = self.take(fetched).await,
                    Err(error) => {
                        // Whose it was is not known; all are asked again in their time.
                        tracing::error!(%error, "a poll of a foreign bundle endpoint panicked");
                        self.relations.values_mut().for_each(Relation::forgotten);
                    }
                },
            }
            self.publish();
            // After it is published: whoever waited looks there.
            for done in answered.and_then(|name| self.waiting.remove(&name)).unwrap_or_default() {
                // Whoever asked may be gone.
                _ = done.send(());
            }
        }
    }

    fn refresh(&mut self, name: TrustDomain, done: oneshot::Sender<()>) {
        if let Some(relation) = self.relations.get_mut(&name) {
            relation.ask_now(self.parts.clock.boottime());
            self.waiting.entry(name).or_default().push(done);
        }
    }

    /// Starts what is due.
    fn ask(&mut self, fetches: &mut JoinSet<Fetched>) {
        let boot = self.parts.clock.boottime();
        for relation in self.relations.values_mut() {
            if !relation.is_due(boot) || fetches.len() >= AT_A_TIME {
                continue;
            }
            let question = relation.asked();
            let (federation, held) = (relation.federation.clone(), relation.bundle().map(Arc::clone));
            let (config, clock) = (self.parts.config.clone(), Arc::clone(&self.parts.clock));
            fetches.spawn(async move {
                let outcome = fetch(&federation.endpoint, held, &config, clock).await;
                Fetched { federation, question, outcome }
            });
        }
    }

    async fn reload(&mut self) {
        match self.parts.store.federations().await {
            Ok(stored) => {
                self.is_behind = false;
                self.take_up(stored);
            }
            // Each second it is tried again; told once.
            Err(error) => {
                if !std::mem::replace(&mut self.is_behind, true) {
                    tracing::warn!(%error, "the relationships with other trust domains cannot be read; those known go on");
                }
            }
        }
    }

    /// Makes the relationships those of the store.
    fn take_up(&mut self, stored: Vec<StoredFederation>) {
        let mut before = std::mem::take(&mut self.relations);
        for stored in stored {
            let (at, name) = (self.moment(), stored.federation.trust_domain.clone());
            let (relation, fault) = match before.remove(&name) {
                Some(mut known) if known.federation == stored.federation => {
                    let fault = known.found_in_store(stored.document, at);
                    (known, fault)
                }
                Some(_) | None => Relation::new(stored, at.boot, self.parts.config.min_refresh),
            };
            if let Some(error) = fault {
                tracing::error!(trust_domain = %name, %error, "the bundle in the store is not used: it is asked for anew");
            }
            self.relations.insert(name, relation);
        }
        self.waiting.retain(|name, _| self.relations.contains_key(name));
    }

    fn moment(&self) -> Moment {
        let [random] = bytes(self.parts.entropy.as_ref());
        Moment { boot: self.parts.clock.boottime(), now: self.parts.clock.now().into(), random }
    }

    /// Says whose question it answered.
    async fn take(&mut self, fetched: Fetched) -> Option<TrustDomain> {
        let Fetched { federation, question, outcome } = fetched;
        let name = federation.trust_domain.clone();
        // Removed meanwhile, or another one by now, or asked anew: what was asked for it says nothing any more.
        let relation = self.relations.get(&name)?;
        if relation.federation != federation || !relation.awaits(question) {
            return None;
        }
        let answer = match outcome {
            Ok(json) => self.answer(&federation, relation.bundle().map(|held| &**held), json).await,
            Err(why) => Answer::Bad(Poll::Failed, why),
        };
        let at = self.moment();
        let relation = self.relations.get_mut(&name)?;
        let (poll, well_again) = match answer {
            Answer::Good(document, stored) => {
                let poll = if stored.is_some() { Poll::Taken } else { Poll::Unchanged };
                (poll, relation.took(document, stored, at))
            }
            Answer::Bad(poll, why) => {
                if relation.failed(why.clone(), at) {
                    tracing::warn!(trust_domain = %name, why, "no newer bundle was taken; the one held stays");
                }
                (poll, false)
            }
            Answer::Overtaken => {
                relation.failed("another process changed it meanwhile".to_owned(), at);
                self.reload().await;
                (Poll::Unchanged, false)
            }
        };
        self.parts.metrics.polled(poll);
        if well_again {
            tracing::info!(trust_domain = %name, "the bundle endpoint answers as it should again");
        }
        Some(name)
    }

    /// What a document means, which is stored before anybody is given it.
    async fn answer(&self, federation: &Federation, held: Option<&TrustBundle>, json: Vec<u8>) -> Answer {
        let own = Arc::clone(&self.parts.own.borrow());
        let document = match judge(&federation.trust_domain, held, &own, &json) {
            Ok(Judged::Newer(document)) => document,
            Ok(Judged::Same(document)) => return Answer::Good(document, None),
            Err(refusal) => {
                let why = format!("the bundle that {} answers with is refused: {refusal}", federation.endpoint.url);
                return Answer::Bad(Poll::Refused, why);
            }
        };
        let now = Timestamp::from(self.parts.clock.now());
        let (sequence, digest) = (document.bundle.sequence(), sha256(&json));
        let stored = ForeignDocument { json, sequence, taken_at: now };
        match self.parts.store.keep_foreign_bundle(federation.clone(), stored.clone(), now).await {
            Ok(()) => {
                tracing::info!(
                    trust_domain = %federation.trust_domain,
                    sequence,
                    x509 = document.bundle.authorities().len(),
                    jwt = document.bundle.jwt_authorities().len(),
                    sha256 = data_encoding::HEXLOWER.encode(&digest),
                    "a foreign bundle is taken"
                );
                Answer::Good(document, Some(stored))
            }
            // Removed, or a replica took a newer one.
            Err(StoreError::Changed { .. }) => Answer::Overtaken,
            Err(error) => Answer::Bad(Poll::Failed, format!("a newer bundle could not be stored: {error}")),
        }
    }

    fn publish(&self) {
        let (boot, now) = (self.parts.clock.boottime(), Timestamp::from(self.parts.clock.now()));
        let held = |(name, relation): (&TrustDomain, &Relation)| Some((name.clone(), Arc::clone(relation.bundle()?)));
        let bundles: ForeignBundles = self.relations.iter().filter_map(held).collect();
        self.bundles.send_if_modified(|before| {
            let changed = **before != bundles;
            if changed {
                *before = Arc::new(bundles);
            }
            changed
        });
        let standings: Standings =
            self.relations.iter().map(|(name, relation)| (name.clone(), relation.standing(boot, now))).collect();
        self.parts.metrics.tell(&standings);
        self.standings.send_replace(Arc::new(standings));
    }
}

#[cfg(test)]
mod tests;
