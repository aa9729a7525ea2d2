//! The configuration of the CA: a TOML file, read whole.
//!
//! Owns which keys there are, their defaults and their ranges. Every fault of a file is told at once, and a key that
//! nobody knows is a fault: a misspelt limit must not silently become its default.

mod audit;
mod federation;
mod istio;
mod jwt;
mod keys;
mod kubernetes;
mod kubernetes_entries;
mod kubernetes_secrets;
mod kubernetes_trust;
mod limits;
mod revocation;
mod rotation;
mod store;
mod upstream;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use identity::{DnsName, HostPort, ReplicaName, TrustDomain};
use pkcs11::TokenConfig;
use pki::{LeafProfile, ReplicaByte};
use runtime::admin_http::AdminAddress;
use runtime::config::{ConfigErrors, Document, Section, absolute_path};
use runtime::secret_source::SecretSource;
use runtime::telemetry::{LogFormat, log_level};

use crate::audit::CheckpointSchedule;
use crate::oidc::OidcRule;
use crate::oidc::config::read_rules;
use crate::provisioning::NodeTemplate;

pub use federation::{EndpointConfig, EndpointIdentity, FederationConfig};
pub use istio::IstioConfig;
pub use keys::KeyStore;
pub use kubernetes::{AccountName, ClusterAgentsConfig, KubernetesConfig};
pub use kubernetes_entries::ObjectEntriesConfig;
pub use kubernetes_secrets::{SecretsConfig, SecretsScope};
pub use kubernetes_trust::{TrustConfig, WebhookName};
pub use limits::LimitsConfig;
pub use revocation::RevocationConfig;
pub use rotation::RotationConfig;
pub use store::StoreConfig;
pub use upstream::{DownstreamConfig, SignetUpstreamConfig, UpstreamConfig, UpstreamSource};

/// A checked configuration. Its values agree with each other; that the files exist is for `ca check` and the start.
#[derive(Clone, Debug)]
pub struct CaConfig {
    /// The trust domain that this CA speaks for. No default: a wrong one is not repairable.
    pub trust_domain: TrustDomain,
    /// Directory of mode 0700 that holds the store, the authority and the lock. Absolute.
    pub state_dir: PathBuf,
    /// Where agents connect; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where it keeps what must survive.
    pub store: StoreConfig,
    /// Name of this replica, the last segment of the serving certificate's SPIFFE ID.
    pub replica: ReplicaName,
    /// First byte of every serial made here; no two replicas may share one.
    pub replica_byte: ReplicaByte,
    /// Unix socket of mode 0600 for operators. Absolute.
    pub admin_socket: PathBuf,
    /// DNS SANs of the serving certificate.
    pub server_dns_names: Vec<DnsName>,
    /// IP address SANs of the serving certificate.
    pub server_ip_addresses: Vec<IpAddr>,
    /// Where agents reach the CA, as `token create` prints it; `None`: the listen address as bound.
    pub advertise: Option<HostPort>,
    /// Directory of a plugged-in authority; `None`: the generations below [`Self::generations_dir`].
    pub plugged_authority: Option<PathBuf>,
    /// Who signs this CA's issuing CAs; `None`: a root of its own, or nobody where an authority is plugged in.
    pub upstream: Option<UpstreamConfig>,
    /// Other CAs whose issuing CAs this CA signs.
    pub downstream: Vec<DownstreamConfig>,
    /// Life of leaves: default and maximum.
    pub leaf: LeafProfile,
    /// Life of JWT-SVIDs, at most an hour.
    pub jwt_ttl: Duration,
    /// Life of agent SVIDs, at most the maximum of [`Self::leaf`].
    pub agent_ttl: Duration,
    /// Provisioning authorities, whose certificates attest nodes.
    pub provisioning: Vec<ProvisioningConfig>,
    /// For how long after its last SVID ended an agent may come back by its node key.
    pub reattest_window: Duration,
    /// Life of a join token when the operator names none.
    pub token_ttl: Duration,
    /// The issuers whose tokens are taken; no two of one issuer.
    pub oidc: Vec<OidcRule>,
    /// The cluster whose service accounts are known by their tokens; `None`: none.
    pub kubernetes: Option<KubernetesConfig>,
    /// How often the head of the audit chain is signed.
    pub audit_schedule: CheckpointSchedule,
    /// Where the passphrase of the private keys is; `None`: they lie as they are.
    pub key_passphrase: Option<SecretSource>,
    /// Where new keys of authorities are made; those that there are lie where they lie.
    pub key_store: KeyStore,
    /// The PKCS #11 token in which keys may lie.
    pub token: Option<TokenConfig>,
    /// What callers in Istio's way may ask.
    pub istio: IstioConfig,
    /// How it replaces its own authorities.
    pub rotation: RotationConfig,
    /// The lists of what was called back.
    pub revocation: RevocationConfig,
    /// Relationships with other trust domains.
    pub federation: FederationConfig,
    /// What one peer may take of this CA.
    pub limits: LimitsConfig,
    /// Where metrics and health are served; `None`: nowhere.
    pub telemetry: Option<AdminAddress>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least level that is logged.
    pub log_level: tracing::Level,
}

