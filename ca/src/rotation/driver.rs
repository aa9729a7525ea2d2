//! The task: takes commands and ticks, stores what is decided, and does what follows from it.

mod showing;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::TrustDomain;
use pki::{Certificate, LeafProfile, Timestamp};
use runtime::clock::{Clock, Ticker};
use runtime::entropy::Entropy;
use runtime::shutdown::Shutdown;
use tokio::sync::{broadcast, mpsc, watch};

use super::adoption::{AdoptionError, adopt_generation};
use super::commands::Obeyed;
use super::effects::Effects;
use super::handle::Command;
use super::journal::Journal;
use super::materials::Materials;
use super::outlets::Outlets;
use super::plugged_in::PluggedIn;
use super::prober::ProbeCounts;
use super::steps::Steps;
use super::{Changed, CommandError, FactsOfFleet, ReplicaStanding, RotationStanding, RotationView};
use crate::authority::lifecycle::gate::{Accepted, Facts};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, Effect, Event, Lifecycle, resume};
use crate::config::RotationConfig;
use crate::issuance_clock::IssuanceClock;
use crate::replicas::Tenure;
use crate::store::{Actor, Change, LeaseName, Store, StoreError};
use crate::upstream::metrics::UpstreamMetrics;

const PERIOD: Duration = Duration::from_secs(1);
/// Ticks between two looks at the facts while nothing is under way that needs them.
const LOOK_EVERY: u64 = 10;
/// Ticks between two tries to take up what was refused.
const TAKE_UP_EVERY: u64 = 5;

/// Where facts come from.
pub(crate) trait FactSource: Send + Sync {
    /// What is known of receivers and of what rests on these authorities.
    fn gather<'a>(&'a self, lifecycle: &'a Lifecycle, now: Timestamp) -> BoxFuture<'a, Result<Facts, StoreError>>;
}

impl FactSource for FactsOfFleet {
    fn gather<'a>(&'a self, lifecycle: &'a Lifecycle, now: Timestamp) -> BoxFuture<'a, Result<Facts, StoreError>> {
        Box::pin(FactsOfFleet::gather(self, lifecycle, now))
    }
}

/// Why the task ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// No timer.
    #[error(transparent)]
    Ticker(#[from] std::io::Error),
    /// Another process changed the authorities: this one must not act on what it remembers.
    #[error("the authorities were changed by another process ({0}): two CAs must not run on one store; this one ends")]
    Fenced(StoreError),
}

/// What the task is made of.
pub(crate) struct DriverParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) profile: LeafProfile,
    pub(crate) config: RotationConfig,
    pub(crate) plugged_in: Option<PluggedIn>,
    pub(crate) materials: Materials,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) steps: Steps,
    pub(crate) tenure: Tenure,
    pub(crate) facts: Box<dyn FactSource>,
    pub(crate) outlets: Outlets,
    pub(crate) probes: ProbeCounts,
    pub(crate) upstream: UpstreamMetrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) issuance_clock: Arc<IssuanceClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// The task.
pub(crate) struct Driver {
    pub(super) parts: DriverParts,
    pub(super) journal: Journal,
    pub(super) standings: Vec<RotationStanding>,
    pub(super) effects: Effects,
    pub(super) facts: Arc<Facts>,
    /// What went wrong beside the effects, as it was logged.
    fault: Option<String>,
    /// Why what lies on disk newly is not taken up, as it was logged.
    take_up_fault: Option<String>,
    /// The tick at which that is tried again.
    take_up_at: u64,
    /// Kinds that are not replaced by themselves before a time: an operator undid that.
    pub(super) put_off: Vec<(AuthorityKind, Timestamp)>,
    /// Where keys lie, and as of which state: they move with it alone.
    key_places: Arc<BTreeMap<AuthorityName, String>>,
    placed: Option<Arc<Lifecycle>>,
    /// What signs, up to its root.
    path: Arc<[Certificate]>,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<RotationView>>,
    /// What is remembered may not be what is stored.
    stale: bool,
    fenced: Option<StoreError>,
    /// In which epoch this replica led when that was looked at last.
    pub(super) led: Option<u64>,
    /// A root for whose key is waited, and since when, by the time since boot.
    pub(super) waits_for_root: Option<(AuthorityName, Duration)>,
    /// Who is on record.
    pub(super) replicas: Arc<[ReplicaStanding]>,
    /// What other replicas do.
    changes: broadcast::Receiver<Change>,
}

