//! The desk where certificates are asked for: admission, issuance by the current authority, counting, and the result row.
//!
//! Owns which authority signs now and what a refusal is called. What is checked is `admission`'s, how it is made `issuance`'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, future};
use identity::{AliasName, DnsName, NodeName, ReplicaName, SpiffeId, TrustDomain};
use pki::{Certificate, CsrError, LeafProfile, ReplicaByte, SerialNumber, Timestamp, VerifiedRequest};
use runtime::clock::Clock;
use runtime::entropy::{self, Entropy};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::admission::{AdmissionError, Admitted, AgentIssuance};
use crate::authority::SigningAuthority;
use crate::error_reason::Told;
use crate::issuance::{Issuance, IssuanceError, Issued};
use crate::metrics::{Metrics, Purpose};
use crate::records::{Entry, NodeRecord};
use crate::store::{Store, StoreError};

/// Result rows that may wait for their write; beyond it, answers wait too.
const MAX_PENDING_RESULTS: usize = 1024;
/// Result rows written at the same time, so that they share commits.
const RESULT_CONCURRENCY: usize = 64;

/// Why no certificate is answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuingError {
    /// The request itself.
    #[error("the certificate request is refused: {0}")]
    Csr(CsrError),
    /// No such entry for this caller; that it may exist for another node is not told.
    #[error("node {node} has no entry {entry}")]
    EntryNotFound { entry: String, node: NodeName },
    /// The caller may not have the name.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The script stopped.
    #[error(transparent)]
    Issuance(#[from] IssuanceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A certificate with the identity it was issued for.
#[derive(Clone, Debug)]
pub(crate) struct IssuedSvid {
    pub(crate) id: SpiffeId,
    pub(crate) issued: Issued,
}

impl IssuedSvid {
    /// The leaf.
    pub(crate) fn leaf(&self) -> &Certificate {
        &self.issued.certificate
    }
}

/// What the serving certificate shall name.
#[derive(Clone, Debug)]
pub(crate) struct ServingNames {
    pub(crate) replica: ReplicaName,
    pub(crate) dns_names: Vec<DnsName>,
    pub(crate) ip_addresses: Vec<std::net::IpAddr>,
}

struct SignedRow {
    serial: SerialNumber,
    certificate_der: Vec<u8>,
    now: Timestamp,
}

/// Writes result rows after their answers; see [`ResultWriter::run`].
pub(crate) struct ResultWriter {
    store: Arc<dyn Store>,
    rows: mpsc::Receiver<SignedRow>,
}

/// What the desk is made of.
pub(crate) struct DeskParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) profile: LeafProfile,
    pub(crate) agent_ttl: Duration,
    pub(crate) replica: ReplicaByte,
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
}

/// The desk. One for the process.
pub(crate) struct Desk {
    parts: DeskParts,
    results: mpsc::Sender<SignedRow>,
}

impl Desk {
    /// A desk, and who writes its result rows.
    pub(crate) fn new(parts: DeskParts) -> (Self, ResultWriter) {
        let (results, rows) = mpsc::channel(MAX_PENDING_RESULTS);
        let writer = ResultWriter { store: Arc::clone(&parts.store), rows };
        (Self { parts, results }, writer)
    }

