//! What flows between a CA and its agents about entries: a stream of updates as an agent applies it, and the requests by which an
//! operator makes and changes entries.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use ca::rpc::entry_wire::{self, EntryLimits};
use identity::NodeName;
use node_agent::ca_client::view::{BundleChange, NodeView, StreamPosition};
use node_agent::entry::Entry;
use pki::{MAX_AUTHORITIES, TrustBundle};
use prost::Message;
use proto::v1;

use crate::fixture::{CHAINS, now, trust_domain};

/// Most updates of one input.
const MAX_UPDATES: usize = 24;

/// Most entries that updates speak of, so that they meet.
const ENTRIES: u8 = 6;

const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 4 {
        0 => {
            _ = v1::SyncUpdate::decode(bytes)
                .map(|update| apply(&mut StreamPosition::default(), &mut NodeView::default(), update))
        }
        1 => _ = updates(&mut Unstructured::new(bytes)),
        2 => _ = v1::CreateEntryRequest::decode(bytes).map(created),
        _ => _ = v1::UpdateEntryRequest::decode(bytes).map(changed),
    }
}

fn node() -> NodeName {
    NodeName::parse("n1").expect("it is a name")
}

/// Applies one update and holds the view to the rules that no CA can break.
fn apply(position: &mut StreamPosition, view: &mut NodeView, update: v1::SyncUpdate) -> bool {
    let (sequence, before) = (update.sequence, view.bundle.as_ref().map_or(0, |bundle| bundle.sequence()));
    let Ok(applied) = position.apply(view, &trust_domain(), &node(), update) else { return false };
    assert_eq!(applied.ack.sequence, sequence);
    let after = applied.view.bundle.as_ref().map_or(0, |bundle| bundle.sequence());
    assert!(after >= before && applied.ack.bundle_sequence == after, "a bundle went back");
    assert_eq!(applied.bundle == BundleChange::Newer, after > before || (view.bundle.is_none() && applied.view.bundle.is_some()));
    for (id, entry) in &applied.view.entries {
        assert!(*id == entry.id && entry.spiffe_id.trust_domain() == &trust_domain() && !entry.spiffe_id.is_reserved());
        assert!(!entry.selectors.is_empty(), "an entry for everybody");
    }
    *view = applied.view;
    true
}

fn updates(plan: &mut Unstructured<'_>) -> Result<()> {
    let (mut position, mut view) = (StreamPosition::default(), NodeView::default());
    let mut last = 0;
    for _ in 0..MAX_UPDATES {
        if plan.is_empty() {
            break;
        }
        let update = update(plan)?;
        let sequence = update.sequence;
        let taken = apply(&mut position, &mut view, update);
        assert!(!taken || sequence > last, "an update went back");
        last = if taken { sequence } else { last };
    }
    Ok(())
}

fn update(plan: &mut Unstructured<'_>) -> Result<v1::SyncUpdate> {
    let mut update =
        v1::SyncUpdate { sequence: plan.int_in_range(0..=40)?, replaces_entries: plan.ratio(3, 4)?, ..v1::SyncUpdate::default() };
    for _ in 0..plan.int_in_range(0..=4)? {
        update.upserted.push(entry(plan)?);
    }
    for _ in 0..plan.int_in_range(0..=2)? {
        update.removed.push(entry_id(plan.int_in_range(0..=ENTRIES)?));
    }
    if plan.ratio(3, 4)? {
        let under = if plan.ratio(1, 4)? { &CHAINS.foreign } else { &CHAINS.bundle };
        let mut bundle = bundle(under, plan.int_in_range(0..=9)?);
        match plan.arbitrary::<u8>()? {
            0 => bundle.trust_domain = "example.com".to_owned(),
            1 => bundle.x509_authorities.clear(),
            3 => bundle.tainted_keys = vec![vec![7; usize::from(plan.arbitrary::<u8>()?)]; usize::from(plan.arbitrary::<u8>()?)],
            2 => bundle.x509_authorities = vec![bundle.x509_authorities.concat(); MAX_AUTHORITIES + 1],
            _ => {}
        }
        update.bundle = Some(bundle);
    }
    Ok(update)
}

