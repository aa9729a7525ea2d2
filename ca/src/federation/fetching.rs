//! One look at a foreign bundle endpoint: bounded in bytes and time, to an address that was judged, following nothing.

use std::path::Path;
use std::sync::Arc;

use mtls::https::{HttpsClient, WebRoots};
use pki::TrustBundle;
use runtime::clock::Clock;
use runtime::private_files::read_bounded;
use runtime::web_roots;

use super::MAX_DOCUMENT_BYTES;
use super::records::{BundleEndpoint, EndpointTrust};
use crate::config::FederationConfig;

/// The most bytes of a file of web authorities.
const MAX_ROOTS_BYTES: usize = 1 << 20;

/// The document at an endpoint. `held` is the newest bundle of the trust domain, under which a SPIFFE server is recognised.
///
/// # Errors
/// What went wrong, with the URL.
pub(super) async fn fetch(
    endpoint: &BundleEndpoint,
    held: Option<Arc<TrustBundle>>,
    config: &FederationConfig,
    clock: Arc<dyn Clock>,
) -> Result<Vec<u8>, String> {
    let allowed = config.allow_addresses.clone();
    let client = match &endpoint.trust {
        EndpointTrust::Web => HttpsClient::new(roots(config.web_roots.as_deref())?, allowed, clock),
        EndpointTrust::Spiffe(id) => {
            let held = held.ok_or(
                "no bundle is held by which the endpoint could be recognised; remove the relationship and add it with one",
            )?;
            HttpsClient::of_spiffe_server(held, id.clone(), allowed, clock)
        }
    };
    client.get_up_to(&endpoint.url, MAX_DOCUMENT_BYTES).await.map_err(|error| error.to_string())
}

/// Read anew each time: what an operator replaces counts from the next poll on.
fn roots(configured: Option<&Path>) -> Result<WebRoots, String> {
    match configured {
        Some(path) => {
            let pem = read_bounded(path, MAX_ROOTS_BYTES).map_err(|error| format!("web_roots of [federation]: {error}"))?;
            WebRoots::configured(&pem).map_err(|error| format!("web_roots of [federation], {}: {error}", path.display()))
        }
        None => {
            let pem = web_roots::system().map_err(|error| format!("{error}; or name a PEM file in web_roots of [federation]"))?;
            WebRoots::of_system(&pem)
                .map_err(|error| format!("the system's authorities: {error}; name a PEM file in web_roots of [federation]"))
        }
    }
}
