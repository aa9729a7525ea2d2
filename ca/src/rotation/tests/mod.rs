//! A driver over a real store and a real directory, without a network: facts are what the test says.

mod adoption;
mod commands;
mod interruption;
mod memory_keys;
mod plugged_in;
mod probing;
mod replicas;
mod schedule;
mod upstream;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::{self, BoxFuture};
use pki::{Certificate, KeyAlgorithm, Timestamp};
use runtime::clock::{Clock, TestClock};
use runtime::entropy::{Entropy, SystemEntropy};
use runtime::private_files::ensure_private_dir;
use runtime::shutdown::{self, ShutdownTrigger};
use tempfile::TempDir;
use tokio::sync::watch;

use super::driver::{DriverError, FactSource};
use super::steps::{LoggedSteps, StepSeam, Steps};
use super::*;
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::gate::{Accepted, AgentFacts};
use crate::authority::lifecycle::rotation::Pace;
use crate::authority::lifecycle::{Authority, Slot};
use crate::config::CaConfig;
use crate::init::{InitOptions, init};
use crate::issuance_clock::IssuanceClock;
use crate::keystore::Keystore;
use crate::replicas::Tenure;
use crate::signing_keys::SigningKeys;
use crate::store::{Actor, Registration, SqliteStore, Store};
use crate::upstream::desk::UpstreamDesk;
use crate::upstream::metrics::UpstreamMetrics;

pub(super) const OPERATOR: Actor = Actor::Operator { uid: 7 };

/// 2026-11-20T11:00:00Z.
pub(super) fn start_time() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

/// A state directory as `signet ca init` leaves it; an empty one where somebody else signs the issuing CAs.
pub(super) struct Bed {
    _directory: TempDir,
    pub(super) config: CaConfig,
    pub(super) clock: Arc<TestClock>,
    pub(super) agents: Arc<Mutex<Vec<AgentFacts>>>,
    /// Authorities whose revocation lists cannot be signed.
    pub(super) unsigned: Arc<Mutex<Vec<AuthorityName>>>,
    /// Who signs issuing CAs, where the CA has no key of its root.
    pub(super) upstream: Option<Arc<UpstreamDesk>>,
}

/// What the test says, with what the ledger says.
struct Told {
    agents: Arc<Mutex<Vec<AgentFacts>>>,
}

impl FactSource for Told {
    fn gather<'a>(&'a self, _: &'a Lifecycle, _: Timestamp) -> BoxFuture<'a, Result<Facts, StoreError>> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(future::ready(Ok(Facts { agents, ..Facts::default() })))
    }
}

/// A serving certificate that rests on whatever signs when it is renewed.
struct ServingUnder {
    authority: watch::Receiver<Arc<SigningAuthority>>,
    under: Mutex<Certificate>,
}

impl ServingSlot for ServingUnder {
    fn rests_on<'a>(&'a self, issuer: &'a Certificate) -> BoxFuture<'a, bool> {
        Box::pin(future::ready(*self.under.lock().unwrap() == *issuer))
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), String>> {
        *self.under.lock().unwrap() = self.authority.borrow().certificate().clone();
        Box::pin(future::ready(Ok(())))
    }
}

/// Every list is signed, but for those that the test names.
struct AllSigned(Arc<Mutex<Vec<AuthorityName>>>);

impl ListSlot for AllSigned {
    fn settle<'a>(&'a self, _: &'a Arc<Lifecycle>) -> BoxFuture<'a, Result<Vec<(AuthorityName, String)>, String>> {
        let unsigned = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(future::ready(Ok(unsigned.into_iter().map(|name| (name, "the disk is full".to_owned())).collect())))
    }
}

/// What a running driver shows.
pub(super) struct Running {
    pub(super) handle: RotationHandle,
    pub(super) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(super) jwt: watch::Receiver<Arc<crate::signing_keys::JwtSigningKey>>,
    pub(super) bundle: watch::Receiver<Arc<pki::TrustBundle>>,
    pub(super) trigger: ShutdownTrigger,
    pub(super) tenure: Tenure,
}

