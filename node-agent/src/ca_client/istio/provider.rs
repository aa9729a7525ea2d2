//! The identities of the configuration, kept by calls to a CA of Istio.
//!
//! Such a CA knows nothing of nodes and entries: which process may hold which identity is the configuration's word, each
//! identity proves itself by its own credential, and the trust bundle is what the last good answer brought.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use identity::TrustDomain;
use pki::{CertificateDer, Timestamp, Usage, request_to_pem, validate_svid};
use proto::v1;
use runtime::clock::{Clock, Ticker};
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::super::fault::CallFault;
use super::super::issuer::JwtIssuer;
use super::super::node::{NodeFailure, NodeStatus};
use super::super::provider::{CaProvider, Capabilities};
use super::super::trust::warn_of_lapses;
use super::super::view::{EntryKnowledge, NodeView};
use super::super::wire::AnswerFault;
use super::{CaTrust, CredentialSource, IstioAnswer, IstioCa, IstioCredential, read_roots};
use crate::config::{IstioConfig, IstioIdentity};
use crate::entry::{Entry, EntryId};
use crate::identities::{IssueAnswer, IssueItem, SvidIssuer};
use crate::metrics::AgentMetrics;
use crate::progress::Reports;
use crate::state::StateDir;

/// Calls at the same time.
const CONCURRENT_CALLS: usize = 8;
/// How often health is published.
const TICK: Duration = Duration::from_secs(1);
const BUNDLE_READY: &str = "trust bundle";

/// A CA of Istio as this node's provider.
pub(crate) struct IstioProvider {
    shared: Arc<Shared>,
    readiness: Readiness,
    metrics: AgentMetrics,
    /// One agent for a state directory, whatever its provider keeps there.
    _state: StateDir,
}

/// What calls and the provider both work with.
struct Shared {
    ca: IstioCa,
    trust_domain: TrustDomain,
    identities: BTreeMap<EntryId, IstioIdentity>,
    clock: Arc<dyn Clock>,
    views: watch::Sender<Arc<NodeView>>,
    statuses: watch::Sender<NodeStatus>,
    /// Time since boot when the CA last answered.
    answered_at: watch::Sender<Duration>,
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
        let entries: Vec<_> = identities.iter().enumerate().map(|(place, identity)| entry(identity, place)).collect();
        let identities = entries.iter().map(|entry| entry.id.clone()).zip(identities.iter().cloned()).collect();
        let entries = entries.into_iter().map(|entry| (entry.id.clone(), Arc::new(entry))).collect();
        readiness.require(BUNDLE_READY, "the CA has not answered yet");
        let answered_at = watch::Sender::new(clock.boottime());
        let view = NodeView { knowledge: EntryKnowledge::Synced, entries, ..NodeView::default() };
        let shared = Shared {
            ca,
            trust_domain: trust_domain.clone(),
            identities,
            clock,
            views: watch::Sender::new(Arc::new(view)),
            statuses: watch::Sender::new(NodeStatus::default()),
            answered_at,
        };
        Ok(Self { shared: Arc::new(shared), readiness, metrics, _state: state })
    }

    fn publish_health(&self) {
        let view = Arc::clone(&self.shared.views.borrow());
        let status = self.shared.statuses.borrow().clone();
        match (&view.bundle, &status.trouble) {
            (Some(_), _) => self.readiness.met(BUNDLE_READY),
            // Nothing to fetch, nothing to wait for: callers bring their own credentials.
            (None, None) if view.entries.is_empty() => self.readiness.met(BUNDLE_READY),
            (None, None) => {}
            (None, Some(trouble)) => self.readiness.unmet(BUNDLE_READY, trouble),
        }
        let since = self.shared.clock.boottime().saturating_sub(*self.shared.answered_at.borrow());
        let lag = if status.connected || view.entries.is_empty() { Duration::ZERO } else { since };
        self.metrics.node(&status, view.bundle.as_ref(), lag);
    }
}

/// The place in the configuration stands for the time of creation, by which entries are ordered.
fn entry(identity: &IstioIdentity, place: usize) -> Entry {
    let IstioIdentity { spiffe_id, selectors, credential: _, dns_names, ttl, hint } = identity;
    let told: Vec<String> = std::iter::once(spiffe_id.to_string()).chain(selectors.iter().map(ToString::to_string)).collect();
    let digest = pki::sha256(told.join("\n").as_bytes());
    let name = format!("istio-{}", HEXLOWER.encode(&digest[..8]));
    Entry {
        id: EntryId::parse(&name).expect("letters, digits and a hyphen"),
        spiffe_id: spiffe_id.clone(),
        selectors: selectors.clone(),
        dns_names: dns_names.clone(),
        ttl_seconds: ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        hint: hint.clone(),
        expires_at: None,
        alias: None,
        revoked: false,
        created_at: Timestamp::from_unix_seconds(u64::try_from(place).unwrap_or(u64::MAX)),
    }
}

