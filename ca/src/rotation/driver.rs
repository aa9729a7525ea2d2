//! The task: takes commands and ticks, stores what is decided, and does what follows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::TrustDomain;
use pki::{LeafProfile, Timestamp};
use runtime::clock::{Clock, Ticker};
use runtime::entropy::{self, Entropy};
use runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};

use super::adoption::{AdoptionError, adopt_generation};
use super::commands::Obeyed;
use super::effects::Effects;
use super::handle::Command;
use super::journal::Journal;
use super::materials::{MaterialError, Materials, certificate_of};
use super::outlets::Outlets;
use super::prober::ProbeCounts;
use super::publication::bundle_of;
use super::steps::Steps;
use super::{Changed, CommandError, FactsOfFleet, RotationStanding, RotationView};
use crate::authority::lifecycle::gate::{Accepted, Facts};
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Effect, Event, Lifecycle, Material, Slot, resume};
use crate::config::RotationConfig;
use crate::issuance_clock::IssuanceClock;
use crate::keystore::Keystore;
use crate::store::{Actor, Store, StoreError};

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

/// Root and issuing CA from a directory that somebody else fills.
pub(crate) struct PluggedIn {
    pub(crate) directory: PathBuf,
    pub(crate) keystore: Keystore,
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
    pub(crate) facts: Box<dyn FactSource>,
    pub(crate) outlets: Outlets,
    pub(crate) probes: ProbeCounts,
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
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<RotationView>>,
    /// What is remembered may not be what is stored.
    stale: bool,
    fenced: Option<StoreError>,
}

