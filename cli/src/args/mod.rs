//! The command line as typed: every verb, its options and an example. What is typed is parsed into the nouns of
//! `identity` here, so that no command handles an unchecked name.

mod admin;
mod audit;
mod authority;
mod backup;
mod bundle;
mod dev;
mod entry;
mod envoy;
mod federation;
mod kubernetes;
mod probe;
mod replica;
mod revocation;
mod services;
mod svid;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(crate) use admin::{
    AliasDeleteArgs, AliasMembersArgs, AliasNodesArgs, AliasVerb, CreateTokenArgs, NodeArgs, NodeVerb, RevokeTokenArgs, TokenVerb,
};
pub(crate) use audit::{AuditVerb, OrphansArgs, TailArgs, VerifyAuditArgs};
pub(crate) use authority::{
    AuthorityKindArgs, AuthorityLossArgs, AuthorityNameArgs, AuthorityVerb, DrillArgs, DrillVerb, LossArgs, ShowAuthoritiesArgs,
};
pub(crate) use backup::{BackupArgs, BackupVerb, PassphraseArgs, RestoreArgs, VerifyBackupArgs};
pub(crate) use bundle::{BundleSource, BundleVerb, ExportArgs, FileForm, ImportArgs};
pub(crate) use dev::{DevArgs, WorkloadArgs, WorkloadRole};
pub(crate) use entry::{
    ApplyArgs, CreateEntryArgs, DeleteEntryArgs, End, EndChange, EntryIdArgs, EntryVerb, ExplainArgs, ListEntriesArgs, TtlChange,
    UpdateEntryArgs, time,
};
pub(crate) use envoy::{BootstrapArgs, CertificateName, EnvoyVerb, ProxyProtocol};
pub(crate) use federation::{AddFederationArgs, FederationVerb, OneFederationArgs, ProfileArg};
pub(crate) use kubernetes::{
    AccountSecretArgs, KubernetesVerb, ListSecretsArgs, ListTrustArgs, PruneSecretsArgs, RenewSecretsArgs, SecretsVerb, TrustVerb,
};
pub(crate) use probe::{ProbeArgs, ProbeCheck};
pub(crate) use replica::{RemoveReplicaArgs, ReplicaVerb};
pub(crate) use revocation::{ReasonArg, RevocationVerb, RevokeArgs, UnrevokeArgs};
pub(crate) use services::{AgentArgs, AgentVerb, AlgorithmArg, CaInitArgs, CaVerb, ConfigArgs, IssuerRenewArgs, IssuerVerb};

pub(crate) use svid::{FetchJwtArgs, FetchVerb, FetchX509Args, InspectArgs, SvidVerb, VerifyArgs, WatchArgs, WorkloadSocketArgs};

use crate::failure::Failure;
use crate::output_format::OutputFormat;

/// Workload identity: a certificate authority, its node agents, and the tools around them
#[derive(Debug, Parser)]
#[command(name = "signet", version, propagate_version = true, max_term_width = 100, after_help = TOP_HELP)]
pub(crate) struct Cli {
    /// What results look like
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORM", default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,

    /// End when the process with this id, which must be the parent, ends (`dev` starts its children so)
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub(crate) exit_with_parent: Option<i32>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Parses the command line of this process.
    ///
    /// # Errors
    /// The exit code, once help, version or what is wrong has been said, the latter in the form that was asked for.
    pub(crate) fn from_command_line() -> Result<Self, ExitCode> {
        let words: Vec<_> = std::env::args_os().collect();
        Self::try_parse_from(&words).map_err(|error| {
            if error.use_stderr()
                && let Some(format) = asked_form(&words)
            {
                return misuse(&error).report(format);
            }
            // Nobody is left to tell when that stream is gone; the exit code still speaks.
            drop(error.print());
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        })
    }
}

/// The document form that a line which does not parse asks for all the same.
fn asked_form(words: &[OsString]) -> Option<OutputFormat> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let asks_for = |form: &str| {
        let pair = |pair: &[_]| matches!(pair, [name, value] if (name == "-o" || name == "--output") && value == form);
        let joined = |word: &str| {
            ["-o=", "-o", "--output="].iter().any(|option| word.strip_prefix(option).is_some_and(|value| value == form))
        };
        words.iter().any(|word| joined(word)) || words.windows(2).any(pair)
    };
    [("json", OutputFormat::Json), ("yaml", OutputFormat::Yaml)]
        .into_iter()
        .find(|(name, _)| asks_for(name))
        .map(|(_, form)| form)
}

/// What clap says in several paragraphs, the first of which is what is wrong.
fn misuse(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what).trim_end();
    Failure::usage(what).advise("the same line with `--help`")
}

