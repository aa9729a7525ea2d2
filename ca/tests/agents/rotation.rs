//! Authorities of a running CA: what its own prober sees of a rotation, and the way back when everything has ended.

use std::time::Duration;

use proto::v1;
use proto::v1::authority_admin_client::AuthorityAdminClient;
use tonic::transport::Channel;

use crate::issuer_end::end_of;
use crate::test_agent::{TestAgent, hello};
use crate::test_ca::{TestCa, WITHOUT_ROTATION, eventually};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn authorities(ca: &TestCa) -> AuthorityAdminClient<Channel> {
    AuthorityAdminClient::new(ca.admin_channel().await)
}

async fn slot(ca: &TestCa, name: &str) -> Option<String> {
    let shown = authorities(ca).await.show_authorities(v1::ShowAuthoritiesRequest { revoked: true }).await.unwrap().into_inner();
    shown.authorities.into_iter().find(|authority| authority.name == name).map(|authority| authority.slot)
}

fn of_root() -> v1::StartRotationRequest {
    v1::StartRotationRequest { kind: v1::AuthorityKind::Root.into(), accepted: None, natural: false }
}

/// What the prober saw so far of the rotation of the root: made, failed.
async fn probes(ca: &TestCa) -> (u64, u64) {
    let shown = authorities(ca).await.show_authorities(v1::ShowAuthoritiesRequest { revoked: true }).await.unwrap().into_inner();
    shown.rotations.first().map_or((0, 0), |rotation| (rotation.probes, rotation.probes_failed))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prober_sees_a_ca_that_works_until_somebody_is_left_behind_and_then_that_he_is() {
    let ca = TestCa::start_without_rotation().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let connection = agent.connect(&ca).await;
    let mut stream = connection.sync(hello()).await.unwrap();
    stream.hello().await;
    let first = stream.update().await.unwrap();
    stream.acknowledge(first.sequence, agent.bundle.sequence).await;
    // It does not take the next bundle, so that everybody waits for it.
    let mut watching = authorities(&ca).await.start_rotation(of_root()).await.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();
    eventually("probes while it waits", async || probes(&ca).await.0 >= 2).await;
    assert_eq!(probes(&ca).await.1, 0);
    assert_eq!(slot(&ca, "root-1").await.as_deref(), Some("active"));

    // Whoever goes on without it breaks it, and the prober, which has its bundle, tells.
    let accepted = v1::AcceptedLosses { nodes: vec!["n1".to_owned()], ..v1::AcceptedLosses::default() };
    drop(
        authorities(&ca).await.start_rotation(v1::StartRotationRequest { accepted: Some(accepted), ..of_root() }).await.unwrap(),
    );
    eventually("a probe that fails", async || probes(&ca).await.1 >= 1).await;
    assert_eq!(slot(&ca, "root-2").await.as_deref(), Some("active"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_whose_issuing_ca_has_ended_is_brought_back_by_its_operator() {
    let ca = TestCa::start_without_rotation().await;
    let (directory, clock) = ca.stop().await;
    clock.advance(DAY * 40);
    let ca = TestCa::over_with(WITHOUT_ROTATION, directory, clock).await;
    let status = ca.status().await;
    assert!(!status.ready && status.certificates.iter().all(|certificate| certificate.role != "serving"), "{status:?}");
    assert!(ca.http("/readyz").await.starts_with("HTTP/1.1 503"));

    let made = authorities(&ca)
        .await
        .prepare_authority(v1::PrepareAuthorityRequest { kind: v1::AuthorityKind::Issuer.into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.authorities.iter().map(|authority| authority.name.as_str()).collect::<Vec<_>>(), ["issuer-2"]);
    let activate = v1::ActivateAuthorityRequest { name: "issuer-2".to_owned(), accepted: None };
    authorities(&ca).await.activate_authority(activate).await.unwrap();
    eventually("ready", async || ca.status().await.ready).await;
    // And agents are served.
    let agent = TestAgent::attest(&ca, "n1").await;
    drop(agent.connect(&ca).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_of_which_everything_has_ended_is_brought_back_and_gates_are_judged_as_ever() {
    let ca = TestCa::start_without_rotation().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    drop(agent);
    let (directory, clock) = ca.stop().await;
    // The issuing CA and the root have ended; the node may not attest again by its key any more.
    clock.advance(DAY * 3700);
    let ca = TestCa::over_with(WITHOUT_ROTATION, directory, clock).await;
    assert!(!ca.status().await.ready);
    let prepare = |kind: v1::AuthorityKind| v1::PrepareAuthorityRequest { kind: kind.into() };
    let refused = authorities(&ca).await.prepare_authority(prepare(v1::AuthorityKind::Issuer)).await.unwrap_err();
    assert!(refused.message().contains("signet authority prepare root"), "{refused}");
    assert_eq!(slot(&ca, "issuer-2").await, None, "nothing was decided");
    authorities(&ca).await.prepare_authority(prepare(v1::AuthorityKind::Root)).await.unwrap();
    let activate = v1::ActivateAuthorityRequest { name: "root-2".to_owned(), accepted: None };
    authorities(&ca).await.activate_authority(activate).await.unwrap();
    eventually("ready", async || ca.status().await.ready).await;
    assert!(end_of(&ca, "root").await > ca.clock_now());
    let agent = TestAgent::attest(&ca, "n2").await;
    drop(agent.connect(&ca).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_itself_a_ca_that_was_off_for_a_month_is_back_without_a_command() {
    let ca = TestCa::start().await;
    let (directory, clock) = ca.stop().await;
    clock.advance(DAY * 45);
    let ca = TestCa::over(directory, clock).await;
    eventually("ready", async || ca.status().await.ready).await;
    assert_eq!(slot(&ca, "issuer-2").await.as_deref(), Some("active"));
    drop(TestAgent::attest(&ca, "n1").await.connect(&ca).await);
}
