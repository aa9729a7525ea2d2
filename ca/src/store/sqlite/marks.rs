//! The two marks that nearly every write moves: the end of the audit chain and the latest issuance. A group of writes reads each at
//! most once, within its transaction, and writes it once, before its commit.

use pki::Timestamp;
use rusqlite::Connection;

use super::{audit, issuance_clock};
use crate::audit::ChainHead;
use crate::store::StoreError;

/// What a group knows of the marks. A copy taken before a write puts them back when the write is undone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
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
    /// The end of the chain, the events of this group included.
    pub(super) fn head(&mut self, connection: &Connection) -> Result<ChainHead, StoreError> {
        known(&mut self.head, || audit::head(connection)).map(|mark| mark.now)
    }

    /// After an event was appended.
    pub(super) fn set_head(&mut self, connection: &Connection, head: ChainHead) -> Result<(), StoreError> {
        known(&mut self.head, || audit::head(connection))?.now = head;
        Ok(())
    }

    /// The latest issuance, those of this group included.
    pub(super) fn latest(&mut self, connection: &Connection) -> Result<Timestamp, StoreError> {
        known(&mut self.latest, || issuance_clock::latest(connection)).map(|mark| mark.now)
    }

    /// Something is recorded to be signed at this time, or an operator says that it is right.
    pub(super) fn set_latest(&mut self, connection: &Connection, latest: Timestamp) -> Result<(), StoreError> {
        known(&mut self.latest, || issuance_clock::latest(connection))?.now = latest;
        Ok(())
    }

    /// Writes what moved. Answers with the end of the chain, if it did.
    pub(super) fn write(self, connection: &Connection) -> rusqlite::Result<Option<ChainHead>> {
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
