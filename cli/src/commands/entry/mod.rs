//! `entry ...`.

mod apply;
mod explain;
mod view;

use std::path::Path;
use std::time::SystemTime;

use proto::v1::{
    CreateEntryRequest, DeleteEntryRequest, Entry, GetEntryRequest, ListEntriesRequest, ListNodeAliasesRequest, ListNodesRequest,
    TextList, UpdateEntryRequest,
};
use serde_json::{Value, json};

use self::view::{COLUMNS, entry_json, now, one, outstanding_json, outstanding_text, row};
use crate::admin_client::{ca_admin, request};
use crate::args::{
    CreateEntryArgs, DeleteEntryArgs, End, EndChange, EntryIdArgs, EntryVerb, ListEntriesArgs, TtlChange, UpdateEntryArgs,
};
use crate::failure::Failure;
use crate::output::{Answer, printable};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: EntryVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        EntryVerb::Create(args) => create(args).await?.print(format),
        EntryVerb::List(args) => list(args).await?.print(format),
        EntryVerb::Show(args) => show(args).await?.print(format),
        EntryVerb::Update(args) => update(args).await?.print(format),
        EntryVerb::Delete(args) => delete(args).await?.print(format),
        EntryVerb::Apply(args) => apply::apply(args, format).await,
        EntryVerb::Export(args) => apply::export(args, format).await,
        EntryVerb::Explain(args) => explain::explain(args).await?.print(format),
    }
}

async fn create(args: CreateEntryArgs) -> Result<Answer, Failure> {
    let message = CreateEntryRequest {
        spiffe_id: args.spiffe_id.to_string(),
        selectors: args.selectors.iter().map(ToString::to_string).collect(),
        parent_node: args.node.map(|node| node.to_string()).unwrap_or_default(),
        ttl_seconds: args.ttl.map_or(0, seconds),
        dns_names: args.dns_names.iter().map(|name| name.as_str().to_owned()).collect(),
        hint: args.hint,
        expires_at: args.expires.map(time_of),
        parent_alias: args.alias.map(|alias| alias.to_string()).unwrap_or_default(),
        federates_with: args.federates_with.iter().map(ToString::to_string).collect(),
    };
    let answer = ca_admin(&args.admin.socket).await?.create_entry(request(message)).await;
    let entry = answer.map_err(|status| Failure::from_status("entry create", &status))?.into_inner();
    let note = nobody_yet(&entry, &args.admin.socket).await;
    let below = note.as_ref().map(|note| format!("hint: {note}")).unwrap_or_default();
    let mut json = entry_json(&entry, now());
    if let (Value::Object(json), Some(note)) = (&mut json, note) {
        json.insert("note".to_owned(), Value::String(note));
    }
    Ok(Answer::text(one(&entry, now()).as_text(), json).with_text(&below))
}

/// Why nobody will get a new entry's identity for now; `None` also when that cannot be told.
async fn nobody_yet(entry: &Entry, socket: &Path) -> Option<String> {
    let mut client = ca_admin(socket).await.ok()?;
    if entry.parent_alias.is_empty() {
        let nodes = client.list_nodes(request(ListNodesRequest {})).await.ok()?.into_inner().nodes;
        let node = printable(&entry.parent_node);
        let known = nodes.iter().any(|known| known.node == entry.parent_node);
        return (!known).then(|| format!("no node {node} has joined yet; `signet token create --node {node}` lets it"));
    }
    let aliases = client.list_node_aliases(request(ListNodeAliasesRequest {})).await.ok()?.into_inner().aliases;
    let alias = printable(&entry.parent_alias);
    let empty = aliases.iter().any(|known| known.name == entry.parent_alias && known.nodes.is_empty());
    empty.then(|| format!("node alias {alias} has no members yet; `signet node alias add {alias} --node NAME` adds one"))
}

