//! Why a token did not do what it was asked, and what is to be done about it.

use std::path::PathBuf;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use pki::KeyError;
use runtime::secret_source::SecretSourceError;

/// Kinds of failure, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The session, its login or its objects are gone: another session will do.
    Session,
    /// The token is gone, or does not work.
    Device,
    /// The PIN cannot be read, or the token does not take it.
    Pin,
    /// The key is not there, or is not as it was made.
    Key,
    /// What was signed does not verify.
    Signature,
    /// All sessions are in use.
    Busy,
    /// The token does not answer.
    Silent,
    /// Everything else.
    Other,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Session, Self::Device, Self::Pin, Self::Key, Self::Signature, Self::Busy, Self::Silent, Self::Other];

    /// Its name, for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Device => "device",
            Self::Pin => "pin",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Busy => "busy",
            Self::Silent => "silent",
            Self::Other => "other",
        }
    }
}

/// Why a token did not do what it was asked. No variant carries a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// The module cannot be trusted or loaded.
    #[error("{}: the PKCS #11 module cannot be used: {cause}", path.display())]
    Module {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// No slot holds a token of this label.
    #[error("no token \"{label}\" in any slot of {}: insert it, or correct [keys.pkcs11] token; there are: {others}", module.display())]
    NoToken {
        /// The configured label.
        label: String,
        /// The module.
        module: PathBuf,
        /// The labels that there are.
        others: String,
    },
    /// Several tokens share the label.
    #[error("{found} slots of {} hold a token \"{label}\": labels must tell tokens apart; take the others out or rename them", module.display())]
    SeveralTokens {
        /// The configured label.
        label: String,
        /// The module.
        module: PathBuf,
        /// How many.
        found: usize,
    },
    /// The PIN cannot be read.
    #[error("the PIN of the token \"{token}\": {cause}")]
    Pin {
        /// The label of the token.
        token: String,
        /// Why not.
        cause: String,
    },
    /// The token does not take the PIN. It was tried once: tokens lock themselves after a few wrong ones.
    #[error(
        "the token \"{token}\" does not take the PIN ({cause}); it is not tried again, since tokens lock themselves after a few wrong \
         ones: correct the file or credential of [keys.pkcs11] and start again"
    )]
    PinRefused {
        /// The label of the token.
        token: String,
        /// What the token says.
        cause: String,
    },
    /// A call failed.
    #[error("the token \"{token}\" failed: {cause}")]
    Call {
        /// The label of the token.
        token: String,
        /// The function and what it gave.
        cause: String,
        /// The kind of failure.
        fault: Fault,
    },
    /// The key is not there.
    #[error("the token \"{token}\" holds no private key with CKA_ID {id}: it was destroyed, or this is another token")]
    NoKey {
        /// The label of the token.
        token: String,
        /// SHA-256 of its public half, in hexadecimal.
        id: String,
    },
    /// The key is not one that was made there for signing alone.
    #[error("the private key with CKA_ID {id} in the token \"{token}\" is not used: {why}; make another by rotation")]
    UnfitKey {
        /// The label of the token.
        token: String,
        /// SHA-256 of its public half, in hexadecimal.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The public half that the token gives, or the signature that it made, is not sound.
    #[error("the token \"{token}\": {cause}")]
    Unsound {
        /// The label of the token.
        token: String,
        /// What is wrong.
        cause: KeyError,
    },
    /// All sessions were in use for too long.
    #[error("all {sessions} sessions ([keys.pkcs11] sessions) of the token \"{token}\" were in use for {after:?}")]
    Busy {
        /// The label of the token.
        token: String,
        /// How many there are.
        sessions: usize,
        /// For how long it was waited.
        after: Duration,
    },
    /// The token did not answer in time. What it was asked may still happen.
    #[error("the token \"{token}\" did not answer within {after:?}")]
    Silent {
        /// The label of the token.
        token: String,
        /// For how long it was waited.
        after: Duration,
    },
}

impl TokenError {
    /// What kind of failure it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Module { .. } => Fault::Other,
            Self::NoToken { .. } | Self::SeveralTokens { .. } => Fault::Device,
            Self::Pin { .. } | Self::PinRefused { .. } => Fault::Pin,
            Self::Call { fault, .. } => *fault,
            Self::NoKey { .. } | Self::UnfitKey { .. } => Fault::Key,
            Self::Unsound { .. } => Fault::Signature,
            Self::Busy { .. } => Fault::Busy,
            Self::Silent { .. } => Fault::Silent,
        }
    }

    pub(crate) fn pin(token: &str, cause: &SecretSourceError) -> Self {
        Self::Pin { token: token.to_owned(), cause: cause.to_string() }
    }

    pub(crate) fn call(token: &str, error: &Error) -> Self {
        let (cause, fault) = match error {
            Error::Pkcs11(code, function) => (told(*function, *code), fault_of(*code)),
            Error::LibraryLoading(_)
            | Error::NotSupported
            | Error::TryFromInt(_)
            | Error::TryFromSlice(_)
            | Error::ParseInt(_)
            | Error::Utf8(_)
            | Error::NulError(_)
            | Error::NullFunctionPointer
            | Error::MissingSymbol(_)
            | Error::InvalidValue
            | Error::PinNotSet => (error.to_string(), Fault::Other),
        };
        Self::Call { token: token.to_owned(), cause, fault }
    }
}

/// A return code by the name that the standard gives it, without its prefix and in one word.
fn told(function: Function, code: RvError) -> String {
    format!("C_{function:?} gave {code:?}")
}

/// PKCS #11 section 5.1. Modules differ in what they say of a token that is gone, so the codes that say nothing count as that: the
/// worst that comes of it is that the token is opened anew.
fn fault_of(code: RvError) -> Fault {
    use RvError as Code;
    if matches!(
        code,
        Code::SessionHandleInvalid
            | Code::SessionClosed
            | Code::UserNotLoggedIn
            | Code::KeyHandleInvalid
            | Code::ObjectHandleInvalid
            | Code::OperationActive
            | Code::OperationNotInitialized
    ) {
        Fault::Session
    } else if matches!(
        code,
        Code::DeviceRemoved
            | Code::DeviceError
            | Code::TokenNotPresent
            | Code::TokenNotRecognized
            | Code::SlotIdInvalid
            | Code::CryptokiNotInitialized
            | Code::GeneralError
            | Code::FunctionFailed
    ) {
        Fault::Device
    } else if is_about_the_pin(code) {
        Fault::Pin
    } else {
        Fault::Other
    }
}

pub(crate) fn is_about_the_pin(code: RvError) -> bool {
    use RvError as Code;
    matches!(
        code,
        Code::PinIncorrect
            | Code::PinInvalid
            | Code::PinLenRange
            | Code::PinExpired
            | Code::PinLocked
            | Code::UserPinNotInitialized
    )
}
