//! An authority that makes certificates for machines, and is no part of the CA.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    Timestamp, certificates_to_pem, prepare_authority, prepare_leaf,
};
use runtime::clock::SystemClock;
use runtime::entropy::{SystemEntropy, bytes};

use crate::TestBed;

const HOUR: Duration = Duration::from_secs(3600);

/// The authority, of the trust domain `machines.example`.
pub struct Provisioner {
    root: Certificate,
    key: PrivateKey,
}

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made")
}

fn serial() -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(9).expect("nine is in range"), bytes(&SystemEntropy))
}

impl Provisioner {
    /// A new root.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one, which a default is not")]
    pub fn new() -> Self {
        let key = new_key();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &TrustDomain::parse("machines.example").expect("a domain"),
            public_key: key.public_key(),
            lifetime: HOUR * 10_000,
            serial: serial(),
            now: now().minus(HOUR * 10),
        };
        let root = prepare_authority(&spec, None).expect("a root").sign(&key).expect("the key signs");
        Self { root, key }
    }

    /// The lines by which a CA takes its certificates.
    #[must_use]
    pub fn lines(&self, bed: &TestBed) -> String {
        let roots = bed.write("machines.pem", &certificates_to_pem([&self.root]));
        let roots = roots.display();
        format!("[[attestation.certificate]]\nroots = \"{roots}\"\nnode = \"spiffe://machines.example/vm/{{node}}\"\n")
    }

    /// A certificate for a machine that was issued `ago` for an hour, and its key.
    ///
    /// # Panics
    /// When the name is none.
    #[must_use]
    pub fn issue(&self, node: &str, ago: Duration) -> (Certificate, PrivateKey) {
        let key = new_key();
        let request = LeafRequest {
            id: &SpiffeId::parse(&format!("spiffe://machines.example/vm/{node}")).expect("a name"),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(),
            now: now().minus(ago),
        };
        let profile = LeafProfile::new(HOUR, HOUR).expect("an hour is a life");
        (prepare_leaf(&profile, &request, &self.root).expect("a leaf").sign(&self.key).expect("the key signs"), key)
    }

    /// The same, put where an agent looks for it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn put(&self, bed: &TestBed, directory: &str, node: &str, ago: Duration) -> PathBuf {
        let (leaf, key) = self.issue(node, ago);
        put_provisioned(bed, directory, &[leaf], &key)
    }
}

/// Puts a chain and its key into a directory in the layout of Istio's agents on virtual machines.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn put_provisioned(bed: &TestBed, directory: &str, chain: &[Certificate], key: &PrivateKey) -> PathBuf {
    let at = bed.path().join(directory);
    let private = at.join("key.pem");
    std::fs::create_dir_all(&at).expect("the bed can be written");
    std::fs::write(at.join("cert-chain.pem"), certificates_to_pem(chain)).expect("the bed can be written");
    std::fs::write(&private, key.to_pkcs8_pem().as_bytes()).expect("the bed can be written");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    at
}
