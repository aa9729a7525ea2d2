//! What an operator does with entries and node aliases: the checks of what is asked for, and the store.

use std::collections::{BTreeMap, BTreeSet};

use identity::{AliasName, NodeName};
use prost::Message;
use proto::v1;
use runtime::entropy;

use crate::audit::Actor;
use crate::entry_plan::{EntryChange, EntryPlan, Scope, ScopeVersion, Wanted};
use crate::records::{Entry, EntryId, Parent};
use crate::rpc::admin::{AdminService, entry_id};
use crate::rpc::admin_status::AdminError;
use crate::rpc::entry_wire::{self, Update};
use crate::store::{Apply, EntryFilter, StoreError};

/// Encoded bytes of one message of a list. An entry over it has one of its own, and still fits a client's default limit of 4 MiB:
/// the longest has 64 selectors of 4 KiB.
const PAGE_BYTES: usize = 1024 * 1024;

/// Entries of one document: the writes of all of them are one transaction, and other writes wait for it.
const MAX_DOCUMENT_ENTRIES: usize = 10_000;

/// Members of one alias.
const MAX_MEMBERS: usize = 10_000;

/// A path prefix is at most a whole SPIFFE ID.
const MAX_PREFIX_BYTES: usize = identity::MAX_SPIFFE_ID_BYTES;

/// What is left of the objects of a cluster that are followed no more: its nodes have these entries until somebody deletes them.
pub(super) fn left_of_objects(entries: &[Entry], followed_cluster: Option<&str>) -> Vec<String> {
    let mut left = BTreeMap::<&str, usize>::new();
    for entry in entries {
        if let Parent::Object(object) = &entry.spec.parent
            && followed_cluster != Some(object.cluster.as_str())
        {
            *left.entry(&object.cluster).or_default() += 1;
        }
    }
    let told = |(cluster, count)| {
        format!(
            "entries of objects of cluster {cluster:?} which this CA does not follow: {count}. They stay granted: delete them (`signet entry \
             list`, `signet entry delete`), or configure [kubernetes.entries] for that cluster again"
        )
    };
    left.into_iter().map(told).collect()
}

impl AdminService {
    pub(super) async fn make_entry(&self, request: v1::CreateEntryRequest, actor: Actor) -> Result<v1::Entry, AdminError> {
        let now = self.now();
        let entry = entry_wire::new_entry(request, &self.limits, now).map_err(AdminError::Entry)?;
        let entry = self.store.create_entry(self.new_id(), entry, actor, now).await?;
        Ok(self.entry(&entry))
    }

    pub(super) async fn change_entry(&self, request: v1::UpdateEntryRequest, actor: Actor) -> Result<v1::Entry, AdminError> {
        let now = self.now();
        let Update { id, expected_revision, edit } = entry_wire::update(request, &self.limits, now).map_err(AdminError::Entry)?;
        let entry = self.store.update_entry(entry_id(&id)?, expected_revision, edit, actor, now).await?;
        Ok(self.entry(&entry))
    }

    /// All of one moment, cut into messages; at least one.
    pub(super) async fn pages_of_entries(
        &self,
        request: v1::ListEntriesRequest,
    ) -> Result<impl Iterator<Item = v1::ListEntriesResponse> + use<>, AdminError> {
        let v1::ListEntriesRequest { parent_node, parent_alias } = request;
        let filter = if parent_node.is_empty() && parent_alias.is_empty() {
            EntryFilter::All
        } else {
            match entry_wire::parent(&parent_node, &parent_alias).map_err(|fault| AdminError::Entry(vec![fault]))? {
                Parent::Node(node) => EntryFilter::Node(node),
                Parent::Alias(alias) => EntryFilter::Alias(alias),
                Parent::Object(object) => EntryFilter::Cluster(object.cluster),
            }
        };
        let mut left = self.store.entries(filter).await?.into_iter().peekable();
        let mut begun = false;
        let revoked = std::sync::Arc::clone(&self.store.revoked().borrow());
        Ok(std::iter::from_fn(move || {
            if begun && left.peek().is_none() {
                return None;
            }
            begun = true;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES
                && let Some(entry) = left.next()
            {
                let revoked = revoked.denied.contains(&entry.spec.spiffe_id);
                let entry = v1::Entry { revoked, ..entry_wire::entry(&entry) };
                bytes += entry.encoded_len();
                entries.push(entry);
            }
            Some(v1::ListEntriesResponse { entries })
        }))
    }

