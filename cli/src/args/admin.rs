//! Verbs that talk to an admin socket.

use std::time::Duration;

use clap::{Args, Subcommand};
use identity::{DnsName, NodeName, Selector, SpiffeId};

use super::{AgentSocketArgs, CaSocketArgs, span};

/// `entry ...`
#[derive(Debug, Subcommand)]
pub(crate) enum EntryVerb {
    /// Let processes with these selectors on this node hold an identity
    #[command(after_help = CREATE_HELP)]
    Create(CreateEntryArgs),
    /// List entries
    #[command(after_help = LIST_HELP)]
    List(ListEntriesArgs),
    /// Show one entry
    #[command(after_help = SHOW_HELP)]
    Show(EntryIdArgs),
    /// Delete an entry; its certificates run out by themselves
    #[command(after_help = DELETE_HELP)]
    Delete(EntryIdArgs),
    /// Ask the agent of this node what a process would get, and why
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
}

/// `entry create`
#[derive(Args, Debug)]
pub(crate) struct CreateEntryArgs {
    /// The identity
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe_id: SpiffeId,
    /// What the process must have, such as unix:uid:1000; repeat for more, all must hold
    #[arg(long = "selector", value_name = "SELECTOR", required = true)]
    pub(crate) selectors: Vec<Selector>,
    /// The node it must run on
    #[arg(long, value_name = "NAME")]
    pub(crate) node: NodeName,
    /// Life of its certificates; the CA's default when left out
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) ttl: Option<Duration>,
    /// A DNS name for the certificate; repeat for more
    #[arg(long = "dns", value_name = "NAME")]
    pub(crate) dns_names: Vec<DnsName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry list`
#[derive(Args, Debug)]
pub(crate) struct ListEntriesArgs {
    /// Only entries of this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry show`, `entry delete`
#[derive(Args, Debug)]
pub(crate) struct EntryIdArgs {
    /// The entry's id, as `entry list` shows it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry explain`
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
    #[command(flatten)]
    pub(crate) admin: AgentSocketArgs,
}

/// `token ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a one-time join token and print the agent's whole command line
    #[command(after_help = TOKEN_HELP)]
    Create(CreateTokenArgs),
}

/// `token create`
#[derive(Args, Debug)]
pub(crate) struct CreateTokenArgs {
    /// The name that the node will have; its identity becomes /signet/agent/NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) node: NodeName,
    /// How long the token may be redeemed; the CA's setting (10m) when left out
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `node ...`
#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// List the nodes
    #[command(after_help = NODE_LIST_HELP)]
    List(CaSocketArgs),
    /// Forget a node's key and record; it needs a new token to come back
    #[command(after_help = EVICT_HELP)]
    Evict(NodeArgs),
    /// Block a node's name and key until `unban`
    #[command(after_help = BAN_HELP)]
    Ban(NodeArgs),
    /// Lift a ban
    #[command(after_help = UNBAN_HELP)]
    Unban(NodeArgs),
}

/// `node evict`, `node ban`, `node unban`
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The node's name
    pub(crate) node: NodeName,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `audit ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// The last events
    #[command(after_help = TAIL_HELP)]
    Tail(TailArgs),
    /// Walk the whole hash chain
    #[command(after_help = VERIFY_HELP)]
    Verify(CaSocketArgs),
}

/// `audit tail`
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// How many of the last events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) lines: u32,
    /// Go on with each new event until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

pub(super) const ENTRY_HELP: &str = "\
Examples:
  signet entry create --spiffe-id spiffe://example.org/web --selector unix:user:web --node n1
  signet entry explain --pid 4711";

const CREATE_HELP: &str = "\
Example:
  signet entry create --spiffe-id spiffe://example.org/web --node n1 \\
      --selector unix:uid:1000 --selector unix:path:/usr/bin/web --ttl 1h --dns web.example.org";

const LIST_HELP: &str = "\
Example:
  signet entry list --node n1";

const SHOW_HELP: &str = "\
Example:
  signet entry show 8f14e45fceea167a5a36dedd4bea2543";

const DELETE_HELP: &str = "\
Example:
  signet entry delete 8f14e45fceea167a5a36dedd4bea2543";

const EXPLAIN_HELP: &str = "\
Example:
  signet entry explain --pid $(pidof envoy)";

pub(super) const TOKEN_HELP: &str = "\
Example:
  signet token create --node n1 --ttl 5m";

pub(super) const NODE_HELP: &str = "\
Examples:
  signet node list
  signet node evict n1";

const NODE_LIST_HELP: &str = "\
Example:
  signet node list -o json";

const EVICT_HELP: &str = "\
Example:
  signet node evict n1";

const BAN_HELP: &str = "\
Example:
  signet node ban n1";

const UNBAN_HELP: &str = "\
Example:
  signet node unban n1";

pub(super) const AUDIT_HELP: &str = "\
Examples:
  signet audit tail --follow
  signet audit verify";

const TAIL_HELP: &str = "\
Example:
  signet audit tail -n 50 --follow

With `-o json` the events are one list; with `--follow` each is one document on a line of its own.";

const VERIFY_HELP: &str = "\
Example:
  signet audit verify

Exit code 1 when the chain does not hold.";

pub(super) const STATUS_HELP: &str = "\
Example:
  signet status --socket /run/signet/ca/admin.sock";
