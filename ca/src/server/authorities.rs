//! What signs at the start: the journal, what lies on disk, and the bundle of both.

use std::sync::Arc;

use pki::{Timestamp, TrustBundle};
use runtime::entropy::Entropy;

use super::StartError;
use crate::authority::SigningAuthority;
use crate::config::CaConfig;
use crate::keystore::Keystore;
use crate::replicas::Tenure;
use crate::rotation::steps::Steps;
use crate::rotation::{
    AdoptionError, Journal, Materials, PluggedIn, PublicationError, bundle_of, enrol, join_others, open_issuer, open_jwt,
};
use crate::signing_keys::{JwtSigningKey, SigningKeys};
use crate::store::{Store, StoreError};
use crate::upstream::desk::UpstreamDesk;

/// What was found and taken over.
pub(super) struct Authorities {
    pub(super) authority: SigningAuthority,
    pub(super) jwt: JwtSigningKey,
    pub(super) keys: SigningKeys,
    pub(super) bundle: TrustBundle,
    pub(super) journal: Journal,
    pub(super) materials: Materials,
    pub(super) plugged_in: Option<PluggedIn>,
    pub(super) steps: Steps,
}

/// Loads what signs. An issuing CA of this CA's own that has ended is loaded too: its successor is made by the running CA.
///
/// # Errors
/// [`StartError`].
pub(super) async fn open(
    config: &CaConfig,
    store: &Arc<dyn Store>,
    entropy: &Arc<dyn Entropy>,
    steps: Steps,
    tenure: &Tenure,
    upstream: Option<Arc<UpstreamDesk>>,
    now: Timestamp,
) -> Result<Authorities, StartError> {
    let keys = SigningKeys::open(config).await?;
    let mut journal = Journal::open(Arc::clone(store), steps.clone(), tenure.clone()).await?;
    let materials = Materials::new(config, keys.clone(), Arc::clone(store), Arc::clone(entropy), steps.clone(), tenure.clone());
    let materials = materials.with_upstream(upstream);
    enrol(&mut journal, &materials, now).await?;
    let mut tries = 0;
    let (authority, plugged_in, jwt, bundle) = loop {
        match take_up(config, store, &steps, &keys, (&mut journal, &materials), now).await {
            // Another replica moved an authority at the same moment: what there is is looked at anew.
            Err(
                StartError::Record(StoreError::Changed { .. })
                | StartError::Authorities(AdoptionError::Store(StoreError::Changed { .. })),
            ) if store.is_shared() && tries < TRIES => {
                tries += 1;
                journal.reload().await?;
            }
            taken => break taken?,
        }
    };
    Ok(Authorities { authority, jwt, keys, bundle, journal, materials, plugged_in, steps })
}

/// How often a start looks anew at authorities that others move.
const TRIES: u32 = 20;

/// What signs, taken over where the journal does not know it, and the bundle.
async fn take_up(
    config: &CaConfig,
    store: &Arc<dyn Store>,
    steps: &Steps,
    keys: &SigningKeys,
    (journal, materials): (&mut Journal, &Materials),
    now: Timestamp,
) -> Result<(SigningAuthority, Option<PluggedIn>, JwtSigningKey, TrustBundle), StartError> {
    let (authority, plugged_in) = match &config.plugged_authority {
        Some(directory) => {
            let (keystore, authority) = Keystore::open(directory, config, keys.clone(), now).await?;
            let plugged_in = PluggedIn::new(directory, keystore, &authority);
            (authority, Some(plugged_in))
        }
        None => {
            join_others(journal, materials, &**store, now).await?;
            (open_issuer(journal, materials, now).await?, None)
        }
    };
    let jwt = open_jwt(journal, materials, now).await?;
    let roots = plugged_in.as_ref().map(|_| authority.roots());
    let bundle = bundle_of(journal.state(), roots, &config.trust_domain, (&**store, steps), now).await;
    let bundle = bundle.map_err(|error| match error {
        PublicationError::Store(error) => StartError::Record(error),
        other @ (PublicationError::Bundle(_) | PublicationError::Material(_)) => StartError::Bundle(other.to_string()),
    })?;
    Ok((authority, plugged_in, jwt, bundle))
}
