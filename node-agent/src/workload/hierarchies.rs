//! `/proc/<pid>/cgroup`: where a process stands in each hierarchy of control groups (cgroups(7)). Pure.

/// One line of it, `ID:CONTROLLERS:PATH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy<'a> {
    /// `0` for that of version 2.
    pub(super) id: &'a str,
    /// Of version 1: its controllers, or its name; empty for version 2.
    pub(super) controllers: &'a str,
    /// The group, as seen from the reader's cgroup namespace. Of its components those that a process made may hold anything but `/` and a
    /// line break, which the kernel takes in no name.
    pub(super) path: &'a str,
}

/// Why there are no lines to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// It ends within a line, or is empty.
    #[error("the list of the process's control groups is cut")]
    Cut,
    /// A line is none.
    #[error("the list of the process's control groups is malformed")]
    Malformed,
}

/// All lines, or none.
///
/// # Errors
/// [`ListFault`].
pub(super) fn hierarchies(text: &str) -> Result<Vec<Hierarchy<'_>>, ListFault> {
    if !text.ends_with('\n') {
        return Err(ListFault::Cut);
    }
    text.split_terminator('\n').map(|line| read(line).ok_or(ListFault::Malformed)).collect()
}

fn read(line: &str) -> Option<Hierarchy<'_>> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Hierarchy { id, controllers, path })
}
