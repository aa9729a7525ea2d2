//! `replica ...` as typed.

use clap::{Args, Subcommand};
use identity::ReplicaName;

use super::CaSocketArgs;

/// `replica ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaVerb {
    /// The CAs on the same database: which live, which leads, which is being taken out
    #[command(after_help = LIST_HELP)]
    List(CaSocketArgs),
    /// Take one out that is gone for good: others renew what rests on it, then its authorities are revoked
    #[command(after_help = REMOVE_HELP)]
    Remove(RemoveReplicaArgs),
}

/// `replica remove`
#[derive(Args, Debug)]
pub(crate) struct RemoveReplicaArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = replica)]
    pub(crate) name: ReplicaName,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

fn replica(text: &str) -> Result<ReplicaName, String> {
    ReplicaName::parse(text).map_err(|error| error.to_string())
}

pub(super) const REPLICA_HELP: &str = "\
Examples:
  signet replica list
  signet replica remove ca-b";

const LIST_HELP: &str = "\
Example:
  signet replica list -o json";

const REMOVE_HELP: &str = "\
Example:
  signet replica remove ca-b

Stop it first. The command is for the replica that leads, and goes on there by itself; `signet replica list` tells what it waits for. Where the
key of the root was with the one that is gone, `signet drill root` comes next.";
