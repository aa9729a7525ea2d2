//! A private key in a token, as a signer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use pki::{KeyError, PublicKey, Signer, Signing};

use crate::connection::Connection;
use crate::token::Token;
use crate::{TokenError, objects};

/// A private key in a token. It is looked for by its public half; what it signs is verified before it is given out.
#[derive(Clone)]
pub struct TokenKey {
    token: Token,
    key: Arc<KeyInToken>,
}

/// What is known of a key, with its handle in the connection of an epoch.
pub(crate) struct KeyInToken {
    pub(crate) public: PublicKey,
    handle: Mutex<Option<(u64, ObjectHandle)>>,
}

impl TokenKey {
    pub(crate) fn new(token: Token, key: Arc<KeyInToken>) -> Self {
        Self { token, key }
    }

    async fn signature(&self, message: Vec<u8>) -> Result<Vec<u8>, TokenError> {
        let key = Arc::clone(&self.key);
        self.token.ask(move |connection| key.sign(connection, &message)).await.inspect(|_| self.token.tally().signed())
    }
}

impl KeyInToken {
    pub(crate) fn new(public: PublicKey) -> Self {
        Self { public, handle: Mutex::new(None) }
    }

    /// Finds it, whatever was known before.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn look_up(&self, connection: &Connection) -> Result<ObjectHandle, TokenError> {
        let handle = connection.reading(|session| objects::find(connection, session, &self.public))?;
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some((connection.epoch, handle));
        Ok(handle)
    }

    fn sign(&self, connection: &Connection, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let unsound = |cause| objects::unsound(connection, cause);
        let digest = self.public.ecdsa_digest(message).map_err(unsound)?;
        // Handles of token objects hold in every session of a login (PKCS #11 section 5.1.7).
        let known = *self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match known {
            Some((epoch, handle)) if epoch == connection.epoch => handle,
            Some(_) | None => self.look_up(connection)?,
        };
        let raw = connection
            .reading(|session| session.sign(&Mechanism::Ecdsa, handle, &digest).map_err(|error| connection.failed(&error)))?;
        self.public.ecdsa_signature(message, &raw).map_err(unsound)
    }
}

impl Signer for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.key.public
    }

    fn signing<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Signing::Underway(Box::pin(async {
            let signature = self.signature(message.to_vec()).await;
            signature.map_err(|error| KeyError::Device { cause: error.to_string() })
        }))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({:?} in {})", self.key.public, self.token)
    }
}
