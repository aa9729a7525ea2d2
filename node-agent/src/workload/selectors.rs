//! From a process to its `unix` selectors.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;

use identity::{Selector, SelectorKind};
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Group, Uid, User};

use super::process::{ProcDirectory, path_of};

/// A selector that a process might have and that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which kind is absent.
    pub kind: SelectorKind,
    /// Why, for a person.
    pub why: String,
}

/// What was read from one process.
#[derive(Debug)]
pub(super) struct Facts {
    /// Effective, as the agent's user namespace numbers it.
    pub(super) uid: u32,
    /// Effective, as the agent's user namespace numbers it.
    pub(super) gid: u32,
    pub(super) selectors: BTreeSet<Selector>,
    pub(super) unreadable: Vec<Unreadable>,
}

/// Reads all selectors. An error means that not even uid and gid can be read: there is no caller then.
pub(super) fn read(directory: &ProcDirectory) -> io::Result<Facts> {
    let status = directory.read("status")?;
    let (uid, gid) = (effective(&status, "Uid:")?, effective(&status, "Gid:")?);
    let mut facts = Facts { uid, gid, selectors: BTreeSet::new(), unreadable: Vec::new() };
    facts.add(SelectorKind::Uid, Ok(uid.to_string()));
    facts.add(SelectorKind::Gid, Ok(gid.to_string()));
    facts.add(SelectorKind::User, user_name(uid));
    facts.add(SelectorKind::Group, group_name(gid));
    facts.add(SelectorKind::Path, executable_path(directory));
    Ok(facts)
}

impl Facts {
    fn add(&mut self, kind: SelectorKind, value: Result<String, String>) {
        let selector = value.and_then(|value| Selector::new(kind, &value).map_err(|error| error.to_string()));
        match selector {
            Ok(selector) => drop(self.selectors.insert(selector)),
            Err(why) => self.unreadable.push(Unreadable { kind, why }),
        }
    }
}

/// The second of the four numbers in a line of `status`: real, effective, saved, filesystem (proc_pid_status(5)).
fn effective(status: &str, key: &str) -> io::Result<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no line \"{key}\" in the process's status")))
}

fn user_name(uid: u32) -> Result<String, String> {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => Ok(user.name),
        Ok(None) => Err(format!("no account of this node has uid {uid}")),
        Err(error) => Err(format!("the account of uid {uid} cannot be looked up: {error}")),
    }
}

fn group_name(gid: u32) -> Result<String, String> {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => Ok(group.name),
        Ok(None) => Err(format!("no group of this node has gid {gid}")),
        Err(error) => Err(format!("the group of gid {gid} cannot be looked up: {error}")),
    }
}

/// The path of the executable, if it means the same file to the agent.
///
/// The text alone proves nothing: in a mount namespace of its own, which any user may make, a process can run any file under any
/// name. So the file is opened once, and the agent looks whether that name leads itself to the same file.
fn executable_path(directory: &ProcDirectory) -> Result<String, String> {
    let executable = directory.executable().map_err(|error| format!("the executable cannot be opened: {error}"))?;
    let running = fstat(&executable).map_err(|error| format!("the executable cannot be looked at: {error}"))?;
    let path = path_of(&executable).map_err(|error| format!("the path of the executable cannot be read: {error}"))?;
    let path = path.to_str().ok_or_else(|| "the path of the executable is not UTF-8".to_owned())?;
    if running.st_nlink == 0 || path.ends_with(" (deleted)") {
        return Err(format!("the executable was deleted or replaced since the process started ({path})"));
    }
    // Not through a final symlink: the kernel's path has none.
    let seen = std::fs::symlink_metadata(path).map_err(|error| format!("the agent cannot see {path}: {error}"))?;
    if (seen.dev(), seen.ino()) != (running.st_dev, running.st_ino) {
        return Err(format!("{path} is another file to the agent than to the process (a mount namespace of its own?)"));
    }
    Ok(path.to_owned())
}
