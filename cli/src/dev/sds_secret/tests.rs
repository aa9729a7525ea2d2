//! What the agent sends is taken whole or not at all.

use proto::envoy::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain as Entry;

use super::*;

const ROOT: &str = include_str!("testdata/root.pem");
const LEAF: &str = include_str!("testdata/leaf.pem");
const LEAF_KEY: &str = include_str!("testdata/leaf-key.pem");
const OTHER_KEY: &str = include_str!("testdata/other-key.pem");

fn bytes(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(text.into())), ..DataSource::default() }
}

fn resource(name: &str, kind: secret::Type) -> Any {
    let secret = Secret { name: name.to_owned(), r#type: Some(kind) };
    Any { type_url: SECRET_TYPE.to_owned(), value: secret.encode_to_vec() }
}

fn certificate(chain: DataSource, key: DataSource) -> Any {
    let certificate = TlsCertificate { certificate_chain: Some(chain), private_key: Some(key), ..TlsCertificate::default() };
    resource("default", secret::Type::TlsCertificate(certificate))
}

fn spiffe_context(entries: Vec<Entry>) -> Any {
    let config = SpiffeCertValidatorConfig { trust_domains: entries, ..SpiffeCertValidatorConfig::default() };
    let config = Any { type_url: SPIFFE_VALIDATOR_TYPE.to_owned(), value: config.encode_to_vec() };
    let custom = TypedExtensionConfig { name: "envoy.tls.cert_validator.spiffe".to_owned(), typed_config: Some(config) };
    let context =
        CertificateValidationContext { custom_validator_config: Some(custom), ..CertificateValidationContext::default() };
    resource("ROOTCA", secret::Type::ValidationContext(context))
}

fn entry(name: &str) -> Entry {
    Entry { name: name.to_owned(), trust_bundle: Some(bytes(ROOT)), ..Entry::default() }
}

fn decoded(resource: &Any) -> Result<Received, SecretError> {
    decode(resource, &TrustDomain::parse("t").unwrap(), Timestamp::from_unix_seconds(7), 3)
}

fn refused(resource: &Any) -> SecretError {
    decoded(resource).map(drop).unwrap_err()
}

#[test]
fn a_certificate_comes_with_its_own_key_or_not_at_all() {
    let Ok(Received::Svid(svid)) = decoded(&certificate(bytes(LEAF), bytes(LEAF_KEY))) else { panic!("good") };
    assert_eq!(svid.id().as_str(), "spiffe://t/web");
    assert_eq!(svid.leaf().serial().to_string(), "0102030405");
    assert!(matches!(refused(&certificate(bytes(LEAF), bytes(OTHER_KEY))), SecretError::Svid(_)));
    assert!(matches!(refused(&certificate(bytes(LEAF), bytes("no key"))), SecretError::Key(_)));
    assert!(matches!(refused(&certificate(bytes("-----BEGIN CERTIFICATE-----"), bytes(LEAF_KEY))), SecretError::Certificate(_)));
}

#[test]
fn only_what_the_agent_sends_itself_is_read() {
    let file = DataSource { specifier: Some(Specifier::Filename("/etc/hostname".into())), ..DataSource::default() };
    let error = refused(&certificate(bytes(LEAF), file));
    assert!(matches!(error, SecretError::Missing { part: "private_key", .. }), "{error}");
}

#[test]
fn a_bundle_comes_in_either_form() {
    let context = CertificateValidationContext { trusted_ca: Some(bytes(ROOT)), ..CertificateValidationContext::default() };
    let plain = resource("ROOTCA", secret::Type::ValidationContext(context));
    // Lists stand beside the certificates where each CA has one.
    let pem = format!("{ROOT}-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n");
    let with_lists = Entry { name: "t".to_owned(), trust_bundle: Some(bytes(&pem)), ..Entry::default() };
    for good in [plain, spiffe_context(vec![entry("other"), entry("t")]), spiffe_context(vec![with_lists])] {
        let Ok(Received::Bundle(bundle)) = decoded(&good) else { panic!("good") };
        assert_eq!((bundle.trust_domain().as_str(), bundle.authorities().len(), bundle.sequence()), ("t", 1, 3));
    }
}

#[test]
fn a_bundle_of_another_trust_domain_is_not_ours() {
    let error = refused(&spiffe_context(vec![entry("other")]));
    assert!(matches!(error, SecretError::OtherTrustDomains { .. }), "{error}");
}

#[test]
fn other_types_are_refused() {
    let mut wrong = certificate(bytes(LEAF), bytes(LEAF_KEY));
    wrong.type_url.push('x');
    assert!(matches!(refused(&wrong), SecretError::Type { .. }));
    let garbage = Any { type_url: SECRET_TYPE.to_owned(), value: vec![0xff] };
    assert!(matches!(refused(&garbage), SecretError::Encoding(_)));
}
