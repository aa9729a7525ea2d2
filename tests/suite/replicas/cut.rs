//! The way between a replica and the database is cut, and nobody says so.

use super::database_relay::DatabaseRelay;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_from_the_database_records_nothing_and_its_agents_go_to_another() {
    let name = "a_replica_that_is_cut_off_from_the_database_records_nothing_and_its_agents_go_to_another";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let database = PostgresServer::start(&[]).unwrap().new_database();
    let bed = TestBed::new();
    let relay = DatabaseRelay::start(bed.path().join("relay"), &database.socket());
    let mut scene = Scene::over(4, bed, database, &relay.directory).await;
    assert!(scene.recorded_by(2) > 0, "it issues");
    scene.until_seen(&scene.replicas[0], "ca-b", true).await;

    relay.cut();
    // No connection ended, no error was told: streams of agents end all the same, and these go where they hear.
    scene.all_at(&scene.replicas[0]).await;
    scene.until_seen(&scene.replicas[0], "ca-b", false).await;
    let status = scene.replicas[0].operate(&["status"]).ok().json();
    assert_eq!(status["replicas"].as_array().unwrap().len(), 2, "{status}");
    let recorded = scene.recorded_by(2);

    // It is not waited for, and what it had is taken out with the root.
    let drill = scene.drill(&scene.replicas[0]);
    scene.judge(&scene.replicas[0]).await;
    drop(drill);
    assert_eq!(scene.recorded_by(2), recorded, "whoever is cut off records nothing");

    // It finds that out and ends; its supervisor starts it again.
    relay.mend();
    let ended = scene.replicas[1].process.exit(LIMIT).await;
    assert!(!ended.success(), "{}", scene.replicas[1].process.stderr());
    assert_eq!(scene.recorded_by(2), recorded, "under what was taken out nothing is recorded");
    scene.replicas[1].start_again().await;
    scene.replicas[1].ready().await;
    let issuers =
        "SELECT count(DISTINCT replica) FROM signet.authorities WHERE kind = 'issuer' AND slot = 'active' AND parent = 2";
    assert_eq!(scene.database.sql(issuers), "2", "both sign under the new root");
    assert_eq!(scene.count("rotation_started"), 1, "nothing was rotated twice");
}
