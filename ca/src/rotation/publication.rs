//! The trust bundle of a lifecycle.

use std::collections::BTreeSet;
use std::sync::Arc;

use identity::TrustDomain;
use pki::{Certificate, JwtAuthority, Sha256Digest, Timestamp, TrustBundle};

use super::materials::{MaterialError, certificate_of, jwt_authority_of};
use super::steps::{Step, Steps};
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};
use crate::serving::bundle_content;
use crate::store::{Store, StoreError};

/// Why a bundle cannot be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublicationError {
    /// The authorities make none.
    #[error(transparent)]
    Bundle(#[from] pki::BundleError),
    /// The journal.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// Its sequence could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a bundle says, without its sequence.
struct Content {
    roots: Vec<Certificate>,
    jwt_authorities: Vec<JwtAuthority>,
    tainted: BTreeSet<Sha256Digest>,
}

/// The bundle of a lifecycle, with the sequence that the store gives its content. `plugged_in`: the roots, where they come from outside.
///
/// # Errors
/// [`PublicationError`].
pub(crate) async fn bundle_of(
    lifecycle: &Arc<Lifecycle>,
    plugged_in: Option<&[Certificate]>,
    trust_domain: &TrustDomain,
    (store, steps): (&dyn Store, &Steps),
    now: Timestamp,
) -> Result<TrustBundle, PublicationError> {
    let Content { roots, jwt_authorities, tainted } = content_of(lifecycle, plugged_in, now)?;
    let content = bundle_content(&roots, &jwt_authorities, &tainted);
    let numbered = store.bundle_sequence(trust_domain.clone(), content, Arc::clone(lifecycle), now);
    let sequence = steps.run(Step::NumberBundle, numbered).await?;
    let bundle = TrustBundle::new(trust_domain.clone(), roots, sequence)?.with_jwt_authorities(jwt_authorities)?;
    Ok(bundle.with_tainted_keys(tainted))
}

fn content_of(lifecycle: &Lifecycle, plugged_in: Option<&[Certificate]>, now: Timestamp) -> Result<Content, MaterialError> {
    let roots = match plugged_in {
        Some(roots) => roots.to_vec(),
        None => lifecycle.in_bundle(AuthorityKind::Root).map(certificate_of).collect::<Result<_, _>>()?,
    };
    let jwt_authorities = lifecycle.in_bundle(AuthorityKind::Jwt).map(jwt_authority_of).collect::<Result<_, _>>()?;
    // Roots that an operator had before theirs were plugged in vouch for nothing here.
    let tainted = lifecycle.tainted().filter(|authority| plugged_in.is_none() || authority.name.kind == AuthorityKind::Jwt);
    // Nothing rests on what has ended, and a receiver takes so many tainted keys and no more.
    let tainted = tainted.filter(|authority| !authority.has_ended(now));
    let tainted = tainted.filter_map(|authority| authority.material.as_ref()).map(|material| material.key).collect();
    Ok(Content { roots, jwt_authorities, tainted })
}
