//! Files and directories that only their owner may touch.
//!
//! Modes are set on the open file, so they hold whatever the umask; a file appears whole under its name or not at all.
//! Reads follow symbolic links, because Kubernetes mounts secrets behind one, and check the file that was opened.

mod streamed;

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use crate::entropy::{SystemEntropy, bytes};
pub use streamed::PrivateFileWriter;

/// Why a directory or file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Neither root nor the user of this process owns it.
    #[error(
        "{} belongs to uid {owner}, and this process runs as uid {user}: that user could replace what lies there; \
         give it to uid {user} or name another place", path.display()
    )]
    ForeignOwner {
        /// What is refused.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// A directory that group or others may write to.
    #[error(
        "{} may be written to by group or others (mode {mode:04o}): they could replace what lies there; \
         `chmod go-w` it or name another place", path.display()
    )]
    WritableByOthers {
        /// What is refused.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A private key file that others may read or write.
    #[error("{} can be reached by others (mode {mode:04o}): a private key must not be; `chmod 0600` it", path.display())]
    ReachableByOthers {
        /// What is refused.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, device, socket or pipe where a file is needed.
    #[error("{} is not a regular file; name a file", path.display())]
    NotRegular {
        /// What is refused.
        path: PathBuf,
    },
    /// More bytes than any such file has.
    #[error("{} has more than {max} bytes; it is not the file that belongs there", path.display())]
    TooLarge {
        /// What is refused.
        path: PathBuf,
        /// The most bytes allowed.
        max: usize,
    },
    /// It exists, and must not be overwritten.
    #[error("{} exists and is never overwritten; move it away first if it is not needed", path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// Another process has the directory.
    #[error(
        "{} is in use by process {holder}, which holds its lock: two processes on one state directory would lose each other's writes; \
         stop that one or use another directory", directory.display()
    )]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// The holder's process id as it wrote it, or `unknown`.
        holder: String,
    },
}

impl PrivateFileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The system's error kind, when the system refused: so that a caller can tell a missing file from a bad one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        if let Self::Io { source, .. } = self { Some(source.kind()) } else { None }
    }
}

/// Makes `path` (0700, whatever the umask) when missing, with missing parents (0755); refuses one that others own or may
/// write to, and a symbolic link.
///
/// # Errors
/// [`PrivateFileError`] naming the path, what is wrong with it and what to do.
pub fn ensure_private_dir(path: &Path) -> Result<(), PrivateFileError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(PrivateFileError::io("make the directory", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let directory = open_directory(path)?;
            directory.set_permissions(Permissions::from_mode(0o700)).map_err(PrivateFileError::io("set the mode of", path))?;
            sync_parent(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_private_dir(path),
        Err(error) => Err(PrivateFileError::io("make the directory", path)(error)),
    }
}

/// Checks an existing directory only: ours or root's, and nobody else may write to it.
///
/// # Errors
/// [`PrivateFileError`] naming the path, what is wrong with it and what to do.
pub fn check_private_dir(path: &Path) -> Result<(), PrivateFileError> {
    let metadata = metadata_of(&open_directory(path)?, path)?;
    check_owner(path, &metadata)?;
    let mode = permission_bits(&metadata);
    if mode & 0o022 != 0 {
        return Err(PrivateFileError::WritableByOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Writes a file of mode 0600, whatever the umask: an O_EXCL temporary beside it, synced, renamed, directory synced.
///
/// # Errors
/// [`PrivateFileError::Exists`] with [`Overwrite::Refuse`] when there is one; what the system says otherwise.
pub fn write_private(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<(), PrivateFileError> {
    write_whole(path, bytes, 0o600, overwrite)
}

/// The same with mode 0644, for certificates.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<(), PrivateFileError> {
    write_whole(path, bytes, 0o644, overwrite)
}

/// Whether an existing file may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Error when it exists.
    Refuse,
    /// Replace.
    Replace,
}

/// Reads a private key file of at most `max` bytes: a regular file, ours or root's, out of reach for others. The group may
/// read one that root owns (how Kubernetes and distributions hand a key to a service user), no other.
///
/// # Errors
/// [`PrivateFileError`] naming the path, what is wrong with it and what to do.
pub fn read_private(path: &Path, max: usize) -> Result<Vec<u8>, PrivateFileError> {
    let (file, metadata) = open_regular(path)?;
    check_owner(path, &metadata)?;
    let mode = permission_bits(&metadata);
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(PrivateFileError::ReachableByOthers { path: path.to_owned(), mode });
    }
    read_at_most(file, path, max)
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// [`PrivateFileError`] naming the path and what is wrong with it.
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>, PrivateFileError> {
    let (file, _) = open_regular(path)?;
    read_at_most(file, path, max)
}

/// Syncs a directory, so that names made or changed in it outlive a power failure.
///
/// # Errors
/// What the system says.
pub fn sync_dir(path: &Path) -> Result<(), PrivateFileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(PrivateFileError::io("sync", path))
}

/// An exclusive lock on `<dir>/lock`, held while it lives: two processes never share a state directory.
///
/// The lock belongs to the open file (flock(2)), so it ends with the process however that ends; the file itself stays.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "held for its drop, which unlocks")] Flock<File>);

impl DirLock {
    /// Takes it, and writes this process's id into the file.
    ///
    /// # Errors
    /// [`PrivateFileError::Locked`] naming the holder's process id; what the system says otherwise.
    pub fn acquire(dir: &Path) -> Result<Self, PrivateFileError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(PrivateFileError::io("open the lock file", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)
                    .and_then(|()| lock.seek(SeekFrom::Start(0)))
                    .and_then(|_| writeln!(lock, "{}", std::process::id()))
                    .map_err(PrivateFileError::io("write the lock file", &path))?;
                Ok(Self(lock))
            }
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                Err(PrivateFileError::Locked { directory: dir.to_owned(), holder: holder_in(file) })
            }
            Err((_, errno)) => Err(PrivateFileError::io("lock", &path)(errno.into())),
        }
    }
}

