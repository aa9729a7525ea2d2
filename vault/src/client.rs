//! The client: one token, kept good; each call by it, tried again where that helps.

use std::sync::Arc;
use std::time::Duration;

use mtls::https::{HttpsAnswer, HttpsBounds, HttpsClient, HttpsRequest, WebRoots};
use pki::Certificate;
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::entropy::{self, Entropy};
use runtime::private_files::read_bounded;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::answer::{self, Login, MAX_ANSWER_BYTES, SignedCertificate};
use crate::credential::{LoginCall, Proof};
use crate::lease::{Lease, Step};
use crate::sign::Question;
use crate::tally::CallKind;
use crate::{AuthMethod, IntermediateRequest, LeafRequest, PathName, VaultConfig, VaultError, VaultMetrics};

/// The time for one request and its answer. A key in a slow token may stand behind a signature.
const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// The time for everything that one signature takes: login, tries, pauses.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The pause before the second try, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// The most tries of one request.
const MAX_TRIES: usize = 4;
/// The longest pause that is waited out here; whoever asks for more is left alone by the caller.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest pause that a server can ask for: a slip of its operator must not keep certificates from being renewed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The most bytes of a file of roots.
const MAX_ROOTS_BYTES: usize = 512 * 1024;

const TOKEN: &str = "x-vault-token";
const NAMESPACE: &str = "x-vault-namespace";
/// Servers can be told to refuse requests without it, so that nobody is made to send one unawares.
const REQUEST: &str = "x-vault-request";

/// A client of one server, for one purpose. It holds at most one token.
pub struct VaultClient {
    config: VaultConfig,
    /// One at a time comes to a token; the others wait for it.
    held: Mutex<Option<Lease>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: VaultMetrics,
}

impl VaultClient {
    /// A client. Nothing is read, and nothing is sent.
    #[must_use]
    pub fn new(config: VaultConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, metrics: VaultMetrics) -> Self {
        Self { config, held: Mutex::new(None), clock, entropy, metrics }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &VaultConfig {
        &self.config
    }

    /// Asks for a leaf. What comes is read, and not verified.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn sign_leaf(&self, request: &LeafRequest) -> Result<SignedCertificate, VaultError> {
        self.sign(request.question(&self.config)).await
    }

