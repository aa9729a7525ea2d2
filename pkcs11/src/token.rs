//! A token that is asked from asynchronous code: so many calls at once, each on a thread of its own, opened anew when it was gone.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use data_encoding::HEXLOWER;
use pki::{KeyAlgorithm, PublicKey};
use runtime::clock::Clock;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::key::KeyInToken;
use crate::workers::Workers;
use crate::{Fault, Tally, TokenConfig, TokenError, TokenKey, objects};

/// After how long a token that could not be opened is tried again: its module may block all others while it looks.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// A token. Cheap to clone; clones share sessions, threads and counters.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    name: String,
    patience: Duration,
    sessions: usize,
    free: Arc<Semaphore>,
    workers: Workers,
    line: Arc<Line>,
    in_use: Mutex<Vec<Weak<KeyInToken>>>,
}

/// What the threads share.
struct Line {
    connection: RwLock<Connection>,
    clock: Arc<dyn Clock>,
    trouble: Mutex<Option<Trouble>>,
    tally: Tally,
}

/// Why the token could not be opened anew, and when that was, by the time since boot.
struct Trouble {
    error: TokenError,
    at: Duration,
}

/// A private key that is in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyListing {
    /// CKA_ID in hexadecimal: SHA-256 of the SubjectPublicKeyInfo for keys made here.
    pub id: String,
    /// CKA_LABEL.
    pub label: String,
}

impl Token {
    /// Loads the module, finds the token and logs in.
    ///
    /// # Errors
    /// [`TokenError`], also when the token does not answer.
    pub async fn open(config: TokenConfig, clock: Arc<dyn Clock>) -> Result<Self, TokenError> {
        let TokenConfig { module, token, pin: _, sessions, patience } = config.clone();
        let unusable = |cause: std::io::Error| TokenError::Module { path: module.clone(), cause: cause.to_string() };
        let workers = Workers::new(sessions).map_err(unusable)?;
        let (answer, opened) = oneshot::channel();
        workers.run(move || drop(answer.send(Connection::open(config))));
        let silent = || TokenError::Silent { token: token.clone(), after: patience };
        let connection = timeout(patience, opened).await.map_err(|_| silent())?.map_err(|_| silent())??;
        let line = Line { connection: RwLock::new(connection), clock, trouble: Mutex::default(), tally: Tally::default() };
        Ok(Self(Arc::new(Inner {
            name: token,
            patience,
            sessions,
            free: Arc::new(Semaphore::new(sessions)),
            workers,
            line: Arc::new(line),
            in_use: Mutex::default(),
        })))
    }

