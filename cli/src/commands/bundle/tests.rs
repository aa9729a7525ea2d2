use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use pki::{
    AuthorityRole, AuthoritySpec, Certificate, JwtKey, KeyAlgorithm, PrivateKey, ReplicaByte, SerialNumber, Timestamp,
    prepare_authority,
};

use super::*;
use crate::failure::FailureKind;

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn root(random: u8) -> Certificate {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &domain(),
        public_key: key.public_key(),
        lifetime: Duration::from_secs(3600),
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [random; pki::SERIAL_RANDOM_BYTES]),
        now: Timestamp::from_unix_seconds(1_795_172_400),
    };
    prepare_authority(&spec, None).unwrap().sign(&key).unwrap()
}

fn bundle(sequence: u64) -> TrustBundle {
    let jwt = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
    TrustBundle::new(domain(), vec![root(1), root(2)], sequence)
        .unwrap()
        .with_jwt_authorities(vec![jwt.authority().clone()])
        .unwrap()
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn import(&self, file: PathBuf, form: FileForm) -> Result<Answer, Failure> {
        import(&ImportArgs { file, trust_domain: domain(), into: self.0.path().join("in-place"), form })
    }

    fn in_place(&self) -> TrustBundle {
        read_bundle(&self.0.path().join("in-place"), &domain()).unwrap()
    }
}

#[test]
fn a_bundle_goes_into_place_in_either_form_and_comes_back_the_same() {
    let (desk, bundle) = (Desk::new(), bundle(7));
    let answer = desk.import(desk.file("b.json", &written(&bundle, FileForm::Jwks)), FileForm::Jwks).unwrap();
    assert_eq!(desk.in_place(), bundle);
    assert_eq!(answer.as_json()["sequence"], 7);
    assert_eq!(answer.as_json()["jwt_authorities"].as_array().unwrap().len(), 1);
    let mode = desk.0.path().join("in-place").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let _text = desk.import(desk.file("c.json", &written(&bundle, FileForm::Jwks)), FileForm::Pem).unwrap();
    assert_eq!(desk.in_place().authorities(), bundle.authorities());
}

#[test]
fn an_older_bundle_never_takes_the_place_of_a_later_one() {
    let desk = Desk::new();
    let file = |sequence| desk.file(&format!("{sequence}.json"), &written(&bundle(sequence), FileForm::Jwks));
    let _first = desk.import(file(7), FileForm::Jwks).unwrap();
    let refused = desk.import(file(6), FileForm::Jwks).unwrap_err();
    assert!(refused.one_line().contains("its sequence is 6"), "{refused}");
    assert_eq!(desk.in_place().sequence(), 7);
    let _later = desk.import(file(8), FileForm::Jwks).unwrap();
    assert_eq!(desk.in_place().sequence(), 8);
}

#[test]
fn what_is_no_bundle_or_anothers_or_empty_changes_nothing() {
    let desk = Desk::new();
    let good = written(&bundle(7), FileForm::Jwks);
    for (name, content) in
        [("text", "hello".to_owned()), ("empty", "{\"keys\": []}".to_owned()), ("cut", good[..good.len() - 9].to_owned())]
    {
        let refused = desk.import(desk.file(name, &content), FileForm::Pem).unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Failed, "{name}: {refused}");
        assert!(!desk.0.path().join("in-place").exists(), "{name}");
    }
    let other = TrustDomain::parse("other.org").unwrap();
    assert!(parse_bundle(good.as_bytes(), &other).is_err(), "roots that name another trust domain");
    let _good = desk.import(desk.file("good", &good), FileForm::Pem).unwrap();
}
