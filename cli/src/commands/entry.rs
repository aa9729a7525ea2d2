//! `entry ...`.

use proto::v1::{
    CreateEntryRequest, DeleteEntryRequest, Entry, ExplainRequest, ExplainResponse, GetEntryRequest, ListEntriesRequest,
};
use serde_json::{Value, json};

use crate::admin_client::{agent_admin, ca_admin, request};
use crate::args::{CreateEntryArgs, EntryIdArgs, EntryVerb, ExplainArgs, ListEntriesArgs};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, or_dash, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: EntryVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        EntryVerb::Create(args) => create(args).await,
        EntryVerb::List(args) => list(args).await,
        EntryVerb::Show(args) => show(args).await,
        EntryVerb::Delete(args) => delete(args).await,
        EntryVerb::Explain(args) => explain(&args).await,
    }?
    .print(format)
}

async fn create(args: CreateEntryArgs) -> Result<Answer, Failure> {
    let message = CreateEntryRequest {
        spiffe_id: args.spiffe_id.to_string(),
        selectors: args.selectors.iter().map(ToString::to_string).collect(),
        parent_node: args.node.to_string(),
        ttl_seconds: args.ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).expect("the argument's parser bounds it")),
        dns_names: args.dns_names.iter().map(|name| name.as_str().to_owned()).collect(),
    };
    let answer = ca_admin(&args.admin.socket).await?.create_entry(request(message)).await;
    answer.map(|entry| one(entry.get_ref())).map_err(|status| Failure::from_status("entry create", &status))
}

async fn list(args: ListEntriesArgs) -> Result<Answer, Failure> {
    let message = ListEntriesRequest { parent_node: args.node.map(|node| node.to_string()).unwrap_or_default() };
    let answer = ca_admin(&args.admin.socket).await?.list_entries(request(message)).await;
    let entries = answer.map_err(|status| Failure::from_status("entry list", &status))?.into_inner().entries;
    let rows = entries.iter().map(row).collect();
    let json = entries.iter().map(entry_json).collect();
    Ok(Answer::table(&["id", "spiffe id", "node", "ttl", "selectors"], rows, "no entries", json))
}

async fn show(args: EntryIdArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.admin.socket).await?.get_entry(request(GetEntryRequest { id: args.id })).await;
    answer.map(|entry| one(entry.get_ref())).map_err(|status| Failure::from_status("entry show", &status))
}

async fn delete(args: EntryIdArgs) -> Result<Answer, Failure> {
    let message = DeleteEntryRequest { id: args.id.clone() };
    let answer = ca_admin(&args.admin.socket).await?.delete_entry(request(message)).await;
    answer.map_err(|status| Failure::from_status("entry delete", &status))?;
    Ok(Answer::text(format!("entry {} deleted", args.id), json!({ "deleted": args.id })))
}

async fn explain(args: &ExplainArgs) -> Result<Answer, Failure> {
    let answer = agent_admin(&args.admin.socket).await?.explain(request(ExplainRequest { pid: args.pid })).await;
    answer
        .map(|explanation| explained(args.pid, explanation.get_ref()))
        .map_err(|status| Failure::from_status("entry explain", &status))
}

/// What the agent said about a process, in both forms.
fn explained(pid: i32, explanation: &ExplainResponse) -> Answer {
    let mut lines = vec![format!("process {pid} has these selectors:")];
    lines.extend(explanation.selectors.iter().map(|selector| format!("  {}", printable(selector))));
    if explanation.selectors.is_empty() {
        lines.push("  none".to_owned());
    }
    if !explanation.unreadable.is_empty() {
        lines.push("and these could not be read:".to_owned());
        let unreadable = explanation.unreadable.iter();
        lines.extend(unreadable.map(|lost| format!("  {}: {}", printable(&lost.kind), printable(&lost.why))));
    }
    lines.push(verdict(explanation));
    Answer::text(lines.join("\n"), explanation_json(pid, explanation))
}

