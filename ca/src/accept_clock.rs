//! The way out when a CA issued by a clock that was ahead: an operator says that the clock is right now.

use pki::Timestamp;
use runtime::clock::Clock;
use runtime::private_files::{DirLock, PrivateFileError, check_private_dir};

use crate::audit::Actor;
use crate::config::CaConfig;
use crate::store::{OpenError, StoreError};

/// Why the clock was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptClockError {
    /// The state directory is not there or not private, or a running CA has it: stop that first.
    #[error(transparent)]
    StateDirectory(#[from] PrivateFileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedClock {
    /// What the clock says: the latest issuance from now on.
    pub now: Timestamp,
    /// The latest issuance on record until now.
    pub latest: Timestamp,
}

/// Makes the present time of a stopped CA its latest issuance, whatever it issued after it, and says so in the audit chain. What was
/// issued for later stays on record, and is valid when its time comes.
///
/// # Errors
/// [`AcceptClockError`].
pub async fn accept_clock(config: &CaConfig, clock: &dyn Clock) -> Result<AcceptedClock, AcceptClockError> {
    check_private_dir(&config.state_dir)?;
    let _lock = DirLock::acquire(&config.state_dir)?;
    let store = crate::store::open(config)?;
    let now = Timestamp::from(clock.now());
    let actor = Actor::Operator { uid: nix::unistd::getuid().as_raw() };
    let latest = store.accept_clock(actor, now).await?;
    Ok(AcceptedClock { now, latest })
}
