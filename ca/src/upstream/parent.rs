//! Signing the issuing CAs of other CAs: who may have one, which key signs it, and recording it first.
//!
//! A caller is what its X.509-SVID says, judged anew for each call; the configuration names those that may be CAs. Nothing of a request
//! but its key gets into a certificate.

use std::sync::Arc;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use mtls::VerifiedPeer;
use pki::{
    AuthorityRole, AuthoritySpec, CaConstraints, Certificate, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, SvidError, Usage,
    VerifiedRequest,
};
use runtime::entropy::{self, Entropy};
use tokio::sync::{Mutex, watch};

use crate::authority::SigningAuthority;
use crate::authority::lifecycle::AuthorityKind;
use crate::config::DownstreamConfig;
use crate::csr_limit::CsrLimit;
use crate::error_reason::{ErrorReason, Told};
use crate::issuance::{IssuanceError, LedgerError, Verification, lint_downstream, sign};
use crate::issuance_clock::{ClockFault, IssuanceClock};
use crate::issuing::IssuingError;
use crate::rate::{Limiter, TooFast};
use crate::revocation::RevocationSource;
use crate::rotation::{MaterialError, Materials, RotationView, certificate_of};
use crate::serving::Credentials;
use crate::signing_keys::SigningKey;
use crate::store::{Store, StoreError};

/// Why no issuing CA is signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParentError {
    /// The client showed no certificate.
    #[error("a client certificate is needed: the X.509-SVID of a CA that [[downstream]] names")]
    NoCertificate,
    /// The certificate is not good now.
    #[error("the certificate shown is not accepted: {0}")]
    Certificate(SvidError),
    /// It was not issued by this CA.
    #[error("the certificate {serial} was not issued by this CA")]
    NotRecorded { serial: SerialNumber },
    /// It was revoked, or its identity is denied.
    #[error("{id} is revoked: an operator can restore it (`signet unrevoke`)")]
    Revoked { id: SpiffeId },
    /// No `[[downstream]]` names the caller.
    #[error("{id} is not allowed to be a CA: an operator allows it by [[downstream]] spiffe_id in the configuration of this CA")]
    NotDownstream { id: SpiffeId },
    /// It asks for more than a CA that signs leaves.
    #[error("a path length of {asked} is asked for, and issuing CAs with path length 0 alone are signed")]
    PathLength { asked: u32 },
    /// The request.
    #[error(transparent)]
    Request(#[from] IssuingError),
    /// Too often.
    #[error("issuing CAs were asked for too often ({}): try again in {:?}", .0.limit, .0.wait)]
    TooFast(TooFast),
    /// The clock may not date it.
    #[error(transparent)]
    Clock(#[from] ClockFault),
    /// No key here may sign a CA.
    #[error("no issuing CA can be signed here: {0}")]
    NoSigner(String),
    /// The script stopped.
    #[error(transparent)]
    Issuance(IssuingError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LedgerError> for ParentError {
    fn from(error: LedgerError) -> Self {
        IssuanceError::from(error).into()
    }
}

impl From<IssuanceError> for ParentError {
    fn from(error: IssuanceError) -> Self {
        Self::Issuance(error.into())
    }
}

impl Told for ParentError {
    fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::NoCertificate => Some(ErrorReason::NoCredential),
            Self::Certificate(_) | Self::NotRecorded { .. } => Some(ErrorReason::CredentialInvalid),
            Self::Revoked { .. } => Some(ErrorReason::IdentityRevoked),
            Self::NotDownstream { .. } => Some(ErrorReason::NotDownstream),
            Self::PathLength { .. } => Some(ErrorReason::RequestInvalid),
            Self::Request(error) => error.reason(),
            Self::TooFast(_) => Some(ErrorReason::RateExceeded),
            Self::Clock(_) => Some(ErrorReason::ClockUntrusted),
            Self::NoSigner(_) => Some(ErrorReason::NotReady),
            Self::Issuance(error) => error.reason(),
            Self::Store(error) => error.reason(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::TooFast(too_fast) = self { Some(too_fast.wait) } else { None }
    }
}

/// What it works with.
pub(crate) struct ParentParts {
    pub(crate) allowed: Vec<DownstreamConfig>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) replica: ReplicaByte,
    pub(crate) credentials: Credentials,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) revocation: Arc<dyn RevocationSource>,
    pub(crate) authority: watch::Receiver<Arc<SigningAuthority>>,
    pub(crate) view: watch::Receiver<Arc<RotationView>>,
    pub(crate) materials: Materials,
    pub(crate) clock: Arc<IssuanceClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) csr: CsrLimit,
    pub(crate) rate: Limiter,
}

/// Signs issuing CAs of others. One for the process.
pub(crate) struct Parent {
    parts: ParentParts,
    /// One at a time: the key of a root may be under a passphrase, which takes long.
    turn: Mutex<()>,
}

/// A CA that may have issuing CAs of this one, as its certificate proved in this call.
#[derive(Debug)]
#[must_use]
pub(crate) struct Child<'a>(&'a DownstreamConfig);

impl Child<'_> {
    /// Who it is.
    pub(crate) fn id(&self) -> &SpiffeId {
        &self.0.id
    }
}

/// What signs a CA.
enum Signer {
    Root(Certificate, SigningKey),
    Issuer(Arc<SigningAuthority>),
}

