//! `completions` and `man`: made from the definition of the arguments, so that they cannot lag behind it.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::{Answer, print_line};
use crate::output_format::OutputFormat;

pub(super) fn print(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "signet", &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end())
}

pub(super) fn write_manual(directory: &Path, format: OutputFormat) -> Result<(), Failure> {
    let cannot = |error| Failure::failed(format!("cannot write the manual to {}", directory.display())).because(error);
    fs::create_dir_all(directory).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(cannot)?;
    let done = format!("manual pages written to {}", directory.display());
    Answer::text(done, json!({ "directory": directory })).print(format)
}
