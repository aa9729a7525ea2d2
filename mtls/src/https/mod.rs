//! The one HTTPS client: documents on the web by GET, from addresses that were judged, and requests to a server that the
//! configuration names. Bounded in every way, and no redirect is followed.
//!
//! Here a server is recognised by the DNS name or address in its certificate, under authorities of the web or under those that were
//! configured for it: it is nobody's SPIFFE peer, and what it says is believed only as far as the document proves itself or the URL was
//! configured. Documents of SPIFFE servers are fetched by the same client, which knows those by their ID. The server of this module
//! gives one document to whoever asks.

mod address;
mod client;
mod error;
mod exchange;
mod roots;
mod server;
mod url;

pub use address::{AddressClass, AddressRange, AddressRangeError};
pub use client::{FETCH_DEADLINE, HttpsClient, MAX_DOCUMENT_BYTES};
pub use error::{FetchError, FetchFault};
pub use exchange::{FieldValueError, HttpsAnswer, HttpsBounds, HttpsRequest};
pub use roots::{WebRoots, WebRootsError};
pub use server::{DocumentOutcome, DocumentServer, Publication, ServerPair};
pub use url::{HttpsUrl, HttpsUrlError, MAX_URL_BYTES};
