//! `agent check`: what the configuration points at, looked at without starting, writing or sending anything.

use std::path::Path;
use std::sync::Arc;

use kubernetes::KubernetesClient;
use pki::Timestamp;
use runtime::clock::Clock;
use vault::{VaultClient, VaultError};

use crate::ca_client::istio::read_roots;
use crate::ca_client::{NodeFailure, read_bundle_file};
use crate::certificate_directory::CertificateDirectory;
use crate::config::{AgentConfig, FirstProof, FirstTrust, IstioConfig, Provider, TokenSource, VaultProviderConfig};
use crate::key_file;
use crate::state::{StateDir, StateError, StoredSvid};
use crate::token::{Reach, TokenError};
use crate::web_token_file;

/// What a start would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The SPIFFE ID of this node, when it has attested.
    pub spiffe_id: Option<String>,
    /// When its SVID ends or ended.
    pub svid_not_after: Option<Timestamp>,
    /// Whether the next start needs the join token.
    pub needs_join_token: bool,
    /// Whether the next start needs the configured certificate.
    pub needs_certificate: bool,
    /// How many identities the configuration itself names, where the provider sends no entries.
    pub configured_identities: Option<usize>,
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
    match &config.provider {
        Provider::Signet { .. } => look_at_signet(config, now, &mut report, &mut faults),
        Provider::Istio(istio) => look_at_istio(config, istio, now, &mut report, &mut faults),
        Provider::Vault(vault) => look_at_vault(config, vault, now, &mut report, &mut faults),
    }
    // As with other credentials, the cluster's may be projected later.
    let cluster = config.pods.as_ref().and_then(|pods| KubernetesClient::check(&pods.cluster).err());
    report.warnings.extend(cluster.map(|error| format!("kubernetes.{error}")));
    faults.extend(crate::files::faults(&config.files));
    faults.extend(config.svid_cache_secret.as_ref().and_then(|secret| crate::svid_cache::read_secret(secret).err()));
    if faults.is_empty() { Ok(report) } else { Err(CheckFaults(faults)) }
}

/// A credential that is not there yet does not keep the agent from starting: whoever projects it may come later.
fn look_at_istio(config: &AgentConfig, istio: &IstioConfig, now: Timestamp, report: &mut CheckReport, faults: &mut Vec<String>) {
    report.configured_identities = Some(istio.identities.len());
    faults.extend(state_fault(config));
    match read_roots(&istio.roots) {
        Ok(roots) => report.warnings.extend(roots.lapsed_at(now).iter().map(|lapse| format!("istio.roots: {lapse}"))),
        Err(why) => faults.push(format!("istio.roots: {why}")),
    }
    for identity in &istio.identities {
        let id = &identity.identity.spiffe_id;
        if let Err(error) = identity.credential.read(id, now) {
            report.warnings.push(format!("{id} has nothing to show to the CA now: {error}"));
        }
    }
}

/// As [`look_at_istio`].
fn look_at_vault(
    config: &AgentConfig,
    vault: &VaultProviderConfig,
    now: Timestamp,
    report: &mut CheckReport,
    faults: &mut Vec<String>,
) {
    report.configured_identities = Some(vault.identities.len());
    faults.extend(state_fault(config));
    match read_bundle_file(&vault.trust_bundle, &config.trust_domain) {
        Ok(bundle) => report.warnings.extend(bundle.lapsed_at(now).iter().map(|lapse| format!("vault.trust_bundle: {lapse}"))),
        Err(error) => faults.push(format!("vault.{error}")),
    }
    match VaultClient::check(&vault.server) {
        Ok(()) => {}
        Err(error @ VaultError::Credential { .. }) => report.warnings.push(format!("vault.auth: {error}")),
        Err(error) => faults.push(format!("vault.{error}")),
    }
}

/// Where the provider keeps nothing but its lock.
fn state_fault(config: &AgentConfig) -> Option<String> {
    let is_there = config.state_dir.exists();
    is_there.then(|| StateDir::inspect(&config.state_dir).err()).flatten().map(|error| error.to_string())
}

