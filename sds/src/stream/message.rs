//! What goes into the state machine and what comes out, without a word of Envoy's messages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use pki::{RevocationList, SvidError, Timestamp, TrustBundle, X509Svid};

use crate::file_secret::{FileSecret, MAX_FILE_NAMES};

/// The type URL of every request and resource.
pub const SECRET_TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Most streams open at a time on one connection. Envoy opens one per name.
pub const MAX_STREAMS: usize = 100;

/// Most names on one stream.
pub const MAX_NAMES: usize = 64;

/// The longest name, in bytes: the longest SPIFFE ID.
pub const MAX_NAME_BYTES: usize = identity::MAX_SPIFFE_ID_BYTES;

/// Most bytes of names on all streams of a connection together: what a peer can make this end keep.
pub const MAX_CONNECTION_NAME_BYTES: usize = 256 * 1024;

/// The form of a validation context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValidationContextKind {
    /// Envoy's SPIFFE validator, `envoy.tls.cert_validator.spiffe`: each trust domain is tied to its own authorities.
    SpiffeValidator,
    /// Plain `trusted_ca`: for peers that do not have that validator.
    TrustedCa,
}

impl ValidationContextKind {
    /// `spiffe` or `trusted-ca`, as in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpiffeValidator => "spiffe",
            Self::TrustedCa => "trusted-ca",
        }
    }
}

/// The two clocks, read together by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall clock, for certificates.
    pub wall: Timestamp,
    /// Time since boot, suspend counted, for delays.
    pub boot: Duration,
}

/// One stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a peer says on a stream.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Empty, or [`SECRET_TYPE_URL`].
    pub type_url: String,
    /// All names wanted on this stream from now on. An empty list asks for nothing: a key goes only where it was asked for.
    pub names: Vec<String>,
    /// The version that the peer accepted last.
    pub version: String,
    /// The nonce of the response that this request speaks of; empty on the first.
    pub nonce: String,
    /// Present when the peer rejected that response: why.
    pub rejection: Option<String>,
    /// What the peer's node metadata ask for, when the request had any.
    pub validation: Option<ValidationContextKind>,
}

/// What a peer says on an incremental stream.
#[derive(Clone, Debug, Default)]
pub struct DeltaRequest {
    /// Empty, or [`SECRET_TYPE_URL`].
    pub type_url: String,
    /// Names wanted from now on. One that was wanted already is answered again. `*` is refused: a key goes only where it was asked for.
    pub subscribe: Vec<String>,
    /// Names not wanted any more; stronger than `subscribe` in the same request.
    pub unsubscribe: Vec<String>,
    /// Name and version of what the peer holds from an earlier stream. Counts on the first request only, and for subscribed names.
    pub initial_versions: Vec<(String, String)>,
    /// The nonce of the response that this request answers; empty when it answers none.
    pub nonce: String,
    /// Present when the peer rejected that response: why.
    pub rejection: Option<String>,
    /// What the peer's node metadata ask for, when the request had any.
    pub validation: Option<ValidationContextKind>,
}

/// What shall be sent on a stream, or the answer to a fetch. Never empty.
#[derive(Debug)]
pub struct Response {
    /// The content hash of the whole.
    pub version: String,
    /// Unique on the connection; empty for a fetch.
    pub nonce: String,
    /// One per name answered.
    pub resources: Vec<Resource>,
    /// Names whose secret the peer was told of and that is no longer the caller's. Only on an incremental stream.
    pub removed: Vec<Arc<str>>,
}

/// A secret under the name by which the peer asked for it.
#[derive(Debug)]
pub struct Resource {
    /// As asked.
    pub name: Arc<str>,
    /// The content hash of this secret under this name.
    pub version: String,
    /// The secret itself.
    pub secret: Secret,
}

/// What a name stands for.
#[derive(Debug)]
pub enum Secret {
    /// Chain and key of an SVID.
    Certificate(Arc<X509Svid>),
    /// Whom to trust.
    ValidationContext {
        /// The authorities.
        bundle: Arc<TrustBundle>,
        /// What these have revoked; none where a verifier could not do with those that there are.
        lists: Arc<[RevocationList]>,
        /// In which form they are told.
        kind: ValidationContextKind,
        /// Other trust domains beside it, each by its own authorities; only with the SPIFFE validator.
        foreign: Vec<Arc<TrustBundle>>,
    },
    /// What stands in files: a chain and its key, or whom to trust.
    File(Arc<FileSecret>),
}

