//! From the control groups of a process to the container of a pod that it runs in. Pure.
//!
//! A kubelet makes `kubepods`, below it a group for each class of service but the best, below that one for each pod, and the container
//! runtime makes one in there for each container. What lies below a container's group is the tenant's: a process there may make groups of any
//! name, also of the names that a kubelet gives. So the names are read from the root downwards, and the first container's is the one that
//! counts. Nothing but a kubelet makes groups above that, where it is reached from the root through `kubelet` alone: what is reached through
//! anything else, such as the service manager of a user or a container without a pod, may have been made by whoever is in there.
//!
//! An agent with a cgroup namespace of its own, as a container has it under version 2, sees everything else from there: `/../../` and what
//! lies below the group that both have in common. That one is above the agent's own container, and so made by none.

use std::fmt;

use super::super::control_group::shown;
use super::super::hierarchies::{ListFault, hierarchies};

/// The container of a pod, as the names of control groups have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPlace {
    /// The UID of the pod, as its kubelet has it: 36 characters, or 32 for a static pod (the hash of its manifest).
    pub pod_uid: String,
    /// What the container runtime calls it: 64 lower-case hex digits.
    pub container_id: String,
}

/// Why it is not known whether a process runs in a container of a pod, or in which one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is nothing to read.
    #[error(transparent)]
    List(#[from] ListFault),
    /// A group is named as those of pods are, and was made by somebody else, or is no container's.
    #[error(
        "the control group {shown} speaks of pods, and is not that of a container as a kubelet and a container runtime make it"
    )]
    NotMade {
        /// The beginning of its path.
        shown: String,
    },
    /// Two hierarchies name two containers.
    #[error("its control groups name two containers, {one} and {other}")]
    Two {
        /// One of them.
        one: ContainerPlace,
        /// The other.
        other: ContainerPlace,
    },
}

/// The container that a process runs in, by what `/proc/<pid>/cgroup` says of it; `None` for a process that is in no pod. Hierarchies that
/// say nothing of pods do not count: there are such where a controller is not used for containers.
///
/// # Errors
/// [`PlaceError`]: then it has none, and is not outside all pods either.
pub fn container_of(text: &str) -> Result<Option<ContainerPlace>, PlaceError> {
    let mut found: Option<ContainerPlace> = None;
    for hierarchy in hierarchies(text)? {
        let Some(place) = place(hierarchy.path)? else { continue };
        match found {
            Some(one) if one != place => return Err(PlaceError::Two { one, other: place }),
            Some(_) | None => found = Some(place),
        }
    }
    Ok(found)
}

fn place(path: &str) -> Result<Option<ContainerPlace>, PlaceError> {
    let not_made = || PlaceError::NotMade { shown: shown(path) };
    let names = match path.strip_prefix('/').ok_or_else(not_made)? {
        "" => Vec::new(),
        names => names.split('/').collect::<Vec<_>>(),
    };
    let ups = names.iter().take_while(|name| **name == "..").count();
    let below = names.get(ups..).unwrap_or_default();
    // No kernel writes such a path.
    if below.iter().any(|name| matches!(*name, "" | "." | "..")) {
        return Err(not_made());
    }
    let is_relative = ups > 0;
    let place = by_cgroupfs(below, is_relative).or_else(|| by_systemd(below, is_relative)).or_else(|| by_both(below));
    // Next to the agent's own container: one of its own pod, whose name is not to be seen from there.
    let is_sibling =
        is_relative && below.first().is_some_and(|name| container_directory(name).or(container_scope(name)).is_some());
    match place {
        Some(place) => Ok(Some(place)),
        None if is_sibling || below.iter().any(|name| speaks_of_pods(name)) => Err(not_made()),
        None => Ok(None),
    }
}

/// `/kubepods/burstable/pod<uid>/<id>`: the kubelet's driver `cgroupfs`, with `kubelet` above it where its root is that.
fn by_cgroupfs(below: &[&str], is_relative: bool) -> Option<ContainerPlace> {
    let (below, has_root) = past(below, &[ROOT]);
    let (below, has_pods) = past(below, &[PODS]);
    let (below, _) = past(below, &CLASSES);
    // Seen from below the group of all pods, or from below a class, these have no name.
    if !has_pods && (has_root || !is_relative) {
        return None;
    }
    let [pod, container, ..] = below else { return None };
    let pod_uid = uid(pod.strip_prefix("pod")?, '-')?;
    Some(ContainerPlace { pod_uid, container_id: container_directory(container)?.to_owned() })
}

