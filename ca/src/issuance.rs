//! Issuance, a numbered script: template -> lint without the CA key -> record durably -> sign -> compare -> answer.
//!
//! Each step returns a value that only it can make and that the next one uses up, so that signing what was not recorded, or
//! recording what was not linted, does not compile. No I/O, clock or randomness here: the script drives a [`Ledger`], and time and
//! the serial's random bytes are arguments.

use futures_util::future::BoxFuture;
use identity::SpiffeId;
use pki::{
    AuthoritySpec, Certificate, CsrError, LeafProfile, LeafRequest, LintFinding, MintError, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, Sha256Digest, Signer, SigningError, TemplateError, Timestamp, Unsigned, VerifiedRequest, sha256,
};

use crate::admission::Admitted;
use crate::authority::SigningAuthority;
use crate::issuance_clock::ClockFault;
use crate::records::{Provenance, Reason};
use crate::store::StoreError;

/// One signature in this many is verified after it was made.
const VERIFY_ONE_IN: u8 = 64;

/// Why the intent was not recorded: what the store says, whole, since a clock that it refuses is told otherwise than a disk that fails.
#[derive(Debug, thiserror::Error)]
#[error("the ledger did not record the intent: {0}")]
pub struct LedgerError(#[from] pub StoreError);

impl LedgerError {
    /// The latest issuance on record, where the time of this one lies too far before it.
    #[must_use]
    pub fn later_issuance(&self) -> Option<Timestamp> {
        if let StoreError::ClockBehind(ClockFault::Behind { latest, .. }) = &self.0 { Some(*latest) } else { None }
    }
}

/// What a caller is told of an identity that nothing is issued for.
pub(crate) fn denied(id: &SpiffeId) -> String {
    format!(
        "the identity {id} is revoked: nothing is issued for it until an operator restores it (`signet unrevoke --spiffe-id {id}`)"
    )
}

/// What is about to be signed.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The serial number.
    pub serial: SerialNumber,
    /// The whole to-be-signed bytes.
    pub tbs_der: Vec<u8>,
    /// The one identity in it.
    pub subject: SpiffeId,
    /// Who asked: an agent's SPIFFE ID, a node, or the operator's command.
    pub caller: String,
    /// Why.
    pub reason: Reason,
    /// The line that it belongs to; `None` when its holder cannot renew it.
    pub provenance: Option<Provenance>,
    /// The last second of the certificate.
    pub not_after: Timestamp,
    /// SHA-256 of the SubjectPublicKeyInfo of the CA that is to sign; for a root its own.
    pub issuer_key: Sha256Digest,
    /// The time of issuance.
    pub now: Timestamp,
}

/// Encoded and clean under every lint; not yet recorded. Only [`lint`] and [`lint_authority`] make one.
#[derive(Debug)]
#[must_use]
pub struct Linted {
    intent: Intent,
    unsigned: Unsigned,
}

/// Durably recorded: the only thing that [`sign`] takes. Only [`Ledger::record`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Recorded {
    unsigned: Unsigned,
    serial: SerialNumber,
}

/// Where intents are recorded. The store implements `persist`; `record` is the only maker of [`Recorded`].
pub trait Ledger: Send + Sync {
    /// Writes the intent and its audit event; resolves after the sync.
    fn persist(&self, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Turns a linted certificate into one that may be signed.
    fn record(&self, linted: Linted) -> BoxFuture<'_, Result<Recorded, LedgerError>> {
        Box::pin(async move {
            let Linted { intent, unsigned } = linted;
            let serial = intent.serial.clone();
            self.persist(intent).await?;
            Ok(Recorded { unsigned, serial })
        })
    }
}

