use std::os::unix::fs::{PermissionsExt, symlink};

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
    let load = |name: &str| load_generation(&directory.join(name), None, &config.trust_domain, now()).unwrap();
    assert_eq!(load("0001").certificate(), &first.certificate);
    assert_eq!(load("0010").certificate(), &second.certificate);
}

#[test]
fn a_newer_set_is_noticed_once_and_given_again_to_whoever_could_not_use_it() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    write_four(plugged.path(), &first, &root);
    let (mut keystore, authority) = Keystore::open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    assert!(keystore.newer(now()).unwrap().is_none());

    write_four(plugged.path(), &second, &root);
    assert_eq!(keystore.newer(now()).unwrap().unwrap().certificate(), &second.certificate);
    assert!(keystore.newer(now()).unwrap().is_none());
    keystore.not_taken();
    assert_eq!(keystore.newer(now()).unwrap().unwrap().certificate(), &second.certificate);
    assert!(keystore.newer(now()).unwrap().is_none());
}

#[test]
fn a_newer_set_that_does_not_verify_is_told_once_a_minute_and_not_used() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));
    write_four(plugged.path(), &first, &root);
    let (mut keystore, _) = Keystore::open(plugged.path(), &config, now()).unwrap();

    write_four(plugged.path(), &second, &root);
    fs::remove_file(plugged.path().join(CA_KEY)).unwrap();
    let error = keystore.newer(now()).unwrap_err();
    assert!(matches!(error, KeystoreError::Authority(AuthorityError::Missing { .. })), "{error}");
    assert!(keystore.newer(now()).unwrap().is_none());
    assert!(keystore.newer(now().plus(RETRY)).is_err());
    // A start does not fall back either.
    assert!(Keystore::open(plugged.path(), &config, now()).is_err());
    // Once it is whole it is used, without waiting for the minute.
    write_private(&plugged.path().join(CA_KEY), second.key.to_pkcs8_pem().as_bytes(), Overwrite::Refuse).unwrap();
    assert_eq!(keystore.newer(now().plus(RETRY)).unwrap().unwrap().certificate(), &second.certificate);
}

#[test]
fn a_running_ca_keeps_its_root() {
    let plugged = state();
    let config = config(&state());
    let [root, other_root] = [1, 9].map(|number| make(AuthorityRole::Root, None, number));
    write_four(plugged.path(), &make(AuthorityRole::Issuer, Some(&root), 2), &root);
    let (mut keystore, _) = Keystore::open(plugged.path(), &config, now()).unwrap();
    write_four(plugged.path(), &make(AuthorityRole::Issuer, Some(&other_root), 3), &other_root);
    let error = keystore.newer(now()).unwrap_err();
    assert!(matches!(error, KeystoreError::RootChanged { .. }), "{error}");
}

#[test]
fn a_plugged_in_directory_has_either_layout_but_not_both() {
    let plugged = state();
    let config = config(&state());
    let root = make(AuthorityRole::Root, None, 1);
    let [first, second] = [2, 3].map(|number| make(AuthorityRole::Issuer, Some(&root), number));

    let empty = Keystore::open(plugged.path(), &config, now()).unwrap_err();
    assert!(empty.to_string().contains("ca-cert.pem: missing"), "{empty}");

    write(plugged.path(), [TLS_CERT, TLS_KEY, TLS_ROOTS], &first, &root);
    let (mut keystore, authority) = Keystore::open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    // Renewed in place, as whoever plugs it in does.
    write(plugged.path(), [TLS_CERT, TLS_KEY, TLS_ROOTS], &second, &root);
    assert_eq!(keystore.newer(now()).unwrap().unwrap().certificate(), &second.certificate);

    write_four(plugged.path(), &first, &root);
    assert!(matches!(Keystore::open(plugged.path(), &config, now()), Err(KeystoreError::TwoLayouts { .. })));
    for name in TLS_NAMES {
        fs::remove_file(plugged.path().join(name)).unwrap();
    }
    assert!(Keystore::open(plugged.path(), &config, now()).is_ok());
    fs::remove_file(plugged.path().join(ROOT_CERT)).unwrap();
    let partial = Keystore::open(plugged.path(), &config, now()).unwrap_err();
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
    let (mut keystore, authority) = Keystore::open(plugged.path(), &config, now()).unwrap();
    assert_eq!(authority.certificate(), &first.certificate);
    symlink("..2", plugged.path().join("..new")).unwrap();
    fs::rename(plugged.path().join("..new"), plugged.path().join("..data")).unwrap();
    assert_eq!(keystore.newer(now()).unwrap().unwrap().certificate(), &second.certificate);
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
            Keystore::open(directory, &config, now()).map(|(_, authority)| authority)
        } else {
            load_generation(directory, None, &config.trust_domain, now())
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
