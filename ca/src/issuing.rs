//! The desk where certificates are asked for: admission, issuance by the current authority, counting, and the result row.
//!
//! Owns which authority signs now and what a refusal is called. What is checked is `admission`'s, how it is made `issuance`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use identity::{DnsName, NodeName, ReplicaName, SpiffeId, SystemIdentity, TrustDomain};
use pki::{Certificate, CsrError, LeafProfile, ReplicaByte, Timestamp, VerifiedRequest};
use runtime::entropy::{self, Entropy};
use tokio::sync::{mpsc, watch};

use crate::admission::{AdmissionError, Admitted, AgentIssuance};
use crate::authority::SigningAuthority;
use crate::csr_limit::CsrLimit;
use crate::error_reason::Told;
use crate::issuance::{Issuance, IssuanceError, Issued};
use crate::issuance_clock::{ClockFault, IssuanceClock};
use crate::metrics::{Metrics, Purpose};
use crate::pod_identities::PodIdentityError;
use crate::rate::TooFast;
use crate::records::{Entry, EntryId, Held, Memberships, NodeRecord};
use crate::revocation::RevocationSource;
use crate::store::{IssuanceResult, Store, StoreError};
use crate::turns::{Overloaded, Turn, Turns, Urgency};

/// Result rows that may wait for their write; beyond it, answers wait too.
const MAX_PENDING_RESULTS: usize = 1024;
/// Result rows that are written as one, and for how long the first of them waits for others. No answer waits for them, and in one
/// write they cost a fraction of what they cost alone.
const RESULTS_AT_ONCE: usize = 256;
const RESULTS_GATHER: Duration = Duration::from_millis(20);

/// Why no certificate is answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuingError {
    /// The request itself.
    #[error("the certificate request is refused: {0}")]
    Csr(CsrError),
    /// The request is larger than configured.
    #[error("the certificate request has {found} bytes; at most [limits] csr_bytes = {limit} are read")]
    CsrTooLarge { found: usize, limit: usize },
    /// The caller has had enough for now.
    #[error("more certificates were asked for by this identity than it may have for now ({}): try again in {:?}", .0.limit, .0.wait)]
    TooFast(TooFast),
    /// Too many others ask.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// No such entry for this caller; that it may exist for another node is not told.
    #[error("node {node} has no entry {entry}")]
    EntryNotFound { entry: String, node: NodeName },
    /// The caller may not have the name.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The caller may not have the identity of a service account.
    #[error(transparent)]
    PodIdentity(#[from] PodIdentityError),
    /// The clock may not date it.
    #[error(transparent)]
    Clock(#[from] ClockFault),
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

/// Writes result rows after their answers; see [`ResultWriter::run`].
pub(crate) struct ResultWriter {
    store: Arc<dyn Store>,
    rows: mpsc::Receiver<IssuanceResult>,
}

/// What the desk is made of.
pub(crate) struct DeskParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) profile: LeafProfile,
    pub(crate) agent_ttl: Duration,
    pub(crate) replica: ReplicaByte,
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<IssuanceClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) csr: CsrLimit,
    pub(crate) turns: Arc<Turns>,
    pub(crate) revocation: Arc<dyn RevocationSource>,
}

