//! The configuration of the agent: a TOML file, flags that override it, read whole.
//!
//! Owns which keys there are and their defaults. Every fault is told at once, and a key that nobody knows is a fault.

mod configured;
mod istio;
mod limits;
mod pods;
mod sds;
mod vault;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::HEXLOWER;
use identity::{HostPort, TrustDomain};
use pki::Sha256Digest;
use runtime::admin_http::AdminAddress;
use runtime::config::{ConfigErrors, Document, Section, absolute_path};
use runtime::secret_source::SecretSource;
use runtime::telemetry::{LogFormat, log_level};

use crate::files::config::{self as files, FileSetConfig};
use crate::key_file;
use crate::svid_cache;
use crate::workload::WorkloadLimits;

pub use self::sds::SdsConfig;
pub use self::vault::{VaultIdentity, VaultProviderConfig};
pub use configured::ConfiguredIdentity;
pub(crate) use configured::MAX_TTL;
pub use istio::{IstioConfig, IstioIdentity};
pub use pods::PodsConfig;

/// A checked configuration. Its values agree with each other; that the files exist is for `agent check` and the start.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The trust domain of this node and its workloads. No default.
    pub trust_domain: TrustDomain,
    /// Directory of mode 0700 for the node key, the agent SVID and the newest bundle. Absolute.
    pub state_dir: PathBuf,
    /// Where identities come from.
    pub provider: Provider,
    /// What makes the CA trusted at the first contact; `None` when a stored bundle is to do it.
    pub first_trust: Option<FirstTrust>,
    /// How the node proves itself to the CA; only read for a first attestation, or when the CA has forgotten the node.
    pub first_proof: Option<FirstProof>,
    /// The socket that workloads use. Absolute.
    pub api_socket: PathBuf,
    /// Unix socket of mode 0600 for operators. Absolute.
    pub admin_socket: PathBuf,
    /// What SDS gives, and how.
    pub sds: SdsConfig,
    /// What callers of the API socket may hold.
    pub limits: WorkloadLimits,
    /// The cluster that this node is of; `None`: of none, and no process has a selector of a pod.
    pub pods: Option<PodsConfig>,
    /// The secret that seals the cache of SVIDs; `None`: no such cache is kept, and SVIDs are on no disk.
    pub svid_cache_secret: Option<SecretSource>,
    /// Identities that are kept on disk.
    pub files: Vec<FileSetConfig>,
    /// Where the passphrase of the node's private keys is; `None`: they lie as they are.
    pub key_passphrase: Option<SecretSource>,
    /// Where metrics and health are served; `None`: nowhere.
    pub telemetry: Option<AdminAddress>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least level that is logged.
    pub log_level: tracing::Level,
}

/// Where this node's identities come from.
#[derive(Clone, Debug)]
pub enum Provider {
    /// A CA of Signet, to which the node attests.
    Signet {
        /// Where it listens; of several replicas, the first.
        ca_address: HostPort,
        /// Where its other replicas listen.
        other_addresses: Vec<HostPort>,
    },
    /// Any CA that speaks Istio's certificate API.
    Istio(IstioConfig),
    /// The PKI secrets engine of Vault or OpenBao.
    Vault(VaultProviderConfig),
}

/// What makes the CA trusted before the node has a bundle of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstTrust {
    /// SHA-256 of the root's DER.
    Fingerprint(Sha256Digest),
    /// A PEM file with the CA's roots.
    BundleFile(PathBuf),
}

/// How a node proves itself that the CA does not know yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstProof {
    /// By a join token.
    Token(TokenSource),
    /// By the certificate in this directory: `cert-chain.pem` and `key.pem`. Absolute.
    CertificateDirectory(PathBuf),
    /// By the token in this file: that of this pod's own service account, projected for the CA. Absolute.
    ServiceAccountTokenFile(PathBuf),
}

/// Where the join token is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Standard input, to its end.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Values that stand above those of the file, as the command line gives them. `None` leaves the file's.
#[derive(Clone, Debug, Default)]
pub struct AgentOverrides {
    /// `--trust-domain`.
    pub trust_domain: Option<String>,
    /// `--ca-address`.
    pub ca_address: Option<String>,
    /// `--ca-fingerprint`; it also takes the place of the file's `trust_bundle`.
    pub ca_fingerprint: Option<String>,
    /// `--trust-bundle`; it also takes the place of the file's `ca_fingerprint`.
    pub trust_bundle: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
    /// `--join-token-file`.
    pub join_token_file: Option<String>,
    /// `--api-socket`.
    pub api_socket: Option<String>,
    /// `--admin-socket`.
    pub admin_socket: Option<String>,
    /// `telemetry.address`.
    pub telemetry: Option<String>,
    /// `--kubernetes-node-name`.
    pub kubernetes_node_name: Option<String>,
}

