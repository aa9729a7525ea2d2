//! What is told of a rotation, made from its reports: bars, lines, events and the report at the end. Nothing here writes anywhere.

use std::time::Duration;

use proto::v1::{AuthorityKind, RotationPlan, RotationReport, RotationWait};
use serde_json::{Map, Value, json};

use crate::output::{Answer, facts_text, printable, time_json, time_text};

/// The phases, in order, with what is done in them.
const PHASES: [&str; 4] = ["prepare", "distribute", "replace", "withdraw"];

/// One bar of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// The phase.
    pub(super) label: &'static str,
    /// Where it stands.
    pub(super) state: BarState,
    /// How much of it is done.
    pub(super) done: u64,
    /// Of how much; at least 1.
    pub(super) of: u64,
    /// Of what.
    pub(super) note: String,
}

/// Where a phase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BarState {
    /// Not begun.
    Ahead,
    /// Now.
    Going,
    /// Over.
    Done,
}

/// A bar for each phase.
pub(super) fn bars(report: &RotationReport) -> [Bar; 4] {
    let now = PHASES.iter().position(|phase| *phase == report.phase).unwrap_or_default();
    let over = if report.outcome == "completed" { PHASES.len() } else { now };
    let mut index = 0;
    PHASES.map(|label| {
        let state = if index < over {
            BarState::Done
        } else if index == now {
            BarState::Going
        } else {
            BarState::Ahead
        };
        index += 1;
        let (done, of, note) = match state {
            BarState::Ahead => (0, 1, String::new()),
            BarState::Done => (1, 1, String::new()),
            BarState::Going => progress(report),
        };
        Bar { label, state, done: done.min(of), of, note }
    })
}

/// How far the phase is that goes on: done, of how much, and of what.
fn progress(report: &RotationReport) -> (u64, u64, String) {
    let (from, to) = (printable(&report.from), printable(&report.to));
    let successor = if to.is_empty() { "a successor".to_owned() } else { to };
    let (done, of, note) = match report.phase.as_str() {
        "distribute" => {
            let RotationReport { agents_on_sequence, agents, bundle_sequence, .. } = report;
            let note = format!("{agents_on_sequence} of {agents} agents on bundle {bundle_sequence} (with {successor})");
            (u64::from(*agents_on_sequence), u64::from(*agents), note)
        }
        "replace" => {
            let most = report.leaves_most.max(report.leaves_left);
            (most.saturating_sub(report.leaves_left), most, format!("{} certificates left on {from}", report.leaves_left))
        }
        "withdraw" => (0, 1, format!("{from} leaves; its key is being destroyed")),
        _ => (0, 1, format!("{successor} in place of {from}")),
    };
    let note = if report.aborting { format!("being undone: {note}") } else { note };
    // Of nothing, all is done.
    if of == 0 { (1, 1, note) } else { (done, of, note) }
}

/// What is awaited, one line each.
pub(super) fn waits(report: &RotationReport) -> Vec<String> {
    report.waiting.iter().map(|wait| printable(&wait.text)).collect()
}

/// Since it was asked for.
pub(super) fn elapsed(report: &RotationReport) -> Duration {
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().map_or(0, |time| time.seconds);
    Duration::from_secs(u64::try_from(seconds(&report.at).saturating_sub(seconds(&report.started_at))).unwrap_or(0))
}

/// How long each phase took that is over, or goes on; `None` where nobody knows when it ended or began.
fn spans(report: &RotationReport) -> Vec<(&'static str, Option<Duration>)> {
    let began = |phase: &str| {
        let known = report.phases.iter().find(|known| known.phase == phase);
        known.and_then(|known| known.began_at.as_ref()).map(|time| time.seconds)
    };
    // Of one that was undone the phases are not gone through in order: the last one is the one it ended in.
    let last = PHASES.iter().rposition(|phase| began(phase).is_some()).unwrap_or_default();
    let end = |place: usize| match PHASES.get(place + 1) {
        Some(next) if place < last => began(next),
        _ => report.at.as_ref().map(|time| time.seconds),
    };
    let span = |place: usize, phase: &str| {
        let seconds = end(place)?.checked_sub(began(phase)?)?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    };
    PHASES.iter().enumerate().take(last + 1).map(|(place, phase)| (*phase, span(place, phase))).collect()
}

fn spans_text(report: &RotationReport) -> String {
    let told = |(phase, span): (&str, Option<Duration>)| match span {
        Some(span) => format!("{phase} {}", humantime::format_duration(span)),
        None => format!("{phase} unknown (the CA was restarted)"),
    };
    spans(report).into_iter().map(told).collect::<Vec<_>>().join(", ")
}

/// All of it in one line, for those who keep what they are told.
pub(crate) fn line(report: &RotationReport) -> String {
    let (_, _, note) = progress(report);
    let mut text = format!("{}: {note}", printable(&report.phase));
    let waits = waits(report);
    if !waits.is_empty() {
        text.push_str("; awaited: ");
        text.push_str(&waits.join("; "));
    }
    if report.probes_failed > 0 {
        let last = printable(&report.last_probe_failure);
        text.push_str(&format!("; {} probes FAILED, the last: {last}", report.probes_failed));
    }
    text
}

