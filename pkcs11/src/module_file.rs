//! Whether a module may be loaded: whoever can change it runs as the CA.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::TokenError;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The file behind the path, which nobody but root and this user can change or replace.
///
/// # Errors
/// [`TokenError::Module`].
pub(crate) fn checked(path: &Path) -> Result<PathBuf, TokenError> {
    let unusable = |cause: String| TokenError::Module { path: path.to_owned(), cause };
    let real = fs::canonicalize(path).map_err(|error| unusable(error.to_string()))?;
    for (depth, place) in real.ancestors().enumerate() {
        let found = fs::symlink_metadata(place).map_err(|error| unusable(error.to_string()))?;
        if depth == 0 && !found.is_file() {
            return Err(unusable("it is not a regular file".to_owned()));
        }
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return Err(unusable(format!("{} belongs to the user {}, not to root or this one", place.display(), found.uid())));
        }
        // In a sticky directory nobody replaces what is another's.
        let is_sticky = found.is_dir() && found.mode() & STICKY != 0;
        if found.mode() & WRITABLE_BY_OTHERS != 0 && !is_sticky {
            return Err(unusable(format!("{} can be changed by others (mode {:04o})", place.display(), found.mode() & 0o7777)));
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_module_that_others_could_change_is_not_loaded() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("lib");
        let module = folder.join("module.so");
        fs::create_dir(&folder).unwrap();
        fs::write(&module, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&folder, 0o755);
        mode(&module, 0o644);
        assert_eq!(checked(&module).unwrap(), fs::canonicalize(&module).unwrap());
        let refused = |told: &str| {
            let error = checked(&module).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        };
        mode(&module, 0o664);
        refused("0664");
        mode(&module, 0o644);
        mode(&folder, 0o777);
        refused("0777");
        mode(&folder, 0o755);
        assert!(checked(&module).is_ok());
        assert!(checked(&folder).unwrap_err().to_string().contains("regular"));
        assert!(checked(&folder.join("other.so")).is_err());
    }
}
