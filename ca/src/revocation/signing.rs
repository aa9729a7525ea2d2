//! Signing what is due, with the key of each CA that is here.

use std::sync::Arc;
use std::time::Duration;

use pki::crl::{CrlNumber, CrlTemplate, CrlTemplateError, RevokedSerial, may_sign_lists, prepare_crl};
use pki::{RevocationList, SigningError, sha256};

use super::authorities::{Listed, Signer};
use super::keeper::{Fault, Ground, Held, Keeper, KeeperParts};
use super::lists::{Due, due, entries_of, life_of_lists, updates};
use super::{ListIntent, StoredList};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityName, Lifecycle, Slot};
use crate::rotation::MaterialError;
use crate::signing_keys::SigningKey;
use crate::store::StoreError;

/// How long a key that did not sign is left alone: it may be under a passphrase, which takes long.
const RETRY: Duration = Duration::from_secs(30);

/// Why a list is not signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error(transparent)]
    Material(#[from] MaterialError),
    #[error(transparent)]
    Template(#[from] CrlTemplateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error("the list that was signed is refused: {0}")]
    Refused(pki::crl::CrlError),
    #[error("{0}")]
    Clock(crate::issuance_clock::ClockFault),
    #[error("the CA has no key here")]
    NoKey,
}

/// A key that signs a list.
enum Key {
    Authority(Arc<SigningAuthority>),
    Root(SigningKey),
}

impl Keeper {
    /// Lists that were signed before this process, and those of CAs that the bundle did not vouch for until now.
    pub(super) async fn take_in_stored(&mut self, ground: &Ground<'_>) -> Result<(), StoreError> {
        for StoredList { issuer_key, issuer_der, number, list_der } in self.parts.store.revocation_lists().await? {
            let held = self.held.entry(issuer_key).or_insert(Held { number, list: None });
            held.number = held.number.max(number);
            // Another replica may have signed a later one since.
            let is_later = held.list.as_ref().is_none_or(|list| *list.number() < CrlNumber::from(number));
            if let (true, Some(der)) = (is_later, &list_der) {
                // One that does not verify is signed anew, or its CA is out of the bundle.
                held.list = RevocationList::verify(der, &issuer_der, &ground.vouching).ok().or(held.list.take());
            }
        }
        Ok(())
    }

    /// Each list by itself: one that cannot be signed does not hold up the others.
    pub(super) async fn sign_what_is_due(&mut self, ground: &Ground<'_>) {
        for ca in &ground.cas {
            if is_without_key(&self.parts, ca, ground.lifecycle) {
                self.faults.remove(&ca.key);
                continue;
            }
            let entries = entries(ca, ground);
            let list = self.held.get(&ca.key).and_then(|held| held.list.as_ref());
            let Some(why) = due(list.filter(|list| *list.issuer() == ca.certificate), &entries, ground.now) else {
                self.faults.remove(&ca.key);
                continue;
            };
            let boottime = self.parts.clock.boottime();
            if why != Due::Entries && self.faults.get(&ca.key).is_some_and(|fault| fault.retry_at > boottime) {
                continue;
            }
            match self.sign(ca, ground, &entries).await {
                Ok(list) => {
                    tracing::info!(ca = ca.label, number = %list.number(), entries = list.len(), ?why, "revocation list signed");
                    self.faults.remove(&ca.key);
                }
                Err(error) => {
                    let text = error.to_string();
                    // Once for each text. A root whose key is elsewhere is told as what is missing.
                    let is_news = self.faults.get(&ca.key).is_none_or(|fault| fault.text != text);
                    if is_news && !matches!(error, SignError::Material(MaterialError::NoRootKey { .. })) {
                        tracing::error!(ca = ca.label, %error, "a revocation list is not signed: this is tried again");
                    }
                    self.faults.insert(ca.key, Fault { text, retry_at: boottime.saturating_add(RETRY) });
                }
            }
        }
    }

    async fn sign(&mut self, ca: &Listed, ground: &Ground<'_>, entries: &[RevokedSerial]) -> Result<RevocationList, SignError> {
        // By a wrong clock a list would be stale, or not begun, for everybody else.
        self.parts.issuance_clock.look().map_err(SignError::Clock)?;
        let KeeperParts { store, config, profile, .. } = &self.parts;
        let key = key_of(&self.parts, ca, ground).await?;
        let before = self.held.get(&ca.key).map_or(0, |held| held.number);
        // Never below the time: a store that was restored from a backup has forgotten the numbers given since, which were lower.
        let number = before.saturating_add(1).max(ground.now.unix_seconds());
        let dates = updates(ground.now, life_of_lists(config.list_life, profile.max_ttl()));
        let template = CrlTemplate {
            issuer: &ca.certificate,
            number: CrlNumber::from(number),
            this_update: dates.this_update,
            next_update: dates.next_update,
            entries,
        };
        let unsigned = prepare_crl(&template)?;
        let intent = ListIntent {
            issuer_key: ca.key,
            issuer_der: ca.certificate.der().to_vec(),
            number,
            next_update: dates.next_update,
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            tbs: sha256(unsigned.tbs_der()),
        };
        // Recorded before it is signed, so that no number is ever given twice.
        store.record_list(intent, ground.now).await?;
        let der = match &key {
            Key::Authority(authority) => unsigned.sign_by(authority.key()).await,
            Key::Root(key) => unsigned.sign_by(key).await,
        }?;
        let list = RevocationList::verify(&der, ca.certificate.der(), &ground.vouching).map_err(SignError::Refused)?;
        store.keep_list(ca.key, number, der).await?;
        self.held.insert(ca.key, Held { number, list: Some(list.clone()) });
        Ok(list)
    }
}

pub(super) fn entries(ca: &Listed, ground: &Ground<'_>) -> Vec<RevokedSerial> {
    let mut entries = match ca.signer {
        // Under a root are issuing CAs of other CAs.
        Signer::Root(_) | Signer::Issuer(_) | Signer::Replica(_) | Signer::PluggedIn | Signer::Elsewhere => {
            entries_of(&ca.key, &ground.revocations, ground.now)
        }
    };
    entries.extend(ca.authorities.iter().cloned());
    entries.sort_unstable();
    entries
}

/// Whether nothing of this CA can be signed here, and nobody needs to be told: that is for whoever looks at what is missing.
fn is_without_key(parts: &KeeperParts, ca: &Listed, lifecycle: &Lifecycle) -> bool {
    let is_destroyed = |name: AuthorityName| {
        lifecycle.get(name).is_some_and(|issuer| issuer.slot == Slot::Revoked) && !parts.materials.has_issuer_key(name)
    };
    let is_gone = match ca.signer {
        Signer::Elsewhere | Signer::Replica(_) => true,
        // What cannot be read is told when it is signed with.
        Signer::Issuer(name) => is_destroyed(name) || parts.materials.is_forgotten(name).unwrap_or(false),
        Signer::Root(_) | Signer::PluggedIn => false,
    };
    is_gone || !may_sign_lists(&ca.certificate)
}

async fn key_of(parts: &KeeperParts, ca: &Listed, ground: &Ground<'_>) -> Result<Key, SignError> {
    if *ground.authority.certificate() == ca.certificate {
        return Ok(Key::Authority(Arc::clone(&ground.authority)));
    }
    match ca.signer {
        Signer::Issuer(name) => Ok(Key::Authority(Arc::new(parts.materials.issuer(name, ground.now).await?))),
        Signer::Root(name) => {
            let root = ground.lifecycle.get(name).ok_or(SignError::NoKey)?;
            Ok(Key::Root(parts.materials.root_key(root).await?))
        }
        Signer::PluggedIn | Signer::Elsewhere | Signer::Replica(_) => Err(SignError::NoKey),
    }
}
