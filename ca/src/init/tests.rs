use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use pki::{PrivateKey, PublicKeyAlgorithm, RsaSize};
use runtime::clock::TestClock;
use runtime::entropy::SystemEntropy;
use runtime::private_files::PrivateFileError;
use tempfile::TempDir;

use super::*;
use crate::audit_walk::verify;
use crate::authority::SigningAuthority;
use crate::issuance::IssuanceError;
use crate::keystore::load_generation;
use crate::rotation::maker::MakeError;
use crate::store::SqliteStore;
use crate::store::{AuditReader, IssuanceStore};

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn config(base: &TempDir, more: &str) -> CaConfig {
    let text = format!(
        "trust_domain = \"example.org\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n{more}",
        base.path().join("ca").display()
    );
    CaConfig::parse("ca.toml", &text).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn clock() -> std::sync::Arc<TestClock> {
    TestClock::at(SystemTime::from(now()))
}

fn options(algorithm: KeyAlgorithm, root_key_out: Option<PathBuf>) -> InitOptions {
    InitOptions { algorithm, root_key_out }
}

async fn run(config: &CaConfig, options: InitOptions) -> Result<InitReport, InitError> {
    init(config, options, &*clock(), &SystemEntropy).await
}

/// The newest generation, as a CA would load it.
async fn newest(config: &CaConfig) -> SigningAuthority {
    let number = generations(&config.generations_dir()).unwrap().pop_last().unwrap();
    let keys = SigningKeys::open(config).await.unwrap();
    load_generation(&Places::of(config).generation(number), &keys, &config.trust_domain, now()).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn an_authority_is_made_private_recorded_and_loadable() {
    let base = state();
    let config = config(&base, "");
    let report = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();

    let state_dir = &config.state_dir;
    for (path, expected) in [
        (state_dir.clone(), 0o700),
        (state_dir.join("root-key.pem"), 0o600),
        (state_dir.join("root-cert.pem"), 0o644),
        (state_dir.join("authority"), 0o700),
        (state_dir.join("authority/0001"), 0o700),
        (state_dir.join("authority/0001/ca-key.pem"), 0o600),
        (state_dir.join("authority/0001/ca-cert.pem"), 0o644),
        (state_dir.join("authority/0001/root-cert.pem"), 0o644),
        (state_dir.join("authority/0001/cert-chain.pem"), 0o644),
        (state_dir.join("audit-key.pem"), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    let authority = newest(&config).await;
    assert_eq!(authority.root().fingerprint(), report.root_fingerprint);
    assert_eq!(report.root_not_after.since(now()).as_secs(), 3650 * 86_400 - 1);
    assert_eq!(report.issuer_not_after.since(now()).as_secs(), 30 * 86_400 - 1);

    let store = SqliteStore::open(&config.store_path()).unwrap();
    assert_eq!(store.issued_count().await.unwrap(), 2);
    let events = store.audit_after(0, 100).await.unwrap();
    assert!(events.iter().any(|event| event.body.contains("signet ca init")), "{events:?}");
    assert_eq!(verify(&store, vec![], vec![], |_, _| ()).await.unwrap().findings, []);
    let checked = check(&config, &*clock()).await.unwrap();
    assert_eq!(checked.audit_key_id, Some(report.audit_key_id));
    assert_eq!(checked.authority.unwrap().root_fingerprint, report.root_fingerprint);
    assert_eq!(checked.warnings, [""; 0]);
}

#[tokio::test]
async fn a_root_whose_key_is_elsewhere_and_has_no_revocation_list_here_is_told() {
    let base = state();
    let config = config(&base, "");
    run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
    assert_eq!(check(&config, &*clock()).await.unwrap().warnings, [""; 0]);
    fs::rename(config.state_dir.join("root-key.pem"), base.path().join("root-key.pem")).unwrap();
    let warnings = check(&config, &*clock()).await.unwrap().warnings;
    assert!(matches!(warnings.as_slice(), [one] if one.contains("ca-crl.pem")), "{warnings:?}");
    fs::write(config.state_dir.join("ca-crl.pem"), "no list").unwrap();
    let warnings = check(&config, &*clock()).await.unwrap().warnings;
    assert!(matches!(warnings.as_slice(), [one] if one.contains("are not used")), "{warnings:?}");
}

#[cfg(feature = "aws-lc")]
#[tokio::test]
async fn an_rsa_root_has_issuing_cas_of_its_kind() {
    let base = state();
    let config = config(&base, "");
    run(&config, options(KeyAlgorithm::Rsa(RsaSize::Bits3072), None)).await.unwrap();
    issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap();
    for generation in ["0001", "0002"] {
        let chain = fs::read(config.generations_dir().join(generation).join("cert-chain.pem")).unwrap();
        for certificate in certificates_from_pem(&chain).unwrap() {
            assert_eq!(certificate.public_key().algorithm(), PublicKeyAlgorithm::Rsa { bits: 3072 });
        }
    }
    assert!(check(&config, &*clock()).await.unwrap().warnings.is_empty());
}

#[cfg(feature = "ring")]
#[tokio::test]
async fn an_rsa_root_is_refused_with_the_way_out_before_anything_is_written() {
    let base = state();
    let config = config(&base, "");
    let error = run(&config, options(KeyAlgorithm::Rsa(RsaSize::Bits3072), None)).await.unwrap_err();
    assert!(
        matches!(
            error,
            InitError::SigningKey(crate::signing_keys::SigningKeyError::NotGenerated(pki::KeyError::GenerationNotInBackend {
                backend: "ring",
                ..
            }))
        ),
        "{error}"
    );
    assert!(error.to_string().contains("RSA 3072 keys cannot be made by ring"), "{error}");
    assert!(error.to_string().contains("--features aws-lc"), "{error}");
    assert!(!config.state_dir.exists());
    run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
}

#[tokio::test]
async fn nothing_is_ever_overwritten() {
    let base = state();
    let config = config(&base, "");
    let first = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
    let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(&error, InitError::Exists { path } if *path == first.root_certificate), "{error}");
    // Any one piece is enough to stop.
    for leftover in ["root-cert.pem", "root-key.pem", "authority"] {
        let base = state();
        let config = self::config(&base, "");
        ensure_private_dir(&config.state_dir).unwrap();
        let path = config.state_dir.join(leftover);
        fs::write(&path, "something").unwrap();
        let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "something");
    }
}

#[tokio::test]
async fn a_run_that_was_cut_short_has_a_way_out_that_is_told_and_works() {
    let base = state();
    let config = config(&base, "");
    let report = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
    // Cut before the generation had its name: a root, and a set that nobody loads.
    let unfinished = config.generations_dir().join(".new");
    fs::rename(&report.generation, &unfinished).unwrap();
    let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(&error, InitError::WithoutIssuer { root_certificate } if *root_certificate == report.root_certificate));
    assert!(error.to_string().contains("signet ca issuer renew"), "{error}");
    issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap();
    let authority = newest(&config).await;
    assert_eq!(authority.root().fingerprint(), report.root_fingerprint);
    assert!(!unfinished.exists(), "the unused key is gone");

    // Cut after the root's key.
    fs::remove_dir_all(config.generations_dir()).unwrap();
    fs::remove_file(&report.root_certificate).unwrap();
    let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(&error, InitError::LoneRootKey { path, .. } if *path == report.root_key), "{error}");
    fs::remove_file(&report.root_key).unwrap();
    run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
    newest(&config).await;
}

