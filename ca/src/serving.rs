//! What the CA shows to agents: its own serving certificate, made by itself at half life, and the trust bundle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use identity::{SystemIdentity, TrustDomain};
use pki::{
    Certificate, JwtAuthority, KeyAlgorithm, KeyError, PrivateKey, Sha256Digest, Sha256Hasher, SvidError, Timestamp, TrustBundle,
    VerifiedRequest, X509Svid,
};
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use tokio::sync::{Mutex, watch};

use crate::issuing::{Desk, IssuingError, ServingNames};
use crate::rotation::ServingSlot;

/// What services read of the CA's own credentials. Cheap to clone; every reader sees the newest.
#[derive(Clone)]
pub(crate) struct Credentials {
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
}

impl Credentials {
    /// Over the bundle that is pushed.
    pub(crate) fn new(trust_domain: TrustDomain, clock: Arc<dyn Clock>, bundle: watch::Receiver<Arc<TrustBundle>>) -> Self {
        Self { trust_domain, clock, bundle }
    }

    /// The trust domain of this CA.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The CA's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    /// The newest bundle.
    pub(crate) fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.bundle.borrow())
    }

    /// The newest bundle and every later one.
    pub(crate) fn bundle_changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.clone()
    }
}

/// Names the content of a bundle: the same authorities and taints in any order have the same name, whatever the sequence.
pub(crate) fn bundle_content(
    authorities: &[Certificate],
    jwt_authorities: &[JwtAuthority],
    tainted: &BTreeSet<Sha256Digest>,
) -> Sha256Digest {
    let mut fingerprints: Vec<_> = authorities.iter().map(Certificate::fingerprint).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    let mut hasher = Sha256Hasher::new();
    fingerprints.iter().for_each(|fingerprint| hasher.update(fingerprint));
    let mut keys: Vec<_> = jwt_authorities.iter().map(jwt_authority_content).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.iter().for_each(|key| hasher.update(key));
    for key in tainted {
        hasher.update(b"signet tainted key\0");
        hasher.update(key);
    }
    hasher.finish()
}

/// Name and key of a JWT authority; no certificate has this digest.
fn jwt_authority_content(authority: &JwtAuthority) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(b"signet jwt authority\0");
    hasher.update(authority.key_id().as_str().as_bytes());
    hasher.update(b"\0");
    hasher.update(&authority.public_key().fingerprint());
    hasher.finish()
}

/// Why there is no new serving certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    /// Its key.
    #[error("the key of the serving certificate: {0}")]
    Key(#[from] KeyError),
    /// Its issuance.
    #[error("the serving certificate was not issued: {0}")]
    Issuing(#[from] IssuingError),
    /// What came out would not be accepted by an agent.
    #[error("the serving certificate would be refused by agents: {0}")]
    Svid(#[from] SvidError),
}

/// Keeps the serving certificate fresh.
pub(crate) struct ServingCertificate {
    desk: Arc<Desk>,
    names: ServingNames,
    credentials: Credentials,
    /// `None` while the issuing CA has ended: agents are not served then.
    svid: watch::Sender<Option<Arc<X509Svid>>>,
    backoff: Backoff,
    not_before_next_try: Timestamp,
}

impl ServingCertificate {
    /// None yet.
    pub(crate) fn new(desk: Arc<Desk>, names: ServingNames, credentials: Credentials) -> Self {
        Self {
            desk,
            names,
            credentials,
            svid: watch::channel(None).0,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            not_before_next_try: Timestamp::from_unix_seconds(0),
        }
    }

    /// Mints the first one through the normal issuance path.
    ///
    /// # Errors
    /// [`MintError`].
    pub(crate) async fn mint_first(&self) -> Result<(), MintError> {
        let svid = mint(&self.desk, &self.names, &self.credentials).await?;
        self.svid.send_replace(Some(Arc::new(svid)));
        Ok(())
    }

    /// The newest certificate, for handshakes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<X509Svid>>> {
        self.svid.subscribe()
    }

    /// The newest certificate.
    pub(crate) fn current(&self) -> Option<Arc<X509Svid>> {
        self.svid.borrow().clone()
    }

    /// Re-mints when half of its life is over (or the wall clock was set before its start). On failure the valid one stays, and the
    /// next try waits for the backoff. The first one is not minted here: the switch to an issuing CA that has not ended does that.
    pub(crate) async fn renew_if_due(&mut self, random: u8) {
        let now = self.credentials.now();
        let Some(current) = self.current() else { return };
        let due = now >= current.renew_at() || now < current.leaf().not_before();
        // A clock that was set back by more than the longest wait must not postpone the next try.
        let waiting = now < self.not_before_next_try && self.not_before_next_try.since(now) <= LAST_RETRY * 2;
        if due
            && !waiting
            && let Err(error) = self.replace().await
        {
            let wait = self.backoff.next_delay(random);
            self.not_before_next_try = self.credentials.now().plus(wait);
            let not_after = current.leaf().not_after();
            tracing::error!(%error, retry_in = ?wait, current_ends = %not_after, "the serving certificate was not renewed");
        }
    }

    /// Re-mints now.
    ///
    /// # Errors
    /// [`MintError`]; the valid one stays.
    async fn replace(&mut self) -> Result<(), MintError> {
        self.mint_first().await?;
        self.backoff.reset();
        self.not_before_next_try = Timestamp::from_unix_seconds(0);
        Ok(())
    }
}

/// The serving certificate for those who look after it: by its age, and when another authority signs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SharedServing(pub(crate) Arc<Mutex<ServingCertificate>>);

impl ServingSlot for SharedServing {
    fn rests_on<'a>(&'a self, issuer: &'a Certificate) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let current = self.0.lock().await.current();
            current.is_some_and(|svid| svid.chain().iter().any(|certificate| certificate == issuer))
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.0.lock().await.replace().await.map_err(|error| error.to_string()) })
    }
}

/// One attempt. The result is judged as an agent would judge it, before anybody sees it.
async fn mint(desk: &Desk, names: &ServingNames, credentials: &Credentials) -> Result<X509Svid, MintError> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let id = SystemIdentity::Ca(names.replica.clone()).id(credentials.trust_domain());
    let csr = pki::build_request(&key, Some(&id))?;
    let request = VerifiedRequest::parse(&csr).map_err(IssuingError::Csr)?;
    let issued = desk.issue_serving(names, &request).await?.issued;
    let svid = X509Svid::new(issued.chain, key, issued.issued_at)?;
    svid.verify(&credentials.bundle(), credentials.now())?;
    Ok(svid)
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
