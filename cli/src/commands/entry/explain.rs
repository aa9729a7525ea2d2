//! `entry explain`.

use pki::Timestamp;
use proto::v1::{Entry, ExplainRequest, ExplainResponse, NearestMiss, Outlook, SelectorEdit, WantedEntry};
use serde_json::{Value, json};

use super::view::{entry_json, now, time_of_end};
use crate::admin_client::{agent_admin, request};
use crate::args::ExplainArgs;
use crate::entry_document::EntryDocument;
use crate::failure::Failure;
use crate::output::{Answer, printable};

/// Whom the question is about.
enum Subject {
    Process(i32),
    Described,
}

pub(super) async fn explain(args: ExplainArgs) -> Result<Answer, Failure> {
    let edited = match &args.with_entry {
        Some(path) => EntryDocument::read(path)?.wanted().into_iter().map(as_entry).collect(),
        None => Vec::new(),
    };
    let added = args.add_selector.iter().map(|(entry, selector)| edit(entry, Some(selector), None));
    let removed = args.remove_selector.iter().map(|(entry, selector)| edit(entry, None, Some(selector)));
    let message = ExplainRequest {
        pid: args.pid.unwrap_or_default(),
        selectors: args.selectors.iter().map(ToString::to_string).collect(),
        edited,
        // Additions first: an entry must not be without a selector in between.
        selector_edits: added.chain(removed).collect(),
    };
    let subject = args.pid.map_or(Subject::Described, Subject::Process);
    let answer = agent_admin(&args.admin.socket).await?.explain(request(message)).await;
    answer
        .map(|explanation| explained(&subject, &explanation.into_inner(), now()))
        .map_err(|status| Failure::from_status("entry explain", &status))
}

fn edit(entry: &str, add: Option<&identity::Selector>, remove: Option<&identity::Selector>) -> SelectorEdit {
    let texts = |selector: Option<&identity::Selector>| selector.map(ToString::to_string).into_iter().collect();
    SelectorEdit { entry_id: entry.to_owned(), add: texts(add), remove: texts(remove) }
}

fn as_entry(WantedEntry { id, entry }: WantedEntry) -> Entry {
    let entry = entry.unwrap_or_default();
    Entry {
        id,
        spiffe_id: entry.spiffe_id,
        selectors: entry.selectors,
        parent_node: entry.parent_node,
        parent_alias: entry.parent_alias,
        ttl_seconds: entry.ttl_seconds,
        dns_names: entry.dns_names,
        hint: entry.hint,
        expires_at: entry.expires_at,
        created_at: None,
        revision: 0,
        revoked: false,
        federates_with: entry.federates_with,
        object: None,
    }
}

/// What the agent said, in both forms.
fn explained(subject: &Subject, explanation: &ExplainResponse, now: Timestamp) -> Answer {
    let mut lines = vec![match subject {
        Subject::Process(pid) => format!("process {pid} has these selectors:"),
        Subject::Described => "a process with these selectors:".to_owned(),
    }];
    lines.extend(explanation.selectors.iter().map(|selector| format!("  {}", printable(selector))));
    if explanation.selectors.is_empty() {
        lines.push("  none".to_owned());
    }
    if !explanation.unreadable.is_empty() {
        lines.push("and these could not be read:".to_owned());
        let unreadable = explanation.unreadable.iter();
        lines.extend(unreadable.map(|lost| format!("  {}: {}", printable(&lost.kind), printable(&lost.why))));
    }
    let before = Outlook {
        matched: explanation.matched.clone(),
        nearest_miss: explanation.nearest_miss.clone(),
        entries: explanation.entries,
        ended: explanation.ended.clone(),
    };
    lines.push(verdict(&before));
    if let Some(after) = &explanation.after {
        lines.push("with the edits:".to_owned());
        lines.push(format!("  {}", verdict(after).replace('\n', "\n  ")));
        lines.push(difference(&before, after));
    }
    lines.extend(explanation.notes.iter().map(|note| format!("note: {}", printable(note))));
    Answer::text(lines.join("\n"), explanation_json(subject, explanation, now))
}

fn verdict(outlook: &Outlook) -> String {
    let mut lines = Vec::new();
    if !outlook.matched.is_empty() {
        lines.push("it may hold:".to_owned());
        lines.extend(outlook.matched.iter().map(|entry| format!("  {}", named(entry))));
    } else if let Some(NearestMiss { entry, missing }) = &outlook.nearest_miss {
        lines.push(format!("it gets nothing: none of the {} entries of this node matches", outlook.entries));
        lines.push(format!("nearest is {}; the process lacks:", entry.as_ref().map_or("?".to_owned(), named)));
        lines.extend(missing.iter().map(|selector| format!("  {}", printable(selector))));
    } else if outlook.entries == 0 {
        lines.push("it gets nothing: this node has no entries in force (`signet entry create` makes one)".to_owned());
    } else {
        lines.push(format!("it gets nothing: none of the {} entries of this node comes near", outlook.entries));
    }
    if !outlook.ended.is_empty() {
        lines.push("these would match and have ended:".to_owned());
        let ended = outlook.ended.iter();
        lines.extend(ended.map(|entry| format!("  {}, ended {}", named(entry), time_of_end(entry))));
    }
    lines.join("\n")
}