#[tokio::test]
async fn the_root_key_can_lie_elsewhere_and_the_ca_does_without() {
    let base = state();
    let config = config(&base, "");
    let elsewhere = base.path().join("offline");
    let report = run(&config, options(KeyAlgorithm::EcdsaP384, Some(elsewhere.clone()))).await.unwrap();
    assert_eq!(report.root_key, elsewhere.join("root-key.pem"));
    assert_eq!(mode(&report.root_key), 0o600);
    assert!(!config.state_dir.join("root-key.pem").exists());
    let authority = newest(&config).await;
    assert_eq!(authority.certificate().public_key().algorithm(), PublicKeyAlgorithm::EcdsaP384);

    let error = issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap_err();
    assert!(matches!(error, InitError::NoRootKey { .. }), "{error}");
    let renewed = issuer_renew(&config, Some(report.root_key), &*clock(), &SystemEntropy).await.unwrap();
    assert_eq!(renewed.generation, config.generations_dir().join("0002"));
}

#[tokio::test]
async fn a_renewal_lies_beside_the_old_and_works_while_the_ca_runs() {
    let base = state();
    let config = config(&base, "");
    run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();
    // What a running CA holds.
    let _lock = DirLock::acquire(&config.state_dir).unwrap();
    let store = SqliteStore::open(&config.store_path()).unwrap();
    let old = newest(&config).await;

    let renewed = issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap();
    let new = newest(&config).await;
    assert_eq!(new.certificate().serial(), &renewed.serial);
    assert_ne!(new.certificate().public_key(), old.certificate().public_key());
    assert_eq!(new.root(), old.root());
    assert!(config.generations_dir().join("0001/ca-key.pem").exists());
    assert_eq!(store.issued_count().await.unwrap(), 3);
    // Both processes write one chain.
    let linted_by_the_running_ca = issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap();
    assert_eq!(linted_by_the_running_ca.generation, config.generations_dir().join("0003"));
    assert_eq!(verify(&store, vec![], vec![], |_, _| ()).await.unwrap().findings, []);
}

