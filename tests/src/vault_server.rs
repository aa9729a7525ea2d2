//! A server that speaks the documented HTTP API of Vault and OpenBao, as far as Signet uses it: logins, tokens, `sign` and
//! `sign-intermediate` of the PKI secrets engine.
//!
//! It is ours and neither of the two: it says nothing of how they behave beyond their documentation. What it signs is signed for real, and it
//! can be told to misbehave.

mod engine;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use mtls::{ClientAuthentication, ServerTls};
use pki::certificates_to_pem;
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::TestBed;
use engine::{Engine, Hierarchy};

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultMood {
    /// As documented.
    Well,
    /// 503 to everything.
    Sealed,
    /// 307 to everything, as a standby answers that does not forward.
    Redirects,
    /// Nothing is answered while it lasts.
    Silent,
    /// This status to the next so many signatures, wanting to be left alone for so many seconds.
    Busy {
        /// The status.
        status: u16,
        /// To how many.
        times: usize,
        /// `Retry-After`.
        seconds: Option<u64>,
    },
    /// 403 to every signature, whatever the token.
    Denies,
    /// A signature in half a megabyte.
    Huge,
    /// A signature that is no JSON.
    NoJson,
    /// A certificate for another key.
    WrongKey,
    /// A certificate with another URI name.
    OtherUri,
    /// A certificate with a DNS name more.
    ExtraDns,
    /// A certificate with an address more.
    ExtraAddress,
    /// A certificate by an authority that nobody knows.
    ForeignChain,
    /// A certificate that lives ten days.
    LongLife,
}

/// A call, as it came.
#[derive(Clone, Debug)]
pub struct VaultCall {
    /// Behind `/v1/`.
    pub path: String,
    /// `X-Vault-Token`.
    pub token: Option<String>,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// Null when there is none.
    pub body: Value,
}

/// The server. It serves until it is dropped.
pub struct VaultServer {
    address: SocketAddr,
    roots: PathBuf,
    web: Hierarchy,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

struct State {
    mood: VaultMood,
    engine: Engine,
    /// When each ends, since boot.
    tokens: HashMap<String, Duration>,
    made: usize,
    token_life: Duration,
    calls: Vec<VaultCall>,
}

/// Status, seconds of `Retry-After`, body.
type Answer = (u16, Option<u64>, Vec<u8>);

/// The id of AppRole's one role.
pub const VAULT_ROLE_ID: &str = "5b3e-role";
/// What proves it.
pub const VAULT_SECRET_ID: &str = "77aa-secret";
/// The token of the one service account.
pub const VAULT_JWT: &str = "aaa.bbb.ccc";

impl VaultServer {
    /// Starts it, with an authority of `example.org`.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start(bed: &TestBed) -> Self {
        let web = Hierarchy::new("web.example");
        let roots = bed.write("vault-roots.pem", &certificates_to_pem([web.root()]));
        let (svid, bundle) = (watch::channel(Arc::new(web.server("localhost"))).1, watch::channel(Arc::new(web.bundle())).1);
        let tls = ServerTls::new(svid, bundle, ClientAuthentication::Optional, &[b"http/1.1"], SystemClock::shared());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = State {
            mood: VaultMood::Well,
            engine: Engine::new(),
            tokens: HashMap::new(),
            made: 0,
            token_life: Duration::from_secs(3600),
            calls: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let has_certificate = stream.peer().is_some();
                    let service = service_fn(|request| answer(Arc::clone(&state), has_certificate, request));
                    // A client that goes away ends its connection with an error, which is its own affair.
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, roots, web, state, _serving: serving }
    }

    /// The keys of a configuration that lead to it: `address` and `roots`.
    #[must_use]
    pub fn lines(&self) -> String {
        format!("address = \"https://localhost:{}\"\nroots = \"{}\"\n", self.address.port(), self.roots.display())
    }

    /// The root of what it signs, PEM.
    #[must_use]
    pub fn trust_bundle(&self) -> String {
        certificates_to_pem([self.state().engine.authority().root()])
    }

    /// Signs under a new root from now on.
    pub fn change_root(&self) {
        self.state().engine = Engine::new();
    }

    /// Behaves like this from now on.
    pub fn set(&self, mood: VaultMood) {
        self.state().mood = mood;
    }

    /// How long the tokens of logins from now on are good.
    pub fn set_token_life(&self, life: Duration) {
        self.state().token_life = life;
    }

    /// Takes this token from now on, for as long as that of a login.
    pub fn take_token(&self, token: &str) {
        let mut state = self.state();
        let ends = boottime() + state.token_life;
        state.tokens.insert(token.to_owned(), ends);
    }

