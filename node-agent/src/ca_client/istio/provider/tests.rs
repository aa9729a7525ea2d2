use std::path::Path;
use std::time::{Duration, SystemTime};

use pki::{KeyAlgorithm, PrivateKey, X509Svid, build_request};
use runtime::clock::TestClock;

use super::*;
use crate::ca_client::CaProvider;
use crate::config::{AgentConfig, Provider};
use crate::fakes::{FakeAuthority, FakeCa};

struct Bed {
    clock: Arc<TestClock>,
    ca: FakeCa,
    directory: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let ca = FakeCa::start(clock.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("roots.pem"), ca.authority.bundle(1).to_pem()).unwrap();
        std::fs::write(directory.path().join("token"), "aaa.bbb.ccc").unwrap();
        Self { clock, ca, directory }
    }

    /// With one identity, `/web`, and these lines for its credential.
    fn provider(&self, credential: &str) -> IstioProvider {
        let at = self.directory.path().display();
        let text = format!(
            "trust_domain = \"example.org\"\nstate_dir = \"{at}/state\"\nprovider = \"istio\"\n[istio]\naddress = \"{}\"\n\
             roots = \"{at}/roots.pem\"\n[[istio.identity]]\nspiffe_id = \"spiffe://example.org/web\"\n\
             selectors = [\"unix:uid:1\"]\n{credential}",
            self.ca.address
        );
        let config = AgentConfig::parse("f", &text).unwrap();
        let Provider::Istio(istio) = &config.provider else { panic!("another provider") };
        let state = StateDir::open(&config.state_dir).unwrap();
        let (readiness, metrics) = (Readiness::default(), AgentMetrics::default());
        IstioProvider::prepare(istio, &config.trust_domain, state, self.clock.clone(), readiness, metrics).unwrap()
    }

    fn by_token(&self, more: &str) -> IstioProvider {
        self.provider(&format!("token_file = \"{}/token\"\n{more}", self.directory.path().display()))
    }

    fn by_directory(&self) -> IstioProvider {
        self.provider(&format!("certificate_directory = \"{}\"\n", self.directory.path().display()))
    }

    fn svid(&self, path: &str) -> X509Svid {
        self.ca.authority.svid(&self.ca.authority.id(path), Duration::from_secs(600), self.clock.now().into())
    }

    fn shown(&self) -> Vec<Option<String>> {
        self.ca.seen().certificates.iter().map(|call| call.peer.as_ref().map(ToString::to_string)).collect()
    }
}

fn put(directory: &Path, svid: &X509Svid) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(directory.join("cert-chain.pem"), pki::certificates_to_pem(svid.chain())).unwrap();
    std::fs::write(directory.join("key.pem"), &**svid.key().to_pkcs8_pem()).unwrap();
    std::fs::set_permissions(directory.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn ask(provider: &IstioProvider, held: Option<&Arc<X509Svid>>) -> IssueAnswer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = build_request(&key, None).unwrap();
    let entry_id = provider.views().borrow().entries.keys().next().unwrap().clone();
    let item = IssueItem { entry_id, account: None, csr, held: held.cloned() };
    provider.issuer().issue(vec![item]).await.unwrap().remove(0)
}

#[tokio::test]
async fn entries_are_the_configurations_and_the_bundle_is_what_the_last_good_answer_brought() {
    let bed = Bed::new().await;
    let provider = bed.by_token("hint = \"internal\"\n");
    let view = Arc::clone(&provider.views().borrow());
    assert!(view.bundle.is_none() && view.node.is_none());
    let entry = view.entries.values().next().unwrap();
    assert_eq!((entry.spiffe_id.as_str(), entry.hint.as_str()), ("spiffe://example.org/web", "internal"));

    bed.ca.answer(|answers| answers.wrong_name = Some("spiffe://example.org/other".to_owned()));
    assert!(matches!(ask(&provider, None).await, Err(CallFault::Answer(_))));
    assert!(provider.views().borrow().bundle.is_none(), "a bad answer brings no bundle either");
    bed.ca.answer(|answers| answers.wrong_name = None);
    for _ in 0..2 {
        assert_eq!(ask(&provider, None).await.unwrap().spiffe_id, "spiffe://example.org/web");
        let bundle = provider.views().borrow().bundle.clone().unwrap();
        assert_eq!((bundle.sequence(), bundle.authorities()), (1, &[bed.ca.authority.root.clone()][..]));
    }
    let status = provider.statuses().borrow().clone();
    assert!(status.connected && status.trouble.is_none());
}

#[tokio::test]
async fn what_such_a_ca_cannot_give_is_absent() {
    let bed = Bed::new().await;
    let provider = bed.by_token("");
    assert_eq!(provider.capabilities().absent(), ["entry sync", "bundle push", "revocation", "JWT-SVID"]);
    assert!(provider.channels().borrow().is_none());
}

#[tokio::test]
async fn a_certificate_gives_way_to_the_svid_issued_by_it_and_comes_back_when_that_is_refused() {
    let bed = Bed::new().await;
    put(bed.directory.path(), &bed.svid("/web"));
    let provider = bed.by_directory();
    ask(&provider, None).await.unwrap();
    let held = Arc::new(bed.svid("/web"));
    ask(&provider, Some(&held)).await.unwrap();
    assert_eq!(bed.shown().len(), 2);

    bed.ca.answer(|answers| answers.refuse_certificate = Some(tonic::Status::unauthenticated("too old")));
    assert!(matches!(ask(&provider, Some(&held)).await, Err(CallFault::Refused { .. })));
    assert_eq!(bed.shown().len(), 4, "the SVID, then the directory");
    assert!(matches!(ask(&provider, None).await, Err(CallFault::Refused { .. })));
    assert_eq!(bed.shown().len(), 5);
}

#[tokio::test]
async fn a_directory_that_does_not_prove_the_identity_is_not_shown() {
    let bed = Bed::new().await;
    put(bed.directory.path(), &bed.svid("/other"));
    let provider = bed.by_directory();
    let refused = ask(&provider, None).await.unwrap_err().to_string();
    assert!(refused.contains("names spiffe://example.org/other, the identity is spiffe://example.org/web"), "{refused}");
    let now = Timestamp::from(bed.clock.now());
    let old = FakeAuthority::new(now.minus(Duration::from_secs(86_400)));
    put(bed.directory.path(), &old.svid(&old.id("/web"), Duration::from_secs(60), now.minus(Duration::from_secs(3600))));
    let refused = ask(&provider, None).await.unwrap_err().to_string();
    assert!(refused.contains("put a new one there"), "{refused}");
    assert!(bed.shown().is_empty());
    put(bed.directory.path(), &bed.svid("/web"));
    ask(&provider, None).await.unwrap();
}

#[tokio::test]
async fn dns_names_that_are_needed_must_be_granted() {
    let bed = Bed::new().await;
    let refused = ask(&bed.by_token("dns = [\"web.example.org\"]\n"), None).await.unwrap_err().to_string();
    assert!(refused.contains("does not bear the DNS name web.example.org"), "{refused}");
    ask(&bed.by_token(""), None).await.unwrap();
}
