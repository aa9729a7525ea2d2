//! The directory of a set, and the switch from one whole set to the next.
//!
//! ```text
//! key.pem -> ..data/key.pem          made once
//! ..data -> ..1764000000-0123456789abcdef
//! ..1764000000-0123456789abcdef/     one whole set, never changed
//! ```
//!
//! A new set is written beside the old one, synced, and takes over by the rename of one link, so a reader finds one whole set or the
//! other at any moment, also after a crash at any point. Nothing is reached by a path: every step is relative to the opened
//! directory, which belongs to root or to the agent, as do all above it, and which nobody else may write to. So nobody can put a link
//! in the way, or another directory in its place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, geteuid, symlinkat, unlinkat};
use zeroize::Zeroizing;

use super::contents::{LISTS, NAMES, SetFile};

/// Why files cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
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
    /// A part of the path leads elsewhere.
    #[error("{} is a symbolic link or no directory; name the directory itself", path.display())]
    NotADirectory {
        /// The part.
        path: PathBuf,
    },
    /// Somebody else could put another directory there.
    #[error(
        "{} belongs to uid {owner} (mode {mode:04o}): somebody else than root and this agent (uid {user}) could replace what lies there; \
         `chown` and `chmod go-w` it, or name another place", path.display()
    )]
    NotOurs {
        /// The part.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Something has a name that we need.
    #[error("{} is there and is not a link of ours; move it away", path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
    },
    /// What was written is not what can be read.
    #[error("{} was written, and does not read back as it was; look after the disk, or whoever else writes there", path.display())]
    NotReadBack {
        /// Which file or link.
        path: PathBuf,
    },
    /// No such user or group.
    #[error("the {what} {name} cannot be used: {why}")]
    Account {
        /// "user" or "group".
        what: &'static str,
        /// The name.
        name: String,
        /// What the account database says.
        why: String,
    },
}

/// An opened and checked directory.
#[derive(Debug)]
pub(super) struct SetDirectory {
    path: PathBuf,
    fd: OwnedFd,
}

/// One of the acts that make up a switch. Between any two of them the program may be gone.
pub(super) enum Step<'a> {
    /// Removes what an interrupted switch left.
    Sweep,
    /// Makes the directory of the new set.
    Make,
    /// Writes one file of it, whole, with its owner and mode, and reads it back.
    Write(&'a SetFile),
    /// Lets others into the set, and syncs it.
    Seal,
    /// Makes a link such as `key.pem`, when it is missing.
    Link(&'static str),
    /// Removes such a link of a file that sets no longer have.
    Unlink(&'static str),
    /// Makes the link that will be `..data`.
    Point,
    /// Makes it `..data`: from here on the new set counts.
    Switch,
    /// Removes the old set.
    Clear,
}

/// A switch: who the files are for, and how the new set is called.
pub(super) struct Switch<'a> {
    directory: &'a SetDirectory,
    owner: (Option<Uid>, Option<Gid>),
    set: String,
    next: String,
}

/// Opens the directory, which must exist, and looks at the names in it. Changes nothing.
pub(super) fn check(path: &Path) -> Result<(), DirectoryError> {
    SetDirectory::open(path)?.check_names()
}

impl SetDirectory {
    /// Opens the directory, and makes its last part (0755) when that is missing.
    pub(super) fn prepare(path: &Path) -> Result<Self, DirectoryError> {
        let parent = path.parent().map(|parent| walk(parent, Sticky::Allowed)).transpose()?;
        if let (Some(parent), Some(name)) = (parent, path.file_name()) {
            match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    let made = reopened(&open_part(&parent, name, path)?, path)?;
                    // Whatever the umask.
                    fchmod(&made, Mode::from_bits_truncate(0o755)).map_err(failed("set the mode of", path))?;
                    fsync(&reopened(&parent, path)?).map_err(failed("sync the directory of", path))?;
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed("make the directory", path)(errno)),
            }
        }
        Self::open(path)
    }

    fn open(path: &Path) -> Result<Self, DirectoryError> {
        let place = walk(path, Sticky::Refused)?;
        Ok(Self { path: path.to_owned(), fd: reopened(&place, path)? })
    }

    /// The acts that put these files in the place of the old set. Before [`Step::Switch`] the old set counts, after it the new one;
    /// [`Switch::is_done`] tells.
    pub(super) fn steps<'a>(&self, files: &'a [SetFile]) -> Vec<Step<'a>> {
        let has = |name: &&str| files.iter().any(|file| file.name == *name);
        let links = NAMES.into_iter().filter(has).map(Step::Link);
        let stays = |name: &&str| *name == LISTS && self.has_other_lists();
        let unlinks = NAMES.into_iter().filter(|name| !has(name)).filter(|name| !stays(name)).map(Step::Unlink);
        [Step::Sweep, Step::Make]
            .into_iter()
            .chain(files.iter().map(Step::Write))
            .chain([Step::Seal])
            .chain(links)
            .chain([Step::Point, Step::Switch, Step::Clear])
            .chain(unlinks)
            .collect()
    }

    /// A switch to a set of a name that nobody can foresee: the time and random bits.
    pub(super) fn switch(&self, seconds: u64, random: u64, owner: (Option<Uid>, Option<Gid>)) -> Switch<'_> {
        Switch { directory: self, owner, set: format!("..{seconds:010}-{random:016x}"), next: format!("{NEXT}{random:016x}") }
    }

    /// The set that counts, `None` before the first.
    fn current(&self) -> Result<Option<OsString>, DirectoryError> {
        match readlinkat(&self.fd, DATA) {
            Ok(target) if is_set(&target) => Ok(Some(target)),
            Ok(_) | Err(Errno::EINVAL) => Err(DirectoryError::InTheWay { path: self.path.join(DATA) }),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed("read the link", &self.path.join(DATA))(errno)),
        }
    }

    /// Whether every name that we need is free or ours. We can do without that of the lists.
    fn check_names(&self) -> Result<(), DirectoryError> {
        self.current()?;
        NAMES.into_iter().filter(|name| *name != LISTS).try_for_each(|name| self.has_link(name).map(|_| ()))
    }

    /// Whether revocation lists of another making lie here: they stay, and a set goes without.
    pub(super) fn has_other_lists(&self) -> bool {
        matches!(self.has_link(LISTS), Err(DirectoryError::InTheWay { .. }))
    }

    /// Whether the link is there.
    fn has_link(&self, name: &str) -> Result<bool, DirectoryError> {
        match readlinkat(&self.fd, name) {
            Ok(target) if target == *format!("{DATA}/{name}") => Ok(true),
            Ok(_) | Err(Errno::EINVAL) => Err(DirectoryError::InTheWay { path: self.path.join(name) }),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(failed("read the link", &self.path.join(name))(errno)),
        }
    }

    /// Removes every set but the one that counts, and links that never came to count.
    fn sweep(&self) -> Result<(), DirectoryError> {
        let current = self.current()?;
        for name in names_in(&reopened(&self.fd, &self.path)?, &self.path)? {
            let path = self.path.join(&name);
            if name.as_encoded_bytes().starts_with(NEXT.as_bytes()) {
                unlinkat(&self.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir).map_err(failed("remove", &path))?;
            } else if is_set(&name) && current.as_ref() != Some(&name) {
                self.remove_set(&name, &path)?;
            }
        }
        fsync(&self.fd).map_err(failed("sync", &self.path))
    }

    fn remove_set(&self, name: &OsStr, path: &Path) -> Result<(), DirectoryError> {
        let set = open_part(&self.fd, name, path)?;
        let set = reopened(&set, path)?;
        for file in names_in(&set, path)? {
            unlinkat(&set, file.as_os_str(), UnlinkatFlags::NoRemoveDir).map_err(failed("remove", &path.join(&file)))?;
        }
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).map_err(failed("remove", path))
    }
}

