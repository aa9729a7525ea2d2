//! `agent check`: what the configuration points at, looked at without starting, writing or sending anything.

use std::sync::Arc;

use pki::Timestamp;
use runtime::clock::Clock;

use crate::ca_client::read_bundle_file;
use crate::config::{AgentConfig, FirstTrust, TokenSource};
use crate::state::{StateDir, StoredSvid};
use crate::token::{Reach, TokenError};

/// What a start would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The SPIFFE ID of this node, when it has attested.
    pub spiffe_id: Option<String>,
    /// When its SVID ends or ended.
    pub svid_not_after: Option<Timestamp>,
    /// Whether the next start needs the join token.
    pub needs_join_token: bool,
    /// What works, but deserves a look.
    pub warnings: Vec<String>,
}

/// Everything that would keep the agent from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct CheckFaults(pub Vec<String>);

/// Checks what the configuration points at.
///
/// # Errors
/// [`CheckFaults`] with every fault at once.
pub fn check(config: &AgentConfig, clock: &Arc<dyn Clock>) -> Result<CheckReport, CheckFaults> {
    let mut report = CheckReport::default();
    let mut faults = Vec::new();
    let now = Timestamp::from(clock.now());
    let has_bundle = look_at_state(config, now, &mut report, &mut faults);
    match &config.first_trust {
        _ if has_bundle => {}
        None => {
            faults.push("neither ca_fingerprint nor trust_bundle is set, and no bundle is stored: no CA is trusted".to_owned())
        }
        Some(FirstTrust::BundleFile(path)) => {
            if let Err(error) = read_bundle_file(path, &config.trust_domain) {
                faults.push(error.to_string());
            }
        }
        Some(FirstTrust::Fingerprint(_)) => {}
    }
    match &config.join_token {
        _ if !report.needs_join_token => {}
        None => faults.push("this node has never attested and join_token_file is not set".to_owned()),
        Some(TokenSource::File(path)) => match path.metadata().map(|metadata| Reach::of(&metadata)) {
            Ok(Reach::Writable { mode }) => {
                faults.push(TokenError::WritableByOthers { from: path.display().to_string(), mode }.to_string());
            }
            Ok(reach) => report.warnings.extend(reach.warning(path)),
            Err(error) => faults.push(format!("join_token_file {}: {error}", path.display())),
        },
        Some(TokenSource::Stdin) => {}
    }
    if faults.is_empty() { Ok(report) } else { Err(CheckFaults(faults)) }
}

/// Fills in what the state directory holds. Says whether it holds a bundle.
fn look_at_state(config: &AgentConfig, now: Timestamp, report: &mut CheckReport, faults: &mut Vec<String>) -> bool {
    report.needs_join_token = true;
    if !config.state_dir.exists() {
        return false;
    }
    let state = match StateDir::inspect(&config.state_dir) {
        Ok(state) => state,
        Err(error) => {
            faults.push(error.to_string());
            return false;
        }
    };
    match state.svid() {
        StoredSvid::Absent => {}
        StoredSvid::Present(svid) => {
            report.needs_join_token = false;
            report.spiffe_id = Some(svid.id().to_string());
            let not_after = svid.leaf().not_after();
            report.svid_not_after = Some(not_after);
            if now > not_after {
                report.warnings.push(format!("the agent SVID ended at {not_after}: the node will attest again by its node key"));
            }
        }
        StoredSvid::Damaged(why) => {
            report.needs_join_token = false;
            report.warnings.push(format!("{why}: the node will attest again by its node key"));
        }
    }
    match state.bundle(&config.trust_domain) {
        Ok(bundle) => bundle.is_some(),
        Err(error) => {
            faults.push(error.to_string());
            true
        }
    }
}
