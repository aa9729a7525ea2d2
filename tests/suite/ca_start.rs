//! A CA that starts wrongly does not start, and says which file and why.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    Timestamp, certificates_to_pem, prepare_authority, prepare_leaf,
};
use runtime::clock::SystemClock;
use tests::{Ca, CaOptions, Cli, CliOutput, Requirement, TestBed, needs};

/// A certificate with its key.
struct Pair {
    certificate: Certificate,
    key: PrivateKey,
}

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

fn serial(last: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [last; pki::SERIAL_RANDOM_BYTES])
}

fn authority(role: AuthorityRole, issuer: Option<&Pair>, at: Timestamp, lifetime: Duration, number: u8) -> Pair {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let spec = AuthoritySpec {
        role,
        trust_domain: &trust_domain,
        public_key: key.public_key(),
        lifetime,
        serial: serial(number),
        now: at,
    };
    let unsigned = prepare_authority(&spec, issuer.map(|pair| &pair.certificate)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |pair| &pair.key)).unwrap();
    Pair { certificate, key }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The four files of a plugged-in authority that is in order.
fn good_set() -> (Pair, Pair, BTreeMap<&'static str, String>) {
    let root = authority(AuthorityRole::Root, None, now(), YEAR * 10, 1);
    let issuer = authority(AuthorityRole::Issuer, Some(&root), now(), YEAR, 2);
    let files = BTreeMap::from([
        ("ca-cert.pem", certificates_to_pem([&issuer.certificate])),
        ("ca-key.pem", issuer.key.to_pkcs8_pem().to_string()),
        ("root-cert.pem", certificates_to_pem([&root.certificate])),
        ("cert-chain.pem", certificates_to_pem([&issuer.certificate])),
    ]);
    (root, issuer, files)
}

/// Plugs the files in and asks `ca check` what it thinks.
fn check(files: &BTreeMap<&'static str, String>) -> CliOutput {
    let bed = TestBed::new();
    let folder = bed.path().join("plugged");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let extra = format!("[authority]\ndirectory = \"{}\"", folder.display());
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions { extra, ..CaOptions::default() });
    Cli::run(&["ca".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()])
}

#[track_caller]
fn refused(output: &CliOutput, words: &[&str]) {
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing in: {}", output.stderr);
    }
}

/// P15: a plugged-in authority is verified whole; each fault is told by its file.
#[test]
fn p15_a_plugged_in_authority_is_verified_whole() {
    let (root, issuer, good) = good_set();
    let _passes = check(&good).ok();

    for missing in ["ca-key.pem", "root-cert.pem"] {
        let mut files = good.clone();
        files.remove(missing);
        refused(&check(&files), &[missing, "missing"]);
    }
    let with = |name: &'static str, content: String| {
        let mut files = good.clone();
        files.insert(name, content);
        check(&files)
    };
    let other_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().to_pkcs8_pem().to_string();
    refused(&with("ca-key.pem", other_key), &["ca-key.pem", "match"]);
    refused(&with("ca-key.pem", "no key".to_owned()), &["ca-key.pem"]);

    let unrelated = authority(AuthorityRole::Root, None, now(), YEAR, 9);
    refused(&with("root-cert.pem", certificates_to_pem([&unrelated.certificate])), &["root-cert.pem", "chain"]);

    let set_of = |issuer: &Certificate, key: &PrivateKey| {
        let mut files = good.clone();
        files.insert("ca-cert.pem", certificates_to_pem([issuer]));
        files.insert("cert-chain.pem", certificates_to_pem([issuer]));
        files.insert("ca-key.pem", key.to_pkcs8_pem().to_string());
        check(&files)
    };
    let past = now().minus(YEAR * 2);
    let old_root = authority(AuthorityRole::Root, None, past, YEAR * 10, 3);
    let expired = authority(AuthorityRole::Issuer, Some(&old_root), past, YEAR, 4);
    let mut files = good.clone();
    files.insert("ca-cert.pem", certificates_to_pem([&expired.certificate]));
    files.insert("cert-chain.pem", certificates_to_pem([&expired.certificate]));
    files.insert("ca-key.pem", expired.key.to_pkcs8_pem().to_string());
    files.insert("root-cert.pem", certificates_to_pem([&old_root.certificate]));
    refused(&check(&files), &["ca-cert.pem", "expired", &expired.certificate.not_after().to_string()]);

    let (leaf, key) = leaf_of(&issuer);
    refused(&set_of(&leaf, &key), &["ca-cert.pem", "CA"]);
    drop(root);
}

