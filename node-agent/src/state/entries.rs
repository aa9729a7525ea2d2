//! The entries as the last sync left them: what an agent knows of its callers after a restart while the CA is away.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use identity::{NodeName, TrustDomain};
use prost::Message;
use proto::v1;
use runtime::private_files::{self, Overwrite};

use super::{StateDir, StateError};
use crate::entry::{Entry, EntryId};

/// The most that the file may hold, in bytes: as much as one update of a sync stream.
const MAX_BYTES: usize = 64 * 1024 * 1024;

const ENTRIES: &str = "entries.bin";
const HEADER: &str = "signet entries 1 ";

/// What was found of the entries.
#[derive(Debug)]
pub(crate) enum StoredEntries {
    /// None: the node has never been in step with its CA.
    Absent,
    /// All of them, and each as it would be taken from the CA.
    Present(BTreeMap<EntryId, Arc<Entry>>),
    /// A file that does not hold: the entries are not known, as if it were not there.
    Damaged(String),
}

impl StateDir {
    /// The entries that were stored last. One that does not hold spoils the file: a part of the entries would deny identities that
    /// the CA grants.
    pub(crate) fn entries(&self, trust_domain: &TrustDomain, node: &NodeName) -> StoredEntries {
        let path = self.path.join(ENTRIES);
        if !path.exists() {
            return StoredEntries::Absent;
        }
        let read = private_files::read_private(&path, MAX_BYTES).map_err(|error| error.to_string());
        match read.and_then(|bytes| parse(&bytes, trust_domain, node)) {
            Ok(entries) => StoredEntries::Present(entries),
            Err(why) => StoredEntries::Damaged(format!("{}: {why}", path.display())),
        }
    }

    /// Stores all entries of a node in the place of those before.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses; the entries before then stay.
    pub(crate) fn store_entries(&self, node: &NodeName, entries: &BTreeMap<EntryId, Arc<Entry>>) -> Result<(), StateError> {
        let upserted = entries.values().map(|entry| entry.to_wire(Some(node))).collect();
        let update = v1::SyncUpdate { replaces_entries: true, upserted, ..v1::SyncUpdate::default() }.encode_to_vec();
        let mut bytes = format!("{HEADER}{}\n", HEXLOWER.encode(&pki::sha256(&update))).into_bytes();
        bytes.extend(update);
        Ok(private_files::write_private(&self.path.join(ENTRIES), &bytes, Overwrite::Replace)?)
    }
}

fn parse(bytes: &[u8], trust_domain: &TrustDomain, node: &NodeName) -> Result<BTreeMap<EntryId, Arc<Entry>>, String> {
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let (header, update) = bytes.split_at(line);
    let update = update.get(1..).unwrap_or_default();
    let digest = HEXLOWER.encode(&pki::sha256(update));
    if header != format!("{HEADER}{digest}").as_bytes() {
        return Err("its header is not that of this version and content".to_owned());
    }
    let v1::SyncUpdate { upserted, .. } = v1::SyncUpdate::decode(update).map_err(|error| error.to_string())?;
    let parse = |entry| Entry::from_wire(entry, trust_domain, node).map(|entry| (entry.id.clone(), Arc::new(entry)));
    upserted.into_iter().map(parse).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::held::entry;

    fn names(entries: StoredEntries) -> Vec<String> {
        let StoredEntries::Present(entries) = entries else { panic!("not there: {entries:?}") };
        entries.into_keys().map(|id| id.to_string()).collect()
    }

    #[test]
    fn entries_come_back_as_they_were_and_only_for_their_node_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let (domain, node) = (TrustDomain::parse("example.org").unwrap(), NodeName::parse("n1").unwrap());
        assert!(matches!(state.entries(&domain, &node), StoredEntries::Absent));
        state.store_entries(&node, &BTreeMap::new()).unwrap();
        assert!(names(state.entries(&domain, &node)).is_empty(), "no entry is not the same as no file");

        let held = entry("a", &["unix:uid:1", "unix:path:/bin/a"], 7, "internal");
        let entries = BTreeMap::from([(held.id.clone(), Arc::new(held.clone()))]);
        state.store_entries(&node, &entries).unwrap();
        let StoredEntries::Present(back) = state.entries(&domain, &node) else { panic!("they are there") };
        assert_eq!(back, entries);

        let path = directory.path().join("state").join(ENTRIES);
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
        let refused = |state: &StateDir, domain: &str, node: &str| {
            let found = state.entries(&TrustDomain::parse(domain).unwrap(), &NodeName::parse(node).unwrap());
            matches!(found, StoredEntries::Damaged(_))
        };
        assert!(refused(&state, "other.org", "n1"));
        assert!(refused(&state, "example.org", "n2"));
        let good = std::fs::read(&path).unwrap();
        for end in [0, 1, 20, good.len() - 1] {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(refused(&state, "example.org", "n1"), "cut at {end}");
        }
        let mut other = good.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&path, other).unwrap();
        assert!(refused(&state, "example.org", "n1"), "a bit flipped");
        std::fs::write(&path, good).unwrap();
        assert_eq!(names(state.entries(&domain, &node)), ["a"]);
    }
}
