//! Calls against a fake CA: each refusal stands beside the same call that passes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{SpiffeId, TrustDomain};
use pki::{KeyAlgorithm, PrivateKey, X509Svid, build_request, request_to_pem};
use runtime::clock::{Clock, TestClock};
use tonic_types::{ErrorDetails, StatusExt};
use zeroize::Zeroizing;

use super::*;
use crate::ca_client::CallFault;
use crate::ca_client::view::NodeView;
use crate::fakes::FakeCa;

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
        Self { clock, ca, directory }
    }

    fn client(&self, server_id: Option<&str>) -> IstioCa {
        let server_id = server_id.map(|id| SpiffeId::parse(id).unwrap());
        let trust = CaTrust::File { roots: self.directory.path().join("roots.pem"), server_id };
        IstioCa::new(self.ca.address.clone(), trust, self.clock.clone())
    }

    fn web(&self) -> SpiffeId {
        self.ca.authority.id("/web")
    }

    async fn ask_of(&self, client: &IstioCa, credential: IstioCredential) -> Result<Arc<X509Svid>, String> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let csr = request_to_pem(&build_request(&key, Some(&self.web())).unwrap());
        let answer = client.create_certificate(credential, csr, None).await.map_err(|fault| fault.to_string())?;
        let now = self.clock.now().into();
        answer.into_svid(self.web().trust_domain(), key, now).map(|(svid, _)| svid).map_err(|fault| fault.to_string())
    }

    async fn ask(&self) -> Result<Arc<X509Svid>, String> {
        self.ask_of(&self.client(None), token()).await
    }
}

fn token() -> IstioCredential {
    IstioCredential::Bearer(Zeroizing::new("aaa.bbb.ccc".to_owned()))
}

#[tokio::test]
async fn a_token_gets_a_certificate_and_is_sent_as_istios_agents_send_it() {
    let bed = Bed::new().await;
    assert_eq!(bed.ask().await.unwrap().id(), &bed.web());
    let [call] = &bed.ca.seen().certificates[..] else { panic!("one call") };
    assert_eq!(call.bearer.as_deref(), Some("Bearer aaa.bbb.ccc"));
    assert_eq!((call.peer.as_ref(), call.validity, call.cert_signer.as_deref()), (None, 0, Some("")));
    assert!(!format!("{:?}", token()).contains("aaa"));
}

#[tokio::test]
async fn a_certificate_is_shown_in_the_handshake_and_no_token_with_it() {
    let bed = Bed::new().await;
    let held = Arc::new(bed.ca.authority.svid(&bed.web(), Duration::from_secs(600), bed.clock.now().into()));
    let renewed = bed.ask_of(&bed.client(None), IstioCredential::Certificate(held)).await.unwrap();
    assert_eq!(renewed.id(), &bed.web());
    let [call] = &bed.ca.seen().certificates[..] else { panic!("one call") };
    assert_eq!((call.bearer.as_ref(), call.peer.as_ref()), (None, Some(&bed.web())));
}

#[tokio::test]
async fn the_ca_is_verified_by_name_or_by_id_before_anything_is_sent() {
    let bed = Bed::new().await;
    bed.ask_of(&bed.client(Some("spiffe://example.org/signet/ca/ca-1")), token()).await.unwrap();
    let other = bed.ask_of(&bed.client(Some("spiffe://example.org/signet/ca/ca-2")), token()).await.unwrap_err();
    assert!(other.contains("is wanted"), "{other}");
    bed.ask().await.unwrap();
    let calls = bed.ca.seen().certificates.len();
    let strange = crate::fakes::FakeAuthority::new(bed.clock.now().into());
    std::fs::write(bed.directory.path().join("roots.pem"), strange.bundle(1).to_pem()).unwrap();
    bed.ask().await.unwrap_err();
    assert_eq!(bed.ca.seen().certificates.len(), calls, "a CA that is not verified sees no token");
    std::fs::write(bed.directory.path().join("roots.pem"), bed.ca.authority.bundle(1).to_pem()).unwrap();
    bed.ask().await.expect("roots are read anew for each call");
}

