//! `k8s ...` as typed.

use clap::{Args, Subcommand};

use super::CaSocketArgs;

/// `k8s ...`
#[derive(Debug, Subcommand)]
pub(crate) enum KubernetesVerb {
    /// Secrets with key and certificate for service accounts
    #[command(subcommand, after_help = KUBERNETES_HELP)]
    Secrets(SecretsVerb),
    /// Objects by which others learn whom to trust
    #[command(subcommand, after_help = TRUST_HELP)]
    Trust(TrustVerb),
}

/// `k8s trust ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TrustVerb {
    /// ConfigMaps and webhook configurations: whether each shows the trust bundle of now
    #[command(after_help = TRUST_HELP)]
    List(ListTrustArgs),
}

/// `k8s trust list`
#[derive(Args, Debug)]
pub(crate) struct ListTrustArgs {
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `k8s secrets ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsVerb {
    /// Service accounts with their Secrets: how each is, when it ends and when it is replaced
    #[command(after_help = LIST_HELP)]
    List(ListSecretsArgs),
    /// Have key and certificate of an account, or of all accounts of a namespace, made anew
    #[command(after_help = RENEW_HELP)]
    Renew(RenewSecretsArgs),
    /// Why an account has the Secret that it has, or has none
    #[command(after_help = EXPLAIN_HELP)]
    Explain(AccountSecretArgs),
    /// Delete the Secrets that are left in a namespace that is not managed any more
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneSecretsArgs),
}

/// `k8s secrets list`
#[derive(Args, Debug)]
pub(crate) struct ListSecretsArgs {
    /// Of this namespace alone
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Those alone that are left in namespaces that are not managed: nothing renews them
    #[arg(long)]
    pub(crate) left: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `k8s secrets renew`
#[derive(Args, Debug)]
pub(crate) struct RenewSecretsArgs {
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// The service account
    #[arg(value_name = "ACCOUNT", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) account: Option<String>,
    /// All accounts of the namespace
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `k8s secrets explain`
#[derive(Args, Debug)]
pub(crate) struct AccountSecretArgs {
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// The service account
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: String,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `k8s secrets prune`
#[derive(Args, Debug)]
pub(crate) struct PruneSecretsArgs {
    /// The namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Say which they are, and delete none
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

pub(super) const KUBERNETES_HELP: &str = "\
Examples:
  signet k8s secrets list
  signet k8s secrets list --left
  signet k8s secrets explain -n shop web
  signet k8s secrets renew -n shop web
  signet k8s trust list";

const TRUST_HELP: &str = "\
Example:
  signet k8s trust list";

const LIST_HELP: &str = "\
Example:
  signet k8s secrets list -n shop -o json";

const RENEW_HELP: &str = "\
Examples:
  signet k8s secrets renew -n shop web
  signet k8s secrets renew -n shop --all

The command is for the replica that leads; it goes on there by itself, so many a second as after a change of the trust bundle. What was issued
before is good until its end, unless it is revoked (`signet revoke`).";

const EXPLAIN_HELP: &str = "\
Example:
  signet k8s secrets explain -n shop web";

const PRUNE_HELP: &str = "\
Examples:
  signet k8s secrets prune -n shop --dry-run
  signet k8s secrets prune -n shop

Pods that have such a Secret mounted lose its files within two minutes. Nothing is deleted that the CA did not make.";
