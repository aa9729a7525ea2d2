//! `dev --check`: the story of the system, told once, each step by the processes that would tell it in earnest.

use std::time::Duration;

use serde_json::Value;

use super::bring_up::Stage;
use super::events::Event;
use super::home::{api_id, wrong_id};
use super::processes::{Actor, Happening, verb};
use crate::failure::Failure;

/// The steps, in order.
///
/// # Errors
/// The first step that fails, with why.
pub(super) async fn story(stage: &mut Stage) -> Result<(), Failure> {
    stage.start_ca().await?;
    stage.start_agent().await?;
    stage.start_workloads().await?;
    let call = answered_call(stage).await?;
    renewal(stage, &call).await?;
    refusal(stage, &call).await?;
    denial(stage).await
}

/// What the later steps need to know of the first call.
struct Call {
    connection: u64,
    /// The serial that web showed.
    web_serial: String,
    api_address: String,
}

async fn answered_call(stage: &mut Stage) -> Result<Call, Failure> {
    stage.report().begin("mTLS call from web to api answered");
    let (mut served, mut answered) = (None, None);
    let (web_serial, (connection, text)) = stage
        .until("answered call", CALL_DEADLINE, |actor, event| {
            match (actor, event) {
                (Actor::Api, Event::Served { peer_serial, .. }) => served = Some(peer_serial.clone()),
                (Actor::Web, Event::Answered { connection, text, peer, .. }) if *peer == api_id() => {
                    answered = Some((*connection, text.clone()));
                }
                _ => {}
            }
            served.clone().zip(answered.clone())
        })
        .await?;
    let api_address = stage.api_address().to_owned();
    stage.report().tick(&[format!("the API said: {text}")])?;
    Ok(Call { connection, web_serial, api_address })
}

/// A new certificate on the SDS stream that has been open all the time; the old connection is used once more, then a new
/// connection shows the new certificate.
async fn renewal(stage: &mut Stage, call: &Call) -> Result<(), Failure> {
    stage.report().begin("renewal seen on the open SDS stream");
    let (old, connection) = (&call.web_serial, call.connection);
    let (stream, new) = stage
        .until("renewed certificate", RENEWAL_DEADLINE, |actor, event| match (actor, event) {
            (Actor::Web, Event::Identity { stream, serial, .. }) if serial != old => Some((*stream, serial.clone())),
            _ => None,
        })
        .await?;
    if stream != 1 {
        return Err(Failure::failed("the renewal came on another stream").because(format!("SDS stream {stream}, not 1")));
    }
    let (mut goes_on, mut shown) = (false, false);
    stage
        .until("calls over the old and over a new connection", CALL_DEADLINE, |actor, event| {
            match (actor, event) {
                (Actor::Web, Event::Answered { connection: used, .. }) if *used == connection => goes_on = true,
                (Actor::Api, Event::Served { peer_serial, .. }) if *peer_serial == new => shown = true,
                _ => {}
            }
            (goes_on && shown).then_some(())
        })
        .await?;
    stage.report().tick(&[
        format!("serial {old} became {new} on SDS stream {stream}"),
        format!("connection {connection} went on; the next one showed the new certificate"),
    ])
}

/// The same program, the same certificate, the same API, but another identity required of it.
async fn refusal(stage: &mut Stage, call: &Call) -> Result<(), Failure> {
    stage.report().begin("wrong identity refused");
    let wrong = wrong_id();
    stage.start_workload(Actor::WrongWeb, "web", &["--expect", &wrong, "--connect", &call.api_address]).await?;
    let (mut client, mut server) = (None, None);
    let (client, server) = stage
        .until("TLS error at both ends", CALL_DEADLINE, |actor, event| {
            match (actor, event) {
                (Actor::WrongWeb, Event::CallFailed { error }) => client = Some(Ok(error.clone())),
                (Actor::WrongWeb, Event::Answered { .. }) => client = Some(Err(())),
                (Actor::Api, Event::HandshakeFailed { error }) => server = Some(error.clone()),
                _ => {}
            }
            client.clone().zip(server.clone().or(matches!(client, Some(Err(()))).then(String::new)))
        })
        .await?;
    stage.dismiss(Actor::WrongWeb).await;
    let Ok(client) = client else {
        return Err(Failure::failed("a call was answered by a peer that is not the one required").because(wrong));
    };
    stage.report().tick(&[
        format!("web requires {wrong}"),
        format!("connecting end: {client}"),
        format!("accepting end: {server}"),
    ])
}

