//! What an operator allows.

use std::path::PathBuf;
use std::str::FromStr;

/// Secrets from files: where, and through which links. Exists only when an operator turned them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSecretSettings {
    /// Absolute paths of directories; never empty. Files below them may be asked for.
    pub directories: Vec<PathBuf>,
    /// Which links below them are followed.
    pub links: FileLinks,
}

/// Which symbolic links are followed below a configured directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileLinks {
    /// None.
    #[default]
    Forbid,
    /// Relative ones that never lead up: what Kubernetes makes of a mounted secret (`tls.key -> ..data/tls.key`).
    Data,
}

impl FromStr for FileLinks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "forbid" => Ok(Self::Forbid),
            "data" => Ok(Self::Data),
            _ => Err("expected \"forbid\" or \"data\""),
        }
    }
}
