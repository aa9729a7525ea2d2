//! The roots of provisioning authorities, from their files.

use runtime::private_files::{PrivateFileError, read_bounded};

use super::ProvisioningSource;
use crate::config::ProvisioningConfig;

/// The most bytes of a file of roots.
const MAX_ROOTS_BYTES: usize = 512 * 1024;

/// Why the roots of a provisioning authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningRootsError {
    /// The file cannot be read.
    #[error("attestation.certificate.roots: {0}")]
    File(#[from] PrivateFileError),
    /// It does not hold roots.
    #[error("attestation.certificate.roots: {}: {cause}", path.display())]
    Content {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        cause: pki::BundleError,
    },
}

/// Reads the roots of every source.
///
/// # Errors
/// [`ProvisioningRootsError`] naming the file.
pub fn load(configured: &[ProvisioningConfig]) -> Result<Vec<ProvisioningSource>, ProvisioningRootsError> {
    let load = |ProvisioningConfig { roots: path, node }: &ProvisioningConfig| {
        let roots = pki::TrustedRoots::from_pem(&read_bounded(path, MAX_ROOTS_BYTES)?)
            .map_err(|cause| ProvisioningRootsError::Content { path: path.clone(), cause })?;
        Ok(ProvisioningSource { roots, template: node.clone() })
    };
    configured.iter().map(load).collect()
}
