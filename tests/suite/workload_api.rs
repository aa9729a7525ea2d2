//! The SPIFFE Workload API over the agent's real socket.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use proto::workload;
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{
    Agent, AgentOptions, Ca, CaOptions, Process, Requirement, SdsClient, TestBed, WorkloadClient, WorkloadSvid,
    WorkloadSvidStream, eventually, needs, on_this_machine,
};
use tonic::{Code, Status};

fn own_uid() -> String {
    format!("unix:uid:{}", nix::unistd::getuid())
}

fn ids(svids: &[WorkloadSvid]) -> Vec<&str> {
    svids.iter().map(|svid| svid.svid.id().path()).collect()
}

/// The next answer, which must come within a minute.
async fn next(stream: &mut WorkloadSvidStream) -> Result<Vec<WorkloadSvid>, Status> {
    tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("an answer or an end")
}

/// An SVID as the first answer; waits for the entry to reach the agent.
async fn served(client: &WorkloadClient) -> (WorkloadSvidStream, Vec<WorkloadSvid>) {
    eventually("the workload to be served", async || {
        let mut stream = client.x509_svids().await.ok()?;
        let svids = stream.next().await.ok()?;
        Some((stream, svids))
    })
    .await
}

/// E2, E5: each of the seven calls, and nothing else on the socket, wants the header.
#[tokio::test(flavor = "multi_thread")]
async fn e2_the_header_is_asked_for_by_this_service_alone() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    ca.create_entry("spiffe://example.org/web", &[&own_uid()], "node-1");
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let (_stream, svids) = served(&client).await;
    assert_eq!(ids(&svids), ["/web"]);

    for header in [None, Some("false"), Some("True"), Some("")] {
        let bare = client.with_header(header);
        let mut service = bare.service();
        let codes = [
            service.fetch_x509svid(bare.request(workload::X509svidRequest {})).await.map(drop),
            service.fetch_x509_bundles(bare.request(workload::X509BundlesRequest {})).await.map(drop),
            service.fetch_jwtsvid(bare.request(workload::JwtsvidRequest::default())).await.map(drop),
            service.fetch_jwt_bundles(bare.request(workload::JwtBundlesRequest {})).await.map(drop),
            service.validate_jwtsvid(bare.request(workload::ValidateJwtsvidRequest::default())).await.map(drop),
            service.fetch_witsvid(bare.request(workload::WitsvidRequest::default())).await.map(drop),
            service.fetch_wit_bundles(bare.request(workload::WitBundlesRequest {})).await.map(drop),
        ]
        .map(|answer| answer.expect_err("a call without the header is refused").code());
        assert_eq!(codes, [Code::InvalidArgument; 7], "{header:?}");
    }

    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let secrets = sds.subscribe(&["default"]).await.unwrap().next().await.unwrap().secrets;
    assert!(secrets[0].key_pem.is_some(), "SDS asks for no header");
    let mut health = tonic_health::pb::health_client::HealthClient::new(client.channel());
    let service = "SpiffeWorkloadAPI".to_owned();
    let status = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap().into_inner().status;
    assert_eq!(status, i32::from(tonic_health::pb::health_check_response::ServingStatus::Serving));
    let described = reflected(&client).await;
    assert!(described.contains(&"SpiffeWorkloadAPI".to_owned()), "{described:?}");
}

/// The services that reflection lists.
async fn reflected(client: &WorkloadClient) -> Vec<String> {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(client.channel());
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response else {
        panic!("the answer is a list of services")
    };
    list.service.into_iter().map(|service| service.name).collect()
}

/// W: WIT-SVIDs are optional, and a client learns that they are not there.
#[tokio::test(flavor = "multi_thread")]
async fn e5_calls_that_are_not_served_are_unimplemented() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let mut service = client.service();
    let svid = service.fetch_witsvid(client.request(workload::WitsvidRequest::default())).await.map(drop);
    let bundles = service.fetch_wit_bundles(client.request(workload::WitBundlesRequest {})).await.map(drop);
    assert_eq!([svid, bundles].map(|answer| answer.unwrap_err().code()), [Code::Unimplemented; 2]);
}

/// W: the whole state at once and on every change, in the order of the entries, verifiable under the bundle beside it.
#[tokio::test(flavor = "multi_thread")]
async fn w_x509_svids_come_whole_in_a_stable_order_and_are_rotated_on_the_open_stream() {
    let bed = TestBed::new();
    let short = CaOptions { leaf_ttl: "14s".to_owned(), ..CaOptions::default() };
    let ca = Ca::start(&bed, short).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    ca.create_entry("spiffe://example.org/first", &[&own_uid()], "node-1");
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let (mut stream, svids) = served(&client).await;
    assert_eq!(ids(&svids), ["/first"]);
    // Entries of one second are ordered by their IDs, and those are random.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ca.create_entry_with("spiffe://example.org/a-second", &[&own_uid()], "node-1", &["--ttl", "1h"]);
    let now = || SystemClock::shared().now().into();
    let both = eventually("both on the same stream", async || {
        let svids = next(&mut stream).await.unwrap();
        (svids.len() == 2).then_some(svids)
    })
    .await;
    assert_eq!(ids(&both), ["/first", "/a-second"]);
    for svid in &both {
        svid.svid.verify(&svid.bundle, now()).expect("it holds under the bundle beside it");
    }
    let serial = |svids: &[WorkloadSvid], index: usize| svids[index].svid.leaf().serial().to_string();
    let mut last = both;
    for _ in 0..2 {
        let rotated = next(&mut stream).await.unwrap();
        assert_eq!(ids(&rotated), ["/first", "/a-second"], "a rotation changes no order");
        assert_ne!(serial(&rotated, 0), serial(&last, 0), "each answer brings something new");
        assert_eq!(serial(&rotated, 1), serial(&last, 1), "and what did not change with it");
        rotated[0].svid.verify(&rotated[0].bundle, now()).expect("the new one holds");
        last = rotated;
    }
    let mut service = client.service();
    let request = client.request(workload::X509BundlesRequest {});
    let bundles = service.fetch_x509_bundles(request).await.unwrap().into_inner().message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    let root = std::fs::read(ca.root_certificate()).unwrap();
    assert_eq!(bundles["spiffe://example.org"], pki::certificates_from_pem(&root).unwrap()[0].der().to_vec());
}

