//! An issuer of tokens whose keys are on the web: a TLS server on loopback with an authority of its own.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use identity::{DnsName, SpiffeId, TrustDomain};
use mtls::{ClientAuthentication, ServerTls};
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, Timestamp, TrustBundle, X509Svid, certificates_to_pem, prepare_authority, prepare_leaf,
};
use runtime::clock::SystemClock;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::TestBed;
use crate::token_issuer::TokenSigner;

const HOUR: Duration = Duration::from_secs(3600);

/// The issuer. Its document is served until it is taken down or dropped.
pub struct WebIssuer {
    name: String,
    signer: TokenSigner,
    published: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
    address: SocketAddr,
    roots: PathBuf,
    tls: ServerTls,
    serving: Option<JoinSet<()>>,
}

impl WebIssuer {
    /// Starts it; tokens are of the issuer `https://<name>.example`.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start(bed: &TestBed, name: &str) -> Self {
        let (svid, bundle) = server_identity(&[]);
        let roots = bed.write(&format!("{name}-roots.pem"), &certificates_to_pem(bundle.authorities()));
        let (svid, bundle) = (watch::channel(Arc::new(svid)).1, watch::channel(Arc::new(bundle)).1);
        let tls = ServerTls::new(svid, bundle, ClientAuthentication::Optional, &[b"http/1.1"], SystemClock::shared());
        let signer = TokenSigner::new();
        let mut issuer = Self {
            name: name.to_owned(),
            published: Arc::new(Mutex::new(signer.key_set().into_bytes())),
            signer,
            requests: Arc::default(),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            roots,
            tls,
            serving: None,
        };
        issuer.bring_up().await;
        issuer
    }

    /// The `[[oidc]]` table by which a CA takes its tokens, for the audience `signet`.
    #[must_use]
    pub fn rule(&self, more: &str) -> String {
        let (name, port, roots) = (&self.name, self.address.port(), self.roots.display());
        format!(
            "[[oidc]]\nissuer = \"https://{name}.example\"\naudiences = [\"signet\"]\njwks_url = \"https://localhost:{port}/jwks\"\n\
             jwks_roots = \"{roots}\"\n{more}\n"
        )
    }

    /// Serves the key set, at the address of before if there was one.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn bring_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("loopback has the port");
        self.address = listener.local_addr().expect("a bound listener has an address");
        let (tls, published, requests) = (self.tls.clone(), self.published.clone(), self.requests.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = tls.accept(stream).await else { continue };
                let service = service_fn(|_: Request<Incoming>| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let document = published.lock().expect("nobody panics with it").clone();
                    async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(document)))) }
                });
                // A client that goes away ends its connection with an error, which is its own affair.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        });
        self.serving = Some(serving);
    }

    /// Answers with this, whatever it is, from now on.
    ///
    /// # Panics
    /// When a connection panicked.
    pub fn publish(&self, document: &[u8]) {
        *self.published.lock().expect("nobody panics with it") = document.to_vec();
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }

    /// A PEM file of the authority above it.
    #[must_use]
    pub fn roots(&self) -> &Path {
        &self.roots
    }

    /// Nobody listens any more.
    pub async fn take_down(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            serving.shutdown().await;
        }
    }

    /// Signs with a new key from now on and publishes it beside nothing else.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn rotate(&mut self) {
        self.signer = TokenSigner::new();
        *self.published.lock().expect("nobody panics with it") = self.signer.key_set().into_bytes();
    }

    /// How often the key set was asked for.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A token for the audience `signet` and this subject, good for ten minutes.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.token_by(subject, &self.signer)
    }

    /// The same signed with a key that was never published.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn forged_token(&self, subject: &str) -> String {
        self.token_by(subject, &TokenSigner::new())
    }

    fn token_by(&self, subject: &str, signer: &TokenSigner) -> String {
        let exp = now().unix_seconds() + 600;
        signer.sign(&json!({ "iss": format!("https://{}.example", self.name), "aud": "signet", "sub": subject, "exp": exp }))
    }
}

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

/// A server certificate for `localhost`, its key, and the root above it, as PEM files.
///
/// # Panics
/// When no key can be made.
#[must_use]
pub fn web_server_files(bed: &TestBed, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    server_files(bed, name, &[])
}

/// The same for an address too.
///
/// # Panics
/// When no key can be made.
#[must_use]
pub fn server_files_at(bed: &TestBed, name: &str, address: IpAddr) -> (PathBuf, PathBuf, PathBuf) {
    server_files(bed, name, &[address])
}

fn server_files(bed: &TestBed, name: &str, addresses: &[IpAddr]) -> (PathBuf, PathBuf, PathBuf) {
    let (svid, bundle) = server_identity(addresses);
    let certificate = bed.write(&format!("{name}-cert.pem"), &certificates_to_pem(svid.chain()));
    let key = bed.write(&format!("{name}-key.pem"), &svid.key().to_pkcs8_pem());
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
    (certificate, key, bed.write(&format!("{name}-roots.pem"), &certificates_to_pem(bundle.authorities())))
}

/// A root and a server certificate for `localhost` and these addresses under it.
fn server_identity(addresses: &[IpAddr]) -> (X509Svid, TrustBundle) {
    let trust_domain = TrustDomain::parse("issuer.example").expect("a domain");
    let serial = |last| SerialNumber::new(ReplicaByte::new(1).expect("one is in range"), [last; SERIAL_RANDOM_BYTES]);
    let [root_key, key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made"));
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain,
        public_key: root_key.public_key(),
        lifetime: HOUR * 24,
        serial: serial(1),
        now: now(),
    };
    let root = prepare_authority(&spec, None).expect("a root").sign(&root_key).expect("the key signs");
    let request = LeafRequest {
        id: &SpiffeId::parse("spiffe://issuer.example/server").expect("an ID"),
        dns_names: &[DnsName::parse("localhost").expect("a name")],
        ip_addresses: addresses,
        public_key: key.public_key(),
        ttl: None,
        serial: serial(2),
        now: now(),
    };
    let profile = LeafProfile::new(HOUR, HOUR).expect("an hour is a life");
    let leaf = prepare_leaf(&profile, &request, &root).expect("a leaf").sign(&root_key).expect("the key signs");
    let bundle = TrustBundle::new(trust_domain, vec![root], 1).expect("one root is a bundle");
    (X509Svid::new(vec![leaf], key, now()).expect("key and chain belong together"), bundle)
}
