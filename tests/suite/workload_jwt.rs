//! JWT-SVIDs over the agent's real socket, signed by a real CA.

use pki::{Audience, TrustBundle};
use proto::workload;
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaOptions, TestBed, WorkloadClient, eventually};
use tonic::{Code, Status};

struct Bed {
    _bed: TestBed,
    ca: Ca,
    agent: Agent,
    client: WorkloadClient,
}

impl Bed {
    async fn new() -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions::default()).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let own = format!("unix:uid:{}", nix::unistd::getuid());
        ca.create_entry("spiffe://example.org/web", &[&own], "node-1");
        ca.create_entry("spiffe://example.org/foreign", &["unix:path:/nowhere"], "node-1");
        let client = WorkloadClient::connect(&agent.api_socket()).await.unwrap();
        let bed = Self { _bed: bed, ca, agent, client };
        eventually("the entry to be known", async || bed.fetch(&["warm-up"], "").await.ok()).await;
        bed
    }

    async fn fetch(&self, audience: &[&str], spiffe_id: &str) -> Result<Vec<workload::Jwtsvid>, Status> {
        let audience = audience.iter().map(|text| (*text).to_owned()).collect();
        let request = workload::JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
        let answer = self.client.service().fetch_jwtsvid(self.client.request(request)).await?;
        Ok(answer.into_inner().svids)
    }

    async fn validate(&self, audience: &str, svid: &str) -> Result<workload::ValidateJwtsvidResponse, Status> {
        let request = workload::ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        Ok(self.client.service().validate_jwtsvid(self.client.request(request)).await?.into_inner())
    }
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

/// W: a token is for the caller's identity and the audiences asked for, and verifies with the keys of `FetchJWTBundles`.
#[tokio::test(flavor = "multi_thread")]
async fn w_jwt_svids_are_fetched_and_validated_with_the_keys_of_the_bundle() {
    let bed = Bed::new().await;
    let svids = bed.fetch(&["mail", "db"], "").await.unwrap();
    assert_eq!(svids.iter().map(|svid| svid.spiffe_id.as_str()).collect::<Vec<_>>(), ["spiffe://example.org/web"]);
    let token = &svids[0].svid;
    let named = bed.fetch(&["db", "mail"], "spiffe://example.org/web").await.unwrap();
    assert_eq!(&named[0].svid, token, "the same audiences in another order are the same token");
    assert_ne!(&bed.fetch(&["db"], "").await.unwrap()[0].svid, token);

    let mut service = bed.client.service();
    let request = bed.client.request(workload::JwtBundlesRequest {});
    let bundles = service.fetch_jwt_bundles(request).await.unwrap().into_inner().message().await.unwrap().unwrap().bundles;
    assert_eq!(bundles.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    let json: serde_json::Value = serde_json::from_slice(&bundles["spiffe://example.org"]).unwrap();
    let uses: Vec<_> = json["keys"].as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap()).collect();
    assert_eq!(uses, ["jwt-svid"], "keys of another use must not stand in it");
    let domain = identity::TrustDomain::parse("example.org").unwrap();
    let bundle = TrustBundle::from_jwks(domain, &bundles["spiffe://example.org"]).unwrap();
    let now = SystemClock::shared().now().into();
    let valid = pki::validate_jwt_svid(token, &Audience::parse("mail").unwrap(), &bundle, now).unwrap();
    assert_eq!(valid.id().to_string(), "spiffe://example.org/web");

    let validated = bed.validate("db", token).await.unwrap();
    assert_eq!(validated.spiffe_id, "spiffe://example.org/web");
    let claims = validated.claims.unwrap().fields;
    assert!(["aud", "exp", "iat", "sub"].iter().all(|claim| claims.contains_key(*claim)));
    assert_eq!(code(bed.validate("payments", token).await), Some(Code::InvalidArgument));
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let refused = bed.validate("db", &forged).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("signature"), "{refused}");
}

/// W: no audience is no token, and an identity of somebody else's is denied.
#[tokio::test(flavor = "multi_thread")]
async fn w_jwt_svids_without_an_audience_or_of_another_identity_are_refused() {
    let bed = Bed::new().await;
    assert!(bed.fetch(&["mail"], "spiffe://example.org/web").await.is_ok());
    assert_eq!(code(bed.fetch(&[], "").await), Some(Code::InvalidArgument));
    assert_eq!(code(bed.fetch(&[""], "").await), Some(Code::InvalidArgument));
    assert_eq!(code(bed.fetch(&["mail"], "web").await), Some(Code::InvalidArgument));
    assert_eq!(code(bed.fetch(&["mail"], "spiffe://example.org/foreign").await), Some(Code::PermissionDenied));
}

/// W: while the CA is away a kept token is still served, and one that was never had is UNAVAILABLE.
#[tokio::test(flavor = "multi_thread")]
async fn w_a_kept_jwt_svid_is_served_while_the_ca_is_away() {
    let mut bed = Bed::new().await;
    let before = bed.fetch(&["mail"], "").await.unwrap().remove(0).svid;
    bed.ca.kill_hard().await;
    assert_eq!(bed.fetch(&["mail"], "").await.unwrap().remove(0).svid, before);
    assert_eq!(code(bed.fetch(&["db"], "").await), Some(Code::Unavailable));
    assert_eq!(bed.validate("mail", &before).await.unwrap().spiffe_id, "spiffe://example.org/web");
    assert_eq!(bed.agent.metric("signet_workload_api_jwt_svids_total{source=\"cached\"}").await, Some(1.0));
    bed.ca.start_again().await;
    eventually("the CA to be back", async || bed.fetch(&["db"], "").await.ok()).await;
}