    /// Asks for a CA. What comes is read, and not verified.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn sign_intermediate(&self, request: &IntermediateRequest) -> Result<SignedCertificate, VaultError> {
        self.sign(request.question(&self.config)).await
    }

    /// Asks for the roots that the issuer leads to. Nobody needs a token for that.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn roots_of_issuer(&self) -> Result<Vec<Certificate>, VaultError> {
        let VaultConfig { mount, issuer, .. } = &self.config;
        let path = format!("{mount}/issuer/{}/json", issuer.as_ref().map_or("default", PathName::as_str));
        let read = tokio::time::timeout(CALL_DEADLINE, async {
            let answer = self.send_until_served(&path, None, None, false).await?;
            answer::roots_of_issuer(&answer).map_err(|cause| VaultError::Answer { path: path.clone(), cause })
        });
        let outcome = read.await.unwrap_or_else(|_| Err(VaultError::Deadline { path: path.clone(), after: CALL_DEADLINE }));
        self.metrics.count(CallKind::Read, &outcome);
        outcome
    }

    async fn sign(&self, question: Question) -> Result<SignedCertificate, VaultError> {
        let Question { path, body } = question;
        let signed = tokio::time::timeout(CALL_DEADLINE, async {
            let answer = self.call(&path, &body).await?;
            SignedCertificate::parse(&answer).map_err(|cause| VaultError::Answer { path: path.clone(), cause })
        });
        let outcome = signed.await.unwrap_or_else(|_| Err(VaultError::Deadline { path: path.clone(), after: CALL_DEADLINE }));
        self.metrics.count(CallKind::Sign, &outcome);
        outcome
    }

    /// Asks with the token of now. When that is refused, once more with one that was got after.
    async fn call(&self, path: &str, body: &Value) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let first = self.token(None).await?;
        match self.ask(path, Some(body), Some(&first), false).await {
            Err(denied @ VaultError::Denied { .. }) => {
                // It may have ended before its time, or been revoked; that its policies do not allow this looks the same.
                let second = self.token(Some(&first)).await?;
                if *second == *first {
                    // The configuration has no other. What is known of it was not so: it is looked up anew for the next call.
                    *self.held.lock().await = None;
                    return Err(denied);
                }
                self.ask(path, Some(body), Some(&second), false).await
            }
            outcome => outcome,
        }
    }

    /// A token that is good as far as is known, and is not `refused`, unless the configuration has no other.
    async fn token(&self, refused: Option<&str>) -> Result<Zeroizing<String>, VaultError> {
        let mut held = self.held.lock().await;
        if refused.is_some_and(|refused| held.as_ref().is_some_and(|lease| lease.token() == refused)) {
            *held = None;
        }
        // Whoever keeps a token for this process may have put another one there.
        if matches!(self.config.auth, AuthMethod::Token(_))
            && let Proof::Token(token) = self.proof().await?
            && held.as_ref().is_none_or(|lease| lease.token() != token.as_str())
        {
            *held = Some(self.look_up(token).await?);
        }
        if let Some(lease) = held.as_mut()
            && lease.step(self.clock.boottime()) == Step::Renew
        {
            self.renew(lease).await;
        }
        let is_good = |lease: &&mut Lease| lease.step(self.clock.boottime()) != Step::Replace;
        if let Some(lease) = held.as_mut().filter(is_good) {
            return Ok(Zeroizing::new(lease.token().to_owned()));
        }
        match self.proof().await? {
            Proof::Login(call) => {
                let lease = held.insert(self.log_in(call).await?);
                Ok(Zeroizing::new(lease.token().to_owned()))
            }
            // There is no other, whatever its life is said to be: the server has the last word.
            Proof::Token(token) => Ok(token),
        }
    }

    async fn log_in(&self, call: LoginCall) -> Result<Lease, VaultError> {
        let LoginCall { path, body } = call;
        let outcome = self
            .send_until_served(&path, Some(&body), None, true)
            .await
            .and_then(|answer| Login::parse(&answer).map_err(|cause| VaultError::Answer { path: path.clone(), cause }));
        self.metrics.count(CallKind::Login, &outcome);
        let login = outcome?;
        tracing::info!(path, life = ?login.life, "logged in to the server that signs");
        Ok(Lease::new(login, self.clock.boottime()))
    }

    /// How long a token lives that lay there. One that may not even be looked up is used without an end in view.
    async fn look_up(&self, token: Zeroizing<String>) -> Result<Lease, VaultError> {
        let path = "auth/token/lookup-self";
        let outcome = self.ask(path, None, Some(&token), false).await;
        self.metrics.count(CallKind::Login, &outcome);
        let (life, renewable) = match outcome {
            Ok(answer) => answer::lookup(&answer).map_err(|cause| VaultError::Answer { path: path.to_owned(), cause })?,
            Err(VaultError::Denied { .. }) => (None, false),
            Err(error) => return Err(error),
        };
        Ok(Lease::new(Login { token, life, renewable }, self.clock.boottime()))
    }

    /// A token that is not renewed is used to its end.
    async fn renew(&self, lease: &mut Lease) {
        let path = "auth/token/renew-self";
        let body = Value::Object(serde_json::Map::new());
        let token = Zeroizing::new(lease.token().to_owned());
        let outcome = self
            .ask(path, Some(&body), Some(&token), false)
            .await
            .and_then(|answer| Login::parse(&answer).map_err(|cause| VaultError::Answer { path: path.to_owned(), cause }));
        self.metrics.count(CallKind::Renew, &outcome);
        match outcome {
            Ok(Login { token: _, life, renewable }) => lease.renewed(life, renewable, self.clock.boottime()),
            Err(error) => {
                tracing::warn!(why = %error, "the token is not renewed");
                if !error.is_passing() {
                    lease.not_renewed();
                }
            }
        }
    }

    async fn proof(&self) -> Result<Proof, VaultError> {
        let auth = self.config.auth.clone();
        blocking(move || auth.proof()).await
    }

    async fn ask(
        &self,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
        login: bool,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        self.send_until_served(path, body.as_ref(), token, login).await
    }

    /// Tries again, after growing pauses, while the server says that it cannot now.
    async fn send_until_served(
        &self,
        path: &str,
        body: Option<&Zeroizing<Vec<u8>>>,
        token: Option<&str>,
        login: bool,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for _ in 1..MAX_TRIES {
            match self.send(path, body, token, login).await {
                Err(error) if error.is_passing() => {
                    let [random] = entropy::bytes(self.entropy.as_ref());
                    let pause = backoff.next_delay(random).max(error.pause().unwrap_or_default());
                    if pause > LONGEST_WAIT {
                        return Err(error);
                    }
                    tracing::debug!(why = %error, ?pause, "the server that signs is asked again");
                    tokio::time::sleep(pause).await;
                }
                outcome => return outcome,
            }
        }
        self.send(path, body, token, login).await
    }

    async fn send(
        &self,
        path: &str,
        body: Option<&Zeroizing<Vec<u8>>>,
        token: Option<&str>,
        login: bool,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let local = |cause: String| VaultError::Local { what: "address", cause };
        let url = self.config.address.on_same_server(&format!("/v1/{path}")).map_err(|error| local(error.to_string()))?;
        let mut request = match body {
            Some(body) => HttpsRequest::post_json(&url, body.clone()),
            None => HttpsRequest::get(&url),
        };
        let namespace = self.config.namespace.as_ref().map(|namespace| (NAMESPACE, namespace.as_str()));
        for (name, value) in [(REQUEST, "true")].into_iter().chain(namespace).chain(token.map(|token| (TOKEN, token))) {
            request = request.with_field(name, value).map_err(|error| local(error.to_string()))?;
        }
        let bounds = HttpsBounds { answer_bytes: MAX_ANSWER_BYTES, deadline: REQUEST_DEADLINE };
        let answer = self.https().await?.send(&request, bounds).await?;
        let HttpsAnswer { status, retry_after, body } = answer;
        match status {
            200 => Ok(body),
            status => {
                let after = retry_after.map(|after| after.min(LONGEST_PAUSE));
                Err(VaultError::of_status(path, status, after, answer::reasons(&body), login))
            }
        }
    }

    /// Roots and certificate as they lie there now, so that new ones count without a restart.
    async fn https(&self) -> Result<HttpsClient, VaultError> {
        let (path, auth) = (self.config.roots.clone(), self.config.auth.clone());
        let (roots, certificate) = blocking(move || {
            let refused = |cause: String| VaultError::Local { what: "roots", cause };
            let pem = read_bounded(&path, MAX_ROOTS_BYTES).map_err(|error| refused(error.to_string()))?;
            let roots = WebRoots::configured(&pem).map_err(|error| refused(format!("{}: {error}", path.display())))?;
            Ok((roots, auth.certificate()?))
        })
        .await?;
        let client = HttpsClient::of_configured_server(roots, Arc::clone(&self.clock));
        match certificate {
            None => Ok(client),
            Some((chain, key)) => client
                .showing(&chain, &key)
                .map_err(|error| VaultError::Credential { what: "key_file", cause: error.to_string() }),
        }
    }

    /// Looks at the files that the configuration names, without sending anything. Blocks.
    ///
    /// # Errors
    /// [`VaultError`]: [`VaultError::Local`] for what no call could do without, [`VaultError::Credential`] for what may come later.
    pub fn check(config: &VaultConfig) -> Result<(), VaultError> {
        let refused = |cause: String| VaultError::Local { what: "roots", cause };
        let pem = read_bounded(&config.roots, MAX_ROOTS_BYTES).map_err(|error| refused(error.to_string()))?;
        WebRoots::configured(&pem).map_err(|error| refused(format!("{}: {error}", config.roots.display())))?;
        config.auth.proof().map(drop)?;
        config.auth.certificate().map(drop)
    }
}

/// Files are read where nothing else waits.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, VaultError> + Send + 'static) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
