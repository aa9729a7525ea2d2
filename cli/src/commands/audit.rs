//! `audit ...`.

use data_encoding::HEXLOWER;
use proto::v1::{AuditEvent, TailAuditRequest, VerifyAuditRequest};
use serde_json::{Value, json};

use crate::admin_client::{ANSWER_DEADLINE, ca_admin, request};
use crate::args::{AuditVerb, CaSocketArgs, TailArgs};
use crate::failure::Failure;
use crate::output::{Answer, print_line, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: AuditVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        AuditVerb::Tail(args) => tail(&args, format).await,
        AuditVerb::Verify(args) => verify(&args, format).await,
    }
}

/// One line per event, as it comes; as JSON one list, unless `--follow` asks for a list without an end.
async fn tail(args: &TailArgs, format: OutputFormat) -> Result<(), Failure> {
    let message = TailAuditRequest { lines: args.lines, follow: args.follow };
    let mut request = tonic::Request::new(message);
    if !args.follow {
        request.set_timeout(ANSWER_DEADLINE);
    }
    let failed = |status| Failure::from_status("audit tail", &status);
    let mut events = ca_admin(&args.admin.socket).await?.tail_audit(request).await.map_err(failed)?.into_inner();
    let mut list = Vec::new();
    while let Some(event) = events.message().await.map_err(failed)? {
        match format {
            OutputFormat::Table => print_line(&line(&event))?,
            OutputFormat::Json | OutputFormat::Yaml if args.follow => print_line(&format.one_of_many(&event_json(&event)))?,
            OutputFormat::Json | OutputFormat::Yaml => list.push(event_json(&event)),
        }
    }
    match format {
        OutputFormat::Json | OutputFormat::Yaml if !args.follow => print_line(&format.document(&Value::Array(list))),
        OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Table => Ok(()),
    }
}

async fn verify(args: &CaSocketArgs, format: OutputFormat) -> Result<(), Failure> {
    let answer = ca_admin(&args.socket).await?.verify_audit(request(VerifyAuditRequest {})).await;
    let verdict = answer.map_err(|status| Failure::from_status("audit verify", &status))?.into_inner();
    let head = HEXLOWER.encode(&verdict.head);
    let holds = verdict.fault.is_empty();
    let json = json!({
        "holds": holds,
        "events": verdict.events,
        "head": head,
        "broken_at": (!holds).then_some(verdict.broken_at),
        "fault": (!holds).then_some(&verdict.fault),
    });
    if holds {
        return Answer::text(format!("the chain holds: {} events, head {head}", verdict.events), json).print(format);
    }
    if format != OutputFormat::Table {
        Answer::text("", json).print(format)?;
    }
    Err(Failure::failed(format!("the audit chain is broken at event {}", verdict.broken_at))
        .because(printable(&verdict.fault))
        .advise("keep a copy of the state directory as it is, and find out who wrote to store.db"))
}

fn line(event: &AuditEvent) -> String {
    let time = time_text(event.time.as_ref());
    format!("{:>6}  {time}  {:<24}  {}", event.sequence, printable(&event.kind), printable(&event.body))
}

fn event_json(event: &AuditEvent) -> Value {
    // The body is JSON as it was hashed; one that does not parse is shown as the text it is.
    let body = serde_json::from_str(&event.body).unwrap_or_else(|_| Value::String(event.body.clone()));
    json!({
        "sequence": event.sequence,
        "time": time_json(event.time.as_ref()),
        "kind": event.kind,
        "body": body,
        "hash": HEXLOWER.encode(&event.hash),
    })
}
