//! The keys and certificates of authorities on disk: made, read, destroyed. Making and destroying may be asked for again after a crash.

mod error;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use identity::TrustDomain;
use pki::{
    AuthorityRole, Certificate, CertificateError, JwtAuthority, KeyAlgorithm, LeafProfile, PublicKeyAlgorithm, ReplicaByte,
    Timestamp, certificates_from_pem, certificates_to_pem,
};
use runtime::entropy::Entropy;
use runtime::private_files::{Overwrite, ensure_private_dir, read_bounded, sync_dir, write_private};

use super::maker::{MakeError, Maker, NewContent, NewFile, issuer_end, key_algorithm_like, write_place};
use super::materials_replica::Pending;
use super::places::{Places, ROOT_CERT, ROOT_KEY};
use super::steps::{Step, Steps};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Lifecycle, Material};
use crate::config::CaConfig;
use crate::keystore::{CA_KEY, generations, load_generation, load_generation_as_it_was};
use crate::replicas::Tenure;
use crate::signing_keys::{JwtSigningKey, NewKey, SigningKey, SigningKeys};
use crate::store::Store;
use crate::upstream::desk::UpstreamDesk;

pub use error::MaterialError;

/// More than any certificate or key of one authority in any form.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// How labels of keys in a token begin.
pub(crate) const KEY_LABEL_PREFIX: &str = "signet ";

/// Who asks for certificates of authorities, as the ledger has it.
const CALLER: &str = "signet ca run";

/// The material of one state directory.
pub(crate) struct Materials {
    pub(super) places: Places,
    pub(super) trust_domain: TrustDomain,
    pub(super) profile: LeafProfile,
    replica: ReplicaByte,
    pub(super) keys: SigningKeys,
    pub(super) store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    pub(super) steps: Steps,
    pub(super) tenure: Tenure,
    /// What other replicas were asked for.
    pub(super) pending: tokio::sync::Mutex<Option<Pending>>,
    /// Who signs issuing CAs in place of a root of this CA's own.
    pub(super) upstream: Option<Arc<UpstreamDesk>>,
    /// Why upstream gave none last, as it was recorded.
    recorded: Mutex<String>,
}

impl Materials {
    /// As configured.
    pub(crate) fn new(
        config: &CaConfig,
        keys: SigningKeys,
        store: Arc<dyn Store>,
        entropy: Arc<dyn Entropy>,
        steps: Steps,
        tenure: Tenure,
    ) -> Self {
        Self {
            places: Places::of(config),
            trust_domain: config.trust_domain.clone(),
            profile: config.leaf.clone(),
            replica: config.replica_byte,
            keys,
            store,
            entropy,
            steps,
            tenure,
            pending: tokio::sync::Mutex::default(),
            upstream: None,
            recorded: Mutex::default(),
        }
    }

    /// With an upstream that signs issuing CAs and says which roots there are.
    pub(crate) fn with_upstream(self, upstream: Option<Arc<UpstreamDesk>>) -> Self {
        Self { upstream, ..self }
    }