fn verdict(explanation: &ExplainResponse) -> String {
    if !explanation.matched.is_empty() {
        let ids = explanation.matched.iter().map(|entry| format!("  {} (entry {})", printable(&entry.spiffe_id), entry.id));
        return std::iter::once("it may hold:".to_owned()).chain(ids).collect::<Vec<_>>().join("\n");
    }
    let Some(miss) = &explanation.nearest_miss else {
        return match explanation.entries {
            0 => "it gets nothing: this node has no entries (`signet entry create` makes one)".to_owned(),
            count => format!("it gets nothing: none of the {count} entries of this node comes near"),
        };
    };
    let (id, spiffe_id) = miss.entry.as_ref().map_or(("?", "?"), |entry| (&entry.id, &entry.spiffe_id));
    let missing = miss.missing.iter().map(|selector| format!("\n  {}", printable(selector))).collect::<String>();
    format!(
        "it gets nothing: none of the {} entries of this node matches\nnearest is {} (entry {id}); the process lacks:{missing}",
        explanation.entries,
        printable(spiffe_id),
    )
}

fn explanation_json(pid: i32, explanation: &ExplainResponse) -> Value {
    let unreadable: Vec<_> = explanation.unreadable.iter().map(|lost| json!({ "kind": lost.kind, "why": lost.why })).collect();
    let miss = explanation
        .nearest_miss
        .as_ref()
        .map(|miss| json!({ "entry": miss.entry.as_ref().map(entry_json), "missing": miss.missing }));
    json!({
        "pid": pid,
        "selectors": explanation.selectors,
        "unreadable": unreadable,
        "matched": explanation.matched.iter().map(entry_json).collect::<Vec<_>>(),
        "nearest_miss": miss,
        "entries": explanation.entries,
    })
}

fn one(entry: &Entry) -> Answer {
    let facts = [
        ("id", entry.id.clone()),
        ("spiffe id", entry.spiffe_id.clone()),
        ("node", entry.parent_node.clone()),
        ("selectors", entry.selectors.join("\n")),
        ("ttl", ttl_text(entry.ttl_seconds)),
        ("dns names", or_dash(&entry.dns_names.join("\n"))),
        ("created", time_text(entry.created_at.as_ref())),
    ];
    Answer::text(facts_text(facts), entry_json(entry))
}

fn row(entry: &Entry) -> Vec<String> {
    let selectors = entry.selectors.join("\n");
    vec![entry.id.clone(), entry.spiffe_id.clone(), entry.parent_node.clone(), ttl_text(entry.ttl_seconds), selectors]
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "spiffe_id": entry.spiffe_id,
        "selectors": entry.selectors,
        "node": entry.parent_node,
        "ttl_seconds": (entry.ttl_seconds != 0).then_some(entry.ttl_seconds),
        "dns_names": entry.dns_names,
        "created_at": time_json(entry.created_at.as_ref()),
    })
}

fn ttl_text(seconds: u32) -> String {
    match seconds {
        0 => "default".to_owned(),
        seconds => humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{NearestMiss, UnreadableSelector};

    use super::*;

    #[test]
    fn a_denial_names_selectors_nearest_entry_and_what_is_missing() {
        let near = Entry { id: "e1".into(), spiffe_id: "spiffe://t/web".into(), ..Entry::default() };
        let explanation = ExplainResponse {
            selectors: vec!["unix:uid:1000".into()],
            unreadable: vec![UnreadableSelector { kind: "unix:path".into(), why: "permission denied".into() }],
            matched: Vec::new(),
            nearest_miss: Some(NearestMiss { entry: Some(near), missing: vec!["unix:path:/usr/bin/web".into()] }),
            entries: 2,
        };
        let answer = explained(7, &explanation);
        let parts = ["unix:uid:1000", "unix:path: permission denied", "gets nothing", "spiffe://t/web", "unix:path:/usr/bin/web"];
        for part in parts {
            assert!(answer.as_text().contains(part), "{part} is missing in:\n{}", answer.as_text());
        }
        assert_eq!(answer.as_json().pointer("/nearest_miss/missing/0").unwrap(), "unix:path:/usr/bin/web");
    }

    #[test]
    fn a_match_names_the_identity() {
        let matched = vec![Entry { id: "e1".into(), spiffe_id: "spiffe://t/web".into(), ..Entry::default() }];
        let answer = explained(7, &ExplainResponse { matched, entries: 1, ..ExplainResponse::default() });
        assert!(answer.as_text().contains("it may hold:\n  spiffe://t/web (entry e1)"), "{}", answer.as_text());
    }
}