impl Switch<'_> {
    /// Whether the new set counts.
    pub(super) fn is_done(&self) -> bool {
        self.directory.current().is_ok_and(|current| current.is_some_and(|current| current == *self.set))
    }

    /// Whether the new set counts, under every name by which a program reads it. What is in the files was read when they were written.
    pub(super) fn check(&self, files: &[SetFile]) -> Result<(), DirectoryError> {
        let SetDirectory { path, .. } = self.directory;
        if !self.is_done() {
            return Err(DirectoryError::NotReadBack { path: path.join(DATA) });
        }
        for file in files {
            if !self.directory.has_link(file.name)? {
                return Err(DirectoryError::NotReadBack { path: path.join(file.name) });
            }
        }
        Ok(())
    }

    /// Does one step. They are meant in the order of [`SetDirectory::steps`].
    pub(super) fn perform(&self, step: &Step<'_>) -> Result<(), DirectoryError> {
        let SetDirectory { path, fd } = self.directory;
        match step {
            Step::Sweep => {
                self.directory.check_names()?;
                self.directory.sweep()
            }
            Step::Make => {
                mkdirat(fd, self.set.as_str(), Mode::from_bits_truncate(0o700)).map_err(failed("make", &path.join(&self.set)))
            }
            Step::Write(file) => self.write(file),
            Step::Seal => {
                let (set, place) = self.opened()?;
                fchmod(&set, Mode::from_bits_truncate(0o755)).map_err(failed("set the mode of", &place))?;
                fsync(&set).map_err(failed("sync", &place))
            }
            Step::Link(name) => {
                if !self.directory.has_link(name)? {
                    let target = format!("{DATA}/{name}");
                    symlinkat(target.as_str(), fd, *name).map_err(failed("make the link", &path.join(name)))?;
                }
                Ok(())
            }
            Step::Unlink(name) => {
                if self.directory.has_link(name)? {
                    unlinkat(fd, *name, UnlinkatFlags::NoRemoveDir).map_err(failed("remove", &path.join(name)))?;
                }
                Ok(())
            }
            Step::Point => {
                symlinkat(self.set.as_str(), fd, self.next.as_str()).map_err(failed("make the link", &path.join(&self.next)))
            }
            Step::Switch => {
                // What it replaces was looked at in the first step, and nobody else may write here.
                renameat(fd, self.next.as_str(), fd, DATA).map_err(failed("switch to", &path.join(&self.set)))?;
                fsync(fd).map_err(failed("sync", path))
            }
            Step::Clear => self.directory.sweep(),
        }
    }

    fn opened(&self) -> Result<(OwnedFd, PathBuf), DirectoryError> {
        let place = self.directory.path.join(&self.set);
        let set = open_part(&self.directory.fd, OsStr::new(&self.set), &place)?;
        Ok((reopened(&set, &place)?, place))
    }

    fn write(&self, file: &SetFile) -> Result<(), DirectoryError> {
        let (set, place) = self.opened()?;
        let path = place.join(file.name);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(&set, file.name, flags, Mode::from_bits_truncate(0o600)).map_err(failed("make", &path))?;
        let mut opened = File::from(opened);
        opened.write_all(&file.bytes).map_err(io_failed("write", &path))?;
        let (owner, group) = self.owner;
        if owner.is_some() || group.is_some() {
            fchown(&opened, owner, group).map_err(failed("change the owner of", &path))?;
        }
        fchmod(&opened, Mode::from_bits_truncate(file.mode)).map_err(failed("set the mode of", &path))?;
        opened.sync_all().map_err(io_failed("sync", &path))?;
        // By the descriptor: the file may be for somebody else alone by now.
        let mut found = Zeroizing::new(vec![0; file.bytes.len()]);
        let mut rest = [0];
        opened.seek(SeekFrom::Start(0)).and_then(|_| opened.read_exact(&mut found)).map_err(io_failed("read back", &path))?;
        let is_whole = found == file.bytes && opened.read(&mut rest).map_err(io_failed("read back", &path))? == 0;
        if is_whole { Ok(()) } else { Err(DirectoryError::NotReadBack { path }) }
    }
}

