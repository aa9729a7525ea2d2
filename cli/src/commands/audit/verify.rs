//! `audit verify`: by the running CA, or from its file without it.

use std::path::Path;
use std::time::Duration;

use ca::audit::ShownCheckpoint;
use ca::store::StoreFile;
use data_encoding::HEXLOWER;
use pki::checkpoint::SignedCheckpoint;
use proto::v1;
use runtime::private_files::read_bounded;
use serde_json::{Value, json};

use crate::admin_client::ca_admin;
use crate::args::VerifyAuditArgs;
use crate::checkpoint_wire;
use crate::failure::Failure;
use crate::output::{Answer, over_passing, print_passing, printable, time_json, time_text};
use crate::output_format::OutputFormat;

/// More than the checkpoints of any fleet, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// How long the walk may take: a log of ten million events on a slow disk.
const WALK_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Findings that are told to a person.
const TOLD: usize = 10;

pub(super) async fn run(args: &VerifyAuditArgs, format: OutputFormat) -> Result<(), Failure> {
    let shown = args.checkpoints.iter().map(|path| read_checkpoints(path.as_path())).collect::<Result<Vec<_>, _>>()?;
    let shown: Vec<_> = shown.into_iter().flatten().collect();
    let progress = |events: u64, of: u64| {
        if format == OutputFormat::Table && of > 0 {
            print_passing(&format!("{}walked {events} of {of} events", over_passing()));
        }
    };
    let count = shown.len();
    let verdict = match &args.source.store {
        Some(file) => offline(file, shown, args, progress).await?,
        None => online(shown, args, progress).await?,
    };
    if format == OutputFormat::Table {
        print_passing(over_passing());
    }
    tell(&verdict, count, args, format)
}

async fn online(
    shown: Vec<ShownCheckpoint>,
    args: &VerifyAuditArgs,
    progress: impl Fn(u64, u64),
) -> Result<v1::AuditVerdict, Failure> {
    let shown = shown.into_iter().map(|ShownCheckpoint { source, checkpoint }| v1::ShownCheckpoint {
        source,
        checkpoint: Some(checkpoint_wire::message(&checkpoint)),
    });
    let message = v1::VerifyAuditRequest { shown: shown.collect(), keys: args.keys.iter().map(|key| key.to_vec()).collect() };
    let mut request = tonic::Request::new(message);
    request.set_timeout(WALK_DEADLINE);
    let failed = |status| Failure::from_status("audit verify", &status);
    let mut answers = ca_admin(&args.source.admin.socket).await?.verify_audit(request).await.map_err(failed)?.into_inner();
    let mut verdict = None;
    while let Some(v1::VerifyAuditResponse { events, of, verdict: found }) = answers.message().await.map_err(failed)? {
        progress(events, of);
        verdict = found.or(verdict);
    }
    verdict.ok_or_else(|| Failure::failed("audit verify: the CA ended the walk without a verdict").advise("look at the CA's log"))
}

async fn offline(
    file: &Path,
    shown: Vec<ShownCheckpoint>,
    args: &VerifyAuditArgs,
    progress: impl Fn(u64, u64) + Send,
) -> Result<v1::AuditVerdict, Failure> {
    let unread = |error: &dyn std::fmt::Display| Failure::failed("the log cannot be read").because(error);
    let store = StoreFile::open(file).map_err(|error| {
        unread(&error)
            .advise("name the CA's store.db, or a copy of it that has its store.db-wal beside it when the CA was running")
    })?;
    let verdict = ca::verify_audit(&store, shown, args.keys.clone(), progress).await.map_err(|error| unread(&error))?;
    Ok(verdict.into())
}