fn look_at_signet(config: &AgentConfig, now: Timestamp, report: &mut CheckReport, faults: &mut Vec<String>) {
    let has_bundle = look_at_state(config, now, report, faults);
    match &config.first_trust {
        _ if has_bundle => {}
        None => {
            faults.push("neither ca_fingerprint nor trust_bundle is set, and no bundle is stored: no CA is trusted".to_owned())
        }
        Some(FirstTrust::BundleFile(path)) => match read_bundle_file(path, &config.trust_domain) {
            Ok(bundle) => report.warnings.extend(bundle.lapsed_at(now).iter().map(ToString::to_string)),
            Err(error) => faults.push(error.to_string()),
        },
        Some(FirstTrust::Fingerprint(_)) => {}
    }
    match &config.first_proof {
        Some(FirstProof::CertificateDirectory(path)) => {
            let needed = std::mem::replace(&mut report.needs_join_token, false);
            look_at_certificate(path, needed, now, report, faults);
        }
        Some(FirstProof::ServiceAccountTokenFile(path)) => {
            let needed = std::mem::replace(&mut report.needs_join_token, false);
            match web_token_file::read(path) {
                Ok(_) => {}
                Err(why) if needed => faults.push(format!("service_account_token_file: {why}")),
                Err(why) => report.warnings.push(format!(
                    "service_account_token_file: {why}: the node could not attest by it if the CA forgot the node"
                )),
            }
        }
        _ if !report.needs_join_token => {}
        None => faults.push(NodeFailure::NoFirstProof.to_string()),
        Some(FirstProof::Token(TokenSource::File(path))) => match path.metadata().map(|metadata| Reach::of(&metadata)) {
            Ok(Reach::Writable { mode }) => {
                faults.push(TokenError::WritableByOthers { from: path.display().to_string(), mode }.to_string());
            }
            Ok(reach) => report.warnings.extend(reach.warning(path)),
            Err(error) => faults.push(format!("join_token_file {}: {error}", path.display())),
        },
        Some(FirstProof::Token(TokenSource::Stdin)) => {}
    }
}

/// Once the node has attested, the certificate is not needed any more, and may well have ended.
fn look_at_certificate(path: &Path, needed: bool, now: Timestamp, report: &mut CheckReport, faults: &mut Vec<String>) {
    let found = CertificateDirectory::read(path).map_err(|error| error.to_string()).and_then(|directory| {
        let leaf = directory.chain().first().ok_or("its chain is empty")?;
        let (from, to) = (leaf.not_before(), leaf.not_after());
        if leaf.is_valid_at(now) { Ok(()) } else { Err(format!("its certificate is valid from {from} to {to}, it is {now} now")) }
    });
    report.needs_certificate = needed;
    match found {
        Ok(()) => {}
        Err(why) if needed => faults.push(format!("certificate_directory {}: {why}", path.display())),
        Err(why) => {
            let what = "the node could not attest by it if the CA forgot the node";
            report.warnings.push(format!("certificate_directory {}: {why}: {what}", path.display()));
        }
    }
}

/// Fills in what the state directory holds. Says whether it holds a bundle.
fn look_at_state(config: &AgentConfig, now: Timestamp, report: &mut CheckReport, faults: &mut Vec<String>) -> bool {
    report.needs_join_token = true;
    let protection = key_file::protection(config.key_passphrase.as_ref()).map_err(StateError::from);
    if !config.state_dir.exists() {
        faults.extend(protection.err().map(|error| error.to_string()));
        return false;
    }
    let state = match protection.and_then(|protection| Ok(StateDir::inspect(&config.state_dir)?.protecting(protection))) {
        Ok(state) => state,
        Err(error) => {
            faults.push(error.to_string());
            return false;
        }
    };
    if let Err(error) = state.stored_node_key() {
        faults.push(error.to_string());
    }
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
        Ok(bundle) => {
            let lapses = bundle.iter().flat_map(|bundle| bundle.lapsed_at(now));
            report.warnings.extend(lapses.map(|lapse| lapse.to_string()));
            bundle.is_some()
        }
        Err(error) => {
            faults.push(error.to_string());
            true
        }
    }
}
