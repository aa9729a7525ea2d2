//! Unix sockets bound with care.
//!
//! A socket's path is its authentication: whoever can replace it can stand in for the service. So the directory is checked,
//! the mode is on the socket before anybody can connect, and nothing is removed that is not ours and dead.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};

/// The longest path of a socket, in bytes: `sun_path` has 108 with the closing NUL (unix(7)).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why a socket path is refused.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
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
    /// The kernel has no room for the path.
    #[error("the socket path {} has {found} bytes, and the kernel takes at most {MAX_SOCKET_PATH_BYTES}; choose a shorter one", path.display())]
    PathTooLong {
        /// The path refused.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
    /// Neither root nor the user of this process owns the directory.
    #[error(
        "the directory {} belongs to uid {owner}, and this process runs as uid {user}: that user could replace the socket; \
         choose a directory of uid {user} or of root", path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Group or others may rename and remove what lies in the directory.
    #[error(
        "the directory {} may be written to by group or others (mode {mode:04o}): they could replace the socket; \
         `chmod go-w` it or choose another", path.display()
    )]
    WritableDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that is not a socket has the name.
    #[error("{} exists and is not a socket; remove it or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket of another user has the name.
    #[error("{} is a socket of uid {owner}, and this process runs as uid {user}; remove it or choose another path", path.display())]
    ForeignSocket {
        /// The path.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Somebody listens there.
    #[error("another process listens at {}; stop it or choose another path", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
}

impl SocketError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A bound listener that removes its own socket (same inode) on drop.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundSocket {
    /// Binds at `path` with `mode`, whatever the umask. Must be called inside a tokio runtime.
    ///
    /// Missing directories are made with mode 0755. (Not narrower: the directory of a socket for everybody may lie below the
    /// directory of a private one, and the private one's own mode keeps others out.) The directory must belong to us or to
    /// root, and must not be writable by others unless it is sticky. A socket left behind is replaced only when it is ours
    /// and a connect to it is refused; anything else there is an error.
    ///
    /// # Errors
    /// [`SocketError`] naming the path, what is wrong with it and what to do.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let found = path.as_os_str().as_bytes().len();
        if found > MAX_SOCKET_PATH_BYTES {
            return Err(SocketError::PathTooLong { path: path.to_owned(), found });
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(SocketError::io("make the directory", parent))?;
        check_directory(parent)?;
        remove_stale(path)?;
        let (listener, identity) = listen_at(path, mode)?;
        let listener = UnixListener::from_std(listener).map_err(SocketError::io("listen at", path))?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// Where it is bound.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts.
    ///
    /// # Errors
    /// What the system says; see [`crate::accept::pause_after_error`] for what to do then.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Accepts, for a hand-written future or stream.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

fn check_directory(directory: &Path) -> Result<(), SocketError> {
    let metadata = std::fs::metadata(directory).map_err(SocketError::io("look at", directory))?;
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(SocketError::ForeignDirectory { path: directory.to_owned(), owner, user });
    }
    let mode = metadata.mode() & 0o7777;
    let sticky = mode & 0o1000 != 0;
    if mode & 0o022 != 0 && !sticky {
        return Err(SocketError::WritableDirectory { path: directory.to_owned(), mode });
    }
    Ok(())
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::io("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    let (owner, user) = (found.uid(), geteuid().as_raw());
    if owner != user {
        return Err(SocketError::ForeignSocket { path: path.to_owned(), owner, user });
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        // A full queue (EAGAIN) means a listener too.
        Ok(_) => return Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) => return Err(SocketError::io("connect to", path)(error)),
    }
    // Still the socket that refused? Another process may have replaced it meanwhile.
    let again = std::fs::symlink_metadata(path).map_err(SocketError::io("look at", path))?;
    if (again.dev(), again.ino()) != (found.dev(), found.ino()) {
        return Err(SocketError::InUse { path: path.to_owned() });
    }
    tracing::info!(path = %path.display(), "removing the socket that a former process left behind");
    std::fs::remove_file(path).map_err(SocketError::io("remove the stale socket", path))
}

fn listen_at(path: &Path, mode: u32) -> Result<(StdUnixListener, (u64, u64)), SocketError> {
    let bound = || -> io::Result<_> {
        let descriptor = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        // Linux gives the file that bind makes the mode of the socket less the umask: so it never has more than asked for.
        // What the umask took away is given back before listen, that is, before anybody can connect.
        fchmod(&descriptor, Mode::from_bits_truncate(mode))?;
        bind(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let metadata = std::fs::symlink_metadata(path)?;
        listen(&descriptor, Backlog::MAXCONN)?;
        Ok((StdUnixListener::from(descriptor), (metadata.dev(), metadata.ino())))
    };
    bound().map_err(SocketError::io("listen at", path))
}

#[cfg(test)]
mod tests;
