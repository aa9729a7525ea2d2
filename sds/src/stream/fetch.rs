//! `FetchSecrets`: one question, one answer, from the same offers as the streams.

use super::Connection;
use super::message::{Event, Now, Request, RequestError, Response, UnansweredReason, printable};
use super::request::{check_type, checked_names};

/// Why a fetch has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The request is refused: INVALID_ARGUMENT.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It names nothing: INVALID_ARGUMENT.
    #[error("the request has no name: ask for \"default\", \"ROOTCA\" or a SPIFFE ID")]
    NoNames,
    /// No entry matches the caller: PERMISSION_DENIED.
    #[error("no identity is registered for the caller; ask the operator for an entry whose selectors it has")]
    NoIdentity,
    /// The identity is revoked: PERMISSION_DENIED.
    #[error("the identity behind {name:?} is revoked, and nothing is given for it until an operator restores it")]
    Revoked {
        /// The name: at most 256 characters, control characters escaped.
        name: String,
    },
    /// Nothing of the caller has that name, whoever else's it may be: NOT_FOUND.
    #[error("the caller has no secret {name:?}")]
    NotFound {
        /// The name: at most 256 characters, control characters escaped.
        name: String,
    },
    /// It may come: UNAVAILABLE.
    #[error("the secret {name:?} is not there yet, or does not verify at the moment; ask again")]
    NotYet {
        /// The name: at most 256 characters, control characters escaped.
        name: String,
    },
}

impl Connection {
    /// Answers a fetch: all its names, or none.
    ///
    /// # Errors
    /// [`FetchError`] for the first name without an answer.
    pub fn fetch(&mut self, request: Request, now: Now) -> Result<Response, FetchError> {
        let Request { type_url, names, validation, version: _, nonce: _, rejection: _ } = request;
        check_type(&type_url)?;
        let names = checked_names(names)?;
        if names.is_empty() {
            return Err(FetchError::NoNames);
        }
        self.advance(now);
        if let Some(target) = self.target.clone()
            && !self.verified(&target, now)
        {
            self.recompose(now);
        }
        let target = self.target.clone().filter(|target| self.verified(target, now));
        for name in &names {
            if target.as_ref().is_some_and(|target| target.answers(name)) {
                continue;
            }
            let shown = printable(name);
            return Err(match self.why_unanswered(name) {
                UnansweredReason::NoIdentity => FetchError::NoIdentity,
                UnansweredReason::Revoked => FetchError::Revoked { name: shown },
                UnansweredReason::NotTheCallers | UnansweredReason::FileRefused => FetchError::NotFound { name: shown },
                UnansweredReason::HeldBack | UnansweredReason::NotYet => FetchError::NotYet { name: shown },
            });
        }
        let kind = validation.unwrap_or(self.validation);
        let Some((version, target)) = target.and_then(|target| Some((target.version(&names, kind)?, target))) else {
            return Err(FetchError::NoNames);
        };
        let resources = target.resources(&names, kind);
        self.events.push(Event::fetched(&version, &resources));
        Ok(Response { version, nonce: String::new(), resources, removed: Vec::new() })
    }
}
