use proto::v1::{PlannedStep, RotationPhase};

use super::*;

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Two of three agents have the bundle with root-2.
fn sample() -> RotationReport {
    RotationReport {
        kind: AuthorityKind::Root.into(),
        from: "root-1".to_owned(),
        to: "root-2".to_owned(),
        phase: "distribute".to_owned(),
        started_at: time(1_795_172_400),
        at: time(1_795_172_465),
        waiting: vec![RotationWait {
            kind: "agents".to_owned(),
            text: "1 of 3 agents have not acknowledged bundle 8: n3".to_owned(),
            left: 1,
            nodes: vec!["n3".to_owned()],
            until: None,
        }],
        bundle_sequence: 8,
        agents: 3,
        agents_on_sequence: 2,
        leaves_left: 20,
        leaves_most: 50,
        probes: 12,
        ..RotationReport::default()
    }
}

fn states(report: &RotationReport) -> [BarState; 4] {
    bars(report).map(|bar| bar.state)
}

#[test]
fn each_phase_has_a_bar_with_what_it_counts() {
    use BarState::{Ahead, Done, Going};
    let report = sample();
    assert_eq!(states(&report), [Done, Going, Ahead, Ahead]);
    let going = &bars(&report)[1];
    assert_eq!((going.label, going.done, going.of), ("distribute", 2, 3));
    assert_eq!(going.note, "2 of 3 agents on bundle 8 (with root-2)");
    let replacing = RotationReport { phase: "replace".to_owned(), ..report.clone() };
    assert_eq!((bars(&replacing)[2].done, bars(&replacing)[2].of), (30, 50));
    assert_eq!(bars(&replacing)[2].note, "20 certificates left on root-1");
    // More than ever were counted before: nothing is done, and nothing less than that.
    let grown = RotationReport { leaves_left: 60, ..replacing.clone() };
    assert_eq!((bars(&grown)[2].done, bars(&grown)[2].of), (0, 60));
    let nobody = RotationReport { agents: 0, agents_on_sequence: 0, ..report.clone() };
    assert_eq!((bars(&nobody)[1].done, bars(&nobody)[1].of), (1, 1));
    let completed = RotationReport { phase: "withdraw".to_owned(), outcome: "completed".to_owned(), ..report.clone() };
    assert_eq!(states(&completed), [Done; 4]);
    let unknown = RotationReport { phase: "?".to_owned(), ..report };
    assert_eq!(states(&unknown), [Going, Ahead, Ahead, Ahead]);
}

#[test]
fn a_line_says_how_far_and_who_is_awaited() {
    let report = sample();
    let expected =
        "distribute: 2 of 3 agents on bundle 8 (with root-2); awaited: 1 of 3 agents have not acknowledged bundle 8: n3";
    assert_eq!(line(&report), expected);
    let failed = RotationReport { probes_failed: 2, last_probe_failure: "refused\u{7}".to_owned(), ..report.clone() };
    assert!(line(&failed).ends_with("; 2 probes FAILED, the last: refused\u{fffd}"), "{}", line(&failed));
    let undone = RotationReport { aborting: true, waiting: Vec::new(), ..report };
    assert!(line(&undone).starts_with("distribute: being undone: "), "{}", line(&undone));
}

#[test]
fn an_event_has_all_of_a_report_and_its_name() {
    let event = event("progress", &sample());
    assert_eq!((&event["event"], &event["kind"], &event["elapsed_seconds"]), (&json!("progress"), &json!("root"), &json!(65)));
    assert_eq!((&event["waiting"][0]["nodes"][0], &event["waiting"][0]["until"]), (&json!("n3"), &Value::Null));
    assert_eq!((&event["outcome"], &event["agents_on_sequence"]), (&Value::Null, &json!(2)));
}

#[test]
fn the_report_at_the_end_says_what_the_prober_saw() {
    let ended = RotationReport { outcome: "completed".to_owned(), leaves_left: 0, ..sample() };
    let text = closing(&ended);
    for part in
        ["root-1 to root-2", "completed", "1m 5s", "8 (2 of 3 agents)", "50 rested on root-1, 0 are left", "12 handshakes"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("none failed"), "{text}");
    let failed = RotationReport { probes_failed: 3, ..ended.clone() };
    assert!(closing(&failed).contains("3 FAILED"));
    let back = RotationReport { outcome: "rolled_back".to_owned(), kind: AuthorityKind::Jwt.into(), to: String::new(), ..ended };
    assert!(closing(&back).contains("rolled back: everything is as before") && !closing(&back).contains("rested"));
}

#[test]
fn each_phase_has_its_time_as_far_as_it_is_known() {
    let began = |phase: &str, seconds: i64| RotationPhase { phase: phase.to_owned(), began_at: time(1_795_172_400 + seconds) };
    let phases = vec![began("prepare", 0), began("distribute", 2), began("replace", 5), began("withdraw", 64)];
    let ended = RotationReport { outcome: "completed".to_owned(), phases, ..sample() };
    assert!(closing(&ended).contains("prepare 2s, distribute 3s, replace 59s, withdraw 1s"), "{}", closing(&ended));
    let event = event("completed", &ended);
    assert_eq!((&event["phases"][2]["phase"], &event["phases"][2]["seconds"]), (&json!("replace"), &json!(59)));
    // The CA was restarted: when the bundle began to be distributed is not known, and neither is when that which was before ended.
    let mut restarted = ended.clone();
    restarted.phases.remove(1);
    let seconds: Vec<_> = spans(&restarted).into_iter().map(|(_, span)| span.map(|span| span.as_secs())).collect();
    assert_eq!(seconds, [None, None, Some(59), Some(1)]);
    assert!(closing(&restarted).contains("distribute unknown (the CA was restarted)"), "{}", closing(&restarted));
    let under_way = RotationReport { phases: ended.phases[..2].to_vec(), ..sample() };
    assert_eq!(spans(&under_way), [("prepare", Some(Duration::from_secs(2))), ("distribute", Some(Duration::from_secs(63)))]);
    assert_eq!(spans(&RotationReport::default()), [("prepare", None)]);
}

#[test]
fn time_never_runs_backwards() {
    let report = RotationReport { at: time(1), ..sample() };
    assert_eq!(elapsed(&report), Duration::ZERO);
    assert_eq!(elapsed(&RotationReport::default()), Duration::ZERO);
}

#[test]
fn a_plan_numbers_its_steps_and_names_who_is_away() {
    let step = |phase: &str, text: &str| PlannedStep { phase: phase.to_owned(), text: text.to_owned() };
    let planned = RotationPlan {
        steps: vec![step("prepare", "made: root-2"), step("distribute", "all agents acknowledge")],
        agents_connected: 2,
        agents_absent: vec!["n3".to_owned()],
        leaves: 50,
        longest_wait: "agents that are not connected: n3".to_owned(),
        refusal: String::new(),
    };
    let answer = plan(&planned);
    let text = answer.as_text();
    for part in [
        " 1     prepare",
        " 2     distribute",
        "2 connected agents and 1 that are not: n3; 50 certificates",
        "nothing was changed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!((&answer.as_json()["steps"][1]["phase"], &answer.as_json()["refusal"]), (&json!("distribute"), &Value::Null));
    let refused = RotationPlan { refusal: "too many".to_owned(), ..planned };
    assert_eq!(plan(&refused).as_json()["refusal"], "too many");
}