/// The verbs, noun first.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole system on this machine: CA, agent and two workloads that speak mTLS
    #[command(after_help = dev::DEV_HELP)]
    Dev(DevArgs),
    /// Make, check and run the certificate authority
    #[command(subcommand, after_help = services::CA_HELP)]
    Ca(CaVerb),
    /// Check and run the node agent
    #[command(subcommand, after_help = services::AGENT_HELP)]
    Agent(AgentVerb),
    /// Who may hold which identity
    #[command(subcommand, after_help = entry::ENTRY_HELP)]
    Entry(EntryVerb),
    /// One-time tokens by which a node joins
    #[command(subcommand, after_help = admin::TOKEN_HELP)]
    Token(TokenVerb),
    /// The fleet
    #[command(subcommand, after_help = admin::NODE_HELP)]
    Node(NodeVerb),
    /// The hash-chained record of what the CA did
    #[command(subcommand, after_help = audit::AUDIT_HELP)]
    Audit(AuditVerb),
    /// The CA's own roots, issuing CAs and JWT keys
    #[command(subcommand, after_help = authority::AUTHORITY_HELP)]
    Authority(AuthorityVerb),
    /// Rehearse: replace what the CA signs with, watched from start to end
    #[command(subcommand, after_help = authority::DRILL_HELP)]
    Drill(DrillVerb),
    /// The CAs on the same database
    #[command(subcommand, after_help = replica::REPLICA_HELP)]
    Replica(ReplicaVerb),
    /// Call certificates back before their end: one, or all of an identity or a node, which then gets none
    #[command(after_help = revocation::REVOKE_HELP)]
    Revoke(RevokeArgs),
    /// Let an identity or a node have certificates again
    #[command(after_help = revocation::UNREVOKE_HELP)]
    Unrevoke(UnrevokeArgs),
    /// What is revoked, and the lists that say so
    #[command(subcommand, after_help = revocation::REVOCATION_HELP)]
    Revocation(RevocationVerb),
    /// Trust domains whose bundles are followed
    #[command(subcommand, after_help = federation::FEDERATION_HELP)]
    Federation(FederationVerb),
    /// What the CA keeps in a Kubernetes cluster
    #[command(name = "k8s", subcommand, after_help = kubernetes::KUBERNETES_HELP)]
    Kubernetes(KubernetesVerb),
    /// One screen about the CA: health, what expires when, the fleet
    #[command(after_help = admin::STATUS_HELP)]
    Status(CaSocketArgs),
    /// Ask a service of this host whether it lives or is ready, for supervisors that run commands
    #[command(after_help = probe::PROBE_HELP)]
    Probe(ProbeArgs),
    /// Identities of this process, as any workload gets them; look into and verify those in files
    #[command(subcommand, after_help = svid::SVID_HELP)]
    Svid(SvidVerb),
    /// Trust bundles
    #[command(subcommand, after_help = bundle::BUNDLE_HELP)]
    Bundle(BundleVerb),
    /// Configuration for Envoy
    #[command(subcommand, after_help = envoy::ENVOY_HELP)]
    Envoy(EnvoyVerb),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    #[command(after_help = MAN_HELP)]
    Man {
        /// The directory; made when it is missing
        directory: PathBuf,
    },
    /// A demo workload of `dev`
    #[command(hide = true, after_help = dev::WORKLOAD_HELP)]
    DevWorkload(WorkloadArgs),
}

/// Where the CA's operators knock.
#[derive(Args, Clone, Debug)]
pub(crate) struct CaSocketArgs {
    /// The CA's admin socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CA_ADMIN_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// Where the agent's operators knock.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentSocketArgs {
    /// The agent's admin socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_AGENT_ADMIN_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// Parses a span such as `90s`, `10m` or `24h`: whole seconds, at least one.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| format!("{error}; write a span such as 90s, 10m or 24h"))?;
    if span.as_secs() == 0 || span.subsec_nanos() != 0 {
        return Err("a span is a whole number of seconds, at least 1s".to_owned());
    }
    if u32::try_from(span.as_secs()).is_err() {
        return Err("a span is at most 4294967295 seconds".to_owned());
    }
    Ok(span)
}

/// Where the CA listens for operators when nobody says otherwise.
pub(crate) const DEFAULT_CA_ADMIN_SOCKET: &str = "/run/signet/ca/admin.sock";
/// Where the agent listens for operators when nobody says otherwise.
pub(crate) const DEFAULT_AGENT_ADMIN_SOCKET: &str = "/run/signet/agent/admin.sock";
/// Where the agent serves workloads and proxies when nobody says otherwise.
pub(crate) const DEFAULT_API_SOCKET: &str = "/run/signet/agent/public/api.sock";

const TOP_HELP: &str = "\
Examples:
  signet dev                    a whole system on this machine, to look at
  signet ca run --config /etc/signet/ca.toml
  signet entry explain --pid 4711

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the service, 4 service not reachable; of drills also
5 it goes on without you, 6 it was rolled back.";

const COMPLETIONS_HELP: &str = "\
Example:
  signet completions bash > /etc/bash_completion.d/signet";

const MAN_HELP: &str = "\
Example:
  signet man /usr/local/share/man/man1";

#[cfg(test)]
mod tests;
