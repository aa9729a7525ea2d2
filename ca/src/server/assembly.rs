//! The parts of a CA, made of what it stands on and joined to each other.

use std::net::SocketAddr;
use std::sync::Arc;

use kubernetes::KubernetesClient;
use pki::Timestamp;
use runtime::readiness::Readiness;
use tokio::sync::{Mutex, watch};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::authorities::Authorities;
use super::cluster_objects::ClusterObjects;
use super::services::csr_limit;
use super::{Ground, Keys, Parts, StartError};
use crate::attestation::ClusterAgents;
use crate::backup::{self, RestoredNote};
use crate::checkpoints::{CheckpointDesk, CheckpointParts};
use crate::config::{CaConfig, ClusterAgentsConfig, KubernetesConfig, LimitsConfig};
use crate::federation::{Poller, PollerParts};
use crate::issuing::{Desk, DeskParts, ServingNames};
use crate::istio::NodeProxies;
use crate::jwt::desk::JwtDesk;
use crate::key_watch::KEYS;
use crate::metrics::Metrics;
use crate::node_pods::{NodePods, PodWatcher};
use crate::oidc::TokenJudge;
use crate::pod_identities::{PodIdentities, PodIdentityParts};
use crate::report::{CLOCK, ISSUING, Report, SERVING, STORE};
use crate::revocation::{Keeper, KeeperParts, Lists, StoredRevocations};
use crate::rotation::{
    Driver, DriverParts, FactsOfFleet, ListSlot, Materials, Outlets, ProbeCounts, Prober, RotationHandle, ServingSlot,
};
use crate::service_accounts::{ReviewSettings, TokenReviewer};
use crate::serving::{Credentials, ServingCertificate, SharedServing};
use crate::sync::SyncHub;
use crate::turns::{TurnLimits, Turns};
use crate::upkeep::Upkeep;

