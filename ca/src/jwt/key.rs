//! The key behind JWT-SVIDs on disk: `jwt-key.pem`. When it is taken away, tokens under it are refused as soon as the new bundle has
//! gone out.

use std::path::PathBuf;

use pki::{JwtKey, JwtKeyError, PrivateKey};

use crate::config::CaConfig;
use crate::key_file::StateKey;

impl StateKey for JwtKey {
    const NAME: &'static str = "JWT key";
    const ANEW: &'static str = "a new key is made at the next start";
    type Unfit = JwtKeyError;

    fn path(config: &CaConfig) -> PathBuf {
        config.jwt_key_path()
    }

    fn from_private(key: PrivateKey) -> Result<Self, JwtKeyError> {
        Self::new(key)
    }
}
