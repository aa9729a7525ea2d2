//! `dev`, and the hidden verb by which it starts its workloads.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use identity::SpiffeId;

/// `dev`
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Tell the whole story once (issue, call, renew, refuse, deny), tick by tick, and exit 0 or 1
    #[arg(long)]
    pub(crate) check: bool,
    /// Keep state in a temporary directory that goes at the end (what `--check` does anyhow)
    #[arg(long, conflicts_with = "state_dir")]
    pub(crate) ephemeral: bool,
    /// Where keys, store, sockets and logs lie; left out: ~/.local/state/signet/dev
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// `dev-workload`
#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// Which part to play
    #[arg(long, value_enum)]
    pub(crate) role: WorkloadRole,
    /// The agent's socket
    #[arg(long, value_name = "PATH")]
    pub(crate) api_socket: PathBuf,
    /// The identity that the other side must have
    #[arg(long, value_name = "ID")]
    pub(crate) expect: SpiffeId,
    /// Where the API is (web)
    #[arg(long, value_name = "ADDR", required_if_eq("role", "web"))]
    pub(crate) connect: Option<SocketAddr>,
}

/// The parts of the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadRole {
    /// Serves an echo over mTLS.
    Api,
    /// Calls it each second.
    Web,
    /// Only asks for an identity.
    Stranger,
}

pub(super) const DEV_HELP: &str = "\
Examples:
  signet dev                  until Ctrl-C; keeps its state
  signet dev --ephemeral      leaves nothing behind
  signet dev --check          the whole story once, in under a minute";

pub(super) const WORKLOAD_HELP: &str = "\
Example:
  signet dev-workload --role web --api-socket api.sock --expect spiffe://dev.signet.local/api --connect 127.0.0.1:9000";
