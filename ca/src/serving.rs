//! What the CA shows to agents: its own serving certificate, made by itself at half life, and the trust bundle.

use std::sync::Arc;
use std::time::Duration;

use identity::{SystemIdentity, TrustDomain};
use pki::{
    Certificate, JwtAuthority, KeyAlgorithm, KeyError, PrivateKey, Sha256Hasher, SvidError, Timestamp, TrustBundle,
    VerifiedRequest, X509Svid,
};
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use tokio::sync::watch;

use crate::issuing::{Desk, IssuingError, ServingNames};

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

/// Names the content of a bundle: the same authorities in any order have the same name, whatever the sequence.
pub(crate) fn bundle_content(authorities: &[Certificate], jwt_authorities: &[JwtAuthority]) -> pki::Sha256Digest {
    let mut fingerprints: Vec<_> = authorities.iter().map(Certificate::fingerprint).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    let mut hasher = Sha256Hasher::new();
    fingerprints.iter().for_each(|fingerprint| hasher.update(fingerprint));
    let mut keys: Vec<_> = jwt_authorities.iter().map(jwt_authority_content).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.iter().for_each(|key| hasher.update(key));
    hasher.finish()
}

/// Name and key of a JWT authority; no certificate has this digest.
fn jwt_authority_content(authority: &JwtAuthority) -> pki::Sha256Digest {
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
    svid: watch::Sender<Arc<X509Svid>>,
    backoff: Backoff,
    not_before_next_try: Timestamp,
}

impl ServingCertificate {
    /// Mints the first one through the normal issuance path.
    ///
    /// # Errors
    /// [`MintError`].
    pub(crate) async fn mint_first(desk: Arc<Desk>, names: ServingNames, credentials: Credentials) -> Result<Self, MintError> {
        let svid = mint(&desk, &names, &credentials).await?;
        let (svid, _) = watch::channel(Arc::new(svid));
        Ok(Self {
            desk,
            names,
            credentials,
            svid,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            not_before_next_try: Timestamp::from_unix_seconds(0),
        })
    }

    /// The newest certificate, for handshakes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<X509Svid>> {
        self.svid.subscribe()
    }

    /// The newest certificate.
    pub(crate) fn current(&self) -> Arc<X509Svid> {
        Arc::clone(&self.svid.borrow())
    }

    /// Re-mints when half of its life is over (or the wall clock was set before its start). On failure the valid one stays, and the
    /// next try waits for the backoff.
    pub(crate) async fn renew_if_due(&mut self, random: u8) {
        let now = self.credentials.now();
        let current = self.current();
        let due = now >= current.renew_at() || now < current.leaf().not_before();
        // A clock that was set back by more than the longest wait must not postpone the next try.
        let waiting = now < self.not_before_next_try && self.not_before_next_try.since(now) <= LAST_RETRY * 2;
        if due && !waiting {
            self.replace(random).await;
        }
    }

    /// Re-mints now: another authority signs from here on.
    pub(crate) async fn replace(&mut self, random: u8) {
        match mint(&self.desk, &self.names, &self.credentials).await {
            Ok(svid) => {
                self.backoff.reset();
                self.not_before_next_try = Timestamp::from_unix_seconds(0);
                self.svid.send_replace(Arc::new(svid));
            }
            Err(error) => {
                let wait = self.backoff.next_delay(random);
                self.not_before_next_try = self.credentials.now().plus(wait);
                let not_after = self.current().leaf().not_after();
                tracing::error!(%error, retry_in = ?wait, current_ends = %not_after, "the serving certificate was not renewed");
            }
        }
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
