//! Speed, measured in one run against what bounds it: the bare crypto loop, a call that does nothing, the disk's own sync.
//!
//! `cargo bench -p tests --bench speed [-- PART...]` builds the release binary of `signet` first. Each part prints its rows as soon as
//! it has them; docs/performance.md says how they are to be read. Nothing here asserts a time: a figure is a figure.

#![expect(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a bench fails by them, and prints its figures")]

mod agents;
mod audit;
mod bare;
mod cpu;
mod disk;
mod envoy;
mod figures;
mod footprint;
mod issuance;
mod sds;

use std::process::Command;

use figures::Figures;

/// What can be measured, in the order in which it is.
const PARTS: [&str; 6] = ["issuance", "sds", "envoy", "audit", "agents", "footprint"];

fn main() {
    // `cargo bench` passes flags of its own; what is left names parts.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = asked.iter().find(|part| !PARTS.contains(&part.as_str())) {
        panic!("there is no part {unknown:?}; the parts are {}", PARTS.join(", "));
    }
    build_signet();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|name| name == part);
    let mut figures = Figures::default();
    figures.machine();
    for part in PARTS.into_iter().filter(|part| wanted(part)) {
        match part {
            "issuance" => runtime.block_on(issuance::measure(&mut figures)),
            "sds" => runtime.block_on(sds::measure(&mut figures)),
            "envoy" => runtime.block_on(envoy::measure(&mut figures)),
            "agents" => runtime.block_on(agents::measure(&mut figures)),
            "audit" => runtime.block_on(audit::measure(&mut figures)),
            _ => runtime.block_on(footprint::measure(&mut figures)),
        }
    }
}

/// The binary that is measured lies beside the bench, built with the same profile and features.
fn build_signet() {
    let backend: &[&str] = if cfg!(feature = "ring") { &[] } else { &["--no-default-features", "--features", "aws-lc"] };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "cli", "--bin", "signet"])
        .args(backend)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the release binary of signet could not be built");
}
