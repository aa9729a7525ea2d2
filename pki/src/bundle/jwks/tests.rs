use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::test_pki::{Holder, Plan, bundle_of, now, trust_domain};
use crate::{Audience, JwtError, JwtKey, KeyAlgorithm, KeyError, PrivateKey, SvidError, Usage, validate_jwt_svid, validate_svid};

fn jwt_key() -> JwtKey {
    JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

fn root() -> Holder {
    Plan::authority("root").self_signed()
}

fn bundle() -> TrustBundle {
    let rsa = PrivateKey::from_pem(include_bytes!("../../../testdata/rsa2048-pkcs1.pem")).unwrap();
    let roots = [root(), Plan::authority("rsa").with_key(rsa).self_signed()];
    bundle_of(&[&roots[0], &roots[1]])
        .with_jwt_authorities(vec![jwt_key().authority().clone(), jwt_key().authority().clone()])
        .unwrap()
}

fn document(bundle: &TrustBundle, content: JwksContent) -> Value {
    serde_json::from_str(&bundle.to_jwks(content)).unwrap()
}

fn parse(document: &Value) -> Result<TrustBundle, BundleDocumentError> {
    TrustBundle::from_jwks(trust_domain(), document.to_string().as_bytes())
}

#[test]
fn written_documents_follow_the_specification_and_read_back() {
    let bundle = TrustBundle::new(trust_domain(), bundle().authorities().to_vec(), u64::MAX)
        .unwrap()
        .with_jwt_authorities(vec![jwt_key().authority().clone()])
        .unwrap();
    let whole = document(&bundle, JwksContent::All);
    assert_eq!(whole["spiffe_sequence"], u64::MAX);
    assert_eq!(whole["spiffe_refresh_hint"], 300);
    let keys = whole["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for (key, authority) in keys.iter().zip(bundle.authorities()) {
        assert_eq!(key["use"], "x509-svid");
        assert_eq!(key["x5c"], json!([BASE64.encode(authority.der())]));
        assert!(key.get("kid").is_none() && key["kty"].is_string());
    }
    assert_eq!(keys[2]["use"], "jwt-svid");
    assert_eq!(keys[2]["kid"], bundle.jwt_authorities()[0].key_id().as_str());
    assert_eq!(keys[2]["kty"], "EC");
    let read = BundleDocument::parse(trust_domain(), bundle.to_jwks(JwksContent::All).as_bytes()).unwrap();
    assert_eq!(read, BundleDocument { bundle: bundle.clone(), refresh_hint: Some(Duration::from_secs(300)) });
    let uses = |content| {
        let document = document(&bundle, content);
        document["keys"].as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(uses(JwksContent::X509), ["x509-svid", "x509-svid"]);
    assert_eq!(uses(JwksContent::Jwt), ["jwt-svid"]);
    assert_eq!(parse(&document(&bundle, JwksContent::Jwt)).unwrap().jwt_authorities(), bundle.jwt_authorities());
}

#[test]
fn a_document_without_keys_says_that_nothing_is_valid_any_more() {
    let root = root();
    let leaf = Plan::leaf("spiffe://example.org/web").under(&root);
    let empty = parse(&json!({ "keys": [] })).unwrap();
    assert_eq!((empty.authorities().len(), empty.jwt_authorities().len(), empty.sequence()), (0, 0, 0));
    assert!(validate_svid(&[leaf.der()], &bundle_of(&[&root]), Usage::Client, now()).is_ok());
    let refused: Result<_, SvidError> = validate_svid(&[leaf.der()], &empty, Usage::Client, now());
    assert!(refused.is_err());
    let audience = Audience::parse("db").unwrap();
    let token = ["{\"alg\":\"ES256\",\"kid\":\"k\"}", "{}", ""].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    assert_eq!(validate_jwt_svid(&token, &audience, &empty, now()), Err(JwtError::UnknownKey { kid: "k".to_owned() }));
}

#[test]
fn unknown_uses_and_kinds_are_ignored_and_any_other_fault_refuses_the_whole() {
    let bundle = bundle();
    let good = document(&bundle, JwksContent::All);
    let with = |position: usize, name: &str, value: Value| {
        let mut document = good.clone();
        document["keys"][position][name] = value;
        document
    };
    let without = |position: usize, name: &str| {
        let mut document = good.clone();
        document["keys"][position].as_object_mut().unwrap().remove(name).unwrap();
        document
    };
    for ignored in [
        with(0, "use", json!("wit-svid")),
        with(0, "use", json!("sig")),
        with(0, "use", json!(1)),
        without(0, "use"),
        with(0, "kty", json!("NEW")),
    ] {
        assert_eq!(parse(&ignored).unwrap().authorities(), &bundle.authorities()[1..]);
    }
    for ignored in [with(2, "use", json!("new")), with(2, "kty", json!("NEW")), with(2, "crv", json!("P-521"))] {
        assert_eq!(parse(&ignored).unwrap().jwt_authorities(), &bundle.jwt_authorities()[1..]);
    }
    let x5c = |position: usize| good["keys"][position]["x5c"][0].clone();
    let certificates = BundleKeyFault::Certificates;
    let swap = |document: &mut Value| {
        document["keys"][0]["x"] = document["keys"][2]["x"].clone();
        document["keys"][0]["y"] = document["keys"][2]["y"].clone();
    };
    let mut swapped = good.clone();
    swap(&mut swapped);
    for (document, position, fault) in [
        (without(0, "x5c"), 0, certificates.clone()),
        (with(0, "x5c", json!([])), 0, certificates.clone()),
        (with(0, "x5c", json!([x5c(0), x5c(1)])), 0, certificates.clone()),
        (with(0, "x5c", json!([1])), 0, certificates.clone()),
        (with(0, "x5c", x5c(0)), 0, certificates.clone()),
        (with(0, "x5c", json!([x5c(0).as_str().unwrap().trim_end_matches('=').to_owned() + "!"])), 0, certificates),
        (with(0, "kid", json!("k")), 0, BundleKeyFault::KeyIdOfCertificate),
        (swapped, 0, BundleKeyFault::OtherKey),
        (with(0, "x5c", json!([x5c(1)])), 0, BundleKeyFault::OtherKey),
        (without(0, "kty"), 0, JwkFault::Member { name: "kty" }.into()),
        (without(2, "kid"), 2, JwkFault::KeyId.into()),
        (with(2, "kid", json!("")), 2, JwkFault::KeyId.into()),
        (without(3, "kty"), 3, JwkFault::Member { name: "kty" }.into()),
        (with(3, "d", json!("AAAA")), 3, JwkFault::Private.into()),
        (with(3, "y", good["keys"][3]["x"].clone()), 3, JwkFault::Key(KeyError::PointNotOnCurve).into()),
    ] {
        assert_eq!(parse(&document), Err(BundleDocumentError::Key { position, fault }));
    }
    let twice = with(3, "kid", good["keys"][2]["kid"].clone());
    assert!(matches!(parse(&twice), Err(BundleDocumentError::Bundle(BundleError::JwtDuplicate { .. }))));
    let mut double = good.clone();
    double["keys"].as_array_mut().unwrap().push(good["keys"][0].clone());
    assert!(matches!(parse(&double), Err(BundleDocumentError::Bundle(BundleError::Duplicate { .. }))));
    assert_eq!(parse(&good).unwrap(), bundle);
}

#[test]
fn numbers_and_bounds_of_a_document() {
    for (name, value) in [
        ("spiffe_sequence", json!(-1)),
        ("spiffe_sequence", json!(1.5)),
        ("spiffe_sequence", json!("1")),
        ("spiffe_refresh_hint", json!(null)),
        ("spiffe_refresh_hint", json!(1e30)),
    ] {
        assert_eq!(parse(&json!({ "keys": [], name: value })), Err(BundleDocumentError::Number { name }));
    }
    let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] });
    assert!(matches!(parse(&many), Err(BundleDocumentError::Document(JwksError::Count { .. }))));
    let not_objects = parse(&json!({ "keys": [1] }));
    assert_eq!(not_objects, Err(BundleDocumentError::Key { position: 0, fault: JwkFault::NotAnObject.into() }));
    let long = json!({ "keys": [], "x": "a".repeat(MAX_DOCUMENT_BYTES) });
    assert!(matches!(parse(&long), Err(BundleDocumentError::Document(JwksError::TooLong { .. }))));
}

