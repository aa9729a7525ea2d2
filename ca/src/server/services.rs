//! What is served on the sockets, made of the CA's parts.

use std::num::NonZeroU32;
use std::sync::Arc;

use runtime::shutdown::Shutdown;

use super::{Ground, Parts};
use crate::attestation::Attestation;
use crate::backup::Backups;
use crate::config::{IstioConfig, LimitsConfig};
use crate::csr_limit::CsrLimit;
use crate::istio::{CallerParts, IstioCallers};
use crate::metrics::Metrics;
use crate::rate::{Limiter, RateLimit};
use crate::revocation::StoredRevocations;
use crate::rpc::admin::AdminService;
use crate::rpc::attest::{AttestLimits, AttestService};
use crate::rpc::authority_admin::AuthorityAdminService;
use crate::rpc::backup::BackupService;
use crate::rpc::callers::Callers;
use crate::rpc::entry_wire::EntryLimits;
use crate::rpc::federation_admin::FederationAdminService;
use crate::rpc::istio::IstioService;
use crate::rpc::kubernetes_admin::KubernetesAdminService;
use crate::rpc::listen::{IstioServices, OperatorServices};
use crate::rpc::message_limit::MessageLimit;
use crate::rpc::node::{NodeLimits, NodeService};
use crate::rpc::sync_stream::SyncParts;
use crate::sessions::Sessions;

impl Parts {
    pub(super) fn attest_service(&self, attestation: Arc<Attestation>) -> AttestService {
        let limits = &self.ground.config.limits;
        AttestService {
            attestation,
            credentials: self.credentials.clone(),
            entropy: Arc::clone(&self.ground.entropy),
            metrics: self.metrics.clone(),
            limits: AttestLimits {
                rate: Limiter::new(limits.attestation, Arc::clone(&self.ground.clock)),
                csr: csr_limit(limits, &self.metrics),
                message: MessageLimit {
                    key: "attestation_bytes",
                    bytes: limits.attestation_bytes,
                    metrics: self.metrics.limits.clone(),
                },
            },
        }
    }

    pub(super) fn node_service(&self, shutdown: &Shutdown) -> NodeService {
        let Ground { config, clock, entropy: _, issuance_clock: _, store, tenure: _, provisioning } = &self.ground;
        let sessions = Sessions::new(Arc::clone(store), config.trust_domain.clone(), Arc::clone(clock));
        let callers = Callers { sessions: Arc::new(sessions), metrics: self.metrics.clone() };
        NodeService {
            callers: callers.clone(),
            store: Arc::clone(store),
            desk: Arc::clone(&self.desk),
            jwt: Arc::clone(&self.jwt),
            attestation: Arc::new(Attestation {
                store: Arc::clone(store),
                desk: Arc::clone(&self.desk),
                clock: Arc::clone(clock),
                window: config.reattest_window,
                slots: Attestation::slots(),
                provisioning: provisioning.clone(),
                agents: self.agents.clone(),
            }),
            pod_identities: self.pod_identities.clone(),
            sync: Arc::new(SyncParts {
                callers,
                store: Arc::clone(store),
                hub: Arc::clone(&self.hub),
                credentials: self.credentials.clone(),
                checkpoints: Arc::clone(&self.checkpoints),
                revocation: StoredRevocations(store.revoked()),
                lists: self.lists.clone(),
                foreign: self.federation.bundles.clone(),
                shutdown: shutdown.clone(),
                message_limit: MessageLimit {
                    key: "sync_message_bytes",
                    bytes: config.limits.sync_message_bytes,
                    metrics: self.metrics.limits.clone(),
                },
                rebootstraps: Limiter::new(REBOOTSTRAPS, Arc::clone(clock)),
            }),
            limits: NodeLimits {
                batch_items: config.limits.batch_items,
                rate: Limiter::new(config.limits.issuance, Arc::clone(clock)),
                csr: csr_limit(&config.limits, &self.metrics),
                metrics: self.metrics.limits.clone(),
            },
        }
    }

    pub(super) fn istio_services(&self) -> IstioServices {
        let Ground { config, clock, entropy: _, issuance_clock: _, store, tenure: _, provisioning: _ } = &self.ground;
        let IstioConfig { create_certificate, handle_csr, max_renewal_age, rate_per_minute, rate_burst } = config.istio;
        let callers = IstioCallers::new(CallerParts {
            credentials: self.credentials.clone(),
            store: Arc::clone(store),
            judge: Arc::clone(&self.judge),
            reviewer: self.reviewer.clone(),
            proxies: self.proxies.clone(),
            revocation: Arc::new(StoredRevocations(store.revoked())),
            clock: Arc::clone(clock),
            max_renewal_age,
            rate: RateLimit {
                per_minute: rate_per_minute,
                burst: rate_burst,
                keys: ("[istio]", ["rate_per_minute", "rate_burst"]),
            },
        });
        let service = IstioService {
            callers,
            desk: Arc::clone(&self.desk),
            credentials: self.credentials.clone(),
            metrics: self.metrics.clone(),
            slots: IstioService::slots(),
            csr: csr_limit(&config.limits, &self.metrics),
        };
        IstioServices { service: Arc::new(service), create_certificate, handle_csr }
    }

    pub(super) fn operator_services(&self, shutdown: &Shutdown) -> OperatorServices {
        let Ground { config, clock, entropy, issuance_clock: _, store, tenure: _, provisioning: _ } = &self.ground;
        let admin = AdminService {
            store: Arc::clone(store),
            fleet: self.hub.clone(),
            status: self.report.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            limits: EntryLimits { trust_domain: config.trust_domain.clone(), max_ttl: config.leaf.max_ttl() },
            token_ttl: config.token_ttl,
            followed_cluster: config
                .kubernetes
                .as_ref()
                .filter(|kubernetes| kubernetes.entries.is_some())
                .map(|kubernetes| kubernetes.cluster.clone()),
            lists: self.lists.clone(),
            shutdown: shutdown.clone(),
        };
        let authorities = AuthorityAdminService {
            rotation: self.rotation.clone(),
            automatic: config.rotation.automatic.then_some(config.rotation.policy),
            clock: Arc::clone(clock),
            shutdown: shutdown.clone(),
        };
        let federations = FederationAdminService {
            trust_domain: config.trust_domain.clone(),
            store: Arc::clone(store),
            views: self.federation.clone(),
            own: self.bundle.clone(),
            clock: Arc::clone(clock),
        };
        let backup = BackupService(Arc::new(Backups {
            config: config.clone(),
            keys: self.keys.clone(),
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            metrics: self.metrics.backup.clone(),
            turn: Arc::default(),
        }));
        let kubernetes = KubernetesAdminService {
            secrets: self.cluster_objects.secret_operator(),
            trust: self.cluster_objects.trust_objects(),
            store: Arc::clone(store),
            clock: Arc::clone(clock),
        };
        OperatorServices { admin, authorities, federations, kubernetes, backup, limits: config.limits }
    }
}

/// It is an act of people: one an hour would be many.
const REBOOTSTRAPS: RateLimit = RateLimit {
    per_minute: NonZeroU32::new(1).expect("it is not zero"),
    burst: NonZeroU32::new(3).expect("it is not zero"),
    keys: ("rebootstraps", ["per_minute", "burst"]),
};

pub(super) fn csr_limit(limits: &LimitsConfig, metrics: &Metrics) -> CsrLimit {
    CsrLimit { max_bytes: limits.csr_bytes, metrics: metrics.limits.clone() }
}
