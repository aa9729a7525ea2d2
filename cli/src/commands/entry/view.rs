//! How entries look.

use pki::Timestamp;
use proto::v1::{ClusterObject, Entry, OutstandingCertificates};
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::output::{Answer, facts_text, or_dash, time_json, time_text};

/// What this machine's clock says: the CA's and the agent's own, since both are reached by Unix sockets.
pub(super) fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

/// One entry with all that it says.
pub(super) fn one(entry: &Entry, now: Timestamp) -> Answer {
    let facts = [
        ("id", entry.id.clone()),
        ("spiffe id", entry.spiffe_id.clone()),
        ("held by", parent_text(entry)),
        ("selectors", entry.selectors.join("\n")),
        ("ttl", ttl_text(entry.ttl_seconds)),
        ("dns names", or_dash(&entry.dns_names.join("\n"))),
        ("hint", or_dash(&entry.hint)),
        ("federates with", or_dash(&entry.federates_with.join("\n"))),
        ("ends", end_text(entry, now)),
        ("revoked", revoked_text(entry)),
        ("created", time_text(entry.created_at.as_ref())),
        ("revision", entry.revision.to_string()),
    ];
    Answer::text(facts_text(facts), entry_json(entry, now))
}

/// The columns of [`row`].
pub(super) const COLUMNS: [&str; 7] = ["id", "spiffe id", "held by", "ttl", "ends", "hint", "selectors"];

/// One line of a table.
pub(super) fn row(entry: &Entry, now: Timestamp) -> Vec<String> {
    vec![
        entry.id.clone(),
        entry.spiffe_id.clone(),
        parent_text(entry),
        ttl_text(entry.ttl_seconds),
        if entry.revoked { "revoked".to_owned() } else { end_text(entry, now) },
        or_dash(&entry.hint),
        entry.selectors.join("\n"),
    ]
}

pub(super) fn entry_json(entry: &Entry, now: Timestamp) -> Value {
    json!({
        "id": entry.id,
        "spiffe_id": entry.spiffe_id,
        "selectors": entry.selectors,
        "node": named(&entry.parent_node),
        "alias": named(&entry.parent_alias),
        "object": entry.object.as_ref().map(object_json),
        "ttl_seconds": (entry.ttl_seconds != 0).then_some(entry.ttl_seconds),
        "dns_names": entry.dns_names,
        "hint": entry.hint,
        "federates_with": entry.federates_with,
        "expires_at": time_json(entry.expires_at.as_ref()),
        "expired": is_expired(entry, now),
        "revoked": entry.revoked,
        "created_at": time_json(entry.created_at.as_ref()),
        "revision": entry.revision,
    })
}

fn object_json(object: &ClusterObject) -> Value {
    let ClusterObject { cluster, namespace, name, uid } = object;
    json!({ "kind": "IdentityEntry", "cluster": cluster, "namespace": namespace, "name": name, "uid": uid })
}

/// Whose agents may hold it; an agent tells its own name and the alias by which it has the entry.
pub(super) fn parent_text(entry: &Entry) -> String {
    if let Some(ClusterObject { cluster, namespace, name, uid: _ }) = &entry.object {
        return format!("nodes of {cluster} by IdentityEntry {namespace}/{name}");
    }
    match (entry.parent_node.as_str(), entry.parent_alias.as_str()) {
        (node, "") => format!("node {node}"),
        ("", alias) => format!("alias {alias}"),
        (node, alias) => format!("node {node} by alias {alias}"),
    }
}

pub(super) fn ttl_text(seconds: u32) -> String {
    match seconds {
        0 => "default".to_owned(),
        seconds => humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string(),
    }
}

pub(super) fn end_text(entry: &Entry, now: Timestamp) -> String {
    match &entry.expires_at {
        None => "never".to_owned(),
        Some(_) if is_expired(entry, now) => format!("expired {}", time_text(entry.expires_at.as_ref())),
        Some(end) => time_text(Some(end)),
    }
}

/// Whether it grants nothing because its identity is revoked, and the way back.
fn revoked_text(entry: &Entry) -> String {
    if entry.revoked { format!("yes, until `signet unrevoke --spiffe-id {}`", entry.spiffe_id) } else { "no".to_owned() }
}

/// The end alone.
pub(super) fn time_of_end(entry: &Entry) -> String {
    time_text(entry.expires_at.as_ref())
}

/// A time before 1970 is over.
fn is_expired(entry: &Entry, now: Timestamp) -> bool {
    entry
        .expires_at
        .as_ref()
        .is_some_and(|end| u64::try_from(end.seconds).is_ok_and(|end| now.unix_seconds() >= end) || end.seconds < 0)
}

/// What of a deleted entry lives on, in one sentence.
pub(super) fn outstanding_text(outstanding: Option<&OutstandingCertificates>) -> String {
    match outstanding {
        None => "no certificate issued for it is valid any more".to_owned(),
        Some(OutstandingCertificates { count, until }) => format!(
            "{count} {} valid, the last until {}: whoever holds one keeps it until then (Envoy too), and none is renewed",
            if *count == 1 { "certificate issued for it is" } else { "certificates issued for it are" },
            time_text(until.as_ref())
        ),
    }
}

pub(super) fn outstanding_json(outstanding: Option<&OutstandingCertificates>) -> (Value, Value) {
    outstanding.map_or((json!(0), Value::Null), |left| (json!(left.count), time_json(left.until.as_ref())))
}

fn named(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}
