//! What is asked of the API server about one Secret, by the version that was judged, and what is told of it.

use kubernetes::secrets::{Secret, SecretData};
use kubernetes::{ApiError, Call, Incident, Kind, ObjectVersion};
use pki::Timestamp;

use super::super::metrics::Deed;
use super::super::plan::{Account, Kept, annotations};
use super::super::troubles::TroubleKind;
use super::{DEADLINE, Worker, write};
use crate::cluster_objects::queue::Key;

impl Worker {
    pub(super) async fn apply(
        &self,
        key: &Key,
        secret: &str,
        account: &Account,
        kept: &Kept,
        data: &SecretData,
    ) -> Result<ObjectVersion, ApiError> {
        let (namespace, name) = key;
        let annotations = annotations(name);
        let write = write(namespace, secret, account, name, &annotations, data);
        let applied = self.client.apply_secret(&write, &version(kept), DEADLINE).await;
        self.troubles.called("patch secrets", namespace, &applied);
        applied
    }

    pub(super) async fn delete(&self, namespace: &str, secret: &str, kept: &Kept) -> Result<(), ApiError> {
        let deleted = self.client.delete_secret(namespace, secret, &version(kept), DEADLINE).await;
        self.troubles.called("delete secrets", namespace, &deleted);
        self.metrics.done(Deed::Delete, deleted.is_ok());
        deleted
    }

    pub(super) async fn read(&self, namespace: &str, secret: &str) -> Result<Option<Secret>, ApiError> {
        let read = self.client.secret(namespace, secret, DEADLINE).await;
        self.troubles.called("get secrets", namespace, &read);
        read
    }

    /// Keeps the trouble of an account, and has whoever looks at it told, once.
    pub(super) async fn tell(&self, key: &Key, account: Option<&Account>, kind: TroubleKind, text: String, now: Timestamp) {
        let (namespace, name) = key;
        if let Some(account) = account.filter(|account| self.troubles.is_to_be_told(&account.uid, kind)) {
            let at = now.to_string();
            let reason = if kind == TroubleKind::Alien { "SecretNotOurs" } else { "NameTooLong" };
            let object = ("ServiceAccount", name.as_str(), account.uid.as_str());
            let told = self.client.warn(&Incident { namespace, object, reason, message: &text, at: &at }, DEADLINE).await;
            self.troubles.called(&Call::Create(Kind::Events).to_string(), namespace, &told);
        }
        self.troubles.set(key, kind, text);
    }
}

fn version(kept: &Kept) -> ObjectVersion {
    ObjectVersion { uid: kept.uid.clone(), version: kept.version.clone() }
}
