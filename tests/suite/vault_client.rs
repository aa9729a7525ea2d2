//! The client of Vault and OpenBao against a server of ours that speaks their documented API. It is neither of the two.

use std::sync::Arc;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, build_request, certificates_from_pem};
use runtime::clock::{SystemClock, TestClock};
use runtime::config::Document;
use runtime::entropy::SystemEntropy;
use tests::{TestBed, VAULT_JWT, VAULT_ROLE_ID, VAULT_SECRET_ID, VaultMood, VaultServer};
use vault::answer::SignedCertificate;
use vault::{FaultKind, IntermediateRequest, LeafRequest, VaultClient, VaultConfig, VaultError, VaultMetrics};

struct Bench {
    bed: TestBed,
    server: VaultServer,
    clock: Arc<TestClock>,
}

impl Bench {
    async fn new() -> Self {
        let bed = TestBed::new();
        let server = VaultServer::start(&bed).await;
        Self { bed, server, clock: TestClock::at(SystemClock::shared().now()) }
    }

    fn client(&self, more: &str, auth: &str) -> VaultClient {
        let document = Document::parse("f", &format!("{}{more}[auth]\n{auth}", self.server.lines())).unwrap();
        let config = VaultConfig::read(&document.root());
        document.finish().unwrap();
        VaultClient::new(config.unwrap(), self.clock.clone(), Arc::new(SystemEntropy), VaultMetrics::default())
    }

    fn by_app_role(&self) -> VaultClient {
        let secret = self.bed.write_private("secret-id", VAULT_SECRET_ID);
        self.client("", &app_role(&secret))
    }

    /// How many logins and signatures were asked for.
    fn asked(&self) -> (usize, usize) {
        (self.server.count("/login"), self.server.count("/sign/web"))
    }
}

fn app_role(secret: &std::path::Path) -> String {
    format!("method = \"approle\"\nrole_id = \"{VAULT_ROLE_ID}\"\nsecret_id_file = \"{}\"\n", secret.display())
}

fn leaf() -> LeafRequest {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    LeafRequest {
        role: "web".parse().unwrap(),
        csr_der: build_request(&key, None).unwrap(),
        uri: "spiffe://example.org/web".to_owned(),
        dns_names: Vec::new(),
        ttl: Some(Duration::from_secs(600)),
    }
}