impl Driver {
    /// Over a journal that was opened, with the commands of its handle and where its view goes.
    pub(crate) fn new(
        parts: DriverParts,
        journal: Journal,
        commands: mpsc::Receiver<Command>,
        view: watch::Sender<Arc<RotationView>>,
    ) -> Self {
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
            commands,
            view,
            stale: true,
            fenced: None,
        }
    }

    /// The view of a lifecycle of which nothing else is known yet.
    pub(crate) fn first_view(
        lifecycle: &Arc<Lifecycle>,
        bundle_sequence: u64,
        plugged_in: Option<PathBuf>,
        at: Timestamp,
    ) -> RotationView {
        let lifecycle = Arc::clone(lifecycle);
        RotationView {
            lifecycle,
            rotations: Vec::new(),
            facts: Arc::default(),
            bundle_sequence,
            plugged_in,
            faults: Vec::new(),
            at,
        }
    }

    /// Works until the end.
    ///
    /// # Errors
    /// [`DriverError`].
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), DriverError> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut tick = 0;
        loop {
            self.turn(tick).await;
            if let Some(error) = self.fenced.take() {
                return Err(DriverError::Fenced(error));
            }
            tokio::select! {
                // Whichever comes first: a tick looks at everything, a command looks after it was obeyed.
                () = shutdown.fired() => return Ok(()),
                woken = ticker.tick() => { woken?; tick += 1; }
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
        let fault = self.look_after(tick).await.err().map(|error| error.to_string());
        // Once for each text: what stays wrong is looked at each second.
        if let Some(error) = fault.as_ref().filter(|fault| self.fault.as_ref() != Some(*fault)) {
            tracing::error!(error, "authorities stay as they are");
        }
        self.fault = fault;
        self.show();
    }

    async fn look_after(&mut self, tick: u64) -> Result<(), CommandError> {
        self.be_current().await?;
        let now = self.now();
        self.take_up_newer(tick, now).await?;
        self.work().await?;
        // By a wrong clock things seem to be due or over that are not. That it is wrong is told elsewhere.
        if self.parts.issuance_clock.look().is_err() {
            return Ok(());
        }
        let is_first = tick == 0;
        if is_first || tick.is_multiple_of(LOOK_EVERY) || self.needs_facts() {
            self.look().await?;
        }
        if self.parts.config.automatic {
            self.begin_what_is_due().await?;
        }
        self.advance().await
    }

    /// After an error of the store: reads what is stored, and does again whatever might not have been done.
    pub(super) async fn be_current(&mut self) -> Result<(), CommandError> {
        if !self.stale {
            return Ok(());
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
        if let CommandError::Store(cause) = &error {
            self.stale = true;
            if matches!(cause, StoreError::Changed { .. }) {
                self.fenced = Some(cause.clone());
            }
        }
        error
    }

    /// Does what is to be done, each thing by itself: one that fails is tried again later and does not hold up the others.
    pub(super) async fn work(&mut self) -> Result<(), CommandError> {
        while let Some(effect) = self.effects.next(self.parts.clock.boottime()) {
            match self.carry_out(effect).await {
                Ok(event) => {
                    self.effects.done(effect);
                    if let Some(event) = event {
                        self.happen(event, Actor::System).await?;
                    }
                }
                Err(error) => {
                    let (now, random) = (self.parts.clock.boottime(), self.random());
                    if self.effects.failed(effect, error.clone(), now, random) {
                        tracing::error!(?effect, %error, "an authority stands where it should not: this is tried again");
                    }
                }
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, String> {
        let (now, state) = (self.now(), Arc::clone(self.journal.state()));
        let told = |error: &dyn std::fmt::Display| error.to_string();
        match effect {
            Effect::Make { name, parent } => {
                // What was dropped meanwhile is not made.
                if state.get(name).is_none_or(|authority| authority.slot != Slot::Making) {
                    return Ok(None);
                }
                let now = self.parts.issuance_clock.issue_at().map_err(|fault| told(&fault))?;
                let parent = parent.and_then(|parent| state.get(parent));
                let material = self.make(&state, name, parent, now).await.map_err(|error| told(&error))?;
                Ok(Some(Event::Made { name, material }))
            }
            Effect::Publish => {
                let plugged_in = self.parts.plugged_in.as_ref().map(|_| self.parts.outlets.authority.borrow().roots().to_vec());
                let (store, steps) = (&*self.parts.store, &self.parts.steps);
                let bundle = bundle_of(&state, plugged_in.as_deref(), &self.parts.trust_domain, (store, steps), now);
                let bundle = bundle.await.map_err(|error| told(&error))?;
                let sequence = bundle.sequence();
                self.parts.outlets.cover(&state).await;
                self.parts.outlets.publish(&self.parts.steps, bundle).await;
                Ok(Some(Event::Published { sequence }))
            }
            Effect::Sign => self.sign(&state, now).await.map(|()| None),
            Effect::Destroy(name) => {
                if name.kind == AuthorityKind::Issuer {
                    self.parts.outlets.finish(&state, name).await?;
                }
                self.parts.materials.destroy(name).await.map_err(|error| told(&error))?;
                Ok(Some(Event::Destroyed(name)))
            }
        }
    }

    async fn make(
        &self,
        state: &Lifecycle,
        name: AuthorityName,
        parent: Option<&Authority>,
        now: Timestamp,
    ) -> Result<Material, MaterialError> {
        let materials = &self.parts.materials;
        match (name.kind, parent, state.active(AuthorityKind::Root)) {
            (AuthorityKind::Issuer, Some(root), _) => materials.make_issuer(name, root, now).await,
            (AuthorityKind::Root, _, Some(active)) => {
                let example = certificate_of(active)?.public_key().algorithm();
                materials.make_root(name, example, now).await
            }
            (AuthorityKind::Jwt, ..) => materials.make_jwt(name, now).await,
            (AuthorityKind::Issuer, None, _) | (AuthorityKind::Root, _, None) => {
                Err(MaterialError::Journal { name, cause: "nothing signs it".to_owned() })
            }
        }
    }

    async fn sign(&mut self, state: &Lifecycle, now: Timestamp) -> Result<(), String> {
        if let Some(jwt) = state.active(AuthorityKind::Jwt) {
            let key = self.parts.materials.jwt_key(jwt.name).map_err(|error| error.to_string())?;
            let key = key.ok_or_else(|| format!("the file of {} is not there", jwt.name))?;
            self.parts.outlets.sign_tokens_with(&self.parts.steps, state, key).await;
        }
        if self.parts.plugged_in.is_some() {
            return Ok(());
        }
        let Some(issuer) = state.active(AuthorityKind::Issuer) else { return Ok(()) };
        let has_ended = issuer.has_ended(now) || state.active(AuthorityKind::Root).is_some_and(|root| root.has_ended(now));
        let authority = self.parts.materials.issuer(issuer.name, now).map_err(|error| error.to_string())?;
        let signing = self.parts.outlets.sign_with(&self.parts.steps, state, authority).await;
        // What has ended signs nothing, not even for the CA itself: its successor will.
        if has_ended { Ok(()) } else { signing }
    }

    /// Takes over what was made elsewhere since.
    async fn take_up_newer(&mut self, tick: u64, now: Timestamp) -> Result<(), CommandError> {
        if self.parts.plugged_in.is_some() {
            return self.take_up_plugged_in(now).await;
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

    async fn take_up_plugged_in(&mut self, now: Timestamp) -> Result<(), CommandError> {
        let Some(plugged_in) = &mut self.parts.plugged_in else { return Ok(()) };
        let newer = match plugged_in.keystore.newer(now) {
            Ok(None) => return Ok(()),
            Ok(Some(newer)) => newer,
            Err(error) => {
                self.not_taken_up(&error);
                return Ok(());
            }
        };
        let (state, roots) = (Arc::clone(self.journal.state()), newer.roots().to_vec());
        let (store, steps) = (&*self.parts.store, &self.parts.steps);
        let bundle = match bundle_of(&state, Some(&roots), &self.parts.trust_domain, (store, steps), now).await {
            Ok(bundle) => bundle,
            Err(error) => {
                plugged_in.keystore.not_taken();
                self.not_taken_up(&error);
                return Ok(());
            }
        };
        tracing::info!(issuer = newer.certificate().subject(), not_after = %newer.certificate().not_after(), "taking up a newer authority");
        // The bundle first: nobody should meet a leaf whose root was not pushed yet.
        self.parts.outlets.publish(&self.parts.steps, bundle).await;
        match self.parts.outlets.sign_with(&self.parts.steps, &state, newer).await {
            Ok(()) => self.take_up_fault = None,
            Err(error) => self.not_taken_up(&error),
        }
        Ok(())
    }

    /// Reads the facts.
    pub(super) async fn look(&mut self) -> Result<(), CommandError> {
        let state = Arc::clone(self.journal.state());
        let facts = self.parts.facts.gather(&state, self.now()).await?;
        self.facts = Arc::new(facts);
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

    fn show(&mut self) {
        for standing in &mut self.standings {
            standing.probes = self.parts.probes.of(standing.rotation.from.kind);
        }
        let faults = self
            .effects
            .faults()
            .map(|(_, text)| text.to_owned())
            .chain(self.fault.clone())
            .chain(self.take_up_fault.clone())
            .collect();
        let view = RotationView {
            lifecycle: Arc::clone(self.journal.state()),
            rotations: self.standings.clone(),
            facts: Arc::clone(&self.facts),
            bundle_sequence: self.parts.outlets.bundle.borrow().sequence(),
            plugged_in: self.parts.plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone()),
            faults,
            at: self.now(),
        };
        self.view.send_replace(Arc::new(view));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now().into()
    }

    fn random(&self) -> u8 {
        let [byte] = entropy::bytes(&*self.parts.entropy);
        byte
    }
}