/// Which signatures are verified after they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// One in 64, drawn from the serial: for leaves, whose key was proved to fit when it was loaded. A key in a token verifies each by itself.
    Sampled,
    /// Every one: for CA certificates.
    Always,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssuanceError {
    /// The request asks for a name that the caller does not have.
    #[error("the request is refused: {0}")]
    Request(#[from] CsrError),
    /// The leaf asked for cannot be had from this profile and issuer.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The CA certificate asked for cannot be had.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// Lints fired: nothing was recorded and nothing signed.
    #[error("lints refuse the certificate: {}", list(.findings))]
    Lint {
        /// Each lint that fired.
        findings: Vec<LintFinding>,
    },
    /// The intent was not recorded, so nothing was signed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signature failed, or the result is not what was recorded. The certificate is not given out.
    #[error("the certificate with serial {serial} was recorded but not given out: {cause}")]
    Signing {
        /// The serial recorded.
        serial: SerialNumber,
        /// What went wrong.
        cause: SigningError,
    },
    /// The signature made does not verify: a broken key or fault injection. The certificate is not given out.
    #[error("the signature on the certificate with serial {serial} does not verify: the key of the issuing CA may be broken")]
    SignatureInvalid {
        /// The serial recorded.
        serial: SerialNumber,
    },
}

/// What the script works with.
#[derive(Clone, Copy)]
pub struct Issuance<'a> {
    /// The profile of leaves.
    pub profile: &'a LeafProfile,
    /// Who signs.
    pub authority: &'a SigningAuthority,
    /// Where intents are recorded.
    pub ledger: &'a dyn Ledger,
    /// First byte of serials.
    pub replica: ReplicaByte,
}

/// A leaf that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The leaf.
    pub certificate: Certificate,
    /// What to send: the leaf, the issuing CA and intermediates, without the root.
    pub chain: Vec<Certificate>,
    /// The time of issuance, from which renewal is counted.
    pub issued_at: Timestamp,
}

impl Issuance<'_> {
    /// Issues one leaf. The result row (`IssuanceStore::record_result`) is the caller's to write, after it has answered.
    ///
    /// # Errors
    /// [`IssuanceError`]; whichever it is, no certificate leaves.
    pub async fn issue(
        &self,
        admitted: Admitted,
        request: &VerifiedRequest,
        random: [u8; SERIAL_RANDOM_BYTES],
        now: Timestamp,
    ) -> Result<Issued, IssuanceError> {
        // 1. Template: the whole certificate is decided, from the admitted names and the key that the requester proved to hold.
        //    The CA key cannot be reached from here.
        // 2. Lint: by a parser that shares nothing with the template, and before anything is recorded, so that the ledger holds
        //    only what we would stand by.
        let linted = lint(self.profile, self.authority, admitted, request, SerialNumber::new(self.replica, random), now)?;
        // 3. Record: durably, before the key is used. A crash from here on leaves an intent without a certificate, never a
        //    certificate without an intent.
        let recorded = self.ledger.record(linted).await?;
        // 4. Sign, and 5. compare: what came out must be what was recorded.
        let certificate = sign(recorded, self.authority.key(), Verification::Sampled).await?;
        // 6. Answer.
        let chain = std::iter::once(&certificate).chain(self.authority.path()).cloned().collect();
        Ok(Issued { certificate, chain, issued_at: now })
    }
}

/// Steps 1 and 2 for a leaf: encodes it for the admitted names and the key of the request, and lints it.
///
/// # Errors
/// [`IssuanceError::Request`], [`IssuanceError::Template`] or [`IssuanceError::Lint`].
pub fn lint(
    profile: &LeafProfile,
    authority: &SigningAuthority,
    admitted: Admitted,
    request: &VerifiedRequest,
    serial: SerialNumber,
    now: Timestamp,
) -> Result<Linted, IssuanceError> {
    let subject = admitted.subject();
    request.check_uri_sans(&subject.id)?;
    let leaf = LeafRequest {
        id: &subject.id,
        dns_names: &subject.dns_names,
        ip_addresses: &subject.ip_addresses,
        public_key: request.public_key(),
        ttl: Some(subject.within_grounds(subject.ttl.unwrap_or(profile.default_ttl()), now)),
        serial: serial.clone(),
        now,
    };
    let unsigned = pki::prepare_leaf(profile, &leaf, authority.certificate())?;
    let findings = pki::lint_leaf(unsigned.dummy_signed(), &subject.id, authority.certificate());
    clean(findings)?;
    let intent = Intent {
        serial,
        tbs_der: unsigned.tbs_der().to_vec(),
        subject: subject.id.clone(),
        caller: admitted.caller().to_owned(),
        reason: admitted.reason().clone(),
        provenance: admitted.provenance().cloned(),
        not_after: unsigned.dummy_signed().not_after(),
        issuer_key: sha256(unsigned.issuer_key().spki_der()),
        now,
    };
    Ok(Linted { intent, unsigned })
}

