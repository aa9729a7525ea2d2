//! `federation ...` as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use identity::{SpiffeId, TrustDomain};

use super::CaSocketArgs;

/// `federation ...`
#[derive(Debug, Subcommand)]
pub(crate) enum FederationVerb {
    /// Follow the bundle of another trust domain, for entries that federate with it
    #[command(after_help = ADD_HELP)]
    Add(AddFederationArgs),
    /// The trust domains whose bundles are followed, and how current each is
    #[command(after_help = LIST_HELP)]
    List(CaSocketArgs),
    /// Ask a trust domain's endpoint now, and tell how that went
    #[command(after_help = REFRESH_HELP)]
    Refresh(OneFederationArgs),
    /// Forget a trust domain: its bundle is taken from whoever has it
    #[command(after_help = REMOVE_HELP)]
    Remove(OneFederationArgs),
}

/// `federation add`
#[derive(Args, Debug)]
pub(crate) struct AddFederationArgs {
    /// The other trust domain
    #[arg(value_name = "TRUST_DOMAIN")]
    pub(crate) trust_domain: TrustDomain,
    /// Where its bundle is: an https URL without user and fragment, fetched as it stands
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: String,
    /// How the server there is recognised
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) profile: ProfileArg,
    /// With https-spiffe: who the server must be, of the same trust domain
    #[arg(long, value_name = "ID", required_if_eq("profile", "https_spiffe"))]
    pub(crate) endpoint_spiffe_id: Option<SpiffeId>,
    /// The bundle to begin with, PEM or SPIFFE JWKS, as its people gave it to you; `-` for standard input
    #[arg(long, value_name = "FILE", required_if_eq("profile", "https_spiffe"))]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `federation refresh` and `federation remove`
#[derive(Args, Debug)]
pub(crate) struct OneFederationArgs {
    /// The other trust domain
    #[arg(value_name = "TRUST_DOMAIN")]
    pub(crate) trust_domain: TrustDomain,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// How the server of a bundle is recognised (SPIFFE Federation section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileArg {
    /// By the name in the URL, under authorities of the web
    #[value(name = "https_web")]
    HttpsWeb,
    /// By its SPIFFE ID, under the newest bundle of its trust domain
    #[value(name = "https_spiffe")]
    HttpsSpiffe,
}

pub(super) const FEDERATION_HELP: &str = "\
Examples:
  signet federation add other.org --endpoint https://bundles.other.org/ --profile https_web
  signet federation list
  signet entry create --spiffe-id spiffe://example.org/web --node n1 --selector unix:user:web --federates-with other.org";

const ADD_HELP: &str = "\
Examples:
  signet federation add other.org --endpoint https://bundles.other.org/ --profile https_web
  signet federation add other.org --endpoint https://ca.other.org:8444/ --profile https_spiffe \\
      --endpoint-spiffe-id spiffe://other.org/signet/ca/ca-1 --bundle other.org.json

Their CA prints the bundle by `signet bundle export --form jwks`. A relationship goes one way: for the other way, their people add yours.";

const LIST_HELP: &str = "\
Example:
  signet federation list -o json";

const REFRESH_HELP: &str = "\
Example:
  signet federation refresh other.org

When its people say that they took an authority out, there is no need to wait for the next time. Exit code 1 when no good bundle came: the one
that is held stays.";

const REMOVE_HELP: &str = "\
Example:
  signet federation remove other.org

Entries may go on naming the trust domain: that gives them nothing.";