/// The kind, as the verbs name it.
pub(crate) fn kind_text(report: &RotationReport) -> &'static str {
    match report.kind() {
        AuthorityKind::Issuer => "issuer",
        AuthorityKind::Jwt => "jwt",
        AuthorityKind::Root | AuthorityKind::Unspecified => "root",
    }
}

/// What distinguishes a report from the one before: all but the time and how often was probed.
pub(super) fn essence(report: &RotationReport) -> RotationReport {
    RotationReport { at: None, probes: 0, ..report.clone() }
}

/// A report as a document.
pub(crate) fn report_json(report: &RotationReport) -> Value {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "kind": kind_text(report),
        "from": report.from,
        "to": some(&report.to),
        "phase": report.phase,
        "aborting": report.aborting,
        "started_at": time_json(report.started_at.as_ref()),
        "at": time_json(report.at.as_ref()),
        "elapsed_seconds": elapsed(report).as_secs(),
        "bundle_sequence": report.bundle_sequence,
        "agents": report.agents,
        "agents_on_sequence": report.agents_on_sequence,
        "leaves_left": report.leaves_left,
        "leaves_most": report.leaves_most,
        "waiting": report.waiting.iter().map(wait_json).collect::<Vec<_>>(),
        "probes": report.probes,
        "probes_failed": report.probes_failed,
        "last_probe_failure": some(&report.last_probe_failure),
        "outcome": some(&report.outcome),
        "phases": spans(report).into_iter().map(|(phase, span)| json!({
            "phase": phase,
            "seconds": span.map(|span| span.as_secs()),
        })).collect::<Vec<_>>(),
    })
}

fn wait_json(wait: &RotationWait) -> Value {
    json!({
        "kind": wait.kind,
        "text": wait.text,
        "left": wait.left,
        "nodes": wait.nodes,
        "until": time_json(wait.until.as_ref()),
    })
}

/// An event: a report with what it is one of.
pub(super) fn event(name: &str, report: &RotationReport) -> Value {
    let mut event = Map::from_iter([("event".to_owned(), Value::from(name))]);
    if let Value::Object(report) = report_json(report) {
        event.extend(report);
    }
    Value::Object(event)
}

/// The report at the end, for people.
pub(super) fn closing(report: &RotationReport) -> String {
    let outcome = match report.outcome.as_str() {
        "completed" => "completed".to_owned(),
        "rolled_back" => "rolled back: everything is as before".to_owned(),
        other => other.to_owned(),
    };
    let probes = match (report.probes, report.probes_failed) {
        (0, _) => "none".to_owned(),
        (made, 0) => format!("{made} handshakes with the CA by the oldest bundle in use, none failed"),
        (made, failed) => format!("{made} handshakes with the CA by the oldest bundle in use, {failed} FAILED"),
    };
    let mut facts = vec![
        ("rotation", if report.to.is_empty() { report.from.clone() } else { format!("{} to {}", report.from, report.to) }),
        ("outcome", outcome),
        ("started", time_text(report.started_at.as_ref())),
        ("took", humantime::format_duration(elapsed(report)).to_string()),
        ("phases", spans_text(report)),
        ("bundle", format!("{} ({} of {} agents)", report.bundle_sequence, report.agents_on_sequence, report.agents)),
    ];
    if report.kind() != AuthorityKind::Jwt {
        facts
            .push(("certificates", format!("{} rested on {}, {} are left", report.leaves_most, report.from, report.leaves_left)));
    }
    facts.push(("probes", probes));
    facts_text(facts)
}

/// What a rotation would do.
pub(super) fn plan(plan: &RotationPlan) -> Answer {
    let steps: Vec<_> = plan.steps.iter().map(|step| json!({ "phase": step.phase, "text": step.text })).collect();
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let json = json!({
        "steps": steps,
        "agents_connected": plan.agents_connected,
        "agents_absent": plan.agents_absent,
        "leaves": plan.leaves,
        "longest_wait": some(&plan.longest_wait),
        "refusal": some(&plan.refusal),
    });
    if !plan.refusal.is_empty() {
        return Answer::text("it would be refused", json);
    }
    let rows = plan.steps.iter().zip(1..).map(|(step, number)| vec![number_text(number), step.phase.clone(), step.text.clone()]);
    let absent = match plan.agents_absent.as_slice() {
        [] => String::new(),
        absent => format!(" and {} that are not: {}", absent.len(), absent.join(", ")),
    };
    let facts = facts_text([
        ("touches", format!("{} connected agents{absent}; {} certificates", plan.agents_connected, plan.leaves)),
        ("longest wait", plan.longest_wait.clone()),
    ]);
    let steps = Answer::table(&["step", "phase", "what"], rows.collect(), "nothing is left to do", Value::Null);
    Answer::text(steps.as_text(), json).with_text(&facts).with_text("nothing was changed")
}

fn number_text(number: u32) -> String {
    number.to_string()
}

#[cfg(test)]
mod tests;
