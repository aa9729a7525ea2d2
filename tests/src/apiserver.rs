//! A real control plane of Kubernetes on loopback: kube-apiserver with etcd inside, and the controllers that a test needs.

mod certificates;
mod client;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt};
use pki::{KeyAlgorithm, PrivateKey, certificates_to_pem};
use runtime::entropy::{SystemEntropy, bytes};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::requirement::apiserver_program;
use crate::token_issuer::TokenSigner;
use crate::{Process, TestBed, eventually_within};

use certificates::ClusterAuthority;
pub use client::{ApiAnswer, ApiClient};

/// How long it may take until it is ready: seconds, and more while the machine compiles.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The controllers that make what tests look at: default accounts, the cluster's authority in each namespace, an end of namespaces and
/// of what is owned, and the cleaning up of requests for certificates.
const CONTROLLERS: &str = "serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller,\
                           garbage-collector-controller,certificatesigningrequest-approving-controller,\
                           certificatesigningrequest-cleaner-controller,podcertificaterequest-cleaner-controller,\
                           kube-apiserver-serving-clustertrustbundle-publisher-controller";

/// The server that the tests of this process share, while any of them needs it.
static SHARED: Mutex<Weak<ApiServer>> = Mutex::const_new(Weak::new());

/// A control plane with an authority of its own; RBAC and the rules for nodes are in force. It ends when it is dropped, or with this process.
pub struct ApiServer {
    // In the order in which they end.
    controllers: Option<Process>,
    server: Option<Process>,
    authority: ClusterAuthority,
    admin_token: String,
    accounts: TokenSigner,
    address: SocketAddr,
    /// Keeps the port while no server listens on it.
    _port: OwnedFd,
    roots: PathBuf,
    bed: TestBed,
}

