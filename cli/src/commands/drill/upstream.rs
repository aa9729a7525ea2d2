//! `drill upstream`: the issuing CA is replaced by one that upstream signs. It is the rotation of the issuing CA, of a CA that has an upstream.

use proto::v1::ShowAuthoritiesRequest;

use crate::admin_client::{authority_admin, request};
use crate::args::DrillArgs;
use crate::failure::Failure;
use crate::output::printable;

/// That there is an upstream to ask, and, before anything is begun, that it answers.
///
/// # Errors
/// [`Failure`], with the way out.
pub(super) async fn require(args: &DrillArgs) -> Result<(), Failure> {
    let answer =
        authority_admin(&args.admin.socket).await?.show_authorities(request(ShowAuthoritiesRequest { revoked: false })).await;
    let told = answer.map_err(|status| Failure::from_status("drill upstream", &status))?.into_inner();
    let refused = |why: String| Err(Failure::refused("a drill of upstream would be refused").because(why));
    match told.upstream {
        None => refused("this CA signs its issuing CAs itself: `signet drill issuer` replaces the one in use".to_owned()),
        Some(standing) if standing.kind == "files" => refused(format!(
            "root and issuing CA come from {}: put a new set there, and this CA takes it up",
            printable(&told.plugged_in_directory)
        )),
        Some(standing) if args.dry_run && !standing.fault.is_empty() => {
            refused(format!("upstream does not answer as it should: {}", printable(&standing.fault)))
        }
        Some(_) => Ok(()),
    }
}
