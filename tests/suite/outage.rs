//! The CA is away: what goes on, what is said, what heals.

use tests::{Agent, Ca, CaOptions, SdsClient, TestBed, eventually, eventually_within};

/// P5: with the CA down the agent serves on, also to newcomers, says what is wrong, and heals when the CA is back.
#[tokio::test(flavor = "multi_thread")]
async fn p05_while_the_ca_is_down_the_agent_serves_on_alarms_and_heals() {
    let bed = TestBed::new();
    let options = CaOptions { leaf_ttl: "40s".to_owned(), agent_ttl: "1h".to_owned(), ..CaOptions::default() };
    let mut ca = Ca::start(&bed, options).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let uid = nix::unistd::getuid();
    ca.create_entry("spiffe://example.org/web", &[&format!("unix:uid:{uid}")], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut open = client.subscribe(&["default"]).await.unwrap();
    let first = open.next().await.unwrap();
    open.acknowledge(&first).await;

    // How long that can go on is known before.
    eventually("the end of the first workload certificate to be told", async || {
        let outlook = ca.operate(&["drill", "outage"]).ok().json();
        let (first, now) = (outlook["first_workload_certificate_ends"].as_str()?, outlook["now"].as_str()?);
        let until = |text: &str| humantime::parse_rfc3339(text).unwrap();
        (until(first) < until(now) + std::time::Duration::from_secs(41)).then_some(())
    })
    .await;

    ca.kill_hard().await;
    eventually("the agent to notice", async || (agent.metric("signet_agent_sync_connected").await == Some(0.0)).then_some(()))
        .await;
    let mut newcomer = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = newcomer.subscribe(&["default", "ROOTCA"]).await.unwrap();
    let served = stream.next().await.expect("a newcomer is served from what the agent holds");
    assert!(served.secrets.iter().any(|secret| secret.key_pem.is_some()), "{served:?}");
    // Past half of 40 s the renewal fails, and that is to be seen long before the end.
    eventually_within("an alarm about the renewal that is late", std::time::Duration::from_secs(60), async || {
        (agent.metric("signet_agent_renewals_late").await? >= 1.0).then_some(())
    })
    .await;
    let left = agent.metric("signet_agent_first_identity_loss_seconds").await.expect("the horizon is shown");
    assert!(left > 0.0 && left <= 40.0, "the first loss is {left} s away");

    ca.start_again().await;
    // The agent waits for up to half a minute between two tries.
    let renewed = tokio::time::timeout(std::time::Duration::from_secs(90), open.next()).await.expect("it heals").unwrap();
    assert_ne!(renewed.version, first.version);
    eventually("the alarm to end", async || (agent.metric("signet_agent_renewals_late").await == Some(0.0)).then_some(())).await;
}