/// `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope`: the driver `systemd`, whose slices
/// have the names of all above them in their own (systemd.slice(5)).
fn by_systemd(below: &[&str], is_relative: bool) -> Option<ContainerPlace> {
    let depth = below.iter().take_while(|name| name.ends_with(".slice")).count();
    let (slices, scope) = (below.get(..depth)?, below.get(depth)?);
    let (chain, pod_uid) = slices_of(slices.last()?.strip_suffix(".slice")?)?;
    let is_whole = slices.len() == chain.len() || (is_relative && slices.len() < chain.len());
    let is_reached = is_whole && chain.iter().rev().zip(slices.iter().rev()).all(|(made, found)| made == found);
    let container_id = container_scope(scope)?.to_owned();
    is_reached.then_some(ContainerPlace { pod_uid, container_id })
}

/// `/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`: the kubelet's driver is `systemd`, and that of the container runtime `cgroupfs`,
/// so it makes one group of what it is told, at the root or below its own.
fn by_both(below: &[&str]) -> Option<ContainerPlace> {
    let name = match below {
        ["system.slice", "containerd.service" | "crio.service", name, ..] | [name, ..] => name,
        [] => return None,
    };
    let mut parts = name.split(':');
    let (slice, runtime, id) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, pod_uid) = slices_of(slice.strip_suffix(".slice")?)?;
    let is_known = RUNTIMES.contains(&runtime) && is_id(id) && parts.next().is_none();
    is_known.then(|| ContainerPlace { pod_uid, container_id: id.to_owned() })
}

/// The slices down to that of a pod, by the stem of the last of them, and the pod's UID.
fn slices_of(stem: &str) -> Option<(Vec<String>, String)> {
    let parts: Vec<_> = stem.split('-').collect();
    let pod = match parts.strip_prefix(&[ROOT]).unwrap_or(&parts) {
        [PODS, pod] => pod,
        [PODS, class, pod] if CLASSES.contains(class) => pod,
        _ => return None,
    };
    let pod_uid = uid(pod.strip_prefix("pod")?, '_')?;
    let chain = (1..=parts.len()).filter_map(|count| Some(format!("{}.slice", parts.get(..count)?.join("-")))).collect();
    Some((chain, pod_uid))
}

/// The names after the first, if that is one of these.
fn past<'a, 'n>(names: &'a [&'n str], known: &[&str]) -> (&'a [&'n str], bool) {
    match names.split_first() {
        Some((first, rest)) if known.contains(first) => (rest, true),
        Some(_) | None => (names, false),
    }
}

/// `<id>`, and `crio-<id>` of CRI-O (whose monitor of the container is in `crio-conmon-<id>`).
fn container_directory(name: &str) -> Option<&str> {
    Some(name.strip_prefix("crio-").unwrap_or(name)).filter(|id| is_id(id))
}

/// `<runtime>-<id>.scope`.
fn container_scope(name: &str) -> Option<&str> {
    let (runtime, id) = name.strip_suffix(".scope")?.rsplit_once('-')?;
    (RUNTIMES.contains(&runtime) && is_id(id)).then_some(id)
}

/// Whether a group that was not made so could be taken for one by somebody who reads less strictly.
fn speaks_of_pods(name: &str) -> bool {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    let is_pod = |text: &str| text.strip_prefix("pod").is_some_and(|text| uid(text, '-').or_else(|| uid(text, '_')).is_some());
    name.contains(PODS) || is_pod(stem)
}

/// A UUID, whose groups are told apart by this character; or a hash of 32 digits. As the API has it.
fn uid(text: &str, separator: char) -> Option<String> {
    let is_uuid = text.split(separator).map(str::len).eq([8, 4, 4, 4, 12]);
    let is_hex = text.chars().all(|c| c == separator || is_hex_digit(c));
    let is_hash = text.len() == 32 && text.chars().all(is_hex_digit);
    ((is_uuid && is_hex) || is_hash).then(|| text.replace(separator, "-"))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.chars().all(is_hex_digit)
}

fn is_hex_digit(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

impl fmt::Display for ContainerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of pod {}", self.container_id, self.pod_uid)
    }
}

/// What may stand above the group of all pods: the root that kind gives its kubelets.
const ROOT: &str = "kubelet";
const PODS: &str = "kubepods";
/// Classes of service that have a group; `Guaranteed` has none.
const CLASSES: [&str; 2] = ["besteffort", "burstable"];
/// What container runtimes put before the ID.
const RUNTIMES: [&str; 3] = ["cri-containerd", "crio", "docker"];

#[cfg(test)]
mod tests;
