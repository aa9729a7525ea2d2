//! Where the private keys of authorities are made, found and destroyed: in files, in a PKCS #11 token, or in memory.
//!
//! A key in a token or in memory has a file all the same, in the place where a private key would lie: it holds the public half
//! (`PUBLIC KEY`), by which the private one is found. So each authority says itself where its key lies, and all kinds may stand side by
//! side while one gives way to the other by rotation. New keys are made where `[keys] store` says.

mod memory;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkcs11::{Token, TokenError, TokenKey};
use pki::{JwtKey, JwtKeyError, KeyAlgorithm, KeyError, PrivateKey, PublicKey, Signer};
use runtime::clock::SystemClock;
use runtime::entropy::{self, Entropy};
use runtime::private_files::{PrivateFileError, read_private};
use runtime::secret_source::{SecretSource, SecretSourceError};
use zeroize::Zeroizing;

use crate::authority::{KeyContent, PrivatePem};
use crate::config::{CaConfig, KeyStore};
use crate::key_file;
use memory::KeysInMemory;

/// More than an RSA key of 4096 bits in any form.
const MAX_KEY_BYTES: usize = 16 * 1024;

/// A key that signs, wherever it lies.
pub(crate) type SigningKey = Arc<dyn Signer>;
/// The same behind JWT-SVIDs.
pub(crate) type JwtSigningKey = JwtKey<SigningKey>;

