//! From a path to an open file, one name at a time, each level judged by its own descriptor.
//!
//! Nothing is opened by a whole path: every name is opened below the directory before it, never through a link (openat2(2)), so what
//! was judged is what is read. Where links are allowed, each is read and its target walked in the same way; a target that would lead
//! up or away is refused, so the walk stays below the configured directory.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::reader::{Access, Reader};
use super::settings::{FileLinks, FileSecretSettings};

/// A regular file that the reader could read itself.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) stamp: Stamp,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) bytes: i64,
    modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// Why a file is not given to a reader.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the path is not absolute, or holds \"..\", \".\" or \"//\"")]
    NotPlain,
    #[error("the path is not below one of the configured directories ([sds] file_directories)")]
    Outside,
    #[error("{} cannot be opened: {source}", at.display())]
    Unopened { at: PathBuf, source: io::Error },
    #[error("{} is a symbolic link, and [sds] file_links does not allow this one", at.display())]
    Link { at: PathBuf },
    #[error("{} is not a regular file", at.display())]
    NotRegular { at: PathBuf },
    #[error("the caller itself could not {what} {}, or an access control list there leaves it open", at.display())]
    NotForTheReader { at: PathBuf, what: &'static str },
}

/// Opens `path` for a reader, under the rules.
///
/// # Errors
/// [`Refusal`] naming the level at fault.
pub(super) fn open(path: &Path, reader: &Reader, settings: &FileSecretSettings) -> Result<Opened, Refusal> {
    let below = settings.directories.iter().find_map(|directory| Some((directory, path.strip_prefix(directory).ok()?)));
    if !is_plain(path) {
        return Err(Refusal::NotPlain);
    }
    let (directory, rest) = below.filter(|(_, rest)| !rest.as_os_str().is_empty()).ok_or(Refusal::Outside)?;
    let mut tries = 0;
    loop {
        let outcome = Walk::to_directory(directory, reader).and_then(|walk| walk.down(rest, reader, settings.links));
        tries += 1;
        match outcome {
            // A set of files is exchanged by renaming a link, and the old one is deleted after it: another look finds the new one.
            Err(Refusal::Unopened { source, .. }) if tries < TRIES && source.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
    }
}

struct Walk {
    directory: OwnedFd,
    at: PathBuf,
}

impl Walk {
    /// To a configured directory itself: the operator named it, so links on the way to it count as the directories that they mean.
    fn to_directory(directory: &Path, reader: &Reader) -> Result<Self, Refusal> {
        let unopened = |at: &Path| {
            let at = at.to_owned();
            move |source| Refusal::Unopened { at, source }
        };
        let real = std::fs::canonicalize(directory).map_err(unopened(directory))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open("/", flags, Mode::empty()).map_err(io::Error::from).map_err(unopened(Path::new("/")))?;
        let mut walk = Self { directory: root, at: PathBuf::from("/") };
        walk.search_here(reader)?;
        for name in
            real.components().filter_map(|component| if let Component::Normal(name) = component { Some(name) } else { None })
        {
            let (node, stat) = walk.look(name)?;
            if kind(&stat) != SFlag::S_IFDIR {
                return Err(Refusal::NotRegular { at: walk.at.join(name) });
            }
            walk.enter(node, name, reader)?;
        }
        Ok(walk)
    }

    fn down(mut self, rest: &Path, reader: &Reader, links: FileLinks) -> Result<Opened, Refusal> {
        let mut names: VecDeque<OsString> = rest.iter().map(OsStr::to_owned).collect();
        let mut links_passed = 0;
        while let Some(name) = names.pop_front() {
            let (node, stat) = self.look(&name)?;
            let at = self.at.join(&name);
            match kind(&stat) {
                SFlag::S_IFLNK => {
                    links_passed += 1;
                    let target =
                        readlinkat(&node, "").map_err(|errno| Refusal::Unopened { at: at.clone(), source: errno.into() })?;
                    let below = Path::new(&target).components().all(|component| matches!(component, Component::Normal(_)));
                    if links == FileLinks::Forbid || !below || target.is_empty() || links_passed > MAX_LINKS {
                        return Err(Refusal::Link { at });
                    }
                    for name in Path::new(&target).iter().rev() {
                        names.push_front(name.to_owned());
                    }
                }
                SFlag::S_IFDIR if !names.is_empty() => self.enter(node, &name, reader)?,
                SFlag::S_IFREG if names.is_empty() => return self.read(&name, reader),
                _ => return Err(Refusal::NotRegular { at }),
            }
        }
        Err(Refusal::NotRegular { at: self.at })
    }

    /// The place of `name` in this directory, not opened for reading: that would already touch a device or a pipe.
    fn look(&self, name: &OsStr) -> Result<(OwnedFd, FileStat), Refusal> {
        self.open(name, OFlag::O_PATH)
    }

    fn read(&self, name: &OsStr, reader: &Reader) -> Result<Opened, Refusal> {
        let (file, stat) = self.open(name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        let at = self.at.join(name);
        // Judged anew: it may be another file than the one that was looked at.
        if kind(&stat) != SFlag::S_IFREG {
            return Err(Refusal::NotRegular { at });
        }
        if !reader.may(Access::Read, &file, &stat) {
            return Err(Refusal::NotForTheReader { at, what: "read" });
        }
        Ok(Opened { file: File::from(file), stamp: Stamp::of(&stat) })
    }

    fn open(&self, name: &OsStr, flags: OFlag) -> Result<(OwnedFd, FileStat), Refusal> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let opened = loop {
            match openat2(&self.directory, name, how) {
                // The kernel could not be sure that nothing moved meanwhile, or was interrupted.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                outcome => break outcome,
            }
        };
        let found = opened.and_then(|file| fstat(&file).map(|stat| (file, stat)));
        found.map_err(|errno| Refusal::Unopened { at: self.at.join(name), source: errno.into() })
    }

    fn enter(&mut self, directory: OwnedFd, name: &OsStr, reader: &Reader) -> Result<(), Refusal> {
        self.directory = directory;
        self.at.push(name);
        self.search_here(reader)
    }

    fn search_here(&self, reader: &Reader) -> Result<(), Refusal> {
        let stat = fstat(&self.directory).map_err(|errno| Refusal::Unopened { at: self.at.clone(), source: errno.into() })?;
        if reader.may(Access::Search, &self.directory, &stat) {
            Ok(())
        } else {
            Err(Refusal::NotForTheReader { at: self.at.clone(), what: "go through" })
        }
    }
}

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            bytes: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Absolute, and written in the one way that has nothing to resolve.
fn is_plain(path: &Path) -> bool {
    let rebuilt: PathBuf = path.components().collect();
    path.is_absolute()
        && rebuilt.as_os_str() == path.as_os_str()
        && path.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_)))
}

/// How often a path is walked that loses its files under way.
const TRIES: u32 = 3;

/// Links followed for one path.
const MAX_LINKS: u32 = 8;
