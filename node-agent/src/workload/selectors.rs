//! From a process to its selectors.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use data_encoding::HEXLOWER;
use identity::{Selector, SelectorKind};
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Group, Uid, User};

use super::control_group;
use super::executables::{ExecutableHashes, Unhashed};
use super::kubernetes::{ContainerPlace, container_of};
use super::process::{ProcDirectory, path_of};

/// A selector that a process might have and that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which kind is absent.
    pub kind: SelectorKind,
    /// Why, for a person.
    pub why: String,
    /// Whether it may be readable the next time: then it is not known that the process lacks the selector.
    pub passing: bool,
}

/// Why a selector is absent.
struct Absence {
    why: String,
    passing: bool,
}

impl From<String> for Absence {
    fn from(why: String) -> Self {
        Self { why, passing: false }
    }
}

impl From<Unhashed> for Absence {
    fn from(unhashed: Unhashed) -> Self {
        match unhashed {
            Unhashed::Never(why) => Self { why, passing: false },
            Unhashed::NotNow(why) => Self { why, passing: true },
        }
    }
}

impl Absence {
    fn passing(why: String) -> Self {
        Self { why, passing: true }
    }
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
    /// The container of a pod that it runs in, or why that is not known.
    pub(super) container: Result<Option<ContainerPlace>, String>,
}

/// Reads all selectors, `unix:sha256` only with `hashes`: it costs a read of the whole executable. An error means that not even
/// uid and gid can be read: there is no caller then.
pub(super) fn read(directory: &ProcDirectory, hashes: Option<&ExecutableHashes>) -> io::Result<Facts> {
    let status = directory.read("status")?;
    let (uid, gid) = (effective(&status, "Uid:")?, effective(&status, "Gid:")?);
    let mut facts = Facts { uid, gid, selectors: BTreeSet::new(), unreadable: Vec::new(), container: Ok(None) };
    facts.add(SelectorKind::Uid, Ok::<_, Absence>(uid.to_string()));
    facts.add(SelectorKind::Gid, Ok::<_, Absence>(gid.to_string()));
    facts.add(SelectorKind::User, user_name(uid));
    facts.add(SelectorKind::Group, group_name(gid));
    let groups = directory.read("cgroup").map_err(|error| format!("the control group cannot be read: {error}"));
    facts.add(SelectorKind::SystemdUnit, groups.as_deref().map_err(Clone::clone).and_then(control_group::system_unit));
    facts.container = groups.and_then(|groups| container_of(&groups).map_err(|error| error.to_string()));
    facts.add_supplementary_groups(&status);
    // One descriptor for both, so that they speak of one file also when the process executes another one meanwhile.
    let executable = directory.executable().map_err(|error| format!("the executable cannot be opened: {error}"));
    let executable = executable.as_ref().map_err(Clone::clone);
    facts.add(SelectorKind::Path, executable.clone().and_then(executable_path));
    if let Some(hashes) = hashes {
        let digest = executable.map_err(Unhashed::Never).and_then(|executable| hashes.sha256(executable));
        facts.add(SelectorKind::Sha256, digest.map(|digest| HEXLOWER.encode(&digest)));
    }
    Ok(facts)
}

impl Facts {
    fn add(&mut self, kind: SelectorKind, value: Result<String, impl Into<Absence>>) {
        let selector = value
            .map_err(Into::into)
            .and_then(|value| Selector::new(kind, &value).map_err(|error| Absence::from(error.to_string())));
        match selector {
            Ok(selector) => drop(self.selectors.insert(selector)),
            Err(Absence { why, passing }) => self.unreadable.push(Unreadable { kind, why, passing }),
        }
    }
}