impl Parent {
    /// Over these.
    pub(crate) fn new(parts: ParentParts) -> Self {
        Self { parts, turn: Mutex::new(()) }
    }

    /// Who calls, if it may be a CA now.
    ///
    /// # Errors
    /// [`ParentError`].
    pub(crate) async fn admit(&self, peer: Option<&VerifiedPeer>) -> Result<Child<'_>, ParentError> {
        let ParentParts { allowed, credentials, store, revocation, clock, rate, .. } = &self.parts;
        let peer = peer.ok_or(ParentError::NoCertificate)?;
        let svid = peer.validate_again(&credentials.bundle(), Usage::Client, clock.now()).map_err(ParentError::Certificate)?;
        let id = svid.id();
        let child = allowed.iter().find(|allowed| allowed.id == *id);
        let child = child.ok_or_else(|| ParentError::NotDownstream { id: id.clone() })?;
        rate.charge(id.as_str(), 1).map_err(ParentError::TooFast)?;
        if revocation.is_revoked(svid.serial()) || revocation.is_denied(id) {
            return Err(ParentError::Revoked { id: id.clone() });
        }
        // Another CA under the same root signs what it likes: who may be a CA is what this CA's ledger says.
        match store.issued(svid.serial().clone()).await? {
            Some(record) if record.subject == *id => Ok(Child(child)),
            Some(_) | None => Err(ParentError::NotRecorded { serial: svid.serial().clone() }),
        }
    }

    /// An issuing CA for the key of this request, and the certificates between it and the root. `ttl`: none asks for the longest.
    ///
    /// # Errors
    /// [`ParentError`]; nothing is given out then.
    pub(crate) async fn sign(
        &self,
        child: Child<'_>,
        csr: &[u8],
        ttl: Option<Duration>,
        path_length: u32,
    ) -> Result<Vec<Certificate>, ParentError> {
        let ParentParts { trust_domain, replica, store, clock, entropy, csr: limit, .. } = &self.parts;
        if path_length != 0 {
            return Err(ParentError::PathLength { asked: path_length });
        }
        let request: VerifiedRequest = limit.read(csr)?;
        let _turn = self.turn.lock().await;
        let signer = self.signer().await?;
        let now = clock.issue_at()?;
        let Child(DownstreamConfig { id, max_ttl }) = child;
        let spec = AuthoritySpec {
            role: AuthorityRole::Issuer,
            trust_domain,
            public_key: request.public_key(),
            lifetime: ttl.map_or(*max_ttl, |ttl| ttl.min(*max_ttl)),
            serial: SerialNumber::new(*replica, entropy::bytes::<SERIAL_RANDOM_BYTES>(&**entropy)),
            now,
        };
        let linted = lint_downstream(&spec, signer.certificate(), id)?;
        let recorded = store.record(linted).await?;
        let certificate = match &signer {
            Signer::Root(_, key) => sign(recorded, key, Verification::Always).await?,
            Signer::Issuer(authority) => sign(recorded, authority.key(), Verification::Always).await?,
        };
        store.record_result(certificate.serial().clone(), certificate.der().to_vec(), now).await?;
        let not_after = certificate.not_after();
        tracing::info!(child = %id, serial = %certificate.serial(), %not_after, "an issuing CA was signed for another CA");
        Ok(std::iter::once(&certificate).chain(signer.path()).cloned().collect())
    }

    /// The roots that are pushed now, their sequence, and the one that signs.
    pub(crate) fn roots(&self) -> (Vec<Certificate>, u64, Certificate) {
        let bundle = self.parts.credentials.bundle();
        let signing = self.parts.authority.borrow().root().clone();
        (bundle.authorities().to_vec(), bundle.sequence(), signing)
    }

    async fn signer(&self) -> Result<Signer, ParentError> {
        let ParentParts { authority, view, materials, .. } = &self.parts;
        let view = Arc::clone(&view.borrow());
        let mut why = "its root is plugged in".to_owned();
        if let (None, Some(root)) = (&view.plugged_in, view.lifecycle.active(AuthorityKind::Root)) {
            match materials.root_key(root).await {
                Ok(key) => {
                    let unreadable = |error: MaterialError| ParentError::NoSigner(error.to_string());
                    return Ok(Signer::Root(certificate_of(root).map_err(unreadable)?, key));
                }
                Err(error) => why = error.to_string(),
            }
        }
        let authority = Arc::clone(&authority.borrow());
        match CaConstraints::of(authority.certificate()).path_len {
            Some(0) => Err(ParentError::NoSigner(format!(
                "the issuing CA in use has path length 0 and signs no CA, and the root does not sign: {why}. Put the key of the root in its \
                 place, or plug in an issuing CA of path length 1"
            ))),
            Some(_) | None => Ok(Signer::Issuer(authority)),
        }
    }
}

impl Signer {
    fn certificate(&self) -> &Certificate {
        match self {
            Self::Root(certificate, _) => certificate,
            Self::Issuer(authority) => authority.certificate(),
        }
    }

    /// From what signs upwards, without the root.
    fn path(&self) -> &[Certificate] {
        match self {
            Self::Root(..) => &[],
            Self::Issuer(authority) => authority.path(),
        }
    }
}
