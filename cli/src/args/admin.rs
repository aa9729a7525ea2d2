//! Verbs that talk to an admin socket, but for those about entries.

use std::time::Duration;

use clap::{Args, Subcommand};
use identity::{AliasName, NodeName};

use super::{CaSocketArgs, span};

/// `token ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a one-time join token and print the agent's whole command line
    #[command(after_help = TOKEN_CREATE_HELP)]
    Create(CreateTokenArgs),
    /// List the join tokens that may still be redeemed
    #[command(after_help = TOKEN_LIST_HELP)]
    List(CaSocketArgs),
    /// End a join token before its time
    #[command(after_help = TOKEN_REVOKE_HELP)]
    Revoke(RevokeTokenArgs),
}

/// `token revoke`
#[derive(Args, Debug)]
pub(crate) struct RevokeTokenArgs {
    /// Its id, as `token create` and `token list` show it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
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
    /// Named sets of nodes, for entries that all of them have
    #[command(subcommand, after_help = ALIAS_HELP)]
    Alias(AliasVerb),
}

/// `node alias ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AliasVerb {
    /// Make an alias of these nodes, which need not have joined yet
    #[command(after_help = ALIAS_CREATE_HELP)]
    Create(AliasNodesArgs),
    /// Add nodes: they get the entries of the alias at once
    #[command(after_help = ALIAS_ADD_HELP)]
    Add(AliasMembersArgs),
    /// Remove nodes: they lose the entries of the alias at once
    #[command(after_help = ALIAS_REMOVE_HELP)]
    Remove(AliasMembersArgs),
    /// List the aliases with their members
    #[command(after_help = ALIAS_LIST_HELP)]
    List(CaSocketArgs),
    /// Delete an alias
    #[command(after_help = ALIAS_DELETE_HELP)]
    Delete(AliasDeleteArgs),
}

/// `node alias create`
#[derive(Args, Debug)]
pub(crate) struct AliasNodesArgs {
    /// The alias
    pub(crate) alias: AliasName,
    /// A member; repeat for more
    #[arg(long = "node", value_name = "NAME")]
    pub(crate) nodes: Vec<NodeName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `node alias add`, `node alias remove`
#[derive(Args, Debug)]
pub(crate) struct AliasMembersArgs {
    /// The alias
    pub(crate) alias: AliasName,
    /// The node; repeat for more
    #[arg(long = "node", value_name = "NAME", required = true)]
    pub(crate) nodes: Vec<NodeName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `node alias delete`
#[derive(Args, Debug)]
pub(crate) struct AliasDeleteArgs {
    /// The alias
    pub(crate) alias: AliasName,
    /// Delete the entries that hang on it as well; without this it is not deleted while there are any
    #[arg(long)]
    pub(crate) with_entries: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `node evict`, `node ban`, `node unban`
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The node's name
    pub(crate) node: NodeName,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

pub(super) const TOKEN_HELP: &str = "\
Examples:
  signet token create --node n1
  signet token revoke 5c9d02a1b7e4f836";

const TOKEN_CREATE_HELP: &str = "\
Example:
  signet token create --node n1 --ttl 5m";

const TOKEN_LIST_HELP: &str = "\
Example:
  signet token list";

const TOKEN_REVOKE_HELP: &str = "\
Example:
  signet token revoke 5c9d02a1b7e4f836

A node that joined by it stays; `signet node evict` or `signet revoke --node` takes it away.";

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

const ALIAS_HELP: &str = "\
Examples:
  signet node alias create web --node n1 --node n2
  signet entry create --alias web --spiffe-id spiffe://example.org/web --selector unix:user:web";

const ALIAS_CREATE_HELP: &str = "\
Example:
  signet node alias create web --node n1 --node n2";

const ALIAS_ADD_HELP: &str = "\
Example:
  signet node alias add web --node n3";

const ALIAS_REMOVE_HELP: &str = "\
Example:
  signet node alias remove web --node n1";

const ALIAS_LIST_HELP: &str = "\
Example:
  signet node alias list";

const ALIAS_DELETE_HELP: &str = "\
Example:
  signet node alias delete web --with-entries";

pub(super) const STATUS_HELP: &str = "\
Example:
  signet status --socket /run/signet/ca/admin.sock";