fn bundle(bundle: &TrustBundle, sequence: u64) -> v1::Bundle {
    let x509_authorities = bundle.authorities().iter().map(|authority| authority.der().to_vec()).collect();
    let (jwt_authorities, tainted_keys) = (Vec::new(), Vec::new());
    v1::Bundle { trust_domain: trust_domain().to_string(), x509_authorities, sequence, jwt_authorities, tainted_keys }
}

fn entry_id(number: u8) -> String {
    format!("{number:032x}")
}

fn entry(plan: &mut Unstructured<'_>) -> Result<v1::Entry> {
    let number = plan.int_in_range(0..=ENTRIES)?;
    let mut entry = v1::Entry {
        id: entry_id(number),
        spiffe_id: format!("spiffe://example.org/{number}"),
        selectors: vec!["unix:uid:1".to_owned()],
        parent_node: "n1".to_owned(),
        ..v1::Entry::default()
    };
    match plan.arbitrary::<u8>()? % 16 {
        0 => entry.parent_node = "n2".to_owned(),
        1 => entry.spiffe_id = "spiffe://example.com/web".to_owned(),
        2 => entry.selectors.clear(),
        3 => entry.id = plan.arbitrary()?,
        4 => entry.spiffe_id = plan.arbitrary()?,
        5 => entry.selectors = plan.arbitrary()?,
        6 => entry.dns_names = plan.arbitrary()?,
        7 => entry.hint = plan.arbitrary()?,
        8 => entry.expires_at = Some(prost_types::Timestamp { seconds: plan.arbitrary()?, nanos: plan.arbitrary()? }),
        9 => entry.spiffe_id = "spiffe://example.org/signet/agent/n1".to_owned(),
        _ => {}
    }
    Ok(entry)
}

fn limits() -> EntryLimits {
    EntryLimits { trust_domain: trust_domain(), max_ttl: MAX_TTL }
}

/// What an operator's request was read as is what any agent reads of it.
fn created(request: v1::CreateEntryRequest) {
    let Ok(spec) = entry_wire::new_entry(request, &limits(), now()) else { return };
    assert!(spec.spiffe_id.trust_domain() == &trust_domain() && !spec.spiffe_id.is_reserved());
    assert!((1..=64).contains(&spec.selectors.len()) && spec.dns_names.len() <= 32);
    assert!(spec.ttl.is_none_or(|ttl| ttl <= MAX_TTL) && spec.expires_at.is_none_or(|end| end > now()));
    let sent = v1::Entry { id: entry_id(1), parent_node: node().to_string(), ..entry_wire::described(&spec) };
    let taken = Entry::from_wire(sent, &trust_domain(), &node()).expect("an agent refuses what its CA accepted");
    assert!(taken.spiffe_id == spec.spiffe_id && taken.dns_names == spec.dns_names, "an agent reads something else");
}

fn changed(request: v1::UpdateEntryRequest) {
    let Ok(update) = entry_wire::update(request, &limits(), now()) else { return };
    assert!(update.expected_revision != Some(0));
    let edit = update.edit;
    assert!(edit.selectors.is_none_or(|selectors| (1..=64).contains(&selectors.len())));
    assert!(edit.dns_names.is_none_or(|names| names.len() <= 32));
    assert!(edit.expires_at.flatten().is_none_or(|end| end > now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_updates_are_put_together() {
        let mut plan = Unstructured::new(&[1, 0, 2, 1, 15, 2, 15, 0, 0, 3, 1, 9, 2, 3, 1, 3, 15, 1, 1, 0, 3, 2, 9]);
        let (mut position, mut view) = (StreamPosition::default(), NodeView::default());
        assert!(apply(&mut position, &mut view, update(&mut plan).unwrap()));
        assert_eq!((view.entries.len(), view.bundle.as_ref().map(|bundle| bundle.sequence())), (2, Some(1)));
        assert!(apply(&mut position, &mut view, update(&mut plan).unwrap()));
        assert_eq!((view.entries.len(), view.bundle.as_ref().map(|bundle| bundle.sequence())), (2, Some(2)));
    }
}
