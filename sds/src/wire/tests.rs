//! Messages byte for byte as Envoy wants them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proto::envoy::google::protobuf::{Struct, Value};
use proto::envoy::google::rpc::Status;
use tls::secret::Type;

use super::*;
use crate::stream::tests::fixture::{Authority, Bench, bundle, federating, foreign, state, whole_lists, with_lists};

fn inline_of(source: Option<DataSource>) -> Vec<u8> {
    let Some(DataSource { specifier: Some(Specifier::InlineBytes(bytes)), .. }) = source else { panic!("not inline") };
    bytes
}

fn sent(names: &[&str], kind: ValidationContextKind) -> (DiscoveryResponse, Arc<pki::X509Svid>, Arc<pki::TrustBundle>) {
    let authority = Authority::new();
    let (svid, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let mut bench = Bench::new(state(&[&svid], &trust));
    let stream = bench.machine.open().unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    bench.machine.request(stream, Request { names, validation: Some(kind), ..Request::default() }, bench.now).unwrap();
    (response(bench.sent(stream)), svid, trust)
}

fn secrets(response: &DiscoveryResponse) -> Vec<tls::Secret> {
    assert_eq!(response.type_url, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
    let decoded = response.resources.iter().map(|any| {
        assert_eq!(any.type_url, response.type_url);
        tls::Secret::decode(any.value.as_slice()).unwrap()
    });
    decoded.collect()
}

#[test]
fn a_certificate_is_leaf_and_intermediates_and_a_pkcs8_key_inline() {
    let (response, svid, _) = sent(&["default"], ValidationContextKind::SpiffeValidator);
    let [secret] = <[_; 1]>::try_from(secrets(&response)).unwrap();
    assert_eq!(secret.name, "default");
    let Some(Type::TlsCertificate(certificate)) = secret.r#type else { panic!("no certificate") };
    let chain = pki::certificates_from_pem(&inline_of(certificate.certificate_chain)).unwrap();
    assert_eq!(chain, svid.chain());
    let key = inline_of(certificate.private_key);
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(pki::PrivateKey::from_pem(&key).unwrap().public_key(), svid.leaf().public_key());
}

#[test]
fn a_validation_context_is_envoys_spiffe_validator_or_plain_trusted_ca() {
    let (response, _, trust) = sent(&["ROOTCA"], ValidationContextKind::SpiffeValidator);
    let [secret] = <[_; 1]>::try_from(secrets(&response)).unwrap();
    let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("no context") };
    assert_eq!(context.trusted_ca, None);
    let validator = context.custom_validator_config.unwrap();
    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
    let typed = validator.typed_config.unwrap();
    // The proto's spelling, not prost's.
    assert_eq!(typed.type_url, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig");
    let config = tls::SpiffeCertValidatorConfig::decode(typed.value.as_slice()).unwrap();
    let [domain] = <[_; 1]>::try_from(config.trust_domains).unwrap();
    assert_eq!(domain.name, "example.org", "without spiffe://");
    assert_eq!(inline_of(domain.trust_bundle), trust.to_pem().into_bytes());

    let (response, _, trust) = sent(&["ROOTCA"], ValidationContextKind::TrustedCa);
    let [secret] = <[_; 1]>::try_from(secrets(&response)).unwrap();
    let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("no context") };
    assert_eq!(context.custom_validator_config, None);
    assert_eq!(inline_of(context.trusted_ca), trust.to_pem().into_bytes());
}

#[test]
fn lists_stand_behind_the_authorities_or_in_the_field_of_their_own_with_the_leaf_alone_to_be_looked_up() {
    let authority = Authority::new();
    let (svid, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let lists = whole_lists(&authority, &[&svid], 90 * 86_400);
    let context = |kind, lists| {
        let held = state(&[&svid], &trust);
        let mut bench = Bench::new(if lists { with_lists(&held, &whole_lists(&authority, &[&svid], 90 * 86_400)) } else { held });
        let stream = bench.machine.open().unwrap();
        let request = Request { names: vec!["ROOTCA".to_owned()], validation: Some(kind), ..Request::default() };
        bench.machine.request(stream, request, bench.now).unwrap();
        let [secret] = <[_; 1]>::try_from(secrets(&response(bench.sent(stream)))).unwrap();
        let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("no context") };
        context
    };
    let plain = context(ValidationContextKind::TrustedCa, true);
    assert!(plain.only_verify_leaf_cert_crl);
    assert_eq!(inline_of(plain.trusted_ca), trust.to_pem().into_bytes());
    let pem = inline_of(plain.crl);
    let read = pki::crl::crls_from_pem(&pem).unwrap();
    assert_eq!(read.len(), 2);
    assert!(
        read.iter().zip(lists.lists()).all(|(der, list)| pki::RevocationList::verify(der, list.issuer_der(), &trust).is_ok())
    );
    let without = context(ValidationContextKind::TrustedCa, false);
    assert!(without.crl.is_none() && !without.only_verify_leaf_cert_crl, "Envoy asks for a list where it has been given one");

    let spiffe = context(ValidationContextKind::SpiffeValidator, true);
    assert!(spiffe.crl.is_none() && !spiffe.only_verify_leaf_cert_crl);
    let typed = spiffe.custom_validator_config.unwrap().typed_config.unwrap();
    let [domain] =
        <[_; 1]>::try_from(tls::SpiffeCertValidatorConfig::decode(typed.value.as_slice()).unwrap().trust_domains).unwrap();
    let pem = String::from_utf8(inline_of(domain.trust_bundle)).unwrap();
    let (roots, crls) = pem.split_at(trust.to_pem().len());
    assert_eq!(roots, trust.to_pem());
    assert_eq!(pki::crl::crls_from_pem(crls.as_bytes()).unwrap().len(), 2);
}

#[test]
fn node_metadata_ask_for_plain_trusted_ca_as_with_spire() {
    let asked = |kind| {
        let fields = HashMap::from([(DISABLE_SPIFFE_VALIDATOR.to_owned(), Value { kind: Some(kind) })]);
        Request::from(DiscoveryRequest {
            node: Some(Node { metadata: Some(Struct { fields }), ..Default::default() }),
            ..Default::default()
        })
        .validation
    };
    for yes in [Kind::BoolValue(true), Kind::StringValue("true".to_owned()), Kind::StringValue("True".to_owned())] {
        assert_eq!(asked(yes), Some(ValidationContextKind::TrustedCa));
    }
    for no in [Kind::BoolValue(false), Kind::StringValue("yes".to_owned()), Kind::NumberValue(1.0)] {
        assert_eq!(asked(no), None);
    }
    assert_eq!(Request::from(DiscoveryRequest::default()).validation, None);
}

#[test]
fn a_request_is_taken_over_field_by_field() {
    let message = DiscoveryRequest {
        version_info: "v".to_owned(),
        resource_names: vec!["a".to_owned(), "b".to_owned()],
        type_url: SECRET_TYPE_URL.to_owned(),
        response_nonce: "n".to_owned(),
        error_detail: Some(Status { code: 13, message: "why".to_owned(), details: Vec::new() }),
        ..Default::default()
    };
    let Request { type_url, names, version, nonce, rejection, validation } = message.into();
    assert_eq!((type_url.as_str(), version.as_str(), nonce.as_str()), (SECRET_TYPE_URL, "v", "n"));
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!((rejection.as_deref(), validation), (Some("why"), None));
}

#[test]
fn an_incremental_response_has_a_version_per_resource_and_its_request_is_taken_over_field_by_field() {
    let authority = Authority::new();
    let mut bench = Bench::new(state(&[&authority.fresh("web")], &bundle(&[&authority])));
    let stream = bench.open_delta(&["default"], &[]);
    let sent = bench.sent(stream);
    let (nonce, version) = (sent.nonce.clone(), sent.resources[0].version.clone());
    let message = delta_response(Response { removed: vec!["gone".into()], ..sent });
    assert_eq!(
        (message.type_url.as_str(), &message.nonce, message.removed_resources),
        (SECRET_TYPE_URL, &nonce, vec!["gone".to_owned()])
    );
    let [resource] = <[_; 1]>::try_from(message.resources).unwrap();
    assert_eq!((resource.name.as_str(), &resource.version), ("default", &version));
    assert_eq!(tls::Secret::decode(resource.resource.unwrap().value.as_slice()).unwrap().name, "default");

    let taken = DeltaRequest::from(DeltaDiscoveryRequest {
        type_url: SECRET_TYPE_URL.to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        resource_names_unsubscribe: vec!["b".to_owned()],
        initial_resource_versions: HashMap::from([("a".to_owned(), "v".to_owned())]),
        response_nonce: "n".to_owned(),
        error_detail: Some(Status { code: 13, message: "why".to_owned(), details: Vec::new() }),
        ..Default::default()
    });
    let DeltaRequest { type_url, subscribe, unsubscribe, initial_versions, nonce, rejection, validation } = taken;
    assert_eq!((type_url.as_str(), nonce.as_str(), rejection.as_deref(), validation), (SECRET_TYPE_URL, "n", Some("why"), None));
    assert_eq!((subscribe, unsubscribe), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(initial_versions, [("a".to_owned(), "v".to_owned())]);
}

#[test]
fn each_trust_domain_of_a_validator_has_its_own_authorities_and_no_others() {
    let (authority, other) = (Authority::new(), Authority::of(&identity::TrustDomain::parse("other.org").unwrap()));
    let (svid, trust, theirs) = (authority.fresh("web"), bundle(&[&authority]), foreign("other.org", &[&other]));
    let mut bench = Bench::new(federating(&state(&[&svid], &trust), &[&theirs]));
    let stream = bench.machine.open().unwrap();
    let request = Request { names: vec!["ALL".to_owned()], ..Request::default() };
    bench.machine.request(stream, request, bench.now).unwrap();
    let [secret] = <[_; 1]>::try_from(secrets(&response(bench.sent(stream)))).unwrap();
    let Some(Type::ValidationContext(context)) = secret.r#type else { panic!("no context") };
    assert_eq!(context.trusted_ca, None);
    let typed = context.custom_validator_config.unwrap().typed_config.unwrap();
    let domains = tls::SpiffeCertValidatorConfig::decode(typed.value.as_slice()).unwrap().trust_domains;
    let domains: Vec<_> = domains.into_iter().map(|domain| (domain.name, inline_of(domain.trust_bundle))).collect();
    let expected = [("example.org", &trust), ("other.org", &theirs)];
    assert_eq!(domains, expected.map(|(name, bundle)| (name.to_owned(), bundle.to_pem().into_bytes())));
}