    /// An SVID for the agent of a node that proved itself in this very call.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_agent(
        &self,
        node: &NodeRecord,
        grounds: AgentIssuance,
        request: &VerifiedRequest,
    ) -> Result<IssuedSvid, IssuingError> {
        let admitted = Admitted::for_agent(&self.parts.trust_domain, node, grounds, self.parts.agent_ttl);
        self.issue(Purpose::Agent, admitted, Ok(request)).await
    }

    /// A certificate for an entry, asked for by the agent of `caller`, authenticated in this very call; `aliases` are those of its
    /// node, as the store holds them. `csr` is DER.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_entry(
        &self,
        caller: &NodeRecord,
        aliases: &BTreeSet<AliasName>,
        entry: &Entry,
        csr: &[u8],
    ) -> Result<IssuedSvid, IssuingError> {
        // Admission first: who may not have the name costs no signature verification.
        let now = Timestamp::from(self.parts.clock.now());
        let admitted = Admitted::for_entry(&self.parts.trust_domain, caller, aliases, entry, now);
        let request = match &admitted {
            Ok(_) => VerifiedRequest::parse(csr),
            Err(refused) => {
                let refused = refused.clone().into();
                return self.counted(Purpose::Workload, Err(refused));
            }
        };
        match request {
            Ok(request) => self.issue(Purpose::Workload, admitted, Ok(&request)).await,
            Err(error) => self.issue(Purpose::Workload, admitted, Err(error)).await,
        }
    }

    /// Whether the agent of `caller`, authenticated in this very call, may have a JWT-SVID of an entry: exactly when it may have
    /// a certificate.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) fn admit_jwt(
        &self,
        caller: &NodeRecord,
        aliases: &BTreeSet<AliasName>,
        entry: &Entry,
    ) -> Result<Admitted, IssuingError> {
        let now = Timestamp::from(self.parts.clock.now());
        Ok(Admitted::for_entry(&self.parts.trust_domain, caller, aliases, entry, now)?)
    }

    /// A certificate for a caller that was admitted in this very call.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_to_caller(
        &self,
        admitted: Admitted,
        request: &VerifiedRequest,
    ) -> Result<IssuedSvid, IssuingError> {
        self.issue(Purpose::Caller, Ok(admitted), Ok(request)).await
    }

    /// The CA's own serving certificate.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_serving(
        &self,
        names: &ServingNames,
        request: &VerifiedRequest,
    ) -> Result<IssuedSvid, IssuingError> {
        let ServingNames { replica, dns_names, ip_addresses } = names.clone();
        let admitted = Admitted::for_serving(&self.parts.trust_domain, &replica, dns_names, ip_addresses);
        self.issue(Purpose::Serving, Ok(admitted), Ok(request)).await
    }

    async fn issue(
        &self,
        purpose: Purpose,
        admitted: Result<Admitted, AdmissionError>,
        request: Result<&VerifiedRequest, CsrError>,
    ) -> Result<IssuedSvid, IssuingError> {
        let outcome = match (admitted, request) {
            (Err(refused), _) => Err(refused.into()),
            (_, Err(refused)) => Err(IssuingError::Csr(refused)),
            (Ok(admitted), Ok(request)) => self.run_script(admitted, request).await,
        };
        self.counted(purpose, outcome)
    }

    async fn run_script(&self, admitted: Admitted, request: &VerifiedRequest) -> Result<IssuedSvid, IssuingError> {
        let id = admitted.subject().id.clone();
        // A snapshot: an authority that is replaced meanwhile finishes what it began.
        let authority = Arc::clone(&self.parts.authority.borrow());
        let script = Issuance {
            profile: &self.parts.profile,
            authority: &authority,
            ledger: &*self.parts.store,
            replica: self.parts.replica,
        };
        let now = Timestamp::from(self.parts.clock.now());
        let issued = script.issue(admitted, request, entropy::bytes(&*self.parts.entropy), now).await?;
        let row = SignedRow {
            serial: issued.certificate.serial().clone(),
            certificate_der: issued.certificate.der().to_vec(),
            now: issued.issued_at,
        };
        if self.results.send(row).await.is_err() {
            // Only at the very end: the intent is recorded, which is what promise 2 asks for.
            tracing::warn!(serial = %issued.certificate.serial(), "the result row was not written");
        }
        Ok(IssuedSvid { id, issued })
    }

    fn counted(&self, purpose: Purpose, outcome: Result<IssuedSvid, IssuingError>) -> Result<IssuedSvid, IssuingError> {
        match &outcome {
            Ok(svid) => {
                let leaf = svid.leaf();
                tracing::info!(id = %svid.id, serial = %leaf.serial(), not_after = %leaf.not_after(), ?purpose, "certificate issued");
                self.parts.metrics.issuance(purpose, Ok(()));
            }
            Err(error) => self.parts.metrics.issuance(purpose, Err(error.reason())),
        }
        outcome
    }
}

impl ResultWriter {
    /// Writes rows until every desk is gone, then what is left.
    pub(crate) async fn run(self) {
        let Self { store, rows } = self;
        ReceiverStream::new(rows)
            .map(|SignedRow { serial, certificate_der, now }| {
                let written = store.record_result(serial.clone(), certificate_der, now);
                async move { (serial, written.await) }
            })
            .buffer_unordered(RESULT_CONCURRENCY)
            .for_each(|(serial, written)| {
                if let Err(error) = written {
                    tracing::error!(%serial, %error, "the result row was not written; the intent stands");
                }
                future::ready(())
            })
            .await;
    }
}
