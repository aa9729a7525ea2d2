//! What the running CA says of itself, to the operator and to whoever asks whether it is ready.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use identity::ReplicaName;
use pki::{Certificate, LeafProfile, Timestamp, TrustBundle, X509Svid};
use runtime::clock::Clock;
use runtime::readiness::Readiness;
use tokio::sync::watch;

use crate::attestation::ClusterAgents;
use crate::audit::Actor;
use crate::authority::SigningAuthority;
use crate::backup::RestoredNote;
use crate::checkpoints::CheckpointDesk;
use crate::cluster_objects::entries::EntryObjects;
use crate::cluster_objects::secrets::SecretOperator;
use crate::cluster_objects::trust::TrustObjects;
use crate::federation::FederationViews;
use crate::istio::NodeProxies;
use crate::oidc::TokenJudge;
use crate::revocation::Published;
use crate::rotation::RotationView;
use crate::rpc::admin_sources::{CaStatus, CertificateFacts, CertificateRole, StatusSource};
use crate::rpc::hello::BUILD;
use crate::service_accounts::TokenReviewer;
use crate::signing_keys::JwtSigningKey;
use crate::store::{StoreError, StoreState};
use crate::sync::SyncHub;

/// A whole leaf of the default TTL can be signed now, and will be for twice that TTL.
pub(crate) const ISSUING: &str = "issuing";
/// The certificate shown to agents is valid.
pub(crate) const SERVING: &str = "serving";
/// The clock may date certificates.
pub(crate) const CLOCK: &str = "clock";
/// The store takes writes and answers.
pub(crate) const STORE: &str = "store";

/// Why agents are not served.
const NOT_SERVING: &str = "agents are not served: the issuing CA has ended, and its successor is not made yet; `signet authority show` tells what \
                           is needed";

/// Reads the state of the CA; everything comes from snapshots.
pub(crate) struct Report {
    pub(crate) replica: ReplicaName,
    pub(crate) address: String,
    pub(crate) profile: LeafProfile,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) readiness: Readiness,
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) serving: watch::Receiver<Option<Arc<X509Svid>>>,
    pub(crate) hub: Arc<SyncHub>,
    pub(crate) jwt: watch::Receiver<Arc<JwtSigningKey>>,
    pub(crate) rotation: watch::Receiver<Arc<RotationView>>,
    pub(crate) judge: Arc<TokenJudge>,
    pub(crate) reviewer: Option<Arc<TokenReviewer>>,
    pub(crate) proxies: Option<NodeProxies>,
    pub(crate) secrets: Option<Arc<SecretOperator>>,
    pub(crate) trust: Option<Arc<TrustObjects>>,
    pub(crate) entries: Option<Arc<EntryObjects>>,
    pub(crate) agents: Option<ClusterAgents>,
    pub(crate) checkpoints: Arc<CheckpointDesk>,
    pub(crate) store: watch::Receiver<StoreState>,
    pub(crate) lists: watch::Receiver<Arc<Published>>,
    pub(crate) federation: FederationViews,
    pub(crate) restored: Option<RestoredNote>,
}

impl Report {
    /// Sets what can be told without asking the store: the authority and the serving certificate at `now`, and what to warn of.
    pub(crate) fn judge(&self, now: Timestamp) {
        match self.authority.borrow().check_ready(&self.profile, now) {
            Ok(()) => self.readiness.met(ISSUING),
            Err(not_ready) => self.readiness.unmet(ISSUING, &not_ready.to_string()),
        }
        let serving = self.serving.borrow().clone();
        match serving.map(|serving| serving.verify(&self.bundle.borrow(), now)) {
            Some(Ok(())) => self.readiness.met(SERVING),
            Some(Err(why)) => self.readiness.unmet(SERVING, &format!("agents refuse the serving certificate: {why}")),
            None => self.readiness.unmet(SERVING, NOT_SERVING),
        }
        self.readiness.warn(self.warnings(now));
    }

