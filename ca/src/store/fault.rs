//! What keeps the store from taking writes, told so that an operator knows what happened, what it means, and what to do.

use std::fmt;

/// What went wrong with the file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No room in its file system.
    Full,
    /// Its file system takes no writes.
    ReadOnly,
    /// A sync failed: the kernel may have dropped what was to be written.
    Sync,
    /// A read, a write or an open failed.
    Disk,
    /// The database gave up a transaction.
    Undone,
    /// The database server is not reached, or must not be used.
    Server,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Full, Self::ReadOnly, Self::Sync, Self::Disk, Self::Undone, Self::Server];

    /// The label of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Sync => "sync",
            Self::Disk => "disk",
            Self::Undone => "undone",
            Self::Server => "server",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::ReadOnly => 1,
            Self::Sync => 2,
            Self::Disk => 3,
            Self::Undone => 4,
            Self::Server => 5,
        }
    }
}

/// A fault of the store, for the operator: it names files and what the system said, which is not for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFault {
    /// What it is.
    pub kind: FaultKind,
    /// What the system or the database said.
    pub cause: String,
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cause } = self;
        let (what, advice) = match kind {
            FaultKind::Full => (
                "the file system of the store is full",
                "make room in the file system of the state directory (df), and writes go on by themselves",
            ),
            FaultKind::ReadOnly => (
                "the file system of the store is read-only",
                "find out why in the kernel's log, repair it and mount it writable, and writes go on by themselves",
            ),
            FaultKind::Sync => (
                "the disk did not confirm a sync of the store",
                "look at the kernel's log and at the disk; writes go on by themselves once the disk confirms the whole log anew",
            ),
            FaultKind::Disk => (
                "the disk of the store fails",
                "look at the kernel's log and at the disk; it is tried again each second, and writes go on by themselves",
            ),
            FaultKind::Undone => (
                "the database of the store gave up a transaction",
                "look at the log of the CA; it is tried again each second, and writes go on by themselves",
            ),
            FaultKind::Server => (
                "the database server of the store cannot be used",
                "look at the server and at the way to it; it is tried again each second, and writes go on by themselves",
            ),
        };
        write!(f, "{what} ({cause}): {advice}")
    }
}

/// Whether the store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It does.
    Well,
    /// It does, but its log cannot be merged into the database, and so grows.
    Backlog(StoreFault),
    /// It does not, and every write is refused: nothing is recorded, so nothing is signed. Reads are answered. It heals by
    /// [`super::StoreHealth::recover`].
    Refusing(StoreFault),
    /// It never will again: the file lost what it had confirmed, or the writer is gone. The process should end.
    Ended(String),
}

impl StoreState {
    /// Why writes are refused, if they are.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Well | Self::Backlog(_) => None,
            Self::Refusing(fault) => Some(format!("{fault}; until then nothing is recorded, and so nothing is signed")),
            Self::Ended(cause) => Some(cause.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_why_and_what_to_do() {
        for kind in FaultKind::ALL {
            assert_eq!(FaultKind::ALL[kind.index()], kind);
            let fault = StoreFault { kind, cause: "the cause".to_owned() };
            let refusal = StoreState::Refusing(fault.clone()).refusal().unwrap();
            for part in ["the cause", "by themselves", "nothing is signed"] {
                assert!(refusal.contains(part), "{refusal}");
            }
            assert_eq!(StoreState::Backlog(fault).refusal(), None);
        }
        assert_eq!(StoreState::Well.refusal(), None);
        assert_eq!(StoreState::Ended("gone".to_owned()).refusal().unwrap(), "gone");
    }
}
