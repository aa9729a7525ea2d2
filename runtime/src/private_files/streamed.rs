//! Private files that are longer than one would hold in memory: written piece by piece, there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::{Overwrite, PrivateFileError, give_name, sync_parent, temporary_beside};

/// A file of mode 0600 that is being written beside its place. Dropped before [`Self::finish`] it is gone.
#[derive(Debug)]
pub struct PrivateFileWriter {
    file: File,
    place: PathBuf,
    /// `None` once it has its name.
    temporary: Option<PathBuf>,
}

impl PrivateFileWriter {
    /// Begins a file that shall be called `place`, where nothing may be.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`]; what the system says otherwise.
    pub fn create(place: &Path) -> Result<Self, PrivateFileError> {
        if place.symlink_metadata().is_ok() {
            return Err(PrivateFileError::Exists { path: place.to_owned() });
        }
        let temporary = temporary_beside(place)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&temporary)
            .map_err(PrivateFileError::io("write", &temporary))?;
        let writer = Self { file, place: place.to_owned(), temporary: Some(temporary) };
        // The umask may have taken bits from the mode.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        writer.file.set_permissions(mode).map_err(PrivateFileError::io("set the mode of", writer.now_at()))?;
        Ok(writer)
    }

    /// Where it lies now.
    #[must_use]
    pub fn now_at(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.place)
    }

    /// Adds to it.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PrivateFileError> {
        self.file.write_all(bytes).map_err(|source| PrivateFileError::io("write", self.now_at())(source))
    }

    /// Has the disk keep what was written so far, before it has its name.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), PrivateFileError> {
        self.file.sync_all().map_err(PrivateFileError::io("sync", self.now_at()))
    }

    /// Syncs it, gives it its name unless something else has that by now, and syncs the directory.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`]; what the system says otherwise.
    pub fn finish(mut self) -> Result<(), PrivateFileError> {
        self.sync()?;
        if let Some(temporary) = &self.temporary {
            give_name(temporary, &self.place, Overwrite::Refuse)?;
            self.temporary = None;
        }
        sync_parent(&self.place)
    }
}

impl Drop for PrivateFileWriter {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Whatever failed was told; a temporary that cannot be removed harms nobody.
            drop(std::fs::remove_file(temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_there_whole_or_not_at_all_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("long");
        let mut writer = PrivateFileWriter::create(&place).unwrap();
        writer.write(b"one").unwrap();
        assert!(!place.exists());
        drop(writer);
        assert!(names(directory.path()).is_empty(), "what was given up leaves nothing");
        let mut writer = PrivateFileWriter::create(&place).unwrap();
        writer.write(b"one").unwrap();
        writer.write(b"two").unwrap();
        writer.finish().unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"onetwo");
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["long"]);
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("long");
        let mut late = PrivateFileWriter::create(&place).unwrap();
        late.write(b"late").unwrap();
        std::fs::write(&place, "first").unwrap();
        assert!(matches!(PrivateFileWriter::create(&place), Err(PrivateFileError::Exists { .. })));
        assert!(matches!(late.finish(), Err(PrivateFileError::Exists { .. })));
        assert_eq!(std::fs::read(&place).unwrap(), b"first");
        assert_eq!(names(directory.path()), ["long"]);
    }
}
