//! The one client for documents on the web: GET over https, bounded in every way, to addresses that were judged.
//!
//! Here a server is recognised by the DNS name or address in its certificate, under authorities of the web: it is nobody's SPIFFE
//! peer, and what it says is believed only as far as the document proves itself or the URL was configured.

mod address;
mod client;
mod error;
mod roots;
mod url;

pub use address::{AddressClass, AddressRange, AddressRangeError};
pub use client::{FETCH_DEADLINE, HttpsClient, MAX_DOCUMENT_BYTES};
pub use error::{FetchError, FetchFault};
pub use roots::{WebRoots, WebRootsError};
pub use url::{HttpsUrl, HttpsUrlError, MAX_URL_BYTES};
