//! The directory in which one test lives.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

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
        tell_panics_at_once();
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

/// Says each panic where the log of the run stands, beside what libtest keeps for the end: of a long run often only a part is kept.
fn tell_panics_at_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            // Not by a macro: what those write is captured. Nobody can be told that standard error is closed.
            drop(writeln!(std::io::stderr(), "!! {}: {panic}", thread.name().unwrap_or("a thread without a name")));
            usual(panic);
        }));
    });
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