/// E5: the last entry goes, and with it the stream, at once; SDS streams stay open and get nothing more. And back again.
#[tokio::test(flavor = "multi_thread")]
async fn e5_the_last_entry_that_goes_ends_the_stream_with_permission_denied_and_comes_back() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &[&own_uid()], "node-1");
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let (mut stream, _) = served(&client).await;
    let mut sds = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut secrets = sds.subscribe(&["default"]).await.unwrap();
    let first = secrets.next().await.unwrap();
    secrets.acknowledge(&first).await;

    let clock = SystemClock::shared();
    let second = on_this_machine(Duration::from_secs(1), || drop(ca.operate(&["status"])));
    let _deleted = ca.operate(&["entry", "delete", &entry]).ok();
    let deleted_at = clock.boottime();
    let status = next(&mut stream).await.expect_err("the stream ends");
    let took = clock.boottime().saturating_sub(deleted_at);
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(took < second, "it took {took:?}, {second:?} is what a second is worth here now");
    assert!(status.message().contains(&format!("signet entry explain --pid {}", std::process::id())), "{status}");
    let refused = client.fetch_x509_svids().await.expect_err("nothing is left");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let silence = tokio::time::timeout(Duration::from_millis(1500), secrets.next()).await;
    assert!(silence.is_err(), "the SDS stream stays open and gets nothing more: {silence:?}");

    ca.create_entry("spiffe://example.org/web", &[&own_uid()], "node-1");
    let (_stream, svids) = served(&client).await;
    assert_eq!(ids(&svids), ["/web"]);
    let again = tokio::time::timeout(Duration::from_secs(60), secrets.next()).await.expect("an answer").unwrap();
    assert_eq!(again.secrets.len(), 1);
}

/// E5: before the agent has ever been in step with its CA it cannot know who is entitled to what.
#[tokio::test(flavor = "multi_thread")]
async fn e5_nobody_is_denied_before_the_first_sync() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let token = ca.create_token("node-1");
    ca.kill_hard().await;
    let agent = Agent::launch(&bed, &ca, "node-1", &token, AgentOptions::default()).await;
    let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
    let status = client.fetch_x509_svids().await.expect_err("nothing is known yet");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("signet agent status"), "{status}");

    ca.start_again().await;
    let denied = eventually("the agent to be in step", async || {
        let status = client.fetch_x509_svids().await.expect_err("there is no entry");
        (status.code() != Code::Unavailable).then_some(status)
    })
    .await;
    assert_eq!(denied.code(), Code::PermissionDenied);
    ca.create_entry("spiffe://example.org/web", &[&own_uid()], "node-1");
    let (_stream, svids) = served(&client).await;
    assert_eq!(ids(&svids), ["/web"]);
}

const USERS: [u32; 2] = [10_011, 10_012];

/// E3: who calls is what the kernel says: each user gets its own, and a third one nothing.
#[tokio::test(flavor = "multi_thread")]
async fn e3_a_second_user_gets_nothing_of_the_first_ones() {
    if !needs("e3_a_second_user_gets_nothing_of_the_first_ones", Requirement::Root) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let [entitled, stranger] = USERS;
    ca.create_entry("spiffe://example.org/own", &[&format!("unix:uid:{entitled}")], "node-1");
    eventually("the identity to be in the cache", async || {
        (agent.metric("signet_agent_identities{state=\"available\"}").await == Some(1.0)).then_some(())
    })
    .await;
    let program = bed.path().join("workload-fetch");
    // By a process of its own: a fork of this one at the wrong moment would keep the copy open for writing, and so unstartable.
    let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_workload-fetch")]).arg(&program).status();
    assert!(copied.unwrap().success());
    let mut callers = [entitled, stranger].map(|uid| {
        let mut command = Command::new(&program);
        command.arg(agent.api_socket()).arg("600").uid(uid).gid(uid);
        Process::start(&format!("caller-{uid}"), &mut command, bed.path())
    });
    let mut said = Vec::new();
    for caller in &mut callers {
        said.push(serde_json::from_str::<Value>(&caller.first_line().await).unwrap());
    }
    assert_eq!(said[0]["svids"][0]["id"], "spiffe://example.org/own");
    assert_eq!(said[1]["code"], "PermissionDenied", "{}", said[1]);
}
