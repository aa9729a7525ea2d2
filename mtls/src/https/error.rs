//! Why there is no document, or no answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::AddressClass;

/// Why a document was not fetched, and from where.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub struct FetchError {
    /// What was asked for.
    pub url: String,
    /// Why it did not come.
    pub why: FetchFault,
}

/// Why a document was not fetched; each says what to do when that is not plain.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// The host has no addresses, or the resolver does not answer.
    #[error("the host cannot be resolved: {cause}")]
    Resolution {
        /// What the system says.
        cause: io::Error,
    },
    /// One of the host's addresses is not public and not allowed. Nothing was connected to, not even the others.
    #[error(
        "the host resolves to {address}, {class}, which is not connected to: a name could lead into this network; \
         if that is meant, name the address in allow_addresses"
    )]
    AddressRefused {
        /// The address.
        address: IpAddr,
        /// What it is.
        class: AddressClass,
    },
    /// No address of the host can be connected to.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The last one tried.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The TLS handshake failed, most often because of the server's certificate.
    #[error("the TLS handshake failed: {cause}")]
    Tls {
        /// What TLS says.
        cause: io::Error,
    },
    /// The server does not speak the protocol that the connection is for.
    #[error("the server did not agree to speak {wanted} (ALPN)")]
    Protocol {
        /// The name of the protocol.
        wanted: String,
    },
    /// What came is no HTTP/1.1 answer within its bounds.
    #[error("the answer is not read: {cause}")]
    Http {
        /// What HTTP says.
        cause: hyper::Error,
    },
    /// The server sends the client elsewhere.
    #[error("the server answers {status}, and redirects are not followed; configure the URL where the document lies")]
    Redirected {
        /// The status code.
        status: u16,
    },
    /// Any other status than 200.
    #[error("the server answers {status} where 200 is needed")]
    Status {
        /// The status code.
        status: u16,
    },
    /// The body is in a content coding, which nobody asked for.
    #[error("the answer has a content coding, which was not asked for and is not read")]
    Encoded,
    /// The body is longer than any such document.
    #[error("the answer has more than {max} bytes")]
    TooLarge {
        /// The most bytes that are read.
        max: usize,
    },
    /// It took too long, from resolution to the last byte.
    #[error("the answer was not there after {after:?}")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
}