async fn ask(client: &VaultClient) -> Result<SignedCertificate, VaultError> {
    client.sign_leaf(&leaf()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_login_serves_many_signatures_and_each_call_says_what_the_api_wants() {
    let bench = Bench::new().await;
    let secret = bench.bed.write_private("secret-id", VAULT_SECRET_ID);
    let client = bench.client("namespace = \"team/a\"\nissuer = \"current\"\n", &app_role(&secret));
    let (first, second, third) = tokio::join!(ask(&client), ask(&client), ask(&client));
    for signed in [first, second, third] {
        let signed = signed.unwrap();
        assert_eq!(signed.certificate.uri_sans(), ["spiffe://example.org/web"]);
        assert_eq!((signed.chain().len(), signed.roots().len()), (2, 1));
    }
    assert_eq!(bench.asked(), (1, 3));
    for call in bench.server.calls() {
        assert_eq!(call.namespace.as_deref(), Some("team/a"));
        assert_eq!(call.token.is_some(), !call.path.ends_with("/login"), "a login has no token to show");
    }
    assert!(bench.server.calls().iter().any(|call| call.path == "pki/issuer/current/sign/web"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_asked_for_with_its_names_and_no_ca_below_it() {
    let bench = Bench::new().await;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let request = IntermediateRequest {
        csr_der: build_request(&key, None).unwrap(),
        common_name: "Signet issuing CA".to_owned(),
        organization: Some("example.org".to_owned()),
        subject_serial: "01".to_owned(),
        uri: "spiffe://example.org".to_owned(),
        path_len: 0,
        ttl: Duration::from_secs(7200),
    };
    let signed = bench.by_app_role().sign_intermediate(&request).await.unwrap();
    assert!(signed.certificate.is_ca() && signed.certificate.public_key() == key.public_key());
    assert_eq!(signed.roots(), certificates_from_pem(bench.server.trust_bundle().as_bytes()).unwrap());
    assert_eq!(bench.by_app_role().roots_of_issuer().await.unwrap(), signed.roots());
    let refused = bench.by_app_role().sign_intermediate(&IntermediateRequest { path_len: 1, ..request }).await.unwrap_err();
    assert!(refused.to_string().contains("pki/root/sign-intermediate: refused (400): this server signs CAs"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_at_half_of_its_life_and_replaced_when_that_is_refused() {
    let bench = Bench::new().await;
    let client = bench.by_app_role();
    ask(&client).await.unwrap();
    bench.clock.advance(Duration::from_secs(1790));
    ask(&client).await.unwrap();
    assert_eq!((bench.asked(), bench.server.count("renew-self")), ((1, 2), 0));
    bench.clock.advance(Duration::from_secs(20));
    ask(&client).await.unwrap();
    assert_eq!((bench.asked(), bench.server.count("renew-self")), ((1, 3), 1));
    bench.server.revoke_tokens();
    bench.clock.advance(Duration::from_secs(1810));
    ask(&client).await.unwrap();
    assert_eq!((bench.asked(), bench.server.count("renew-self")), ((2, 4), 2), "not renewed, so there is a new one at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_accepted_is_replaced_once_and_a_denial_is_told_with_its_path() {
    let bench = Bench::new().await;
    let client = bench.by_app_role();
    ask(&client).await.unwrap();
    bench.server.revoke_tokens();
    ask(&client).await.unwrap();
    assert_eq!(bench.asked(), (2, 3));
    bench.server.set(VaultMood::Denies);
    let denied = ask(&client).await.unwrap_err();
    assert!(matches!(denied, VaultError::Denied { .. }), "{denied}");
    assert!(denied.to_string().contains("pki/sign/web: permission denied (1 error occurred: * permission denied)"), "{denied}");
    assert_eq!(bench.asked(), (3, 5), "one more login and one more try, not a circle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_is_taken_as_it_lies_there_and_renewed() {
    let bench = Bench::new().await;
    let path = bench.bed.write_private("token", "hvs.old");
    let client = bench.client("", &format!("method = \"token\"\ntoken_file = \"{}\"\n", path.display()));
    let refused = ask(&client).await.unwrap_err();
    assert!(matches!(refused, VaultError::Denied { .. }) && !refused.to_string().contains("hvs.old"), "{refused}");
    bench.server.take_token("hvs.old");
    ask(&client).await.unwrap();
    bench.clock.advance(Duration::from_secs(1810));
    ask(&client).await.unwrap();
    assert_eq!(bench.server.count("renew-self"), 1);
    bench.server.revoke_tokens();
    bench.server.take_token("hvs.new");
    std::fs::write(&path, "hvs.new\n").unwrap();
    ask(&client).await.unwrap();
    assert_eq!(bench.server.calls().last().unwrap().token.as_deref(), Some("hvs.new"));
    assert_eq!(bench.server.count("/login"), 0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ask(&client).await.unwrap_err().kind(), FaultKind::Credential);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_and_client_certificates_log_in() {
    let bench = Bench::new().await;
    let jwt = bench.bed.write("jwt", VAULT_JWT);
    let auth = format!("method = \"kubernetes\"\nrole = \"signet\"\ntoken_file = \"{}\"\n", jwt.display());
    ask(&bench.client("", &auth)).await.unwrap();
    let (chain, key) = bench.server.client_certificate(&bench.bed);
    let auth = format!("method = \"cert\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n", chain.display(), key.display());
    ask(&bench.client("", &auth)).await.unwrap();
    let paths: Vec<_> = bench.server.calls().into_iter().map(|call| call.path).filter(|path| path.ends_with("login")).collect();
    assert_eq!(paths, ["auth/kubernetes/login", "auth/cert/login"]);
    bench.bed.write("jwt", "aaa.bbb.ddd");
    let auth = format!("method = \"kubernetes\"\nrole = \"signet\"\ntoken_file = \"{}\"\n", jwt.display());
    let refused = ask(&bench.client("", &auth)).await.unwrap_err();
    assert!(refused.to_string().contains("the login at auth/kubernetes/login is refused (400)"), "{refused}");
    assert!(refused.kind() == FaultKind::Credential && !refused.to_string().contains("aaa.bbb"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_a_long_pause_is_handed_on() {
    let bench = Bench::new().await;
    let client = bench.by_app_role();
    for status in [412, 429, 472, 473, 500, 502, 503] {
        let before = bench.server.count("/sign/web");
        bench.server.set(VaultMood::Busy { status, times: 2, seconds: None });
        ask(&client).await.unwrap();
        assert_eq!(bench.server.count("/sign/web") - before, 3, "{status}");
    }
    let before = bench.server.count("/sign/web");
    bench.server.set(VaultMood::Busy { status: 429, times: 9, seconds: Some(86_400) });
    let busy = ask(&client).await.unwrap_err();
    assert_eq!((busy.pause(), busy.kind()), (Some(Duration::from_secs(300)), FaultKind::Unreachable));
    assert_eq!(bench.server.count("/sign/web") - before, 1);
    bench.server.set(VaultMood::Busy { status: 500, times: 9, seconds: None });
    assert!(matches!(ask(&client).await, Err(VaultError::Busy { status: 500, .. })));
    assert_eq!(bench.server.count("/sign/web") - before, 5, "four tries, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_in_words() {
    let bench = Bench::new().await;
    let client = bench.by_app_role();
    ask(&client).await.unwrap();
    for (mood, kind, words) in [
        (VaultMood::Sealed, FaultKind::Unreachable, "unseal it"),
        (VaultMood::Redirects, FaultKind::Unreachable, "redirects are not followed"),
        (VaultMood::Huge, FaultKind::Unreachable, "has more than 262144 bytes"),
        (VaultMood::NoJson, FaultKind::Malformed, "no JSON of the documented form"),
    ] {
        bench.server.set(mood);
        let before = bench.server.calls().len();
        let refused = ask(&client).await.unwrap_err();
        assert!(refused.kind() == kind && refused.to_string().contains(words), "{mood:?}: {refused}");
        assert_eq!(bench.server.calls().len() - before, 1, "{mood:?} is not tried again here");
        bench.server.set(VaultMood::Well);
        ask(&client).await.unwrap();
    }
    let other = LeafRequest { role: "db".parse().unwrap(), ..leaf() };
    let refused = client.sign_leaf(&other).await.unwrap_err().to_string();
    assert!(refused.contains("pki/sign/db: refused (400): unknown role: db"), "{refused}");
    let foreign = LeafRequest { uri: "spiffe://example.com/web".to_owned(), ..leaf() };
    let refused = client.sign_leaf(&foreign).await.unwrap_err().to_string();
    assert!(refused.contains("not allowed by this role"), "{refused}");
    let missing = bench.client("mount = \"pki2\"\n", &app_role(&bench.bed.path().join("secret-id")));
    assert!(matches!(ask(&missing).await, Err(VaultError::NotFound { .. })));
}

/// Nothing is sent to a server that the configured roots do not vouch for; no root of the system counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_another_root_is_sent_nothing() {
    let bench = Bench::new().await;
    ask(&bench.by_app_role()).await.unwrap();
    let before = bench.server.calls().len();
    std::fs::write(bench.bed.path().join("vault-roots.pem"), bench.server.trust_bundle()).unwrap();
    let refused = ask(&bench.by_app_role()).await.unwrap_err();
    assert!(refused.to_string().contains("the TLS handshake failed"), "{refused}");
    assert_eq!(bench.server.calls().len(), before);
    std::fs::write(bench.bed.path().join("vault-roots.pem"), "").unwrap();
    let refused = ask(&bench.by_app_role()).await.unwrap_err();
    assert!(matches!(refused, VaultError::Local { what: "roots", .. }), "{refused}");
}
