//! Why there is no answer that can be used, in words that say what to do.

use std::fmt;
use std::time::Duration;

use mtls::https::FetchError;

use crate::answer::AnswerError;

/// The most reasons that are repeated, and the most characters of each.
const MAX_REASONS: usize = 4;
const MAX_REASON_CHARACTERS: usize = 200;

/// The server's own words: few, short and printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(Vec<String>);

impl Reasons {
    /// Keeps what people can read of some texts.
    #[must_use]
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let printable = |text: &str| {
            let visible = text.chars().map(|c| if c.is_control() || !(c.is_alphanumeric() || c.is_ascii()) { ' ' } else { c });
            let words: String = visible.take(4 * MAX_REASON_CHARACTERS).collect();
            words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_REASON_CHARACTERS).collect::<String>()
        };
        Self(texts.take(MAX_REASONS).map(printable).filter(|text| !text.is_empty()).collect())
    }

    fn say(&self, word: &str) -> bool {
        self.0.iter().any(|reason| reason.contains(word))
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("it gives no reason") } else { f.write_str(&self.0.join("; ")) }
    }
}

/// As far as whoever asked acts differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Later it may go well by itself.
    Unreachable,
    /// What proves this process is missing, or not accepted.
    Credential,
    /// The server answered, and will not do this.
    Refused,
    /// What it answered cannot be used.
    Malformed,
}

/// Why there is no answer that can be used. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file of the configuration cannot be used.
    #[error("{what}: {cause}")]
    Local {
        /// Which key names it.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// What proves this process cannot be read.
    #[error("nothing to log in with: {what}: {cause}")]
    Credential {
        /// Which key names it.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// No answer came.
    #[error("{0}")]
    Https(#[from] FetchError),
    /// It took too long, all tries together.
    #[error("{path}: no answer within {after:?}, all tries together")]
    Deadline {
        /// What was asked.
        path: String,
        /// The deadline.
        after: Duration,
    },
    /// The server is sealed.
    #[error("the server is sealed and serves nobody: unseal it ({reasons})")]
    Sealed {
        /// Its words.
        reasons: Reasons,
    },
    /// It cannot serve now, and did not at the tries before.
    #[error("{path}: the server answers {status}, {}: {reasons}", meaning(*status))]
    Busy {
        /// What was asked.
        path: String,
        /// The status code.
        status: u16,
        /// For how long it wants to be left alone.
        after: Option<Duration>,
        /// Its words.
        reasons: Reasons,
    },
    /// The login is refused.
    #[error(
        "the login at {path} is refused ({status}): {reasons}; check what proves this process, and the role that it logs in as"
    )]
    Login {
        /// What was asked.
        path: String,
        /// The status code.
        status: u16,
        /// Its words.
        reasons: Reasons,
    },
    /// The token is accepted by nobody, or may not do this.
    #[error("{path}: permission denied ({reasons}): the token has ended, or its policies lack update on this path")]
    Denied {
        /// What was asked.
        path: String,
        /// Its words.
        reasons: Reasons,
    },
    /// There is no such path: engine, role or issuer.
    #[error("{path}: there is nothing ({reasons}): check mount, role, issuer and namespace")]
    NotFound {
        /// What was asked.
        path: String,
        /// Its words.
        reasons: Reasons,
    },
    /// The request does not fit the role, most often.
    #[error("{path}: refused ({status}): {reasons}")]
    Refused {
        /// What was asked.
        path: String,
        /// The status code.
        status: u16,
        /// Its words.
        reasons: Reasons,
    },
    /// The answer is not of the documented form.
    #[error("{path}: the answer cannot be used: {cause}")]
    Answer {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        cause: AnswerError,
    },
}

impl VaultError {
    /// What a refusal by status says. `login`: it was one.
    pub(crate) fn of_status(path: &str, status: u16, after: Option<Duration>, reasons: Reasons, login: bool) -> Self {
        let path = path.to_owned();
        match status {
            503 if reasons.say("sealed") => Self::Sealed { reasons },
            status if is_passing(status) => Self::Busy { path, status, after, reasons },
            status if login => Self::Login { path, status, reasons },
            403 => Self::Denied { path, reasons },
            404 => Self::NotFound { path, reasons },
            status => Self::Refused { path, status, reasons },
        }
    }

