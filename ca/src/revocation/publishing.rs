//! Putting together what everybody is given: the lists that were signed here, those that were made elsewhere, and what is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use pki::crl::{CrlError, RevocationSetError, may_sign_lists};
use pki::{RevocationList, RevocationSet, Sha256Digest, Timestamp, TrustBundle};

use super::authorities::{Listed, Signer};
use super::import::{self, CA_CRL};
use super::keeper::{Ground, KeepError, Keeper};
use super::lists::alarm_at;
use super::published::{Label, Published, content};
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};

/// What is being put together.
#[derive(Default)]
struct Draft {
    lists: Vec<RevocationList>,
    labels: BTreeMap<Sha256Digest, Label>,
    missing: Vec<String>,
    /// Something that is missing may be about leaves, and not only about the CAs above them.
    leaves_lack_a_list: bool,
    warnings: Vec<String>,
}

impl Keeper {
    /// Publishes the lists that are good now, if anything about them has changed.
    pub(super) async fn publish(&mut self, ground: &Ground<'_>) -> Result<(), KeepError> {
        let mut draft = Draft::default();
        let imported = self.imported(ground, &mut draft.warnings);
        for ca in &ground.cas {
            let own = self.held.get(&ca.key).and_then(|held| held.list.clone()).filter(|list| *list.issuer() == ca.certificate);
            let elsewhere = imported.iter().filter(|list| *list.issuer() == ca.certificate).max_by_key(|list| list.number());
            let current = |list: &RevocationList| list.is_current(ground.now);
            match (own.filter(current), elsewhere.cloned().filter(current)) {
                (Some(list), _) => {
                    draft.warnings.extend(self.late(ca, &list, ground.now));
                    draft.add(list, Label { authority: ca.label.clone(), imported: false }, &ground.bundle);
                }
                (None, Some(list)) => {
                    if alarm_at(&list) <= ground.now {
                        draft.warnings.push(format!(
                            "the revocation list of {} in {} ends at {}: make the next one where its key is, and put it there",
                            ca.label,
                            self.import_place(ca).display(),
                            list.next_update()
                        ));
                    }
                    draft.add(list, Label { authority: ca.label.clone(), imported: true }, &ground.bundle);
                }
                (None, None) => {
                    draft.missing.push(self.why_missing(ca));
                    draft.leaves_lack_a_list |= matches!(ca.signer, Signer::Issuer(_) | Signer::PluggedIn);
                }
            }
        }
        self.carry_over(ground, &mut draft);
        let forgotten = self.forgotten(ground, &draft).await?;
        draft.leaves_lack_a_list |= !forgotten.is_empty();
        draft.missing.extend(forgotten);

        let Draft { lists, labels, missing, leaves_lack_a_list, warnings } = draft;
        let (complete, complete_for_leaves) = (missing.is_empty(), !leaves_lack_a_list);
        let sequence = self.parts.store.revocation_sequence(content(&lists, complete, complete_for_leaves), ground.now).await?;
        let set = match RevocationSet::verify(pairs(&lists), sequence, complete, &ground.bundle) {
            Ok(set) => set.with_complete_for_leaves(complete_for_leaves),
            // Each was tried with those before it.
            Err(error) => {
                tracing::error!(%error, "revocation lists that verify alone do not verify together: none is published");
                return Ok(());
            }
        };
        let next = Published { set, bundle_sequence: ground.bundle.sequence(), labels, missing, warnings };
        self.published.send_if_modified(|published| {
            let is_news = **published != next;
            if is_news {
                *published = Arc::new(next);
            }
            is_news
        });
        Ok(())
    }

    /// Lists of CAs that sign no more here, while they are good: what those signed may be too.
    fn carry_over(&self, ground: &Ground<'_>, draft: &mut Draft) {
        let of_no_other = self.held.iter().filter(|(key, _)| ground.cas.iter().all(|ca| ca.key != **key));
        let mut lists: Vec<_> = of_no_other.filter_map(|(_, held)| held.list.clone()).collect();
        lists.retain(|list| list.is_current(ground.now) && ground.now <= list.issuer().not_after());
        lists.sort_by_key(RevocationList::issuer_key);
        for list in lists {
            let key = list.issuer_key();
            let authority = name_of(ground.lifecycle, &key).unwrap_or_else(|| list.issuer().subject());
            draft.add(list, Label { authority, imported: false }, &ground.bundle);
        }
    }

