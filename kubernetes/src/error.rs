//! Why there is no answer that can be used, in words that say what to do.

use std::fmt;
use std::time::Duration;

use mtls::https::FetchError;

/// The most characters of the server's own words that are repeated.
const MAX_MESSAGE_CHARACTERS: usize = 300;
/// A longer word is left out: it could be a token.
const MAX_WORD_CHARACTERS: usize = 128;

/// What was asked, as the rules of RBAC name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Whom a token stands for.
    ReviewToken,
    /// Objects, all at one moment.
    List(Kind),
    /// What becomes of objects.
    Watch(Kind),
    /// One object.
    Get(Kind),
    /// A new object.
    Create(Kind),
    /// An object, by server-side apply.
    Patch(Kind),
    /// The end of an object.
    Delete(Kind),
}

/// A kind of object, as the rules of RBAC name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pods of `core/v1`.
    Pods,
    /// Secrets of `core/v1`.
    Secrets,
    /// Service accounts of `core/v1`.
    ServiceAccounts,
    /// Namespaces of `core/v1`.
    Namespaces,
    /// Events of `core/v1`.
    Events,
    /// ConfigMaps of `core/v1`.
    ConfigMaps,
    /// `ValidatingWebhookConfiguration` of `admissionregistration.k8s.io/v1`.
    ValidatingWebhooks,
    /// `MutatingWebhookConfiguration` of `admissionregistration.k8s.io/v1`.
    MutatingWebhooks,
    /// `IdentityEntry` of this project's own group.
    IdentityEntries,
    /// The status of one, which RBAC takes for another resource.
    IdentityEntryStatus,
}

/// The server's own words: short and printable. It may repeat what it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(String);

/// As far as whoever asked acts differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Later it may go well by itself.
    Unreachable,
    /// What proves this process is missing, not accepted, or does not allow this.
    Credential,
    /// The server answered, and will not do this.
    Refused,
    /// What it answered cannot be used.
    Malformed,
}

