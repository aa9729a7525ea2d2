//! `audit ...`.

mod orphans;
mod verify;

pub(super) use verify::read_checkpoints;

use data_encoding::HEXLOWER;
use proto::v1::{AcknowledgeForkRequest, AuditEvent, TailAuditRequest};
use serde_json::{Value, json};

use crate::admin_client::{ANSWER_DEADLINE, ca_admin, request};
use crate::args::{AuditVerb, CaSocketArgs, TailArgs};
use crate::failure::Failure;
use crate::output::{Answer, print_line, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: AuditVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        AuditVerb::Tail(args) => tail(&args, format).await,
        AuditVerb::Verify(args) => verify::run(&args, format).await,
        AuditVerb::Orphans(args) => orphans::run(&args).await?.print(format),
        AuditVerb::AcknowledgeFork(args) => acknowledge_fork(&args).await?.print(format),
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

async fn acknowledge_fork(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.socket).await?.acknowledge_fork(request(AcknowledgeForkRequest {})).await;
    let answer = answer.map_err(|status| Failure::from_status("audit acknowledge-fork", &status))?.into_inner();
    let text = format!("acknowledged {} checkpoints of another history; the CA signs checkpoints again", answer.acknowledged);
    Ok(Answer::text(text, json!({ "acknowledged": answer.acknowledged })))
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