fn holder_in(file: File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    let digits = text.trim();
    let known = read.is_ok() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if known { digits.to_owned() } else { "unknown".to_owned() }
}

fn write_whole(path: &Path, content: &[u8], mode: u32, overwrite: Overwrite) -> Result<(), PrivateFileError> {
    let temporary = temporary_beside(path)?;
    let written = write_temporary(&temporary, content, mode).and_then(|()| give_name(&temporary, path, overwrite));
    if written.is_err() {
        // Whatever failed is the error worth reporting; a temporary that cannot be removed harms nobody.
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    sync_parent(path)
}

fn temporary_beside(path: &Path) -> Result<PathBuf, PrivateFileError> {
    let name = path.file_name().ok_or_else(|| PrivateFileError::NotRegular { path: path.to_owned() })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    // Random rather than the process id, which is 1 again after each restart of a container that may have crashed here.
    temporary.push(format!(".{:016x}.tmp", u64::from_be_bytes(bytes(&SystemEntropy))));
    Ok(path.with_file_name(temporary))
}

fn write_temporary(temporary: &Path, content: &[u8], mode: u32) -> Result<(), PrivateFileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(temporary)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(content)?;
            file.sync_all()
        })
        .map_err(PrivateFileError::io("write", temporary))
}

fn give_name(temporary: &Path, path: &Path, overwrite: Overwrite) -> Result<(), PrivateFileError> {
    match overwrite {
        Overwrite::Replace => std::fs::rename(temporary, path).map_err(PrivateFileError::io("replace", path)),
        Overwrite::Refuse => match std::fs::hard_link(temporary, path) {
            // A second name fails when the name is taken, whoever took it a moment ago; a rename would replace it.
            Ok(()) => std::fs::remove_file(temporary).map_err(PrivateFileError::io("remove", temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(PrivateFileError::Exists { path: path.to_owned() }),
            Err(error) => Err(PrivateFileError::io("make", path)(error)),
        },
    }
}

fn sync_parent(path: &Path) -> Result<(), PrivateFileError> {
    sync_dir(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn open_directory(path: &Path) -> Result<File, PrivateFileError> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(path)
        .map_err(PrivateFileError::io("open the directory", path))
}

fn open_regular(path: &Path) -> Result<(File, Metadata), PrivateFileError> {
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(PrivateFileError::io("open", path))?;
    let metadata = metadata_of(&file, path)?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotRegular { path: path.to_owned() });
    }
    Ok((file, metadata))
}

fn metadata_of(file: &File, path: &Path) -> Result<Metadata, PrivateFileError> {
    file.metadata().map_err(PrivateFileError::io("look at", path))
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), PrivateFileError> {
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(PrivateFileError::ForeignOwner { path: path.to_owned(), owner, user });
    }
    Ok(())
}

fn permission_bits(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

fn read_at_most(file: File, path: &Path, max: usize) -> Result<Vec<u8>, PrivateFileError> {
    // Room for all at once: a buffer that grows would leave copies of a key behind.
    let mut content = Vec::with_capacity(max.saturating_add(1));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut content).map_err(PrivateFileError::io("read", path))?;
    if content.len() > max {
        return Err(PrivateFileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
