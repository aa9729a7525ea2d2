//! `entry apply`, `entry export`.

use pki::Timestamp;
use proto::v1::entry_change::Kind;
use proto::v1::{ApplyEntriesRequest, ApplyEntriesResponse, Entry, EntryChange};
use serde_json::{Value, json};

use super::view::{end_text, entry_json, now, outstanding_json, outstanding_text, parent_text, ttl_text};
use crate::admin_client::{ca_admin, request};
use crate::args::{ApplyArgs, ListEntriesArgs};
use crate::entry_document::{DocumentEntry, DocumentScope, EntryDocument};
use crate::failure::Failure;
use crate::output::{Answer, or_dash, print_line, printable};
use crate::output_format::OutputFormat;

/// Largest answer taken: that of the largest document, every entry before and after.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

pub(super) async fn apply(args: ApplyArgs, format: OutputFormat) -> Result<(), Failure> {
    let document = EntryDocument::read(&args.file)?;
    let scope = document.scope.as_ref().ok_or_else(|| {
        Failure::failed(format!("the document {} does not say what it speaks for", args.file.display()))
            .because("without a scope nothing tells which entries it is the whole set of")
            .advise("add a line such as `scope: { node: n1 }`; `everything: true` is every entry of the CA")
    })?;
    let message = ApplyEntriesRequest {
        scope: Some(scope.to_wire()),
        entries: document.wanted(),
        prune: args.prune,
        dry_run: args.dry_run,
        expected_version: args.expect.unwrap_or_default(),
    };
    let mut client = ca_admin(&args.admin.socket).await?.max_decoding_message_size(MAX_ANSWER_BYTES);
    let answer = client.apply_entries(request(message)).await;
    let answer = answer.map_err(|status| Failure::from_status("entry apply", &status))?.into_inner();
    told(&answer, now()).print(format)?;
    if args.exit_code && answer.changes.iter().any(|change| change.kind() != Kind::Kept) {
        return Err(Failure::failed("the entries are not as the document says").advise("the same line without `--dry-run`"));
    }
    Ok(())
}

pub(super) async fn export(args: ListEntriesArgs, format: OutputFormat) -> Result<(), Failure> {
    let scope = DocumentScope {
        node: args.node.clone(),
        alias: args.alias.clone(),
        path_prefix: None,
        everything: args.node.is_none() && args.alias.is_none(),
    };
    let own = args.node.clone();
    let entries = super::fetch(args, "entry export").await?;
    // What the node has by an alias is not its document's to say, nor in any document what objects of a cluster ask for.
    let own = entries.iter().filter(|entry| own.as_ref().is_none_or(|node| entry.parent_node == node.as_str()));
    let own = own.filter(|entry| entry.object.is_none());
    let entries = own.map(|entry| DocumentEntry::of(entry, &scope)).collect::<Result<_, _>>()?;
    let document = EntryDocument { scope: Some(scope), entries };
    match format {
        OutputFormat::Table | OutputFormat::Yaml => print_line(document.to_yaml()?.trim_end()),
        OutputFormat::Json => {
            let json = serde_json::to_value(&document);
            print_line(&format!("{:#}", json.map_err(|error| Failure::failed("the entries cannot be written").because(error))?))
        }
    }
}

/// What a document changes, in both forms.
fn told(answer: &ApplyEntriesResponse, now: Timestamp) -> Answer {
    let count = |kind| answer.changes.iter().filter(|change| change.kind() == kind).count();
    let [created, updated, deleted, kept] = [Kind::Created, Kind::Updated, Kind::Deleted, Kind::Kept].map(count);
    let mut text: Vec<_> = answer.changes.iter().map(|change| change_text(change, now)).collect();
    let mut sum = format!("{created} created, {updated} updated, {deleted} deleted, {} unchanged", answer.unchanged);
    if kept > 0 {
        sum.push_str(&format!(", {kept} not in the document and kept (`--prune` deletes them)"));
    }
    if answer.ended > 0 {
        sum.push_str(&format!(", {} not made because their end is over", answer.ended));
    }
    text.push(match answer.applied {
        true => sum,
        false => {
            format!("dry run: {sum}\nto do exactly this: the same line with `--expect {}`, without `--dry-run`", answer.version)
        }
    });
    let json = json!({
        "applied": answer.applied,
        "version": answer.version,
        "created": created,
        "updated": updated,
        "deleted": deleted,
        "kept": kept,
        "unchanged": answer.unchanged,
        "ended": answer.ended,
        "changes": answer.changes.iter().map(|change| change_json(change, now)).collect::<Vec<_>>(),
    });
    Answer::text(text.join("\n"), json)
}

