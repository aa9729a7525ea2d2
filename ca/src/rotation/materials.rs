//! The keys and certificates of authorities on disk: made, read, destroyed. Making and destroying may be asked for again after a crash.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::TrustDomain;
use pki::{
    AuthorityRole, Certificate, CertificateError, JwtAuthority, JwtKey, JwtKeyError, KeyAlgorithm, KeyError, PrivateKey,
    PublicKeyAlgorithm, ReplicaByte, Timestamp, certificates_from_pem, certificates_to_pem,
};
use runtime::entropy::{self, Entropy};
use runtime::private_files::{
    Overwrite, PrivateFileError, ensure_private_dir, read_bounded, read_private, sync_dir, write_private,
};
use runtime::secret_source::SecretSource;
use zeroize::Zeroizing;

use super::maker::{MakeError, Maker, NewContent, NewFile, issuer_end, key_algorithm_like, write_place};
use super::places::{Places, ROOT_CERT, ROOT_KEY};
use super::steps::{Step, Steps};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Material};
use crate::config::CaConfig;
use crate::key_file;
use crate::keystore::{CA_KEY, KeystoreError, generations, load_generation, load_generation_as_it_was};
use crate::store::Store;

/// More than any certificate or key of one authority in any form.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// Who asks for certificates of authorities, as the ledger has it.
const CALLER: &str = "signet ca run";

/// Why the material of an authority cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// It could not be made.
    #[error(transparent)]
    Make(Box<MakeError>),
    /// A private key that is to be gone could not be removed.
    #[error("{}: cannot be removed: {cause}", path.display())]
    NotRemoved {
        /// The key's file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A set of files is not valid.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A file or directory is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The root's key is not in its place: this CA may have been set up so.
    #[error(
        "{}: the key of {root} is not there; put it there for as long as this takes, or make an issuing CA where it is kept \
         (`signet ca issuer renew --root-key FILE`)", path.display()
    )]
    NoRootKey {
        /// Which root.
        root: AuthorityName,
        /// Where its key was looked for.
        path: PathBuf,
    },
    /// A key file holds no key.
    #[error("{}: {cause}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// A key file holds a key of another kind.
    #[error("{}: {cause}", path.display())]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: JwtKeyError,
    },
    /// A certificate file does not parse, or does not hold one certificate.
    #[error("{}: {cause}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// What lies in the place of an authority is another one's.
    #[error("{}: does not hold {name} as this CA made it or took it over; restore what was there", path.display())]
    Another {
        /// Which authority.
        name: AuthorityName,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The journal holds something that is no certificate or key.
    #[error("the store holds {name} in a form that cannot be read: {cause}")]
    Journal {
        /// Which authority.
        name: AuthorityName,
        /// What is wrong with it.
        cause: String,
    },
}

impl From<MakeError> for MaterialError {
    fn from(error: MakeError) -> Self {
        Self::Make(Box::new(error))
    }
}

/// The material of one state directory.
pub(crate) struct Materials {
    places: Places,
    trust_domain: TrustDomain,
    replica: ReplicaByte,
    passphrase: Option<SecretSource>,
    store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    steps: Steps,
}

impl Materials {
    /// As configured.
    pub(crate) fn new(config: &CaConfig, store: Arc<dyn Store>, entropy: Arc<dyn Entropy>, steps: Steps) -> Self {
        Self {
            places: Places::of(config),
            trust_domain: config.trust_domain.clone(),
            replica: config.replica_byte,
            passphrase: config.key_passphrase.clone(),
            store,
            entropy,
            steps,
        }
    }

