//! A revoked identity and new revocation lists, from the sync stream to every socket.

use proto::v1::AgentStatusResponse;
use proto::workload::X509svidRequest;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use runtime::clock::Clock;
use tonic::Code;

use super::*;

async fn status_until(
    admin: &mut AgentAdminClient<Channel>,
    holds: impl Fn(&AgentStatusResponse) -> bool,
) -> AgentStatusResponse {
    let seen = async {
        loop {
            let status = admin.agent_status(AgentStatusRequest {}).await.unwrap().into_inner();
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the status comes to it")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_taken_from_every_stream_and_comes_back_with_another_key() {
    let bed = Bed::new().await;
    let entry = bed.ca.entry("mine", "/web", &format!("unix:uid:{}", nix::unistd::getuid()));
    let now = || pki::Timestamp::from(bed.clock.now());
    bed.ca.answer(|answers| answers.revocation = Some(bed.ca.authority.wire_lists(&[], 1, now())));
    bed.ca.entries.send_replace(vec![entry.clone()]);
    let server = bed.bind().await.unwrap();
    let addresses = server.addresses().clone();
    let (trigger, shutdown) = shutdown::channel();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let running = tokio::spawn(server.run(shutdown));

    let (first, mut answers) = first_answer(&addresses.api_socket).await;
    let mut sds = SecretDiscoveryServiceClient::new(channel(addresses.api_socket.clone()).await);
    let fetch = |name: &str| DiscoveryRequest { resource_names: vec![name.to_owned()], ..DiscoveryRequest::default() };
    let mut follow = tonic::Request::new(X509svidRequest {});
    follow.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    let mut workload = SpiffeWorkloadApiClient::new(channel(addresses.api_socket.clone()).await);
    let mut svids = workload.fetch_x509svid(follow).await.unwrap().into_inner();
    let held = soon(svids.message()).await.unwrap().unwrap();
    assert_eq!((held.svids.len(), held.crl.len()), (1, 2));
    let mut admin = AgentAdminClient::new(channel(addresses.admin_socket).await);
    let status = status_until(&mut admin, |status| status.identities.iter().all(|identity| identity.state == "available")).await;
    let lists = status.revocation.unwrap();
    assert_eq!((lists.sequence, lists.complete, lists.lists.len()), (1, true, 2));
    assert!(lists.lists.iter().all(|list| list.current && list.revoked == 0 && list.number == "1"));

    // The certificate is on a list: it is replaced at once, and the list goes where the bundle goes.
    let batches = bed.ca.seen().batches.len();
    let leaf = pki::Certificate::all_from_der(&held.svids[0].x509_svid).unwrap().remove(0);
    let key = pki::PrivateKey::from_pkcs8_der(&held.svids[0].x509_svid_key).unwrap();
    let held = pki::X509Svid::new(vec![leaf], key, now()).unwrap();
    bed.ca.answer(|answers| answers.revocation = Some(bed.ca.authority.wire_lists(&[&held], 2, now())));
    let second = soon(answers.message()).await.unwrap().unwrap();
    assert_ne!(second.version_info, first.version_info);
    let roots = soon(sds.fetch_secrets(fetch("ROOTCA"))).await.unwrap().into_inner();
    let text = String::from_utf8_lossy(&roots.resources[0].value).into_owned();
    assert_eq!(text.matches("BEGIN X509 CRL").count(), 2);
    let status = status_until(&mut admin, |status| status.revocation.as_ref().is_some_and(|lists| lists.sequence == 2)).await;
    assert_eq!(status.revocation.unwrap().lists[1].revoked, 1);
    assert_eq!(bed.ca.seen().batches.len(), batches + 1);

    // The identity is revoked: nothing is held or asked for.
    bed.ca.entries.send_replace(vec![proto::v1::Entry { revoked: true, ..entry.clone() }]);
    let ended = soon(async {
        loop {
            match svids.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a word"),
                Err(status) => return status,
            }
        }
    })
    .await;
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert!(ended.message().contains("spiffe://example.org/web is revoked"), "{ended}");
    for name in ["default", "spiffe://example.org/web", "ROOTCA"] {
        assert_eq!(soon(sds.fetch_secrets(fetch(name))).await.unwrap_err().code(), Code::PermissionDenied, "{name}");
    }
    let status = status_until(&mut admin, |status| status.identities.iter().all(|identity| identity.state == "revoked")).await;
    assert!(status.identities[0].serial.is_empty() && status.identities[0].last_error.is_empty(), "{status:?}");
    let batches = bed.ca.seen().batches.len();

    // Restored: what comes next on the stream of SDS, which stayed open, is another certificate.
    bed.ca.entries.send_replace(vec![entry]);
    let third = soon(answers.message()).await.unwrap().unwrap();
    assert!(third.version_info != second.version_info && third.version_info != first.version_info);
    assert_eq!(third.resources.len(), 1);
    assert_eq!(bed.ca.seen().batches.len(), batches + 1, "nothing was asked for in between");
    trigger.fire();
    soon(running).await.unwrap().unwrap();
}
