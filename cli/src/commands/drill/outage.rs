//! `drill outage`: for how long identities last when the CA goes away now. Asks, and changes nothing.

use std::path::Path;

use pki::Timestamp;
use proto::v1::node_record::State;
use proto::v1::{Authorities, AuthorityKind, ListNodesRequest, NodeRecord, ShowAuthoritiesRequest, StatusRequest};
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::admin_client::{authority_admin, ca_admin, request};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(socket: &Path, format: OutputFormat) -> Result<(), Failure> {
    let failed = |status| Failure::from_status("drill outage", &status);
    let mut admin = ca_admin(socket).await?;
    let nodes = admin.list_nodes(request(ListNodesRequest {})).await.map_err(failed)?.into_inner().nodes;
    let sequence = admin.status(request(StatusRequest {})).await.map_err(failed)?.into_inner().bundle_sequence;
    let shown = authority_admin(socket).await?.show_authorities(request(ShowAuthoritiesRequest { revoked: false })).await;
    let authorities = shown.map_err(failed)?.into_inner();
    outlook(&nodes, sequence, &authorities, SystemClock::shared().now().into()).print(format)
}

/// What is known, and what follows from it.
fn outlook(nodes: &[NodeRecord], sequence: u64, authorities: &Authorities, now: Timestamp) -> Answer {
    let mut attested: Vec<_> = nodes.iter().filter(|node| node.state() == State::Attested).collect();
    attested.sort_by_key(|node| (seconds(node.svid_expires_at.as_ref()), node.node.clone()));
    let first = attested.first().copied();
    let last_leaf = authorities.authorities.iter().filter_map(|one| one.last_leaf_ends.as_ref()).max_by_key(|time| time.seconds);
    let first_leaf =
        authorities.authorities.iter().filter_map(|one| one.first_workload_leaf_ends.as_ref()).min_by_key(|time| time.seconds);
    let end_of = |kind: AuthorityKind| {
        let active = authorities.authorities.iter().find(|one| one.kind() == kind && one.slot == "active");
        active.and_then(|one| one.not_after.as_ref())
    };
    let (issuer, root) = (end_of(AuthorityKind::Issuer), end_of(AuthorityKind::Root));
    let first_text = match first {
        Some(node) => format!("{} ({})", told(node.svid_expires_at.as_ref(), now), node.node),
        None => "no node is attested".to_owned(),
    };
    let facts = facts_text([
        ("first workload certificate ends", told(first_leaf, now)),
        ("first agent SVID ends", first_text),
        ("last certificate ends", told(last_leaf, now)),
        ("issuing CA ends", told(issuer, now)),
        ("root ends", told(root, now)),
    ]);
    let rows = attested.iter().map(|node| {
        let bundle = if node.bundle_sequence >= sequence { "newest" } else { "older" };
        let connected = if node.connected { "yes" } else { "no" };
        vec![node.node.clone(), connected.to_owned(), bundle.to_owned(), told(node.svid_expires_at.as_ref(), now)]
    });
    let table = Answer::table(&["node", "connected", "bundle", "agent svid ends"], rows.collect(), "", Value::Null);
    let json = json!({
        "now": now.to_string(),
        "first_agent_svid_ends": time_json(first.and_then(|node| node.svid_expires_at.as_ref())),
        "first_workload_certificate_ends": time_json(first_leaf),
        "last_certificate_ends": time_json(last_leaf),
        "issuer_ends": time_json(issuer),
        "root_ends": time_json(root),
        "nodes": attested.iter().map(|node| json!({
            "node": node.node,
            "connected": node.connected,
            "bundle_is_newest": node.bundle_sequence >= sequence,
            "svid_ends": time_json(node.svid_expires_at.as_ref()),
        })).collect::<Vec<_>>(),
    });
    Answer::text("if the CA went away now:", json).with_text(&facts).with_text(table.as_text()).with_text(MEANING)
}

const MEANING: &str = "\
agents go on serving what they have; nothing new is issued: no new workload, no JWT-SVID that is not kept, no revocation.
identities are renewed at half of their life, so each has at least half of it left; `signet agent status` on a node names each end.
an agent whose SVID has ended attests again by its node key when the CA is back; a root or issuing CA that has ended needs
`signet ca issuer renew`, and a root that has ended a new one.
nothing was changed";