/// Steps 1 and 2 for the certificate of a root (no `issuer`) or of an issuing CA. `caller` is the operator's command.
///
/// # Errors
/// [`IssuanceError::Mint`] or [`IssuanceError::Lint`].
pub fn lint_authority(spec: &AuthoritySpec<'_>, issuer: Option<&Certificate>, caller: &str) -> Result<Linted, IssuanceError> {
    lint_ca(spec, issuer, caller.to_owned(), Reason::Authority)
}

/// Steps 1 and 2 for the issuing CA of another CA, which `child` is.
///
/// # Errors
/// [`IssuanceError::Mint`] or [`IssuanceError::Lint`].
pub fn lint_downstream(spec: &AuthoritySpec<'_>, issuer: &Certificate, child: &SpiffeId) -> Result<Linted, IssuanceError> {
    lint_ca(spec, Some(issuer), child.to_string(), Reason::Downstream(child.clone()))
}

fn lint_ca(
    spec: &AuthoritySpec<'_>,
    issuer: Option<&Certificate>,
    caller: String,
    reason: Reason,
) -> Result<Linted, IssuanceError> {
    let unsigned = pki::prepare_authority(spec, issuer)?;
    clean(pki::lint_authority(unsigned.dummy_signed(), spec.trust_domain, issuer))?;
    let intent = Intent {
        serial: spec.serial.clone(),
        tbs_der: unsigned.tbs_der().to_vec(),
        subject: spec.trust_domain.id(),
        caller,
        reason,
        provenance: None,
        not_after: unsigned.dummy_signed().not_after(),
        issuer_key: sha256(unsigned.issuer_key().spki_der()),
        now: spec.now,
    };
    Ok(Linted { intent, unsigned })
}

/// Steps 4 and 5: signs what was recorded, compares, and verifies as `verification` says.
///
/// # Errors
/// [`IssuanceError::Signing`] or [`IssuanceError::SignatureInvalid`]: both are incidents, to be logged as such.
pub async fn sign(recorded: Recorded, key: &dyn Signer, verification: Verification) -> Result<Certificate, IssuanceError> {
    let Recorded { unsigned, serial } = recorded;
    let certificate = match unsigned.sign_by(key).await {
        Ok(certificate) => certificate,
        Err(cause) => return Err(IssuanceError::Signing { serial, cause }),
    };
    let verify = match verification {
        Verification::Always => true,
        Verification::Sampled => is_sampled(&serial),
    };
    if verify && certificate.verify_signed_by(unsigned.issuer_key()).is_err() {
        return Err(IssuanceError::SignatureInvalid { serial });
    }
    Ok(certificate)
}

/// The last byte of a serial is random, so this draws one in 64 and the same answer for the same serial.
fn is_sampled(serial: &SerialNumber) -> bool {
    serial.as_bytes().last().is_none_or(|last| last % VERIFY_ONE_IN == 0)
}

fn clean(findings: Vec<LintFinding>) -> Result<(), IssuanceError> {
    if findings.is_empty() { Ok(()) } else { Err(IssuanceError::Lint { findings }) }
}

fn list(findings: &[LintFinding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
pub(crate) mod tests;
