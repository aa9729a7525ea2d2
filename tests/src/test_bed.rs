//! The directory in which one test lives.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory of one test, removed with it; kept, and named, when the test fails.
pub struct TestBed {
    directory: Option<TempDir>,
}

impl TestBed {
    /// A new one. Others may pass through it, so that children of another user reach their sockets.
    ///
    /// # Panics
    /// When the machine has no room for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making one touches the disk")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("signet-").tempdir_in("/tmp").expect("/tmp is writable");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("our own directory can be changed");
        Self { directory: Some(directory) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("it is taken only on drop").path()
    }

    /// Writes a file into it and says where.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        path
    }

    /// The same for a file that nobody else can reach.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_private(&self, name: &str, content: &str) -> PathBuf {
        let path = self.write(name, content);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file can be changed");
        path
    }
}

impl Drop for TestBed {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("--- the files of this test are kept in {}", directory.keep().display());
        }
    }
}
