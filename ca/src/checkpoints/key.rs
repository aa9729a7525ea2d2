//! The key behind checkpoints on disk: `audit-key.pem`. It signs nothing else. When it is taken away, every agent tells that the
//! checkpoints are under another key.

use std::path::PathBuf;

use pki::PrivateKey;
use pki::checkpoint::{CheckpointError, CheckpointKey};

use crate::config::CaConfig;
use crate::key_file::StateKey;

impl StateKey for CheckpointKey {
    const NAME: &'static str = "key for checkpoints of the audit chain";
    const ANEW: &'static str = "a new key is made, which every agent will tell of";
    type Unfit = CheckpointError;

    fn path(config: &CaConfig) -> PathBuf {
        config.audit_key_path()
    }

    fn from_private(key: PrivateKey) -> Result<Self, CheckpointError> {
        Self::new(key)
    }
}
