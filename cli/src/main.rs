//! `signet`: the one program. Parses, runs, exits; everything else is in the modules.

mod admin_client;
mod args;
mod checkpoint_wire;
mod commands;
mod dev;
mod entry_document;
mod envoy;
mod failure;
mod input;
mod output;
mod output_format;
mod workload_client;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use args::{AgentVerb, Cli, Command};
use failure::Failure;
use runtime::hardening;
use zeroizing_alloc::ZeroAlloc;

/// Whatever is freed is wiped first: the buffers of the transport and of its messages hold keys and tokens too, and none of them
/// clears itself.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(exit_code) => return exit_code,
    };
    let format = cli.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    harden(&cli.command)?;
    if let Some(parent) = cli.exit_with_parent {
        dev::end_with_parent(parent)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("cannot start the async runtime").because(error))?;
    // On this thread, not on a worker: a child's parent-death signal is tied to the thread that started it.
    let outcome = runtime.block_on(commands::run(cli));
    // A read of standard input that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(LAST_TASKS);
    outcome
}

/// Before anything secret is read. Operators' other verbs and workloads stay traceable by their own user, and so attestable.
fn harden(command: &Command) -> Result<(), Failure> {
    hardening::forbid_core_dumps().map_err(|error| Failure::failed("cannot turn core dumps off").because(error))?;
    if matches!(command, Command::Ca(_) | Command::Agent(AgentVerb::Run(_))) {
        hardening::forbid_tracing().map_err(|error| Failure::failed("cannot shut out tracers").because(error))?;
        hardening::raise_descriptor_limit()
            .map_err(|error| Failure::failed("cannot raise the descriptor limit").because(error))?;
    }
    Ok(())
}

const LAST_TASKS: Duration = Duration::from_millis(200);
