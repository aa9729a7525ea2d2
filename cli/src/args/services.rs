//! Verbs that run or prepare a service: `ca ...` and `agent ...`.

use std::path::PathBuf;

use ca::SecretPlace;
use clap::{Args, Subcommand, ValueEnum};
use identity::TrustDomain;

use super::AgentSocketArgs;
use super::backup::{BACKUP_HELP, BackupArgs, RESTORE_HELP, RestoreArgs};

/// `ca ...`
#[derive(Debug, Subcommand)]
pub(crate) enum CaVerb {
    /// Make a root and, under it, an issuing CA
    #[command(after_help = INIT_HELP)]
    Init(CaInitArgs),
    /// Serve
    #[command(after_help = RUN_HELP)]
    Run(ConfigArgs),
    /// Validate the configuration and the authority, and stop
    #[command(after_help = CHECK_HELP)]
    Check(ConfigArgs),
    /// Take the clock of this machine as right, after the CA issued by one that was ahead
    #[command(after_help = ACCEPT_CLOCK_HELP)]
    AcceptClock(ConfigArgs),
    /// The issuing CA
    #[command(subcommand, after_help = RENEW_HELP)]
    Issuer(IssuerVerb),
    /// Write store and keys of a CA into one file under a passphrase
    #[command(after_help = BACKUP_HELP)]
    Backup(Box<BackupArgs>),
    /// Make a state directory of a backup
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
}

/// `ca issuer ...`
#[derive(Debug, Subcommand)]
pub(crate) enum IssuerVerb {
    /// Make a new key and certificate beside the present ones; a running CA takes them up by itself
    #[command(after_help = RENEW_HELP)]
    Renew(IssuerRenewArgs),
}

/// The configuration of a CA.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// `ca init`
#[derive(Args, Debug)]
pub(crate) struct CaInitArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Key algorithm of root and issuing CA
    #[arg(long, value_enum, value_name = "NAME", default_value_t = AlgorithmArg::P256)]
    pub(crate) algorithm: AlgorithmArg,
    /// Put the root key into this directory instead of the state directory; `ca run` works without it
    #[arg(long, value_name = "DIR")]
    pub(crate) root_key_out: Option<PathBuf>,
    /// Do nothing where there is an authority already, in the state directory or made by another replica
    #[arg(long)]
    pub(crate) if_missing: bool,
    /// Keep a copy of the root in this Secret of the cluster of `[kubernetes]`: made once, and taken from there by a new state directory
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = secret_place, requires = "if_missing", conflicts_with = "root_key_out")]
    pub(crate) root_secret: Option<SecretPlace>,
}

fn secret_place(text: &str) -> Result<SecretPlace, &'static str> {
    let (namespace, name) = text.split_once('/').ok_or("expected NAMESPACE/NAME")?;
    Ok(SecretPlace { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// `ca issuer renew`
#[derive(Args, Debug)]
pub(crate) struct IssuerRenewArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The root key, when it is not in the state directory
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
}

/// Key algorithms of authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlgorithmArg {
    /// ECDSA P-256
    P256,
    /// ECDSA P-384
    P384,
    /// RSA of 3072 bits; in builds with the crypto backend aws-lc
    Rsa3072,
    /// RSA of 4096 bits; in builds with the crypto backend aws-lc
    Rsa4096,
}

/// `agent ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AgentVerb {
    /// Serve; attests first when the state directory holds no identity
    #[command(after_help = AGENT_RUN_HELP)]
    Run(AgentArgs),
    /// Validate the configuration and stop
    #[command(after_help = AGENT_CHECK_HELP)]
    Check(AgentArgs),
    /// One screen about the agent of this node: health, identities, what renews when
    #[command(after_help = AGENT_STATUS_HELP)]
    Status(AgentSocketArgs),
    /// The newest checkpoint of the CA's audit chain that this agent keeps, for whoever audits the CA
    #[command(after_help = AGENT_CHECKPOINT_HELP)]
    Checkpoint(AgentSocketArgs),
    /// Give up the trust bundle of this node and trust the configured CA anew, as at the first contact
    #[command(after_help = AGENT_REBOOTSTRAP_HELP)]
    Rebootstrap(AgentRebootstrapArgs),
}

