//! The CA above this one, and the CAs below it.

use std::sync::Arc;

use runtime::clock::Clock;
use runtime::entropy::Entropy;

use super::Parts;
use super::services::csr_limit;
use crate::config::{CaConfig, SignetUpstreamConfig, UpstreamConfig, UpstreamSource};
use crate::issuance_clock::IssuanceClock;
use crate::metrics::Metrics;
use crate::rate::Limiter;
use crate::revocation::StoredRevocations;
use crate::rotation::Materials;
use crate::rotation::steps::Steps;
use crate::rpc::upstream::UpstreamService;
use crate::upstream::UpstreamAuthority;
use crate::upstream::desk::{DeskParts, UpstreamDesk};
use crate::upstream::metrics::UpstreamKind;
use crate::upstream::parent::{Parent, ParentParts};
use crate::upstream::signet::SignetUpstream;
use crate::upstream::vault::VaultUpstream;

/// Where the upstream of this configuration is asked, if it names one.
pub(super) fn desk(
    config: &CaConfig,
    clock: &Arc<dyn Clock>,
    issuance_clock: &Arc<IssuanceClock>,
    entropy: &Arc<dyn Entropy>,
    metrics: &Metrics,
) -> Option<Arc<UpstreamDesk>> {
    let UpstreamConfig { ttl, interval, source } = config.upstream.as_ref()?;
    let trust_domain = config.trust_domain.clone();
    let (kind, authority): (_, Box<dyn UpstreamAuthority>) = match source {
        UpstreamSource::Signet(signet) => {
            let signet: SignetUpstreamConfig = signet.clone();
            (UpstreamKind::Signet, Box::new(SignetUpstream::new(signet, trust_domain.clone(), Arc::clone(clock))))
        }
        UpstreamSource::Vault(vault) => {
            let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
            (UpstreamKind::Vault, Box::new(VaultUpstream::new(vault.clone(), clock, entropy, metrics.vault.clone())))
        }
    };
    Some(Arc::new(UpstreamDesk::new(DeskParts {
        authority,
        kind,
        trust_domain,
        profile: config.leaf.clone(),
        ttl: *ttl,
        interval: *interval,
        clock: Arc::clone(issuance_clock),
        metrics: metrics.upstream.clone(),
    })))
}

impl Parts {
    /// What other CAs may call; `None`: the configuration names none.
    pub(super) fn upstream_service(&self) -> Option<Arc<UpstreamService>> {
        let ground = &self.ground;
        if ground.config.downstream.is_empty() {
            return None;
        }
        let (store, entropy) = (Arc::clone(&ground.store), Arc::clone(&ground.entropy));
        let (keys, steps, tenure) = (self.keys.clone(), Steps::logged(), ground.tenure.clone());
        let materials = Materials::new(&ground.config, keys, Arc::clone(&store), Arc::clone(&entropy), steps, tenure);
        let parent = Parent::new(ParentParts {
            allowed: ground.config.downstream.clone(),
            trust_domain: ground.config.trust_domain.clone(),
            replica: ground.config.replica_byte,
            credentials: self.credentials.clone(),
            revocation: Arc::new(StoredRevocations(store.revoked())),
            store,
            authority: self.report.authority.clone(),
            view: self.rotation.view(),
            materials,
            clock: Arc::clone(&ground.issuance_clock),
            entropy,
            csr: csr_limit(&ground.config.limits, &self.metrics),
            rate: Limiter::new(ground.config.limits.issuance, Arc::clone(&ground.clock)),
        });
        Some(Arc::new(UpstreamService { parent, metrics: self.metrics.upstream.clone() }))
    }
}
