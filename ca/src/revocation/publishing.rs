//! Putting together what everybody is given: the lists that were signed here, those that were made elsewhere, and what is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use pki::crl::{CrlError, RevocationSetError, RevokedSerial, may_sign_lists};
use pki::{RevocationList, RevocationSet, Sha256Digest, TrustBundle, sha256};

use super::authorities::{Listed, Signer};
use super::import::{self, CA_CRL};
use super::keeper::{Ground, KeepError, Keeper};
use super::lists::{alarm_at, entries_of};
use super::published::{Label, Published, content};
use super::signing::entries;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Foreign, Lifecycle};

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
                    draft.warnings.extend(self.late(ca, &list, ground));
                    draft.warnings.extend(self.unlisted(&ca.label, &list, &entries(ca, ground), ground.lifecycle));
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
                    draft.missing.push(self.why_missing(ca, ground.lifecycle));
                    draft.leaves_lack_a_list |= matches!(ca.signer, Signer::Issuer(_) | Signer::Replica(_) | Signer::PluggedIn);
                }
            }
        }
        self.carry_over(ground, &mut draft);
        let forgotten = self.forgotten(ground, &draft).await?;
        draft.leaves_lack_a_list |= !forgotten.is_empty();
        draft.missing.extend(forgotten);

        let Draft { lists, labels, missing, leaves_lack_a_list, warnings } = draft;
        let (complete, complete_for_leaves) = (missing.is_empty(), !leaves_lack_a_list);
        let stored =
            lists.iter().filter(|list| self.held.get(&list.issuer_key()).is_some_and(|held| held.list.as_ref() == Some(*list)));
        let stored = stored.map(|list| (list.issuer_key(), sha256(list.der()))).collect();
        let content = content(&lists, complete, complete_for_leaves);
        let sequence = self.parts.store.revocation_sequence(content, stored, ground.now).await?;
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
            let revoked = entries_of(&key, &ground.revocations, ground.now);
            draft.warnings.extend(self.unlisted(&authority, &list, &revoked, ground.lifecycle));
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
            (Signer::Root(name) | Signer::Issuer(name) | Signer::Replica(name), None) => self.parts.materials.place_of(name),
            (_, Some(directory)) => directory.clone(),
            (Signer::Elsewhere | Signer::PluggedIn, None) => PathBuf::new(),
        };
        directory.join(CA_CRL)
    }

    fn why_missing(&self, ca: &Listed, lifecycle: &Lifecycle) -> String {
        let Listed { label, certificate, key, signer, .. } = ca;
        if !may_sign_lists(certificate) {
            return import::lacks_crl_sign(label);
        }
        match (signer, self.faults.get(key)) {
            (Signer::Issuer(name), None) if self.parts.materials.is_forgotten(*name).unwrap_or(false) => format!(
                "{label} has no revocation list, and its key is gone with the process that made it: what rests on it is renewed"
            ),
            (Signer::Issuer(_) | Signer::PluggedIn, fault) => {
                let why = fault.map_or("it is not signed yet", |fault| fault.text.as_str());
                format!("{label} has no revocation list that is good now: {why}")
            }
            (Signer::Replica(name), _) => {
                format!("{label} has no revocation list that is good now: {}", away(lifecycle, *name))
            }
            (Signer::Root(_) | Signer::Elsewhere, _) => import::is_elsewhere(label, &self.import_place(ca)),
        }
    }

    /// Certificates that were revoked since the last list of their CA was signed, while no other is.
    fn unlisted(&self, label: &str, list: &RevocationList, revoked: &[RevokedSerial], lifecycle: &Lifecycle) -> Option<String> {
        let unlisted = revoked.iter().filter(|entry| !list.contains(&entry.serial)).count();
        if unlisted == 0 {
            return None;
        }
        let issuer = list.issuer();
        let is_it = |authority: &Authority| authority.material.as_ref().is_some_and(|material| material.key == list.issuer_key());
        if let Some(other) = lifecycle.others().find(|foreign| is_it(&foreign.authority)) {
            let replica = &other.replica;
            return Some(format!(
                "{unlisted} revoked certificates are not on the list of {label}, which the replica {replica} alone can sign: start it, or, when it is \
                 gone for good, have what rests on it renewed by `signet replica remove {replica}`"
            ));
        }
        Some(match self.faults.get(&issuer.public_key().fingerprint()) {
            Some(fault) => format!(
                "{unlisted} revoked certificates are not on the list of {label}, which is not signed anew: {}",
                fault.text
            ),
            None => format!(
                "{unlisted} revoked certificates are on no list: the key of {label} is gone, and with it who could sign one. Whoever takes them                  by the bundle alone does so until they end; who signed {label} can call it back as a whole, when nothing good rests on it any \
                 more: its serial number is {}",
                issuer.serial()
            ),
        })
    }

    /// A list that is good and whose successor is overdue.
    fn late(&self, ca: &Listed, list: &RevocationList, ground: &Ground<'_>) -> Option<String> {
        if alarm_at(list) > ground.now {
            return None;
        }
        let why = match (ca.signer, self.faults.get(&ca.key)) {
            (Signer::Replica(name), _) => away(ground.lifecycle, name),
            (_, Some(fault)) => fault.text.clone(),
            (_, None) => return None,
        };
        Some(format!("the revocation list of {} ends at {} and no other is signed: {why}", ca.label, list.next_update()))
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

/// Why a list is not signed whose key another replica has, and the way out.
fn away(lifecycle: &Lifecycle, name: AuthorityName) -> String {
    match lifecycle.others().find(|foreign| foreign.authority.name == name) {
        Some(Foreign { replica, .. }) => format!(
            "the replica {replica} alone has the key: start it, or, when it is gone for good, take it out by `signet replica remove {replica}`"
        ),
        None => "its replica, which alone has the key, has not signed one".to_owned(),
    }
}

fn name_of(lifecycle: &Lifecycle, key: &Sha256Digest) -> Option<String> {
    let is_it = |material: &crate::authority::lifecycle::Material| material.key == *key;
    lifecycle
        .everything()
        .find(|authority| authority.material.as_ref().is_some_and(is_it))
        .map(|authority| authority.name.to_string())
}

/// Whether the bundle may still vouch for the CA with this key. One that the lifecycle does not know was plugged in, or came before it.
fn is_vouched(lifecycle: &Lifecycle, key: &Sha256Digest, plugged_in: bool) -> bool {
    let is_it = |material: &crate::authority::lifecycle::Material| material.key == *key;
    let mut issuers = lifecycle.everything().filter(|authority| authority.name.kind == AuthorityKind::Issuer);
    let known = issuers.find(|authority| authority.material.as_ref().is_some_and(is_it));
    match known.and_then(|issuer| issuer.parent) {
        Some(root) => !plugged_in && lifecycle.get(root).is_some_and(|root| root.is_in_bundle()),
        None => plugged_in,
    }
}