fn leaf_of(issuer: &Pair) -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = LeafProfile::new(Duration::from_secs(3600), Duration::from_secs(3600)).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/not-a-ca").unwrap();
    let request = LeafRequest {
        id: &id,
        dns_names: &[],
        ip_addresses: &[],
        public_key: key.public_key(),
        ttl: None,
        serial: serial(7),
        now: now(),
    };
    (prepare_leaf(&profile, &request, &issuer.certificate).unwrap().sign(&issuer.key).unwrap(), key)
}

/// P15: the other layout of a plugged-in authority, with a key in each form.
#[test]
fn p15_the_tls_layout_is_read_too() {
    let (_root, _issuer, good) = good_set();
    let tls = BTreeMap::from([
        ("tls.crt", good["ca-cert.pem"].clone()),
        ("tls.key", good["ca-key.pem"].clone()),
        ("ca.crt", good["root-cert.pem"].clone()),
    ]);
    let _passes = check(&tls).ok();
    let mut files = tls.clone();
    files.remove("ca.crt");
    refused(&check(&files), &["ca.crt", "missing"]);
}

fn init(config: &Path) -> CliOutput {
    Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()])
}

fn run(config: &Path) -> CliOutput {
    Cli::run(&["ca".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()])
}

/// P15: `ca init` never overwrites, and nothing runs before it.
#[test]
fn p15_init_never_overwrites_and_run_wants_it_first() {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    refused(&run(&config), &["signet ca init"]);
    // By a shell with the most careless umask there is.
    let command = format!("umask 000; exec {} ca init --config {}", tests::signet_binary().display(), config.display());
    assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
    let state = bed.path().join("ca-state");
    let root = std::fs::read(state.join("root-cert.pem")).unwrap();
    let again = init(&config);
    assert_ne!(again.code, 0);
    assert!(again.stderr.contains("exist"), "{}", again.stderr);
    assert_eq!(std::fs::read(state.join("root-cert.pem")).unwrap(), root);
    // Whatever the umask: the state is private and keys are private in it.
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state), 0o700);
    for private in ["root-key.pem", "authority/0001/ca-key.pem", "store.db"] {
        assert_eq!(mode(&state.join(private)), 0o600, "{private}");
    }
}