impl AgentConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault found.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::from_parts(Some(path), &AgentOverrides::default())
    }

    /// Reads a file, when there is one, and puts the overrides above it.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault of both.
    pub fn from_parts(path: Option<&Path>, overrides: &AgentOverrides) -> Result<Self, ConfigErrors> {
        let document = match path {
            Some(path) => Document::load(path)?,
            None => Document::parse("command line", "")?,
        };
        Self::read(document, overrides)
    }

    /// Checks a text; `name` stands in the faults.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        Self::read(Document::parse(name, text)?, &AgentOverrides::default())
    }

    fn read(document: Document, overrides: &AgentOverrides) -> Result<Self, ConfigErrors> {
        let root = document.root();
        let trust_domain = needed(&root, "trust_domain", overrides.trust_domain.as_deref(), TrustDomain::parse);
        let state_dir = needed(&root, "state_dir", overrides.state_dir.as_deref(), absolute_path);
        let provider = read_provider(&root, overrides, trust_domain.as_ref());
        let first_trust = read_first_trust(&root, overrides);
        let first_proof = read_first_proof(&root, overrides);
        let api_socket = pick(&root, "api_socket", overrides.api_socket.as_deref(), absolute_path);
        let admin_socket = pick(&root, "admin_socket", overrides.admin_socket.as_deref(), absolute_path);
        let api_socket = api_socket.unwrap_or_else(|| DEFAULT_API_SOCKET.into());
        let admin_socket = admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into());
        if api_socket == admin_socket {
            root.fault("admin_socket", "the same as api_socket: operators and workloads must not share a door");
        }
        let sds = SdsConfig::read(&root.section("sds"));
        if sds.bearer_tokens && matches!(provider, Some(Provider::Vault(_))) {
            root.section("sds").fault("bearer_tokens", "provider = \"vault\" has no door for a caller's own token");
        }
        let limits = limits::read(&root.section("limits"));
        let by_pod = matches!(first_proof, Some(FirstProof::ServiceAccountTokenFile(_)));
        let pods = pods::read(&root, overrides.kubernetes_node_name.as_deref(), by_pod);
        let svid_cache_secret = svid_cache::read_config(&root);
        let files = files::read(&root, trust_domain.as_ref());
        let key_passphrase = key_file::read_config(&root.section("keys"));
        let telemetry = pick(&root.section("telemetry"), "address", overrides.telemetry.as_deref(), AdminAddress::from_str);
        let log = root.section("log");
        let log_format = log.optional("format", LogFormat::from_str);
        let log_level = log.optional("level", log_level);
        drop((root, log));
        document.finish()?;

        let (Some(trust_domain), Some(state_dir), Some(provider)) = (trust_domain, state_dir, provider) else {
            return Err(ConfigErrors(vec!["a required key has no value".to_owned()]));
        };
        Ok(Self {
            trust_domain,
            state_dir,
            provider,
            first_trust,
            first_proof,
            api_socket,
            admin_socket,
            sds,
            limits,
            pods,
            svid_cache_secret,
            files,
            key_passphrase,
            telemetry,
            log_format: log_format.unwrap_or(LogFormat::Text),
            log_level: log_level.unwrap_or(tracing::Level::INFO),
        })
    }
}

/// What `provider` may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProviderKind {
    Signet,
    Istio,
    Vault,
}

/// One of the providers, with what belongs to it. What belongs to another is a fault: it would do nothing.
fn read_provider(root: &Section<'_>, overrides: &AgentOverrides, trust_domain: Option<&TrustDomain>) -> Option<Provider> {
    let named = root.optional("provider", |text| match text {
        "signet" => Ok(ProviderKind::Signet),
        "istio" => Ok(ProviderKind::Istio),
        "vault" => Ok(ProviderKind::Vault),
        _ => Err("expected \"signet\", \"istio\" or \"vault\""),
    });
    let kind = named.unwrap_or(ProviderKind::Signet);
    for (other, key) in [(ProviderKind::Istio, "istio"), (ProviderKind::Vault, "vault")] {
        if kind != other && root.has(key) {
            root.fault(key, format!("given without provider = \"{key}\": it would do nothing"));
        }
    }
    let table = match kind {
        ProviderKind::Signet => {
            return read_signet(root, overrides);
        }
        ProviderKind::Istio => "istio",
        ProviderKind::Vault => "vault",
    };
    let AgentOverrides { ca_address, ca_fingerprint, trust_bundle, join_token_file, .. } = overrides;
    let flags = [
        ("ca_address", ca_address),
        ("ca_fingerprint", ca_fingerprint),
        ("trust_bundle", trust_bundle),
        ("join_token_file", join_token_file),
    ];
    for (key, flag) in flags {
        if flag.is_some() || root.has(key) {
            root.fault(key, format!("belongs to provider = \"signet\": another CA is named, and trusted, in [{table}]"));
        }
    }
    if root.has("attestation") {
        root.fault("attestation", "belongs to provider = \"signet\": a node does not attest to another CA");
    }
    let section = root.section(table);
    match kind {
        ProviderKind::Signet => None,
        ProviderKind::Istio => istio::read(&section, trust_domain).map(Provider::Istio),
        ProviderKind::Vault => vault::read(&section, trust_domain).map(Provider::Vault),
    }
}

