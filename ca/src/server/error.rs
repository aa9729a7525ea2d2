//! Why a CA does not start, and why a running one ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use pkcs11::TokenError;
use runtime::admin_http::AdminBindError;
use runtime::private_files::PrivateFileError;
use runtime::tasks::TaskFailure;
use runtime::unix_socket::SocketError;

use crate::federation::EndpointError;
use crate::issuance_clock::ClockFault;
use crate::keystore::KeystoreError;
use crate::oidc::OidcStartError;
use crate::provisioning::ProvisioningRootsError;
use crate::replicas::TenureError;
use crate::rotation::AdoptionError;
use crate::store::{OpenError, StoreError};

/// Why the CA does not start. Each names the file, key or address, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory or its lock.
    #[error(transparent)]
    StateDirectory(#[from] PrivateFileError),
    /// There is none.
    #[error("the state directory {} does not exist; make it, with an authority in it, by `signet ca init`", directory.display())]
    NotInitialised {
        /// As configured.
        directory: PathBuf,
    },
    /// The token in which keys lie.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The authority.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The issuing CA or the JWT key.
    #[error(transparent)]
    Authorities(#[from] AdoptionError),
    /// The roots of a provisioning authority.
    #[error(transparent)]
    Provisioning(#[from] ProvisioningRootsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The clock is behind what was issued before.
    #[error(transparent)]
    Clock(#[from] ClockFault),
    /// What was issued before cannot be read.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// Which replica this is.
    #[error(transparent)]
    Replica(#[from] TenureError),
    /// The trust bundle.
    #[error("the trust bundle cannot be made: {0}")]
    Bundle(String),
    /// The checkpoints of the audit chain.
    #[error("the checkpoints of the audit chain cannot be read: {0}")]
    Checkpoints(String),
    /// The serving certificate.
    #[error("{0}")]
    Serving(String),
    /// The rules for tokens.
    #[error(transparent)]
    Oidc(#[from] OidcStartError),
    /// The address for agents.
    #[error("cannot listen at {address} (key \"listen\"): {cause}; is it this machine's address, and free?")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The bundle endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The admin socket.
    #[error(transparent)]
    AdminSocket(#[from] SocketError),
    /// The telemetry address.
    #[error(transparent)]
    Telemetry(#[from] AdminBindError),
}

/// Why a running CA ended.
#[derive(Debug, thiserror::Error)]
#[error("the CA ended: {0}")]
pub struct RunError(#[from] TaskFailure);
