//! `authority ...`: the CA's own roots, issuing CAs and JWT keys, one step at a time.

use ca::authority::lifecycle::AuthorityKind;
use proto::v1;
use serde_json::{Value, json};

use crate::admin_client::{authority_admin, request};
use crate::args::{AuthorityKindArgs, AuthorityLossArgs, AuthorityNameArgs, AuthorityVerb, LossArgs, ShowAuthoritiesArgs};
use crate::failure::Failure;
use crate::output::{Answer, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: AuthorityVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        AuthorityVerb::Show(args) => show(&args).await,
        AuthorityVerb::Prepare(args) => prepare(&args).await,
        AuthorityVerb::Activate(args) => activate(&args).await,
        AuthorityVerb::Taint(args) => taint(&args).await,
        AuthorityVerb::Revoke(args) => revoke(&args).await,
    }?
    .print(format)
}

async fn show(args: &ShowAuthoritiesArgs) -> Result<Answer, Failure> {
    let message = v1::ShowAuthoritiesRequest { revoked: args.all };
    let answer = authority_admin(&args.admin.socket).await?.show_authorities(request(message)).await;
    answer.map(|told| screen(told.get_ref())).map_err(|status| Failure::from_status("authority show", &status))
}

async fn prepare(args: &AuthorityKindArgs) -> Result<Answer, Failure> {
    let message = v1::PrepareAuthorityRequest { kind: kind_number(args.kind) };
    let answer = authority_admin(&args.admin.socket).await?.prepare_authority(request(message)).await;
    changed("authority prepare", answer)
}

async fn activate(args: &AuthorityLossArgs) -> Result<Answer, Failure> {
    let message = v1::ActivateAuthorityRequest { name: args.name.to_string(), accepted: Some(losses(&args.losses)) };
    let answer = authority_admin(&args.admin.socket).await?.activate_authority(request(message)).await;
    changed("authority activate", answer)
}

async fn taint(args: &AuthorityNameArgs) -> Result<Answer, Failure> {
    let message = v1::TaintAuthorityRequest { name: args.name.to_string() };
    let answer = authority_admin(&args.admin.socket).await?.taint_authority(request(message)).await;
    changed("authority taint", answer)
}

async fn revoke(args: &AuthorityLossArgs) -> Result<Answer, Failure> {
    let message = v1::RevokeAuthorityRequest { name: args.name.to_string(), accepted: Some(losses(&args.losses)) };
    let answer = authority_admin(&args.admin.socket).await?.revoke_authority(request(message)).await;
    changed("authority revoke", answer)
}

fn changed(doing: &str, answer: Result<tonic::Response<v1::AuthorityChange>, tonic::Status>) -> Result<Answer, Failure> {
    answer.map(|change| change_screen(change.get_ref())).map_err(|status| Failure::from_status(doing, &status))
}

/// The number of a kind on the wire.
pub(super) fn kind_number(kind: AuthorityKind) -> i32 {
    match kind {
        AuthorityKind::Root => v1::AuthorityKind::Root,
        AuthorityKind::Issuer => v1::AuthorityKind::Issuer,
        AuthorityKind::Jwt => v1::AuthorityKind::Jwt,
    }
    .into()
}

/// What the operator gives up, as it was named.
pub(super) fn losses(args: &LossArgs) -> v1::AcceptedLosses {
    let LossArgs { force: _, nodes, leaves, tokens, files } = args;
    v1::AcceptedLosses {
        nodes: nodes.iter().map(ToString::to_string).collect(),
        leaves: leaves.unwrap_or_default(),
        tokens: *tokens,
        files: *files,
    }
}

/// The table of authorities, as `status` shows it too.
pub(super) fn table(authorities: &[v1::Authority], json: Value) -> Answer {
    let columns = ["authority", "slot", "since", "expires", "certificates", "next"];
    Answer::table(&columns, authorities.iter().map(row).collect(), "no authorities of its own", json)
}

/// The list of authorities, as `status` has it too.
pub(super) fn list_json(authorities: &[v1::Authority]) -> Value {
    authorities.iter().map(authority_json).collect()
}

/// Where root and issuing CA come from, when not from here.
pub(super) fn plugged_in_text(told: &v1::Authorities) -> String {
    match told.plugged_in_directory.as_str() {
        "" => String::new(),
        directory => format!("root and issuing CA come from {}: whoever fills that directory rotates them", printable(directory)),
    }
}