/// Why a key cannot be had, made or destroyed.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The file is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The passphrase that keys in files are under.
    #[error("the passphrase of the private keys ([keys]): {0}")]
    Passphrase(#[from] SecretSourceError),
    /// The file holds no key.
    #[error("{}: {cause}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// The key is none that signs JWT-SVIDs.
    #[error("{}: {cause}", path.display())]
    Jwt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: JwtKeyError,
    },
    /// The file holds the public half of a key in a token, and none is configured.
    #[error("{}: names a key in a PKCS #11 token, and no token is configured; say under [keys.pkcs11] which it is", path.display())]
    NoToken {
        /// Which file.
        path: PathBuf,
    },
    /// The token does not have it, or cannot be asked.
    #[error("{}: names a key in a PKCS #11 token: {cause}", path.display())]
    InToken {
        /// Which file.
        path: PathBuf,
        /// What the token says.
        cause: TokenError,
    },
    /// The key was in memory, and the process that had it has ended.
    #[error(
        "{}: names a key that was in the memory of a CA which has ended, and nobody has it now; a start of `signet ca run` under the same \
         [upstream] has another one signed", path.display()
    )]
    Forgotten {
        /// Which file.
        path: PathBuf,
    },
    /// The token makes no key.
    #[error("no key could be made: {0}")]
    NotMade(TokenError),
    /// The crypto backend makes no key.
    #[error("no key could be made: {0}")]
    NotGenerated(KeyError),
    /// The file cannot be removed.
    #[error("{}: cannot be removed: {cause}", path.display())]
    NotRemoved {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// The key stores of one CA.
#[derive(Clone, Debug)]
pub(crate) struct SigningKeys {
    passphrase: Option<SecretSource>,
    made_in: KeyStore,
    token: Option<Token>,
    memory: KeysInMemory,
}

/// A key that was just made, and is in no place yet.
pub(crate) enum NewKey {
    /// On its way into a file.
    Here(Arc<PrivateKey>),
    /// In memory, to stay there.
    InMemory(Arc<PrivateKey>),
    /// In the token already.
    InToken(Arc<TokenKey>),
}

impl NewKey {
    /// What signs with it.
    pub(crate) fn signer(&self) -> SigningKey {
        match self {
            Self::Here(key) | Self::InMemory(key) => Arc::<PrivateKey>::clone(key),
            Self::InToken(key) => Arc::<TokenKey>::clone(key),
        }
    }

    /// The public half.
    pub(crate) fn public_key(&self) -> &PublicKey {
        match self {
            Self::Here(key) | Self::InMemory(key) => key.public_key(),
            Self::InToken(key) => Signer::public_key(key),
        }
    }

    /// What is read of the file with this text.
    pub(crate) fn content(&self, text: &str) -> KeyContent {
        match self {
            Self::Here(_) => KeyContent::Pem(PrivatePem(Zeroizing::new(text.as_bytes().to_vec()))),
            Self::InMemory(_) | Self::InToken(_) => KeyContent::Held(self.signer()),
        }
    }
}

impl SigningKeys {
    /// As configured; a token is opened, so that a CA without its token does not start.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) async fn open(config: &CaConfig) -> Result<Self, TokenError> {
        let token = match &config.token {
            Some(token) => Some(Token::open(token.clone(), SystemClock::shared()).await?),
            None => None,
        };
        let memory = KeysInMemory::default();
        Ok(Self { passphrase: config.key_passphrase.clone(), made_in: config.key_store, token, memory })
    }

    /// The token, where there is one.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// That keys of this kind are made here, before anything is.
    ///
    /// # Errors
    /// [`SigningKeyError::NotGenerated`].
    pub(crate) fn check_makes(&self, algorithm: KeyAlgorithm) -> Result<(), SigningKeyError> {
        match (self.made_in, algorithm) {
            (KeyStore::Token, KeyAlgorithm::Rsa(_)) => Err(SigningKeyError::NotGenerated(KeyError::NotEcdsa)),
            (KeyStore::Token, KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384) => Ok(()),
            (KeyStore::File | KeyStore::Memory, _) if algorithm.is_made_here() => Ok(()),
            // The backend says why.
            (KeyStore::File | KeyStore::Memory, _) => {
                PrivateKey::generate(algorithm).map(drop).map_err(SigningKeyError::NotGenerated)
            }
        }
    }

    /// Makes a key. One in a token is there from now on: whoever does not put it in a place discards it. `label` is for those who look
    /// into the token.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) async fn make(&self, algorithm: KeyAlgorithm, label: &str) -> Result<NewKey, SigningKeyError> {
        self.check_makes(algorithm)?;
        match (&self.token, self.made_in) {
            (Some(token), KeyStore::Token) => {
                let key = token.generate(algorithm, label).await.map_err(SigningKeyError::NotMade)?;
                Ok(NewKey::InToken(Arc::new(key)))
            }
            (_, KeyStore::Memory) => {
                let key = Arc::new(PrivateKey::generate(algorithm).map_err(SigningKeyError::NotGenerated)?);
                self.memory.hold(&key);
                Ok(NewKey::InMemory(key))
            }
            // The configuration has a token where it says that keys are made in one.
            (_, KeyStore::File) | (None, KeyStore::Token) => {
                let key = PrivateKey::generate(algorithm).map_err(SigningKeyError::NotGenerated)?;
                Ok(NewKey::Here(Arc::new(key)))
            }
        }
    }

    /// The text of the file of a key: the private half under the passphrase, or the public half of a key in a token or in memory.
    ///
    /// # Errors
    /// [`SecretSourceError`] of the passphrase.
    pub(crate) fn text_of(&self, key: &NewKey, entropy: &dyn Entropy) -> Result<Zeroizing<String>, SecretSourceError> {
        match key {
            NewKey::Here(key) => {
                let protection = key_file::protection(self.passphrase.as_ref())?;
                Ok(key.to_protected_pem(&protection, &entropy::bytes(entropy)))
            }
            NewKey::InMemory(key) => Ok(Zeroizing::new(memory::file_text(key.public_key()))),
            NewKey::InToken(key) => Ok(Zeroizing::new(Signer::public_key(key).to_pem())),
        }
    }

    /// Takes back a key after its way into its place failed, unless its file is there and so names it. One that stays in the token all the
    /// same is told in the log: nothing names it.
    pub(crate) async fn discard(&self, key: &NewKey, file: &Path) {
        if file.symlink_metadata().is_ok() {
            return;
        }
        match (key, &self.token) {
            (NewKey::InToken(key), Some(token)) => {
                if let Err(error) = token.destroy(Signer::public_key(key)).await {
                    tracing::error!(%error, "a key that is not used stays in the token: `signet ca check` names it");
                }
            }
            (NewKey::InMemory(key), _) => self.memory.destroy(key.public_key()),
            (NewKey::Here(_), _) | (NewKey::InToken(_), None) => {}
        }
    }

    /// What the file of a key holds, the key itself when it lies in a token; `None` when there is no such file. Whether a private key is
    /// protected as configured is seen when it is parsed, by [`Self::protection`].
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) async fn content(&self, path: &Path) -> Result<Option<KeyContent>, SigningKeyError> {
        let Some(pem) = read(path)? else { return Ok(None) };
        match named_in(path, &pem)? {
            Named::InToken(public) => {
                let key = self.token_for(path)?.find(&public).await;
                let key = key.map_err(|cause| SigningKeyError::InToken { path: path.to_owned(), cause })?;
                Ok(Some(KeyContent::Held(Arc::new(key))))
            }
            Named::InMemory(public) => match self.memory.find(&public) {
                Some(key) => Ok(Some(KeyContent::Held(key))),
                None => Err(SigningKeyError::Forgotten { path: path.to_owned() }),
            },
            Named::Nothing => Ok(Some(KeyContent::Pem(PrivatePem(pem)))),
        }
    }

    /// The public half of the key of this file, where it was made in memory.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) fn made_in_memory(&self, path: &Path) -> Result<Option<PublicKey>, SigningKeyError> {
        let Some(pem) = read(path)? else { return Ok(None) };
        match named_in(path, &pem)? {
            Named::InMemory(public) => Ok(Some(public)),
            Named::InToken(_) | Named::Nothing => Ok(None),
        }
    }

    /// Whether the key of this file was made in memory, by a process that has ended.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) fn is_forgotten(&self, path: &Path) -> Result<bool, SigningKeyError> {
        Ok(self.made_in_memory(path)?.is_some_and(|public| self.memory.find(&public).is_none()))
    }

    /// The key of this file; `None` when there is no such file.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) async fn read(&self, path: &Path) -> Result<Option<SigningKey>, SigningKeyError> {
        match self.content(path).await? {
            None => Ok(None),
            Some(KeyContent::Held(key)) => Ok(Some(key)),
            Some(KeyContent::Pem(PrivatePem(pem))) => {
                let key = PrivateKey::from_protected_pem(&pem, &self.protection()?);
                let key = key.map_err(|cause| SigningKeyError::Key { path: path.to_owned(), cause })?;
                Ok(Some(Arc::new(key)))
            }
        }
    }

    /// The JWT key of this file; `None` when there is no such file.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub(crate) async fn read_jwt(&self, path: &Path) -> Result<Option<JwtSigningKey>, SigningKeyError> {
        let Some(key) = self.read(path).await? else { return Ok(None) };
        JwtKey::new(key).map(Some).map_err(|cause| SigningKeyError::Jwt { path: path.to_owned(), cause })
    }

    /// How keys in files must be protected.
    ///
    /// # Errors
    /// [`SecretSourceError`].
    pub(crate) fn protection(&self) -> Result<pki::KeyProtection, SecretSourceError> {
        key_file::protection(self.passphrase.as_ref())
    }

    /// Destroys the key of this file, in the token or in memory first, and then the file; says whether there was one.
    ///
    /// # Errors
    /// [`SigningKeyError`]; the file is still there then, and the rest may be done again.
    pub(crate) async fn remove_key(&self, path: &Path) -> Result<bool, SigningKeyError> {
        let Some(pem) = read(path)? else { return Ok(false) };
        match named_in(path, &pem)? {
            Named::InToken(public) => {
                let destroyed = self.token_for(path)?.destroy(&public).await;
                destroyed.map_err(|cause| SigningKeyError::InToken { path: path.to_owned(), cause })?;
            }
            Named::InMemory(public) => self.memory.destroy(&public),
            Named::Nothing => {}
        }
        std::fs::remove_file(path).map_err(|cause| SigningKeyError::NotRemoved { path: path.to_owned(), cause })?;
        Ok(true)
    }

    /// Where the key of this file lies, in words; a token is not asked for it.
    pub(crate) fn place(&self, path: &Path) -> String {
        let Ok(Some(pem)) = read(path) else { return format!("not in {}", path.display()) };
        match (named_in(path, &pem), &self.token) {
            (Ok(Named::InToken(public)), Some(token)) => {
                format!("{token}, CKA_ID {}", data_encoding::HEXLOWER.encode(&public.fingerprint()))
            }
            (Ok(Named::InToken(_)), None) => "a token that is not configured".to_owned(),
            (Ok(Named::InMemory(public)), _) if self.memory.find(&public).is_some() => "memory of this process".to_owned(),
            (Ok(Named::InMemory(_)), _) => "memory of the process that made it".to_owned(),
            (Ok(Named::Nothing) | Err(_), _) => format!("file {}", path.display()),
        }
    }

    fn token_for(&self, path: &Path) -> Result<&Token, SigningKeyError> {
        self.token.as_ref().ok_or_else(|| SigningKeyError::NoToken { path: path.to_owned() })
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    match read_private(path, MAX_KEY_BYTES) {
        Ok(pem) => Ok(Some(Zeroizing::new(pem))),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the file of a key names.
enum Named {
    /// Nothing: it should hold the key itself.
    Nothing,
    InToken(PublicKey),
    InMemory(PublicKey),
}

fn named_in(path: &Path, pem: &[u8]) -> Result<Named, SigningKeyError> {
    let public = PublicKey::from_pem(pem).map_err(|cause| SigningKeyError::Key { path: path.to_owned(), cause })?;
    Ok(match public {
        None => Named::Nothing,
        Some(public) if memory::is_named_in(pem) => Named::InMemory(public),
        Some(public) => Named::InToken(public),
    })
}
