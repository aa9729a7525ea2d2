//! One logged-in connection to a token: the module, the slot, and sessions that are used again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;

use crate::error::is_about_the_pin;
use crate::{Fault, TokenConfig, TokenError, module_file};

/// More than the longest PIN of any token, with a line end.
const MAX_PIN_BYTES: usize = 256;

/// A connection. `epoch` tells one from what was there before it was opened anew.
#[derive(Debug)]
pub(crate) struct Connection {
    config: TokenConfig,
    module: Pkcs11,
    slot: Option<Slot>,
    sessions: Mutex<Sessions>,
    pub(crate) epoch: u64,
}

#[derive(Debug, Default)]
struct Sessions {
    /// Never used for anything: a token forgets a login when the last session is closed.
    anchor: Option<Session>,
    idle: Vec<Session>,
}

impl Connection {
    /// Loads the module, finds the token and logs in.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn open(config: TokenConfig) -> Result<Self, TokenError> {
        let path = module_file::checked(&config.module)?;
        let unusable = |error: Error| TokenError::Module { path: config.module.clone(), cause: error.to_string() };
        let module = Pkcs11::new(path).map_err(unusable)?;
        let mut connection = Self { config, module, slot: None, sessions: Mutex::default(), epoch: 0 };
        connection.initialize()?;
        connection.log_in()?;
        Ok(connection)
    }

    /// Opens everything anew after a failure: sessions and login, and for a token that was gone the module, since many see only tokens
    /// that were there when it began.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn reopen(&mut self, fault: Fault) -> Result<(), TokenError> {
        // First of all: a new session may get the handle of an old one, which would then be closed with it.
        *self.sessions() = Sessions::default();
        if fault == Fault::Device {
            // What has ended already says so, and begins again all the same.
            drop(self.module.clone().finalize());
            self.initialize()?;
        }
        self.log_in()?;
        self.epoch += 1;
        Ok(())
    }

    fn initialize(&self) -> Result<(), TokenError> {
        match self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn log_in(&mut self) -> Result<(), TokenError> {
        let slot = self.find_slot()?;
        let session = self.module.open_ro_session(slot).map_err(|error| self.failed(&error))?;
        let token = &self.config.token;
        let pin = self.config.pin.read_as(MAX_PIN_BYTES, pin_of).map_err(|cause| TokenError::pin(token, &cause))?;
        match session.login_with_raw(UserType::User, &pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Error::Pkcs11(code, _)) if is_about_the_pin(code) => {
                return Err(TokenError::PinRefused { token: token.clone(), cause: format!("{code:?}") });
            }
            Err(error) => return Err(self.failed(&error)),
        }
        self.slot = Some(slot);
        self.sessions().anchor = Some(session);
        Ok(())
    }

    fn find_slot(&self) -> Result<Slot, TokenError> {
        let slots = self.module.get_slots_with_token().map_err(|error| self.failed(&error))?;
        // A slot that cannot say what it holds is not the one.
        let labels = slots.into_iter().filter_map(|slot| Some((slot, self.module.get_token_info(slot).ok()?)));
        let labels: Vec<_> = labels.filter(|(_, token)| token.token_initialized()).collect();
        let (label, module) = (self.config.token.clone(), self.config.module.clone());
        let found: Vec<_> = labels.iter().filter(|(_, token)| token.label() == label).collect();
        match found[..] {
            [(slot, _)] => Ok(*slot),
            [] => {
                let others: Vec<_> = labels.iter().map(|(_, token)| format!("\"{}\"", token.label())).collect();
                let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
                Err(TokenError::NoToken { label, module, others })
            }
            _ => Err(TokenError::SeveralTokens { label, module, found: found.len() }),
        }
    }

    /// Does something in a session that can only read, which is kept for the next when it went well.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn reading<T>(&self, work: impl FnOnce(&Session) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let idle = self.sessions().idle.pop();
        let session = match idle {
            Some(session) => session,
            None => self.module.open_ro_session(self.slot()?).map_err(|error| self.failed(&error))?,
        };
        let done = work(&session)?;
        self.sessions().idle.push(session);
        Ok(done)
    }

    /// Does something in a session that can also write.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn writing<T>(&self, work: impl FnOnce(&Session) -> Result<T, TokenError>) -> Result<T, TokenError> {
        work(&self.module.open_rw_session(self.slot()?).map_err(|error| self.failed(&error))?)
    }

    /// Whether the token is there, and the session logged in: without a login private keys seem not to be there.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub(crate) fn check_login(&self, session: &Session) -> Result<(), TokenError> {
        let info = session.get_session_info().map_err(|error| self.failed(&error))?;
        match info.session_state() {
            SessionState::RoUser | SessionState::RwUser => Ok(()),
            SessionState::RoPublic | SessionState::RwPublic | SessionState::RwSecurityOfficer => Err(TokenError::Call {
                token: self.config.token.clone(),
                cause: "the login is gone".to_owned(),
                fault: Fault::Session,
            }),
        }
    }

    pub(crate) fn failed(&self, error: &Error) -> TokenError {
        TokenError::call(&self.config.token, error)
    }

    pub(crate) fn token(&self) -> &str {
        &self.config.token
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        // Without an anchor nobody is logged in: the last try to open the token failed.
        let gone =
            || TokenError::Call { token: self.config.token.clone(), cause: "it is not open".to_owned(), fault: Fault::Device };
        self.slot.filter(|_| self.sessions().anchor.is_some()).ok_or_else(gone)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A PIN without its line end. The bytes are wiped with what holds them.
fn pin_of(mut bytes: Vec<u8>) -> Result<RawAuthPin, &'static str> {
    while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        bytes.pop();
    }
    let is_sound = !bytes.is_empty() && !bytes.iter().any(u8::is_ascii_control);
    let pin = RawAuthPin::new(Box::new(bytes));
    if is_sound { Ok(pin) } else { Err("a PIN is one line that is not empty") }
}

#[cfg(test)]
mod tests {
    use super::pin_of;

    #[test]
    fn a_pin_is_one_line() {
        for good in ["1234", "1234\n", "1234\r\n", "a b"] {
            assert!(pin_of(good.as_bytes().to_vec()).is_ok(), "{good:?}");
        }
        for bad in ["", "\n", "12\n34", "12\0"] {
            assert!(pin_of(bad.as_bytes().to_vec()).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", pin_of(b"1234".to_vec())).contains("1234"));
    }
}
