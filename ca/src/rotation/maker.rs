//! Makes the certificates of authorities through the tokens of issuance, and directories that are there whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PublicKey, PublicKeyAlgorithm, ReplicaByte, RsaSize,
    SERIAL_RANDOM_BYTES, SerialNumber, Signer, Timestamp, certificates_to_pem,
};
use runtime::entropy::{self, Entropy};
use runtime::private_files::{DirLock, Overwrite, PrivateFileError, ensure_private_dir, sync_dir, write_private, write_public};
use runtime::secret_source::SecretSourceError;
use zeroize::Zeroizing;

use super::places::{ROOT_CERT, place_name};
use super::steps::{Step, Steps};
use crate::authority::{AuthorityError, AuthorityFile, AuthorityFiles, SigningAuthority};
use crate::issuance::{IssuanceError, Ledger, LedgerError, Verification, lint_authority, sign};
use crate::keystore::{CA_CERT, CA_KEY, CERT_CHAIN};
use crate::replicas::FencedLedger;
use crate::signing_keys::{NewKey, SigningKeyError, SigningKeys};
use crate::store::{Fence, Store, StoreError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A root lives 10 years.
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
/// An issuing CA lives 30 days: its successor comes by itself at half of it.
const ISSUER_LIFETIME: Duration = DAY.saturating_mul(30);

/// How a directory is called while it is being written.
const UNFINISHED: &str = ".new";

/// Why no authority was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Its key could not be made, or not be read again.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// Its certificate could not be made.
    #[error(transparent)]
    Issuance(#[from] IssuanceError),
    /// What was made does not verify: a bug, or a clock that jumped.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file or directory is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// What a run that was cut short left behind could not be removed.
    #[error("{}: left by a run that was cut short, and cannot be removed: {cause}; remove it by hand, there is an unused key in it", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The finished directory could not be given its name.
    #[error("{}: cannot be renamed to {}: {cause}", from.display(), to.display())]
    Rename {
        /// The temporary directory.
        from: PathBuf,
        /// Its place.
        to: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The passphrase that keys are written under.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LedgerError> for MakeError {
    fn from(error: LedgerError) -> Self {
        Self::Issuance(error.into())
    }
}

/// Makes certificates of authorities.
pub(crate) struct Maker<'a> {
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) replica: ReplicaByte,
    pub(crate) store: &'a dyn Store,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) steps: &'a Steps,
    /// What this process holds; `None` offline.
    pub(crate) fence: Option<Fence>,
    /// Who asked, as the ledger has it.
    pub(crate) caller: &'static str,
    pub(crate) now: Timestamp,
}

impl Maker<'_> {
    /// A certificate for `key`: under `issuer`, or self-signed. In the ledger before it is signed.
    pub(crate) async fn certificate(
        &self,
        role: AuthorityRole,
        key: &PublicKey,
        issuer: Option<&Certificate>,
        issuer_key: &dyn Signer,
    ) -> Result<Certificate, MakeError> {
        let random = entropy::bytes::<SERIAL_RANDOM_BYTES>(self.entropy);
        let spec = AuthoritySpec {
            role,
            trust_domain: self.trust_domain,
            public_key: key,
            lifetime: match role {
                AuthorityRole::Root => ROOT_LIFETIME,
                AuthorityRole::Issuer => ISSUER_LIFETIME,
            },
            serial: SerialNumber::new(self.replica, random),
            now: self.now,
        };
        let linted = lint_authority(&spec, issuer, self.caller)?;
        let ledger = FencedLedger { store: self.store, fence: self.fence.clone() };
        let recorded = self.steps.run(Step::RecordCertificate, ledger.record(linted)).await?;
        let signed = self.steps.run(Step::SignCertificate, sign(recorded, issuer_key, Verification::Always));
        let certificate = signed.await?;
        let (serial, der) = (certificate.serial().clone(), certificate.der().to_vec());
        self.steps.run(Step::RecordSigned, self.store.record_result(serial, der, self.now)).await?;
        Ok(certificate)
    }

    /// Writes an issuing CA as a generation, after it was verified as a start will. `intermediates`: what stands between it and the root.
    pub(crate) async fn write_generation(
        &self,
        generations: &Path,
        number: u32,
        (issuer, key): (&Certificate, &NewKey),
        intermediates: &[Certificate],
        root: &Certificate,
        keys: &SigningKeys,
    ) -> Result<PathBuf, MakeError> {
        let (issuer, root) = (certificates_to_pem([issuer]), certificates_to_pem([root]));
        let chain = certificates_to_pem(intermediates);
        let text = keys.text_of(key, self.entropy)?;
        let place = generations.join(place_name(number));
        let file = |name: &str, pem: &str| AuthorityFile { path: place.join(name), content: Some(pem.as_bytes().to_vec()) };
        let files = AuthorityFiles {
            certificate: file(CA_CERT, &issuer),
            key: AuthorityFile { path: place.join(CA_KEY), content: Some(key.content(&text)) },
            chain: Some(file(CERT_CHAIN, &chain)),
            roots: file(ROOT_CERT, &root),
            protection: keys.protection()?,
        };
        drop(SigningAuthority::verify(files, self.trust_domain, self.now).await?);
        let files = [
            NewFile { step: Step::WriteKey, name: CA_KEY, content: NewContent::Private(text) },
            NewFile { step: Step::WriteCertificate, name: CA_CERT, content: NewContent::Public(issuer) },
            NewFile { step: Step::WriteRoot, name: ROOT_CERT, content: NewContent::Public(root) },
            NewFile { step: Step::WriteChain, name: CERT_CHAIN, content: NewContent::Public(chain) },
        ];
        write_place(self.steps, generations, number, &files).await
    }
}