/// Why a stream ends by the peer's fault: INVALID_ARGUMENT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Another service's resources.
    #[error("the type URL is {found:?}, this service has {SECRET_TYPE_URL:?} only")]
    TypeUrl {
        /// The type URL met (its first 128 characters at most).
        found: String,
    },
    /// More than [`MAX_NAMES`].
    #[error("the request has {found} names, at most {MAX_NAMES} are allowed on a stream; open another one")]
    Names {
        /// How many it has.
        found: usize,
    },
    /// `*` on an incremental stream.
    #[error("\"*\" asks for every secret: a private key is sent only where it was asked for, so subscribe to names")]
    Wildcard,
    /// Empty, or longer than [`MAX_NAME_BYTES`].
    #[error("a name has {found} bytes, 1 to {MAX_NAME_BYTES} are allowed")]
    NameLength {
        /// The length met, in bytes.
        found: usize,
    },
    /// More than [`MAX_FILE_NAMES`] on the streams of the connection together.
    #[error("the names of files on this connection would be {found}, at most {MAX_FILE_NAMES} are allowed together")]
    FileNames {
        /// How many it would be.
        found: usize,
    },
    /// More than [`MAX_CONNECTION_NAME_BYTES`].
    #[error("the names on this connection would have {found} bytes, at most {MAX_CONNECTION_NAME_BYTES} are allowed together")]
    TotalNames {
        /// How many bytes it would be.
        found: usize,
    },
}

/// The connection has [`MAX_STREAMS`] streams already: RESOURCE_EXHAUSTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection has {MAX_STREAMS} streams, no more are allowed; close one, or ask for several names on one stream")]
pub struct TooManyStreams;

/// Why a name has no answer for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnansweredReason {
    /// The caller has no identity (yet).
    NoIdentity,
    /// Nothing that belongs to the caller has this name.
    NotTheCallers,
    /// The secret exists, and does not verify.
    HeldBack,
    /// The caller's entries are not known yet, or one of them has no SVID yet.
    NotYet,
    /// The identity is the caller's and is revoked: nothing is sent for it until it is restored.
    Revoked,
    /// It names files that are not there, are outside of the configured directories, or that the caller could not read itself.
    FileRefused,
}

impl UnansweredReason {
    /// Whether the secret is not the caller's, as against not being there at the moment.
    pub(super) fn is_final(self) -> bool {
        match self {
            Self::NoIdentity | Self::NotTheCallers | Self::FileRefused => true,
            // The peer goes on with what it holds: to say that it is removed says nothing to those who would still take it.
            Self::HeldBack | Self::NotYet | Self::Revoked => false,
        }
    }
}

/// Something that the host logs and counts.
#[derive(Debug)]
pub enum Event {
    /// A response was handed out for sending.
    Pushed {
        /// On which stream.
        stream: StreamId,
        /// Its version.
        version: String,
        /// How many certificates it carries.
        certificates: usize,
        /// How many validation contexts it carries.
        validation_contexts: usize,
        /// How many names it says are removed.
        removed: usize,
    },
    /// A fetch was answered.
    Fetched {
        /// The version of the answer.
        version: String,
        /// How many certificates it carries.
        certificates: usize,
        /// How many validation contexts it carries.
        validation_contexts: usize,
    },
    /// The peer accepted the last response.
    Acked {
        /// On which stream.
        stream: StreamId,
        /// Its version.
        version: String,
    },
    /// The peer rejected the last response.
    Nacked {
        /// On which stream.
        stream: StreamId,
        /// The version rejected.
        version: String,
        /// The peer's words: at most 256 characters, control characters escaped.
        why: String,
    },
    /// A request spoke of a response that a newer one has overtaken, and was ignored.
    StaleNonce {
        /// On which stream.
        stream: StreamId,
    },
    /// A name stays without an answer for now. Said once per stream and name, until it is answered.
    Unanswered {
        /// On which stream.
        stream: StreamId,
        /// The name: at most 256 characters, control characters escaped.
        name: String,
        /// Why.
        reason: UnansweredReason,
    },
    /// Something that a person should look at.
    Alarm(Alarm),
}

impl Event {
    pub(super) fn pushed(stream: StreamId, version: &str, resources: &[Resource], removed: usize) -> Self {
        let (certificates, validation_contexts) = count(resources);
        Self::Pushed { stream, version: version.to_owned(), certificates, validation_contexts, removed }
    }

    pub(super) fn fetched(version: &str, resources: &[Resource]) -> Self {
        let (certificates, validation_contexts) = count(resources);
        Self::Fetched { version: version.to_owned(), certificates, validation_contexts }
    }
}

/// Certificates and validation contexts.
fn count(resources: &[Resource]) -> (usize, usize) {
    let is_certificate = |resource: &&Resource| match &resource.secret {
        Secret::Certificate(_) => true,
        Secret::ValidationContext { .. } => false,
        Secret::File(secret) => secret.is_certificate(),
    };
    let certificates = resources.iter().filter(is_certificate).count();
    (certificates, resources.len() - certificates)
}

/// What is wrong, as far as the machine can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// An SVID does not verify with its bundle: it is not sent, the last good pair stays.
    HeldBack {
        /// Whose.
        id: SpiffeId,
        /// Its serial, hexadecimal.
        serial: String,
        /// Why it does not verify.
        why: SvidError,
    },
    /// The peer rejected a pair; the last good one is sent again on all its streams.
    Rejected,
    /// The peer rejected a pair, and there is no earlier one to go back to: nothing is sent until the content changes.
    RejectedFirst,
    /// The peer rejects the last good pair as well; the next attempt waits for a mended part, or for `retry_in`.
    RejectedAgain {
        /// 1 to 60 s.
        retry_in: Duration,
    },
}

/// A peer's text for a log line: short, and without characters that could forge another line.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_debug).take(256).collect()
}