impl CaProvider for IstioProvider {
    fn name(&self) -> &'static str {
        "istio"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { entry_sync: false, bundle_push: false, revocation: false, jwt_svid: false }
    }

    fn jwt_issuer(&self) -> Option<Arc<dyn JwtIssuer>> {
        None
    }

    fn views(&self) -> watch::Receiver<Arc<NodeView>> {
        self.shared.views.subscribe()
    }

    fn statuses(&self) -> watch::Receiver<NodeStatus> {
        self.shared.statuses.subscribe()
    }

    fn channels(&self) -> watch::Receiver<Option<Channel>> {
        watch::channel(None).1
    }

    fn issuer(&self) -> Arc<dyn SvidIssuer> {
        Arc::new(IstioIssuer(Arc::clone(&self.shared)))
    }

    fn istio_ca(&self) -> IstioCa {
        self.shared.ca.clone()
    }

    /// Not spoken.
    fn report(&mut self, _reports: Reports) {}

    fn run(self: Box<Self>, shutdown: Shutdown) -> BoxFuture<'static, Result<(), NodeFailure>> {
        Box::pin(async move {
            let mut ticker = Ticker::new(TICK).map_err(NodeFailure::Timer)?;
            loop {
                self.publish_health();
                tokio::select! {
                    () = shutdown.fired() => return Ok(()),
                    tick = ticker.tick() => { tick.map_err(NodeFailure::Timer)?; }
                }
            }
        })
    }
}

/// One call an item, a few at a time.
struct IstioIssuer(Arc<Shared>);

impl SvidIssuer for IstioIssuer {
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let calls = batch.into_iter().map(|item| {
                let shared = Arc::clone(&shared);
                async move {
                    let answer = shared.fetch(item).await;
                    shared.note(&answer);
                    answer
                }
            });
            Ok(stream::iter(calls).buffered(CONCURRENT_CALLS).collect().await)
        })
    }
}

impl Shared {
    /// By the identity's credential. One that holds a certificate already renews by its SVID, and by what lies in its directory
    /// when that is refused: both are its own.
    async fn fetch(&self, item: IssueItem) -> IssueAnswer {
        let IssueItem { entry_id, csr, held } = item;
        let identity = self.identities.get(&entry_id).ok_or_else(|| CallFault::Answer("no such identity".to_owned()))?;
        let csr = request_to_pem(&csr);
        if let (CredentialSource::CertificateDirectory(_), Some(svid)) = (&identity.credential, held)
            && svid.leaf().is_valid_at(self.now())
        {
            match self.call(identity, IstioCredential::Certificate(svid), csr.clone()).await {
                Err(CallFault::Refused { message, .. }) => {
                    tracing::warn!(id = %identity.spiffe_id, message, "the CA refuses to renew by the SVID: its directory is tried");
                }
                outcome => return outcome,
            }
        }
        self.call(identity, self.credential(identity).await?, csr).await
    }

    async fn credential(&self, identity: &IstioIdentity) -> Result<IstioCredential, CallFault> {
        let (source, id, now) = (identity.credential.clone(), identity.spiffe_id.clone(), self.now());
        let read = tokio::task::spawn_blocking(move || source.read(&id, now)).await;
        let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        read.map_err(|error| CallFault::Unavailable(format!("nothing to show to it: {error}")))
    }

    async fn call(&self, identity: &IstioIdentity, credential: IstioCredential, csr: String) -> IssueAnswer {
        let answer = self.ca.create_certificate(credential, csr, identity.ttl).await?;
        self.take(identity, &answer).map_err(|fault| CallFault::Answer(fault.to_string()))
    }

    /// An answer for this identity under its own roots, which become the bundle. The worker checks the key, which it holds.
    fn take(&self, identity: &IstioIdentity, answer: &IstioAnswer) -> Result<v1::X509Svid, AnswerFault> {
        let now = self.now();
        let chain = answer.chain_der();
        let bundle = answer.bundle(&self.trust_domain, 0)?;
        let der: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let svid = validate_svid(&der, &bundle, Usage::Client, now)?;
        if *svid.id() != identity.spiffe_id {
            return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: identity.spiffe_id.clone() });
        }
        let bears = |name: &identity::DnsName| svid.leaf().dns_sans().iter().any(|san| san.eq_ignore_ascii_case(name.as_str()));
        if let Some(missing) = identity.dns_names.iter().find(|name| !bears(name)) {
            return Err(AnswerFault::DnsName { missing: missing.clone() });
        }
        self.views.send_if_modified(|view| {
            // Numbered here, where no other answer comes between.
            let sequence = view.bundle.as_ref().map_or(1, |held| held.sequence().saturating_add(1));
            let newer = match (&view.bundle, answer.bundle(&self.trust_domain, sequence)) {
                (Some(held), Ok(bundle)) if held.same_content(&bundle) => return false,
                (Some(_) | None, Ok(bundle)) => bundle,
                (Some(_) | None, Err(_)) => return false,
            };
            tracing::info!(sequence, authorities = newer.authorities().len(), "new trust bundle");
            warn_of_lapses(&newer, self.now());
            *view = Arc::new(NodeView { bundle: Some(Arc::new(newer)), ..NodeView::clone(view) });
            true
        });
        Ok(v1::X509Svid { spiffe_id: identity.spiffe_id.to_string(), chain, issued_at: Some(self.clock.now().into()) })
    }

    /// Whether the CA answers, and what it said last.
    fn note(&self, answer: &IssueAnswer) {
        let (connected, trouble) = match answer {
            Ok(_) => (true, None),
            Err(fault @ (CallFault::Refused { .. } | CallFault::Busy { .. } | CallFault::Answer(_))) => {
                (true, Some(fault.to_string()))
            }
            Err(fault @ (CallFault::Unavailable(_) | CallFault::Deadline(_))) => (false, Some(fault.to_string())),
        };
        if connected {
            self.answered_at.send_replace(self.clock.boottime());
        }
        self.statuses.send_if_modified(|status| {
            let changed = status.connected != connected || status.trouble != trouble;
            status.connected = connected;
            status.trouble = trouble;
            changed
        });
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }
}

#[cfg(test)]
mod tests;
