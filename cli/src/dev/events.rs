//! What a demo workload tells `dev`: one JSON document per line on its standard output.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output::print_line;

/// Something that happened in a process that `dev` started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// An SDS stream is open and the names are asked for.
    Asked {
        /// Which stream of this process, from 1.
        stream: u64,
        names: Vec<String>,
    },
    /// An SDS stream ended; another will be opened.
    StreamLost { stream: u64, why: String },
    /// What the agent sent was not taken.
    Rejected { stream: u64, why: String },
    /// An identity came.
    Identity { stream: u64, id: String, serial: String, expires: String },
    /// A trust bundle came.
    Bundle { stream: u64, trust_domain: String, authorities: usize },
    /// The API has a port.
    Listening { address: String },
    /// The API answered a call.
    Served { peer: String, peer_serial: String },
    /// A handshake failed, as the accepting end sees it.
    HandshakeFailed { error: String },
    /// The caller is who it says, but is not the one that may call.
    CallerRefused { peer: String, expected: String },
    /// A call was answered.
    Answered {
        /// Which connection of this process, from 1.
        connection: u64,
        peer: String,
        peer_serial: String,
        text: String,
    },
    /// A call failed, as the connecting end sees it.
    CallFailed { error: String },
    /// A service's sockets are bound; what it said.
    Bound { addresses: serde_json::Value },
}

impl Event {
    /// Tells whoever started this process.
    pub(super) fn tell(&self) -> Result<(), Failure> {
        let line = serde_json::to_string(self).map_err(|error| Failure::failed("cannot say what happened").because(error))?;
        print_line(&line)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { stream, names } => write!(f, "asks for {} (SDS stream {stream})", names.join(", ")),
            Self::StreamLost { stream, why } => write!(f, "lost SDS stream {stream}: {why}"),
            Self::Rejected { stream, why } => write!(f, "rejects what came on SDS stream {stream}: {why}"),
            Self::Identity { stream, id, serial, expires } => {
                write!(f, "is {id}, serial {serial}, until {expires} (SDS stream {stream})")
            }
            Self::Bundle { trust_domain, authorities, .. } => write!(f, "trusts {authorities} of {trust_domain}"),
            Self::Listening { address } => write!(f, "listens on {address}"),
            Self::Served { peer, peer_serial } => write!(f, "served {peer} (serial {peer_serial})"),
            Self::HandshakeFailed { error } => write!(f, "TLS, accepting end: {error}"),
            Self::CallerRefused { peer, expected } => write!(f, "refused {peer}: only {expected} may call"),
            Self::Answered { connection, peer, text, .. } => {
                write!(f, "called {peer} on connection {connection}: {text:?}")
            }
            Self::CallFailed { error } => write!(f, "TLS, connecting end: {error}"),
            Self::Bound { addresses } => write!(f, "bound {addresses}"),
        }
    }
}
