//! What signs at the start: the journal, what lies on disk, and the bundle of both.

use std::sync::Arc;

use pki::{JwtKey, Timestamp, TrustBundle};
use runtime::entropy::Entropy;

use super::StartError;
use crate::authority::SigningAuthority;
use crate::config::CaConfig;
use crate::keystore::Keystore;
use crate::rotation::steps::Steps;
use crate::rotation::{Journal, Materials, PluggedIn, bundle_of, open_issuer, open_jwt};
use crate::store::Store;

/// What was found and taken over.
pub(super) struct Authorities {
    pub(super) authority: SigningAuthority,
    pub(super) jwt: JwtKey,
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
    now: Timestamp,
) -> Result<Authorities, StartError> {
    let mut journal = Journal::open(Arc::clone(store), steps.clone()).await?;
    let materials = Materials::new(config, Arc::clone(store), Arc::clone(entropy), steps.clone());
    let (authority, plugged_in) = match &config.plugged_authority {
        Some(directory) => {
            let (keystore, authority) = Keystore::open(directory, config, now)?;
            (authority, Some(PluggedIn { directory: directory.clone(), keystore }))
        }
        None => (open_issuer(&mut journal, &materials, now).await?, None),
    };
    let jwt = open_jwt(&mut journal, &materials, now).await?;
    let roots = plugged_in.as_ref().map(|_| authority.roots());
    let bundle = bundle_of(journal.state(), roots, &config.trust_domain, (&**store, &steps), now).await;
    let bundle = bundle.map_err(|error| StartError::Bundle(error.to_string()))?;
    Ok(Authorities { authority, jwt, bundle, journal, materials, plugged_in, steps })
}