impl Driver {
    /// Over a journal that was opened, with the commands of its handle and where its view goes.
    pub(crate) fn new(
        parts: DriverParts,
        journal: Journal,
        commands: mpsc::Receiver<Command>,
        view: watch::Sender<Arc<RotationView>>,
    ) -> Self {
        let (led, changes) = (parts.tenure.fence().lead, parts.store.changes());
        Self {
            parts,
            journal,
            standings: Vec::new(),
            effects: Effects::default(),
            facts: Arc::default(),
            fault: None,
            take_up_fault: None,
            take_up_at: 0,
            put_off: Vec::new(),
            key_places: Arc::default(),
            placed: None,
            path: Arc::default(),
            commands,
            view,
            stale: true,
            fenced: None,
            led,
            waits_for_root: None,
            replicas: Arc::default(),
            changes,
        }
    }

    /// Works until the end.
    ///
    /// # Errors
    /// [`DriverError`].
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), DriverError> {
        let mut ticker = Ticker::new(PERIOD)?;
        let (mut tick, is_shared) = (0, self.is_shared());
        loop {
            self.turn(tick).await;
            if let Some(error) = self.fenced.take() {
                return Err(DriverError::Fenced(error));
            }
            tokio::select! {
                // Whichever comes first: a tick looks at everything, a command looks after it was obeyed.
                () = shutdown.fired() => return Ok(()),
                woken = ticker.tick() => { woken?; tick += 1; }
                () = others_moved(&mut self.changes, is_shared) => {}
                Some(Command { request, actor, answer }) = self.commands.recv() => {
                    let obeyed = self.obey(request, actor).await;
                    self.turn(tick).await;
                    let view = Arc::clone(&self.view.borrow());
                    // Whoever asked may be gone: it is done all the same.
                    drop(answer.send(obeyed.map(|Obeyed { names, unchanged }| Changed { names, unchanged, view })));
                }
            }
        }
    }

    /// Everything that is due: what is stored and not done, what lies there newly, what is to begin or go on.
    pub(super) async fn turn(&mut self, tick: u64) {
        let fault = match self.look_after(tick).await {
            Ok(()) => None,
            Err(CommandError::Overtaken(by)) => {
                tracing::debug!(%by, "another replica was faster; looking again");
                None
            }
            Err(error) => Some(error.to_string()),
        };
        // Once for each text: what stays wrong is looked at each second.
        if let Some(error) = fault.as_ref().filter(|fault| self.fault.as_ref() != Some(*fault)) {
            tracing::error!(error, "authorities stay as they are");
        }
        self.fault = fault;
        self.show();
    }

    async fn look_after(&mut self, tick: u64) -> Result<(), CommandError> {
        self.be_current().await?;
        self.look_at_replicas().await?;
        let now = self.now();
        self.refuse_if_superseded();
        self.take_up_newer(tick, now).await?;
        self.work().await?;
        self.sign_for_others().await?;
        self.roll_back_what_does_not_verify().await?;
        // By a wrong clock things seem to be due or over that are not. That it is wrong is told elsewhere.
        if self.parts.issuance_clock.look().is_err() {
            return Ok(());
        }
        let is_first = tick == 0;
        if is_first || tick.is_multiple_of(LOOK_EVERY) || self.needs_facts() {
            self.look().await?;
        }
        self.follow_root().await?;
        self.give_up_on_lost_root().await?;
        self.see_removals_through().await?;
        self.follow_upstream_roots().await?;
        if self.parts.config.automatic {
            self.begin_what_is_due().await?;
        }
        self.advance().await
    }

    /// After an error of the store: reads what is stored, and does again whatever might not have been done.
    pub(super) async fn be_current(&mut self) -> Result<(), CommandError> {
        if !self.stale {
            return if self.is_shared() { self.hear_others().await } else { Ok(()) };
        }
        self.journal.reload().await?;
        let stored = self.parts.store.rotations().await?;
        self.effects.replace(resume(self.journal.state()));
        self.standings.retain(|standing| {
            let is_replaced = stored.iter().any(|rotation| rotation.from.kind == standing.rotation.from.kind);
            standing.outcome.is_some() && !is_replaced
        });
        self.standings.extend(stored.into_iter().map(RotationStanding::begun));
        self.stale = false;
        Ok(())
    }

    /// Stores an event and remembers what is to be done about it.
    pub(super) async fn happen(&mut self, event: Event, actor: Actor) -> Result<(), CommandError> {
        self.happen_at_a_loss(event, None, actor).await
    }

    /// The same, with what an operator accepted to lose by it.
    pub(super) async fn happen_at_a_loss(
        &mut self,
        event: Event,
        accepted: Option<(AuthorityName, Accepted)>,
        actor: Actor,
    ) -> Result<(), CommandError> {
        let now = self.now();
        match self.journal.happen_at_a_loss(event, accepted, actor, now).await {
            Ok(effects) => {
                self.effects.add(effects);
                Ok(())
            }
            Err(error) => Err(self.noted(error)),
        }
    }

    /// After an error of the store nothing that is remembered counts.
    pub(super) fn noted(&mut self, error: CommandError) -> CommandError {
        let CommandError::Store(cause) = error else { return error };
        self.stale = true;
        match cause {
            // Among replicas each changes its own, and the next look shows it; the lead is another one's then.
            StoreError::Changed { .. } | StoreError::Fenced { lease: LeaseName::Lead, .. } if self.is_shared() => {
                return CommandError::Overtaken(cause);
            }
            StoreError::Changed { .. } | StoreError::Fenced { .. } => self.fence_off(cause.clone()),
            StoreError::NotFound { .. }
            | StoreError::Exists { .. }
            | StoreError::Banned { .. }
            | StoreError::Superseded { .. }
            | StoreError::Denied { .. }
            | StoreError::InUse { .. }
            | StoreError::OfObject { .. }
            | StoreError::ClockBehind(_)
            | StoreError::Unavailable(_) => {}
        }
        CommandError::Store(cause)
    }

    /// This process must not go on.
    pub(super) fn fence_off(&mut self, why: StoreError) {
        self.fenced = Some(why);
    }

    /// Takes over what was made elsewhere since.
    async fn take_up_newer(&mut self, tick: u64, now: Timestamp) -> Result<(), CommandError> {
        if self.parts.plugged_in.is_some() {
            return self.take_up_plugged_in(tick, now).await;
        }
        // A set that does not verify is read at times only: its key may be under a passphrase, which takes long.
        if self.take_up_fault.is_some() && tick < self.take_up_at {
            return Ok(());
        }
        match adopt_generation(&mut self.journal, &self.parts.materials, now).await {
            Ok(effects) => {
                self.take_up_fault = None;
                self.effects.add(effects);
            }
            Err(AdoptionError::Store(error)) => return Err(self.noted(error.into())),
            Err(error) => {
                self.take_up_at = tick.saturating_add(TAKE_UP_EVERY);
                self.not_taken_up(&error);
            }
        }
        Ok(())
    }

    /// Reads the facts, and lays them open before anything is done by them: the prober judges by what whoever acts had seen. Nobody is woken for
    /// it: who watches is told at the end of the turn.
    pub(super) async fn look(&mut self) -> Result<(), CommandError> {
        let state = Arc::clone(self.journal.state());
        let facts = Arc::new(self.parts.facts.gather(&state, self.now()).await?);
        self.facts = Arc::clone(&facts);
        self.view.send_if_modified(|view| {
            *view = Arc::new(RotationView { facts, ..RotationView::clone(view) });
            false
        });
        Ok(())
    }

    /// What this effect failed with, if it did.
    pub(super) fn fault_of(&self, wanted: impl Fn(Effect) -> bool) -> Option<String> {
        self.effects.faults().find(|(effect, _)| wanted(*effect)).map(|(_, text)| text.to_owned())
    }

    fn not_taken_up(&mut self, error: &dyn std::fmt::Display) {
        let error = error.to_string();
        if self.take_up_fault.as_ref() != Some(&error) {
            tracing::error!(error, "a newer authority is not used; the one in use goes on");
        }
        self.take_up_fault = Some(error);
    }

    /// Why what came from elsewhere is not in use; `None`: it is.
    pub(super) fn set_take_up_fault(&mut self, fault: Option<String>) {
        self.take_up_fault = fault;
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now().into()
    }
}

/// Waits until another replica moves an authority or asks for one; forever in a store that this process has to itself.
async fn others_moved(changes: &mut broadcast::Receiver<Change>, is_shared: bool) {
    if is_shared {
        loop {
            match changes.recv().await {
                Ok(Change::Authorities | Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Ok(
                    Change::Entries(_) | Change::EntriesOfClusters | Change::Node(_) | Change::Revocations | Change::Federations,
                ) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    }
    std::future::pending().await
}