/// Why there is no answer that can be used. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A file of the configuration cannot be used.
    #[error("{what}: {cause}")]
    Local {
        /// Which key names it.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// No connection.
    #[error("the API server is not reached: {0}")]
    Connect(#[from] FetchError),
    /// The connection speaks no HTTP/2.
    #[error("the API server does not speak HTTP/2: {cause}")]
    Handshake {
        /// What HTTP says.
        cause: hyper::Error,
    },
    /// The connection ended before the answer did.
    #[error("{call}: the connection to the API server broke: {cause}")]
    Broken {
        /// What was asked.
        call: Call,
        /// What HTTP says.
        cause: hyper::Error,
    },
    /// It took too long.
    #[error("{call}: no answer of the API server within {after:?}")]
    Deadline {
        /// What was asked.
        call: Call,
        /// The deadline.
        after: Duration,
    },
    /// It does not know who asks.
    #[error("{call}: the API server does not accept this process's own token (401): {message}; look at token_file")]
    Unauthenticated {
        /// What was asked.
        call: Call,
        /// Its words.
        message: Message,
    },
    /// Whoever asks may not.
    #[error("{call}: forbidden (403): {message}; a ClusterRole must allow it, and a binding give it to this process's account")]
    Forbidden {
        /// What was asked.
        call: Call,
        /// Its words.
        message: Message,
    },
    /// It has too much to do, or cannot now.
    #[error("{call}: the API server cannot now ({status}): {message}")]
    Busy {
        /// What was asked.
        call: Call,
        /// The status code: 429 or of the server's own faults.
        status: u16,
        /// For how long it wants to be left alone, when it says so.
        after: Option<Duration>,
        /// Its words.
        message: Message,
    },
    /// What is asked about is too long ago (410): ask for what is now.
    #[error("{call}: the API server does not know it any more (410): {message}")]
    Expired {
        /// What was asked.
        call: Call,
        /// Its words.
        message: Message,
    },
    /// It is not as whoever asked knew it (409): it was changed, replaced or made meanwhile.
    #[error("{call}: it is not as it was known (409): {message}")]
    Conflict {
        /// What was asked.
        call: Call,
        /// Its words.
        message: Message,
    },
    /// Nothing is asked about what cannot be the name of anything.
    #[error("{call}: what should name {what} is no name")]
    Name {
        /// What was to be asked.
        call: Call,
        /// Of what.
        what: &'static str,
    },
    /// There are more objects than are read.
    #[error("{call}: there are more than {max}")]
    TooMany {
        /// What was asked.
        call: Call,
        /// The most that are read.
        max: usize,
    },
    /// Any other refusal.
    #[error("{call}: the API server answers {status}: {message}")]
    Refused {
        /// What was asked.
        call: Call,
        /// The status code.
        status: u16,
        /// Its words.
        message: Message,
    },
    /// The answer is longer than any such answer.
    #[error("{call}: the answer has more than {max} bytes")]
    TooLarge {
        /// What was asked.
        call: Call,
        /// The most bytes that are read.
        max: usize,
    },
    /// The answer is not what the API documents.
    #[error("{call}: the answer is not read: {cause}")]
    Malformed {
        /// What was asked.
        call: Call,
        /// What is wrong with it.
        cause: String,
    },
}

impl Call {
    /// Those of an agent, about the pods of its node.
    pub const OF_PODS: [Self; 2] = [Self::List(Kind::Pods), Self::Watch(Kind::Pods)];

    /// Every one.
    pub const ALL: [Self; 29] = [
        Self::ReviewToken,
        Self::List(Kind::Pods),
        Self::Watch(Kind::Pods),
        Self::List(Kind::Secrets),
        Self::Watch(Kind::Secrets),
        Self::Get(Kind::Secrets),
        Self::Create(Kind::Secrets),
        Self::Patch(Kind::Secrets),
        Self::Delete(Kind::Secrets),
        Self::List(Kind::ServiceAccounts),
        Self::Watch(Kind::ServiceAccounts),
        Self::Get(Kind::ServiceAccounts),
        Self::List(Kind::Namespaces),
        Self::Watch(Kind::Namespaces),
        Self::Create(Kind::Events),
        Self::List(Kind::ConfigMaps),
        Self::Watch(Kind::ConfigMaps),
        Self::Create(Kind::ConfigMaps),
        Self::Patch(Kind::ConfigMaps),
        Self::Delete(Kind::ConfigMaps),
        Self::List(Kind::ValidatingWebhooks),
        Self::Watch(Kind::ValidatingWebhooks),
        Self::Patch(Kind::ValidatingWebhooks),
        Self::List(Kind::MutatingWebhooks),
        Self::Watch(Kind::MutatingWebhooks),
        Self::Patch(Kind::MutatingWebhooks),
        Self::List(Kind::IdentityEntries),
        Self::Watch(Kind::IdentityEntries),
        Self::Patch(Kind::IdentityEntryStatus),
    ];

    /// For metrics: verb and resource.
    pub(crate) fn label(self) -> String {
        if self == Self::ReviewToken { "review_token".to_owned() } else { self.to_string().replace(' ', "_") }
    }

    /// What RBAC calls it: verb and resource.
    #[must_use]
    pub fn verb_and_resource(self) -> (&'static str, &'static str) {
        match self {
            Self::ReviewToken => ("create", "tokenreviews.authentication.k8s.io"),
            Self::List(kind) => ("list", kind.resource()),
            Self::Watch(kind) => ("watch", kind.resource()),
            Self::Get(kind) => ("get", kind.resource()),
            Self::Create(kind) => ("create", kind.resource()),
            Self::Patch(kind) => ("patch", kind.resource()),
            Self::Delete(kind) => ("delete", kind.resource()),
        }
    }
}

impl Kind {
    fn resource(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Secrets => "secrets",
            Self::ServiceAccounts => "serviceaccounts",
            Self::Namespaces => "namespaces",
            Self::Events => "events",
            Self::ConfigMaps => "configmaps",
            Self::ValidatingWebhooks => "validatingwebhookconfigurations.admissionregistration.k8s.io",
            Self::MutatingWebhooks => "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            Self::IdentityEntries => "identityentries.signet.internal",
            Self::IdentityEntryStatus => "identityentries/status.signet.internal",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, resource) = self.verb_and_resource();
        write!(f, "{verb} {resource}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource())
    }
}

impl Message {
    /// Keeps what people can read.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let visible = text.chars().map(|c| if c.is_control() || !(c.is_alphanumeric() || c.is_ascii()) { ' ' } else { c });
        let visible: String = visible.take(16 * MAX_MESSAGE_CHARACTERS).collect();
        let words = visible.split_whitespace().map(|word| if word.chars().count() > MAX_WORD_CHARACTERS { "..." } else { word });
        Self(words.collect::<Vec<_>>().join(" ").chars().take(MAX_MESSAGE_CHARACTERS).collect())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "it gives no reason" } else { &self.0 })
    }
}