fn screen(told: &v1::Authorities) -> Answer {
    let under_way: Vec<_> = told.rotations.iter().map(under_way_text).collect();
    let json = json!({
        "authorities": list_json(&told.authorities),
        "bundle_sequence": told.bundle_sequence,
        "plugged_in_directory": (!told.plugged_in_directory.is_empty()).then_some(&told.plugged_in_directory),
        "faults": told.faults,
        "at": time_json(told.at.as_ref()),
        "upstream": told.upstream.as_ref().map(upstream_json),
        "replicas": super::replica::list_json(&told.replicas),
        "levels": told.levels.iter().map(level_json).collect::<Vec<_>>(),
        "rotations": told.rotations.iter().map(super::drill::report_json).collect::<Vec<_>>(),
    });
    let faults: Vec<_> = told.faults.iter().map(|fault| format!(" ! {}", printable(fault))).collect();
    table(&told.authorities, json)
        .with_text(&faults.join("\n"))
        .with_text(&super::replica::faults_text(&told.replicas))
        .with_text(&levels_text(&told.levels))
        .with_text(&plugged_in_text(told))
        .with_text(&upstream_text(told.upstream.as_ref()))
        .with_text(&key_places_text(&told.authorities))
        .with_text(&under_way.join("\n"))
        .with_text(&format!("bundle sequence {}", told.bundle_sequence))
}

/// What signs now, level by level.
fn levels_text(levels: &[v1::AuthorityLevel]) -> String {
    let lines: Vec<_> = levels
        .iter()
        .map(|level| {
            let name = if level.name.is_empty() { &level.subject } else { &level.name };
            let expires = match &level.not_after {
                Some(end) => format!("expires {}", time_text(Some(end))),
                None => "does not expire".to_owned(),
            };
            format!("level {}: {}, {expires}; {}", level.level, printable(name), printable(&level.next_action))
        })
        .collect();
    lines.join("\n")
}

fn level_json(level: &v1::AuthorityLevel) -> Value {
    let v1::AuthorityLevel { level, name, subject, serial, fingerprint, not_before, not_after, next_action } = level;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "level": level,
        "name": some(name),
        "subject": some(subject),
        "serial": some(serial),
        "fingerprint": some(fingerprint),
        "not_before": time_json(not_before.as_ref()),
        "not_after": time_json(not_after.as_ref()),
        "next_action": next_action,
    })
}

fn upstream_json(standing: &v1::UpstreamStanding) -> Value {
    let v1::UpstreamStanding { kind, reached_at, fault } = standing;
    json!({ "kind": kind, "reached_at": time_json(reached_at.as_ref()), "fault": (!fault.is_empty()).then_some(fault) })
}

/// Who signs the issuing CAs, when that is another CA.
fn upstream_text(standing: Option<&v1::UpstreamStanding>) -> String {
    match standing {
        None => String::new(),
        Some(standing) if standing.kind == "files" => String::new(),
        Some(standing) => {
            let reached = match &standing.reached_at {
                Some(at) => format!("reached last at {}", time_text(Some(at))),
                None => "not reached yet".to_owned(),
            };
            let fault = if standing.fault.is_empty() { String::new() } else { format!(": {}", printable(&standing.fault)) };
            format!("upstream ({}): {reached}{fault}", printable(&standing.kind))
        }
    }
}

/// Where each key lies.
fn key_places_text(authorities: &[v1::Authority]) -> String {
    let known = authorities.iter().filter(|authority| !authority.key_place.is_empty());
    let lines: Vec<_> = known.map(|one| format!("key of {}: {}", one.name, printable(&one.key_place))).collect();
    lines.join("\n")
}

/// One rotation that is under way, and how to look at it.
pub(super) fn under_way_text(report: &v1::RotationReport) -> String {
    let kind = super::drill::kind_text(report);
    format!("under way: {} (`signet drill {kind} --attach` shows it)", super::drill::line(report))
}

fn change_screen(change: &v1::AuthorityChange) -> Answer {
    let what = if change.unchanged { "it was so already" } else { "done" };
    let json = json!({
        "unchanged": change.unchanged,
        "authorities": list_json(&change.authorities),
        "bundle_sequence": change.bundle_sequence,
    });
    let answer = Answer::text(format!("{what}; bundle sequence {}", change.bundle_sequence), json);
    if change.authorities.is_empty() { answer } else { answer.with_text(table(&change.authorities, Value::Null).as_text()) }
}

fn slot(authority: &v1::Authority) -> String {
    if authority.tainted_at.is_some() { format!("{}, tainted", authority.slot) } else { authority.slot.clone() }
}

/// Its name, and the replica that has it when that is another one.
fn named(authority: &v1::Authority) -> String {
    let v1::Authority { name, replica, .. } = authority;
    if replica.is_empty() { name.clone() } else { format!("{name} ({})", printable(replica)) }
}

fn row(authority: &v1::Authority) -> Vec<String> {
    let certificates = match authority.kind() {
        v1::AuthorityKind::Jwt => "-".to_owned(),
        v1::AuthorityKind::Root | v1::AuthorityKind::Issuer | v1::AuthorityKind::Unspecified => {
            format!("{} in use, {} not ended", authority.leaves_held, authority.leaves_unexpired)
        }
    };
    vec![
        named(authority),
        slot(authority),
        time_text(authority.since.as_ref()),
        time_text(authority.not_after.as_ref()),
        certificates,
        authority.next_action.clone(),
    ]
}