/// P15: an RSA authority, by the crypto backend of the build: ring makes no RSA keys, and says so before it writes anything.
#[test]
fn p15_an_rsa_authority_is_made_or_refused_with_the_way_out() {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let state = bed.path().join("ca-state");
    let verb = ["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()];
    let made = Cli::run(&[&verb[..], &["--algorithm".as_ref(), "rsa3072".as_ref()]].concat());
    if cfg!(feature = "aws-lc") {
        assert_eq!(made.code, 0, "{}", made.stderr);
        let root = pki::certificates_from_pem(&std::fs::read(state.join("root-cert.pem")).unwrap()).unwrap();
        assert_eq!(root[0].public_key().algorithm(), pki::PublicKeyAlgorithm::Rsa { bits: 3072 });
    } else {
        refused(&made, &["RSA 3072 keys cannot be made by ring", "--features aws-lc"]);
        assert!(!state.exists());
        assert_eq!(init(&config).code, 0);
    }
}

/// P15: the trust domain has no default, unknown keys are refused, and all faults come at once.
#[test]
fn p15_a_faulty_configuration_is_refused_whole() {
    let bed = TestBed::new();
    let state = bed.path().join("state");
    let text =
        format!("state_dir = \"{}\"\nlisten = \"nowhere\"\ncolour = \"red\"\n[leaf]\ndefault_ttl = \"soon\"\n", state.display());
    let config = bed.write("ca.toml", &text);
    let output = Cli::run(&["ca".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()]);
    refused(&output, &["trust_domain", "listen: \"nowhere\" is no IP address with a port", "colour", "leaf.default_ttl"]);
    assert!(!state.exists(), "a refused configuration leaves nothing behind");
}

/// P15: a state directory that others may write to is refused.
#[test]
fn p15_a_state_directory_open_to_others_is_refused() {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let _made = init(&config).ok();
    let state = bed.path().join("ca-state");
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o770)).unwrap();
    refused(&run(&config), &[state.to_str().unwrap(), "writ"]);
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    if needs("p15_a_state_directory_open_to_others_is_refused", Requirement::Root) {
        std::os::unix::fs::chown(&state, Some(10_001), None).unwrap();
        refused(&run(&config), &[state.to_str().unwrap(), "10001"]);
    }
}

/// P15: one state directory, one process.
#[tokio::test(flavor = "multi_thread")]
async fn p15_a_second_process_on_one_state_directory_is_refused() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let config = bed.path().join("ca.toml");
    refused(&run(&config), &["in use by process", &ca.process.id().to_string()]);
    assert!(ca.process.is_running());
    ca.process.stop().await;
    ca.start_again().await;
}

/// P15: a store that a newer Signet wrote is refused, with both versions.
#[tokio::test(flavor = "multi_thread")]
async fn p15_a_store_of_a_newer_schema_is_refused() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    ca.process.stop().await;
    // user_version is the big-endian number at offset 60 of the file (SQLite file format, section 1.3).
    let store = ca.state_dir().join("store.db");
    let mut bytes = std::fs::read(&store).unwrap();
    let known = u32::from_be_bytes(bytes[60..64].try_into().unwrap());
    assert!(known >= 1, "the schema has a version");
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    std::fs::write(&store, bytes).unwrap();
    refused(&run(&bed.path().join("ca.toml")), &["9999", &known.to_string()]);
}

/// P15: a root key kept elsewhere is not needed to run, and is to renew the issuing CA, which a running CA takes up by itself.
#[tokio::test(flavor = "multi_thread")]
async fn p15_a_ca_runs_without_its_root_key_and_takes_up_a_renewed_issuer() {
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
    let vault = bed.path().join("vault");
    std::fs::create_dir(&vault).unwrap();
    std::fs::set_permissions(&vault, PermissionsExt::from_mode(0o700)).unwrap();
    let arguments = ["ca", "init", "--config", config.to_str().unwrap(), "--root-key-out", vault.to_str().unwrap()];
    let _made = Cli::run(&arguments).ok();
    assert!(!bed.path().join("ca-state/root-key.pem").exists());
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    let issuer = |ca: &Ca| {
        let status = ca.operate(&["status"]).ok().json();
        let certificates = status["certificates"].as_array().unwrap().clone();
        certificates.into_iter().find(|certificate| certificate["role"] == "issuer").unwrap()["serial"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = issuer(&ca);
    let key = vault.join("root-key.pem");
    let without = Cli::run(&["ca", "issuer", "renew", "--config", config.to_str().unwrap()]);
    assert_ne!(without.code, 0, "the root key is elsewhere");
    let _renewed =
        Cli::run(&["ca", "issuer", "renew", "--config", config.to_str().unwrap(), "--root-key", key.to_str().unwrap()]).ok();
    tests::eventually("the running CA to take the new issuer up", async || (issuer(&ca) != before).then_some(())).await;
    let (_connection, attested) = tests::attested_connection(&ca, "node-1").await;
    assert_eq!(attested.svid.chain()[1].serial().to_string(), issuer(&ca));
}