    /// Whether another try, a little later, may go well.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// For how long the server wants to be left alone, if it said so.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        if let Self::Busy { after, .. } = self { *after } else { None }
    }

    /// As far as whoever asked acts differently.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Local { .. } | Self::Https(_) | Self::Deadline { .. } | Self::Sealed { .. } | Self::Busy { .. } => {
                FaultKind::Unreachable
            }
            Self::Credential { .. } | Self::Login { .. } => FaultKind::Credential,
            Self::Denied { .. } | Self::NotFound { .. } | Self::Refused { .. } => FaultKind::Refused,
            Self::Answer { .. } => FaultKind::Malformed,
        }
    }
}

/// Statuses of a server that cannot now, by the API's documentation: a standby that has not caught up (412), too many requests or an
/// unready standby (429), a secondary of disaster recovery (472), a performance standby (473), and what servers and proxies fail with.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 412 | 429 | 472 | 473 | 500..=599)
}

fn meaning(status: u16) -> &'static str {
    match status {
        412 => "it has not caught up with what was written",
        429 => "too many requests, or a standby",
        472 => "a secondary of disaster recovery, which does not serve: name the active one",
        473 => "a performance standby, which cannot do this: name the active one",
        503 => "out of service for maintenance, or without an active node",
        _ => "it has a fault of its own",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, reasons: &str, login: bool) -> VaultError {
        VaultError::of_status("pki/sign/web", status, None, Reasons::of([reasons].into_iter()), login)
    }

    #[test]
    fn every_status_is_told_in_words() {
        for (status, reasons, login, kind, words) in [
            (503, "Vault is sealed", false, FaultKind::Unreachable, "unseal it"),
            (503, "Vault is sealed", true, FaultKind::Unreachable, "unseal it"),
            (503, "", false, FaultKind::Unreachable, "it gives no reason"),
            (429, "request path \"pki/sign/web\": rate limit quota exceeded", false, FaultKind::Unreachable, "too many requests"),
            (412, "required index state not present", false, FaultKind::Unreachable, "caught up"),
            (472, "", false, FaultKind::Unreachable, "name the active one"),
            (473, "", false, FaultKind::Unreachable, "name the active one"),
            (502, "", true, FaultKind::Unreachable, "fault of its own"),
            (403, "permission denied", false, FaultKind::Refused, "pki/sign/web: permission denied"),
            (403, "permission denied", true, FaultKind::Credential, "the login at pki/sign/web is refused (403)"),
            (400, "invalid role or secret ID", true, FaultKind::Credential, "invalid role or secret ID"),
            (404, "no handler for route", false, FaultKind::Refused, "check mount, role, issuer and namespace"),
            (400, "URI not allowed by role", false, FaultKind::Refused, "refused (400): URI not allowed by role"),
        ] {
            let error = of(status, reasons, login);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
        assert!(!of(503, "Vault is sealed", false).is_passing(), "it is a person's to end");
        assert!(of(429, "", false).is_passing() && !of(400, "", false).is_passing());
    }

    #[test]
    fn the_servers_words_are_few_short_and_printable() {
        let long = "x".repeat(5000);
        let texts =
            ["1 error occurred:\n\t* permission denied\n\n", "\u{1b}[31mred\u{202e}\u{0}", long.as_str(), "", "last", "sixth"];
        let reasons = Reasons::of(texts.into_iter());
        assert_eq!(reasons.0.first().unwrap(), "1 error occurred: * permission denied");
        assert_eq!(reasons.0.get(1).unwrap(), "[31mred");
        assert_eq!((reasons.0.len(), reasons.0.get(2).unwrap().len()), (3, MAX_REASON_CHARACTERS));
        assert!(reasons.to_string().chars().all(|c| !c.is_control()));
    }
}
