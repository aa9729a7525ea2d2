//! The rule of service accounts: agents get the identities of the accounts that live pods on their nodes run as, with a real API server whose
//! kubelets are played by the tests.

use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey};
use proto::istio::IstioCertificateRequest;
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::v1;
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{
    AttestedNode, CaConnection, ContainerGroup, Passage, Requirement, attested_connection, eventually_within, http_get, needs,
};
use tonic_types::StatusExt;

use crate::kubernetes_agents::{AUDIENCE, Fleet};
use crate::kubernetes_tokens::{LIMIT, csr};
use crate::kubernetes_workloads::{fresh, kubelet_says, possible, start};

/// The rule's numbers and the nodes of a fleet.
impl Fleet {
    /// A bare agent, which attested a node by its pod.
    async fn bare_agent(&self, pod: &str, node: &str) -> (CaConnection, AttestedNode) {
        let pod = self.pod(pod, "agent", node).await;
        let token = self.stage.token("agent", AUDIENCE, Some(&pod)).await;
        let fingerprint = self.ca.create_token("unused").ca_fingerprint;
        let open = async |svid| CaConnection::open(self.ca.address, &self.ca.trust_domain, &fingerprint, svid).await.unwrap();
        let anonymous = open(None).await;
        let node_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let proof = (&node_key, &anonymous.exporter, token.as_str());
        let attested = anonymous.attest_service_account(&token, &node_key, proof).await.unwrap();
        (open(Some(attested.svid.clone())).await, attested)
    }

    fn id(&self, account: &str) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{account}", self.stage.namespace)
    }

    /// The identity of a service account of this namespace, or why there is none.
    async fn ask(&self, agent: &CaConnection, account: &str) -> Result<String, v1::IssueError> {
        agent.issue_for_account(self.stage.namespace, account).await.map(|svid| svid.id().to_string())
    }

    async fn number(&self, name: &str) -> u64 {
        let start = format!("signet_ca_kubernetes_{name}");
        let metrics = self.ca.metrics().await;
        let of = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
        metrics.lines().filter(|line| line.starts_with(&start)).filter_map(of).sum()
    }
}