    pub(super) async fn apply_document(
        &self,
        request: v1::ApplyEntriesRequest,
        actor: Actor,
    ) -> Result<v1::ApplyEntriesResponse, AdminError> {
        let v1::ApplyEntriesRequest { scope, entries, prune, dry_run, expected_version } = request;
        if entries.len() > MAX_DOCUMENT_ENTRIES {
            return Err(AdminError::TooManyEntries { found: entries.len(), max: MAX_DOCUMENT_ENTRIES });
        }
        let scope = read_scope(scope.unwrap_or_default())?;
        let wanted = (1..).zip(entries).map(|(number, entry)| self.read_wanted(number, entry)).collect::<Result<Vec<_>, _>>()?;
        let now = self.now();
        let plan = if dry_run {
            let plan = self.store.plan_entries(scope, wanted, prune, now).await?;
            if !expected_version.is_empty() && plan.version != ScopeVersion::from_text(&expected_version) {
                return Err(AdminError::ScopeChanged);
            }
            plan
        } else {
            let new_ids = wanted.iter().map(|_| self.new_id()).collect();
            let expected_version = (!expected_version.is_empty()).then(|| ScopeVersion::from_text(&expected_version));
            let document = Apply { scope, wanted, prune, expected_version, fence: None, new_ids };
            self.store.apply_entries(document, actor, now).await?
        };
        let EntryPlan { changes, unchanged, ended, version } = plan;
        Ok(v1::ApplyEntriesResponse {
            changes: changes.into_iter().map(change).collect(),
            version: version.as_str().to_owned(),
            applied: !dry_run,
            unchanged: u32::try_from(unchanged).unwrap_or(u32::MAX),
            ended: u32::try_from(ended).unwrap_or(u32::MAX),
        })
    }

    fn read_wanted(&self, number: usize, wanted: v1::WantedEntry) -> Result<Wanted, AdminError> {
        let v1::WantedEntry { id, entry } = wanted;
        let id = if id.is_empty() { None } else { Some(entry_id(&id)?) };
        let mut spec = entry_wire::wanted_entry(entry.unwrap_or_default(), &self.limits)
            .map_err(|faults| AdminError::WantedEntry { number, faults })?;
        spec.sort_selectors();
        Ok(Wanted { id, spec })
    }

    /// That the entry may be deleted by hand: that of an object which is followed would come back, or its object would say what is not so.
    ///
    /// # Errors
    /// [`StoreError::OfObject`].
    pub(super) async fn check_deletable(&self, id: &EntryId) -> Result<(), AdminError> {
        let entry = self.store.entry(id.clone()).await?;
        match entry.spec.parent {
            Parent::Object(object) if self.followed_cluster.as_ref() == Some(&object.cluster) => {
                Err(StoreError::OfObject { entry: entry.id, object }.into())
            }
            Parent::Object(_) | Parent::Node(_) | Parent::Alias(_) => Ok(()),
        }
    }

    pub(super) async fn make_alias(
        &self,
        request: v1::CreateNodeAliasRequest,
        actor: Actor,
    ) -> Result<v1::NodeAlias, AdminError> {
        let v1::CreateNodeAliasRequest { name, nodes } = request;
        let alias = self.store.create_alias(alias_name(&name)?, members(&nodes)?, actor, self.now()).await?;
        Ok(entry_wire::alias(&alias))
    }

    pub(super) async fn change_alias(
        &self,
        request: v1::ChangeNodeAliasRequest,
        actor: Actor,
    ) -> Result<v1::NodeAlias, AdminError> {
        let v1::ChangeNodeAliasRequest { name, add, remove } = request;
        let (add, remove) = (members(&add)?, members(&remove)?);
        if let Some(both) = add.intersection(&remove).next() {
            return Err(AdminError::AddedAndRemoved { node: both.clone() });
        }
        let alias = self.store.change_alias(alias_name(&name)?, add, remove, actor, self.now()).await?;
        Ok(entry_wire::alias(&alias))
    }

    pub(super) async fn delete_alias(
        &self,
        request: v1::DeleteNodeAliasRequest,
        actor: Actor,
    ) -> Result<v1::DeleteNodeAliasResponse, AdminError> {
        let v1::DeleteNodeAliasRequest { name, with_entries } = request;
        let deleted = self.store.delete_alias(alias_name(&name)?, with_entries, actor, self.now()).await?;
        Ok(v1::DeleteNodeAliasResponse { entries_deleted: deleted.iter().map(entry_wire::entry).collect() })
    }

    fn new_id(&self) -> EntryId {
        EntryId::from_random(entropy::bytes(self.entropy.as_ref()))
    }
}