/// A provisioning authority, as `[[attestation.certificate]]` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningConfig {
    /// PEM file with its roots. Absolute.
    pub roots: PathBuf,
    /// Where its certificates have the name of the node.
    pub node: NodeTemplate,
}

impl CaConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault found.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::read(Document::load(path)?)
    }

    /// Checks a text; `name` stands in the faults.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::read(Document::parse(name, text)?)
    }

    /// Where generations of the own authority lie.
    #[must_use]
    pub fn generations_dir(&self) -> PathBuf {
        self.state_dir.join("authority")
    }

    /// The key that signs JWT-SVIDs.
    #[must_use]
    pub fn jwt_key_path(&self) -> PathBuf {
        self.state_dir.join("jwt-key.pem")
    }

    /// The key that signs checkpoints of the audit chain.
    #[must_use]
    pub fn audit_key_path(&self) -> PathBuf {
        self.state_dir.join("audit-key.pem")
    }

    /// The SQLite file, where the store is one.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.state_dir.join("store.db")
    }

    fn read(document: Document) -> Result<Self, ConfigErrors> {
        let root = document.root();
        let trust_domain = root.required("trust_domain", TrustDomain::parse);
        let state_dir = root.required("state_dir", absolute_path);
        let listen = root.required("listen", listen_address);
        let replica = root.optional("replica", ReplicaName::parse);
        let replica_byte = root.integer("replica_byte", 1..=127);
        let admin_socket = root.optional("admin_socket", absolute_path);
        let server_names = root.list("server_names", ServerName::from_str);
        let advertise = root.optional("advertise", HostPort::from_str);
        let plugged_authority = root.section("authority").optional("directory", absolute_path);
        let upstream = upstream::read(&root, plugged_authority.is_some());
        let downstream = upstream::read_downstream(&root, trust_domain.as_ref());
        let (leaf, agent_ttl) = read_leaf(&root.section("leaf"));
        let jwt_ttl = jwt::read(&root.section("jwt"));
        let (reattest_window, token_ttl) = read_attestation(&root.section("attestation"));
        let provisioning = read_provisioning(&root.section("attestation"));
        let oidc = read_rules(&root);
        let kubernetes = kubernetes::read(&root);
        if let (Some(secrets), Some(leaf)) = (kubernetes.as_ref().and_then(|config| config.secrets.as_ref()), &leaf) {
            kubernetes_secrets::check_ttl(&root, secrets, leaf.max_ttl());
        }
        let audit_schedule = audit::read(&root.section("audit"));
        let keys = keys::read(&root.section("keys"), upstream.is_some());
        let istio = istio::read(&root.section("istio"));
        let writes_to_cluster = kubernetes.as_ref().is_some_and(|cluster| cluster.secrets.is_some() || cluster.trust.is_some());
        let rotation = rotation::read(&root.section("rotation"), upstream.is_some(), writes_to_cluster);
        let revocation = revocation::read(&root.section("revocation"));
        let federation = federation::read(&root.section("federation"));
        let store = store::read(&root.section("store"));
        let limits = limits::read(&root.section("limits"));
        let telemetry = root.section("telemetry").optional("address", AdminAddress::from_str);
        let log = root.section("log");
        let log_format = log.optional("format", LogFormat::from_str);
        let log_level = log.optional("level", log_level);
        drop((root, log));
        document.finish()?;

        let (Some(trust_domain), Some(state_dir), Some(listen), Some(leaf)) = (trust_domain, state_dir, listen, leaf) else {
            return Err(ConfigErrors(vec!["a required key has no value".to_owned()]));
        };
        let replica_byte = replica_byte.and_then(|byte| u8::try_from(byte).ok()).unwrap_or(DEFAULT_REPLICA_BYTE);
        let (mut server_dns_names, mut server_ip_addresses) = (Vec::new(), Vec::new());
        for name in server_names {
            match name {
                ServerName::Dns(name) => server_dns_names.push(name),
                ServerName::Ip(address) => server_ip_addresses.push(address),
            }
        }
        Ok(Self {
            trust_domain,
            state_dir,
            store,
            listen,
            replica: replica.unwrap_or_else(|| ReplicaName::parse(DEFAULT_REPLICA).expect("the default name is one segment")),
            replica_byte: ReplicaByte::new(replica_byte).expect("1 to 127 was checked above"),
            admin_socket: admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into()),
            server_dns_names,
            server_ip_addresses,
            advertise,
            plugged_authority,
            upstream,
            downstream,
            agent_ttl: agent_ttl.unwrap_or(leaf.default_ttl()),
            leaf,
            jwt_ttl,
            provisioning,
            reattest_window: reattest_window.unwrap_or(DEFAULT_REATTEST_WINDOW),
            token_ttl: token_ttl.unwrap_or(DEFAULT_TOKEN_TTL),
            oidc,
            kubernetes,
            audit_schedule,
            key_passphrase: keys.passphrase,
            key_store: keys.store,
            token: keys.token,
            istio,
            rotation,
            revocation,
            federation,
            limits,
            telemetry,
            log_format: log_format.unwrap_or(LogFormat::Text),
            log_level: log_level.unwrap_or(tracing::Level::INFO),
        })
    }
}