async fn update(args: UpdateEntryArgs) -> Result<Answer, Failure> {
    let list = |texts: Vec<String>| Some(TextList { texts }).filter(|list| !list.texts.is_empty());
    let (expires_at, never_expires) = match args.expires {
        Some(EndChange::To(end)) => (Some(time_of(end)), false),
        Some(EndChange::Never) => (None, true),
        None => (None, false),
    };
    let message = UpdateEntryRequest {
        id: args.id,
        expected_revision: args.revision.unwrap_or_default(),
        selectors: list(args.selectors.iter().map(ToString::to_string).collect()),
        ttl_seconds: args.ttl.map(|ttl| match ttl {
            TtlChange::To(ttl) => seconds(ttl),
            TtlChange::Default => 0,
        }),
        dns_names: match args.no_dns {
            true => Some(TextList::default()),
            false => list(args.dns_names.iter().map(ToString::to_string).collect()),
        },
        hint: args.hint,
        expires_at,
        never_expires,
        federates_with: match args.no_federation {
            true => Some(TextList::default()),
            false => list(args.federates_with.iter().map(ToString::to_string).collect()),
        },
    };
    let answer = ca_admin(&args.admin.socket).await?.update_entry(request(message)).await;
    answer.map(|entry| one(entry.get_ref(), now())).map_err(|status| Failure::from_status("entry update", &status))
}

async fn list(args: ListEntriesArgs) -> Result<Answer, Failure> {
    let entries = fetch(args, "entry list").await?;
    let now = now();
    let rows = entries.iter().map(|entry| row(entry, now)).collect();
    let json = entries.iter().map(|entry| entry_json(entry, now)).collect();
    Ok(Answer::table(&COLUMNS, rows, "no entries", json))
}

async fn fetch(args: ListEntriesArgs, doing: &str) -> Result<Vec<Entry>, Failure> {
    let message = ListEntriesRequest {
        parent_node: args.node.map(|node| node.to_string()).unwrap_or_default(),
        parent_alias: args.alias.map(|alias| alias.to_string()).unwrap_or_default(),
    };
    let refused = |status| Failure::from_status(doing, &status);
    let mut pages = ca_admin(&args.admin.socket).await?.list_entries(request(message)).await.map_err(refused)?.into_inner();
    let mut entries = Vec::new();
    while let Some(page) = pages.message().await.map_err(refused)? {
        entries.extend(page.entries);
    }
    Ok(entries)
}

async fn show(args: EntryIdArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.admin.socket).await?.get_entry(request(GetEntryRequest { id: args.id })).await;
    answer.map(|entry| one(entry.get_ref(), now())).map_err(|status| Failure::from_status("entry show", &status))
}

async fn delete(args: DeleteEntryArgs) -> Result<Answer, Failure> {
    let reason = super::revocation::reason_number(args.reason);
    let message = DeleteEntryRequest { id: args.id.clone(), revoke: args.revoke, reason };
    let answer = ca_admin(&args.admin.socket).await?.delete_entry(request(message)).await;
    let answer = answer.map_err(|status| Failure::from_status("entry delete", &status))?.into_inner();
    let (certificates, until) = outstanding_json(answer.outstanding.as_ref());
    let json = json!({
        "deleted": args.id,
        "entry": answer.entry.as_ref().map(|entry| entry_json(entry, now())),
        "certificates_valid": certificates,
        "certificates_valid_until": until,
        "certificates_revoked": answer.revoked,
    });
    let spiffe_id = answer.entry.as_ref().map(|entry| format!(" ({})", printable(&entry.spiffe_id))).unwrap_or_default();
    let revoked =
        if args.revoke { format!("\n{} certificates issued for it are revoked", answer.revoked) } else { String::new() };
    let outstanding = outstanding_text(answer.outstanding.as_ref());
    let text = format!("entry {}{spiffe_id} deleted{revoked}\n{outstanding}", args.id);
    Ok(Answer::text(text, json))
}

fn time_of(end: End) -> prost_types::Timestamp {
    let end = match end {
        End::At(time) => time,
        End::In(span) => now().plus(span),
    };
    SystemTime::from(end).into()
}

fn seconds(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_secs()).expect("the argument's parser bounds it")
}
