//! Who calls, whether that caller may have a certificate now, and whether it has had enough of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use pki::{Timestamp, Usage, ValidatedSvid};
use runtime::clock::Clock;

use super::credential::Credential;
use super::error::CallError;
use super::impersonation::{Impersonation, ImpersonationRefusal, PodOfNode};
use crate::admission::{Admitted, Renewable, RenewalFacts};
use crate::config::AccountName;
use crate::node_pods::NodePods;
use crate::oidc::{TokenError, TokenJudge, TokenSubject};
use crate::rate::{Limiter, RateLimit};
use crate::records::Held;
use crate::revocation::RevocationSource;
use crate::service_accounts::{BoundPod, ReviewError, ReviewRefusal, ReviewedAccount, TokenReviewer};
use crate::serving::Credentials;
use crate::store::Store;

/// Who a caller proved to be, by what.
#[derive(Debug)]
#[must_use]
pub(crate) enum Authenticated {
    /// A token, under the rules of now.
    Token(TokenSubject),
    /// A token that the API server vouched for.
    Account {
        /// Who it is.
        id: SpiffeId,
        /// As which service account.
        account: ReviewedAccount,
    },
    /// A certificate, validated anew.
    Certificate(ValidatedSvid),
}

/// What callers are judged with.
pub(crate) struct CallerParts {
    pub(crate) credentials: Credentials,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) judge: Arc<TokenJudge>,
    pub(crate) reviewer: Option<Arc<TokenReviewer>>,
    pub(crate) proxies: Option<NodeProxies>,
    pub(crate) revocation: Arc<dyn RevocationSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_renewal_age: Duration,
    pub(crate) rate: RateLimit,
}

/// Proxies that ask for the identities of the pods of their node. Clones share the pods.
#[derive(Clone)]
pub(crate) struct NodeProxies {
    /// Their service accounts. Not empty.
    pub(crate) trusted: BTreeSet<AccountName>,
    pub(crate) pods: Arc<NodePods>,
}

/// The judge of callers. One for the process.
pub(crate) struct IstioCallers {
    parts: CallerParts,
    rates: Limiter,
}

impl Authenticated {
    /// Whose rate it counts against.
    pub(crate) fn id(&self) -> &SpiffeId {
        match self {
            Self::Token(subject) => &subject.id,
            Self::Account { id, account: _ } => id,
            Self::Certificate(svid) => svid.id(),
        }
    }

    /// The service account that it is, and the pod that its token is bound to.
    fn bound_pod(&self) -> Option<(&ReviewedAccount, &BoundPod)> {
        match self {
            Self::Account { account, .. } => account.pod.as_ref().map(|pod| (account, pod)),
            Self::Token(_) | Self::Certificate(_) => None,
        }
    }

    /// What it is known to hold. A token says nothing of that.
    pub(crate) fn held(&self) -> Option<Held> {
        match self {
            Self::Token(_) | Self::Account { .. } => None,
            Self::Certificate(svid) => Some(Held { issued_at: svid.leaf().not_before(), not_after: svid.not_after() }),
        }
    }
}

impl IstioCallers {
    /// With full rates.
    pub(crate) fn new(parts: CallerParts) -> Self {
        let rates = Limiter::new(parts.rate, Arc::clone(&parts.clock));
        Self { parts, rates }
    }

    /// Who shows this. The certificate of a connection is judged anew by each call.
    ///
    /// # Errors
    /// [`CallError`]: it is not good now, or whether it is cannot be told.
    pub(crate) async fn authenticate(&self, credential: Credential<'_>) -> Result<Authenticated, CallError> {
        let now = self.now();
        match credential {
            Credential::Token(token) => self.by_token(token, now).await,
            Credential::Certificate(peer) => {
                let validated = peer.validate_again(&self.parts.credentials.bundle(), Usage::Client, now);
                validated.map(Authenticated::Certificate).map_err(CallError::Certificate)
            }
        }
    }