/// How long an issuing CA under `root` will live that is made at `now`: its last second.
pub(crate) fn issuer_end(root: &Certificate, now: Timestamp) -> Timestamp {
    now.plus(ISSUER_LIFETIME).minus(Duration::from_secs(1)).min(root.not_after())
}

/// The kind of a key that is made by the example of another: the same where this build makes such keys, ECDSA P-256 elsewhere.
pub(crate) fn key_algorithm_like(example: PublicKeyAlgorithm) -> KeyAlgorithm {
    let wanted = match example {
        PublicKeyAlgorithm::EcdsaP256 | PublicKeyAlgorithm::Ed25519 => KeyAlgorithm::EcdsaP256,
        PublicKeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        PublicKeyAlgorithm::Rsa { bits } if bits > 3072 => KeyAlgorithm::Rsa(RsaSize::Bits4096),
        PublicKeyAlgorithm::Rsa { .. } => KeyAlgorithm::Rsa(RsaSize::Bits3072),
    };
    if wanted.is_made_here() { wanted } else { KeyAlgorithm::EcdsaP256 }
}

/// A file of a directory that is written whole.
pub(crate) struct NewFile {
    pub(crate) step: Step,
    pub(crate) name: &'static str,
    pub(crate) content: NewContent,
}

/// What is in it.
pub(crate) enum NewContent {
    /// For the owner alone.
    Private(Zeroizing<String>),
    /// For everybody.
    Public(String),
}

/// Writes the place of this number in `parent`, so that it is there whole or not at all. One that is there already is not replaced.
pub(crate) async fn write_place(steps: &Steps, parent: &Path, number: u32, files: &[NewFile]) -> Result<PathBuf, MakeError> {
    steps.run(Step::MakeParent, async { ensure_private_dir(parent) }).await?;
    // One writer at a time, so that what lies there unfinished is nobody's: a run that was cut short left it, with a key in it.
    let _lock = DirLock::acquire(parent)?;
    let (unfinished, place) = (parent.join(UNFINISHED), parent.join(place_name(number)));
    clear_unfinished(steps, &unfinished).await?;
    steps.run(Step::MakeUnfinished, async { ensure_private_dir(&unfinished) }).await?;
    for NewFile { step, name, content } in files {
        let path = unfinished.join(name);
        let written = match content {
            NewContent::Private(text) => {
                steps.run(*step, async { write_private(&path, text.as_bytes(), Overwrite::Refuse) }).await
            }
            NewContent::Public(text) => steps.run(*step, async { write_public(&path, text.as_bytes(), Overwrite::Refuse) }).await,
        };
        written?;
    }
    steps.run(Step::SyncUnfinished, async { sync_dir(&unfinished) }).await?;
    // Fails when somebody made the same place meanwhile: a directory that is not empty is not replaced.
    let renamed = steps.run(Step::Rename, async { fs::rename(&unfinished, &place) }).await;
    renamed.map_err(|cause| MakeError::Rename { from: unfinished, to: place.clone(), cause })?;
    steps.run(Step::SyncParent, async { sync_dir(parent) }).await?;
    Ok(place)
}

async fn clear_unfinished(steps: &Steps, unfinished: &Path) -> Result<(), MakeError> {
    match steps.run(Step::ClearUnfinished, async { fs::remove_dir_all(unfinished) }).await {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(MakeError::Unfinished { path: unfinished.to_owned(), cause }),
        _ => Ok(()),
    }
}
