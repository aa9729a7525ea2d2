//! Looks at one account and its Secret, and does what is to be done about them.
//!
//! What is known by the watches says whether something may have to be done. What is there is then read, decided on anew, and written only if it
//! is still that: another replica that believes to lead, or anybody else, is at worst faster.

mod calls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use identity::{DnsName, SpiffeId, TrustDomain};
use kubernetes::secrets::SecretData;
use kubernetes::{ApiError, KubernetesClient, ObjectVersion, SecretWrite};
use pki::crl::RevocationReason;
use pki::{
    KeyAlgorithm, PrivateKey, SerialNumber, Sha256Digest, Timestamp, TrustBundle, build_request, certificates_to_pem, sha256,
};
use runtime::clock::Clock;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::content::{Content, IssueReason, Standard, Verdict};
use super::memory::{Circumstances, Memory, Settled};
use super::metrics::{Deed, SecretMetrics};
use super::names::{CHAIN_FILE, FIELD_MANAGER, KEY_FILE, ROOTS_FILE, SECRET_TYPE, secret_name};
use super::plan::{Account, Action, DeleteReason, Idle, Kept, annotations, plan};
use super::troubles::{TroubleKind, Troubles};
use super::world::{Look, World};
use crate::admission::{Admitted, CallerError, account_id};
use crate::audit::Actor;
use crate::cluster_objects::queue::{Key, Outcome};
use crate::config::{AccountName, SecretsConfig};
use crate::issuing::{Desk, IssuingError};
use crate::records::{AccountSecret, Held};
use crate::revocation::{RevocationSource, StoredRevocations, Target};
use crate::store::{RevokeError, Store};

/// The time for one call to the API server.
const DEADLINE: Duration = Duration::from_secs(10);

/// What it works with.
pub(crate) struct Worker {
    pub(crate) world: Arc<World>,
    pub(crate) client: KubernetesClient,
    pub(crate) desk: Arc<Desk>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) trust_domain: TrustDomain,
    /// The name of the cluster in records.
    pub(crate) cluster: String,
    pub(crate) config: SecretsConfig,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) revocation: StoredRevocations,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: SecretMetrics,
    pub(crate) troubles: Troubles,
    pub(crate) memory: Memory,
}