/// Makes the parts. The serving certificate is issued like any other: a CA that cannot issue does not start, but for one whose own issuing
/// CA has ended, which starts so that it can have another one.
pub(super) async fn assemble(
    ground: Ground,
    keys: Keys,
    listening: SocketAddr,
    metrics: Metrics,
    endpoint_trouble: watch::Receiver<Option<String>>,
) -> Result<Parts, StartError> {
    let Ground { config, clock, entropy, issuance_clock, store, tenure, provisioning: _ } = &ground;
    let Keys { authorities, audit: audit_key, leases } = keys;
    let Authorities { authority, jwt: jwt_key, bundle, journal, keys, materials, plugged_in, steps } = authorities;
    let upstream = materials.upstream().cloned();
    let now = Timestamp::from(clock.now());
    let has_ended = plugged_in.is_none() && (authority.certificate().not_after() < now || authority.root().not_after() < now);
    let sequence = bundle.sequence();
    let (bundle, bundle_changes) = watch::channel(Arc::new(bundle));
    let (authority, authority_changes) = watch::channel(Arc::new(authority));
    let (jwt_key, jwt_changes) = watch::channel(Arc::new(jwt_key));
    let credentials = Credentials::new(config.trust_domain.clone(), Arc::clone(clock), bundle_changes.clone());
    let LimitsConfig { issuance_concurrency, issuance_queue, issuance_wait, .. } = config.limits;
    let turns = TurnLimits { concurrency: issuance_concurrency, places: issuance_queue, wait: issuance_wait };
    let turns = Turns::new(turns, metrics.limits.clone());
    let (desk, results) = Desk::new(DeskParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        agent_ttl: config.agent_ttl,
        replica: config.replica_byte,
        authority: authority_changes.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(issuance_clock),
        entropy: Arc::clone(entropy),
        metrics: metrics.clone(),
        csr: csr_limit(&config.limits, &metrics),
        turns: Arc::clone(&turns),
        revocation: Arc::new(StoredRevocations(store.revoked())),
    });
    let desk = Arc::new(desk);
    let jwt = Arc::new(JwtDesk {
        ttl: config.jwt_ttl,
        key: jwt_changes.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(issuance_clock),
        metrics: metrics.clone(),
        turns,
    });
    let names = ServingNames {
        replica: config.replica.clone(),
        dns_names: config.server_dns_names.clone(),
        ip_addresses: config.server_ip_addresses.clone(),
    };
    let serving = ServingCertificate::new(Arc::clone(&desk), names, credentials.clone());
    if has_ended {
        tracing::error!("the issuing CA has ended: agents are not served until a successor is made");
    } else {
        serving.mint_first().await.map_err(|error| StartError::Serving(error.to_string()))?;
    }
    let shown = serving.subscribe();
    let serving = SharedServing(Arc::new(Mutex::new(serving)));
    let (judge, key_refreshers) = TokenJudge::new(config.trust_domain.clone(), &config.oidc, clock, metrics.oidc.clone())?;
    let judge = Arc::new(judge);
    let cluster = config.kubernetes.as_ref().map(|kubernetes| Cluster::of(kubernetes, &ground, &metrics));
    let Cluster { reviewer, proxies, agents, pod_identities, pod_watcher } = cluster.unwrap_or_default();
    let readiness = Readiness::default();
    let token = keys.token().cloned();
    for condition in [CLOCK, ISSUING, SERVING, STORE].into_iter().chain(token.as_ref().map(|_| KEYS)) {
        readiness.require(condition, "not judged yet");
    }
    let hub = SyncHub::new(Arc::clone(clock));
    let plugged = plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone());
    let (view, views) = watch::channel(Arc::new(Driver::first_view(journal.state(), &materials, sequence, plugged, now)));
    let (rotation, commands) = RotationHandle::new(views.clone());
    let probes = ProbeCounts::default();
    let serving_slot: Arc<dyn ServingSlot> = Arc::new(serving.clone());
    let (mut keeper, lists, settle) = Keeper::new(KeeperParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        config: config.revocation,
        plugged_in: plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone()),
        materials: Materials::new(config, keys.clone(), Arc::clone(store), Arc::clone(entropy), steps.clone(), tenure.clone()),
        store: Arc::clone(store),
        view: views.clone(),
        authority: authority_changes.clone(),
        bundle: bundle_changes.clone(),
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
    });
    let cluster_objects = ClusterObjects::new(&ground, &desk, &bundle_changes, &lists, &metrics);
    if store.is_shared() {
        keeper.begin().await;
    }
    let slot: Arc<dyn ListSlot> = Arc::new(Lists(settle));
    let outlets = Outlets { authority, jwt: jwt_key, bundle, serving: serving_slot, lists: slot, retiring: Vec::new() };
    let driver = DriverParts {
        trust_domain: config.trust_domain.clone(),
        profile: config.leaf.clone(),
        config: config.rotation,
        plugged_in,
        materials,
        store: Arc::clone(store),
        steps,
        tenure: tenure.clone(),
        facts: Box::new(FactsOfFleet {
            store: Arc::clone(store),
            fleet: hub.clone(),
            reattest_window: config.reattest_window,
            propagation_hold: config.rotation.propagation_hold,
            tenure: tenure.clone(),
            cluster: cluster_objects.receivers(),
        }),
        outlets,
        probes: probes.clone(),
        upstream: metrics.upstream.clone(),
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
        entropy: Arc::clone(entropy),
    };
    let driver = Driver::new(driver, journal, commands, view);
    let prober = Prober {
        trust_domain: config.trust_domain.clone(),
        listening,
        bundle: bundle_changes.clone(),
        view: views.clone(),
        counts: probes,
        clock: Arc::clone(clock),
    };
    let checkpoints = CheckpointDesk::open(CheckpointParts {
        trust_domain: config.trust_domain.clone(),
        key: audit_key,
        schedule: config.audit_schedule,
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        metrics: metrics.checkpoints.clone(),
        tenure: tenure.clone(),
    })
    .await
    .map_err(|error| StartError::Checkpoints(error.to_string()))?;
    let poller = PollerParts {
        config: config.federation.clone(),
        own: bundle_changes.clone(),
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        metrics: metrics.federation.clone(),
    };
    let (poller, federation) = Poller::open(poller, endpoint_trouble).await?;
    let own_bundle = bundle_changes.clone();
    let report = Arc::new(Report {
        replica: config.replica.clone(),
        address: config.advertise.as_ref().map_or_else(|| listening.to_string(), |address| address.as_str().to_owned()),
        profile: config.leaf.clone(),
        clock: Arc::clone(clock),
        readiness,
        authority: authority_changes.clone(),
        bundle: bundle_changes.clone(),
        serving: shown.clone(),
        hub: Arc::clone(&hub),
        jwt: jwt_changes,
        rotation: views,
        judge: Arc::clone(&judge),
        reviewer: reviewer.clone(),
        secrets: cluster_objects.secret_operator(),
        trust: cluster_objects.trust_objects(),
        entries: cluster_objects.entry_objects(),
        proxies: proxies.clone(),
        agents: agents.clone(),
        checkpoints: Arc::clone(&checkpoints),
        store: store.state(),
        lists: lists.clone(),
        federation: federation.clone(),
        restored: restored_note(config),
    });
    let reporter = HealthReporter::new();
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let upkeep = Upkeep {
        authority: authority_changes,
        bundle: bundle_changes,
        serving,
        store: Arc::clone(store),
        revoked: store.revoked(),
        hub: Arc::clone(&hub),
        report: Arc::clone(&report),
        metrics: metrics.clone(),
        health: reporter,
        told: None,
        clock: Arc::clone(clock),
        issuance_clock: Arc::clone(issuance_clock),
        clock_untrusted: false,
        entropy: Arc::clone(entropy),
    };
    let changes = store.changes();
    Ok(Parts {
        ground,
        changes,
        credentials,
        hub,
        desk,
        jwt,
        judge,
        reviewer,
        proxies,
        agents,
        pod_identities,
        pod_watcher,
        cluster_objects,
        results,
        report,
        checkpoints,
        metrics,
        serving: shown,
        upkeep,
        rotation,
        driver,
        prober,
        keeper,
        leases,
        lists,
        key_refreshers,
        token,
        poller,
        federation,
        bundle: own_bundle,
        keys,
        upstream,
        health,
    })
}