fn reason(answer: Result<String, v1::IssueError>) -> (String, String) {
    let error = answer.expect_err("it is refused");
    (error.reason, error.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_the_identities_of_the_pods_of_its_node_and_no_others() {
    let name = "an_agent_gets_the_identities_of_the_pods_of_its_node_and_no_others";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let fleet = Fleet::new("ruled").await;
    let (near, far) = (fleet.node("near").await, fleet.node("far").await);
    let web = fleet.pod("web-1", "web", &near).await;
    let (agent, _) = fleet.bare_agent("agent-near", &near).await;
    let (other, _) = fleet.bare_agent("agent-far", &far).await;
    let svid = agent.issue_for_account("ruled", "web").await.unwrap();
    assert_eq!(svid.id().to_string(), fleet.id("web"));
    let events = fleet.ca.operate(&["audit", "tail", "-n", "1000"]).ok().json().to_string();
    let uid = web["metadata"]["uid"].as_str().unwrap();
    let recorded = format!("live_pod ruled/web-1 {uid} of Kubernetes");
    assert!(events.contains(&recorded), "{recorded} in {events}");

    // Not another node's, not one that nobody has, not what is no account, and not beside an entry.
    let (why, told) = reason(fleet.ask(&other, "web").await);
    assert_eq!(why, "NO_LIVE_POD");
    assert!(told.contains(&format!("no live pod of ruled/web runs on {far}")), "{told}");
    assert_eq!(reason(fleet.ask(&agent, "nobody").await).0, "NO_LIVE_POD");
    for odd in ["", "web/../agent", "Web", "web sa"] {
        assert_eq!(reason(fleet.ask(&agent, odd).await).0, "REQUEST_INVALID", "{odd:?}");
    }
    let entry = fleet.ca.create_entry("spiffe://cluster.local/other", &["unix:uid:1"], &far);
    let item = v1::batch_issue_request::Item {
        entry_id: entry,
        csr: Vec::new(),
        service_account: Some(v1::ServiceAccount { namespace: "ruled".to_owned(), name: "web".to_owned() }),
    };
    let answer = agent.node().batch_issue(v1::BatchIssueRequest { items: vec![item] }).await.unwrap().into_inner();
    let Some(v1::batch_issue_response::item::Outcome::Error(error)) = answer.items[0].outcome.clone() else {
        panic!("{answer:?}")
    };
    assert_eq!(error.reason, "REQUEST_INVALID");
    // A node that came otherwise has no pods, whatever it is called.
    let (vm, _) = attested_connection(&fleet.ca, &format!("{near}-vm")).await;
    let (why, told) = reason(fleet.ask(&vm, "web").await);
    assert!(why == "SERVICE_ACCOUNT_REFUSED" && told.contains("was not attested by the pod of its agent"), "{why}: {told}");

    // Tokens, by the same rule.
    let jwt = async |agent: &CaConnection| {
        let service_account = Some(v1::ServiceAccount { namespace: "ruled".to_owned(), name: "web".to_owned() });
        let request = v1::IssueJwtSvidRequest { entry_id: String::new(), audiences: vec!["db".to_owned()], service_account };
        agent.node().issue_jwt_svid(request).await.map(|answer| answer.into_inner().token)
    };
    assert!(!jwt(&agent).await.unwrap().is_empty());
    let refused = jwt(&other).await.unwrap_err().get_details_error_info().unwrap().reason;
    assert_eq!(refused, "NO_LIVE_POD");

    // Whoever has the certificate comes no further with it.
    let fingerprint = fleet.ca.create_token("unused").ca_fingerprint;
    let held =
        CaConnection::open(fleet.ca.address, "cluster.local", &fingerprint, Some(std::sync::Arc::new(svid))).await.unwrap();
    let message = IstioCertificateRequest { csr: csr(), ..IstioCertificateRequest::default() };
    let status = IstioCertificateServiceClient::new(held.channel).create_certificate(message).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_RENEWABLE", "{status}");

    // Revoked, restored; and the pod ends.
    let _revoked = fleet.ca.operate(&["revoke", "--spiffe-id", &fleet.id("web")]).ok();
    assert_eq!(reason(fleet.ask(&agent, "web").await).0, "IDENTITY_REVOKED");
    let refused = jwt(&agent).await.unwrap_err().get_details_error_info().unwrap().reason;
    assert_eq!(refused, "IDENTITY_REVOKED");
    let _restored = fleet.ca.operate(&["unrevoke", "--spiffe-id", &fleet.id("web")]).ok();
    assert!(fleet.ask(&agent, "web").await.is_ok());
    fleet.delete("web-1").await;
    eventually_within("the identity to end", LIMIT, async || fleet.ask(&agent, "web").await.is_err().then_some(())).await;
    assert_eq!(reason(fleet.ask(&agent, "web").await).0, "NO_LIVE_POD");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_minute_of_a_stalled_watch_no_wrong_identity_is_given_and_no_right_one_refused() {
    let name = "for_a_minute_of_a_stalled_watch_no_wrong_identity_is_given_and_no_right_one_refused";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let server = tests::ApiServer::shared().await;
    let passage = Passage::to(server.address()).await;
    let fleet = Fleet::with("still", Some(&passage), "").await;
    eventually_within("the watch to have its connection", LIMIT, async || (passage.connections() == 1).then_some(())).await;
    let (near, far) = (fleet.node("near").await, fleet.node("far").await);
    let (here, _) = fleet.bare_agent("agent-near", &near).await;
    let (there, _) = fleet.bare_agent("agent-far", &far).await;
    let mut homes = [(&near, &here), (&far, &there)];
    let _first = fleet.pod("web-1", "web", homes[0].0).await;
    eventually_within("the first identity", LIMIT, async || fleet.ask(homes[0].1, "web").await.ok()).await;
    let watched = async || fleet.number("pod_decisions_total{by=\"watch\"").await;

    passage.stall_but(2);
    eventually_within("what was heard last to count no more", LIMIT, async || {
        let before = watched().await;
        assert!(fleet.ask(homes[0].1, "web").await.is_ok());
        (watched().await == before).then_some(())
    })
    .await;
    let clock = SystemClock::shared();
    let (begin, mut moves) = (clock.boottime(), 0);
    while clock.boottime() - begin < Duration::from_secs(60) {
        fleet.delete("web-1").await;
        assert_eq!(reason(fleet.ask(homes[0].1, "web").await).0, "NO_LIVE_POD");
        homes.swap(0, 1);
        let _moved = fleet.pod("web-1", "web", homes[0].0).await;
        assert_eq!(fleet.ask(homes[0].1, "web").await.unwrap(), fleet.id("web"), "move {moves}");
        assert_eq!(reason(fleet.ask(homes[1].1, "web").await).0, "NO_LIVE_POD");
        moves += 1;
    }
    eprintln!("{moves} moves while the watch was stalled");
    assert_eq!(fleet.number("bridged_renewals_total").await, 0, "what can be read needs no bridge");
    passage.open();
    eventually_within("the watch to go on", LIMIT, async || {
        let before = watched().await;
        assert!(fleet.ask(homes[0].1, "web").await.is_ok());
        (watched().await > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_what_was_confirmed_is_renewed_for_a_while_and_nothing_is_given_anew() {
    let name = "while_the_api_server_is_away_what_was_confirmed_is_renewed_for_a_while_and_nothing_is_given_anew";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let server = tests::ApiServer::shared().await;
    let passage = Passage::to(server.address()).await;
    let fleet = Fleet::with("bridged", Some(&passage), "renew_without_apiserver = \"25s\"").await;
    let (near, far) = (fleet.node("near").await, fleet.node("far").await);
    let _web = fleet.pod("web-1", "web", &near).await;
    let (agent, _) = fleet.bare_agent("agent-near", &near).await;
    let (other, _) = fleet.bare_agent("agent-far", &far).await;
    eventually_within("the first identity", LIMIT, async || fleet.ask(&agent, "web").await.ok()).await;

    passage.shut();
    // It is there, and nobody had its identity before.
    let _made = fleet.stage.account("late").await;
    let _late = fleet.pod("late-1", "late", &near).await;
    let bridged = async || fleet.number("bridged_renewals_total").await;
    eventually_within("a renewal without the API server", LIMIT, async || {
        assert_eq!(fleet.ask(&agent, "web").await.unwrap(), fleet.id("web"));
        (bridged().await > 0).then_some(())
    })
    .await;
    assert_eq!(reason(fleet.ask(&agent, "late").await).0, "PODS_UNAVAILABLE");
    assert_eq!(reason(fleet.ask(&other, "web").await).0, "PODS_UNAVAILABLE", "only who had it before");
    eventually_within("the operator to be told for how long", LIMIT, async || {
        http_get(fleet.ca.telemetry(), "/readyz").await.body.contains("agents renew for").then_some(())
    })
    .await;
    eventually_within("the bridge to end", LIMIT, async || {
        let answer = fleet.ask(&agent, "web").await;
        answer.is_err().then(|| assert_eq!(reason(answer).0, "PODS_UNAVAILABLE"))
    })
    .await;
    passage.open();
    eventually_within("the pods to be read again", LIMIT, async || fleet.ask(&agent, "late").await.ok()).await;
    assert_eq!(fleet.ask(&agent, "web").await.unwrap(), fleet.id("web"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_an_entry_has_the_identity_of_its_pods_account_and_by_an_entry_that_alone() {
    if !possible("a_process_without_an_entry_has_the_identity_of_its_pods_account_and_by_an_entry_that_alone") {
        return;
    }
    let fleet = Fleet::new("unwritten").await;
    let node = fleet.node("a").await;
    let pod = fleet.pod("agent-1", "agent", &node).await;
    let token = fleet.project("token", "agent", AUDIENCE, Some(&pod)).await;
    let agent = fleet.seeing_agent("ruled", &token, &node).await;
    agent.ready().await;
    let web = fleet.pod("web-1", "web", &node).await;
    let app = fresh();
    kubelet_says(&fleet.stage, &node, "web-1", &[("app", &app)]).await;
    let group = ContainerGroup::new(web["metadata"]["uid"].as_str().unwrap(), &app);
    let fetch =
        async |name: &str| start(&agent, &fleet.stage, name, &["svid", "fetch", "x509", "-o", "json"], Some(&group)).done().await;

    let first = fetch("first").await;
    assert_eq!((first.code, first.identities()), (0, vec![fleet.id("web")]), "{}", first.said);
    agent.holds(1).await;
    let unasked = agent.metric("signet_agent_identities{state=\"initializing\"}").await;
    assert_eq!(unasked, Some(1.0), "what nobody asks for, the agent's own account here, is not fetched");
    let watching = start(&agent, &fleet.stage, "explained", &["svid", "watch"], Some(&group));
    let explained: Value = agent.operate(&["entry", "explain", "--pid", &watching.process.id().to_string()]).ok().json();
    assert!(explained.to_string().contains("account:unwritten/web"), "{explained}");

    let entry = fleet.ca.create_entry("spiffe://cluster.local/front", &["k8s:ns:unwritten", "k8s:pod-name:web-1"], &node);
    eventually_within("the entry to count alone", LIMIT, async || {
        let outcome = fetch("by-entry").await;
        (outcome.code == 0 && outcome.identities() == ["spiffe://cluster.local/front"]).then_some(())
    })
    .await;
    let _deleted = fleet.ca.operate(&["entry", "delete", &entry]).ok();
    eventually_within("the rule to count again", LIMIT, async || {
        let outcome = fetch("by-rule").await;
        (outcome.code == 0 && outcome.identities() == [fleet.id("web")]).then_some(())
    })
    .await;
    // Revoked at the CA: taken from whoever has it.
    let _revoked = fleet.ca.operate(&["revoke", "--spiffe-id", &fleet.id("web")]).ok();
    eventually_within("it to be taken away", LIMIT, async || (fetch("revoked").await.code != 0).then_some(())).await;
    let _restored = fleet.ca.operate(&["unrevoke", "--spiffe-id", &fleet.id("web")]).ok();
    eventually_within("it to be given again", LIMIT, async || {
        let outcome = fetch("restored").await;
        (outcome.code == 0 && outcome.identities() == [fleet.id("web")]).then_some(())
    })
    .await;
    // The pod goes, and the agent hears of it in its time.
    fleet.delete("web-1").await;
    eventually_within("its identity to go with it", LIMIT, async || (fetch("gone").await.code != 0).then_some(())).await;
}