/// Whether a directory above may be one in which everybody makes files, and nobody touches another's, such as /tmp.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sticky {
    Allowed,
    Refused,
}

/// Opens a directory part by part, without following a link, and demands of each part that nobody else could replace what lies in it.
fn walk(path: &Path, last: Sticky) -> Result<OwnedFd, DirectoryError> {
    let mut place = PathBuf::from("/");
    let mut opened = nix::fcntl::open("/", PLACE, Mode::empty()).map_err(failed("open", &place))?;
    let parts: Vec<_> = path.components().filter(|part| *part != Component::RootDir).collect();
    let sticky = |rest: usize| if rest == 0 { last } else { Sticky::Allowed };
    check_part(&opened, &place, sticky(parts.len()))?;
    for (index, part) in parts.iter().enumerate() {
        place.push(part);
        opened = open_part(&opened, part.as_os_str(), &place)?;
        check_part(&opened, &place, sticky(parts.len() - index - 1))?;
    }
    Ok(opened)
}

fn open_part(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, DirectoryError> {
    openat(parent, name, PLACE, Mode::empty()).map_err(|errno| {
        if matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
            DirectoryError::NotADirectory { path: path.to_owned() }
        } else {
            failed("open", path)(errno)
        }
    })
}

fn check_part(part: &OwnedFd, path: &Path, sticky: Sticky) -> Result<(), DirectoryError> {
    let status = fstat(part).map_err(failed("look at", path))?;
    let (mode, user) = (status.st_mode & 0o7777, geteuid().as_raw());
    let shared = mode & 0o022 != 0 && !(sticky == Sticky::Allowed && mode & 0o1000 != 0);
    if shared || (status.st_uid != 0 && status.st_uid != user) {
        return Err(DirectoryError::NotOurs { path: path.to_owned(), owner: status.st_uid, mode, user });
    }
    Ok(())
}

/// A descriptor that can be read and synced, of a place that was opened as a place only.
fn reopened(place: &OwnedFd, path: &Path) -> Result<OwnedFd, DirectoryError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(place, ".", flags, Mode::empty()).map_err(failed("open", path))
}

fn names_in(directory: &OwnedFd, path: &Path) -> Result<Vec<OsString>, DirectoryError> {
    use std::os::unix::ffi::OsStrExt;
    let again = reopened(directory, path)?;
    let mut dir = Dir::from_fd(again).map_err(failed("list", path))?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(failed("list", path))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// `..<seconds>-<16 hex digits>`: no file that people make.
fn is_set(name: &OsStr) -> bool {
    let parts = name.to_str().and_then(|name| name.strip_prefix("..")?.split_once('-'));
    parts.is_some_and(|(seconds, random)| {
        seconds.len() >= 10
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
            && random.len() == 16
            && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> DirectoryError {
    let failed = io_failed(action, path);
    move |errno| failed(errno.into())
}

fn io_failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { action, path, source }
}

const DATA: &str = "..data";
const NEXT: &str = "..next-";

const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

#[cfg(test)]
mod tests;