/// One address, or one for each replica. One by flag stands above either.
fn read_signet(root: &Section<'_>, overrides: &AgentOverrides) -> Option<Provider> {
    let mut several = root.list("ca_addresses", HostPort::from_str);
    let flag = overrides.ca_address.as_deref();
    if flag.is_none() && root.has("ca_addresses") {
        if root.has("ca_address") {
            root.fault("ca_addresses", "given together with ca_address: keep one of the two");
            return None;
        }
        if several.is_empty() || several.len() > MOST_ADDRESSES {
            root.fault("ca_addresses", format!("names {} replicas, and 1 to {MOST_ADDRESSES} are needed", several.len()));
            return None;
        }
        let ca_address = several.remove(0);
        return Some(Provider::Signet { ca_address, other_addresses: several });
    }
    let ca_address = needed(root, "ca_address", flag, HostPort::from_str)?;
    Some(Provider::Signet { ca_address, other_addresses: Vec::new() })
}

/// More replicas than any CA has.
const MOST_ADDRESSES: usize = 16;

/// One of three ways to prove the node. A join token by flag is for this very start, and stands above what is configured.
fn read_first_proof(root: &Section<'_>, overrides: &AgentOverrides) -> Option<FirstProof> {
    let attestation = root.section("attestation");
    let directory = attestation.optional("certificate_directory", absolute_path);
    let account = attestation.optional("service_account_token_file", absolute_path);
    let flag = overrides.join_token_file.as_deref();
    let token = pick(root, "join_token_file", flag, TokenSource::from_str);
    if flag.is_some() {
        return token.map(FirstProof::Token);
    }
    let configured = [
        (None, token.map(FirstProof::Token)),
        (Some("certificate_directory"), directory.map(FirstProof::CertificateDirectory)),
        (Some("service_account_token_file"), account.map(FirstProof::ServiceAccountTokenFile)),
    ];
    let mut proof = None;
    for (key, found) in configured {
        let Some(found) = found else { continue };
        if let (Some(key), Some(_)) = (key, &proof) {
            attestation.fault(key, "given together with another way to attest: keep one of them");
        }
        proof = Some(found);
    }
    proof
}

/// One of two ways to trust the CA. Both at once would leave open which of them decides, so that is a fault; a flag
/// replaces whichever the file has.
fn read_first_trust(root: &Section<'_>, overrides: &AgentOverrides) -> Option<FirstTrust> {
    let from_file = (root.optional("ca_fingerprint", fingerprint), root.optional("trust_bundle", absolute_path));
    let flags = (overrides.ca_fingerprint.as_deref(), overrides.trust_bundle.as_deref());
    let (pin, bundle) = if flags == (None, None) {
        from_file
    } else {
        (checked(root, "ca_fingerprint", flags.0, fingerprint), checked(root, "trust_bundle", flags.1, absolute_path))
    };
    match (pin, bundle) {
        (Some(_), Some(_)) => {
            root.fault("trust_bundle", "given together with ca_fingerprint: keep one of the two");
            None
        }
        (Some(digest), None) => Some(FirstTrust::Fingerprint(digest)),
        (None, Some(path)) => Some(FirstTrust::BundleFile(path)),
        (None, None) => None,
    }
}

/// The override when there is one, else the file's value. The file's is read in any case, so that its faults show too.
fn pick<T, E: Display>(
    section: &Section<'_>,
    key: &'static str,
    flag: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let from_file = section.optional(key, &parse);
    match flag {
        Some(_) => checked(section, key, flag, parse),
        None => from_file,
    }
}

/// The same for a key that must have a value.
fn needed<T, E: Display>(
    section: &Section<'_>,
    key: &'static str,
    flag: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    match flag {
        Some(_) => pick(section, key, flag, parse),
        None => section.required(key, parse),
    }
}

fn checked<T, E: Display>(
    section: &Section<'_>,
    key: &'static str,
    flag: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    parse(flag?).map_err(|error| section.fault(key, format!("command line: {error}"))).ok()
}

impl FromStr for TokenSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Stdin) } else { absolute_path(text).map(Self::File) }
    }
}

fn fingerprint(text: &str) -> Result<Sha256Digest, &'static str> {
    HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| Sha256Digest::try_from(bytes).ok())
        .ok_or("expected the SHA-256 of the root certificate: 64 lower-case hex digits, as `signet token create` prints it")
}

const DEFAULT_API_SOCKET: &str = "/run/signet/agent/public/api.sock";
const DEFAULT_ADMIN_SOCKET: &str = "/run/signet/agent/admin.sock";

#[cfg(test)]
mod tests;