impl ApiServer {
    /// The one that tests share, each in namespaces of its own.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// One of a test that ends it, or starts it again.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start() -> Self {
        let bed = TestBed::new();
        let (port, address) = reserved_port();
        let authority = ClusterAuthority::new();
        let admin_token = data_encoding::HEXLOWER.encode(&bytes::<16>(&SystemEntropy));
        let roots = bed.write("roots.pem", &authority.roots_pem());
        let (leaf, key) = authority.server(address.ip());
        bed.write("server.pem", &certificates_to_pem([&leaf]));
        bed.write_private("server-key.pem", &key.to_pkcs8_pem());
        let tokens = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
        bed.write_private("accounts-key.pem", &tokens.to_pkcs8_pem());
        bed.write("accounts.pem", &tokens.public_key().to_pem());
        bed.write_private("tokens.csv", &format!("{admin_token},admin,admin,\"system:masters\"\n"));
        let accounts = TokenSigner::of_cluster(tokens);
        let mut started =
            Self { controllers: None, server: None, authority, admin_token, accounts, address, _port: port, roots, bed };
        started.bed.write_private("admin.kubeconfig", &started.kubeconfig());
        started.run().await;
        started
    }

    /// Runs the server, which was made or ended before, and its controllers.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn run(&mut self) {
        let file = |name: &str| self.bed.path().join(name).display().to_string();
        let mut command = program("kube-apiserver");
        command.arg(format!("--etcd-directory={}", file("etcd")));
        command.args(["--bind-address=127.0.0.1", "--permit-port-sharing", "--advertise-address=127.0.0.1"]);
        command.args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24"]);
        command.args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=Node,RBAC"]);
        // Privileged containers as every cluster has them: which namespaces may is for the admission of pods.
        command.args(["--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"]);
        command.arg(format!("--secure-port={}", self.address.port()));
        let files = [
            ("cert-dir", "generated"),
            ("client-ca-file", "roots.pem"),
            ("tls-cert-file", "server.pem"),
            ("tls-private-key-file", "server-key.pem"),
            ("service-account-signing-key-file", "accounts-key.pem"),
            ("service-account-key-file", "accounts.pem"),
            ("token-auth-file", "tokens.csv"),
        ];
        command.args(files.map(|(flag, name)| format!("--{flag}={}", file(name))));
        let mut controllers = program("kube-controller-manager");
        controllers.args(["--secure-port=0", "--leader-elect=false"]).arg(format!("--controllers={CONTROLLERS}"));
        let files = [
            ("kubeconfig", "admin.kubeconfig"),
            ("root-ca-file", "roots.pem"),
            ("service-account-private-key-file", "accounts-key.pem"),
        ];
        controllers.args(files.map(|(flag, name)| format!("--{flag}={}", file(name))));

        let mut server = Process::start_fed("kube-apiserver", &mut command, self.bed.path());
        let admin = self.admin();
        eventually_within("kube-apiserver to be ready", START_LIMIT, async || {
            assert!(server.is_running(), "kube-apiserver ended before it was ready");
            (admin.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        self.server = Some(server);
        self.controllers = Some(Process::start_fed("kube-controller-manager", &mut controllers, self.bed.path()));
    }

    /// Ends all of it at once, as a machine ends that loses its power but not its disk. The port stays its own: whoever connects is refused.
    pub fn end(&mut self) {
        drop(self.controllers.take());
        drop(self.server.take());
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A PEM file of the authority above its certificate.
    #[must_use]
    pub fn roots(&self) -> &Path {
        &self.roots
    }

    /// A token with these claims by the key of the server itself, which no API would give.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.accounts.sign(claims)
    }

    /// The `[kubernetes]` table of a CA that reaches the server at `address`, with what lies in `token_file`.
    #[must_use]
    pub fn table(&self, address: SocketAddr, token_file: &Path) -> String {
        let (roots, token_file) = (self.roots.display(), token_file.display());
        format!("[kubernetes]\napi_server = \"https://{address}\"\nroots = \"{roots}\"\ntoken_file = \"{token_file}\"\n")
    }

    /// A file by which clients of Kubernetes reach it as its administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.bed.path().join("admin.kubeconfig")
    }

    /// The token of the administrator.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Who may do everything.
    #[must_use]
    pub fn admin(&self) -> ApiClient {
        self.bearer(&self.admin_token)
    }

    /// Whom a token stands for.
    #[must_use]
    pub fn bearer(&self, token: &str) -> ApiClient {
        ApiClient::new(self.address, self.authority.roots(), None, Some(token.to_owned()))
    }

    /// The kubelet of a node, by its certificate: `system:node:<name>` of the group `system:nodes`.
    #[must_use]
    pub fn node(&self, name: &str) -> ApiClient {
        ApiClient::new(self.address, self.authority.roots(), Some(self.authority.node(name)), None)
    }

    /// JSON, which is YAML too.
    fn kubeconfig(&self) -> String {
        let cluster = json!({ "server": format!("https://{}", self.address), "certificate-authority": self.roots });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "admin", "user": { "token": self.admin_token } }],
            "contexts": [{ "name": "admin", "context": { "cluster": "test", "user": "admin" } }],
            "current-context": "admin",
        });
        config.to_string()
    }
}

fn program(mode: &str) -> Command {
    let mut command = Command::new(apiserver_program().expect("the test asked for kube-apiserver"));
    command.arg(mode);
    command
}

/// A loopback port that stays reserved while the descriptor is open. Nobody listens on it here; SO_REUSEPORT lets a server of the same user
/// do so, and keeps out all that do not name the port.
fn reserved_port() -> (OwnedFd, SocketAddr) {
    let reserved = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("the kernel has sockets");
    setsockopt(&reserved, sockopt::ReusePort, &true).expect("ports can be shared");
    bind(reserved.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).expect("loopback has a port");
    let bound: SockaddrIn = getsockname(reserved.as_raw_fd()).expect("a bound socket has an address");
    (reserved, SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())))
}
