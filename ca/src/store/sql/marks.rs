//! The two marks that nearly every write moves: the end of the audit chain and the latest issuance. A group of writes reads each at
//! most once, within its transaction, and writes it once, before its commit.

use super::connection::{Connection, DatabaseError};
use pki::Timestamp;

use super::{audit, issuance_clock};
use crate::audit::ChainHead;
use crate::store::StoreError;

/// What a group knows of the marks. A copy taken before a write puts them back when the write is undone.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Marks {
    head: Option<Mark<ChainHead>>,
    latest: Option<Mark<Timestamp>>,
}

/// As it stands in its table, and as it is to stand there.
#[derive(Clone, Copy, Debug)]
struct Mark<T> {
    stored: T,
    now: T,
}

impl Marks {
    /// Of a group that begins with the end of the chain known.
    pub(in crate::store) fn after(head: ChainHead) -> Self {
        Self { head: Some(Mark { stored: head, now: head }), latest: None }
    }

    /// The end of the chain, the events of this group included.
    pub(in crate::store) fn head(&mut self, connection: Connection<'_>) -> Result<ChainHead, StoreError> {
        known(&mut self.head, || audit::head(connection)).map(|mark| mark.now)
    }

    /// After an event was appended.
    pub(in crate::store) fn set_head(&mut self, connection: Connection<'_>, head: ChainHead) -> Result<(), StoreError> {
        known(&mut self.head, || audit::head(connection))?.now = head;
        Ok(())
    }

    /// The latest issuance, those of this group included.
    pub(in crate::store) fn latest(&mut self, connection: Connection<'_>) -> Result<Timestamp, StoreError> {
        known(&mut self.latest, || issuance_clock::latest(connection)).map(|mark| mark.now)
    }

    /// Something is recorded to be signed at this time, or an operator says that it is right.
    pub(in crate::store) fn set_latest(&mut self, connection: Connection<'_>, latest: Timestamp) -> Result<(), StoreError> {
        known(&mut self.latest, || issuance_clock::latest(connection))?.now = latest;
        Ok(())
    }

    /// Writes what moved. Answers with the end of the chain, if it did.
    pub(in crate::store) fn write(self, connection: Connection<'_>) -> Result<Option<ChainHead>, DatabaseError> {
        if let Some(latest) = self.latest.and_then(Mark::moved) {
            issuance_clock::set_latest(connection, latest)?;
        }
        let head = self.head.and_then(Mark::moved);
        if let Some(head) = head {
            audit::set_head(connection, head)?;
        }
        Ok(head)
    }
}

impl<T: PartialEq> Mark<T> {
    fn moved(self) -> Option<T> {
        (self.stored != self.now).then_some(self.now)
    }
}

fn known<T: Copy>(mark: &mut Option<Mark<T>>, read: impl FnOnce() -> Result<T, StoreError>) -> Result<&mut Mark<T>, StoreError> {
    match mark {
        Some(mark) => Ok(mark),
        None => {
            let stored = read()?;
            Ok(mark.insert(Mark { stored, now: stored }))
        }
    }
}
