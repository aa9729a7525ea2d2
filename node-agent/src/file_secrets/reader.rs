//! Whether a caller could read a file itself, judged as the kernel judges by the mode (path_resolution(7)).

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::stat::FileStat;
use rustix::io::Errno;

use crate::workload::Caller;

/// The user and the groups of a caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reader {
    uid: u32,
    groups: BTreeSet<u32>,
}

/// What is wanted of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading a file.
    Read,
    /// Going through a directory.
    Search,
}

impl Reader {
    /// By the effective user and group, and the supplementary groups among the selectors.
    pub(super) fn of(caller: &Caller) -> Self {
        let supplementary = caller.selectors.iter().filter_map(|selector| selector.as_str().strip_prefix(SUPPLEMENTARY_GID));
        let groups = supplementary.filter_map(|number| number.parse().ok()).chain([caller.gid]).collect();
        Self { uid: caller.uid, groups }
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether the mode, the owner and the group of what `file` stands for give this access.
    ///
    /// Stricter than the kernel in three ways. A file with an access control list gives nothing except to its owner: the list may
    /// take away what the mode gives. "Others" get only what the group gets as well: a group of the caller may be unknown here. And
    /// the number that stands for users of other user namespaces owns nothing.
    pub(super) fn may(&self, access: Access, file: &OwnedFd, stat: &FileStat) -> bool {
        if self.uid == 0 {
            return true;
        }
        let bit = match access {
            Access::Read => 0o4,
            Access::Search => 0o1,
        };
        let owner = self.uid == stat.st_uid && self.uid != OVERFLOW_ID;
        let group = self.groups.contains(&stat.st_gid) && stat.st_gid != OVERFLOW_ID;
        if owner {
            return stat.st_mode & (bit << 6) != 0;
        }
        let group_bits = stat.st_mode & (bit << 3) != 0;
        let granted = group_bits && (group || stat.st_mode & bit != 0);
        granted && !has_access_list(file)
    }
}

/// Whether there is an access control list, or that cannot be found out.
fn has_access_list(file: &OwnedFd) -> bool {
    // By this path, since the descriptor itself gives no attributes: it is open for its place alone (O_PATH).
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    !matches!(rustix::fs::getxattr(path.as_str(), ACCESS_LIST, &mut [0_u8; 0]), Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// acl(5)
const ACCESS_LIST: &str = "system.posix_acl_access";

const SUPPLEMENTARY_GID: &str = "unix:supplementary_gid:";

/// user_namespaces(7): what an ID without a mapping looks like.
const OVERFLOW_ID: u32 = 65534;

#[cfg(test)]
impl Reader {
    pub(super) fn new(uid: u32, groups: &[u32]) -> Self {
        Self { uid, groups: groups.iter().copied().collect() }
    }
}
