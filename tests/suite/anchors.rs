//! One root that has ended, in a bundle that rotates: it vouches for nothing, and takes nothing down.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    Timestamp, TrustBundle, certificates_to_pem, prepare_authority,
};
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaOptions, Cli, TestBed};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

/// An authority that begins at `at` and lives for `days`.
fn authority(issuer: Option<&(Certificate, PrivateKey)>, at: Timestamp, days: u32, number: u8) -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role: if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root },
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key.public_key(),
        lifetime: DAY * days,
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
        now: at,
    };
    let unsigned = prepare_authority(&spec, issuer.map(|(certificate, _)| certificate)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |(_, key)| key)).unwrap();
    (certificate, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_has_ended_takes_nothing_down_and_is_told_by_ca_and_agent() {
    let bed = TestBed::new();
    let old = authority(None, now().minus(DAY * 20), 10, 1);
    let root = authority(None, now(), 3650, 2);
    let issuer = authority(Some(&root), now(), 365, 3);
    let folder = bed.path().join("plugged");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.join(name), content).unwrap();
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("ca-cert.pem", &certificates_to_pem([&issuer.0]));
    write("ca-key.pem", &issuer.1.to_pkcs8_pem());
    write("cert-chain.pem", &certificates_to_pem([&issuer.0]));
    write("root-cert.pem", &certificates_to_pem([&old.0, &root.0]));
    let ended = format!("ended at {}", old.0.not_after());

    let extra = format!("[authority]\ndirectory = \"{}\"", folder.display());
    let _config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions { extra, ..CaOptions::default() });
    let ca = Ca::run(bed.path(), "ca", "example.org").await;
    ca.ready().await;
    let warnings = ca.operate(&["status"]).ok().json()["warnings"].to_string();
    assert!(warnings.contains(&ended), "{warnings}");

    // The agent joins by the good root, is sent both, and goes on with both.
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let stored = std::fs::read(agent.state_dir().join("bundle.json")).unwrap();
    let bundle = TrustBundle::from_jwks(TrustDomain::parse("example.org").unwrap(), &stored).unwrap();
    assert_eq!(bundle.authorities().len(), 2);
    let log = agent.process.stderr();
    assert!(log.contains("an authority is not in use") && log.contains(&ended), "{log}");

    let config = bed.path().join("node-1.toml");
    let checked = Cli::run(&["agent".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    assert!(checked.stdout.contains(&ended), "{}{}", checked.stdout, checked.stderr);
}
