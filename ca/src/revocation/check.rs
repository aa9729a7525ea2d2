//! What can be told of revocation lists before a CA runs.

use std::path::Path;

use pki::crl::may_sign_lists;
use pki::{Timestamp, TrustBundle};

use super::authorities::{Listed, Signer, listed};
use super::import::{self, CA_CRL};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};
use crate::config::CaConfig;
use crate::rotation::certificate_of;
use crate::rotation::places::{Places, ROOT_KEY};

/// The CAs that will have no revocation list at `now`, each with the reason and what to do. Before the first start, when nothing is known
/// of them, those are told that the CA signs with.
pub(crate) fn without_lists(
    config: &CaConfig,
    lifecycle: &Lifecycle,
    authority: &SigningAuthority,
    now: Timestamp,
) -> Vec<String> {
    let places = Places::of(config);
    let plugged_in = config.plugged_authority.as_deref();
    let known: Vec<_> = lifecycle.in_bundle(AuthorityKind::Root).filter_map(|root| certificate_of(root).ok()).collect();
    let roots = if plugged_in.is_some() || known.is_empty() { authority.roots().to_vec() } else { known };
    let Ok(bundle) = TrustBundle::new(config.trust_domain.clone(), roots, 0) else { return Vec::new() };
    let whose =
        if plugged_in.is_none() && lifecycle.in_bundle(AuthorityKind::Root).next().is_some() { None } else { Some(authority) };
    let Ok(cas) = listed(lifecycle, whose, &bundle, now) else { return Vec::new() };
    let mut told = Vec::new();
    for ca in &cas {
        let directory = match (ca.signer, plugged_in) {
            (_, Some(directory)) => directory.to_owned(),
            (Signer::Root(name) | Signer::Issuer(name) | Signer::Replica(name), None) => places.root(name.number),
            (Signer::Elsewhere | Signer::PluggedIn, None) => places.root(1),
        };
        if !may_sign_lists(&ca.certificate) {
            told.push(import::lacks_crl_sign(&ca.label));
        } else if is_root_of(ca) && (plugged_in.is_some() || !directory.join(ROOT_KEY).exists()) {
            told.extend(without_import(&directory, ca, &bundle, now));
        }
    }
    told
}

fn is_root_of(ca: &Listed) -> bool {
    matches!(ca.signer, Signer::Root(_) | Signer::Elsewhere)
}

fn without_import(directory: &Path, ca: &Listed, bundle: &TrustBundle, now: Timestamp) -> Option<String> {
    let place = directory.join(CA_CRL);
    match import::read(&place, &[ca], bundle) {
        Ok(lists) if lists.iter().any(|list| list.is_current(now)) => None,
        Ok(_) => Some(import::is_elsewhere(&ca.label, &place)),
        Err(error) => Some(import::refused(&error)),
    }
}