    /// Whether this is not what was recorded last; from now on it is.
    pub(super) fn is_news(&self, why: &str) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *recorded != why;
        why.clone_into(&mut recorded);
        is_news
    }

    /// Who signs issuing CAs in place of a root of this CA's own.
    pub(crate) fn upstream(&self) -> Option<&Arc<UpstreamDesk>> {
        self.upstream.as_ref()
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
            return match self.keys.read(&place.join(ROOT_KEY)).await? {
                Some(key) if key.public_key() == certificate.public_key() => Ok(material_of(&certificate)),
                _ => Err(MaterialError::Another { name, path }),
            };
        }
        let key = self.new_key(name, key_algorithm_like(example)).await?;
        let made = self.put_root(name, &key, now).await;
        self.kept_if(made, name, &key).await
    }

    async fn put_root(&self, name: AuthorityName, key: &NewKey, now: Timestamp) -> Result<Material, MaterialError> {
        let root = self.maker(now).certificate(AuthorityRole::Root, key.public_key(), None, &key.signer()).await?;
        let text = self.keys.text_of(key, &*self.entropy).map_err(MakeError::from)?;
        let files = [
            NewFile { step: Step::WriteKey, name: ROOT_KEY, content: NewContent::Private(text) },
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
            let made = load_generation(&place, &self.keys, &self.trust_domain, now).await?;
            return if *made.root() == root_certificate {
                Ok(material_of(made.certificate()))
            } else {
                Err(MaterialError::Another { name, path: place })
            };
        }
        if let Some(upstream) = &self.upstream {
            upstream.check_signs_under(&root_certificate).map_err(MaterialError::Upstream)?;
            let place = self.ask_upstream(upstream, name, Some(&root_certificate), now).await?;
            let made = load_generation(&place, &self.keys, &self.trust_domain, now).await?;
            return Ok(material_of(made.certificate()));
        }
        let root_key = match self.root_key(root).await {
            Err(error) if self.store.is_shared() && is_elsewhere(&error) => {
                let place = self.ask_replica(name, root, now).await?;
                let made = load_generation(&place, &self.keys, &self.trust_domain, now).await?;
                return Ok(material_of(made.certificate()));
            }
            found => found?,
        };
        let key = self.new_key(name, key_algorithm_like(root_certificate.public_key().algorithm())).await?;
        let put = self.put_issuer(name, &key, (&root_certificate, &root_key), now).await;
        let place = self.kept_if(put, name, &key).await?;
        // What counts from now on is what a later start will read.
        let made = load_generation(&place, &self.keys, &self.trust_domain, now).await?;
        Ok(material_of(made.certificate()))
    }

    async fn put_issuer(
        &self,
        name: AuthorityName,
        key: &NewKey,
        (root, root_key): (&Certificate, &SigningKey),
        now: Timestamp,
    ) -> Result<PathBuf, MaterialError> {
        let maker = self.maker(now);
        let issuer = maker.certificate(AuthorityRole::Issuer, key.public_key(), Some(root), root_key).await?;
        let generations = self.places.generations();
        Ok(maker.write_generation(generations, name.number, (&issuer, key), &[], root, &self.keys).await?)
    }

    /// Makes a JWT key, or finds it made.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn make_jwt(&self, name: AuthorityName, now: Timestamp) -> Result<Material, MaterialError> {
        if self.is_forgotten(name)? {
            self.destroy(name).await?;
        }
        if let Some(key) = self.jwt_key(name).await? {
            return Ok(jwt_material_of(&key, now));
        }
        let key = self.new_key(name, KeyAlgorithm::EcdsaP256).await?;
        let put = self.put_jwt(name, &key).await;
        self.kept_if(put, name, &key).await?;
        match self.jwt_key(name).await? {
            Some(key) => Ok(jwt_material_of(&key, now)),
            None => Err(MaterialError::Another { name, path: self.places.jwt_key(name.number) }),
        }
    }

    async fn put_jwt(&self, name: AuthorityName, key: &NewKey) -> Result<(), MaterialError> {
        let text = self.keys.text_of(key, &*self.entropy).map_err(MakeError::from)?;
        let path = self.places.jwt_key(name.number);
        if name.number > 1 {
            self.steps.run(Step::MakeParent, async { ensure_private_dir(&self.places.jwt_keys()) }).await?;
        }
        Ok(self.steps.run(Step::WriteJwtKey, async { write_private(&path, text.as_bytes(), Overwrite::Refuse) }).await?)
    }

    pub(super) async fn new_key(&self, name: AuthorityName, algorithm: KeyAlgorithm) -> Result<NewKey, MaterialError> {
        let label = key_label(&self.trust_domain, name);
        Ok(self.steps.run(Step::MakeKey, self.keys.make(algorithm, &label)).await?)
    }

    /// What was done with a new key; when that failed, the key is taken back.
    pub(super) async fn kept_if<T>(
        &self,
        done: Result<T, MaterialError>,
        name: AuthorityName,
        key: &NewKey,
    ) -> Result<T, MaterialError> {
        if done.is_err() {
            self.keys.discard(key, &self.key_file(name)).await;
        }
        done
    }

    /// Where the key of each authority in force lies, in words.
    pub(crate) fn key_places(&self, lifecycle: &Lifecycle) -> BTreeMap<AuthorityName, String> {
        let in_force = lifecycle.authorities().filter(|authority| authority.is_in_force()).map(|authority| authority.name);
        in_force.map(|name| (name, self.keys.place(&self.key_file(name)))).collect()
    }

    /// The file of its key, which holds or names it.
    pub(super) fn key_file(&self, name: AuthorityName) -> PathBuf {
        match name.kind {
            AuthorityKind::Root => self.place_of(name).join(ROOT_KEY),
            AuthorityKind::Issuer => self.place_of(name).join(CA_KEY),
            AuthorityKind::Jwt => self.place_of(name),
        }
    }

    /// Destroys the private key of an authority. Certificates stay, for whoever asks later what there was.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn destroy(&self, name: AuthorityName) -> Result<(), MaterialError> {
        let path = self.key_file(name);
        // Done before, never made, or kept elsewhere.
        if !self.steps.run(Step::DestroyKey, self.keys.remove_key(&path)).await? {
            tracing::info!(%name, path = %path.display(), "no private key to remove");
            return Ok(());
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
    pub(crate) async fn issuer(&self, name: AuthorityName, now: Timestamp) -> Result<SigningAuthority, MaterialError> {
        let place = self.places.generation(name.number);
        Ok(load_generation_as_it_was(&place, &self.keys, &self.trust_domain, now).await?)
    }

    /// Whether the private key of a root lies here.
    pub(crate) fn has_root_key(&self, name: AuthorityName) -> bool {
        self.place_of(name).join(ROOT_KEY).exists()
    }

    /// Whether the private key of an issuing CA can be had, as far as its place says.
    pub(crate) fn has_issuer_key(&self, name: AuthorityName) -> bool {
        // A file that cannot be read is told by whoever needs the key.
        self.place_of(name).join(CA_KEY).exists() && !self.is_forgotten(name).unwrap_or(false)
    }

    /// Whether its key was in the memory of a process that has ended.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) fn is_forgotten(&self, name: AuthorityName) -> Result<bool, MaterialError> {
        Ok(self.keys.is_forgotten(&self.key_file(name))?)
    }

    /// The JWT key of this name; `None` when there is no such file.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn jwt_key(&self, name: AuthorityName) -> Result<Option<JwtSigningKey>, MaterialError> {
        Ok(self.keys.read_jwt(&self.places.jwt_key(name.number)).await?)
    }

    /// The key of a root, which must be in its place and its own.
    ///
    /// # Errors
    /// [`MaterialError::NoRootKey`] where it is kept elsewhere.
    pub(crate) async fn root_key(&self, root: &Authority) -> Result<SigningKey, MaterialError> {
        let path = self.places.root(root.name.number).join(ROOT_KEY);
        match self.keys.read(&path).await? {
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

    pub(super) fn maker(&self, now: Timestamp) -> Maker<'_> {
        Maker {
            trust_domain: &self.trust_domain,
            replica: self.replica,
            store: &*self.store,
            entropy: &*self.entropy,
            steps: &self.steps,
            fence: Some(self.tenure.fence()),
            caller: CALLER,
            now,
        }
    }
}