fn read_leaf(section: &Section<'_>) -> (Option<LeafProfile>, Option<Duration>) {
    let max_ttl = section.duration("max_ttl");
    // A maximum below the built-in default lowers the default too, so that one key is enough to shorten every leaf.
    let default_ttl = section
        .duration("default_ttl")
        .unwrap_or_else(|| max_ttl.map_or(DEFAULT_LEAF_TTL, |max_ttl| max_ttl.min(DEFAULT_LEAF_TTL)));
    let max_ttl = max_ttl.unwrap_or_else(|| DEFAULT_LEAF_TTL.max(default_ttl));
    let agent_ttl = section.duration("agent_ttl");
    let profile = match LeafProfile::new(default_ttl, max_ttl) {
        Ok(profile) => Some(profile),
        Err(error) => {
            section.fault("default_ttl", error);
            None
        }
    };
    if let Some(agent_ttl) = agent_ttl
        && (agent_ttl > max_ttl || agent_ttl < MIN_AGENT_TTL)
    {
        section.fault(
            "agent_ttl",
            format!("{agent_ttl:?} is not between {MIN_AGENT_TTL:?} and the maximum TTL of leaves, {max_ttl:?}"),
        );
    }
    (profile, agent_ttl)
}

fn read_attestation(section: &Section<'_>) -> (Option<Duration>, Option<Duration>) {
    let window = section.duration("reattest_window");
    if window.is_some_and(|window| window > MAX_REATTEST_WINDOW) {
        section.fault(
            "reattest_window",
            format!("more than {MAX_REATTEST_WINDOW:?}: a node key that was forgotten must not open the door for ever"),
        );
    }
    let token_ttl = section.duration("token_ttl");
    if token_ttl.is_some_and(|ttl| ttl.is_zero() || ttl > MAX_TOKEN_TTL) {
        section.fault("token_ttl", format!("not between 1 second and {MAX_TOKEN_TTL:?}"));
    }
    (window, token_ttl)
}

fn read_provisioning(section: &Section<'_>) -> Vec<ProvisioningConfig> {
    let read = |table: &Section<'_>| {
        let (roots, node) = (table.required("roots", absolute_path), table.required("node", NodeTemplate::from_str));
        Some(ProvisioningConfig { roots: roots?, node: node? })
    };
    section.sections("certificate").iter().filter_map(read).collect()
}

/// One of `server_names`.
enum ServerName {
    Dns(DnsName),
    Ip(IpAddr),
}

impl FromStr for ServerName {
    type Err = identity::DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => DnsName::parse(text).map(Self::Dns),
        }
    }
}

const DEFAULT_REPLICA: &str = "ca-1";
const DEFAULT_REPLICA_BYTE: u8 = 1;
const DEFAULT_ADMIN_SOCKET: &str = "/run/signet/ca/admin.sock";
const DEFAULT_LEAF_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_REATTEST_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_REATTEST_WINDOW: Duration = Duration::from_secs(366 * 24 * 60 * 60);
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(10 * 60);
const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Below this an agent could not renew at half life before the end.
const MIN_AGENT_TTL: Duration = Duration::from_secs(2);

/// Names are not looked up: a CA that listens where a resolver says would listen elsewhere when it errs.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no IP address with a port, such as 0.0.0.0:8443 or [::]:8443"))
}

#[cfg(test)]
mod tests;