    /// What will soon hurt; empty when all is well.
    pub(crate) fn warnings(&self, now: Timestamp) -> Vec<String> {
        let mut warnings = warnings_of(&self.authority.borrow(), now);
        warnings.extend(self.rotation.borrow().faults.iter().cloned());
        warnings.extend(self.judge.warnings());
        warnings.extend(self.reviewer.as_ref().and_then(|reviewer| reviewer.warning()));
        warnings.extend(self.agents.as_ref().and_then(|agents| agents.reviewer.warning()));
        // Both ask the same.
        let pods = self.proxies.as_ref().map(|proxies| &proxies.pods).or(self.agents.as_ref().map(|agents| &agents.pods));
        warnings.extend(pods.and_then(|pods| pods.warning()));
        warnings.extend(self.secrets.iter().flat_map(|secrets| secrets.warnings()));
        warnings.extend(self.trust.iter().flat_map(|trust| trust.warnings()));
        warnings.extend(self.entries.iter().flat_map(|entries| entries.warnings()));
        warnings.extend(self.checkpoints.warnings());
        if let StoreState::Backlog(fault) = &*self.store.borrow() {
            warnings.push(format!("the log of the store cannot be merged into its database, and grows: {fault}"));
        }
        let lists = Arc::clone(&self.lists.borrow());
        warnings.extend(lists.missing.iter().chain(&lists.warnings).cloned());
        warnings.extend(self.federation.warnings());
        warnings.extend(self.restored.and_then(|note| note.warning(self.profile.max_ttl(), now)));
        warnings.extend(self.bundle.borrow().lapsed_at(now).iter().map(ToString::to_string));
        warnings
    }
}

/// What an operator should be told of an authority long before it ends.
pub(crate) fn warnings_of(authority: &SigningAuthority, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let issuer = authority.certificate();
    if authority.is_past_half_life(now) {
        warnings.push(format!(
            "half of the issuing CA's life is over: it ends at {}; make a new one with signet ca issuer renew, replace the files of \
             one that is plugged in, or see why upstream gives none",
            issuer.not_after()
        ));
    }
    let root = authority.root();
    let root_half = root.not_before().plus(root.not_after().since(root.not_before()) / 2);
    if root != issuer && root_half <= now {
        warnings.push(format!("half of the root's life is over: it ends at {}", root.not_after()));
    }
    warnings
}

impl StatusSource for Report {
    fn status(&self) -> CaStatus {
        let now = Timestamp::from(self.clock.now());
        let authority = Arc::clone(&self.authority.borrow());
        let serving = self.serving.borrow().clone();
        let mut certificates = vec![
            facts(CertificateRole::Root, authority.root(), authority.root().subject()),
            facts(CertificateRole::Issuer, authority.certificate(), authority.certificate().subject()),
        ];
        certificates.extend(serving.map(|serving| facts(CertificateRole::Serving, serving.leaf(), serving.id().to_string())));
        CaStatus {
            replica: self.replica.clone(),
            build: BUILD.to_owned(),
            failing: self.readiness.failing(),
            warnings: self.warnings(now),
            certificates,
            bundle_sequence: self.bundle.borrow().sequence(),
            root_fingerprint: authority.root().fingerprint(),
            connected: u32::try_from(self.hub.connected()).unwrap_or(u32::MAX),
            address: self.address.clone(),
            jwt_key_id: self.jwt.borrow().key_id().clone(),
            audit_key: self.checkpoints.key_id(),
            audit_checkpoint: self.checkpoints.newest().borrow().clone(),
        }
    }

    fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.bundle.borrow())
    }

    fn acknowledge_fork(&self, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<u32, StoreError>> {
        Box::pin(self.checkpoints.acknowledge(actor, now))
    }
}

fn facts(role: CertificateRole, certificate: &Certificate, subject: String) -> CertificateFacts {
    CertificateFacts {
        role,
        subject,
        serial: certificate.serial().clone(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    }
}