/// `agent rebootstrap`
#[derive(Args, Debug)]
pub(crate) struct AgentRebootstrapArgs {
    #[command(flatten)]
    pub(crate) socket: AgentSocketArgs,
    /// Tell what would be given up and what would be trusted, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The configuration of an agent: a file, options, or both. An option overrides the file.
#[derive(Args, Debug, Default)]
pub(crate) struct AgentArgs {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The trust domain
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// Where the CA listens
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ca_address: Option<String>,
    /// SHA-256 of the root certificate's DER, as `token create` prints it
    #[arg(long, value_name = "HEX", conflicts_with = "trust_bundle")]
    pub(crate) ca_fingerprint: Option<String>,
    /// A PEM file with the root certificates to trust
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_bundle: Option<PathBuf>,
    /// Where keys and certificates of the agent lie (mode 0700)
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The file with the join token, `-` for standard input; only read for a first attestation
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Where workloads connect
    #[arg(long, value_name = "PATH")]
    pub(crate) api_socket: Option<PathBuf>,
    /// Where operators connect
    #[arg(long, value_name = "PATH")]
    pub(crate) admin_socket: Option<PathBuf>,
    /// What the cluster of `[kubernetes]` calls this node
    #[arg(long, value_name = "NAME")]
    pub(crate) kubernetes_node_name: Option<String>,
}

pub(super) const CA_HELP: &str = "\
Examples:
  signet ca init --config /etc/signet/ca.toml
  signet ca run --config /etc/signet/ca.toml";

pub(super) const AGENT_HELP: &str = "\
Example:
  signet agent run --config /etc/signet/agent.toml";

const INIT_HELP: &str = "\
Examples:
  signet ca init --config /etc/signet/ca.toml
  signet ca init --config /etc/signet/ca.toml --root-key-out /media/offline
  signet ca init --config /etc/signet/ca.toml --if-missing
  signet ca init --config /etc/signet/ca.toml --if-missing --root-secret signet/signet-ca-root

Nothing that exists is ever overwritten.";

const RUN_HELP: &str = "\
Example:
  signet ca run --config /etc/signet/ca.toml

One line on standard output tells the bound addresses (`-o json` for programs); the log goes to standard error.";

const CHECK_HELP: &str = "\
Example:
  signet ca check --config /etc/signet/ca.toml";

const ACCEPT_CLOCK_HELP: &str = "\
Example:
  signet ca accept-clock --config /etc/signet/ca.toml

For a CA that is stopped, and once its clock is right: until then it issues nothing before its latest issuance. docs/clock.md says more.";

const RENEW_HELP: &str = "\
Example:
  signet ca issuer renew --config /etc/signet/ca.toml --root-key /media/offline/root-key.pem";

const AGENT_RUN_HELP: &str = "\
Examples:
  signet agent run --config /etc/signet/agent.toml
  signet agent run --trust-domain example.org --ca-address ca.example.org:8443 \\
      --ca-fingerprint 5f..e1 --state-dir /var/lib/signet/agent --join-token-file /run/token

`signet token create --node NAME` prints such a line whole. The token never stands in the arguments.";

const AGENT_STATUS_HELP: &str = "\
Example:
  signet agent status";

const AGENT_CHECKPOINT_HELP: &str = "\
Example:
  signet agent checkpoint -o json > n1.json
  signet audit verify --checkpoint n1.json

Exit code 3 when it keeps none.";

const AGENT_REBOOTSTRAP_HELP: &str = "\
Examples:
  signet agent rebootstrap --dry-run
  signet agent rebootstrap

For a node that was away while every root it knows was replaced, or whose CA was made anew: it is out of step, and its log says that the CA's
certificate does not verify. Look at trust_bundle (or ca_fingerprint) in its configuration first: whoever wrote that is trusted from then on.
Refused while the node is in step. What the node holds stays in use until it has attested anew, and the CA's audit chain tells of it
(agent_rebootstrapped).";

const AGENT_CHECK_HELP: &str = "\
Example:
  signet agent check --config /etc/signet/agent.toml";