    /// Makes a self-signed root with a key like that of `example`, or finds it made.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn make_root(
        &self,
        name: AuthorityName,
        example: PublicKeyAlgorithm,
        now: Timestamp,
    ) -> Result<Material, MaterialError> {
        let place = self.places.root(name.number);
        if is_there(&place) {
            let path = place.join(ROOT_CERT);
            let certificate = read_certificate(&path)?;
            return match self.read_key(&place.join(ROOT_KEY))? {
                Some(key) if key.public_key() == certificate.public_key() => Ok(material_of(&certificate)),
                _ => Err(MaterialError::Another { name, path }),
            };
        }
        let key = generate(key_algorithm_like(example))?;
        let root = self.maker(now).certificate(AuthorityRole::Root, &key, None, &key).await?;
        let files = [
            NewFile { step: Step::WriteKey, name: ROOT_KEY, content: NewContent::Private(self.protected(&key)?) },
            NewFile { step: Step::WriteCertificate, name: ROOT_CERT, content: NewContent::Public(certificates_to_pem([&root])) },
        ];
        write_place(&self.steps, &self.places.roots(), name.number, &files).await?;
        Ok(material_of(&root))
    }

    /// Makes an issuing CA under a root whose key is in its place, or finds it made.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn make_issuer(
        &self,
        name: AuthorityName,
        root: &Authority,
        now: Timestamp,
    ) -> Result<Material, MaterialError> {
        let root_certificate = certificate_of(root)?;
        let place = self.places.generation(name.number);
        if is_there(&place) {
            let made = load_generation(&place, self.passphrase.as_ref(), &self.trust_domain, now)?;
            return if *made.root() == root_certificate {
                Ok(material_of(made.certificate()))
            } else {
                Err(MaterialError::Another { name, path: place })
            };
        }
        let root_key = self.root_key(root)?;
        let key = generate(key_algorithm_like(root_certificate.public_key().algorithm()))?;
        let issuer = self.maker(now).certificate(AuthorityRole::Issuer, &key, Some(&root_certificate), &root_key).await?;
        let protection = key_file::protection(self.passphrase.as_ref()).map_err(MakeError::from)?;
        let generations = self.places.generations();
        let maker = self.maker(now);
        let place = maker.write_generation(generations, name.number, (&issuer, &key), &root_certificate, &protection).await?;
        // What counts from now on is what a later start will read.
        let made = load_generation(&place, self.passphrase.as_ref(), &self.trust_domain, now)?;
        Ok(material_of(made.certificate()))
    }

    /// Makes a JWT key, or finds it made.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn make_jwt(&self, name: AuthorityName, now: Timestamp) -> Result<Material, MaterialError> {
        if let Some(key) = self.jwt_key(name)? {
            return Ok(jwt_material_of(&key, now));
        }
        let pem = self.protected(&generate(KeyAlgorithm::EcdsaP256)?)?;
        let path = self.places.jwt_key(name.number);
        if name.number > 1 {
            self.steps.run(Step::MakeParent, async { ensure_private_dir(&self.places.jwt_keys()) }).await?;
        }
        self.steps.run(Step::WriteJwtKey, async { write_private(&path, pem.as_bytes(), Overwrite::Refuse) }).await?;
        match self.jwt_key(name)? {
            Some(key) => Ok(jwt_material_of(&key, now)),
            None => Err(MaterialError::Another { name, path }),
        }
    }

    /// Removes the private key of an authority. Certificates stay, for whoever asks later what there was.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn destroy(&self, name: AuthorityName) -> Result<(), MaterialError> {
        let path = match name.kind {
            AuthorityKind::Root => self.place_of(name).join(ROOT_KEY),
            AuthorityKind::Issuer => self.place_of(name).join(CA_KEY),
            AuthorityKind::Jwt => self.place_of(name),
        };
        match self.steps.run(Step::DestroyKey, async { fs::remove_file(&path) }).await {
            Ok(()) => {}
            // Done before, never made, or kept elsewhere.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::info!(%name, path = %path.display(), "no private key to remove");
                return Ok(());
            }
            Err(cause) => return Err(MaterialError::NotRemoved { path, cause }),
        }
        if let Some(directory) = path.parent() {
            self.steps.run(Step::SyncDestroyed, async { sync_dir(directory) }).await?;
        }
        Ok(())
    }

    /// The issuing CA of this name, verified whole at `now`; when it or its root has ended, as it was in its last second: it signs nothing
    /// then, since no leaf fits in its life, and the rest of the CA can be served.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) fn issuer(&self, name: AuthorityName, now: Timestamp) -> Result<SigningAuthority, MaterialError> {
        let place = self.places.generation(name.number);
        Ok(load_generation_as_it_was(&place, self.passphrase.as_ref(), &self.trust_domain, now)?)
    }

    /// Whether the private key of an issuing CA is in its place.
    pub(crate) fn has_issuer_key(&self, name: AuthorityName) -> bool {
        self.place_of(name).join(CA_KEY).exists()
    }

    /// The JWT key of this name; `None` when there is no such file.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) fn jwt_key(&self, name: AuthorityName) -> Result<Option<JwtKey>, MaterialError> {
        read_jwt_key(&self.places.jwt_key(name.number), self.passphrase.as_ref())
    }

    /// The key of a root, which must be in its place and its own.
    ///
    /// # Errors
    /// [`MaterialError::NoRootKey`] where it is kept elsewhere.
    pub(crate) fn root_key(&self, root: &Authority) -> Result<PrivateKey, MaterialError> {
        let path = self.places.root(root.name.number).join(ROOT_KEY);
        match self.read_key(&path)? {
            None => Err(MaterialError::NoRootKey { root: root.name, path }),
            Some(key) if root.material.as_ref().is_some_and(|made| made.key == key.public_key().fingerprint()) => Ok(key),
            Some(_) => Err(MaterialError::Another { name: root.name, path }),
        }
    }

    /// When an issuing CA would end that is made under this root now.
    ///
    /// # Errors
    /// [`MaterialError::Journal`].
    pub(crate) fn issuer_end(root: &Authority, now: Timestamp) -> Result<Timestamp, MaterialError> {
        Ok(issuer_end(&certificate_of(root)?, now))
    }

    /// The newest generation on disk whose number is above `known`.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) fn generation_above(&self, known: u32) -> Result<Option<u32>, MaterialError> {
        Ok(generations(self.places.generations())?.pop_last().filter(|newest| *newest > known))
    }

    /// Where an authority lies: a directory, or the file of a JWT key.
    pub(crate) fn place_of(&self, name: AuthorityName) -> PathBuf {
        match name.kind {
            AuthorityKind::Root => self.places.root(name.number),
            AuthorityKind::Issuer => self.places.generation(name.number),
            AuthorityKind::Jwt => self.places.jwt_key(name.number),
        }
    }

    /// Where generations lie.
    pub(crate) fn generations(&self) -> &Path {
        self.places.generations()
    }

    fn maker(&self, now: Timestamp) -> Maker<'_> {
        Maker {
            trust_domain: &self.trust_domain,
            replica: self.replica,
            store: &*self.store,
            entropy: &*self.entropy,
            steps: &self.steps,
            caller: CALLER,
            now,
        }
    }

    fn protected(&self, key: &PrivateKey) -> Result<Zeroizing<String>, MaterialError> {
        let protection = key_file::protection(self.passphrase.as_ref()).map_err(MakeError::from)?;
        Ok(key.to_protected_pem(&protection, &entropy::bytes(&*self.entropy)))
    }

    fn read_key(&self, path: &Path) -> Result<Option<PrivateKey>, MaterialError> {
        read_key(path, self.passphrase.as_ref())
    }
}

