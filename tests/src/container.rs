//! Control groups as a kubelet and a container runtime make them, for processes that tests put into containers of pods.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where version 2 is mounted: beside version 1, or alone.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
/// `CGROUP_NS_INIT_INO` of linux/nsfs.h.
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// What was made by tests of this process. Groups above pods are those of all tests: nobody makes one below a group that another one is about
/// to remove, and the last one removes it.
static MADE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The group of one container, in version 2; what was made for it, and is used by no other test, is removed when it is dropped.
pub struct ContainerGroup {
    group: PathBuf,
}

impl ContainerGroup {
    /// Makes `/kubepods/besteffort/pod<uid>/<id>`, as far as it is not there.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(pod_uid: &str, container_id: &str) -> Self {
        let root = hierarchy().expect("the test asked for control groups");
        let mut started = Self { group: root };
        started.descend(&["kubepods", "besteffort", &format!("pod{pod_uid}"), container_id]);
        started
    }

    /// Groups below the container's own, as a process in it can make them: whoever is taken from then on is in there.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn descend(&mut self, names: &[&str]) {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            self.group.push(name);
            match std::fs::create_dir(&self.group) {
                Ok(()) => drop(made.insert(self.group.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", self.group.display()),
            }
        }
    }

    /// Moves a process into it.
    ///
    /// # Panics
    /// When it is gone.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.group.join("cgroup.procs"), pid.to_string()).expect("the process runs, and the group is ours");
    }
}

impl Drop for ContainerGroup {
    fn drop(&mut self) {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        for group in self.group.ancestors() {
            // Its processes may have ended a moment ago.
            for _ in 0..100 {
                if !made.contains(group) || std::fs::read_dir(group).is_ok_and(has_groups) {
                    break;
                }
                if std::fs::remove_dir(group).is_ok() {
                    made.remove(group);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn has_groups(mut entries: std::fs::ReadDir) -> bool {
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

/// The root of version 2, where this process may make groups in it and names are counted from there.
fn hierarchy() -> Option<PathBuf> {
    let namespace = std::fs::metadata("/proc/self/ns/cgroup").ok()?.ino();
    let root = HIERARCHIES.map(Path::new).into_iter().find(|root| root.join("cgroup.controllers").exists())?;
    let is_ours = nix::unistd::access(root, nix::unistd::AccessFlags::W_OK).is_ok() && nix::unistd::geteuid().is_root();
    (is_ours && namespace == INITIAL_NAMESPACE).then(|| root.to_owned())
}

/// Whether containers can be made.
pub(crate) fn is_possible() -> bool {
    hierarchy().is_some()
}