    /// Makes a key that signs and does nothing else and cannot leave; `label` is for those who look into the token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn generate(&self, algorithm: KeyAlgorithm, label: &str) -> Result<TokenKey, TokenError> {
        let label = label.to_owned();
        let public = self.ask_once(move |connection| objects::generate(connection, algorithm, &label)).await?;
        Ok(self.key_of(public))
    }

    /// The private half of this key.
    ///
    /// # Errors
    /// [`TokenError::NoKey`] when it is not there, [`TokenError::UnfitKey`] when it could leave the token or does more than sign.
    pub async fn find(&self, public: &PublicKey) -> Result<TokenKey, TokenError> {
        let key = self.key_of(public.clone());
        let looked_for = Arc::new(KeyInToken::new(public.clone()));
        self.ask(move |connection| looked_for.look_up(connection)).await?;
        Ok(key)
    }

    /// Destroys a key; says whether it was there.
    ///
    /// # Errors
    /// [`TokenError`], also when it is still there afterwards.
    pub async fn destroy(&self, public: &PublicKey) -> Result<bool, TokenError> {
        let public = public.clone();
        self.ask(move |connection| objects::destroy(connection, &public)).await
    }

    /// All private keys that are there.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn list(&self) -> Result<Vec<KeyListing>, TokenError> {
        let found = self.ask(objects::list).await?;
        Ok(found.into_iter().map(|(id, label)| KeyListing { id: HEXLOWER.encode(&id), label }).collect())
    }

    /// Whether the token is there and holds every key that is in use; opens it anew where that helps.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn probe(&self) -> Result<(), TokenError> {
        let keys: Vec<_> = {
            let mut in_use = self.0.in_use();
            in_use.retain(|key| key.strong_count() > 0);
            in_use.iter().filter_map(Weak::upgrade).collect()
        };
        self.ask(move |connection| {
            connection.reading(|session| connection.check_login(session))?;
            keys.iter().try_for_each(|key| key.look_up(connection).map(drop))
        })
        .await
    }

    /// What became of calls so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.0.line.tally
    }

    fn key_of(&self, public: PublicKey) -> TokenKey {
        let key = Arc::new(KeyInToken::new(public));
        self.0.in_use().push(Arc::downgrade(&key));
        TokenKey::new(self.clone(), key)
    }

    /// Asks, and once more when the token was opened anew: for what may be asked twice.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Connection) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        self.on_a_thread(move |line| line.ask(&question)).await
    }

    /// Asks once: a key that was made before the answer was lost must not be made again by itself.
    async fn ask_once<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        self.on_a_thread(move |line| line.ask_once(question)).await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Line) -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let Inner { name, patience, sessions, free, workers, line, in_use: _ } = &*self.0;
        let Ok(Ok(place)) = timeout(*patience, Arc::clone(free).acquire_owned()).await else {
            line.tally.failed(Fault::Busy);
            return Err(TokenError::Busy { token: name.clone(), sessions: *sessions, after: *patience });
        };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(line);
        workers.run(move || {
            let outcome = work(&shared);
            drop(place);
            // Whoever asked may have gone.
            drop(answer.send(outcome));
        });
        if let Ok(Ok(outcome)) = timeout(*patience, answered).await {
            return outcome;
        }
        line.tally.failed(Fault::Silent);
        Err(TokenError::Silent { token: name.clone(), after: *patience })
    }
}

impl Inner {
    fn in_use(&self) -> MutexGuard<'_, Vec<Weak<KeyInToken>>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn ask<T>(&self, question: &dyn Fn(&Connection) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let (epoch, first) = self.try_once(question);
        let Err(error) = first else { return first };
        match error.fault() {
            fault @ (Fault::Session | Fault::Device) => self.open_anew(epoch, fault)?,
            Fault::Pin | Fault::Key | Fault::Signature | Fault::Busy | Fault::Silent | Fault::Other => return Err(error),
        }
        self.try_once(question).1
    }

    fn ask_once<T>(&self, question: impl FnOnce(&Connection) -> Result<T, TokenError>) -> Result<T, TokenError> {
        // So that a session which ended long ago is found out by something that may be asked twice.
        self.ask(&|connection| connection.reading(|session| connection.check_login(session)))?;
        self.try_once(question).1
    }

    fn try_once<T>(&self, question: impl FnOnce(&Connection) -> Result<T, TokenError>) -> (u64, Result<T, TokenError>) {
        // A question holds the connection until all its sessions are back, so that none of them outlives it.
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner);
        let outcome = question(&connection).inspect_err(|error| self.tally.failed(error.fault()));
        (connection.epoch, outcome)
    }

    fn open_anew(&self, seen: u64, fault: Fault) -> Result<(), TokenError> {
        let mut connection = self.connection.write().unwrap_or_else(PoisonError::into_inner);
        if connection.epoch != seen {
            return Ok(());
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.boottime();
        if let Some(Trouble { error, at }) = &*trouble
            && (matches!(error, TokenError::PinRefused { .. }) || now.saturating_sub(*at) < REOPEN_AFTER)
        {
            return Err(error.clone());
        }
        match connection.reopen(fault) {
            Ok(()) => {
                *trouble = None;
                self.tally.opened_anew();
                tracing::warn!(token = connection.token(), "the token was opened anew");
                Ok(())
            }
            Err(error) => {
                self.tally.failed(error.fault());
                tracing::error!(%error, "the token cannot be opened");
                *trouble = Some(Trouble { error: error.clone(), at: now });
                Err(error)
            }
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token \"{}\"", self.0.name)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.0.name)
    }
}
