use std::sync::Mutex;

use mtls::https::{DocumentOutcome, DocumentServer, Publication, ServerPair};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, JwksContent, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte,
    SerialNumber, X509Svid, prepare_authority, prepare_leaf,
};
use prometheus_client::registry::Registry;
use runtime::clock::SystemClock;
use tokio::net::TcpListener;

use super::*;
use crate::audit::Actor;
use crate::federation::BundleEndpoint;
use crate::store::SqliteStore;

const OPERATOR: Actor = Actor::Operator { uid: 0 };
const ENDPOINT_ID: &str = "spiffe://other.org/ca";

fn now() -> Timestamp {
    Timestamp::from(SystemClock::shared().now())
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn serial() -> SerialNumber {
    SerialNumber::new(
        ReplicaByte::new(1).unwrap(),
        key().public_key().fingerprint()[..pki::SERIAL_RANDOM_BYTES].try_into().unwrap(),
    )
}

/// A root and an issuing CA of a trust domain.
struct Authority {
    trust_domain: TrustDomain,
    root: Certificate,
    issuer: Certificate,
    issuer_key: PrivateKey,
}

impl Authority {
    fn new(name: &str) -> Self {
        let trust_domain = TrustDomain::parse(name).unwrap();
        let (root_key, issuer_key) = (key(), key());
        let spec = |role, key: &PrivateKey, issuer: Option<&Certificate>| {
            let lifetime = Duration::from_secs(86_400);
            let public_key = key.public_key();
            let spec = AuthoritySpec { role, trust_domain: &trust_domain, public_key, lifetime, serial: serial(), now: now() };
            prepare_authority(&spec, issuer).unwrap().sign(&root_key).unwrap()
        };
        let root = spec(AuthorityRole::Root, &root_key, None);
        let issuer = spec(AuthorityRole::Issuer, &issuer_key, Some(&root));
        Self { root, issuer, issuer_key, trust_domain }
    }

    fn svid(&self, id: &str) -> X509Svid {
        let (key, hour) = (key(), Duration::from_secs(3600));
        let request = LeafRequest {
            id: &identity::SpiffeId::parse(id).unwrap(),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(),
            now: now(),
        };
        let leaf = prepare_leaf(&LeafProfile::new(hour, hour).unwrap(), &request, &self.issuer).unwrap();
        let leaf = leaf.sign(&self.issuer_key).unwrap();
        X509Svid::new(vec![leaf, self.issuer.clone()], key, now()).unwrap()
    }

    fn document(&self, sequence: u64) -> Vec<u8> {
        let bundle = TrustBundle::new(self.trust_domain.clone(), vec![self.root.clone()], sequence).unwrap();
        bundle.to_jwks_hinting(JwksContent::All, Duration::from_secs(1)).into_bytes()
    }
}

/// Answers with whatever the test put there.
#[derive(Default)]
struct Published(Mutex<Vec<u8>>);

impl Publication for Published {
    fn document(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn ended(&self, _outcome: DocumentOutcome) {}
}

/// An endpoint of other.org on loopback, a CA of example.org, and the poller between them.
struct Bench {
    directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    other: Authority,
    published: Arc<Published>,
    federation: Federation,
    group: runtime::tasks::TaskGroup,
    end: runtime::shutdown::ShutdownTrigger,
}

impl Bench {
    /// `shown`: whose identity the endpoint shows.
    async fn new(other: Authority, shown: &X509Svid) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.path().join("store.db")).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let published = Arc::new(Published::default());
        let (_, pair) = watch::channel(Some(ServerPair::of_svid(shown).unwrap()));
        let server = DocumentServer::new(listener, pair, Arc::<Published>::clone(&published), SystemClock::shared());
        let (end, shutdown) = runtime::shutdown::channel();
        let mut group = runtime::tasks::TaskGroup::new(shutdown.clone());
        group.spawn("endpoint", async move {
            server.run(shutdown).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let endpoint = BundleEndpoint::new(&other.trust_domain, &url, Some(ENDPOINT_ID)).unwrap();
        let federation = Federation { trust_domain: other.trust_domain.clone(), endpoint, created_at: now() };
        let bench = Self { directory, store, other, published, federation, group, end };
        bench.publish(bench.other.document(5));
        bench
    }

    fn publish(&self, document: Vec<u8>) {
        *self.published.0.lock().unwrap() = document;
    }

    async fn add(&self) {
        let first = ForeignDocument { json: self.other.document(1), sequence: 1, taken_at: now() };
        self.store.add_federation(self.federation.clone(), Some(first), OPERATOR, now()).await.unwrap();
    }

    /// Runs a poller with these addresses allowed.
    async fn run(&mut self, allowed: &[&str]) -> FederationViews {
        let own = Authority::new("example.org");
        let (_, own) = watch::channel(Arc::new(TrustBundle::new(own.trust_domain.clone(), vec![own.root], 1).unwrap()));
        let allow_addresses = allowed.iter().map(|range| range.parse().unwrap()).collect();
        let config = FederationConfig { min_refresh: Duration::from_secs(1), web_roots: None, allow_addresses, endpoint: None };
        let metrics = FederationMetrics::register(&mut Registry::default());
        let entropy = Arc::new(runtime::entropy::SystemEntropy);
        let parts = PollerParts { config, own, store: Arc::clone(&self.store), clock: SystemClock::shared(), entropy, metrics };
        let (poller, views) = Poller::open(parts, watch::channel(None).1).await.unwrap();
        let shutdown = self.group.shutdown();
        self.group.spawn("poller", poller.run(shutdown));
        views
    }

    async fn end(self) {
        self.end.fire();
        self.group.join(Duration::from_secs(5)).await.unwrap();
    }
}

async fn until<T>(receiver: &watch::Receiver<Arc<T>>, holds: impl FnMut(&Arc<T>) -> bool) -> Arc<T> {
    let mut receiver = receiver.clone();
    let waited = tokio::time::timeout(Duration::from_secs(30), receiver.wait_for(holds)).await;
    Arc::clone(&waited.expect("it becomes so").expect("the poller runs"))
}

fn sequence(bundles: &ForeignBundles) -> Option<u64> {
    bundles.values().next().map(|bundle| bundle.sequence())
}

#[tokio::test]
async fn a_newer_bundle_is_taken_and_kept_and_nothing_else_moves_it() {
    let other = Authority::new("other.org");
    let shown = other.svid(ENDPOINT_ID);
    let mut bench = Bench::new(other, &shown).await;
    bench.add().await;
    let views = bench.run(&["127.0.0.1"]).await;
    assert_eq!(sequence(&views.bundles.borrow()), Some(1), "the one to begin with counts from the start");
    until(&views.bundles, |bundles| sequence(bundles) == Some(5)).await;

    let third = Authority::new("third.org");
    let large =
        [br#"{"keys":[],"spiffe_sequence":9,"x":""#.to_vec(), vec![b'a'; super::super::MAX_DOCUMENT_BYTES], b"\"}".to_vec()];
    for (bad, why) in [
        (bench.other.document(4), "behind that of the bundle held"),
        (Authority::new("other.org").document(5), "other content"),
        (third.document(9), "no bundle of other.org"),
        (b"garbage".to_vec(), "no bundle of other.org"),
        (large.concat(), "more than 262144 bytes"),
    ] {
        bench.publish(bad);
        let told = |standings: &Arc<Standings>| {
            standings.values().any(|standing| standing.trouble.as_ref().is_some_and(|trouble| trouble.contains(why)))
        };
        until(&views.standings, told).await;
        assert_eq!(sequence(&views.bundles.borrow()), Some(5), "{why}");
    }
    bench.publish(bench.other.document(6));
    until(&views.bundles, |bundles| sequence(bundles) == Some(6)).await;
    until(&views.standings, |standings| standings.values().all(|standing| standing.trouble.is_none())).await;

    let stored = bench.store.federations().await.unwrap();
    assert_eq!(stored[0].document.as_ref().map(|document| document.sequence), Some(6), "{:?}", bench.directory);
    bench.store.remove_federation(bench.federation.trust_domain.clone(), OPERATOR, now()).await.unwrap();
    until(&views.bundles, |bundles| bundles.is_empty()).await;
    bench.end().await;
}

#[tokio::test]
async fn an_endpoint_with_another_identity_or_an_address_that_is_not_allowed_is_not_believed() {
    let other = Authority::new("other.org");
    let shown = other.svid("spiffe://other.org/somebody");
    let mut bench = Bench::new(other, &shown).await;
    bench.add().await;
    let views = bench.run(&["127.0.0.1"]).await;
    let told = |why: &'static str| {
        move |standings: &Arc<Standings>| {
            standings.values().any(|standing| standing.trouble.as_ref().is_some_and(|trouble| trouble.contains(why)))
        }
    };
    until(&views.standings, told("spiffe://other.org/somebody")).await;
    assert_eq!(sequence(&views.bundles.borrow()), Some(1));
    let stale = |standings: &Arc<Standings>| standings.values().all(|standing| standing.stale);
    until(&views.standings, stale).await;
    let warnings = views.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("other.org (sequence 1) may be old"), "{warnings:?}");
    assert_eq!(sequence(&views.bundles.borrow()), Some(1), "what is held is given out all the same");

    let views = bench.run(&[]).await;
    until(&views.standings, told("a loopback address")).await;
    assert_eq!(sequence(&views.bundles.borrow()), Some(1));
    bench.end().await;
}
