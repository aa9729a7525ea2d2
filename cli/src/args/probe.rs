//! `probe`: what a supervisor asks a service on its own host.

use clap::{Args, ValueEnum};
use runtime::admin_http::AdminAddress;

/// `probe`
#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// The question
    #[arg(value_enum, value_name = "CHECK")]
    pub(crate) check: ProbeCheck,
    /// `[telemetry] address` of the service
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) at: AdminAddress,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProbeCheck {
    /// Whether its tasks run
    Livez,
    /// Whether it can do its work
    Readyz,
}

pub(super) const PROBE_HELP: &str = "\
Examples:
  signet probe livez --at 127.0.0.1:9464
  signet probe readyz --at unix:/run/signet/ca/telemetry.sock

For supervisors that run a command in place of asking themselves, since telemetry is served on loopback alone: probes of Kubernetes, HEALTHCHECK of
an image. Exit code 0 for yes, 1 for no, with the reasons, and 4 when nobody answers within 5 s.";