#[tokio::test]
async fn a_renewal_needs_the_roots_own_key_and_never_outlives_it() {
    let base = state();
    let config = config(&base, "");
    let missing = issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap_err();
    assert!(matches!(missing, InitError::File(_) | InitError::NoRoot { .. }), "{missing}");
    let report = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap();

    let stranger = base.path().join("stranger.pem");
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    write_private(&stranger, key.to_pkcs8_pem().as_bytes(), Overwrite::Refuse).unwrap();
    let error = issuer_renew(&config, Some(stranger), &*clock(), &SystemEntropy).await.unwrap_err();
    assert!(matches!(error, InitError::RootKeyMismatch { .. }), "{error}");

    let late = TestClock::at(SystemTime::from(report.root_not_after.minus(Duration::from_secs(86_400))));
    let renewed = issuer_renew(&config, None, &*late, &SystemEntropy).await.unwrap();
    assert_eq!(renewed.not_after, report.root_not_after);
    let over = TestClock::at(SystemTime::from(report.root_not_after));
    let error = issuer_renew(&config, None, &*over, &SystemEntropy).await.unwrap_err();
    assert!(matches!(error, InitError::Make(MakeError::Issuance(IssuanceError::Mint(_)))), "{error}");
}

#[tokio::test]
async fn a_state_directory_in_use_or_open_to_others_is_refused() {
    let base = state();
    let config = config(&base, "");
    ensure_private_dir(&config.state_dir).unwrap();
    let lock = DirLock::acquire(&config.state_dir).unwrap();
    let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(error, InitError::File(PrivateFileError::Locked { .. })), "{error}");
    drop(lock);
    fs::set_permissions(&config.state_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(error, InitError::File(PrivateFileError::WritableByOthers { .. })), "{error}");
    fs::set_permissions(&config.state_dir, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.is_ok());
}

#[tokio::test]
async fn a_plugged_in_authority_is_not_ours_to_make() {
    let base = state();
    let config = config(&base, &format!("[authority]\ndirectory = \"{}\"\n", base.path().display()));
    let made = run(&config, options(KeyAlgorithm::EcdsaP256, None)).await.unwrap_err();
    assert!(matches!(made, InitError::PluggedIn { .. }), "{made}");
    let renewed = issuer_renew(&config, None, &*clock(), &SystemEntropy).await.unwrap_err();
    assert!(matches!(renewed, InitError::PluggedIn { .. }), "{renewed}");
}