/// What stands on the API server of a cluster, where one is configured.
#[derive(Default)]
struct Cluster {
    reviewer: Option<Arc<TokenReviewer>>,
    proxies: Option<NodeProxies>,
    agents: Option<ClusterAgents>,
    pod_identities: Option<Arc<PodIdentities>>,
    pod_watcher: Option<PodWatcher>,
}

impl Cluster {
    /// Nothing is asked before the first token comes, and no pods are watched where nobody is trusted with them.
    fn of(config: &KubernetesConfig, ground: &Ground, metrics: &Metrics) -> Self {
        let Ground { config: CaConfig { trust_domain, leaf, .. }, clock, entropy, issuance_clock, store, .. } = ground;
        let KubernetesConfig {
            cluster,
            audiences,
            server,
            trusted_node_accounts: trusted,
            agents,
            secrets: _,
            trust: _,
            entries: _,
        } = config.clone();
        let client = Arc::new(KubernetesClient::new(server, Arc::clone(clock), metrics.kubernetes.clone()));
        // Proxies renew nothing: they ask for each pod anew.
        let renewing = agents.as_ref().filter(|agents| agents.pod_identities);
        let bridged = renewing.map(|agents| agents.renew_without_apiserver.unwrap_or(leaf.default_ttl() / 2)).unwrap_or_default();
        let watched = (!trusted.is_empty() || agents.is_some()).then(|| {
            let calls = metrics.kubernetes.clone();
            let (pods, watcher) = NodePods::new(Arc::clone(&client), clock, entropy, calls, metrics.pods.clone(), bridged);
            (Arc::new(pods), watcher)
        });
        let (pods, pod_watcher) = watched.unzip();
        let reviewer = |audiences| {
            let (client, settings) = (Arc::clone(&client), ReviewSettings { cluster: cluster.clone(), audiences });
            Arc::new(TokenReviewer::new(client, settings, Arc::clone(clock), metrics.reviews.clone()))
        };
        let proxies = pods.clone().filter(|_| !trusted.is_empty()).map(|pods| NodeProxies { trusted, pods });
        let identities = pods.clone().filter(|_| renewing.is_some());
        let pod_identities = identities.map(|pods| {
            Arc::new(PodIdentities::new(PodIdentityParts {
                trust_domain: trust_domain.clone(),
                cluster: cluster.clone(),
                pods,
                store: Arc::clone(store),
                clock: Arc::clone(issuance_clock),
                // What was given last before the silence is there to its end, at the longest.
                confirmed_within: leaf.default_ttl().saturating_add(bridged),
                metrics: metrics.pods.clone(),
            }))
        });
        let agents = pods.zip(agents).map(|(pods, agents)| {
            let ClusterAgentsConfig { accounts, audiences, .. } = agents;
            ClusterAgents { accounts, reviewer: reviewer(audiences), pods }
        });
        Self { reviewer: Some(reviewer(audiences)), proxies, agents, pod_identities, pod_watcher }
    }
}

/// Word of a restore; one that cannot be read is told and counts for nothing.
fn restored_note(config: &CaConfig) -> Option<RestoredNote> {
    backup::note_of(&config.state_dir).unwrap_or_else(|error| {
        tracing::warn!(error, "whether this CA was put back from a backup cannot be read");
        None
    })
}