/// A time, and how far away it is: nobody plans days by minutes, or minutes by seconds.
fn told(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(seconds) = seconds(time) else { return "-".to_owned() };
    let left = Timestamp::from_unix_seconds(seconds).since(now).as_secs();
    let left = match left {
        0 => "over".to_owned(),
        1..MINUTE => format!("in {left} s"),
        MINUTE..HOUR => format!("in {} min", left / MINUTE),
        HOUR..TWO_DAYS => format!("in {} h {} min", left / HOUR, left % HOUR / MINUTE),
        _ => format!("in {} days", left / DAY),
    };
    format!("{}, {left}", time_text(time))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const TWO_DAYS: u64 = 2 * DAY;

fn seconds(time: Option<&prost_types::Timestamp>) -> Option<u64> {
    time.and_then(|time| u64::try_from(time.seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn node(name: &str, expires: i64, bundle_sequence: u64) -> NodeRecord {
        NodeRecord {
            node: name.to_owned(),
            state: State::Attested.into(),
            svid_expires_at: time(expires),
            bundle_sequence,
            ..NodeRecord::default()
        }
    }

    fn authority(kind: AuthorityKind, slot: &str, not_after: i64, leaves: [i64; 2]) -> proto::v1::Authority {
        proto::v1::Authority {
            kind: kind.into(),
            slot: slot.to_owned(),
            not_after: time(not_after),
            first_workload_leaf_ends: time(leaves[0]),
            last_leaf_ends: time(leaves[1]),
            ..proto::v1::Authority::default()
        }
    }

    #[test]
    fn the_first_and_the_last_end_are_named() {
        let banned = NodeRecord { state: State::Banned.into(), ..node("n0", 1, 0) };
        let nodes = [banned, node("n2", 9_000, 4), node("n1", 5_000, 3)];
        let authorities = Authorities {
            authorities: vec![
                authority(AuthorityKind::Root, "active", 90_000, [4_000, 7_000]),
                authority(AuthorityKind::Issuer, "active", 80_000, [4_000, 7_000]),
                authority(AuthorityKind::Issuer, "old", 20_000, [3_000, 8_000]),
            ],
            ..Authorities::default()
        };
        let answer = outlook(&nodes, 4, &authorities, Timestamp::from_unix_seconds(1_000));
        let json = answer.as_json();
        assert_eq!(json["first_agent_svid_ends"], "1970-01-01T01:23:20Z", "n1, and not one that is banned");
        assert_eq!(json["first_workload_certificate_ends"], "1970-01-01T00:50:00Z", "of an old issuing CA too");
        assert_eq!(json["last_certificate_ends"], "1970-01-01T02:13:20Z", "of an old issuing CA too");
        assert_eq!(json["issuer_ends"], "1970-01-01T22:13:20Z", "the active one");
        assert_eq!((&json["nodes"][0]["node"], &json["nodes"][0]["bundle_is_newest"]), (&json!("n1"), &json!(false)));
        let text = answer.as_text();
        assert!(text.contains("1970-01-01T01:23:20Z, in 1 h 6 min (n1)") && text.ends_with("nothing was changed"), "{text}");
    }

    #[test]
    fn an_end_that_is_over_and_an_empty_fleet_are_told() {
        assert_eq!(told(time(10).as_ref(), Timestamp::from_unix_seconds(10)), "1970-01-01T00:00:10Z, over");
        let left = |seconds: i64| {
            let text = told(time(seconds).as_ref(), Timestamp::from_unix_seconds(0));
            text.split_once(", ").map(|(_, left)| left.to_owned()).unwrap()
        };
        let spans = [59, 60, 3_600, 172_799, 172_800, 315_360_000].map(left);
        assert_eq!(spans, ["in 59 s", "in 1 min", "in 1 h 0 min", "in 47 h 59 min", "in 2 days", "in 3650 days"]);
        let answer = outlook(&[], 1, &Authorities::default(), Timestamp::from_unix_seconds(1));
        assert!(answer.as_text().contains("no node is attested"), "{}", answer.as_text());
        assert_eq!(answer.as_json()["first_agent_svid_ends"], Value::Null);
    }
}
