use std::sync::Arc;
use std::time::Duration;

use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, prepare_authority,
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap())
}

struct Signer(Certificate, Arc<PrivateKey>);

fn made(trust_domain: &TrustDomain, key: &PrivateKey, issuer: Option<&Signer>, life: Duration, number: u8) -> Certificate {
    let spec = AuthoritySpec {
        role: if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root },
        trust_domain,
        public_key: key.public_key(),
        lifetime: life,
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, issuer.map(|issuer| &issuer.0)).unwrap();
    unsigned.sign(issuer.map_or(key, |issuer| &issuer.1)).unwrap()
}

fn root(number: u8) -> Signer {
    let key = key();
    Signer(made(&trust_domain(), &key, None, HOUR * 1000, number), key)
}

fn answer(chain: &[&Certificate], roots: &[&Certificate]) -> UpstreamAnswer {
    let ders = |certificates: &[&Certificate]| certificates.iter().map(|certificate| certificate.der().to_vec()).collect();
    UpstreamAnswer { chain: ders(chain), roots: ders(roots) }
}

async fn judged(
    answer: &UpstreamAnswer,
    key: &Arc<PrivateKey>,
    wanted: Option<&Certificate>,
) -> Result<VerifiedAnswer, AnswerRefusal> {
    let profile = LeafProfile::new(HOUR, HOUR).unwrap();
    verify(answer, &NewKey::Here(Arc::clone(key)), &trust_domain(), &profile, wanted, now()).await
}

#[tokio::test]
async fn a_whole_answer_for_our_key_under_the_root_in_use_is_taken() {
    let (root, other, key) = (root(1), root(2), key());
    let issuer = made(&trust_domain(), &key, Some(&root), HOUR * 100, 3);
    let verified = judged(&answer(&[&issuer], &[&other.0, &root.0]), &key, Some(&root.0)).await.unwrap();
    assert_eq!((&verified.issuer, &verified.root, verified.intermediates.len()), (&issuer, &root.0, 0));
}

#[tokio::test]
async fn what_is_not_ours_not_whole_or_not_what_was_asked_for_is_refused() {
    let (root, other, key) = (root(1), root(2), key());
    let td = trust_domain();
    let good = made(&td, &key, Some(&root), HOUR * 100, 3);
    assert!(judged(&answer(&[&good], &[&root.0]), &key, None).await.is_ok());

    let refused = async |answer: UpstreamAnswer, wanted: Option<&Certificate>| judged(&answer, &key, wanted).await.unwrap_err();
    let of_another_key = made(&td, &self::key(), Some(&root), HOUR * 100, 4);
    let error = refused(answer(&[&of_another_key], &[&root.0]), None).await;
    assert!(matches!(error, AnswerRefusal::Authority(AuthorityError::KeyMismatch { .. })), "{error}");
    let error = refused(answer(&[&good], &[&other.0]), None).await;
    assert!(matches!(error, AnswerRefusal::Authority(AuthorityError::Unchained { .. })), "{error}");
    let error = refused(answer(&[&good], &[&root.0, &other.0]), Some(&other.0)).await;
    assert!(matches!(error, AnswerRefusal::OtherRoot { .. }), "{error}");
    // A CA that may sign CAs: a root of our own key.
    let wide = made(&td, &key, None, HOUR * 100, 5);
    let error = refused(answer(&[&wide], &[&wide]), None).await;
    assert!(matches!(error, AnswerRefusal::PathLength { found: None }), "{error}");
    let of_another_domain = made(&TrustDomain::parse("other.org").unwrap(), &key, Some(&root), HOUR * 100, 6);
    let error = refused(answer(&[&of_another_domain], &[&root.0]), None).await;
    assert!(matches!(error, AnswerRefusal::Authority(AuthorityError::OtherTrustDomain { .. })), "{error}");
    let short = made(&td, &key, Some(&root), HOUR * 2, 7);
    let error = refused(answer(&[&short], &[&root.0]), None).await;
    assert!(matches!(error, AnswerRefusal::TooShort(_)), "{error}");

    let many = vec![&root.0; MOST_ROOTS + 1];
    let error = refused(answer(&[&good], &many), None).await;
    assert!(matches!(error, AnswerRefusal::TooMuch { .. }), "{error}");
    let error = refused(answer(&[&good; MOST_OF_CHAIN + 1], &[&root.0]), None).await;
    assert!(matches!(error, AnswerRefusal::TooMuch { .. }), "{error}");
    let error = refused(UpstreamAnswer { chain: vec![vec![0x30; MAX_CERTIFICATE_BYTES + 1]], roots: Vec::new() }, None).await;
    assert!(matches!(error, AnswerRefusal::TooMuch { .. }), "{error}");
    let error = refused(UpstreamAnswer { chain: vec![vec![0x30, 0]], roots: Vec::new() }, None).await;
    assert!(matches!(error, AnswerRefusal::Certificate { .. }), "{error}");
    let error = refused(answer(&[], &[&root.0]), None).await;
    assert!(matches!(error, AnswerRefusal::Authority(AuthorityError::NoCertificate { .. })), "{error}");
}

#[test]
fn of_roots_that_are_not_known_the_newest_comes_first_and_ended_ones_do_not_count() {
    let (first, second) = (root(1), root(2));
    let roots = [first.0.clone(), second.0.clone()];
    assert_eq!(unknown_roots(&roots, &[first.0.fingerprint()], now()), [second.0]);
    assert!(unknown_roots(&roots, &[], first.0.not_after().plus(HOUR)).is_empty());
}
