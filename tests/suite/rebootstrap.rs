//! The file by which nodes first trust the CA: what it decides, and what it does not any more.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tests::{Agent, Ca, CaOptions, Cli, JoinToken, SdsClient, TestBed, eventually, eventually_within};

/// Starts an agent that trusts the roots of a file at its first contact.
async fn launch(bed: &TestBed, ca: &Ca, anchor: &Path, token: &JoinToken) -> Agent {
    let at = bed.path().display();
    put_token(bed, token);
    let content = format!(
        "trust_domain = \"{}\"\nstate_dir = \"{at}/n1-state\"\nca_address = \"{}\"\ntrust_bundle = \"{}\"\n\
         join_token_file = \"{at}/n1-token\"\napi_socket = \"{at}/n1-public/api.sock\"\nadmin_socket = \"{at}/n1-admin.sock\"\n\
         [telemetry]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n",
        ca.trust_domain,
        ca.address,
        anchor.display(),
    );
    bed.write("n1.toml", &content);
    Agent::run(bed.path(), "n1").await
}

fn put_token(bed: &TestBed, token: &JoinToken) {
    let file = bed.write("n1-token", &token.token);
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
}

fn own_uid() -> String {
    format!("unix:uid:{}", nix::unistd::getuid())
}

fn status(agent: &Agent) -> serde_json::Value {
    agent.operate(&["agent", "status"]).ok().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_else_wrote_changes_nothing_and_alarms_and_a_ca_made_anew_is_trusted_by_order_alone() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let anchor = bed.path().join("anchor.pem");
    std::fs::copy(ca.root_certificate(), &anchor).unwrap();
    let agent = launch(&bed, &ca, &anchor, &ca.create_token("n1")).await;
    agent.ready().await;
    ca.create_entry("spiffe://example.org/web", &[&own_uid()], "n1");
    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = sds.subscribe(&["default"]).await.unwrap();
    let first = stream.next().await.unwrap().secrets[0].chain_pem.clone().unwrap();
    let former = status(&agent)["bundle_sequence"].as_u64().unwrap();

    // In step, there is nothing to trust anew.
    let refused = agent.operate(&["agent", "rebootstrap"]);
    assert!(refused.code != 0 && refused.stderr.contains("in step with the CA"), "{}", refused.stderr);

    // Another CA of the same name, elsewhere for now.
    let address = ca.address.to_string();
    let config = Ca::configure(&bed, "anew", "127.0.0.1:0", &CaOptions::default());
    let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    let mut anew = Ca::run(bed.path(), "anew", "example.org").await;
    anew.ready().await;
    std::fs::copy(anew.root_certificate(), &anchor).unwrap();
    // It may differ for half a minute.
    eventually_within("the file to be told as wrong", Duration::from_secs(90), async || {
        let told = status(&agent)["warnings"].to_string();
        told.contains("is not in the trust bundle").then_some(())
    })
    .await;
    assert_eq!(agent.metric("signet_agent_alarms_total{kind=\"anchor_differs\"}").await, Some(1.0));
    assert_eq!((status(&agent)["connected"].as_bool(), agent.readiness().await.0), (Some(true), 200), "nothing else changes");

    // It takes the place of the one that is gone: not trusted, whatever the file says.
    ca.process.stop().await;
    anew.process.stop().await;
    let _config = Ca::configure(&bed, "anew", &address, &CaOptions::default());
    let anew = Ca::run(bed.path(), "anew", "example.org").await;
    anew.ready().await;
    anew.create_entry("spiffe://example.org/web", &[&own_uid()], "n1");
    put_token(&bed, &anew.create_token("n1"));
    eventually("the agent to be out of step", async || {
        let status = status(&agent);
        (status["connected"] == false && status["warnings"].to_string().contains("issued this chain")).then_some(())
    })
    .await;
    assert_eq!(status(&agent)["bundle_sequence"].as_u64(), Some(former));

    let plan = agent.operate(&["agent", "rebootstrap", "--dry-run"]).ok().json();
    assert_eq!((plan["dry_run"].as_bool(), plan["former_sequence"].as_u64()), (Some(true), Some(former)));
    assert_ne!(plan["former_authorities"], plan["authorities"]);
    assert!(!anew.operate(&["node", "list"]).ok().stdout.contains("n1"), "a dry run does nothing");

    // The order: the SVID held is served on until the next one is there.
    let done = agent.operate(&["agent", "rebootstrap"]).ok().json();
    assert_eq!((&done["authorities"], done["dry_run"].as_bool()), (&plan["authorities"], Some(false)));
    eventually("the agent to be in step again", async || (status(&agent)["connected"] == true).then_some(())).await;
    let next = stream.next().await.unwrap().secrets[0].chain_pem.clone().unwrap();
    assert_ne!(first, next);
    eventually("the CA to have it in its audit chain", async || {
        let audit = anew.operate(&["audit", "tail", "-n", "1000"]).ok().stdout;
        (audit.matches("agent_rebootstrapped").count() == 1).then_some(())
    })
    .await;
    eventually("the note to be gone", async || (!agent.state_dir().join("rebootstrap.json").exists()).then_some(())).await;
    eventually("the alarm to end", async || {
        (!status(&agent)["warnings"].to_string().contains("is not in the trust bundle")).then_some(())
    })
    .await;
}
