//! The authority of a cluster: certificates of its server, and of nodes by the names that Kubernetes reads (X.509 client certificates:
//! the common name is the user, each organization a group).

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use identity::{SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
    Timestamp, TrustedRoots, X509Svid, certificates_to_pem, prepare_authority, prepare_leaf,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData,
    SanType, SignatureAlgorithm, SigningKey,
};
use runtime::clock::SystemClock;
use runtime::entropy::{SystemEntropy, bytes};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root that signs for servers and clients of one cluster.
pub(super) struct ClusterAuthority {
    root: Certificate,
    key: PrivateKey,
}

/// A P-256 key as the encoder takes it.
struct EncoderKey<'a>(&'a PrivateKey);

impl ClusterAuthority {
    pub(super) fn new() -> Self {
        let key = new_key();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &TrustDomain::parse("cluster.example").expect("a domain"),
            public_key: key.public_key(),
            lifetime: DAY * 2,
            serial: serial(),
            now: now(),
        };
        let root = prepare_authority(&spec, None).expect("a root").sign(&key).expect("the key signs");
        Self { root, key }
    }

    pub(super) fn roots(&self) -> TrustedRoots {
        TrustedRoots::new(vec![self.root.clone()]).expect("one root")
    }

    pub(super) fn roots_pem(&self) -> String {
        certificates_to_pem([&self.root])
    }

    /// The certificate of a server at this address, and its key.
    pub(super) fn server(&self, address: IpAddr) -> (Certificate, PrivateKey) {
        let key = new_key();
        let request = LeafRequest {
            id: &id("apiserver"),
            dns_names: &[],
            ip_addresses: &[address],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(),
            now: now(),
        };
        let profile = LeafProfile::new(DAY, DAY).expect("a day is a life");
        (prepare_leaf(&profile, &request, &self.root).expect("a leaf").sign(&self.key).expect("the key signs"), key)
    }

    /// What a kubelet shows. The SPIFFE ID in it is there because `mtls` shows nothing else; Kubernetes does not read it.
    pub(super) fn node(&self, name: &str) -> X509Svid {
        let key = new_key();
        let mut params = CertificateParams::default();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial().as_bytes()));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{name}"));
        params.not_before = SystemTime::from(self.root.not_before()).into();
        params.not_after = SystemTime::from(self.root.not_after()).into();
        let uri = id(&format!("node/{name}")).to_string();
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("a SPIFFE ID is ASCII"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_identifier_method = KeyIdMethod::PreSpecified(Vec::new());
        let issuer = Issuer::from_ca_cert_der(self.root.der(), EncoderKey(&self.key)).expect("the root is read back");
        let leaf = params.signed_by(&EncoderKey(&key), &issuer).expect("a certificate");
        let leaf = Certificate::from_der(leaf.der()).expect("the encoder writes DER");
        X509Svid::new(vec![leaf], key, now()).expect("key and certificate belong together")
    }
}

impl PublicKeyData for EncoderKey<'_> {
    /// The point, which ends the SubjectPublicKeyInfo (RFC 5480 section 2): a byte of form, and two coordinates.
    fn der_bytes(&self) -> &[u8] {
        let spki = self.0.public_key().spki_der();
        &spki[spki.len() - 65..]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for EncoderKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made")
}

fn serial() -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(9).expect("nine is in range"), bytes(&SystemEntropy))
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://cluster.example/{path}")).expect("a SPIFFE ID")
}

fn now() -> Timestamp {
    SystemClock::shared().now().into()
}