/// What of the identities comes and goes; an entry that stays under its id is told as neither.
fn difference(before: &Outlook, after: &Outlook) -> String {
    let lacks =
        |list: &[Entry], entry: &Entry| !list.iter().any(|other| other.id == entry.id && other.spiffe_id == entry.spiffe_id);
    let gained = after.matched.iter().filter(|entry| lacks(&before.matched, entry)).map(|entry| format!("  + {}", named(entry)));
    let lost = before.matched.iter().filter(|entry| lacks(&after.matched, entry)).map(|entry| format!("  - {}", named(entry)));
    let lines: Vec<_> = gained.chain(lost).collect();
    if lines.is_empty() { "nothing changes for it".to_owned() } else { format!("that changes:\n{}", lines.join("\n")) }
}

fn named(entry: &Entry) -> String {
    let hint = if entry.hint.is_empty() { String::new() } else { format!(", hint {:?}", entry.hint) };
    let revoked = if entry.revoked { ", revoked: it is given nothing until it is restored" } else { "" };
    printable(&format!("{} (entry {}{hint}{revoked})", entry.spiffe_id, entry.id))
}

fn explanation_json(subject: &Subject, explanation: &ExplainResponse, now: Timestamp) -> Value {
    let unreadable: Vec<_> = explanation.unreadable.iter().map(|lost| json!({ "kind": lost.kind, "why": lost.why })).collect();
    let entries = |list: &[Entry]| list.iter().map(|entry| entry_json(entry, now)).collect::<Vec<_>>();
    let miss = |miss: &Option<NearestMiss>| {
        miss.as_ref()
            .map(|miss| json!({ "entry": miss.entry.as_ref().map(|entry| entry_json(entry, now)), "missing": miss.missing }))
    };
    let after = explanation.after.as_ref().map(|after| {
        json!({
            "matched": entries(&after.matched),
            "ended": entries(&after.ended),
            "nearest_miss": miss(&after.nearest_miss),
            "entries": after.entries,
        })
    });
    json!({
        "pid": match subject {
            Subject::Process(pid) => Some(pid),
            Subject::Described => None,
        },
        "selectors": explanation.selectors,
        "unreadable": unreadable,
        "matched": entries(&explanation.matched),
        "ended": entries(&explanation.ended),
        "nearest_miss": miss(&explanation.nearest_miss),
        "entries": explanation.entries,
        "after": after,
        "notes": explanation.notes,
    })
}

#[cfg(test)]
mod tests {
    use proto::v1::UnreadableSelector;

    use super::*;

    fn at_zero() -> Timestamp {
        Timestamp::from_unix_seconds(0)
    }

    #[test]
    fn a_denial_names_selectors_nearest_entry_and_what_is_missing() {
        let near = Entry { id: "e1".into(), spiffe_id: "spiffe://t/web".into(), ..Entry::default() };
        let explanation = ExplainResponse {
            selectors: vec!["unix:uid:1000".into()],
            unreadable: vec![UnreadableSelector { kind: "unix:path".into(), why: "permission denied".into() }],
            matched: Vec::new(),
            nearest_miss: Some(NearestMiss { entry: Some(near), missing: vec!["unix:path:/usr/bin/web".into()] }),
            entries: 2,
            ..ExplainResponse::default()
        };
        let answer = explained(&Subject::Process(7), &explanation, at_zero());
        let parts = ["unix:uid:1000", "unix:path: permission denied", "gets nothing", "spiffe://t/web", "unix:path:/usr/bin/web"];
        for part in parts {
            assert!(answer.as_text().contains(part), "{part} is missing in:\n{}", answer.as_text());
        }
        assert_eq!(answer.as_json().pointer("/nearest_miss/missing/0").unwrap(), "unix:path:/usr/bin/web");
    }

    #[test]
    fn a_match_names_the_identity() {
        let matched = vec![Entry { id: "e1".into(), spiffe_id: "spiffe://t/web".into(), ..Entry::default() }];
        let explanation = ExplainResponse { matched, entries: 1, ..ExplainResponse::default() };
        let answer = explained(&Subject::Process(7), &explanation, at_zero());
        assert!(answer.as_text().contains("it may hold:\n  spiffe://t/web (entry e1)"), "{}", answer.as_text());
        let matched = vec![Entry { revoked: true, ..explanation.matched[0].clone() }];
        let answer = explained(&Subject::Process(7), &ExplainResponse { matched, ..explanation }, at_zero());
        assert!(answer.as_text().contains("spiffe://t/web (entry e1, revoked: it is given nothing"), "{}", answer.as_text());
    }

    #[test]
    fn edits_are_told_as_what_comes_and_what_goes() {
        let entry = |id: &str| Entry { id: id.into(), spiffe_id: format!("spiffe://t/{id}"), ..Entry::default() };
        let mut explanation = ExplainResponse {
            matched: vec![entry("stays"), entry("goes")],
            ended: vec![Entry { expires_at: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }), ..entry("over") }],
            after: Some(Outlook { matched: vec![entry("stays"), entry("comes")], ..Outlook::default() }),
            entries: 2,
            notes: vec!["mind the gap".into()],
            ..ExplainResponse::default()
        };
        let answer = explained(&Subject::Described, &explanation, at_zero());
        let change = "that changes:\n  + spiffe://t/comes (entry comes)\n  - spiffe://t/goes (entry goes)";
        for part in [change, "a process with these", "spiffe://t/over (entry over), ended 1970-01-01T00:00:09Z", "note: mind"] {
            assert!(answer.as_text().contains(part), "{part} is missing in:\n{}", answer.as_text());
        }
        assert_eq!(answer.as_json().pointer("/after/matched/1/id").unwrap(), "comes");
        assert_eq!(answer.as_json()["pid"], Value::Null);
        explanation.after = Some(Outlook { matched: explanation.matched.clone(), ..Outlook::default() });
        let same = explained(&Subject::Described, &explanation, at_zero());
        assert!(same.as_text().contains("nothing changes for it"), "{}", same.as_text());
    }
}