#[test]
fn content_covers_both_kinds_in_any_order() {
    let bundle = bundle();
    let [one, two] = [0, 1].map(|index| bundle.jwt_authorities()[index].clone());
    let with = |keys: Vec<JwtAuthority>| bundle.clone().with_jwt_authorities(keys).unwrap();
    assert!(with(vec![two.clone(), one.clone()]).same_content(&bundle));
    assert!(!with(vec![one.clone()]).same_content(&bundle));
    assert!(!with(Vec::new()).same_content(&bundle));
    assert!(!with(vec![one.clone(), jwt_key().authority().clone()]).same_content(&bundle));
    let renamed = JwtAuthority::new("other".parse().unwrap(), two.public_key().clone()).unwrap();
    assert!(!with(vec![one.clone(), renamed]).same_content(&bundle));
    let many: Vec<_> = (0..=MAX_AUTHORITIES)
        .map(|number| JwtAuthority::new(number.to_string().parse().unwrap(), one.public_key().clone()).unwrap())
        .collect();
    assert_eq!(bundle.clone().with_jwt_authorities(many), Err(BundleError::JwtCount { found: MAX_AUTHORITIES + 1 }));
}

#[test]
fn a_kept_document_keeps_the_tainted_keys_and_no_other_tells_them() {
    let tainted = BTreeSet::from([[1; 32], [2; 32]]);
    let bundle = bundle().with_tainted_keys(tainted.clone());
    let kept = document(&bundle, JwksContent::Kept);
    assert_eq!(parse(&kept).unwrap(), bundle);
    for content in [JwksContent::All, JwksContent::X509, JwksContent::Jwt] {
        let told = document(&bundle, content);
        assert!(told.get(TAINTED_KEYS).is_none() && parse(&told).unwrap().tainted_keys().is_empty(), "{content:?}");
    }
    let with = |keys: Value| {
        let mut document = kept.clone();
        document[TAINTED_KEYS] = keys;
        parse(&document)
    };
    let key = |length: usize| json!(BASE64.encode(&vec![7; length]));
    assert_eq!(with(json!([key(32)])).unwrap().tainted_keys(), &BTreeSet::from([[7; 32]]));
    let many: Vec<_> = (0..=MAX_TAINTED_KEYS).map(|_| key(32)).collect();
    assert!(with(json!(many[1..])).is_ok());
    for odd in [json!(null), json!({}), key(32), json!([key(31)]), json!([key(33)]), json!(["?"]), json!([7]), json!(many)] {
        assert_eq!(with(odd.clone()).unwrap_err(), BundleDocumentError::TaintedKeys, "{odd}");
    }
}