    /// No token is good any more.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// All calls until now, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<VaultCall> {
        self.state().calls.clone()
    }

    /// How many calls there were whose path ends so.
    #[must_use]
    pub fn count(&self, end: &str) -> usize {
        self.state().calls.iter().filter(|call| call.path.ends_with(end)).count()
    }

    /// A certificate that it takes from clients, and its key: written to files.
    #[must_use]
    pub fn client_certificate(&self, bed: &TestBed) -> (PathBuf, PathBuf) {
        let svid = self.web.server("client.example");
        let key = bed.write_private("vault-client-key.pem", &svid.key().to_pkcs8_pem());
        (bed.write("vault-client.pem", &certificates_to_pem(svid.chain())), key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

fn boottime() -> Duration {
    SystemClock::shared().boottime()
}

async fn answer(
    state: Arc<Mutex<State>>,
    has_certificate: bool,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let lock = || state.lock().expect("nobody panics with it");
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    while lock().mood == VaultMood::Silent {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let path = parts.uri.path().strip_prefix("/v1/").unwrap_or_default().to_owned();
    let (status, retry_after, body) = lock().serve(&path, &parts.headers, &body, has_certificate);
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    if status == 307 {
        response = response.header("location", "https://localhost:1/v1/elsewhere");
    }
    Ok(response.body(Full::new(Bytes::from(body))).expect("a status and three fields are a response"))
}

fn refusal(status: u16, why: &str) -> Answer {
    (status, None, json!({ "errors": [why] }).to_string().into_bytes())
}

fn success(body: &Value) -> Answer {
    (200, None, body.to_string().into_bytes())
}

impl State {
    fn serve(&mut self, path: &str, headers: &HeaderMap, body: &[u8], has_certificate: bool) -> Answer {
        let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (token, namespace) = (field("x-vault-token"), field("x-vault-namespace"));
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.calls.push(VaultCall { path: path.to_owned(), token: token.clone(), namespace, body: body.clone() });
        if self.mood == VaultMood::Sealed {
            return refusal(503, "Vault is sealed");
        }
        if self.mood == VaultMood::Redirects {
            return refusal(307, "standby");
        }
        if field("x-vault-request").as_deref() != Some("true") {
            return refusal(412, "missing required header");
        }
        if path.starts_with("auth/") && path.ends_with("/login") {
            return self.log_in(path, &body, has_certificate);
        }
        if let Some(issuer) = path.strip_prefix("pki/issuer/").and_then(|path| path.strip_suffix("/json")) {
            let known = matches!(issuer, "default" | "current");
            return if known { success(&json!({ "data": self.engine.issuer() })) } else { refusal(404, "no such issuer") };
        }
        let ends = token.as_ref().and_then(|token| self.tokens.get(token)).copied();
        let Some(left) = ends.and_then(|ends| ends.checked_sub(boottime())) else { return refusal(403, "permission denied") };
        match path {
            "auth/token/lookup-self" => success(&json!({ "data": { "ttl": left.as_secs().max(1), "renewable": true } })),
            "auth/token/renew-self" => {
                let ends = boottime() + self.token_life;
                self.tokens.insert(token.clone().unwrap_or_default(), ends);
                success(&self.auth(&token.unwrap_or_default()))
            }
            _ => self.sign(path, &body),
        }
    }

    fn log_in(&mut self, path: &str, body: &Value, has_certificate: bool) -> Answer {
        let good = match path {
            "auth/approle/login" => body["role_id"] == VAULT_ROLE_ID && body["secret_id"] == VAULT_SECRET_ID,
            "auth/kubernetes/login" => body["role"] == "signet" && body["jwt"] == VAULT_JWT,
            "auth/cert/login" => has_certificate,
            _ => return refusal(404, "no handler for route"),
        };
        if !good {
            return refusal(400, "invalid role or secret ID");
        }
        self.made += 1;
        let token = format!("hvs.{}", self.made);
        self.tokens.insert(token.clone(), boottime() + self.token_life);
        success(&self.auth(&token))
    }

    fn auth(&self, token: &str) -> Value {
        let seconds = self.token_life.as_secs();
        json!({ "auth": { "client_token": token, "lease_duration": seconds, "renewable": true, "mfa_requirement": null } })
    }

    fn sign(&mut self, path: &str, body: &Value) -> Answer {
        if let VaultMood::Busy { status, times: times @ 1.., seconds } = self.mood {
            self.mood = VaultMood::Busy { status, times: times - 1, seconds };
            return (status, seconds, json!({ "errors": ["try later"] }).to_string().into_bytes());
        }
        if self.mood == VaultMood::Denies {
            return refusal(403, "1 error occurred:\n\t* permission denied\n\n");
        }
        if self.mood == VaultMood::NoJson {
            return (200, None, b"<html>welcome</html>".to_vec());
        }
        match self.engine.sign(path, body, self.mood) {
            Ok(mut data) => {
                if self.mood == VaultMood::Huge {
                    data["padding"] = "x".repeat(512 * 1024).into();
                }
                success(&json!({ "request_id": "1", "lease_id": "", "data": data, "warnings": null, "auth": null }))
            }
            Err((status, why)) => refusal(status, &why),
        }
    }
}