/// One checkpoint, or a list of them.
///
/// # Errors
/// [`Failure`] of a file that holds anything else.
pub(in crate::commands) fn read_checkpoints(path: &Path) -> Result<Vec<ShownCheckpoint>, Failure> {
    let refused = |why: String| {
        Failure::failed(format!("{} holds no checkpoint of an audit chain", path.display()))
            .because(why)
            .advise("write one with `signet agent checkpoint -o json` on a node, or take audit-checkpoint.json of the agent's state directory")
    };
    let bytes = read_bounded(path, MAX_FILE_BYTES).map_err(|error| refused(error.to_string()))?;
    let source = path.display().to_string();
    let documents = match serde_json::from_slice(&bytes) {
        Ok(Value::Array(list)) => list.iter().map(|document| document.to_string().into_bytes()).collect(),
        // What is no list is read strictly, as it is.
        Ok(_) | Err(_) => vec![bytes],
    };
    if documents.is_empty() {
        return Err(refused("the list is empty".to_owned()));
    }
    let read = |document: Vec<u8>| {
        let checkpoint = SignedCheckpoint::from_json(&document).map_err(|error| refused(error.to_string()))?;
        Ok(ShownCheckpoint { source: source.clone(), checkpoint })
    };
    documents.into_iter().map(read).collect()
}

fn tell(verdict: &v1::AuditVerdict, shown: usize, args: &VerifyAuditArgs, format: OutputFormat) -> Result<(), Failure> {
    let answer = Answer::text(text(verdict, shown, args), document(verdict, shown));
    let Some(first) = verdict.findings.first() else { return answer.print(format) };
    if format != OutputFormat::Table {
        answer.print(format)?;
    }
    let mut why: Vec<_> = verdict.findings.iter().take(TOLD).map(|finding| printable(&finding.text)).collect();
    let untold = verdict.findings_total.saturating_sub(u64::try_from(why.len()).unwrap_or(u64::MAX));
    if untold > 0 {
        why.push(format!("and {untold} more (`-o json` has the first 100)"));
    }
    Err(Failure::failed(format!("the audit chain is broken at event {}", first.sequence))
        .because(why.join("\n"))
        .advise(printable(&first.advice)))
}

fn text(verdict: &v1::AuditVerdict, shown: usize, args: &VerifyAuditArgs) -> String {
    let mut text = format!("the chain holds: {} events, head {}", verdict.events, HEXLOWER.encode(&verdict.head));
    let mut say = |line: &str| {
        text.push('\n');
        text.push_str(line);
    };
    match verdict.checkpoints {
        0 => say("the store has no checkpoint yet"),
        count => say(&format!(
            "{count} checkpoints of the store agree; events up to {} are covered by that of {}",
            verdict.covered_until,
            time_text(verdict.covered_at.as_ref())
        )),
    }
    for key in &verdict.keys {
        say(&format!(
            "they are under the key {}{}",
            HEXLOWER.encode(key),
            if args.keys.is_empty() { " (any key was taken: name it by --key)" } else { "" }
        ));
    }
    match shown {
        0 => say(
            "no checkpoint kept elsewhere was held against it: who has the CA's host can rebuild all that lies there (--checkpoint)",
        ),
        count => say(&format!("{count} checkpoints kept elsewhere agree")),
    }
    text
}

fn document(verdict: &v1::AuditVerdict, shown: usize) -> Value {
    let first = verdict.findings.first();
    let findings: Vec<_> = verdict
        .findings
        .iter()
        .map(|finding| json!({ "kind": finding.kind, "sequence": finding.sequence, "text": finding.text, "try": finding.advice }))
        .collect();
    json!({
        "holds": first.is_none(),
        "events": verdict.events,
        "head": HEXLOWER.encode(&verdict.head),
        "broken_at": first.map(|finding| finding.sequence),
        "fault": first.map(|finding| &finding.text),
        "findings": findings,
        "findings_total": verdict.findings_total,
        "checkpoints": verdict.checkpoints,
        "covered_until": verdict.covered_until,
        "covered_at": time_json(verdict.covered_at.as_ref()),
        "keys": verdict.keys.iter().map(|key| HEXLOWER.encode(key)).collect::<Vec<_>>(),
        "shown": shown,
    })
}
