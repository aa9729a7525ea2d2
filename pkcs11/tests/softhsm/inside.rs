//! What is run beside a token, in a process of its own whose directory is the token's.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use pkcs11::{Fault, Token, TokenConfig, TokenError};
use pki::{KeyAlgorithm, KeyError, PrivateKey, PublicKey, Signer};
use runtime::clock::SystemClock;
use runtime::secret_source::SecretSource;

use super::{LABEL, PIN};

fn here(name: &str) -> PathBuf {
    std::env::current_dir().unwrap().join(name)
}

fn pin_file(pin: &str) -> SecretSource {
    let path = here("pin");
    std::fs::write(&path, format!("{pin}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    SecretSource::File(path)
}

fn config() -> TokenConfig {
    TokenConfig {
        module: here("module.so"),
        token: LABEL.to_owned(),
        pin: pin_file(PIN),
        sessions: 2,
        patience: Duration::from_secs(60),
    }
}

async fn open(config: TokenConfig) -> Result<Token, TokenError> {
    Token::open(config, SystemClock::shared()).await
}

async fn sign(signer: &dyn Signer, message: &[u8]) -> Result<(), KeyError> {
    let signature = signer.signing(message).made().await?;
    assert_eq!(signer.public_key().verify(message, &signature), Ok(()));
    Ok(())
}

#[tokio::test]
#[ignore = "run in a process of its own, beside a token"]
async fn keys_are_made_sign_are_found_and_destroyed() {
    let token = open(config()).await.unwrap();
    let mut made: Vec<PublicKey> = Vec::new();
    for (algorithm, label) in [(KeyAlgorithm::EcdsaP256, "one"), (KeyAlgorithm::EcdsaP384, "two")] {
        let key = token.generate(algorithm, label).await.unwrap();
        for message in [&b""[..], b"message", &[7; 5000]] {
            sign(&key, message).await.unwrap();
        }
        made.push(key.public_key().clone());
    }
    let listed = token.list().await.unwrap();
    let mut labels: Vec<_> = listed.iter().map(|key| key.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["one", "two"]);
    assert!(listed.iter().any(|key| key.id == data_encoding::HEXLOWER.encode(&made[0].fingerprint())));
    assert_eq!((token.tally().signatures(), token.tally().reopened()), (6, 0));

    let [one, two] = &made[..] else { panic!("two keys were made") };
    sign(&token.find(two).await.unwrap(), b"found").await.unwrap();
    let kept = token.find(one).await.unwrap();
    assert!(token.destroy(one).await.unwrap());
    assert!(!token.destroy(one).await.unwrap(), "it is gone already");
    assert!(matches!(token.find(one).await, Err(TokenError::NoKey { .. })));
    assert!(matches!(sign(&kept, b"gone").await, Err(KeyError::Device { .. })));
    assert!(token.probe().await.is_err(), "a key in use is gone");
    drop(kept);
    token.probe().await.unwrap();
    let stranger = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    assert!(matches!(token.find(stranger.public_key()).await, Err(TokenError::NoKey { .. })));
    assert!(token.tally().faults(Fault::Key) >= 3);

    // Rebuilt from nothing but the public half, as after a restart.
    let again = open(config()).await.unwrap();
    sign(&again.find(two).await.unwrap(), b"again").await.unwrap();
}

/// A pair made by other means, under the CKA_ID that is looked for.
fn make_by_hand(extra: &[Attribute]) -> PublicKey {
    let module = Pkcs11::new(here("module.so")).unwrap();
    drop(module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
    let labelled = |slot: &cryptoki::slot::Slot| module.get_token_info(*slot).unwrap().label() == LABEL;
    let slot = module.get_slots_with_token().unwrap().into_iter().find(labelled).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    drop(session.login(UserType::User, Some(&AuthPin::new(PIN.into()))));
    let curve = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let public = [Attribute::Token(true), Attribute::Verify(true), curve];
    let private = [&[Attribute::Token(true), Attribute::Private(true), Attribute::Sign(true)], extra].concat();
    let (public, private) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    let found = session.get_attributes(public, &[cryptoki::object::AttributeType::EcPoint]).unwrap();
    let [Attribute::EcPoint(point)] = &found[..] else { panic!("a public key has a point") };
    let key = PublicKey::from_ec_point(KeyAlgorithm::EcdsaP256, &point[2..]).unwrap();
    session.update_attributes(private, &[Attribute::Id(key.fingerprint().to_vec())]).unwrap();
    key
}

#[tokio::test]
#[ignore = "run in a process of its own, beside a token"]
async fn a_key_that_could_leave_is_not_used() {
    let token = open(config()).await.unwrap();
    let sound = [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Decrypt(false), Attribute::Unwrap(false)];
    sign(&token.find(&make_by_hand(&sound)).await.unwrap(), b"sound").await.unwrap();
    for (spoiled, told) in [
        (vec![Attribute::Sensitive(false), Attribute::Extractable(false)], "CKA_SENSITIVE"),
        (vec![Attribute::Sensitive(true), Attribute::Extractable(true)], "CKA_NEVER_EXTRACTABLE"),
        (vec![Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Decrypt(true)], "CKA_DECRYPT"),
    ] {
        let rest = [Attribute::Decrypt(false), Attribute::Unwrap(false)];
        let rest = rest.iter().filter(|one| spoiled.iter().all(|other| other.attribute_type() != one.attribute_type()));
        let attributes: Vec<_> = spoiled.iter().chain(rest).cloned().collect();
        let error = token.find(&make_by_hand(&attributes)).await.unwrap_err();
        assert!(matches!(&error, TokenError::UnfitKey { why, .. } if why.contains(told)), "{told}: {error}");
    }
}

#[tokio::test]
#[ignore = "run in a process of its own, beside a token"]
async fn a_token_that_was_gone_is_opened_anew() {
    let token = open(config()).await.unwrap();
    let key = token.generate(KeyAlgorithm::EcdsaP256, "one").await.unwrap();
    sign(&key, b"before").await.unwrap();
    take_away(&token, &key).await;
    assert!(sign(&key, b"gone").await.is_err() && token.probe().await.is_err());
    put_back();
    wait_until(async || sign(&key, b"back").await.is_ok()).await;
    token.probe().await.unwrap();
    assert!(token.tally().reopened() > 0);
}

/// Until SoftHSM has noticed: it looks at its files only now and then.
async fn take_away(token: &Token, key: &dyn Signer) {
    std::fs::rename(here("tokens"), here("away")).unwrap();
    std::fs::create_dir(here("tokens")).unwrap();
    wait_until(async || sign(key, b"gone").await.is_err() && token.tally().faults(Fault::Device) > 0).await;
}

fn put_back() {
    std::fs::remove_dir_all(here("tokens")).unwrap();
    std::fs::rename(here("away"), here("tokens")).unwrap();
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not come about within a minute");
}

#[tokio::test]
#[ignore = "run in a process of its own, beside a token"]
async fn a_wrong_pin_is_tried_once() {
    let good = config();
    drop(pin_file("wrong-pin-1"));
    let refused = open(good).await.unwrap_err();
    assert!(matches!(&refused, TokenError::PinRefused { cause, .. } if cause == "PinIncorrect"), "{refused}");
    assert!(!refused.to_string().contains("wrong-pin-1"));
    let absent = TokenConfig { pin: SecretSource::File(here("nowhere")), ..config() };
    assert!(matches!(open(absent).await, Err(TokenError::Pin { .. })));
    let other = TokenConfig { token: "nobody".to_owned(), ..config() };
    let other = open(other).await.unwrap_err();
    assert!(matches!(&other, TokenError::NoToken { others, .. } if others.contains("\"another\"")), "{other}");
    let module = TokenConfig { module: here("missing.so"), ..config() };
    assert!(matches!(open(module).await, Err(TokenError::Module { .. })));
    let no_module = TokenConfig { module: here("softhsm2.conf"), ..config() };
    assert!(matches!(open(no_module).await, Err(TokenError::Module { .. })));

    // While it runs: the PIN becomes wrong, and the token is away for a moment.
    let token = open(config()).await.unwrap();
    let key = token.generate(KeyAlgorithm::EcdsaP256, "one").await.unwrap();
    sign(&key, b"before").await.unwrap();
    drop(pin_file("wrong-pin-2"));
    take_away(&token, &key).await;
    put_back();
    wait_until(async || matches!(token.probe().await, Err(TokenError::PinRefused { .. }))).await;
    let tries = token.tally().faults(Fault::Pin);
    drop(pin_file(PIN));
    for _ in 0..3 {
        assert!(matches!(token.probe().await, Err(TokenError::PinRefused { .. })), "it is not tried again");
        assert!(sign(&key, b"m").await.is_err());
    }
    assert_eq!((tries, token.tally().faults(Fault::Pin)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own, beside a token"]
async fn many_signatures_at_once() {
    let token = open(config()).await.unwrap();
    let key = token.generate(KeyAlgorithm::EcdsaP256, "one").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0_u32..200 {
        let key = key.clone();
        tasks.spawn(async move { sign(&key, &number.to_be_bytes()).await });
    }
    for done in tasks.join_all().await {
        done.unwrap();
    }
    assert_eq!(token.tally().signatures(), 200);
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
        let name = Path::new("/proc/self/task").join(task.as_ref().unwrap().file_name()).join("comm");
        std::fs::read_to_string(name).is_ok_and(|name| name.starts_with("pkcs11-"))
    });
    assert_eq!(threads.count(), 2);
    assert!(Fault::ALL.into_iter().all(|fault| token.tally().faults(fault) == 0));
}
