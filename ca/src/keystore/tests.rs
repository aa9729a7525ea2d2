use std::os::unix::fs::{PermissionsExt, symlink};

use futures_util::FutureExt;
use pki::{AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber};
use pki::{Certificate, certificates_to_pem, prepare_authority};
use runtime::private_files::{Overwrite, ensure_private_dir, write_private, write_public};
use tempfile::TempDir;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

struct Pair {
    certificate: Certificate,
    key: PrivateKey,
}

fn make(role: AuthorityRole, issuer: Option<&Pair>, number: u8) -> Pair {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role,
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key.public_key(),
        lifetime: Duration::from_secs(86_400),
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, issuer.map(|issuer| &issuer.certificate)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |issuer| &issuer.key)).unwrap();
    Pair { certificate, key }
}

fn write(directory: &Path, names: [&str; 3], issuer: &Pair, root: &Pair) {
    ensure_private_dir(directory).unwrap();
    let [certificate, key, roots] = names;
    let replace = Overwrite::Replace;
    write_public(&directory.join(certificate), certificates_to_pem([&issuer.certificate]).as_bytes(), replace).unwrap();
    write_private(&directory.join(key), issuer.key.to_pkcs8_pem().as_bytes(), replace).unwrap();
    write_public(&directory.join(roots), certificates_to_pem([&root.certificate]).as_bytes(), replace).unwrap();
}

fn write_four(directory: &Path, issuer: &Pair, root: &Pair) {
    write(directory, [CA_CERT, CA_KEY, ROOT_CERT], issuer, root);
    write_public(&directory.join(CERT_CHAIN), b"", Overwrite::Replace).unwrap();
}

fn config(state: &TempDir) -> CaConfig {
    let text = format!("trust_domain = \"example.org\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n", state.path().display());
    CaConfig::parse("ca.toml", &text).unwrap()
}

/// Keys in files keep nobody waiting.
fn keys(config: &CaConfig) -> SigningKeys {
    SigningKeys::open(config).now_or_never().expect("no token is waited for").unwrap()
}

fn open(directory: &Path, config: &CaConfig, now: Timestamp) -> Result<(Keystore, SigningAuthority), KeystoreError> {
    Keystore::open(directory, config, keys(config), now).now_or_never().expect("no token is waited for")
}

fn look_in(keystore: &mut Keystore, now: Timestamp) -> Result<Option<SigningAuthority>, KeystoreError> {
    keystore.newer(now).now_or_never().expect("no token is waited for")
}

/// Two looks, between which nothing happens.
fn newer_in(keystore: &mut Keystore, now: Timestamp) -> Result<Option<SigningAuthority>, KeystoreError> {
    match look_in(keystore, now)? {
        None => look_in(keystore, now),
        found => Ok(found),
    }
}

fn load_from(directory: &Path, config: &CaConfig) -> Result<SigningAuthority, KeystoreError> {
    let keys = keys(config);
    load_generation(directory, &keys, &config.trust_domain, now()).now_or_never().expect("no token is waited for")
}

fn state() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

#[test]
fn generations_are_numbered_directories_and_one_that_is_being_written_is_none() {
    let state = state();
    let config = config(&state);
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    let directory = config.generations_dir();
    assert_eq!(generations(&directory).unwrap(), BTreeSet::new(), "there is no such directory");
    ensure_private_dir(&directory).unwrap();
    assert_eq!(generations(&directory).unwrap(), BTreeSet::new());

    write_four(&directory.join("0001"), &first, &root);
    write_four(&directory.join(".new-00"), &second, &root);
    for other in ["1", "00002", "0002x", "+003"] {
        ensure_private_dir(&directory.join(other)).unwrap();
    }
    assert_eq!(generations(&directory).unwrap(), BTreeSet::from([1]));
    fs::rename(directory.join(".new-00"), directory.join("0010")).unwrap();
    assert_eq!(generations(&directory).unwrap(), BTreeSet::from([1, 10]));
    let load = |name: &str| load_from(&directory.join(name), &config).unwrap();
    assert_eq!(load("0001").certificate(), &first.certificate);
    assert_eq!(load("0010").certificate(), &second.certificate);
}

#[test]
fn a_newer_set_is_given_once_and_not_before_it_was_the_same_in_two_looks() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second, third] = [2, 3, 4].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    write_four(plugged.path(), &first, &root);
    let (mut keystore, authority) = open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    assert!(newer_in(&mut keystore, now()).unwrap().is_none());

    write_four(plugged.path(), &second, &root);
    assert!(look_in(&mut keystore, now()).unwrap().is_none(), "it may be half of it");
    write_four(plugged.path(), &third, &root);
    assert!(look_in(&mut keystore, now()).unwrap().is_none(), "it has changed since");
    assert_eq!(look_in(&mut keystore, now()).unwrap().unwrap().certificate(), &third.certificate);
    assert!(newer_in(&mut keystore, now()).unwrap().is_none());
}

