//! What each verb does.

mod agent;
mod audit;
mod authority;
mod backup;
mod bundle;
mod ca;
mod completions;
mod drill;
mod entry;
mod envoy;
mod federation;
mod kubernetes;
mod node;
mod node_alias;
mod probe;
mod replica;
mod revocation;
mod service;
mod status;
mod svid;
mod token;

use crate::args::{Cli, Command};
use crate::dev;
use crate::failure::Failure;

/// Runs the command that was typed.
///
/// # Errors
/// [`Failure`] when it did not do its work; its kind is the exit code.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let format = cli.output;
    match cli.command {
        Command::Dev(args) => dev::run(args, format).await,
        Command::Ca(verb) => ca::run(verb, format).await,
        Command::Agent(verb) => agent::run(verb, format).await,
        Command::Entry(verb) => entry::run(verb, format).await,
        Command::Token(verb) => token::run(verb, format).await,
        Command::Node(verb) => node::run(verb, format).await,
        Command::Audit(verb) => audit::run(verb, format).await,
        Command::Authority(verb) => authority::run(verb, format).await,
        Command::Drill(verb) => drill::run(verb, format).await,
        Command::Replica(verb) => replica::run(verb, format).await,
        Command::Revoke(args) => revocation::revoke(args, format).await,
        Command::Unrevoke(args) => revocation::unrevoke(args, format).await,
        Command::Revocation(verb) => revocation::run(verb, format).await,
        Command::Federation(verb) => federation::run(verb, format).await,
        Command::Kubernetes(verb) => kubernetes::run(verb, format).await,
        Command::Status(args) => status::run(&args.socket, format).await,
        Command::Probe(args) => probe::run(&args, format).await,
        Command::Svid(verb) => svid::run(verb, format).await,
        Command::Bundle(verb) => bundle::run(verb, format).await,
        Command::Envoy(verb) => envoy::run(&verb),
        Command::Completions { shell } => completions::print(shell),
        Command::Man { directory } => completions::write_manual(&directory, format),
        Command::DevWorkload(args) => dev::workload::run(args).await,
    }
}
