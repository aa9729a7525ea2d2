//! SHA-256 of the executables of callers.
//!
//! The file is the one that runs, opened through `/proc/<pid>/exe`, not one found by a path. Digests are kept by what the kernel says
//! of a file, so that a fleet of connections of one program reads it once.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, fstatfs};
use pki::{Sha256Digest, Sha256Hasher};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use runtime::clock::Clock;

/// Hashes executables and remembers the digests of the last ones.
pub struct ExecutableHashes {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    hashed: Counter,
}

/// Why there is no digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unhashed {
    /// It will not be otherwise the next time.
    Never(String),
    /// It may be the next time.
    NotNow(String),
}

/// Everything that changes when the content does. The change time cannot be set by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// One file's digest, locked while somebody computes it: others wait instead of reading the same file.
type Digest = Arc<Mutex<Option<Sha256Digest>>>;

#[derive(Default)]
struct Kept {
    digests: HashMap<FileKey, (u64, Digest)>,
    uses: u64,
}

impl ExecutableHashes {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), hashed: Counter::default() }
    }

    /// Shows how many files were read, below `workload`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("workload");
        registry.register("executables_hashed", "Executables read to hash them", self.hashed.clone());
    }

    /// The digest of an executable, or why there is none. Reads the file, for at most [`LIMIT`], unless its digest is known.
    pub(super) fn sha256(&self, executable: &OwnedFd) -> Result<Sha256Digest, Unhashed> {
        let deadline = self.clock.boottime() + LIMIT;
        let failed = |error: std::io::Error| Unhashed::NotNow(format!("the executable cannot be read: {error}"));
        // The same file: through the agent's own descriptor of it.
        let mut file = File::open(format!("/proc/self/fd/{}", executable.as_raw_fd())).map_err(failed)?;
        if fstatfs(&file).map_err(|errno| failed(errno.into()))?.filesystem_type() == FUSE_SUPER_MAGIC {
            let why = "the executable lies on a file system in user space, which can show other content to each reader";
            return Err(Unhashed::Never(why.to_owned()));
        }
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() > MAX_EXECUTABLE_BYTES {
            let why = format!("the executable has {} bytes, at most {MAX_EXECUTABLE_BYTES} are hashed", metadata.len());
            return Err(Unhashed::Never(why));
        }
        let mut key = FileKey::of(&metadata);
        for _ in 0..MAX_READS {
            let digest = self.kept().digest(key);
            let mut digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = *digest {
                return Ok(known);
            }
            file.rewind().map_err(failed)?;
            let found = self.read(&file, deadline)?;
            let before = std::mem::replace(&mut key, FileKey::of(&file.metadata().map_err(failed)?));
            if before != key {
                // A second name or another mode counts as a change too: what it was is told by reading again only.
                continue;
            }
            // Time stamps are coarse: a file that changed a moment ago may change again and look the same.
            if key.settled(self.clock.now()) {
                *digest = Some(found);
            }
            return Ok(found);
        }
        Err(Unhashed::NotNow(format!("the executable was changed each of the {MAX_READS} times that it was read")))
    }

    fn read(&self, mut file: &File, deadline: Duration) -> Result<Sha256Digest, Unhashed> {
        self.hashed.inc();
        let mut hasher = Sha256Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut rest = MAX_EXECUTABLE_BYTES;
        loop {
            if self.clock.boottime() >= deadline {
                return Err(Unhashed::NotNow(format!("hashing the executable took longer than {LIMIT:?}")));
            }
            let read =
                file.read(&mut chunk).map_err(|error| Unhashed::NotNow(format!("the executable cannot be read: {error}")))?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            let grown = || Unhashed::NotNow("the executable grows while it is read".to_owned());
            rest = rest.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)).ok_or_else(grown)?;
            hasher.update(chunk.get(..read).unwrap_or_default());
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileKey {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(now).is_ok_and(|now| now.saturating_sub(self.changed.0) > SETTLED_SECONDS)
    }
}

impl Kept {
    fn digest(&mut self, key: FileKey) -> Digest {
        self.uses += 1;
        let uses = self.uses;
        if !self.digests.contains_key(&key) && self.digests.len() >= MAX_DIGESTS {
            let oldest = self.digests.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|key| self.digests.remove(&key));
        }
        let (used, digest) = self.digests.entry(key).or_default();
        *used = uses;
        Arc::clone(digest)
    }
}

/// Twice what a large proxy has with its symbols stripped.
const MAX_EXECUTABLE_BYTES: u64 = 256 * 1024 * 1024;

/// The programs of a node that ask for identities; a digest has 32 bytes.
const MAX_DIGESTS: usize = 256;

const CHUNK_BYTES: usize = 256 * 1024;

/// Shorter than an attestation may take, so that the other selectors are not lost with this one.
const LIMIT: Duration = Duration::from_secs(3);

/// A file that is changed while it is read is read again. Whoever changes its own without end costs us no more than this.
const MAX_READS: usize = 3;

