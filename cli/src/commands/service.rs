//! What both services do the same way at the command line: say where they are, and run under a service manager.

use runtime::readiness::Readiness;
use runtime::service_manager::ServiceManager;
use runtime::shutdown::Shutdown;
use serde_json::Value;

use crate::failure::Failure;
use crate::output::print_line;
use crate::output_format::OutputFormat;

/// Prints where the service can be reached, once: `sentence` for people, `addresses` for programs.
///
/// # Errors
/// [`Failure`] when nobody can read it.
pub(super) fn announce(
    format: OutputFormat,
    sentence: &str,
    telemetry: Option<&str>,
    mut addresses: Value,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Table => {
            let telemetry = telemetry.map(|address| format!(", telemetry at {address}")).unwrap_or_default();
            print_line(&format!("{sentence}{telemetry}"))
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            addresses["telemetry"] = telemetry.into();
            print_line(&format.one_of_many(&addresses))
        }
    }
}

/// Runs a service to its end and tells the service manager of it, where there is one.
///
/// # Errors
/// The service's own.
pub(super) async fn run<E>(
    readiness: Readiness,
    shutdown: Shutdown,
    service: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let manager = ServiceManager::from_environment().follow(readiness, shutdown);
    // The manager first: it is told of the end in the turn in which the service may have ended already. It never ends by itself.
    tokio::select! {
        biased;
        () = manager => Ok(()),
        ended = service => ended,
    }
}
