//! `replica ...`: the CAs on the same database.

use proto::v1;
use serde_json::{Value, json};

use crate::admin_client::{authority_admin, request};
use crate::args::{CaSocketArgs, RemoveReplicaArgs, ReplicaVerb};
use crate::failure::Failure;
use crate::output::{Answer, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: ReplicaVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        ReplicaVerb::List(args) => list(&args).await,
        ReplicaVerb::Remove(args) => remove(&args).await,
    }?
    .print(format)
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let message = v1::ShowAuthoritiesRequest { revoked: false };
    let answer = authority_admin(&args.socket).await?.show_authorities(request(message)).await;
    answer.map(|told| table(&told.get_ref().replicas)).map_err(|status| Failure::from_status("replica list", &status))
}

async fn remove(args: &RemoveReplicaArgs) -> Result<Answer, Failure> {
    let message = v1::RemoveReplicaRequest { name: args.name.to_string() };
    let answer = authority_admin(&args.admin.socket).await?.remove_replica(request(message)).await;
    let change = answer.map_err(|status| Failure::from_status("replica remove", &status))?.into_inner();
    let left: Vec<_> = change.authorities.iter().map(|authority| authority.name.as_str()).collect();
    let text = if left.is_empty() {
        format!("{} has nothing in force, and is on record no more within seconds", args.name)
    } else {
        let left = left.join(", ");
        format!(
            "what rests on {left} is renewed by other replicas; then they are revoked (`signet replica list` tells what is waited for)"
        )
    };
    let json = json!({ "replica": args.name.as_str(), "in_force": left, "unchanged": change.unchanged });
    Ok(Answer::text(text, json))
}

/// The replicas, as `status` and `authority show` have them too.
pub(super) fn table(replicas: &[v1::Replica]) -> Answer {
    let rows = replicas.iter().map(|replica| {
        vec![
            printable(&replica.name),
            state(replica).to_owned(),
            replica.serial_byte.to_string(),
            printable(&replica.address),
            time_text(replica.seen_at.as_ref()),
            waits_text(replica),
        ]
    });
    let columns = ["replica", "state", "serial byte", "address", "heard", "waits for"];
    Answer::table(&columns, rows.collect(), "this CA has its store to itself", list_json(replicas))
}

/// The replicas for machines.
pub(super) fn list_json(replicas: &[v1::Replica]) -> Value {
    replicas.iter().map(replica_json).collect()
}

/// Those that need somebody's attention.
pub(super) fn faults_text(replicas: &[v1::Replica]) -> String {
    let away = replicas.iter().filter(|replica| !replica.lives && !replica.leaving);
    let lines: Vec<_> = away
        .map(|replica| {
            let (name, heard) = (printable(&replica.name), time_text(replica.seen_at.as_ref()));
            format!(" ! replica {name} is away, heard last at {heard}: start it, or `signet replica remove {name}` when it is gone for good")
        })
        .collect();
    lines.join("\n")
}

fn state(replica: &v1::Replica) -> &'static str {
    match (replica.leaving, replica.lives, replica.leads) {
        (true, ..) => "is taken out",
        (false, true, true) => "lives, leads",
        (false, true, false) => "lives",
        (false, false, _) => "away",
    }
}

fn waits_text(replica: &v1::Replica) -> String {
    let waits: Vec<_> = replica.waiting.iter().map(|wait| printable(&wait.text)).collect();
    if waits.is_empty() { "-".to_owned() } else { waits.join("; ") }
}

fn replica_json(replica: &v1::Replica) -> Value {
    let v1::Replica { name, address, serial_byte, seen_at, this, lives, leads, leaving, waiting } = replica;
    json!({
        "name": name,
        "address": address,
        "serial_byte": serial_byte,
        "seen_at": time_json(seen_at.as_ref()),
        "this": this,
        "lives": lives,
        "leads": leads,
        "leaving": leaving,
        "waiting": waiting.iter().map(|wait| wait.text.clone()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_is_told_with_the_way_out_and_who_is_taken_out_with_what_is_waited_for() {
        let live = v1::Replica { name: "ca-a".to_owned(), lives: true, leads: true, ..v1::Replica::default() };
        let away = v1::Replica { name: "ca-b".to_owned(), address: "b:1\u{1b}".to_owned(), ..v1::Replica::default() };
        let wait = v1::RotationWait { text: "3 certificates".to_owned(), ..v1::RotationWait::default() };
        let leaving = v1::Replica { name: "ca-c".to_owned(), leaving: true, waiting: vec![wait], ..v1::Replica::default() };
        let all = [live, away, leaving];
        let answer = table(&all);
        let text = answer.as_text();
        for part in ["lives, leads", "away", "b:1\u{fffd}", "is taken out", "3 certificates"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert_eq!(
            (&answer.as_json()[1]["lives"], &answer.as_json()[2]["waiting"][0]),
            (&json!(false), &json!("3 certificates"))
        );
        let faults = faults_text(&all);
        assert!(faults.contains("signet replica remove ca-b") && faults.lines().count() == 1, "{faults}");
        assert!(table(&[]).as_text().contains("to itself"));
    }
}
