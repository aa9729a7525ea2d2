//! What nodes have, kept in memory beside the file, so that a certificate costs no query for it.
//!
//! The file counts every change of entries, aliases and their members (`entries_generation`, by triggers, so that no write path can
//! forget to). The writer publishes the count after each commit and before it answers; what was read is used while the count that
//! it was read with is the one published, and after a fault of the store, none is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use identity::NodeName;

use super::columns::{first, unreadable};
use crate::records::NodeEntries;
use crate::store::StoreError;

/// Entries remembered at once, those of an alias once for each node that has it; beyond them the memory starts again.
const MAX_ENTRIES: usize = 100_000;

/// Published while the file is not known to be in order. The file counts from 1.
const UNKNOWN: i64 = 0;

/// The count of changes, as of the last commit.
#[derive(Debug)]
pub(in crate::store) struct Generation(AtomicI64);

impl Generation {
    /// As it stands in the file.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub(in crate::store) fn read(connection: Connection<'_>) -> Result<i64, StoreError> {
        let found = first(connection, "SELECT generation FROM entries_generation", (), |row| row.get("generation"))?;
        found.filter(|found| *found > UNKNOWN).ok_or_else(|| unreadable("generation", "nothing"))
    }

    pub(in crate::store) fn new(found: i64) -> Self {
        Self(AtomicI64::new(found))
    }

    /// Before whoever made the change hears that it was made.
    pub(in crate::store) fn publish(&self, found: i64) {
        // Never back: whoever listens to other replicas may have read before the writer did.
        self.0.fetch_max(found, Ordering::AcqRel);
    }

    /// From here on the file is asked each time.
    pub(in crate::store) fn forget(&self) {
        self.0.store(UNKNOWN, Ordering::Release);
    }

    /// `None` while it is not known.
    pub(in crate::store) fn now(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|now| *now != UNKNOWN)
    }
}

/// What was read of one generation.
#[derive(Debug, Default)]
pub(in crate::store) struct Remembered(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    generation: i64,
    nodes: HashMap<NodeName, Arc<NodeEntries>>,
    entries: usize,
}

impl Remembered {
    /// What this node has, if it was read of this generation.
    pub(in crate::store) fn find(&self, node: &NodeName, generation: i64) -> Option<Arc<NodeEntries>> {
        let memory = self.memory();
        if memory.generation == generation { memory.nodes.get(node).cloned() } else { None }
    }

    /// Keeps what was read with this generation, unless later ones are remembered already.
    pub(in crate::store) fn keep(&self, node: NodeName, found: &Arc<NodeEntries>, generation: i64) {
        let mut memory = self.memory();
        if generation < memory.generation || found.entries().len() > MAX_ENTRIES {
            return;
        }
        if generation > memory.generation || memory.entries + found.entries().len() > MAX_ENTRIES {
            *memory = Memory { generation, ..Memory::default() };
        }
        // A node without entries takes room too.
        memory.entries += found.entries().len().max(1);
        if let Some(before) = memory.nodes.insert(node, Arc::clone(found)) {
            memory.entries -= before.entries().len().max(1);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
