//! The identities of the configuration, kept by calls to a PKI secrets engine.
//!
//! The trust bundle is a file of the operator's: what the server names as its roots adds nothing to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ::vault::{FaultKind, LeafRequest, VaultClient, VaultError};
use identity::TrustDomain;
use pki::TrustBundle;
use proto::v1;
use runtime::clock::Clock;
use runtime::readiness::Readiness;

use super::super::configured::{ConfiguredNode, entry};
use super::super::configured_provider::{ConfiguredCa, ConfiguredProvider};
use super::super::fault::{CallFault, RefusalReason};
use super::super::node::{NodeFailure, read_bundle_file};
use super::{AskedLeaf, checked_chain};
use crate::config::{VaultIdentity, VaultProviderConfig};
use crate::entry::EntryId;
use crate::identities::{IssueAnswer, IssueItem};
use crate::metrics::AgentMetrics;
use crate::state::StateDir;

/// After how many ticks the file with the bundle is looked at again.
const LOOK_AFTER: u64 = 5;

/// A PKI secrets engine as this node's provider.
pub(crate) type VaultProvider = ConfiguredProvider<VaultIdentities>;

/// The engine, the identities that are asked for there, and the operator's bundle that they are checked under.
pub(crate) struct VaultIdentities {
    client: VaultClient,
    identities: BTreeMap<EntryId, VaultIdentity>,
    clock: Arc<dyn Clock>,
    node: ConfiguredNode,
    bundle_file: PathBuf,
    trust_domain: TrustDomain,
    /// Why the file could not be read anew, as it was told last.
    told: Mutex<Option<String>>,
}

impl VaultProvider {
    /// Takes identities and trust bundle of the configuration. Nothing is sent.
    ///
    /// # Errors
    /// [`NodeFailure::TrustBundle`] or [`NodeFailure::Vault`] when nothing could ever be verified.
    pub(crate) fn prepare(
        config: &VaultProviderConfig,
        client: VaultClient,
        trust_domain: &TrustDomain,
        state: StateDir,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
        metrics: AgentMetrics,
    ) -> Result<Self, NodeFailure> {
        let VaultProviderConfig { server, trust_bundle, identities } = config;
        let bundle = read_bundle_file(trust_bundle, trust_domain)?;
        match VaultClient::check(server) {
            // Whoever projects what proves this node may come later.
            Ok(()) | Err(VaultError::Credential { .. }) => {}
            Err(error) => return Err(NodeFailure::Vault(error)),
        }
        let entries: Vec<_> = identities
            .iter()
            .enumerate()
            .map(|(place, identity)| entry(VaultIdentities::NAME, &identity.identity, place))
            .collect();
        let identities = entries.iter().map(|entry| entry.id.clone()).zip(identities.iter().cloned()).collect();
        let node = ConfiguredNode::new(entries, Arc::clone(&clock), &readiness);
        node.offer_bundle(|sequence| numbered(&bundle, sequence));
        let (bundle_file, trust_domain) = (trust_bundle.clone(), trust_domain.clone());
        let identities = VaultIdentities { client, identities, clock, node, bundle_file, trust_domain, told: Mutex::default() };
        Ok(Self::new(identities, state, readiness, metrics))
    }
}

impl VaultIdentities {
    /// Takes up what the file says now. One that cannot be read changes nothing.
    async fn look_at_bundle(&self) {
        let (path, trust_domain) = (self.bundle_file.clone(), self.trust_domain.clone());
        let read = tokio::task::spawn_blocking(move || read_bundle_file(&path, &trust_domain)).await;
        let why = match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(bundle) => {
                self.node.offer_bundle(|sequence| numbered(&bundle, sequence));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.as_ref().filter(|why| told.as_ref() != Some(*why)) {
            tracing::warn!(why, "the trust bundle is not read anew; the one of before counts");
        }
        *told = why;
    }
}

fn numbered(bundle: &TrustBundle, sequence: u64) -> Option<TrustBundle> {
    TrustBundle::new(bundle.trust_domain().clone(), bundle.authorities().to_vec(), sequence).ok()
}

impl ConfiguredCa for VaultIdentities {
    const NAME: &'static str = "vault";

    fn node(&self) -> &ConfiguredNode {
        &self.node
    }

    async fn look(&self, tick: u64) {
        if tick.is_multiple_of(LOOK_AFTER) {
            self.look_at_bundle().await;
        }
    }

    async fn fetch(&self, item: IssueItem) -> IssueAnswer {
        let IssueItem { entry_id, account: _, csr, held: _ } = item;
        let found = self.identities.get(&entry_id).ok_or_else(|| CallFault::Answer("no such identity".to_owned()))?;
        let VaultIdentity { identity, role } = found;
        let request = LeafRequest {
            role: role.clone(),
            csr_der: csr,
            uri: identity.spiffe_id.to_string(),
            dns_names: identity.dns_names.iter().map(ToString::to_string).collect(),
            ttl: identity.ttl,
        };
        let signed = self.client.sign_leaf(&request).await.map_err(|error| fault(&error))?;
        let bundle = self.node.bundle().ok_or_else(|| CallFault::Answer("no trust bundle to check it under".to_owned()))?;
        let asked = AskedLeaf { spiffe_id: &identity.spiffe_id, dns_names: &identity.dns_names, ttl: identity.ttl };
        let chain =
            checked_chain(&signed, asked, &bundle, self.node.now()).map_err(|fault| CallFault::Answer(fault.to_string()))?;
        let chain = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
        Ok(v1::X509Svid { spiffe_id: identity.spiffe_id.to_string(), chain, issued_at: Some(self.clock.now().into()) })
    }
}

fn fault(error: &VaultError) -> CallFault {
    let message = error.to_string();
    match (error.kind(), error.pause()) {
        (FaultKind::Unreachable, Some(after)) => CallFault::Busy { message, after },
        (FaultKind::Unreachable, None) => CallFault::Unavailable(message),
        (FaultKind::Credential, _) if matches!(error, VaultError::Credential { .. }) => CallFault::Unavailable(message),
        (FaultKind::Credential | FaultKind::Refused, _) => {
            CallFault::Refused { reason: RefusalReason::Other, reason_text: String::new(), message }
        }
        (FaultKind::Malformed, _) => CallFault::Answer(message),
    }
}