impl Bed {
    pub(super) async fn new(more: &str) -> Self {
        // In memory where that is possible: what outlives a power failure is shown elsewhere, and syncs would be most of the time.
        let in_memory = Path::new("/dev/shm");
        let directory = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() }.unwrap();
        let text = format!(
            "trust_domain = \"example.org\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n{more}",
            directory.path().join("ca").display()
        );
        let config = CaConfig::parse("ca.toml", &text).unwrap();
        let clock = TestClock::at(SystemTime::from(start_time()));
        if config.upstream.is_none() && config.plugged_authority.is_none() {
            let options = InitOptions { algorithm: KeyAlgorithm::EcdsaP256, root_key_out: None };
            init(&config, options, &*clock, &SystemEntropy).await.unwrap();
        } else {
            ensure_private_dir(&config.state_dir).unwrap();
        }
        Self { _directory: directory, config, clock, agents: Arc::default(), unsigned: Arc::default(), upstream: None }
    }

    /// The journal and the material of this directory, as a start opens them.
    pub(super) async fn open(&self, steps: &Steps) -> (Arc<dyn Store>, Journal, Materials) {
        let (store, journal, materials, _) = self.open_with_tenure(steps).await;
        (store, journal, materials)
    }

    async fn open_with_tenure(&self, steps: &Steps) -> (Arc<dyn Store>, Journal, Materials, Tenure) {
        let store = self.store();
        let tenure = self.tenure(&store).await;
        let journal = Journal::open(Arc::clone(&store), steps.clone(), tenure.clone()).await.unwrap();
        let keys = SigningKeys::open(&self.config).await.unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let materials = Materials::new(&self.config, keys, Arc::clone(&store), entropy, steps.clone(), tenure.clone());
        (store, journal, materials.with_upstream(self.upstream.clone()), tenure)
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.config.store_path()).unwrap())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// Of a process that begins now.
    pub(super) async fn tenure(&self, store: &Arc<dyn Store>) -> Tenure {
        let registration = Registration {
            replica: self.config.replica.clone(),
            serial_byte: self.config.replica_byte,
            address: "ca:8443".to_owned(),
            instance: [1; 32],
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        Tenure::begin(store, registration, &clock).await.unwrap().0
    }

    /// Starts as a CA does; the driver works while its future is polled.
    pub(super) async fn start(
        &self,
        seam: Arc<dyn StepSeam>,
    ) -> (Running, impl Future<Output = Result<(), DriverError>> + use<>) {
        let steps = Steps::new(seam);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let (store, mut journal, materials, tenure) = self.open_with_tenure(&steps).await;
        enrol(&mut journal, &materials, self.now()).await.unwrap();
        let (authority, plugged_in) = match &self.config.plugged_authority {
            None => (open_issuer(&mut journal, &materials, self.now()).await.unwrap(), None),
            Some(directory) => {
                let keys = SigningKeys::open(&self.config).await.unwrap();
                let (keystore, authority) = Keystore::open(directory, &self.config, keys, self.now()).await.unwrap();
                let plugged_in = PluggedIn::new(directory, keystore, &authority);
                (authority, Some(plugged_in))
            }
        };
        let jwt = open_jwt(&mut journal, &materials, self.now()).await.unwrap();
        let trust_domain = self.config.trust_domain.clone();
        let roots = plugged_in.as_ref().map(|_| authority.roots());
        let bundle = bundle_of(journal.state(), roots, &trust_domain, (&*store, &steps), self.now()).await.unwrap();
        let (view, views) =
            watch::channel(Arc::new(Driver::first_view(journal.state(), &materials, bundle.sequence(), None, self.now())));
        let (authority, authorities) = watch::channel(Arc::new(authority));
        let (jwt, jwts) = watch::channel(Arc::new(jwt));
        let (bundle, bundles) = watch::channel(Arc::new(bundle));
        let issuance_clock = Arc::new(IssuanceClock::new(self.clock.clone(), store.latest_issuance().await.unwrap()));
        issuance_clock.look().unwrap();
        let under = Mutex::new(authorities.borrow().certificate().clone());
        let serving = Arc::new(ServingUnder { authority: authorities.clone(), under });
        let (handle, commands) = RotationHandle::new(views);
        let parts = DriverParts {
            trust_domain,
            profile: self.config.leaf.clone(),
            config: self.config.rotation,
            plugged_in,
            materials,
            store,
            steps,
            tenure: tenure.clone(),
            facts: Box::new(Told { agents: Arc::clone(&self.agents) }),
            outlets: Outlets {
                authority,
                jwt,
                bundle,
                serving,
                lists: Arc::new(AllSigned(Arc::clone(&self.unsigned))),
                retiring: Vec::new(),
            },
            probes: ProbeCounts::default(),
            upstream: UpstreamMetrics::default(),
            clock: self.clock.clone(),
            issuance_clock,
            entropy,
        };
        let (trigger, shutdown) = shutdown::channel();
        let driver = Driver::new(parts, journal, commands, view);
        (Running { handle, authority: authorities, jwt: jwts, bundle: bundles, trigger, tenure }, driver.run(shutdown))
    }

    /// Runs a script beside a driver, and ends the driver after it.
    pub(super) async fn with_driver<T>(&self, script: impl AsyncFnOnce(&Running) -> T) -> T {
        let (running, driver) = self.start(Arc::new(LoggedSteps)).await;
        let script = async {
            let outcome = tokio::time::timeout(Duration::from_secs(30), script(&running)).await.expect("the script ends");
            running.trigger.fire();
            outcome
        };
        let (ended, outcome) = tokio::join!(driver, script);
        ended.unwrap();
        outcome
    }
}

impl Running {
    pub(super) fn lifecycle(&self) -> Arc<Lifecycle> {
        Arc::clone(&self.handle.view().borrow().lifecycle)
    }

    /// Waits until this holds of the view.
    pub(super) async fn until(&self, holds: impl FnMut(&Arc<RotationView>) -> bool) -> Arc<RotationView> {
        self.handle.view().wait_for(holds).await.unwrap().clone()
    }
}

pub(super) fn name(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

pub(super) fn slot(state: &Lifecycle, text: &str) -> Option<Slot> {
    state.get(name(text)).map(|authority: &Authority| authority.slot)
}