/// What an account should have now.
pub(crate) struct Terms {
    id: SpiffeId,
    dns_names: BTreeSet<DnsName>,
    bundle: Arc<TrustBundle>,
    roots_pem: String,
    roots: Sha256Digest,
    now: Timestamp,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    #[error(transparent)]
    Admission(#[from] CallerError),
    #[error(transparent)]
    Key(#[from] pki::KeyError),
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    #[error("its Secret was written again and again within minutes, and somebody undoes it: the next time in {wait:?}")]
    Undone { wait: Duration },
    #[error("the account has no identity in trust domain {0}")]
    NoIdentity(TrustDomain),
    #[error("what was issued is not what the account should have ({0}): nothing is written")]
    NotGood(&'static str),
}

impl Fault {
    fn retry_after(&self) -> Option<Duration> {
        if let Self::Undone { wait } = self {
            Some(*wait)
        } else if let Self::Api(error) = self {
            error.retry_after()
        } else {
            None
        }
    }
}

impl Terms {
    fn standard<'a>(&'a self, revocation: &'a dyn RevocationSource) -> Standard<'a> {
        let Self { id, dns_names, bundle, roots_pem: _, roots, now } = self;
        Standard { id, dns_names, bundle, roots: *roots, revocation, now: *now }
    }
}

impl Worker {
    /// Looks at an account, and does what is to be done.
    pub(crate) async fn look_at(&self, key: &Key) -> Outcome {
        // Each new list has all of its accounts looked at.
        let Some(look) = self.world.look(key) else { return Outcome::Settled { due: None } };
        let outcome = match self.terms(key) {
            Ok(terms) => {
                if let Some(due) = self.is_settled(key, &look, &terms) {
                    return Outcome::Settled { due: Some(due) };
                }
                self.act(key, &look, &terms).await
            }
            Err(fault) => Err(fault),
        };
        outcome.unwrap_or_else(|fault| self.failed(key, &fault))
    }

    fn failed(&self, key: &Key, fault: &Fault) -> Outcome {
        if let Fault::Api(error) = fault {
            // What is known is not what is there, and it will be heard of.
            if matches!(error, ApiError::Conflict { .. }) {
                return Outcome::Failed { after: None };
            }
            if error.is_of_ending_namespace() {
                return Outcome::Stuck;
            }
        }
        self.troubles.set(key, TroubleKind::Failed, fault.to_string());
        Outcome::Failed { after: fault.retry_after() }
    }

    /// What is to be said of a Secret of an account now.
    pub(crate) fn verdict(&self, key: &Key, kept: &Kept) -> Result<Verdict, Fault> {
        Ok(kept.verdict(&self.terms(key)?.standard(&self.revocation)))
    }

    /// What would be done about an account now.
    pub(crate) fn plan(&self, key: &Key, look: &Look) -> Result<Action, Fault> {
        let terms = self.terms(key)?;
        if self.is_settled(key, look, &terms).is_some() {
            return Ok(Action::Nothing(Idle::Good));
        }
        Ok(self.plan_on(key, look, &terms))
    }

    /// Deletes what is left of an account in a namespace that is not managed; `false` when nothing of ours is there.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) async fn prune(&self, key: &Key) -> Result<bool, ApiError> {
        let (namespace, account) = key;
        let Some(name) = secret_name(account) else { return Ok(false) };
        let Some(secret) = self.read(namespace, &name).await? else { return Ok(false) };
        let kept = Kept::of(&secret, account, |certificate| certificate);
        if !kept.is_ours {
            return Ok(false);
        }
        self.delete(namespace, &name, &kept).await?;
        Ok(true)
    }

    fn terms(&self, key: &Key) -> Result<Terms, Fault> {
        let (namespace, account) = key;
        let id = account_id(&self.trust_domain, namespace, account);
        let id = id.ok_or_else(|| Fault::NoIdentity(self.trust_domain.clone()))?;
        let named = AccountName { namespace: namespace.clone(), name: account.clone() };
        let dns_names = self.config.dns_names.get(&named).cloned().unwrap_or_default();
        let bundle = Arc::clone(&self.bundle.borrow());
        let roots_pem = bundle.to_pem();
        let roots = sha256(roots_pem.as_bytes());
        Ok(Terms { id, dns_names, bundle, roots_pem, roots, now: self.clock.now().into() })
    }

    /// When what was found good last is due, while it still is.
    fn is_settled(&self, key: &Key, look: &Look, terms: &Terms) -> Option<Timestamp> {
        let settled = self.memory.settled(key)?;
        let circumstances = Circumstances {
            account: look.account.as_ref()?,
            version: &look.secret.as_ref()?.version,
            is_managed: look.decision.is_managed,
            bundle: &terms.bundle,
            is_revoked: self.revocation.is_revoked(&settled.serial),
            is_asked: self.memory.is_asked(key),
            now: terms.now,
        };
        settled.still_holds(&circumstances).then_some(settled.due)
    }

    fn plan_on(&self, key: &Key, look: &Look, terms: &Terms) -> Action {
        let Look { decision, account, secret } = look;
        let verdict = |kept: &Kept| match kept.verdict(&terms.standard(&self.revocation)) {
            Verdict::Good { .. } | Verdict::OldRoots { .. } if self.memory.is_asked(key) => Verdict::Bad(IssueReason::Asked),
            verdict @ (Verdict::Good { .. } | Verdict::OldRoots { .. } | Verdict::Bad(_)) => verdict,
        };
        let secret = secret.as_ref().map(|kept| (kept, verdict(kept)));
        plan(decision.is_managed, &key.1, account.as_ref(), secret)
    }

    async fn act(&self, key: &Key, look: &Look, terms: &Terms) -> Result<Outcome, Fault> {
        let action = self.plan_on(key, look, terms);
        if action.is_of_healing() {
            let wait = self.memory.pause_before_healing(key, self.clock.boottime());
            if !wait.is_zero() {
                return Err(Fault::Undone { wait });
            }
        }
        match (action, &look.account) {
            (Action::Issue(IssueReason::Missing), Some(account)) => self.create(key, account, terms).await,
            (Action::Issue(_) | Action::Rewrite(_) | Action::Delete(_), _) => self.change(key, look, terms).await,
            (action, _) => self.leave(key, look, terms, action).await,
        }
    }

    /// Where nothing is written.
    async fn leave(&self, key: &Key, look: &Look, terms: &Terms, action: Action) -> Result<Outcome, Fault> {
        match action {
            Action::Nothing(Idle::Good) => {
                let (Some(account), Some(secret)) = (&look.account, &look.secret) else {
                    return Ok(Outcome::Settled { due: None });
                };
                let due = match (secret.verdict(&terms.standard(&self.revocation)), &secret.content) {
                    (Verdict::Good { due } | Verdict::OldRoots { due }, Ok(content)) => {
                        self.settle(key, account, secret.version.clone(), content.serial().clone(), due, terms);
                        Some(due)
                    }
                    _ => None,
                };
                Ok(Outcome::Settled { due })
            }
            Action::Nothing(idle) => {
                self.troubles.clear(key);
                if let Some(settled) = self.memory.forget(key)
                    && idle == Idle::Nobody
                {
                    self.call_back(&settled.serial, terms.now).await?;
                }
                Ok(Outcome::Settled { due: None })
            }
            Action::TooLong => {
                let text = "its name is longer than 247 bytes, and so no Secret can be named after it".to_owned();
                self.tell(key, look.account.as_ref(), TroubleKind::TooLong, text, terms.now).await;
                Ok(Outcome::Stuck)
            }
            Action::LeaveAlien => Ok(self.leave_alien(key, look.account.as_ref(), terms.now).await),
            // Done elsewhere.
            Action::Issue(_) | Action::Rewrite(_) | Action::Delete(_) => Ok(Outcome::Failed { after: None }),
        }
    }

    async fn leave_alien(&self, key: &Key, account: Option<&Account>, now: Timestamp) -> Outcome {
        let text = format!("a Secret that the CA did not make has the name istio.{}, and is left as it is", key.1);
        self.tell(key, account, TroubleKind::Alien, text, now).await;
        Outcome::Stuck
    }

    /// Makes a Secret where there seems to be none.
    async fn create(&self, key: &Key, account: &Account, terms: &Terms) -> Result<Outcome, Fault> {
        let (namespace, name) = key;
        let Some(secret) = secret_name(name) else { return Ok(Outcome::Stuck) };
        // Of the account that had this name before, when its Secret went faster than it was looked at.
        if let Some(former) = self.memory.settled(key).filter(|settled| settled.owner != account.uid) {
            self.call_back(&former.serial, terms.now).await?;
            drop(self.memory.forget(key));
        }
        let reason = IssueReason::Missing;
        let (data, content) = self.issue(key, account, reason, None).await?;
        let annotations = annotations(name);
        let write = write(namespace, &secret, account, name, &annotations, &data);
        let written = self.client.create_secret(&write, DEADLINE).await;
        self.troubles.called("create secrets", namespace, &written);
        self.metrics.done(Deed::Issue(reason), written.is_ok());
        match written {
            Ok(written) => Ok(self.wrote(key, account, written, &content)),
            // Somebody was faster, or it is of a type that no watch tells of.
            Err(conflict @ ApiError::Conflict { .. }) => match self.read(namespace, &secret).await? {
                Some(there) if !Kept::of(&there, name, |certificate| certificate).is_ours => {
                    Ok(self.leave_alien(key, Some(account), terms.now).await)
                }
                _ => Err(conflict.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there, decides anew, and does it.
    async fn change(&self, key: &Key, look: &Look, terms: &Terms) -> Result<Outcome, Fault> {
        let (namespace, name) = key;
        let Some(secret) = secret_name(name) else { return Ok(Outcome::Stuck) };
        let Some(there) = self.read(namespace, &secret).await? else { return Ok(Outcome::Failed { after: None }) };
        let kept = Kept::of(&there, name, |certificate| certificate);
        let mut look = Look { decision: look.decision, account: look.account.clone(), secret: Some(kept.clone()) };
        if let Action::Delete(DeleteReason::AccountGone | DeleteReason::FormerAccount) = self.plan_on(key, &look, terms) {
            let account = self.client.service_account(namespace, name, DEADLINE).await;
            self.troubles.called("get serviceaccounts", namespace, &account);
            look.account = account?.as_ref().map(Account::of);
        }
        match (self.plan_on(key, &look, terms), &look.account) {
            (Action::Issue(reason), Some(account)) => {
                let held = kept
                    .content
                    .as_ref()
                    .ok()
                    .map(|content| Held { issued_at: content.leaf().not_before(), not_after: content.leaf().not_after() });
                let (data, content) = self.issue(key, account, reason, held).await?;
                let done = self.apply(key, &secret, account, &kept, &data).await;
                self.metrics.done(Deed::Issue(reason), done.is_ok());
                Ok(self.wrote(key, account, done?, &content))
            }
            (Action::Rewrite(_), Some(account)) => {
                let data = with_roots(&there.data, &self.terms(key)?.roots_pem);
                let content = self.checked(key, &data)?;
                let done = self.apply(key, &secret, account, &kept, &data).await;
                self.metrics.done(Deed::Rewrite, done.is_ok());
                Ok(self.wrote(key, account, done?, &content))
            }
            (Action::Delete(reason), _) => {
                if let (Ok(content), DeleteReason::AccountGone | DeleteReason::FormerAccount) = (&kept.content, reason) {
                    self.call_back(content.serial(), terms.now).await?;
                }
                self.delete(namespace, &secret, &kept).await?;
                drop(self.memory.forget(key));
                self.troubles.clear(key);
                tracing::info!(namespace, account = name, ?reason, "the Secret of a service account was deleted");
                // What comes next is heard of.
                Ok(Outcome::Settled { due: None })
            }
            (action, _) => self.leave(key, &look, terms, action).await,
        }
    }

    /// A new key, and a certificate for it; judged before it is handed out.
    async fn issue(
        &self,
        key: &Key,
        account: &Account,
        reason: IssueReason,
        held: Option<Held>,
    ) -> Result<(SecretData, Content), Fault> {
        let (namespace, name) = key;
        let Terms { id, dns_names, .. } = self.terms(key)?;
        let private = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let request = build_request(&private, Some(&id))?;
        let secret = AccountSecret {
            cluster: self.cluster.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            uid: account.uid.clone(),
            why: reason.label(),
        };
        let dns_names = dns_names.into_iter().collect();
        let admitted = Admitted::for_account_secret(&self.trust_domain, id, secret, dns_names, self.config.ttl)?;
        let svid = self.desk.issue_to_account(admitted, &request, held).await?;
        let chain = certificates_to_pem(&svid.issued.chain);
        let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        // The bundle of now: it may have changed while it was issued.
        let roots = self.terms(key)?.roots_pem;
        let data = [(CHAIN_FILE, bytes(&chain)), (KEY_FILE, bytes(&private.to_pkcs8_pem())), (ROOTS_FILE, bytes(&roots))].into();
        let content = self.checked(key, &data)?;
        Ok((data, content))
    }

    /// What is about to be written, if it is good.
    fn checked(&self, key: &Key, data: &SecretData) -> Result<Content, Fault> {
        let content = Content::read(data, |certificate| certificate).map_err(|reason| Fault::NotGood(reason.label()))?;
        match content.judge(&self.terms(key)?.standard(&self.revocation)) {
            Verdict::Good { .. } => Ok(content),
            Verdict::OldRoots { .. } => Err(Fault::NotGood("the trust bundle has changed")),
            Verdict::Bad(reason) => Err(Fault::NotGood(reason.label())),
        }
    }

    fn wrote(&self, key: &Key, account: &Account, written: ObjectVersion, content: &Content) -> Outcome {
        self.memory.wrote(key, self.clock.boottime());
        let due = super::content::due(content.leaf());
        if let Ok(terms) = self.terms(key) {
            self.settle(key, account, written.version, content.serial().clone(), due, &terms);
        }
        Outcome::Settled { due: Some(due) }
    }

    fn settle(&self, key: &Key, account: &Account, version: String, serial: SerialNumber, due: Timestamp, terms: &Terms) {
        self.troubles.clear(key);
        let (owner, bundle) = (account.uid.clone(), Arc::clone(&terms.bundle));
        self.memory.settle(key, Settled { version, owner, serial, due, bundle });
    }

    /// Revokes the certificate of an account that is gone, where that is asked for.
    async fn call_back(&self, serial: &SerialNumber, now: Timestamp) -> Result<(), RevokeError> {
        if !self.config.revoke_on_delete {
            return Ok(());
        }
        let target = Target::Serial(serial.clone());
        match self.store.revoke(target, RevocationReason::CessationOfOperation, Actor::System, now).await {
            // Of no use to anybody, or made by another CA before this one came.
            Ok(_) | Err(RevokeError::Ended { .. } | RevokeError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn write<'a>(
    namespace: &'a str,
    name: &'a str,
    account: &'a Account,
    account_name: &'a str,
    annotations: &'a BTreeMap<&'static str, &'a str>,
    data: &'a SecretData,
) -> SecretWrite<'a> {
    let account = (account_name, account.uid.as_str());
    SecretWrite { manager: FIELD_MANAGER, namespace, name, secret_type: SECRET_TYPE, annotations, account, data }
}

/// The same key and certificate, with this trust bundle.
fn with_roots(data: &SecretData, roots: &str) -> SecretData {
    let bytes = |file: &str| Zeroizing::new(data.get(file).unwrap_or_default().to_vec());
    [(CHAIN_FILE, bytes(CHAIN_FILE)), (KEY_FILE, bytes(KEY_FILE)), (ROOTS_FILE, Zeroizing::new(roots.as_bytes().to_vec()))].into()
}