fn alias_name(text: &str) -> Result<AliasName, AdminError> {
    AliasName::parse(text).map_err(AdminError::Alias)
}

fn members(names: &[String]) -> Result<BTreeSet<NodeName>, AdminError> {
    if names.len() > MAX_MEMBERS {
        return Err(AdminError::TooManyMembers { found: names.len(), max: MAX_MEMBERS });
    }
    Ok(names.iter().map(|name| NodeName::parse(name)).collect::<Result<_, _>>()?)
}

/// A scope that says nothing is refused: that a document speaks for every entry of the CA must be said.
fn read_scope(scope: v1::EntryScope) -> Result<Scope, AdminError> {
    let v1::EntryScope { parent_node, parent_alias, path_prefix, everything } = scope;
    let bounded = !parent_node.is_empty() || !parent_alias.is_empty() || !path_prefix.is_empty();
    if bounded == everything {
        return Err(AdminError::Scope("it names a node, an alias or a path, or it is everything, and not both"));
    }
    let parent = if parent_node.is_empty() && parent_alias.is_empty() {
        None
    } else {
        Some(entry_wire::parent(&parent_node, &parent_alias).map_err(|fault| AdminError::Entry(vec![fault]))?)
    };
    let path_prefix = (!path_prefix.is_empty()).then_some(path_prefix);
    let malformed = |prefix: &String| prefix.len() > MAX_PREFIX_BYTES || !prefix.starts_with('/') || prefix.ends_with('/');
    if path_prefix.as_ref().is_some_and(malformed) {
        return Err(AdminError::Scope("a path begins with a slash and does not end with one, such as /team-a"));
    }
    Ok(Scope { parent, path_prefix, cluster: None })
}

fn change(change: EntryChange) -> v1::EntryChange {
    use v1::entry_change::Kind;
    let (kind, before, after, outstanding) = match change {
        EntryChange::Create { spec, made } => {
            let after = made.as_ref().map_or_else(|| entry_wire::described(&spec), entry_wire::entry);
            (Kind::Created, None, Some(after), None)
        }
        EntryChange::Update { before, after } => {
            (Kind::Updated, Some(entry_wire::entry(&before)), Some(entry_wire::entry(&after)), None)
        }
        EntryChange::Delete { entry, outstanding } => (Kind::Deleted, Some(entry_wire::entry(&entry)), None, outstanding),
        EntryChange::Keep(entry) => (Kind::Kept, Some(entry_wire::entry(&entry)), None, None),
    };
    v1::EntryChange { kind: kind.into(), before, after, outstanding: outstanding.map(entry_wire::outstanding) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use identity::SpiffeId;
    use pki::Timestamp;

    use super::*;
    use crate::records::{ClusterObject, Hint, NewEntry};

    fn entry(parent: Parent) -> Entry {
        Entry {
            id: EntryId::parse("0123456789abcdef0123456789abcdef").unwrap(),
            spec: NewEntry {
                spiffe_id: SpiffeId::parse("spiffe://example.org/ns/shop/web").unwrap(),
                selectors: vec!["unix:uid:1000".parse().unwrap()],
                parent,
                ttl: None,
                dns_names: vec![],
                hint: Hint::default(),
                federates_with: BTreeSet::new(),
                expires_at: None,
            },
            created_at: Timestamp::from_unix_seconds(0),
            revision: 1,
        }
    }

    #[test]
    fn entries_of_objects_that_nobody_follows_are_told_by_their_cluster_and_no_others() {
        let of_object = |cluster: &str| {
            let [namespace, name, uid] = ["shop", "web", "u"].map(str::to_owned);
            entry(Parent::Object(Box::new(ClusterObject { cluster: cluster.to_owned(), namespace, name, uid })))
        };
        let entries = ["west", "east", "west"].map(of_object).into_iter();
        let entries: Vec<_> = entries.chain([entry(Parent::Node(NodeName::parse("west").unwrap()))]).collect();
        let told = |followed| -> Vec<String> {
            let told = left_of_objects(&entries, followed);
            told.iter().map(|line| line.split_once(". They").unwrap().0.to_owned()).collect()
        };
        let line = |cluster: &str, count: usize| {
            format!("entries of objects of cluster {cluster:?} which this CA does not follow: {count}")
        };
        assert_eq!(told(Some("east")), [line("west", 2)]);
        assert_eq!(told(None), [line("east", 1), line("west", 2)]);
        assert_eq!(left_of_objects(&entries[3..], None), Vec::<String>::new());
    }
}
