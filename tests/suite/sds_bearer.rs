//! Streams of SDS that bring a token of an issuer that the CA trusts.

use data_encoding::BASE64URL_NOPAD;
use pki::{JwtKey, KeyAlgorithm, PrivateKey, certificates_from_pem};
use runtime::clock::SystemClock;
use serde_json::json;
use tests::{Agent, AgentOptions, Ca, CaOptions, SdsClient, TestBed, eventually};
use tonic::{Code, Status};

const ISSUER: &str = "https://issuer.example";

/// An issuer's key.
struct Issuer(JwtKey);

impl Issuer {
    fn new() -> Self {
        Self(JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap())
    }

    fn key_set(&self) -> String {
        let spki = self.0.authority().public_key().spki_der().to_vec();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.0.key_id().as_str(),
            "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y),
        }]})
        .to_string()
    }

    /// For `web` of the namespace `shop`, ending in so many seconds.
    fn token(&self, ends_in: i64) -> String {
        let now = SystemClock::shared().now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": "signet", "sub": "system:serviceaccount:shop:web",
            "exp": i64::try_from(now).unwrap() + ends_in,
        });
        let header = json!({ "alg": "ES256", "kid": self.0.key_id().as_str() });
        let encode = |part: &serde_json::Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        format!("{input}.{}", BASE64URL_NOPAD.encode(&self.0.sign(input.as_bytes()).unwrap()))
    }
}

/// Whom the certificate names that a stream gets.
async fn identity(agent: &Agent, token: Option<&str>) -> Result<String, Status> {
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe_as(&["default"], token).await?;
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), stream.next()).await.expect("an answer in time")?;
    let chain = answer.secrets[0].chain_pem.clone().expect("a certificate");
    Ok(certificates_from_pem(chain.as_bytes()).unwrap()[0].uri_sans()[0].clone())
}

/// A token gets its own identity, the process keeps its own, and a token that the CA refuses gets neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_its_own_identity_and_a_bad_one_none() {
    let bed = TestBed::new();
    let (issuer, strange) = (Issuer::new(), Issuer::new());
    let keys = bed.write("jwks.json", &issuer.key_set());
    let extra = format!("[[oidc]]\nissuer = \"{ISSUER}\"\naudiences = [\"signet\"]\njwks_file = \"{}\"\n", keys.display());
    let ca = Ca::start(&bed, CaOptions { extra, ..CaOptions::default() }).await;
    let start = async |node: &str, extra: &str| {
        let options = AgentOptions { extra: extra.to_owned(), ..AgentOptions::default() };
        let agent = Agent::launch(&bed, &ca, node, &ca.create_token(node), options).await;
        agent.ready().await;
        ca.create_entry("spiffe://example.org/own", &[&format!("unix:uid:{}", nix::unistd::getuid())], node);
        agent
    };
    let agent = start("node-1", "[sds]\nbearer_tokens = true\n").await;
    let good = issuer.token(3600);
    eventually("the process's own identity", async || identity(&agent, None).await.ok()).await;
    assert_eq!(identity(&agent, None).await.unwrap(), "spiffe://example.org/own");
    assert_eq!(identity(&agent, Some(&good)).await.unwrap(), "spiffe://example.org/ns/shop/sa/web");
    for bad in [issuer.token(-3600), strange.token(3600), format!("{good}x")] {
        let refused = identity(&agent, Some(&bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    let said = agent.process.stderr();
    let signature = good.rsplit('.').next().unwrap();
    assert!(said.contains("identity fetched for a token") && !said.contains(signature), "no token in the log");
    // Off, which is the default: refused, not ignored.
    let plain = start("node-2", "").await;
    eventually("the process's own identity", async || identity(&plain, None).await.ok()).await;
    let refused = identity(&plain, Some(&good)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("bearer_tokens"), "{refused}");
}