#[test]
fn a_newer_set_that_does_not_verify_is_told_once_a_minute_and_not_used() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    write_four(plugged.path(), &first, &root);
    let (mut keystore, _) = open(plugged.path(), &config, now()).unwrap();

    write_four(plugged.path(), &second, &root);
    fs::remove_file(plugged.path().join(CA_KEY)).unwrap();
    let error = newer_in(&mut keystore, now()).unwrap_err();
    assert!(matches!(error, KeystoreError::Authority(AuthorityError::Missing { .. })), "{error}");
    assert!(newer_in(&mut keystore, now()).unwrap().is_none());
    assert!(newer_in(&mut keystore, now().plus(RETRY)).is_err());
    // A start does not fall back either.
    assert!(open(plugged.path(), &config, now()).is_err());
    // Once it is whole it is used, without waiting for the minute.
    write_private(&plugged.path().join(CA_KEY), second.key.to_pkcs8_pem().as_bytes(), Overwrite::Refuse).unwrap();
    assert_eq!(newer_in(&mut keystore, now().plus(RETRY)).unwrap().unwrap().certificate(), &second.certificate);
}

/// The chain must verify to one of the roots, and all of them are given.
#[test]
fn a_set_may_have_several_roots() {
    let plugged = state();
    let config = config(&state());
    let [root, other] = [1, 9].map(|number| make(AuthorityRole::Root, None, number));
    let issuer = make(AuthorityRole::Issuer, Some(&root), 2);
    write_four(plugged.path(), &issuer, &root);
    let (mut keystore, _) = open(plugged.path(), &config, now()).unwrap();
    let both = certificates_to_pem([&other.certificate, &root.certificate]);
    write_public(&plugged.path().join(ROOT_CERT), both.as_bytes(), Overwrite::Replace).unwrap();
    let newer = newer_in(&mut keystore, now()).unwrap().unwrap();
    assert_eq!((newer.root(), newer.roots()), (&root.certificate, &[other.certificate, root.certificate.clone()][..]));
    write_public(
        &plugged.path().join(ROOT_CERT),
        certificates_to_pem([&make(AuthorityRole::Root, None, 8).certificate]).as_bytes(),
        Overwrite::Replace,
    )
    .unwrap();
    let error = newer_in(&mut keystore, now()).unwrap_err();
    assert!(matches!(error, KeystoreError::Authority(AuthorityError::Unchained { .. })), "{error}");
}

#[test]
fn a_plugged_in_directory_has_either_layout_but_not_both() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));

    let empty = open(plugged.path(), &config, now()).unwrap_err();
    assert!(empty.to_string().contains("ca-cert.pem: missing"), "{empty}");

    write(plugged.path(), [TLS_CERT, TLS_KEY, TLS_ROOTS], &first, &root);
    let (mut keystore, authority) = open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    // Renewed in place, as whoever plugs it in does.
    write(plugged.path(), [TLS_CERT, TLS_KEY, TLS_ROOTS], &second, &root);
    assert_eq!(newer_in(&mut keystore, now()).unwrap().unwrap().certificate(), &second.certificate);

    write_four(plugged.path(), &first, &root);
    assert!(matches!(open(plugged.path(), &config, now()), Err(KeystoreError::TwoLayouts { .. })));
    for name in TLS_NAMES {
        fs::remove_file(plugged.path().join(name)).unwrap();
    }
    assert!(open(plugged.path(), &config, now()).is_ok());
    fs::remove_file(plugged.path().join(ROOT_CERT)).unwrap();
    let partial = open(plugged.path(), &config, now()).unwrap_err();
    assert!(partial.to_string().contains("root-cert.pem: missing"), "{partial}");
}

/// How Kubernetes swaps a mounted secret: the files are links through a directory link that changes.
#[test]
fn a_swapped_directory_link_is_noticed() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    let names = [TLS_CERT, TLS_KEY, TLS_ROOTS];
    write(&plugged.path().join("..1"), names, &first, &root);
    write(&plugged.path().join("..2"), names, &second, &root);
    symlink("..1", plugged.path().join("..data")).unwrap();
    for name in names {
        symlink(Path::new("..data").join(name), plugged.path().join(name)).unwrap();
    }
    let (mut keystore, authority) = open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    symlink("..2", plugged.path().join("..new")).unwrap();
    fs::rename(plugged.path().join("..new"), plugged.path().join("..data")).unwrap();
    assert_eq!(newer_in(&mut keystore, now()).unwrap().unwrap().certificate(), &second.certificate);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let generations_dir = config.generations_dir();
    ensure_private_dir(&generations_dir).unwrap();
    let generation = generations_dir.join("0001");
    for directory in [plugged.path(), &generation] {
        write_four(directory, &make(AuthorityRole::Issuer, Some(&root), 2), &root);
    }
    let load = |directory: &Path| {
        if directory == plugged.path() {
            open(directory, &config, now()).map(|(_, authority)| authority)
        } else {
            load_from(directory, &config)
        }
    };
    for directory in [plugged.path(), &generation] {
        assert!(load(directory).is_ok());
        let key = directory.join(CA_KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(directory).unwrap_err();
        assert!(matches!(error, KeystoreError::File(PrivateFileError::ReachableByOthers { .. })), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(directory).is_ok());
    }
    assert_eq!(generations(&generations_dir).unwrap(), BTreeSet::from([1]));
    fs::set_permissions(&generations_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = generations(&generations_dir).unwrap_err();
    assert!(matches!(error, KeystoreError::File(PrivateFileError::WritableByOthers { .. })), "{error}");
}
