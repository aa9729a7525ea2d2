//! From the control group of a process to the unit of the system's service manager that it runs in.
//!
//! The service manager names control groups after units, and gives some of them away: everything below a service or scope may be
//! made by what runs in there (`Delegate=`, containers), and everything below `user@.service` by that user. So the names are read
//! from the root downwards: slices, which are never given away, then the first unit, and nothing below it counts. A control group
//! that is not reached through slices alone was not made by the service manager.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use identity::{Selector, SelectorKind};

use super::hierarchies::hierarchies;

/// Where the first unit of a process was found.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    /// In the one hierarchy of cgroup version 2.
    Unified(&'a str),
    /// In the service manager's own hierarchy of version 1, with the path of the unit's control group.
    Named { unit: &'a str, path: &'a str },
}

/// The unit, by what `/proc/<pid>/cgroup` says, or why there is none.
pub(super) fn system_unit(text: &str) -> Result<String, String> {
    let own =
        std::fs::metadata("/proc/self/ns/cgroup").map_err(|error| format!("the agent's cgroup namespace is unknown: {error}"))?;
    if own.ino() != INITIAL_CGROUP_NAMESPACE {
        // Names would be relative to a group whose owner may have made everything below it.
        return Err("the agent runs in a cgroup namespace of its own, where anybody may have made the names".to_owned());
    }
    match find(text)? {
        Found::Unified(unit) => Ok(unit.to_owned()),
        Found::Named { unit, path } => {
            closed_to_others(path)?;
            Ok(unit.to_owned())
        }
    }
}

fn find(text: &str) -> Result<Found<'_>, String> {
    let (mut unified, mut named) = (None, None);
    for hierarchy in hierarchies(text).map_err(|fault| fault.to_string())? {
        // The root says nothing: also what an unused hierarchy shows.
        let place = (hierarchy.path != "/").then_some(hierarchy.path);
        match (hierarchy.id, hierarchy.controllers) {
            ("0", "") => unified = place,
            (_, "name=systemd") => named = place,
            _ => {}
        }
    }
    match (unified, named) {
        (None, None) => Err("the process is in no unit's control group".to_owned()),
        (Some(path), None) => first_unit(path).map(|(unit, _)| Found::Unified(unit)),
        (None, Some(path)) => first_unit(path).map(|(unit, path)| Found::Named { unit, path }),
        (Some(one), Some(other)) => {
            let ((unit, _), (other, _)) = (first_unit(one)?, first_unit(other)?);
            if unit == other {
                Ok(Found::Unified(unit))
            } else {
                Err(format!("its control groups name two units, {unit} and {other}"))
            }
        }
    }
}

/// The first component that is no slice, and the path up to and with it.
fn first_unit(path: &str) -> Result<(&str, &str), String> {
    let not_made = || format!("the control group {} was not made by the system's service manager", shown(path));
    let mut rest = path.strip_prefix('/').ok_or_else(not_made)?;
    let mut slice = None;
    loop {
        let (component, below) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(stem) = component.strip_suffix(".slice") else {
            if component.starts_with("user@") {
                return Err(format!("it runs below {}, where a user names the units", shown(component)));
            }
            Selector::new(SelectorKind::SystemdUnit, component).map_err(|_| not_made())?;
            let end = path.len() - rest.len() + component.len();
            return Ok((component, path.get(..end).ok_or_else(not_made)?));
        };
        // A slice `a-b.slice` lies in `a.slice` (systemd.slice(5)).
        if stem.is_empty() || stem.rsplit_once('-').map(|(parent, _)| parent) != slice {
            return Err(not_made());
        }
        if below.is_empty() {
            return Err(format!("the control group {} is a slice: no unit of its own", shown(path)));
        }
        (slice, rest) = (Some(stem), below);
    }
}

/// In version 1 whoever may write a group's list may move own processes there from anywhere; in version 2 only from within what was
/// given away to him. So version 1 counts only while the unit was given to nobody.
fn closed_to_others(path: &str) -> Result<(), String> {
    let group = Path::new(NAMED_HIERARCHY).join(path.trim_start_matches('/'));
    for list in ["cgroup.procs", "tasks"] {
        let metadata = std::fs::symlink_metadata(group.join(list))
            .map_err(|error| format!("the agent cannot see who may enter {}: {error}", group.display()))?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(format!("others than root may move processes into {}", group.display()));
        }
    }
    Ok(())
}

/// The beginning of a name that anybody may have made up.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(128).collect::<String>().escape_default().to_string()
}

/// `CGROUP_NS_INIT_INO` of linux/nsfs.h.
const INITIAL_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;

const NAMED_HIERARCHY: &str = "/sys/fs/cgroup/systemd";

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line: what `/proc/<pid>/cgroup` says (`;` for a line break), a tab, and the unit or `-`.
    #[test]
    fn the_first_unit_below_slices_alone_counts() {
        let cases = include_str!("control_group/cases.txt");
        let mut seen = [0, 0];
        for case in cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (text, expected) = case.split_once('\t').expect("text, tab, unit");
            let text = format!("{}\n", text.replace(';', "\n"));
            let found = find(&text);
            let unit = match &found {
                Ok(Found::Unified(unit) | Found::Named { unit, .. }) => Some(*unit),
                Err(_) => None,
            };
            assert_eq!(unit, (expected != "-").then_some(expected), "{case}: {found:?}");
            seen[usize::from(unit.is_some())] += 1;
        }
        assert!(seen.iter().all(|count| *count >= 8), "{seen:?}");
    }

    #[test]
    fn a_list_that_is_cut_gives_no_unit_and_the_whole_one_does() {
        assert!(find("0::/system.slice/a.service\n").is_ok());
        assert!(find("0::/system.slice/a.service").is_err());
        assert!(find("").is_err());
    }

    #[test]
    fn version_1_names_the_group_to_look_at() {
        let text = "9:name=systemd:/system.slice/a.service/below\n0::/\n";
        assert_eq!(find(text), Ok(Found::Named { unit: "a.service", path: "/system.slice/a.service" }));
        assert!(closed_to_others("/no/such/group").is_err(), "who may enter must be known");
    }
}