/// The JWT key in this file; `None` when there is no such file.
///
/// # Errors
/// [`MaterialError`].
pub(crate) fn read_jwt_key(path: &Path, passphrase: Option<&SecretSource>) -> Result<Option<JwtKey>, MaterialError> {
    let Some(key) = read_key(path, passphrase)? else { return Ok(None) };
    JwtKey::new(key).map(Some).map_err(|cause| MaterialError::Kind { path: path.to_owned(), cause })
}

fn read_key(path: &Path, passphrase: Option<&SecretSource>) -> Result<Option<PrivateKey>, MaterialError> {
    let pem = match read_private(path, MAX_FILE_BYTES) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(None),
        read => Zeroizing::new(read?),
    };
    let protection = key_file::protection(passphrase).map_err(MakeError::from)?;
    let key = PrivateKey::from_protected_pem(&pem, &protection);
    key.map(Some).map_err(|cause| MaterialError::Key { path: path.to_owned(), cause })
}

/// The certificate of a root or issuing CA, as the journal has it.
///
/// # Errors
/// [`MaterialError::Journal`].
pub(crate) fn certificate_of(authority: &Authority) -> Result<Certificate, MaterialError> {
    let journal = |cause: String| MaterialError::Journal { name: authority.name, cause };
    let material = authority.material.as_ref().ok_or_else(|| journal("it is not made".to_owned()))?;
    Certificate::from_der(&material.public_der).map_err(|cause: CertificateError| journal(cause.to_string()))
}

/// The public half of a JWT key, as the journal has it.
///
/// # Errors
/// [`MaterialError::Journal`].
pub(crate) fn jwt_authority_of(authority: &Authority) -> Result<JwtAuthority, MaterialError> {
    let journal = |cause: String| MaterialError::Journal { name: authority.name, cause };
    let material = authority.material.as_ref().ok_or_else(|| journal("it is not made".to_owned()))?;
    let key = pki::PublicKey::from_spki_der(&material.public_der).map_err(|cause| journal(cause.to_string()))?;
    JwtAuthority::by_thumbprint(key).map_err(|cause| journal(cause.to_string()))
}

/// What the journal keeps of a certificate.
pub(crate) fn material_of(certificate: &Certificate) -> Material {
    Material {
        key: certificate.public_key().fingerprint(),
        public_der: certificate.der().to_vec(),
        not_before: certificate.not_before(),
        not_after: Some(certificate.not_after()),
    }
}

/// What the journal keeps of a JWT key that signs from `now` on.
pub(crate) fn jwt_material_of(key: &JwtKey, now: Timestamp) -> Material {
    let public_key = key.authority().public_key();
    Material { key: public_key.fingerprint(), public_der: public_key.spki_der().to_vec(), not_before: now, not_after: None }
}

fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, MaterialError> {
    Ok(PrivateKey::generate(algorithm).map_err(MakeError::Generate)?)
}

fn is_there(place: &Path) -> bool {
    place.symlink_metadata().is_ok()
}

fn read_certificate(path: &Path) -> Result<Certificate, MaterialError> {
    let unfit = |cause: String| MaterialError::Certificate { path: path.to_owned(), cause };
    let pem = read_bounded(path, MAX_FILE_BYTES)?;
    match certificates_from_pem(&pem).map_err(|cause| unfit(cause.to_string()))?.as_slice() {
        [certificate] => Ok(certificate.clone()),
        other => Err(unfit(format!("holds {} certificates where one is needed", other.len()))),
    }
}
