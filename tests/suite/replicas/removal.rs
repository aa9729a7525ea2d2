//! A replica that is gone for good is taken out: others renew what rests on it, and lists of what is revoked are complete again without it.

use super::*;

/// Until the second replica is on record no more, whoever has to be asked again.
pub(super) async fn removed(scene: &Scene) {
    eventually_within("the replica to be on record no more", LIMIT, async || {
        let asked = scene.replicas[0].operate(&["replica", "remove", "ca-b"]);
        let is_gone = scene.shown(&scene.replicas[0], "ca-b").is_none();
        assert!(asked.code == 0 || is_gone || asked.stderr.contains("lives"), "{}{}", asked.stdout, asked.stderr);
        is_gone.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_gone_is_taken_out_when_others_have_renewed_what_rests_on_it() {
    let name = "a_replica_that_is_gone_is_taken_out_when_others_have_renewed_what_rests_on_it";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let mut scene = Scene::new(4).await;
    let refused = scene.replicas[0].operate(&["replica", "remove", "ca-b"]);
    assert!(refused.code != 0 && refused.stderr.contains("lives"), "{}{}", refused.stdout, refused.stderr);
    let refused = scene.replicas[0].operate(&["replica", "remove", "ca-a"]);
    assert!(refused.code != 0 && refused.stderr.contains("is this replica"), "{}{}", refused.stdout, refused.stderr);
    let refused = scene.replicas[0].operate(&["replica", "remove", "ca-z"]);
    assert!(refused.code != 0 && refused.stderr.contains("no replica ca-z"), "{}{}", refused.stdout, refused.stderr);
    assert!(scene.recorded_by(2) > 0);
    let shown = scene.replicas[0].operate(&["authority", "show"]).ok().json();
    let of_b = |one: &&Value| one["replica"] == "ca-b" && one["kind"] == "issuer";
    let issuer = shown["authorities"].as_array().unwrap().iter().find(of_b).expect("the other's are shown")["name"].clone();

    scene.replicas[1].kill_hard().await;
    scene.until_seen(&scene.replicas[0], "ca-b", false).await;
    let metrics = scene.replicas[0].metrics().await;
    assert!(metrics.contains("signet_ca_replica_lives{replica=\"ca-b\"} 0"), "{metrics}");
    removed(&scene).await;
    assert_eq!(scene.slot(issuer.as_str().unwrap()), "revoked");
    assert_eq!((scene.count("replica_retired"), scene.count("replica_removed")), (1, 1));
    // Each workload has another certificate, which the one that is left has signed, and none was without one.
    let held = "SELECT count(*) FROM signet.leaves JOIN signet.holders USING (holder) JOIN signet.authorities ON key = issuer_key
                WHERE position >= newest AND slot = 'revoked'";
    assert_eq!(scene.database.sql(held), "0", "nothing in use rests on what was taken out");
    assert_eq!(scene.held.lock().unwrap_or_else(PoisonError::into_inner).faults, Vec::<String>::new());
    eventually_within("lists that are complete without it", LIMIT, async || {
        scene.replicas[0].metrics().await.contains("signet_ca_revocation_lists_complete 1").then_some(())
    })
    .await;

    // It comes back as a new one.
    scene.replicas[1].start_again().await;
    scene.replicas[1].ready().await;
    scene.until_seen(&scene.replicas[0], "ca-b", true).await;
    assert_eq!(scene.shown(&scene.replicas[0], "ca-b").unwrap()["leaving"], false);
    let issuers = "SELECT count(DISTINCT replica) FROM signet.authorities WHERE kind = 'issuer' AND slot = 'active'";
    assert_eq!(scene.database.sql(issuers), "2");
    let verified = scene.replicas[1].operate(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}