/// Time stamps of files are at least this precise on every local file system.
const SETTLED_SECONDS: i64 = 2;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use runtime::clock::{SystemClock, TestClock};

    use super::*;

    fn opened(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    /// A clock that is well past the moment at which the test's files were made.
    fn later() -> Arc<TestClock> {
        TestClock::at(SystemClock::shared().now() + Duration::from_secs(60))
    }

    #[test]
    fn a_settled_file_is_read_once_and_again_after_each_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let hashes = ExecutableHashes::new(later());
        for _ in 0..5 {
            assert_eq!(hashes.sha256(&opened(file.path())).unwrap(), pki::sha256(b"abc"));
        }
        assert_eq!(hashes.hashed.get(), 1);
        // Same size, and the modification time set back: the change time tells.
        let before = std::fs::metadata(file.path()).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(file.path(), b"xyz").unwrap();
        File::options().write(true).open(file.path()).unwrap().set_modified(before).unwrap();
        assert_eq!(hashes.sha256(&opened(file.path())).unwrap(), pki::sha256(b"xyz"));
        assert_eq!(hashes.hashed.get(), 2);
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_is_not_remembered() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let hashes = ExecutableHashes::new(SystemClock::shared());
        for _ in 0..2 {
            hashes.sha256(&opened(file.path())).unwrap();
        }
        assert_eq!(hashes.hashed.get(), 2);
    }

    /// A clock that does something whenever it is read, which is before each chunk: while the file is read.
    struct Meddler {
        clock: Arc<dyn Clock>,
        meddle: Box<dyn Fn() + Send + Sync>,
    }

    impl Clock for Meddler {
        fn now(&self) -> SystemTime {
            self.clock.now()
        }

        fn boottime(&self) -> Duration {
            (self.meddle)();
            self.clock.boottime()
        }
    }

    #[test]
    fn a_file_that_gets_a_second_name_while_it_is_read_is_read_again_and_one_that_never_rests_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let (path, name) = (directory.path().join("web"), directory.path().join("second-name"));
        std::fs::write(&path, b"abc").unwrap();
        let (of, times) = (path.clone(), Arc::new(Mutex::new(0_u32)));
        let left = Arc::clone(&times);
        // The first read of the clock sets the limit, before the file is looked at; then each chunk has one, and there are two of
        // them: what is there, and the end.
        let meddle = move || {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                let _there = std::fs::remove_file(&name);
                // Change times are as coarse as the kernel's tick.
                std::thread::sleep(Duration::from_millis(20));
                std::fs::hard_link(&of, &name).unwrap();
            }
        };
        let hashes = ExecutableHashes::new(Arc::new(Meddler { clock: later(), meddle: Box::new(meddle) }));
        *times.lock().unwrap() = 2;
        assert_eq!(hashes.sha256(&opened(&path)).unwrap(), pki::sha256(b"abc"));
        assert_eq!(hashes.hashed.get(), 2, "read again");
        *times.lock().unwrap() = u32::MAX;
        let error = hashes.sha256(&opened(&path)).unwrap_err();
        assert!(matches!(&error, Unhashed::NotNow(why) if why.contains("changed")), "{error:?}");
        assert_eq!(hashes.hashed.get(), 2 + u64::try_from(MAX_READS).unwrap());
    }

    #[test]
    fn callers_at_once_read_the_file_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 * 1024 * 1024).unwrap();
        let hashes = ExecutableHashes::new(later());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| hashes.sha256(&opened(file.path())).unwrap());
            }
        });
        assert_eq!(hashes.hashed.get(), 1);
    }

    #[test]
    fn too_large_a_file_is_not_read_and_a_slow_one_is_given_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_EXECUTABLE_BYTES + 1).unwrap();
        let hashes = ExecutableHashes::new(later());
        let error = hashes.sha256(&opened(file.path())).unwrap_err();
        assert!(matches!(&error, Unhashed::Never(why) if why.contains("at most")), "{error:?}");
        assert_eq!(hashes.hashed.get(), 0);
        file.as_file().set_len(1).unwrap();
        let clock = later();
        let hashes = ExecutableHashes::new(Arc::<TestClock>::clone(&clock));
        let deadline = clock.boottime() + LIMIT;
        clock.advance(LIMIT);
        let error = hashes.read(&File::open(file.path()).unwrap(), deadline).unwrap_err();
        assert!(matches!(&error, Unhashed::NotNow(why) if why.contains("longer")), "{error:?}");
        assert!(hashes.sha256(&opened(file.path())).is_ok());
    }

    #[test]
    fn the_oldest_digest_makes_room() {
        let mut kept = Kept::default();
        let key = |inode| FileKey { device: 1, inode, size: 1, modified: (0, 0), changed: (0, 0) };
        for inode in 0..300 {
            drop(kept.digest(key(0)));
            drop(kept.digest(key(inode)));
        }
        assert_eq!(kept.digests.len(), MAX_DIGESTS);
        assert!(
            kept.digests.contains_key(&key(0)) && kept.digests.contains_key(&key(299)) && !kept.digests.contains_key(&key(1))
        );
    }
}