/// A program without an entry asks, waits in vain, and the agent says why.
async fn denial(stage: &mut Stage) -> Result<(), Failure> {
    stage.report().begin("a process without an entry gets nothing");
    stage.home().copy_of_program("stranger")?;
    let pid = stage.start_workload(Actor::Stranger, "stranger", &["--expect", &api_id()]).await?;
    stage
        .until("question of the stranger", CALL_DEADLINE, |actor, event| {
            matches!((actor, event), (Actor::Stranger, Event::Asked { .. })).then_some(())
        })
        .await?;
    let answered = async {
        loop {
            match stage.next().await? {
                Happening { actor, event: None } => return Err(stage.ended(actor).await),
                Happening { actor: Actor::Stranger, event: Some(Event::Identity { id, .. }) } => {
                    return Err(Failure::failed("a process without an entry was given an identity").because(id));
                }
                Happening { .. } => {}
            }
        }
    };
    match tokio::time::timeout(SILENCE, answered).await {
        Ok(outcome) => return outcome,
        Err(_silence) => {}
    }
    let (pid, socket) = (pid.to_string(), stage.home().agent_admin_socket().display().to_string());
    let explain = ["entry", "explain", "--pid", &pid, "--socket", &socket];
    let document = verb(stage.home().program(), &[&explain[..], &["-o", "json"]].concat()).await?;
    denied(&document)?;
    let explanation = verb(stage.home().program(), &explain).await?;
    let seconds = SILENCE.as_secs();
    stage.report().tick(&[
        format!("process {pid} asked for `default` over SDS: no answer within {seconds} s"),
        format!("$ signet entry explain --pid {pid}\n{}", explanation.trim_end()),
    ])
}

/// The explanation must be a denial that names selectors, an entry, and what that entry asks for in vain.
fn denied(document: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::failed("`entry explain` does not explain the denial").because(format!("{why}: {document}"));
    let explanation: Value = serde_json::from_str(document).map_err(|error| wrong(&error.to_string()))?;
    let is_empty = |pointer: &str| explanation.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if !is_empty("/matched") {
        return Err(wrong("an entry matches"));
    }
    if is_empty("/selectors") {
        return Err(wrong("it shows no selectors"));
    }
    if is_empty("/nearest_miss/missing") || explanation.pointer("/nearest_miss/entry/spiffe_id").is_none() {
        return Err(wrong("it names no nearest entry"));
    }
    Ok(())
}

const CALL_DEADLINE: Duration = Duration::from_secs(8);
/// Half of 20 s, 10 % jitter, and room for a busy machine.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(18);
/// How long the stranger waits in vain.
const SILENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_denial_with_its_reasons_passes() {
        let good = r#"{"selectors":["unix:uid:0"],"matched":[],
            "nearest_miss":{"entry":{"spiffe_id":"spiffe://t/web"},"missing":["unix:path:/x"]}}"#;
        denied(good).unwrap();
        for (from, to) in [
            (r#""matched":[]"#, r#""matched":[{}]"#),
            (r#"["unix:uid:0"]"#, "[]"),
            (r#"["unix:path:/x"]"#, "[]"),
            (r#""spiffe_id""#, r#""other""#),
            ("{", "["),
        ] {
            assert!(denied(&good.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
