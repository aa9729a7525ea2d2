//! What a node may hold, for tests of what reads it.

use std::sync::Arc;
use std::time::Duration;

use identity::{NodeName, Selector, TrustDomain};
use pki::Timestamp;
use proto::v1;

use super::FakeAuthority;
use crate::entry::{Entry, EntryId, ServiceAccount};
use crate::identities::{HeldIdentity, IdentityState};
use crate::secrets::Facts;

/// An entry `id` with the identity `/<id>`, of a certain age.
pub(crate) fn entry(id: &str, selectors: &[&str], age: i64, hint: &str) -> Entry {
    let wire = v1::Entry {
        id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org/{id}"),
        selectors: selectors.iter().map(|selector| (*selector).to_owned()).collect(),
        parent_node: "n1".to_owned(),
        created_at: Some(prost_types::Timestamp { seconds: age, nanos: 0 }),
        hint: hint.to_owned(),
        ..v1::Entry::default()
    };
    let domain = TrustDomain::parse("example.org").unwrap();
    Entry::from_wire(wire, &domain, &NodeName::parse("n1").unwrap()).unwrap()
}

/// That entry with an SVID.
pub(crate) fn available(authority: &FakeAuthority, entry: Entry) -> HeldIdentity {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let svid = authority.svid(&entry.spiffe_id, Duration::from_secs(600), now);
    HeldIdentity { entry: Arc::new(entry), state: IdentityState::Available(Arc::new(svid)), last_error: None, tainted: false }
}

/// That entry without one, and why the last try failed.
pub(crate) fn missing(entry: Entry, last_error: Option<&str>) -> HeldIdentity {
    let last_error = last_error.map(str::to_owned);
    HeldIdentity { entry: Arc::new(entry), state: IdentityState::Initializing, last_error, tainted: false }
}

/// That entry after an operator revoked its identity.
pub(crate) fn revoked(entry: Entry) -> HeldIdentity {
    let entry = Arc::new(Entry { revoked: true, ..entry });
    HeldIdentity { entry, state: IdentityState::Revoked, last_error: None, tainted: false }
}

/// A caller with these selectors.
pub(crate) fn facts(selectors: &[&str]) -> Facts {
    let selectors = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
    Facts { selectors, unreadable: Vec::new() }
}

/// The entry that the rule makes for a service account, `namespace/name`.
pub(crate) fn of_account(account: &str) -> Entry {
    let (namespace, name) = account.split_once('/').unwrap();
    let account = ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() };
    let of_ca = entry("of-account", &[&format!("k8s:ns:{namespace}"), &format!("k8s:sa:{name}")], i64::MAX, "");
    Entry { id: EntryId::of_account(&account), account: Some(account), ..of_ca }
}
