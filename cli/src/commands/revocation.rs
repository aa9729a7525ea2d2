//! `revoke`, `unrevoke`, `revocation list`: certificates that are called back, identities and nodes that get none.

use proto::v1::revoke_request::What;
use proto::v1::{DeniedIdentity, ListRevocationsResponse};
use proto::v1::{
    ListRevocationsRequest, RevocationListStatus, RevocationReason, RevocationStatus, RevokeRequest, RevokeResponse,
    RevokedCertificate, UnrevokeRequest, unrevoke_request,
};
use serde_json::{Value, json};

use crate::admin_client::{ANSWER_DEADLINE, ca_admin, request};
use crate::args::{CaSocketArgs, ReasonArg, RevocationVerb, RevokeArgs, UnrevokeArgs};
use crate::failure::Failure;
use crate::output::{Answer, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn revoke(args: RevokeArgs, format: OutputFormat) -> Result<(), Failure> {
    let RevokeArgs { serial, spiffe_id, node, entry, reason, dry_run, admin } = args;
    let undo = match (&spiffe_id, &node) {
        (Some(id), _) => Some(format!("signet unrevoke --spiffe-id {id}")),
        (_, Some(node)) => Some(format!("signet unrevoke --node {node}")),
        (None, None) => None,
    };
    let what = serial
        .map(|serial| What::Serial(serial.to_string()))
        .or(spiffe_id.map(|id| What::SpiffeId(id.to_string())))
        .or(node.map(|node| What::Node(node.to_string())))
        .or(entry.map(What::EntryId));
    let message = RevokeRequest { what, reason: reason_number(reason), dry_run };
    let answer = ca_admin(&admin.socket).await?.revoke(request(message)).await;
    let answer = answer.map_err(|status| Failure::from_status("revoke", &status))?.into_inner();
    revoked(&answer, dry_run, undo.as_deref()).print(format)
}

pub(super) async fn unrevoke(args: UnrevokeArgs, format: OutputFormat) -> Result<(), Failure> {
    let UnrevokeArgs { spiffe_id, node, admin } = args;
    let name = spiffe_id.as_ref().map_or_else(
        || format!("node {}", node.as_ref().map(ToString::to_string).unwrap_or_default()),
        |id| format!("identity {id}"),
    );
    let comes_back = if node.is_some() { "it may attest again" } else { "certificates are issued for it again" };
    let what = spiffe_id
        .map(|id| unrevoke_request::What::SpiffeId(id.to_string()))
        .or(node.map(|node| unrevoke_request::What::Node(node.to_string())));
    let answer = ca_admin(&admin.socket).await?.unrevoke(request(UnrevokeRequest { what })).await;
    let changed = answer.map_err(|status| Failure::from_status("unrevoke", &status))?.into_inner().changed;
    let text = if changed {
        format!("{name}: {comes_back}; certificates that were revoked stay so")
    } else {
        format!("{name} was not revoked: nothing was changed")
    };
    Answer::text(text, json!({ "changed": changed })).print(format)
}

pub(super) async fn run(verb: RevocationVerb, format: OutputFormat) -> Result<(), Failure> {
    let RevocationVerb::List(args) = verb;
    list(&args).await?.print(format)
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let mut message = tonic::Request::new(ListRevocationsRequest {});
    message.set_timeout(ANSWER_DEADLINE * 20);
    let failed = |status| Failure::from_status("revocation list", &status);
    let mut pages = ca_admin(&args.socket).await?.list_revocations(message).await.map_err(failed)?.into_inner();
    let mut told = ListRevocationsResponse::default();
    while let Some(ListRevocationsResponse { status, identities, certificates }) = pages.message().await.map_err(failed)? {
        told.status = told.status.or(status);
        told.identities.extend(identities);
        told.certificates.extend(certificates);
    }
    Ok(screen(&told))
}

/// The number of a reason on the wire; none is given without one.
pub(super) fn reason_number(reason: Option<ReasonArg>) -> i32 {
    let reason = match reason {
        None => RevocationReason::Unspecified,
        Some(ReasonArg::KeyCompromise) => RevocationReason::KeyCompromise,
        Some(ReasonArg::AffiliationChanged) => RevocationReason::AffiliationChanged,
        Some(ReasonArg::Superseded) => RevocationReason::Superseded,
        Some(ReasonArg::CessationOfOperation) => RevocationReason::CessationOfOperation,
        Some(ReasonArg::PrivilegeWithdrawn) => RevocationReason::PrivilegeWithdrawn,
    };
    reason.into()
}

fn reason_text(reason: RevocationReason) -> &'static str {
    match reason {
        RevocationReason::Unspecified => "-",
        RevocationReason::KeyCompromise => "key-compromise",
        RevocationReason::AffiliationChanged => "affiliation-changed",
        RevocationReason::Superseded => "superseded",
        RevocationReason::CessationOfOperation => "cessation-of-operation",
        RevocationReason::PrivilegeWithdrawn => "privilege-withdrawn",
    }
}

fn reason_json(reason: RevocationReason) -> Value {
    if reason == RevocationReason::Unspecified { Value::Null } else { reason_text(reason).into() }
}

