//! `kill -9` of a replica at each step that is taken among replicas: the other one is given what it asked for, and the rotation completes.

use std::os::unix::process::ExitStatusExt;

use ca::{Moment, Step};

use super::*;

/// Who comes to a step in a rotation of the issuing CA of the second replica, which has no key of the root.
fn who(step: Step) -> usize {
    usize::from(step == Step::AskReplica)
}

async fn cut(scene: &mut Scene, moment: Moment) {
    let at = format!("{moment:?}");
    let (Moment::Before(step) | Moment::After(step)) = moment;
    let who = who(step);
    let ended = scene.count("rotation_ended");
    scene.replicas[who].process.stop().await;
    scene.replicas[who].start_to_end_at(Path::new(env!("CARGO_BIN_EXE_ca-ends-at-step")), moment).await;
    scene.replicas[1].ready().await;
    let mut command = std::process::Command::new(signet_binary());
    command.args(["drill", "issuer", "-o", "json", "--socket"]).arg(scene.replicas[1].admin_socket());
    let drill = Process::start("drill-issuer", &mut command, scene.bed.path());
    let status = scene.replicas[who].process.exit(LIMIT).await;
    assert_eq!(status.signal(), Some(9), "{at} was not reached: {}", drill.stdout());
    scene.replicas[who].start_again().await;
    let what = format!("the rotation to complete that was cut off at {at}");
    eventually_within(&what, LIMIT, async || (scene.count("rotation_ended") == ended + 1).then_some(())).await;
    drop(drill);
    let asked = "SELECT count(*) FROM signet.issuer_requests";
    eventually_within("nothing to be asked for any more", LIMIT, async || (scene.database.sql(asked) == "0").then_some(())).await;
    let active = "SELECT count(*) FROM signet.authorities WHERE kind = 'issuer' AND slot = 'active'";
    assert_eq!(scene.database.sql(active), "2", "{at}");
    let verified = scene.replicas[0].operate(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{at}: {}{}", verified.stdout, verified.stderr);
    for agent in &scene.agents {
        agent.ready().await;
    }
    assert_eq!(scene.held.lock().unwrap_or_else(PoisonError::into_inner).faults, Vec::<String>::new(), "{at}");
}

/// Those of the list that a request for an issuing CA comes to.
fn of_requests() -> impl Iterator<Item = Moment> {
    let of_removals = [Step::RetireReplica, Step::ForgetReplica];
    let steps = Step::AMONG_REPLICAS.into_iter().filter(move |step| !of_removals.contains(step));
    steps.flat_map(|step| [Moment::Before(step), Moment::After(step)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_while_another_asks_it_for_an_issuing_ca_signs_it_when_it_is_back() {
    let name = "a_replica_that_is_killed_while_another_asks_it_for_an_issuing_ca_signs_it_when_it_is_back";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(1).await;
    for moment in [Moment::After(Step::AskReplica), Moment::After(Step::ClaimRequest)] {
        cut(&mut scene, moment).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_replica_that_is_killed_at_any_step_among_replicas_comes_back_and_the_rotation_completes() {
    let name = "full_a_replica_that_is_killed_at_any_step_among_replicas_comes_back_and_the_rotation_completes";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(1).await;
    for _round in 1..=3 {
        for moment in of_requests() {
            cut(&mut scene, moment).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_a_leader_that_is_killed_while_it_takes_a_replica_out_goes_on_with_it() {
    let name = "full_a_leader_that_is_killed_while_it_takes_a_replica_out_goes_on_with_it";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(1).await;
    for step in [Step::RetireReplica, Step::ForgetReplica] {
        for moment in [Moment::Before(step), Moment::After(step)] {
            scene.replicas[1].process.kill_hard().await;
            scene.replicas[0].process.stop().await;
            scene.replicas[0].start_to_end_at(Path::new(env!("CARGO_BIN_EXE_ca-ends-at-step")), moment).await;
            scene.until_seen(&scene.replicas[0], "ca-b", false).await;
            // It may be killed in the middle of its answer.
            drop(scene.replicas[0].operate(&["replica", "remove", "ca-b"]));
            let status = scene.replicas[0].process.exit(LIMIT).await;
            assert_eq!(status.signal(), Some(9), "{moment:?} was not reached");
            scene.replicas[0].start_again().await;
            removal::removed(&scene).await;
            scene.replicas[1].start_again().await;
            scene.replicas[1].ready().await;
        }
    }
}