fn change_text(change: &EntryChange, now: Timestamp) -> String {
    let absent = Entry::default();
    let (before, after) = (change.before.as_ref().unwrap_or(&absent), change.after.as_ref().unwrap_or(&absent));
    let head = |mark: char, entry: &Entry| {
        let id = if entry.id.is_empty() { String::new() } else { format!(" (entry {})", entry.id) };
        printable(&format!("{mark} {} on {}{id}", entry.spiffe_id, parent_text(entry)))
    };
    match change.kind() {
        Kind::Created => {
            let said = fields(after, now).into_iter().filter(|(_, value)| value != "-" && value != "default" && value != "never");
            let said = said.map(|(name, value)| format!("\n    {name}: {}", printable(&value)));
            format!("{}{}", head('+', after), said.collect::<String>())
        }
        Kind::Updated => {
            let differing = fields(before, now).into_iter().zip(fields(after, now)).filter(|(before, after)| before != after);
            let told = differing
                .map(|((name, before), (_, after))| format!("\n    {name}: {} -> {}", printable(&before), printable(&after)));
            format!("{}{}", head('~', before), told.collect::<String>())
        }
        Kind::Deleted => format!("{}\n    {}", head('-', before), outstanding_text(change.outstanding.as_ref())),
        Kind::Kept => format!("{}\n    not in the document, kept", head('=', before)),
        Kind::Unspecified => "? a change that this version of signet does not know".to_owned(),
    }
}

/// What can differ between two states of one entry.
fn fields(entry: &Entry, now: Timestamp) -> [(&'static str, String); 5] {
    [
        ("selectors", or_dash(&entry.selectors.join(", "))),
        ("ttl", ttl_text(entry.ttl_seconds)),
        ("dns names", or_dash(&entry.dns_names.join(", "))),
        ("hint", or_dash(&entry.hint)),
        ("ends", end_text(entry, now)),
    ]
}

fn change_json(change: &EntryChange, now: Timestamp) -> Value {
    let kind = match change.kind() {
        Kind::Created => "created",
        Kind::Updated => "updated",
        Kind::Deleted => "deleted",
        Kind::Kept => "kept",
        Kind::Unspecified => "unknown",
    };
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let [before, after] = [before, after].map(|entry| entry.map(|entry| entry_json(entry, now)));
    let fields: Vec<_> = match (&before, &after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => before
            .iter()
            .filter(|(key, value)| *key != "revision" && after.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect(),
        _ => Vec::new(),
    };
    let (certificates, until) = outstanding_json(change.outstanding.as_ref());
    json!({
        "change": kind,
        "fields": fields,
        "before": before,
        "after": after,
        "certificates_valid": certificates,
        "certificates_valid_until": until,
    })
}

#[cfg(test)]
mod tests {
    use proto::v1::OutstandingCertificates;

    use super::*;

    fn entry(ttl_seconds: u32, selectors: &[&str]) -> Entry {
        Entry {
            id: "e1".to_owned(),
            spiffe_id: "spiffe://t/web".to_owned(),
            parent_node: "n1".to_owned(),
            selectors: selectors.iter().map(|&text| text.to_owned()).collect(),
            ttl_seconds,
            ..Entry::default()
        }
    }

    #[test]
    fn each_change_is_told_field_by_field_and_summed_up() {
        let change = |kind: Kind, before, after| EntryChange { kind: kind.into(), before, after, outstanding: None };
        let until = Some(prost_types::Timestamp { seconds: 1_795_172_400, nanos: 0 });
        let answer = ApplyEntriesResponse {
            changes: vec![
                EntryChange {
                    outstanding: Some(OutstandingCertificates { count: 2, until }),
                    ..change(Kind::Deleted, Some(entry(0, &["unix:uid:1"])), None)
                },
                change(Kind::Updated, Some(entry(0, &["unix:uid:1"])), Some(entry(60, &["unix:uid:2"]))),
                change(Kind::Created, None, Some(Entry { id: String::new(), ..entry(0, &["unix:uid:3"]) })),
                change(Kind::Kept, Some(entry(0, &["unix:uid:4"])), None),
            ],
            version: "v".to_owned(),
            applied: false,
            unchanged: 5,
            ended: 1,
        };
        let told = told(&answer, Timestamp::from_unix_seconds(0));
        for part in [
            "- spiffe://t/web on node n1 (entry e1)\n    2 certificates issued for it are valid, the last until 2026-11-20T11:00:00Z",
            "    selectors: unix:uid:1 -> unix:uid:2\n    ttl: default -> 1m",
            "+ spiffe://t/web on node n1\n    selectors: unix:uid:3\n=",
            "1 created, 1 updated, 1 deleted, 5 unchanged, 1 not in the document and kept",
            "--expect v",
        ] {
            assert!(told.as_text().contains(part), "{part} is missing in:\n{}", told.as_text());
        }
        let json = told.as_json();
        assert_eq!(json["changes"][1]["fields"], json!(["selectors", "ttl_seconds"]));
        assert_eq!(json["changes"][0]["certificates_valid_until"], "2026-11-20T11:00:00Z");
        assert_eq!((&json["applied"], &json["kept"]), (&json!(false), &json!(1)));
    }
}