impl Facts {
    fn add_supplementary_groups(&mut self, status: &str) {
        let groups = match supplementary_groups(status) {
            Ok(groups) => groups,
            Err(why) => {
                self.add(SelectorKind::SupplementaryGid, Err(why.clone()));
                return self.add(SelectorKind::SupplementaryGroup, Err(why));
            }
        };
        for gid in &groups {
            self.add(SelectorKind::SupplementaryGid, Ok::<_, Absence>(gid.to_string()));
        }
        if groups.len() > MAX_GROUP_NAMES {
            let why = format!(
                "the process has {} supplementary groups, the names of at most {MAX_GROUP_NAMES} are looked up",
                groups.len()
            );
            return self.add(SelectorKind::SupplementaryGroup, Err(why));
        }
        for gid in groups {
            self.add(SelectorKind::SupplementaryGroup, group_name(gid));
        }
    }
}

/// The numbers in the line `Groups:` of `status` (proc_pid_status(5)), without repeats.
fn supplementary_groups(status: &str) -> Result<BTreeSet<u32>, String> {
    // A line without its end may have been cut inside a number.
    let line = status.split_inclusive('\n').find_map(|line| line.strip_prefix("Groups:")?.strip_suffix('\n'));
    let numbers = line.and_then(|line| line.split_ascii_whitespace().map(|number| number.parse().ok()).collect());
    numbers.ok_or_else(|| "the supplementary groups cannot be read from the process's status".to_owned())
}

/// Each name may be a question to a directory service.
const MAX_GROUP_NAMES: usize = 64;

/// The second of the four numbers in a line of `status`: real, effective, saved, filesystem (proc_pid_status(5)).
fn effective(status: &str, key: &str) -> io::Result<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no line \"{key}\" in the process's status")))
}

fn user_name(uid: u32) -> Result<String, Absence> {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => Ok(user.name),
        Ok(None) => Err(format!("no account of this node has uid {uid}").into()),
        Err(error) => Err(Absence::passing(format!("the account of uid {uid} cannot be looked up: {error}"))),
    }
}

fn group_name(gid: u32) -> Result<String, Absence> {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => Ok(group.name),
        Ok(None) => Err(format!("no group of this node has gid {gid}").into()),
        Err(error) => Err(Absence::passing(format!("the group of gid {gid} cannot be looked up: {error}"))),
    }
}

/// The path of the executable, if it means the same file to the agent.
///
/// The text alone proves nothing: in a mount namespace of its own, which any user may make, a process can run any file under any
/// name. So the file is opened once, and the agent looks whether that name leads itself to the same file.
fn executable_path(executable: &OwnedFd) -> Result<String, String> {
    let running = fstat(executable).map_err(|error| format!("the executable cannot be looked at: {error}"))?;
    let path = path_of(executable).map_err(|error| format!("the path of the executable cannot be read: {error}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_groups_are_a_whole_line_of_numbers() {
        let status = |line: &str| supplementary_groups(&format!("Name:\tweb\nGid:\t1\t1\t1\t1\nFDSize:\t64\n{line}"));
        assert_eq!(status("Groups:\t4 24 33 24 4294967295 \nNStgid:\t1\n").unwrap(), BTreeSet::from([4, 24, 33, u32::MAX]));
        assert_eq!(status("Groups:\t \n").unwrap(), BTreeSet::new());
        for cut_or_odd in ["Groups:\t4 24 3", "Groups:\t4 x\n", "Groups:\t-1\n", "Groups:\t4294967296\n", ""] {
            assert!(status(cut_or_odd).is_err(), "{cut_or_odd}");
        }
    }

    #[test]
    fn many_groups_keep_their_numbers_and_lose_their_names_with_a_reason() {
        let mut facts = Facts { uid: 0, gid: 0, selectors: BTreeSet::new(), unreadable: Vec::new(), container: Ok(None) };
        let numbers: Vec<_> = (100_000..100_065).map(|gid| gid.to_string()).collect();
        facts.add_supplementary_groups(&format!("Groups:\t{}\n", numbers.join(" ")));
        assert_eq!(facts.selectors.len(), 65);
        assert!(facts.unreadable[0].why.contains("65"), "{facts:?}");
    }
}