/// What an act did, or would do; `undo` lets the identity or the node come back.
fn revoked(answer: &RevokeResponse, dry_run: bool, undo: Option<&str>) -> Answer {
    let RevokeResponse { certificates, certificates_total, revoked_before, identity_denied, node_banned, sequence } = answer;
    let json = json!({
        "dry_run": dry_run,
        "certificates": certificates.iter().map(certificate_json).collect::<Vec<_>>(),
        "certificates_total": certificates_total,
        "revoked_before": revoked_before,
        "identity_denied": identity_denied,
        "node_banned": node_banned,
        "sequence": sequence,
    });
    let will = if dry_run { "would be" } else { "is" };
    let mut lines = Vec::new();
    let until = undo.map(|undo| format!(" until `{undo}`")).unwrap_or_default();
    if *identity_denied {
        lines.push(format!("the identity {will} denied: nothing is issued for it{until}"));
    }
    if *node_banned {
        lines.push(format!("the node {will} banned{until}"));
    }
    let before = if *revoked_before > 0 { format!("; {revoked_before} were before") } else { String::new() };
    lines.push(match certificates_total {
        0 => format!("no certificate {will} revoked: none that is meant has not ended{before}"),
        1 => format!("1 certificate {will} revoked{before}"),
        many if dry_run => format!("{many} certificates would be revoked{before}"),
        many => format!("{many} certificates are revoked{before}"),
    });
    let shown = u64::try_from(certificates.len()).unwrap_or(u64::MAX);
    let more = match certificates_total.saturating_sub(shown) {
        0 => String::new(),
        more => format!("and {more} more"),
    };
    let last = if dry_run {
        "nothing was changed".to_owned()
    } else {
        format!("revocation lists {sequence} and later say so; `signet revocation list` shows them")
    };
    let answer = Answer::text(lines.join("\n"), json);
    let answer = if certificates.is_empty() { answer } else { answer.with_text(table(certificates, false).as_text()) };
    answer.with_text(&more).with_text(&last)
}

fn table(certificates: &[RevokedCertificate], with_time: bool) -> Answer {
    let columns: &[&str] = if with_time {
        &["serial", "identity", "issued to", "ends", "reason", "revoked"]
    } else {
        &["serial", "identity", "issued to", "ends"]
    };
    let row = |one: &RevokedCertificate| {
        let mut row = vec![one.serial.clone(), one.spiffe_id.clone(), one.caller.clone(), time_text(one.not_after.as_ref())];
        if with_time {
            row.extend([reason_text(one.reason()).to_owned(), time_text(one.revoked_at.as_ref())]);
        }
        row
    };
    Answer::table(columns, certificates.iter().map(row).collect(), "no certificate is revoked", Value::Null)
}

fn certificate_json(one: &RevokedCertificate) -> Value {
    json!({
        "serial": one.serial,
        "spiffe_id": one.spiffe_id,
        "caller": one.caller,
        "issuer_key": one.issuer_key,
        "not_after": time_json(one.not_after.as_ref()),
        "revoked_at": time_json(one.revoked_at.as_ref()),
        "reason": reason_json(one.reason()),
    })
}

fn identity_json(one: &DeniedIdentity) -> Value {
    json!({
        "spiffe_id": one.spiffe_id,
        "denied_at": time_json(one.denied_at.as_ref()),
        "reason": reason_json(one.reason()),
    })
}

fn screen(told: &ListRevocationsResponse) -> Answer {
    let ListRevocationsResponse { status, identities, certificates } = told;
    let json = json!({
        "status": status.as_ref().map(status_json),
        "identities": identities.iter().map(identity_json).collect::<Vec<_>>(),
        "certificates": certificates.iter().map(certificate_json).collect::<Vec<_>>(),
    });
    let rows = identities
        .iter()
        .map(|one| vec![one.spiffe_id.clone(), time_text(one.denied_at.as_ref()), reason_text(one.reason()).to_owned()]);
    let denied = Answer::table(&["denied identity", "since", "reason"], rows.collect(), "no identity is denied", Value::Null);
    let missing: Vec<_> = status.iter().flat_map(missing_lines).collect();
    let lists = status.as_ref().map(lists_table);
    Answer::text(status.as_ref().map_or_else(|| "no list is signed yet".to_owned(), line), json)
        .with_text(&missing.join("\n"))
        .with_text(lists.as_ref().map_or("", Answer::as_text))
        .with_text(denied.as_text())
        .with_text(table(certificates, true).as_text())
}

/// How it stands with revocation, in one line; `status` has it too.
pub(super) fn line(status: &RevocationStatus) -> String {
    let RevocationStatus { sequence, complete, missing: _, lists, certificates, identities } = status;
    let complete = if *complete { "complete" } else { "NOT complete: SPIFFE validators of Envoy check no revocation" };
    let lists = lists.len();
    format!("lists {sequence}, {lists} of them, {complete}; {certificates} certificates revoked, {identities} identities denied")
}