/// Whether the key of a root does not lie here. A replica that was replaced while it made a root may have one of the same name, which never signed
/// anything.
pub(super) fn is_elsewhere(error: &MaterialError) -> bool {
    matches!(error, MaterialError::NoRootKey { .. } | MaterialError::Another { .. })
}

/// What a key in a token is called there.
pub(crate) fn key_label(trust_domain: &TrustDomain, name: AuthorityName) -> String {
    format!("{KEY_LABEL_PREFIX}{trust_domain} {name}")
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
pub(crate) fn jwt_material_of(key: &JwtSigningKey, now: Timestamp) -> Material {
    let public_key = key.authority().public_key();
    Material { key: public_key.fingerprint(), public_der: public_key.spki_der().to_vec(), not_before: now, not_after: None }
}

fn is_there(place: &Path) -> bool {
    place.symlink_metadata().is_ok()
}

pub(super) fn read_certificate(path: &Path) -> Result<Certificate, MaterialError> {
    let unfit = |cause: String| MaterialError::Certificate { path: path.to_owned(), cause };
    let pem = read_bounded(path, MAX_FILE_BYTES)?;
    match certificates_from_pem(&pem).map_err(|cause| unfit(cause.to_string()))?.as_slice() {
        [certificate] => Ok(certificate.clone()),
        other => Err(unfit(format!("holds {} certificates where one is needed", other.len()))),
    }
}
