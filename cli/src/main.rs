//! `signet`: the one program. Parses, runs, exits; everything else is in the modules.

mod admin_client;
mod args;
mod commands;
mod dev;
mod entry_document;
mod envoy;
mod failure;
mod output;
mod output_format;
mod workload_client;

use std::process::ExitCode;
use std::time::Duration;

use args::Cli;
use failure::Failure;

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

const LAST_TASKS: Duration = Duration::from_millis(200);
