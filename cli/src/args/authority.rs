//! `authority ...` and `drill ...`: the CA's own roots, issuing CAs and JWT keys.

use std::time::Duration;

use ca::authority::lifecycle::{AuthorityKind, AuthorityName};
use clap::{ArgGroup, Args, Subcommand};
use identity::NodeName;

use super::{CaSocketArgs, span};

/// `authority ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityVerb {
    /// List the authorities: slot, expiry, what rests on them, what comes next and why
    #[command(after_help = SHOW_HELP)]
    Show(ShowAuthoritiesArgs),
    /// Make a successor for the active one of a kind, into the bundle; a root comes with an issuing CA
    #[command(after_help = PREPARE_HELP)]
    Prepare(AuthorityKindArgs),
    /// Sign with a prepared one from now on, or again with an old one that is not tainted
    #[command(after_help = ACTIVATE_HELP)]
    Activate(AuthorityLossArgs),
    /// Have everything renewed at once that rests on an old one
    #[command(after_help = TAINT_HELP)]
    Taint(AuthorityNameArgs),
    /// Take an old one out of the bundle and destroy its key; or drop one that never signed
    #[command(after_help = REVOKE_HELP)]
    Revoke(AuthorityLossArgs),
}

/// `authority show`
#[derive(Args, Debug)]
pub(crate) struct ShowAuthoritiesArgs {
    /// Revoked ones too
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `authority prepare`
#[derive(Args, Debug)]
pub(crate) struct AuthorityKindArgs {
    /// root, issuer or jwt
    #[arg(value_parser = kind)]
    pub(crate) kind: AuthorityKind,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `authority taint`
#[derive(Args, Debug)]
pub(crate) struct AuthorityNameArgs {
    /// Its name, such as root-1
    pub(crate) name: AuthorityName,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `authority activate`, `authority revoke`
#[derive(Args, Debug)]
pub(crate) struct AuthorityLossArgs {
    /// Its name, such as root-2
    pub(crate) name: AuthorityName,
    #[command(flatten)]
    pub(crate) losses: LossArgs,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// What is not waited for. Each of it is named, and none of it goes without `--force`.
#[derive(Args, Clone, Debug, Default)]
#[command(group = ArgGroup::new("losses").multiple(true).requires("force"))]
pub(crate) struct LossArgs {
    /// Do not wait for what is named by the --accept options; without one of these it means nothing
    #[arg(long, requires = "losses")]
    pub(crate) force: bool,
    /// Give up this node: until it attests again it may refuse others and be refused; repeat for more
    #[arg(long = "accept-node", value_name = "NAME", group = "losses")]
    pub(crate) nodes: Vec<NodeName>,
    /// Give up so many certificates: their holders are refused until they have new ones
    #[arg(long = "accept-leaves", value_name = "N", group = "losses")]
    pub(crate) leaves: Option<u64>,
    /// Give up the JWT-SVIDs under an old key
    #[arg(long = "accept-tokens", group = "losses")]
    pub(crate) tokens: bool,
    /// Do not wait for files, nor for whoever reads them
    #[arg(long = "accept-files", group = "losses")]
    pub(crate) files: bool,
}

/// `drill ...`
#[derive(Debug, Subcommand)]
pub(crate) enum DrillVerb {
    /// Replace the root, with an issuing CA, and everything below
    #[command(after_help = DRILL_ROOT_HELP)]
    Root(DrillArgs),
    /// Replace the issuing CA
    #[command(after_help = DRILL_ISSUER_HELP)]
    Issuer(DrillArgs),
    /// Replace the key of JWT-SVIDs
    #[command(after_help = DRILL_JWT_HELP)]
    Jwt(DrillArgs),
    /// Have upstream sign a new issuing CA, and replace the one in use by it
    #[command(after_help = DRILL_UPSTREAM_HELP)]
    Upstream(DrillArgs),
    /// The CA is away: for how long identities last. Nothing is changed
    #[command(after_help = DRILL_OUTAGE_HELP)]
    Outage(CaSocketArgs),
}

/// `drill root`, `drill issuer`, `drill jwt`
#[derive(Args, Debug)]
pub(crate) struct DrillArgs {
    /// Say what it would do, whom it would touch and what would take longest; change nothing
    #[arg(long, conflicts_with_all = ["attach", "abort", "force", "wait"])]
    pub(crate) dry_run: bool,
    /// Watch the one that is under way or ended last; start none
    #[arg(long, conflicts_with_all = ["abort", "natural", "force"])]
    pub(crate) attach: bool,
    /// Undo the one that is under way, where that is safe; else say why it is not
    #[arg(long, conflicts_with_all = ["natural", "force"])]
    pub(crate) abort: bool,
    /// Let what rests on the old one end by itself, in place of renewing it at once
    #[arg(long)]
    pub(crate) natural: bool,
    /// Watch for so long at most; then it goes on without you (exit code 5)
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) losses: LossArgs,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

fn kind(text: &str) -> Result<AuthorityKind, String> {
    text.parse().map_err(|_| "the kinds are root, issuer and jwt".to_owned())
}

pub(super) const AUTHORITY_HELP: &str = "\
Examples:
  signet authority show
  signet authority prepare issuer

The whole sequence in one command: signet drill.";

const SHOW_HELP: &str = "\
Example:
  signet authority show --all -o json";

const PREPARE_HELP: &str = "\
Example:
  signet authority prepare root";

const ACTIVATE_HELP: &str = "\
Examples:
  signet authority activate root-2
  signet authority activate root-2 --force --accept-node n3";

const TAINT_HELP: &str = "\
Example:
  signet authority taint root-1";

const REVOKE_HELP: &str = "\
Examples:
  signet authority revoke root-1
  signet authority revoke root-1 --force --accept-leaves 12";

pub(super) const DRILL_HELP: &str = "\
Examples:
  signet drill root --dry-run
  signet drill issuer

Ctrl-C leaves a drill, it does not stop it: the same command comes back to it, from any terminal.
Exit codes beside the usual ones: 5 it goes on without you, 6 it was rolled back.";

const DRILL_ROOT_HELP: &str = "\
Examples:
  signet drill root --dry-run
  signet drill root
  signet drill root --force --accept-node n3
  signet drill root --abort";

const DRILL_ISSUER_HELP: &str = "\
Example:
  signet drill issuer --natural --wait 10m";

const DRILL_JWT_HELP: &str = "\
Example:
  signet drill jwt -o json";

const DRILL_UPSTREAM_HELP: &str = "\
Examples:
  signet drill upstream --dry-run
  signet drill upstream";

const DRILL_OUTAGE_HELP: &str = "\
Example:
  signet drill outage";