#[tokio::test]
async fn the_nodes_own_ca_is_verified_under_the_bundle_of_now() {
    let bed = Bed::new().await;
    let views = tokio::sync::watch::Sender::new(Arc::new(NodeView::default()));
    let client = IstioCa::new(bed.ca.address.clone(), CaTrust::Node(views.subscribe()), bed.clock.clone());
    assert!(bed.ask_of(&client, token()).await.unwrap_err().contains("no trust bundle yet"));
    let bundle = Some(Arc::new(bed.ca.authority.bundle(1)));
    views.send_replace(Arc::new(NodeView { bundle, ..NodeView::default() }));
    bed.ask_of(&client, token()).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_refused() {
    let bed = Bed::new().await;
    bed.ask().await.unwrap();
    let refused = async |change: fn(&mut crate::fakes::Answers)| {
        bed.ca.answer(change);
        let refused = bed.ask().await.unwrap_err();
        bed.ca.answer(|answers| *answers = crate::fakes::Answers::default());
        bed.ask().await.unwrap();
        refused
    };
    let name = refused(|answers| answers.wrong_name = Some("spiffe://example.org/signet/other".to_owned())).await;
    assert!(name.contains("it names spiffe://example.org/signet/other, asked for was spiffe://example.org"), "{name}");
    assert!(refused(|answers| answers.wrong_key = true).await.contains("private key does not belong"));
    let chain = refused(|answers| answers.stranger = true).await;
    assert!(chain.contains("signature") || chain.contains("no authority"), "{chain}");
    let roots = refused(|answers| answers.strange_bundle = true).await;
    assert!(roots.contains("neither one of the configured roots nor signed by one"), "{roots}");
    let both = refused(|answers| (answers.stranger, answers.strange_bundle) = (true, true)).await;
    assert!(both.contains("neither one of the configured roots"), "an answer proves nothing by roots of its own: {both}");
    assert!(refused(|answers| answers.elements = 1).await.contains("it has 1 elements: at least two"));
    assert!(refused(|answers| answers.elements = 0).await.contains("it has 0 elements: at least two"));
}

#[tokio::test]
async fn a_busy_ca_says_for_how_long_and_a_refusal_is_one() {
    let bed = Bed::new().await;
    let client = bed.client(None);
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let csr = request_to_pem(&build_request(&key, None).unwrap());
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(17)));
    let busy = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "over your rate", details);
    bed.ca.answer(|answers| answers.refuse_certificate = Some(busy));
    let fault = client.create_certificate(token(), csr.clone(), None).await.unwrap_err();
    assert_eq!(fault.pause(), Some(Duration::from_secs(17)), "{fault}");
    bed.ca.answer(|answers| answers.refuse_certificate = Some(tonic::Status::unauthenticated("no")));
    let fault = client.create_certificate(token(), csr, None).await.unwrap_err();
    assert!(matches!(fault, CallFault::Refused { .. }), "{fault}");
}

#[test]
fn a_token_file_is_read_at_each_call_and_only_a_token_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let source = CredentialSource::TokenFile(path.clone());
    let id = TrustDomain::parse("example.org").unwrap().id();
    let read = || source.read(&id, pki::Timestamp::from_unix_seconds(0));
    assert!(read().is_err(), "nothing there");
    for text in ["aaa.bbb.ccc\n", "new.er.one"] {
        std::fs::write(&path, text).unwrap();
        let IstioCredential::Bearer(token) = read().unwrap() else { panic!("another credential") };
        assert_eq!(*token, text.trim());
    }
    for text in ["", "secret", "a.b", "a.b.c.d", "a..c", "a.b c.d", "a.b.c\r\nx: y", &"a".repeat(20_000)] {
        std::fs::write(&path, text).unwrap();
        let refused = read().unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