/// The desk. One for the process.
pub(crate) struct Desk {
    parts: DeskParts,
    results: mpsc::Sender<IssuanceResult>,
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
        let issued = async {
            let admitted = Admitted::for_agent(&self.parts.trust_domain, node, grounds, self.parts.agent_ttl)?;
            // A renewal that was issued and never arrived makes this look less urgent than it is, until it ends.
            let held = node.current.as_ref().map(|svid| Held {
                issued_at: Timestamp::from_unix_seconds(
                    svid.not_after.unix_seconds().saturating_sub(self.parts.agent_ttl.as_secs()),
                ),
                not_after: svid.not_after,
            });
            let _turn = self.turn(&self.identity_of(node), held).await?;
            self.run_script(admitted, request, self.parts.clock.issue_at()?).await
        };
        self.counted(Purpose::Agent, issued.await)
    }

    /// A certificate for an entry, asked for by the agent of `caller`, authenticated in this very call; `memberships` are those
    /// of its node, as the store holds them; `held` is what it has for the entry, as the ledger has it. `csr` is DER.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_entry(
        &self,
        caller: &NodeRecord,
        memberships: &Memberships,
        entry: &Entry,
        csr: &[u8],
        held: Option<Held>,
    ) -> Result<IssuedSvid, IssuingError> {
        let issued = async {
            let admit = || {
                let now = self.parts.clock.issue_at()?;
                let admitted = Admitted::for_entry(&self.parts.trust_domain, caller, memberships, entry, now)?;
                self.refuse_denied(&admitted)?;
                Ok::<_, IssuingError>((admitted, now))
            };
            // Admission first: who may not have the name costs no signature verification and waits for none. And again after the wait:
            // the entry may have ended meanwhile, and what is issued is admitted, dated and recorded by one moment.
            drop(admit()?);
            self.parts.csr.check(csr)?;
            let _turn = self.turn(&self.identity_of(caller), held).await?;
            let (admitted, now) = admit()?;
            let request = self.parts.csr.read(csr)?;
            self.run_script(admitted, &request, now).await
        };
        self.counted(Purpose::Workload, issued.await)
    }

    /// A certificate for a service account on the node of `caller`, which was admitted to it in this very call; `held` is what it has for it, as
    /// the ledger has it. `csr` is DER.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_to_node(
        &self,
        caller: &NodeRecord,
        admitted: Admitted,
        csr: &[u8],
        held: Option<Held>,
    ) -> Result<IssuedSvid, IssuingError> {
        let issued = async {
            self.refuse_denied(&admitted)?;
            self.parts.csr.check(csr)?;
            let _turn = self.turn(&self.identity_of(caller), held).await?;
            let request = self.parts.csr.read(csr)?;
            self.run_script(admitted, &request, self.parts.clock.issue_at()?).await
        };
        self.counted(Purpose::Workload, issued.await)
    }

    /// Whether so many certificates could be issued at once: when not, it matters how urgent each of them is.
    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.parts.turns.has_room_for(count)
    }

    /// What the ledger says that a node holds for these entries, where there are not turns enough for all of them: only then does it
    /// matter, and only then is it looked up. The caller's own word is not asked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn held_for(
        &self,
        caller: &NodeRecord,
        entries: Vec<(EntryId, SpiffeId)>,
    ) -> Result<HashMap<EntryId, Held>, StoreError> {
        if self.has_room_for(entries.len()) {
            return Ok(HashMap::new());
        }
        let now = self.parts.clock.now();
        self.parts.store.held(self.identity_of(caller).to_string(), entries, now).await
    }

    /// How urgent an issuance is.
    pub(crate) fn urgency(&self, held: Option<Held>) -> Urgency {
        Urgency::of(held, self.parts.clock.now())
    }

    /// Whether the agent of `caller`, authenticated in this very call, may have a JWT-SVID of an entry: exactly when it may have
    /// a certificate.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) fn admit_jwt(
        &self,
        caller: &NodeRecord,
        memberships: &Memberships,
        entry: &Entry,
    ) -> Result<Admitted, IssuingError> {
        let now = self.parts.clock.issue_at()?;
        let admitted = Admitted::for_entry(&self.parts.trust_domain, caller, memberships, entry, now)?;
        self.refuse_denied(&admitted)?;
        Ok(admitted)
    }

    /// What was admitted, unless an operator revoked its identity.
    ///
    /// # Errors
    /// [`AdmissionError::Denied`].
    pub(crate) fn not_denied(&self, admitted: Admitted) -> Result<Admitted, IssuingError> {
        self.refuse_denied(&admitted)?;
        Ok(admitted)
    }

    /// Whether the clock lets anything be issued now: to be asked before something is used up for it.
    ///
    /// # Errors
    /// [`ClockFault`].
    pub(crate) fn check_clock(&self) -> Result<(), ClockFault> {
        self.parts.clock.look()
    }

    /// A certificate for a caller that was admitted in this very call; `held` is the certificate that it proved itself by, if it did.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_to_caller(
        &self,
        admitted: Admitted,
        request: &VerifiedRequest,
        held: Option<Held>,
    ) -> Result<IssuedSvid, IssuingError> {
        let issued = async {
            let _turn = self.turn(&Arc::from(admitted.subject().id.as_str()), held).await?;
            self.run_script(admitted, request, self.parts.clock.issue_at()?).await
        };
        self.counted(Purpose::Caller, issued.await)
    }

    /// A certificate for the Secret of a service account, which was admitted in this very call; `held` is what the Secret has.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub(crate) async fn issue_to_account(
        &self,
        admitted: Admitted,
        csr: &[u8],
        held: Option<Held>,
    ) -> Result<IssuedSvid, IssuingError> {
        let issued = async {
            let _turn = self.turn(&Arc::from(admitted.subject().id.as_str()), held).await?;
            let request = self.parts.csr.read(csr)?;
            self.run_script(admitted, &request, self.parts.clock.issue_at()?).await
        };
        self.counted(Purpose::AccountSecret, issued.await)
    }

    /// The CA's own serving certificate. It waits for nobody: without it nobody is served.
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
        let issued = async { self.run_script(admitted, request, self.parts.clock.issue_at()?).await };
        self.counted(Purpose::Serving, issued.await)
    }

    /// Nothing is issued for an identity that an operator revoked.
    fn refuse_denied(&self, admitted: &Admitted) -> Result<(), AdmissionError> {
        let id = &admitted.subject().id;
        if self.parts.revocation.is_denied(id) { Err(AdmissionError::Denied { id: id.clone() }) } else { Ok(()) }
    }

    /// Whom a node's requests are counted to: its agent, as the ledger names it.
    fn identity_of(&self, node: &NodeRecord) -> Arc<str> {
        Arc::from(SystemIdentity::Agent(node.node.clone()).id(&self.parts.trust_domain).as_str())
    }

    async fn turn(&self, identity: &Arc<str>, held: Option<Held>) -> Result<Turn, Overloaded> {
        self.parts.turns.take(identity, self.urgency(held)).await
    }

    async fn run_script(
        &self,
        admitted: Admitted,
        request: &VerifiedRequest,
        now: Timestamp,
    ) -> Result<IssuedSvid, IssuingError> {
        // However it was admitted. The ledger asks once more, in the transaction that records it.
        self.refuse_denied(&admitted)?;
        let id = admitted.subject().id.clone();
        // A snapshot: an authority that is replaced meanwhile finishes what it began.
        let authority = Arc::clone(&self.parts.authority.borrow());
        let script = Issuance {
            profile: &self.parts.profile,
            authority: &authority,
            ledger: &*self.parts.store,
            replica: self.parts.replica,
        };
        let issued = script.issue(admitted, request, entropy::bytes(&*self.parts.entropy), now).await;
        if let Err(IssuanceError::Ledger(refused)) = &issued {
            self.parts.clock.learn(refused.later_issuance());
        }
        let issued = issued?;
        let row = IssuanceResult {
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
        let Self { store, mut rows } = self;
        while let Some(first) = rows.recv().await {
            let mut gathered = vec![first];
            let more =
                async { while gathered.len() < RESULTS_AT_ONCE && rows.recv_many(&mut gathered, RESULTS_AT_ONCE).await > 0 {} };
            // Whoever is too late comes with the next.
            drop(tokio::time::timeout(RESULTS_GATHER, more).await);
            let serials: Vec<_> = gathered.iter().map(|row| row.serial.clone()).collect();
            match store.record_results(gathered).await {
                Ok(refused) => {
                    for (serial, error) in refused {
                        tracing::error!(%serial, %error, "the result row was not written; the intent stands");
                    }
                }
                Err(error) => {
                    for serial in serials {
                        tracing::error!(%serial, %error, "the result row was not written; the intent stands");
                    }
                }
            }
        }
    }
}