    /// Every token has one judge: the rule for its issuer, or the API server, which knows its own.
    async fn by_token(&self, token: &str, now: Timestamp) -> Result<Authenticated, CallError> {
        let CallerParts { judge, reviewer, .. } = &self.parts;
        if let Some(reviewer) = reviewer.as_ref().filter(|_| !judge.has_rule_for(token)) {
            let account = reviewer.review(token).await.map_err(|error| match error {
                ReviewError::Refused(why) => CallError::Review(why),
                unavailable @ (ReviewError::Unavailable { .. } | ReviewError::Busy) => CallError::ReviewUnavailable(unavailable),
            })?;
            let id = account.id(self.parts.credentials.trust_domain());
            let id = id.ok_or_else(|| CallError::Review(ReviewRefusal::not_an_account(&account)))?;
            return Ok(Authenticated::Account { id, account });
        }
        match judge.judge(token, now).await {
            Ok(subject) => Ok(Authenticated::Token(subject)),
            Err(TokenError::Unauthenticated(why)) => Err(CallError::Token(why)),
            Err(TokenError::Unavailable(why)) => Err(CallError::KeysUnavailable(why)),
        }
    }

    /// Counts one call of this caller.
    ///
    /// # Errors
    /// [`CallError::TooFast`].
    pub(crate) fn charge(&self, caller: &Authenticated) -> Result<(), CallError> {
        // A proxy asks for all pods of its node, as an identity that it shares with those of all other nodes.
        let proxy = caller.bound_pod().filter(|(account, _)| self.is_trusted(account));
        let key = proxy.map_or_else(|| caller.id().to_string(), |(_, pod)| format!("{} {}", caller.id(), pod.uid));
        self.rates.charge(&key, 1).map_err(CallError::TooFast)
    }

    /// Whether the caller may have a certificate of this life for the identity of a pod on its node, now.
    ///
    /// # Errors
    /// [`CallError::Impersonation`], [`CallError::PodsUnavailable`] or [`CallError::Admission`].
    pub(crate) async fn admit_for_pod(
        &self,
        caller: Authenticated,
        asked: &str,
        ttl: Option<Duration>,
    ) -> Result<Admitted, CallError> {
        let trust_domain = self.parts.credentials.trust_domain();
        let Some(NodeProxies { trusted, pods }) = &self.parts.proxies else {
            return Err(CallError::Impersonation(ImpersonationRefusal::NobodyTrusted));
        };
        let wanted = Impersonation::of(caller, asked, trusted, trust_domain).map_err(CallError::Impersonation)?;
        let judged = pods.decide(wanted.node(), |pods| wanted.judge(pods)).await.map_err(CallError::PodsUnavailable)?;
        let PodOfNode { id, by, pod } = judged.map_err(CallError::Impersonation)?;
        Ok(Admitted::for_pod_of_node(trust_domain, id, by, pod, ttl)?)
    }

    fn is_trusted(&self, account: &ReviewedAccount) -> bool {
        self.parts.proxies.as_ref().is_some_and(|proxies| proxies.trusted.contains(&account.account_name()))
    }

    /// Whether the caller may have a certificate of this life, now.
    ///
    /// # Errors
    /// [`CallError::Admission`], or [`CallError::Store`] when the ledger cannot say.
    pub(crate) async fn admit(&self, caller: Authenticated, ttl: Option<Duration>) -> Result<Admitted, CallError> {
        let now = self.now();
        let trust_domain = self.parts.credentials.trust_domain();
        let presented = match caller {
            Authenticated::Token(subject) => return Ok(Admitted::for_token(trust_domain, subject, ttl, now)?),
            Authenticated::Account { id, account } => return Ok(Admitted::for_account(trust_domain, id, account, ttl)?),
            Authenticated::Certificate(presented) => presented,
        };
        let record = self.parts.store.issued(presented.serial().clone()).await?;
        let renewable = Renewable::check(RenewalFacts {
            trust_domain,
            presented: &presented,
            is_revoked: self.parts.revocation.is_revoked(presented.serial()),
            record: record.as_ref(),
            max_age: self.parts.max_renewal_age,
            now,
        })?;
        let granted = self.parts.judge.still_grants(renewable.source());
        Ok(Admitted::for_renewal(renewable, granted, ttl)?)
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now().into()
    }
}
