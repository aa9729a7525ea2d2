//! The identities of the configuration, kept by calls to a CA of Istio.
//!
//! Such a CA knows nothing of nodes and entries: which process may hold which identity is the configuration's word, each
//! identity proves itself by its own credential, and the trust bundle is what the last good answer brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::TrustDomain;
use pki::{CertificateDer, Timestamp, Usage, request_to_pem, validate_svid};
use proto::v1;
use runtime::clock::Clock;
use runtime::readiness::Readiness;

use super::super::configured::{ConfiguredNode, entry};
use super::super::configured_provider::{ConfiguredCa, ConfiguredProvider};
use super::super::fault::CallFault;
use super::super::node::NodeFailure;
use super::super::wire::AnswerFault;
use super::{CaTrust, CredentialSource, IstioAnswer, IstioCa, IstioCredential, read_roots};
use crate::config::{IstioConfig, IstioIdentity};
use crate::entry::EntryId;
use crate::identities::{IssueAnswer, IssueItem};
use crate::metrics::AgentMetrics;
use crate::state::StateDir;

/// A CA of Istio as this node's provider.
pub(crate) type IstioProvider = ConfiguredProvider<IstioIdentities>;

/// The CA, and the identities that are asked for there.
pub(crate) struct IstioIdentities {
    ca: IstioCa,
    trust_domain: TrustDomain,
    identities: BTreeMap<EntryId, IstioIdentity>,
    clock: Arc<dyn Clock>,
    node: ConfiguredNode,
}

impl IstioProvider {
    /// Takes the identities of the configuration. Nothing is sent.
    ///
    /// # Errors
    /// [`NodeFailure::IstioRoots`] when nothing could ever be verified.
    pub(crate) fn prepare(
        config: &IstioConfig,
        trust_domain: &TrustDomain,
        state: StateDir,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
        metrics: AgentMetrics,
    ) -> Result<Self, NodeFailure> {
        let IstioConfig { address, roots, server_id, identities } = config;
        read_roots(roots).map_err(NodeFailure::IstioRoots)?;
        let trust = CaTrust::File { roots: roots.clone(), server_id: server_id.clone() };
        let ca = IstioCa::new(address.clone(), trust, Arc::clone(&clock));
        let entries: Vec<_> = identities
            .iter()
            .enumerate()
            .map(|(place, identity)| entry(IstioIdentities::NAME, &identity.identity, place))
            .collect();
        let identities = entries.iter().map(|entry| entry.id.clone()).zip(identities.iter().cloned()).collect();
        let node = ConfiguredNode::new(entries, Arc::clone(&clock), &readiness);
        let identities = IstioIdentities { ca, trust_domain: trust_domain.clone(), identities, clock, node };
        Ok(Self::new(identities, state, readiness, metrics))
    }
}

impl ConfiguredCa for IstioIdentities {
    const NAME: &'static str = "istio";

    fn node(&self) -> &ConfiguredNode {
        &self.node
    }

    fn istio_ca(&self) -> Option<IstioCa> {
        Some(self.ca.clone())
    }

    /// By the identity's credential. One that holds a certificate already renews by its SVID, and by what lies in its directory
    /// when that is refused: both are its own.
    async fn fetch(&self, item: IssueItem) -> IssueAnswer {
        let IssueItem { entry_id, account: _, csr, held } = item;
        let identity = self.identities.get(&entry_id).ok_or_else(|| CallFault::Answer("no such identity".to_owned()))?;
        let csr = request_to_pem(&csr);
        if let (CredentialSource::CertificateDirectory(_), Some(svid)) = (&identity.credential, held)
            && svid.leaf().is_valid_at(self.now())
        {
            match self.call(identity, IstioCredential::Certificate(svid), csr.clone()).await {
                Err(CallFault::Refused { message, .. }) => {
                    tracing::warn!(id = %identity.identity.spiffe_id, message, "the CA refuses to renew by the SVID: its directory is tried");
                }
                outcome => return outcome,
            }
        }
        self.call(identity, self.credential(identity).await?, csr).await
    }
}

impl IstioIdentities {
    async fn credential(&self, identity: &IstioIdentity) -> Result<IstioCredential, CallFault> {
        let (source, id, now) = (identity.credential.clone(), identity.identity.spiffe_id.clone(), self.now());
        let read = tokio::task::spawn_blocking(move || source.read(&id, now)).await;
        let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        read.map_err(|error| CallFault::Unavailable(format!("nothing to show to it: {error}")))
    }

    async fn call(&self, identity: &IstioIdentity, credential: IstioCredential, csr: String) -> IssueAnswer {
        let answer = self.ca.create_certificate(credential, csr, identity.identity.ttl).await?;
        self.take(identity, &answer).map_err(|fault| CallFault::Answer(fault.to_string()))
    }

    /// An answer for this identity under its own roots, which become the bundle. The worker checks the key, which it holds.
    fn take(&self, identity: &IstioIdentity, answer: &IstioAnswer) -> Result<v1::X509Svid, AnswerFault> {
        let now = self.now();
        let identity = &identity.identity;
        let chain = answer.chain_der();
        let bundle = answer.bundle(&self.trust_domain, 0)?;
        let der: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let svid = validate_svid(&der, &bundle, Usage::Both, now)?;
        if *svid.id() != identity.spiffe_id {
            return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: identity.spiffe_id.clone() });
        }
        let bears = |name: &identity::DnsName| svid.leaf().dns_sans().iter().any(|san| san.eq_ignore_ascii_case(name.as_str()));
        if let Some(missing) = identity.dns_names.iter().find(|name| !bears(name)) {
            return Err(AnswerFault::DnsName { missing: missing.clone() });
        }
        self.node.offer_bundle(|sequence| answer.bundle(&self.trust_domain, sequence).ok());
        Ok(v1::X509Svid { spiffe_id: identity.spiffe_id.to_string(), chain, issued_at: Some(self.clock.now().into()) })
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

#[cfg(test)]
mod tests;