/// What is missing, a line each.
pub(super) fn missing_lines(status: &RevocationStatus) -> Vec<String> {
    status.missing.iter().map(|missing| format!(" ! {}", printable(missing))).collect()
}

pub(super) fn status_json(status: &RevocationStatus) -> Value {
    json!({
        "sequence": status.sequence,
        "complete": status.complete,
        "missing": status.missing,
        "lists": status.lists.iter().map(list_json).collect::<Vec<_>>(),
        "certificates": status.certificates,
        "identities": status.identities,
    })
}

fn list_json(list: &RevocationListStatus) -> Value {
    json!({
        "authority": list.authority,
        "issuer_key": list.issuer_key,
        "number": list.number,
        "this_update": time_json(list.this_update.as_ref()),
        "next_update": time_json(list.next_update.as_ref()),
        "entries": list.entries,
        "imported": list.imported,
    })
}

fn lists_table(status: &RevocationStatus) -> Answer {
    let row = |list: &RevocationListStatus| {
        vec![
            list.authority.clone(),
            list.number.clone(),
            time_text(list.this_update.as_ref()),
            time_text(list.next_update.as_ref()),
            list.entries.to_string(),
            if list.imported { "ca-crl.pem" } else { "here" }.to_owned(),
        ]
    };
    let columns = ["list of", "number", "signed", "next by", "certificates", "from"];
    Answer::table(&columns, status.lists.iter().map(row).collect(), "no list is signed yet", Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn certificate() -> RevokedCertificate {
        RevokedCertificate {
            serial: "01aa".to_owned(),
            spiffe_id: "spiffe://example.org/web\u{1b}[31m".to_owned(),
            caller: "spiffe://example.org/signet/agent/n1".to_owned(),
            issuer_key: "ff".to_owned(),
            not_after: time(1_795_172_400),
            revoked_at: time(1_795_172_300),
            reason: RevocationReason::KeyCompromise.into(),
        }
    }

    #[test]
    fn an_act_says_what_it_did_and_the_way_back() {
        let answer = RevokeResponse {
            certificates: vec![certificate()],
            certificates_total: 3,
            revoked_before: 1,
            identity_denied: true,
            node_banned: false,
            sequence: 8,
        };
        let told = revoked(&answer, false, Some("signet unrevoke --spiffe-id spiffe://example.org/web"));
        for part in [
            "the identity is denied: nothing is issued for it until `signet unrevoke --spiffe-id spiffe://example.org/web`",
            "3 certificates are revoked; 1 were before",
            "spiffe://example.org/web\u{fffd}[31m",
            "and 2 more",
            "revocation lists 8 and later",
        ] {
            assert!(told.as_text().contains(part), "{part} is missing in:\n{}", told.as_text());
        }
        let json = told.as_json();
        assert_eq!((&json["certificates"][0]["reason"], &json["certificates_total"]), (&json!("key-compromise"), &json!(3)));
        let planned = revoked(&answer, true, None);
        assert!(planned.as_text().contains("would be denied") && planned.as_text().ends_with("nothing was changed"));
        assert_eq!(planned.as_json()["dry_run"], true);
        let nothing = revoked(&RevokeResponse::default(), false, None);
        assert!(nothing.as_text().starts_with("no certificate is revoked"), "{}", nothing.as_text());
    }

    #[test]
    fn lists_denied_identities_and_certificates_are_told_and_what_is_missing_first() {
        let list = RevocationListStatus {
            authority: "issuer-1".to_owned(),
            number: "12".to_owned(),
            this_update: time(1_795_172_000),
            next_update: time(1_795_776_800),
            entries: 1,
            ..RevocationListStatus::default()
        };
        let status = RevocationStatus {
            sequence: 8,
            complete: false,
            missing: vec!["root-1 has no list".to_owned()],
            lists: vec![list],
            certificates: 1,
            identities: 1,
        };
        let identity = DeniedIdentity {
            spiffe_id: "spiffe://example.org/web".to_owned(),
            denied_at: time(1_795_172_300),
            reason: RevocationReason::Unspecified.into(),
        };
        let told =
            ListRevocationsResponse { status: Some(status), identities: vec![identity], certificates: vec![certificate()] };
        let answer = screen(&told);
        let text = answer.as_text();
        for part in ["NOT complete", " ! root-1 has no list", "issuer-1", "2026-11-20T11:00:00Z", "key-compromise"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        let json = answer.as_json();
        assert_eq!((&json["status"]["lists"][0]["number"], &json["identities"][0]["reason"]), (&json!("12"), &Value::Null));
        let empty = screen(&ListRevocationsResponse::default());
        assert!(empty.as_text().contains("no list is signed yet") && empty.as_text().contains("no identity is denied"));
    }

    #[test]
    fn each_reason_has_its_number_and_its_name() {
        use clap::ValueEnum;
        for reason in ReasonArg::value_variants() {
            let number = reason_number(Some(*reason));
            let name = reason.to_possible_value().unwrap();
            assert_eq!(reason_text(RevocationReason::try_from(number).unwrap()), name.get_name());
        }
        assert_eq!(reason_number(None), 0);
    }
}
