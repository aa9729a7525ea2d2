//! The lists over HTTP, beside the metrics: for verifiers and tools that fetch (RFC 5280 section 4.2.1.13). They are public, and signed.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use runtime::admin_http::{Document, Documents};
use tokio::sync::watch;

use super::Published;

/// All of them.
const ALL: &str = "/crl";

/// The lists that are published now.
pub(crate) struct Pages(pub(crate) watch::Receiver<Arc<Published>>);

impl Documents for Pages {
    fn document(&self, path: &str) -> Option<Document> {
        let set = &self.0.borrow().set;
        if path == ALL {
            return Some(Document { content_type: "application/x-pem-file", body: set.to_pem().into_bytes() });
        }
        let key = path.strip_prefix(ALL)?.strip_prefix('/')?.strip_suffix(".crl")?;
        let list = set.lists().iter().find(|list| HEXLOWER.encode(&list.issuer_key()) == key)?;
        // RFC 2585 section 4.2.
        Some(Document { content_type: "application/pkix-crl", body: list.der().to_vec() })
    }

    fn names(&self) -> &'static str {
        "/crl, /crl/<key of the issuer>.crl"
    }
}
