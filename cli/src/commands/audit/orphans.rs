//! `audit orphans`: what was to be signed and has no result.

use std::path::Path;

use ca::store::{AuditReader, OrphanCursor, OrphanKind, StoreFile};
use pki::Timestamp;
use proto::v1;
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::admin_client::{ANSWER_DEADLINE, ca_admin};
use crate::args::OrphansArgs;
use crate::failure::Failure;
use crate::output::{Answer, time_json, time_text};

pub(super) async fn run(args: &OrphansArgs) -> Result<Answer, Failure> {
    let now = Timestamp::from(SystemClock::shared().now());
    let since = args.since.map(|since| since.time(now));
    let orphans = match &args.source.store {
        Some(file) => offline(file, since, args.jwt, now).await?,
        None => online(args, since).await?,
    };
    let rows = orphans.iter().map(row).collect();
    let list = Value::Array(orphans.iter().map(document).collect());
    let columns = ["kind", "serial or digest", "identity", "asked by", "for", "intended", "ends", "note"];
    Ok(Answer::table(&columns, rows, "no orphans: each intent has its result", list))
}

async fn online(args: &OrphansArgs, since: Option<Timestamp>) -> Result<Vec<v1::Orphan>, Failure> {
    let since = since.map(|since| std::time::SystemTime::from(since).into());
    let mut request = tonic::Request::new(v1::ListOrphansRequest { since, jwt: args.jwt });
    request.set_timeout(ANSWER_DEADLINE * 20);
    let failed = |status| Failure::from_status("audit orphans", &status);
    let mut pages = ca_admin(&args.source.admin.socket).await?.list_orphans(request).await.map_err(failed)?.into_inner();
    let mut orphans = Vec::new();
    while let Some(v1::ListOrphansResponse { orphans: page }) = pages.message().await.map_err(failed)? {
        orphans.extend(page);
    }
    Ok(orphans)
}

async fn offline(file: &Path, since: Option<Timestamp>, jwt: bool, now: Timestamp) -> Result<Vec<v1::Orphan>, Failure> {
    let unread = |error: &dyn std::fmt::Display| Failure::failed("the record cannot be read").because(error);
    let store = StoreFile::open(file).map_err(|error| unread(&error))?;
    let mut orphans = Vec::new();
    for kind in if jwt { &[OrphanKind::X509, OrphanKind::Jwt][..] } else { &[OrphanKind::X509] } {
        let mut next = Some(OrphanCursor::since(since.unwrap_or(Timestamp::from_unix_seconds(0))));
        while let Some(from) = next {
            let page = store.orphans(*kind, from).await.map_err(|error| unread(&error))?;
            orphans.extend(page.orphans.into_iter().map(|orphan| orphan.into_message(now)));
            next = page.next;
        }
    }
    Ok(orphans)
}

fn kind(orphan: &v1::Orphan) -> &'static str {
    match orphan.kind() {
        v1::orphan::Kind::X509 => "x509",
        v1::orphan::Kind::Jwt => "jwt",
        v1::orphan::Kind::Unspecified => "unknown",
    }
}

fn note(orphan: &v1::Orphan) -> &'static str {
    match (orphan.kind(), orphan.may_be_under_way) {
        (v1::orphan::Kind::Jwt, _) => "no results are recorded of these",
        (_, true) => "may be under way",
        (_, false) => "take it for issued",
    }
}

fn row(orphan: &v1::Orphan) -> Vec<String> {
    vec![
        kind(orphan).to_owned(),
        orphan.name.clone(),
        orphan.subject.clone(),
        orphan.caller.clone(),
        orphan.reason.clone(),
        time_text(orphan.intended_at.as_ref()),
        time_text(orphan.not_after.as_ref()),
        note(orphan).to_owned(),
    ]
}

fn document(orphan: &v1::Orphan) -> Value {
    json!({
        "kind": kind(orphan),
        "name": orphan.name,
        "spiffe_id": orphan.subject,
        "caller": orphan.caller,
        "reason": orphan.reason,
        "intended_at": time_json(orphan.intended_at.as_ref()),
        "not_after": time_json(orphan.not_after.as_ref()),
        "may_be_under_way": orphan.may_be_under_way,
    })
}
