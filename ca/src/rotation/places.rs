//! Where the parts of an authority lie in the state directory.
//!
//! The first root and the first JWT key lie where `signet ca init` puts them; others have a numbered place. An issuing CA is a generation.

use std::path::{Path, PathBuf};

use crate::config::CaConfig;

/// The file of a root's certificate, in its place.
pub(crate) const ROOT_CERT: &str = "root-cert.pem";
/// The file of a root's key, in its place.
pub(crate) const ROOT_KEY: &str = "root-key.pem";

/// The places of one state directory.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    state_dir: PathBuf,
    generations: PathBuf,
    first_jwt_key: PathBuf,
}

impl Places {
    /// As configured.
    pub(crate) fn of(config: &CaConfig) -> Self {
        Self { state_dir: config.state_dir.clone(), generations: config.generations_dir(), first_jwt_key: config.jwt_key_path() }
    }

    /// Where all roots but the first lie.
    pub(crate) fn roots(&self) -> PathBuf {
        self.state_dir.join("roots")
    }

    /// Where all issuing CAs lie.
    pub(crate) fn generations(&self) -> &Path {
        &self.generations
    }

    /// Where all JWT keys but the first lie.
    pub(crate) fn jwt_keys(&self) -> PathBuf {
        self.state_dir.join("jwt-keys")
    }

    /// The directory of a root.
    pub(crate) fn root(&self, number: u32) -> PathBuf {
        if number == 1 { self.state_dir.clone() } else { self.roots().join(place_name(number)) }
    }

    /// The directory of an issuing CA.
    pub(crate) fn generation(&self, number: u32) -> PathBuf {
        self.generations.join(place_name(number))
    }

    /// The file of a JWT key.
    pub(crate) fn jwt_key(&self, number: u32) -> PathBuf {
        if number == 1 { self.first_jwt_key.clone() } else { self.jwt_keys().join(format!("{}.pem", place_name(number))) }
    }
}

/// How a numbered place is called.
pub(crate) fn place_name(number: u32) -> String {
    format!("{number:04}")
}