    /// CAs whose certificates are still good, and that have no list.
    async fn forgotten(&self, ground: &Ground<'_>, draft: &Draft) -> Result<Vec<String>, KeepError> {
        let signers = self.parts.store.signers(ground.now).await?;
        let told = |key: &Sha256Digest| draft.labels.contains_key(key) || ground.cas.iter().any(|ca| ca.key == *key);
        let forgotten =
            signers.into_iter().filter(|(key, _)| !told(key) && is_vouched(ground.lifecycle, key, self.is_plugged_in()));
        Ok(forgotten
            .map(|(key, until)| {
                let name =
                    name_of(ground.lifecycle, &key).unwrap_or_else(|| format!("the CA with the key {}", HEXLOWER.encode(&key)));
                format!(
                    "{name} has no revocation list and its key is not here: the last certificate that it signed ends at {until}"
                )
            })
            .collect())
    }

    fn is_plugged_in(&self) -> bool {
        self.parts.plugged_in.is_some()
    }

    /// The lists of the files beside the roots whose keys are not here.
    fn imported(&self, ground: &Ground<'_>, warnings: &mut Vec<String>) -> Vec<RevocationList> {
        let mut by_place: BTreeMap<PathBuf, Vec<&Listed>> = BTreeMap::new();
        for ca in ground.cas.iter().filter(|ca| matches!(ca.signer, Signer::Elsewhere | Signer::Root(_))) {
            by_place.entry(self.import_place(ca)).or_default().push(ca);
        }
        let mut lists = Vec::new();
        for (place, cas) in by_place {
            match import::read(&place, &cas, &ground.vouching) {
                Ok(found) => lists.extend(found),
                Err(error) => warnings.push(import::refused(&error)),
            }
        }
        lists
    }

    /// Where the list of a CA is looked for whose key is not here.
    fn import_place(&self, ca: &Listed) -> PathBuf {
        let directory = match (ca.signer, &self.parts.plugged_in) {
            (Signer::Root(name) | Signer::Issuer(name), None) => self.parts.materials.place_of(name),
            (_, Some(directory)) => directory.clone(),
            (Signer::Elsewhere | Signer::PluggedIn, None) => PathBuf::new(),
        };
        directory.join(CA_CRL)
    }

    fn why_missing(&self, ca: &Listed) -> String {
        let Listed { label, certificate, key, signer, .. } = ca;
        if !may_sign_lists(certificate) {
            return import::lacks_crl_sign(label);
        }
        match (signer, self.faults.get(key)) {
            (Signer::Issuer(_) | Signer::PluggedIn, fault) => {
                let why = fault.map_or("it is not signed yet", |fault| fault.text.as_str());
                format!("{label} has no revocation list that is good now: {why}")
            }
            (Signer::Root(_) | Signer::Elsewhere, _) => import::is_elsewhere(label, &self.import_place(ca)),
        }
    }

    /// A list that is good and whose successor is overdue.
    fn late(&self, ca: &Listed, list: &RevocationList, now: Timestamp) -> Option<String> {
        let fault = self.faults.get(&ca.key)?;
        let is_late = alarm_at(list) <= now;
        is_late.then(|| {
            format!("the revocation list of {} ends at {} and no other is signed: {}", ca.label, list.next_update(), fault.text)
        })
    }
}

impl Draft {
    /// Adds a list, if it verifies under the bundle together with those before it. A CA that the bundle does not vouch for yet, or any more,
    /// is left out.
    fn add(&mut self, list: RevocationList, label: Label, bundle: &TrustBundle) {
        let key = list.issuer_key();
        self.lists.push(list);
        match RevocationSet::verify(pairs(&self.lists), 1, false, bundle) {
            Ok(_) => {
                self.labels.insert(key, label);
            }
            Err(error) => {
                self.lists.pop();
                if !matches!(error, RevocationSetError::List { source: CrlError::UnknownIssuer { .. }, .. }) {
                    self.leaves_lack_a_list = true;
                    self.missing.push(format!("the revocation list of {} cannot be sent: {error}", label.authority));
                    self.leaves_lack_a_list = true;
                }
            }
        }
    }
}

fn pairs(lists: &[RevocationList]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lists.iter().map(|list| (list.der(), list.issuer_der()))
}

fn name_of(lifecycle: &Lifecycle, key: &Sha256Digest) -> Option<String> {
    let is_it = |material: &crate::authority::lifecycle::Material| material.key == *key;
    lifecycle
        .authorities()
        .find(|authority| authority.material.as_ref().is_some_and(is_it))
        .map(|authority| authority.name.to_string())
}

/// Whether the bundle may still vouch for the CA with this key. One that the lifecycle does not know was plugged in, or came before it.
fn is_vouched(lifecycle: &Lifecycle, key: &Sha256Digest, plugged_in: bool) -> bool {
    let is_it = |material: &crate::authority::lifecycle::Material| material.key == *key;
    let known = lifecycle.of(AuthorityKind::Issuer).find(|authority| authority.material.as_ref().is_some_and(is_it));
    match known.and_then(|issuer| issuer.parent) {
        Some(root) => !plugged_in && lifecycle.get(root).is_some_and(|root| root.is_in_bundle()),
        None => plugged_in,
    }
}
