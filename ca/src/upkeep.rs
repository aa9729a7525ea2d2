//! What the CA does by the clock: re-mint its serving certificate, judge its health, count. Authorities are [`crate::rotation`]'s.
//!
//! One tick a second reads the wall clock anew; nothing remembers when something will be due.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pki::{Timestamp, TrustBundle};
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{self, Entropy};
use runtime::shutdown::Shutdown;
use tokio::sync::{broadcast, watch};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::authority::SigningAuthority;
use crate::issuance_clock::{ClockFault, IssuanceClock};
use crate::metrics::{Metrics, Role};
use crate::records::NodeState;
use crate::report::{CLOCK, Report};
use crate::revocation::Revoked;
use crate::serving::SharedServing;
use crate::store::{Change, EntryFilter, Store};
use crate::sync::SyncHub;

const PERIOD: Duration = Duration::from_secs(1);
/// Ticks between two looks at the store: each is a query.
const STORE_EVERY: u64 = 5;
/// Ticks between two looks for entries to forget.
const PURGE_EVERY: u64 = 10;
/// How long an entry is shown after its end, so that an operator who looks why something stopped finds it.
const EXPIRED_ENTRIES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Ticks between two log lines of a warning that stands.
const WARN_EVERY: u64 = 3600;

/// What is looked after.
pub(crate) struct Upkeep {
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) serving: SharedServing,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) revoked: watch::Receiver<Arc<Revoked>>,
    pub(crate) hub: Arc<SyncHub>,
    pub(crate) report: Arc<Report>,
    pub(crate) metrics: Metrics,
    pub(crate) health: HealthReporter,
    /// What the health service says; told only when it changes, since every change goes to whoever watches.
    pub(crate) told: Option<ServingStatus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) issuance_clock: Arc<IssuanceClock>,
    /// Whether the clock was told to be no good.
    pub(crate) clock_untrusted: bool,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Upkeep {
    /// Ticks until the end.
    ///
    /// # Errors
    /// When the kernel gives no timer: nothing would be renewed, so the process must end.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut changes = self.store.changes();
        let mut tick = 0;
        self.tick(tick, &mut changes).await;
        loop {
            tokio::select! {
                // Either order is fine: a tick at the end does no harm.
                () = shutdown.fired() => break,
                woken = ticker.tick() => { woken?; }
            }
            tick += 1;
            self.tick(tick, &mut changes).await;
        }
        self.health.set_service_status("", ServingStatus::NotServing).await;
        Ok(())
    }

    async fn tick(&mut self, tick: u64, changes: &mut broadcast::Receiver<Change>) {
        let now = Timestamp::from(self.clock.now());
        let clock = self.issuance_clock.look();
        self.tell_clock(clock);
        if clock.is_ok() {
            self.hub.wake_for_ends(now);
            self.serving.0.lock().await.renew_if_due(self.random()).await;
        }
        if tick.is_multiple_of(STORE_EVERY) {
            self.look_at_store(tick, changes).await;
        }
        // What is forgotten by a wrong clock does not come back with the right time.
        if tick.is_multiple_of(PURGE_EVERY) && clock.is_ok() {
            self.purge_expired_entries(now).await;
            self.purge_revocations(now).await;
        }
        self.report.judge(now);
        self.tell_health().await;
        self.count(now, tick).await;
    }

    fn tell_clock(&mut self, clock: Result<(), ClockFault>) {
        self.metrics.clock(clock.is_ok());
        match clock {
            Ok(()) => {
                self.report.readiness.met(CLOCK);
                if std::mem::replace(&mut self.clock_untrusted, false) {
                    tracing::info!("the clock is trusted again: issuance goes on");
                    // Streams that were told something meanwhile were told it by the wrong time.
                    self.hub.wake_all();
                }
            }
            Err(fault) => {
                self.report.readiness.unmet(CLOCK, &fault.to_string());
                // The times in the fault change with each tick; that it stands is told once.
                if !std::mem::replace(&mut self.clock_untrusted, true) {
                    tracing::error!(%fault, "nothing is issued by this clock");
                }
            }
        }
    }

    async fn look_at_store(&mut self, tick: u64, changes: &mut broadcast::Receiver<Change>) {
        // Listing everything is for when something changed.
        let mut changed = tick == 0;
        while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = changes.try_recv() {
            changed = true;
        }
        if changed && let (Ok(nodes), Ok(entries)) = (self.store.nodes().await, self.store.entries(EntryFilter::All).await) {
            let banned = nodes.iter().filter(|record| record.state == NodeState::Banned).count();
            self.metrics.fleet(nodes.len() - banned, banned, entries.len());
        }
    }

    /// Some at a time: what is left waits for the next time.
    async fn purge_expired_entries(&self, now: Timestamp) {
        match self.store.purge_expired_entries(now.minus(EXPIRED_ENTRIES_KEPT), now).await {
            Ok(0) => {}
            Ok(purged) => tracing::info!(purged, "forgot entries that ended a day ago or more"),
            Err(error) => tracing::warn!(%error, "expired entries could not be forgotten; they grant nothing either way"),
        }
    }

    /// Only what no list needs to name any more.
    async fn purge_revocations(&self, now: Timestamp) {
        match self.store.purge_revocations(now).await {
            Ok(0) => {}
            Ok(purged) => tracing::info!(purged, "forgot revocations of certificates that have ended"),
            Err(error) => tracing::warn!(%error, "revocations of certificates that have ended could not be forgotten"),
        }
    }

    async fn tell_health(&mut self) {
        let status = if self.report.readiness.failing().is_empty() { ServingStatus::Serving } else { ServingStatus::NotServing };
        if self.told != Some(status) {
            self.health.set_service_status("", status).await;
            self.told = Some(status);
        }
    }

    async fn count(&self, now: Timestamp, tick: u64) {
        let serving = self.serving.0.lock().await.current();
        let authority = Arc::clone(&self.authority.borrow());
        self.metrics.expires(Role::Root, authority.root().not_after());
        self.metrics.expires(Role::Issuer, authority.certificate().not_after());
        if let Some(serving) = serving {
            self.metrics.expires(Role::Serving, serving.leaf().not_after());
        }
        self.metrics.bundle(self.bundle.borrow().sequence());
        let (lists, revoked) = (Arc::clone(&self.report.lists.borrow()), Arc::clone(&self.revoked.borrow()));
        self.metrics.revocation.tell(&lists, &revoked, now);
        self.metrics.sync(self.hub.connected(), self.hub.lag());
        self.metrics.issuer_half_life(authority.half_life(), now);
        if tick.is_multiple_of(WARN_EVERY) {
            for warning in self.report.warnings(now) {
                tracing::warn!(warning, "something of this CA needs attention");
            }
        }
    }

    fn random(&self) -> u8 {
        let [byte] = entropy::bytes(&*self.entropy);
        byte
    }
}
