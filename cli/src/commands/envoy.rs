//! `envoy bootstrap`.

use crate::args::EnvoyVerb;
use crate::envoy::bootstrap;
use crate::failure::Failure;
use crate::output::print_line;

pub(super) fn run(verb: &EnvoyVerb) -> Result<(), Failure> {
    match verb {
        EnvoyVerb::Bootstrap(args) => print_line(&format!("{:#}", bootstrap(args))),
    }
}
