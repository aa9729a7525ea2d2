//! Issuing CAs that upstream signs, and roots that upstream says there are.

use std::path::PathBuf;
use std::sync::Arc;

use pki::{Certificate, KeyAlgorithm, Sha256Digest, Timestamp, certificates_to_pem};
use runtime::private_files::{Overwrite, ensure_private_dir, write_public};

use super::maker::{NewContent, NewFile, key_algorithm_like, write_place};
use super::materials::{MaterialError, Materials, material_of, read_certificate};
use super::places::ROOT_CERT;
use super::steps::Step;
use crate::audit::AuthorityAction;
use crate::authority::lifecycle::{AuthorityName, Material};
use crate::signing_keys::NewKey;
use crate::store::Actor;
use crate::upstream::answer::unknown_roots;
use crate::upstream::desk::UpstreamDesk;

impl Materials {
    /// An issuing CA that signs from this start on: the first one, with its root, or another one under the root that signs.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(super) async fn enrol_as(
        &self,
        name: AuthorityName,
        root: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<(), MaterialError> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        let place = self.ask_upstream(upstream, name, root, now).await?;
        tracing::info!(place = %place.display(), "upstream signed the issuing CA of this start");
        Ok(())
    }

    /// Makes a key, has upstream sign an issuing CA for it, and writes what verified as a generation. Without an answer that verifies
    /// nothing is left of the key.
    pub(super) async fn ask_upstream(
        &self,
        upstream: &Arc<UpstreamDesk>,
        name: AuthorityName,
        root: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<PathBuf, MaterialError> {
        let algorithm = root.map_or(KeyAlgorithm::EcdsaP256, |root| key_algorithm_like(root.public_key().algorithm()));
        let key = self.new_key(name, algorithm).await?;
        let put = self.put_answer(upstream, name, &key, root, now).await;
        self.kept_if(put, name, &key).await
    }

    async fn put_answer(
        &self,
        upstream: &Arc<UpstreamDesk>,
        name: AuthorityName,
        key: &NewKey,
        root: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<PathBuf, MaterialError> {
        let kind = upstream.kind();
        let answer = match upstream.issuer(key, root).await {
            Ok(answer) => answer,
            Err(why) => {
                let action = AuthorityAction::UpstreamRefused { upstream: kind, why: why.clone() };
                // What is refused again for the same reason is on record.
                if self.is_news(&why) {
                    self.store.note_authority(action, Actor::System, now).await?;
                }
                return Err(MaterialError::Upstream(why));
            }
        };
        self.is_news("");
        if root.is_none() {
            // For people: by it they pin what agents must find.
            let (path, text) = (self.places.root(1).join(ROOT_CERT), certificates_to_pem([&answer.root]));
            let place = self.places.root(1);
            self.steps.run(Step::MakeParent, async { ensure_private_dir(&place) }).await?;
            self.steps.run(Step::WriteRoot, async { write_public(&path, text.as_bytes(), Overwrite::Replace) }).await?;
        }
        let (maker, generations) = (self.maker(now), self.generations());
        let signed = (&answer.issuer, key);
        let written = maker.write_generation(generations, name.number, signed, &answer.intermediates, &answer.root, &self.keys);
        let place = written.await?;
        let action = AuthorityAction::UpstreamTaken {
            upstream: kind,
            key: answer.issuer.public_key().fingerprint(),
            roots: vec![answer.root.fingerprint()],
            not_after: answer.issuer.not_after(),
        };
        self.store.note_authority(action, Actor::System, now).await?;
        Ok(place)
    }

    /// Takes the newest root that upstream has and this CA does not know into the place of this name, or finds it taken.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub(crate) async fn import_root(
        &self,
        upstream: &UpstreamDesk,
        name: AuthorityName,
        known: &[Sha256Digest],
        now: Timestamp,
    ) -> Result<Material, MaterialError> {
        let place = self.places.root(name.number);
        if place.symlink_metadata().is_ok() {
            return Ok(material_of(&read_certificate(&place.join(ROOT_CERT))?));
        }
        let none =
            || MaterialError::Upstream("upstream has no root that this CA does not have: nothing is to be taken over".to_owned());
        let root = unknown_roots(&upstream.seen().roots, known, now).into_iter().next().ok_or_else(none)?;
        let text = certificates_to_pem([&root]);
        let files = [NewFile { step: Step::WriteCertificate, name: ROOT_CERT, content: NewContent::Public(text) }];
        write_place(&self.steps, &self.places.roots(), name.number, &files).await?;
        Ok(material_of(&root))
    }
}