impl ApiError {
    /// What became of the call, for who asked.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Connect(_) | Self::Handshake { .. } | Self::Broken { .. } | Self::Deadline { .. } | Self::Busy { .. } => {
                FaultKind::Unreachable
            }
            Self::Local { .. } | Self::Unauthenticated { .. } | Self::Forbidden { .. } => FaultKind::Credential,
            Self::Refused { .. } | Self::Expired { .. } | Self::Conflict { .. } | Self::Name { .. } => FaultKind::Refused,
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Malformed { .. } => FaultKind::Malformed,
        }
    }

    /// Whether what was asked about is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether it is refused because its namespace is about to go, and not for want of a permission.
    #[must_use]
    pub fn is_of_ending_namespace(&self) -> bool {
        // The API server has no code of its own for it.
        matches!(self, Self::Forbidden { message: Message(text), .. } if text.ends_with("because it is being terminated"))
    }

    /// For how long the server wants to be left alone, when it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { after, .. } = self { *after } else { None }
    }

    /// What a status that grants nothing means.
    pub(crate) fn of_status(call: Call, status: u16, after: Option<Duration>, message: Message) -> Self {
        match status {
            401 => Self::Unauthenticated { call, message },
            403 => Self::Forbidden { call, message },
            409 => Self::Conflict { call, message },
            410 => Self::Expired { call, message },
            429 | 500..=599 => Self::Busy { call, status, after, message },
            _ => Self::Refused { call, status, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_cut_and_printable() {
        assert_eq!(Message::of("a\u{1b}[31m\r\nb\u{202e}c").to_string(), "a [31m b c");
        assert_eq!(Message::of(&"x ".repeat(10_000)).to_string().len(), MAX_MESSAGE_CHARACTERS);
        assert_eq!(Message::of(&format!("bad token {}: no", "x".repeat(129))).to_string(), "bad token ... no");
        assert_eq!(Message::of(" \n").to_string(), "it gives no reason");
    }

    #[test]
    fn each_status_says_what_to_do() {
        let of = |status| ApiError::of_status(Call::ReviewToken, status, Some(Duration::from_secs(3)), Message::default());
        assert_eq!(of(401).kind(), FaultKind::Credential);
        let forbidden = of(403);
        assert_eq!(forbidden.kind(), FaultKind::Credential);
        assert!(forbidden.to_string().contains("create tokenreviews.authentication.k8s.io"), "{forbidden}");
        for busy in [429, 500, 503, 504] {
            assert_eq!((of(busy).kind(), of(busy).retry_after()), (FaultKind::Unreachable, Some(Duration::from_secs(3))));
        }
        assert_eq!((of(422).kind(), of(302).kind()), (FaultKind::Refused, FaultKind::Refused));
        assert!(matches!(of(409), ApiError::Conflict { .. }));
        assert!(matches!(of(410), ApiError::Expired { .. }));
    }
}
