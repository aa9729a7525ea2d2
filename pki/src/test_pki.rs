//! Authorities and leaves for the tests of this crate, good ones by default, with chosen defects.

use std::time::Duration;

use identity::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};

use crate::key::EncoderKey;
use crate::{Certificate, CertificateDer, KeyAlgorithm, PrivateKey, Timestamp, TrustBundle};

/// 2026-11-20T11:00:00Z.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// A certificate and its key.
pub(crate) struct Holder {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

impl Holder {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

/// What a certificate shall say; start from a good one and spoil it.
pub(crate) struct Plan {
    pub(crate) params: CertificateParams,
    pub(crate) key: PrivateKey,
}

impl Plan {
    /// A CA certificate with this common name and the trust domain's URI SAN, one year around [`now`].
    pub(crate) fn authority(name: &str) -> Self {
        let mut params = blank(Duration::from_secs(365 * 24 * 3600));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri("spiffe://example.org")];
        Self { params, key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap() }
    }

    /// An SVID for `id`, one hour around [`now`].
    pub(crate) fn leaf(id: &str) -> Self {
        let mut params = blank(Duration::from_secs(3600));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![uri(id)];
        Self { params, key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap() }
    }

    /// Applies a change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    pub(crate) fn with_key(mut self, key: PrivateKey) -> Self {
        self.key = key;
        self
    }

    /// Valid from and to, both inclusive.
    pub(crate) fn dates(self, from: Timestamp, to: Timestamp) -> Self {
        self.with(|params| {
            params.not_before = std::time::SystemTime::from(from).into();
            params.not_after = std::time::SystemTime::from(to).into();
        })
    }

    pub(crate) fn der_under(&self, issuer: &Holder) -> CertificateDer<'static> {
        let signer = Issuer::from_ca_cert_der(issuer.certificate.der(), Signer::new(&issuer.key)).unwrap();
        let public = EncoderKey(self.key.public_key().clone());
        self.params.signed_by(&public, &signer).unwrap().der().clone()
    }

    pub(crate) fn self_signed_der(&self) -> CertificateDer<'static> {
        self.params.self_signed(&Signer::new(&self.key)).unwrap().der().clone()
    }

    pub(crate) fn under(self, issuer: &Holder) -> Holder {
        let certificate = Certificate::from_der(&self.der_under(issuer)).unwrap();
        Holder { certificate, key: self.key }
    }

    pub(crate) fn self_signed(self) -> Holder {
        let certificate = Certificate::from_der(&self.self_signed_der()).unwrap();
        Holder { certificate, key: self.key }
    }
}

/// A root, an issuing CA below it, and the bundle of the root.
pub(crate) struct Hierarchy {
    pub(crate) root: Holder,
    pub(crate) issuer: Holder,
    pub(crate) bundle: TrustBundle,
}

impl Hierarchy {
    pub(crate) fn new() -> Self {
        let root = Plan::authority("root").self_signed();
        let issuer = Plan::authority("issuer").under(&root);
        let bundle = bundle_of(&[&root]);
        Self { root, issuer, bundle }
    }
}

pub(crate) fn bundle_of(roots: &[&Holder]) -> TrustBundle {
    TrustBundle::new(trust_domain(), roots.iter().map(|root| root.certificate.clone()).collect(), 1).unwrap()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// An extension with NULL inside.
pub(crate) fn extension(oid: &[u64], critical: bool) -> CustomExtension {
    extension_with(oid, critical, &[0x05, 0x00])
}

pub(crate) fn extension_with(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// `bytes` with the one occurrence of `from` replaced.
pub(crate) fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// Without a name, valid from one minute before [`now`].
fn blank(life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = std::time::SystemTime::from(now().minus(Duration::from_secs(60))).into();
    params.not_after = std::time::SystemTime::from(now().plus(life)).into();
    params.use_authority_key_identifier_extension = true;
    params
}

/// Lets the encoder sign with a key of ours.
pub(crate) struct Signer<'a> {
    key: &'a PrivateKey,
    public: EncoderKey,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(key: &'a PrivateKey) -> Self {
        Self { key, public: EncoderKey(key.public_key().clone()) }
    }
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).unwrap())
    }
}