fn authority_json(authority: &v1::Authority) -> Value {
    let kind = match authority.kind() {
        v1::AuthorityKind::Root => "root",
        v1::AuthorityKind::Issuer => "issuer",
        v1::AuthorityKind::Jwt => "jwt",
        v1::AuthorityKind::Unspecified => "unknown",
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "name": authority.name,
        "kind": kind,
        "slot": authority.slot,
        "since": time_json(authority.since.as_ref()),
        "parent": some(&authority.parent),
        "replica": some(&authority.replica),
        "key": some(&authority.key),
        "subject": some(&authority.subject),
        "serial": some(&authority.serial),
        "fingerprint": some(&authority.fingerprint),
        "not_before": time_json(authority.not_before.as_ref()),
        "not_after": time_json(authority.not_after.as_ref()),
        "key_id": some(&authority.key_id),
        "published_in": (authority.published_in > 0).then_some(authority.published_in),
        "tainted_at": time_json(authority.tainted_at.as_ref()),
        "leaves_held": authority.leaves_held,
        "leaves_unexpired": authority.leaves_unexpired,
        "last_leaf_ends": time_json(authority.last_leaf_ends.as_ref()),
        "key_place": some(&authority.key_place),
        "first_workload_leaf_ends": time_json(authority.first_workload_leaf_ends.as_ref()),
        "next_action": authority.next_action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn root() -> v1::Authority {
        v1::Authority {
            name: "root-1".to_owned(),
            kind: v1::AuthorityKind::Root.into(),
            slot: "old".to_owned(),
            since: time(1_795_172_400),
            not_after: time(1_795_258_800),
            tainted_at: time(1_795_172_401),
            leaves_held: 3,
            leaves_unexpired: 9,
            next_action: "goes when\u{1b}[31m 3 certificates".to_owned(),
            ..v1::Authority::default()
        }
    }

    #[test]
    fn slots_expiry_use_and_what_comes_next_stand_in_one_row() {
        let jwt = v1::Authority {
            name: "jwt-1".to_owned(),
            kind: v1::AuthorityKind::Jwt.into(),
            slot: "active".to_owned(),
            key_id: "kid".to_owned(),
            ..v1::Authority::default()
        };
        let report =
            v1::RotationReport { kind: v1::AuthorityKind::Root.into(), phase: "replace".to_owned(), ..Default::default() };
        let told = v1::Authorities {
            authorities: vec![root(), jwt],
            bundle_sequence: 9,
            upstream: None,
            levels: Vec::new(),
            plugged_in_directory: String::new(),
            rotations: vec![report],
            faults: vec!["the disk is full".to_owned()],
            replicas: Vec::new(),
            at: None,
        };
        let answer = screen(&told);
        let text = answer.as_text();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("AUTHORITY") && lines[0].contains("NEXT"), "{text}");
        for part in ["root-1", "old, tainted", "2026-11-20T11:00:00Z", "3 in use, 9 not ended", "goes when\u{fffd}[31m"] {
            assert!(lines[1].contains(part), "{part}: {text}");
        }
        assert!(text.contains("\n\n ! the disk is full\n"), "{text}");
        assert!(text.contains("signet drill root --attach") && text.ends_with("bundle sequence 9"), "{text}");
        let json = answer.as_json();
        assert_eq!(json["authorities"][0]["tainted_at"], "2026-11-20T11:00:01Z");
        assert_eq!((&json["authorities"][1]["key_id"], &json["authorities"][1]["not_after"]), (&json!("kid"), &Value::Null));
        assert_eq!((&json["plugged_in_directory"], &json["rotations"][0]["phase"]), (&Value::Null, &json!("replace")));
    }

    #[test]
    fn a_plugged_in_authority_is_told_to_be_somebody_elses() {
        let told = v1::Authorities { plugged_in_directory: "/etc/pki".to_owned(), ..v1::Authorities::default() };
        assert!(screen(&told).as_text().contains("come from /etc/pki"), "{:?}", screen(&told));
    }

    #[test]
    fn a_change_says_whether_it_was_one() {
        let change = v1::AuthorityChange { authorities: vec![root()], unchanged: true, bundle_sequence: 4 };
        let answer = change_screen(&change);
        assert!(answer.as_text().starts_with("it was so already; bundle sequence 4\n"), "{}", answer.as_text());
        assert_eq!(
            (&answer.as_json()["unchanged"], &answer.as_json()["authorities"][0]["name"]),
            (&json!(true), &json!("root-1"))
        );
        let change = v1::AuthorityChange { unchanged: false, ..change };
        assert!(change_screen(&change).as_text().starts_with("done;"));
    }
}
