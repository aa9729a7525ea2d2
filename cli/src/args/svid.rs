//! `svid ...`: what a workload gets, and files that hold it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use identity::{SpiffeId, TrustDomain};
use pki::{Audience, Timestamp};

/// `svid ...`
#[derive(Debug, Subcommand)]
pub(crate) enum SvidVerb {
    /// Get identities of this very process from the node's agent
    #[command(subcommand, after_help = SVID_HELP)]
    Fetch(FetchVerb),
    /// Print each new state of this process's X509-SVIDs until interrupted
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArgs),
    /// Show what is in an X509-SVID (PEM) or a JWT-SVID, and what is wrong with it; nothing is verified
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArgs),
    /// Verify an X509-SVID (PEM) or a JWT-SVID against a trust bundle, and say why not
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
}

/// `svid fetch ...`
#[derive(Debug, Subcommand)]
pub(crate) enum FetchVerb {
    /// X509-SVIDs
    #[command(after_help = FETCH_X509_HELP)]
    X509(FetchX509Args),
    /// JWT-SVIDs
    #[command(after_help = FETCH_JWT_HELP)]
    Jwt(FetchJwtArgs),
}

/// Where workloads knock.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkloadSocketArgs {
    /// The agent's socket for workloads; left out: what SPIFFE_ENDPOINT_SOCKET says, else /run/signet/agent/public/api.sock
    #[arg(long, value_name = "PATH")]
    pub(crate) api_socket: Option<PathBuf>,
}

/// `svid fetch x509`
#[derive(Args, Debug)]
pub(crate) struct FetchX509Args {
    /// Only this identity
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<SpiffeId>,
    /// Write svid.N.pem, key.N.pem (0600) and bundle.N.pem into this directory; files of these names are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) workload: WorkloadSocketArgs,
}

/// `svid fetch jwt`
#[derive(Args, Debug)]
pub(crate) struct FetchJwtArgs {
    /// Whom the token is for; repeat for more, but each of them could then pass it on to the others
    #[arg(long = "audience", value_name = "TEXT", required = true)]
    pub(crate) audiences: Vec<Audience>,
    /// Only this identity
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<SpiffeId>,
    #[command(flatten)]
    pub(crate) workload: WorkloadSocketArgs,
}

/// `svid watch`
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) workload: WorkloadSocketArgs,
}

/// `svid inspect`
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A PEM chain, leaf first, or a JWT-SVID; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `svid verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// A PEM chain, leaf first, or a JWT-SVID; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The trust bundle, PEM or SPIFFE JWKS; left out: the agent's
    #[arg(long, value_name = "FILE", requires = "trust_domain")]
    pub(crate) bundle: Option<PathBuf>,
    /// Whose bundle it is
    #[arg(long, value_name = "NAME", requires = "bundle")]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// Demand this very identity
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<SpiffeId>,
    /// Of a JWT-SVID: for whom it must be
    #[arg(long, value_name = "TEXT")]
    pub(crate) audience: Option<Audience>,
    /// Verify as of this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) workload: WorkloadSocketArgs,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339(text).map_err(|error| format!("{error}; write a time such as 2026-11-21T08:00:00Z"))?;
    Ok(Timestamp::from(time))
}

pub(super) const SVID_HELP: &str = "\
Examples:
  signet svid fetch x509
  signet svid fetch jwt --audience reports
  signet svid verify cert-chain.pem";

const FETCH_X509_HELP: &str = "\
Examples:
  signet svid fetch x509
  signet svid fetch x509 --write /run/web/identity";

const FETCH_JWT_HELP: &str = "\
Example, which prints the token alone:
  signet svid fetch jwt --audience https://reports.example.org";

const WATCH_HELP: &str = "\
Example:
  signet svid watch -o json";

const INSPECT_HELP: &str = "\
Examples:
  signet svid inspect /etc/web/certs/cert-chain.pem
  openssl s_client -connect web:8443 -showcerts </dev/null 2>/dev/null | openssl x509 | signet svid inspect -";

const VERIFY_HELP: &str = "\
Examples:
  signet svid verify cert-chain.pem --id spiffe://example.org/web
  signet svid verify token.jwt --audience reports --bundle bundle.json --trust-domain example.org
  signet svid verify cert-chain.pem --at 2026-12-24T18:00:00Z";
