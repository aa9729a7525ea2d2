//! What the tests of this crate share, and answers as the API documents them.

use std::time::Duration;

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    Timestamp, certificates_to_pem, prepare_authority,
};
use serde_json::{Value, json};

use crate::answer::{self, AnswerError, Login, MAX_CERTIFICATES, SignedCertificate};
use crate::{IntermediateRequest, LeafRequest, VaultConfig};

/// A root of 2026 with its key.
pub(crate) fn root() -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    (authority(&key, None, 1), key)
}

fn authority(key: &PrivateKey, issuer: Option<(&Certificate, &PrivateKey)>, serial: u8) -> Certificate {
    let spec = AuthoritySpec {
        role: if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root },
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key.public_key(),
        lifetime: Duration::from_secs(86_400),
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [serial; SERIAL_RANDOM_BYTES]),
        now: Timestamp::from_unix_seconds(1_800_000_000),
    };
    let signer = issuer.map_or(key, |(_, key)| key);
    prepare_authority(&spec, issuer.map(|(certificate, _)| certificate)).unwrap().sign(signer).unwrap()
}

fn pem(certificate: &Certificate) -> String {
    certificates_to_pem([certificate])
}

fn signed(data: &Value) -> Result<SignedCertificate, AnswerError> {
    let body = json!({
        "request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data, "wrap_info": null,
        "warnings": null, "auth": null
    });
    SignedCertificate::parse(body.to_string().as_bytes())
}

#[test]
fn a_certificate_comes_with_its_issuers_in_order_and_its_root_apart() {
    let (root, root_key) = root();
    let [key, leaf_key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let issuer = authority(&key, Some((&root, &root_key)), 2);
    let leaf = authority(&leaf_key, Some((&issuer, &key)), 3);
    let good = json!({
        "expiration": 1_800_080_000, "certificate": pem(&leaf), "issuing_ca": pem(&issuer), "ca_chain": [pem(&issuer), pem(&root)],
        "serial_number": "39:dd"
    });
    let answer = signed(&good).unwrap();
    assert_eq!((answer.chain(), answer.roots()), (vec![leaf.clone(), issuer.clone()], vec![root.clone()]));
    // An engine that does not know what is above, and a root that signs itself.
    let answer = signed(&json!({ "certificate": pem(&leaf), "issuing_ca": pem(&issuer) })).unwrap();
    assert_eq!((answer.chain().len(), answer.roots().len()), (2, 0));
    let answer = signed(&json!({ "certificate": pem(&issuer), "issuing_ca": pem(&root), "ca_chain": [pem(&root)] })).unwrap();
    assert_eq!((answer.chain(), answer.roots()), (vec![issuer.clone()], vec![root.clone()]));

    let two = format!("{}{}", pem(&leaf), pem(&issuer));
    for (refused, data) in [
        (AnswerError::Missing("data"), Value::Null),
        (AnswerError::Missing("certificate"), json!({ "issuing_ca": pem(&issuer) })),
        (AnswerError::Count { what: "certificate", found: 0 }, json!({ "certificate": "", "issuing_ca": pem(&issuer) })),
        (AnswerError::Count { what: "certificate", found: 2 }, json!({ "certificate": two, "issuing_ca": pem(&issuer) })),
        (AnswerError::Count { what: "issuing_ca", found: 2 }, json!({ "certificate": pem(&leaf), "issuing_ca": two })),
        (
            AnswerError::TooMany { found: MAX_CERTIFICATES + 1 },
            json!({ "certificate": pem(&leaf), "ca_chain": vec![pem(&issuer); MAX_CERTIFICATES + 1] }),
        ),
    ] {
        assert_eq!(signed(&data).unwrap_err(), refused);
    }
    assert!(matches!(signed(&json!({ "certificate": pem(&leaf) })), Err(AnswerError::Missing(_))));
    assert!(matches!(signed(&json!({ "certificate": "-----BEGIN", "issuing_ca": "" })), Err(AnswerError::Certificate(_))));
    for body in
        ["", "null", "[]", "<html>", "{\"data\":{\"certificate\":1}}", "{\"data\":{\"certificate\":\"a\",\"certificate\":\"b\"}}"]
    {
        assert!(SignedCertificate::parse(body.as_bytes()).is_err(), "{body}");
    }
    // One PEM text may hold many.
    let many: String =
        (0..=u8::try_from(MAX_CERTIFICATES).unwrap()).map(|serial| pem(&authority(&key, None, serial + 1))).collect();
    assert!(matches!(signed(&json!({ "certificate": pem(&leaf), "ca_chain": [many] })), Err(AnswerError::TooMany { .. })));
}

#[test]
fn an_issuer_tells_the_roots_above_it() {
    let (root, root_key) = root();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let issuer = authority(&key, Some((&root, &root_key)), 2);
    let roots = |data: Value| answer::roots_of_issuer(json!({ "data": data }).to_string().as_bytes());
    let whole = json!({ "certificate": pem(&issuer), "ca_chain": [pem(&issuer), pem(&root)], "revocation_time": 0 });
    assert_eq!(roots(whole).unwrap(), std::slice::from_ref(&root));
    assert_eq!(roots(json!({ "certificate": pem(&root), "ca_chain": [pem(&root)] })).unwrap(), [root]);
    assert!(matches!(roots(json!({ "certificate": pem(&issuer) })), Err(AnswerError::Missing(_))));
    assert!(matches!(roots(Value::Null), Err(AnswerError::Missing("data"))));
    let many = vec![pem(&issuer); MAX_CERTIFICATES + 1];
    assert!(matches!(roots(json!({ "ca_chain": many })), Err(AnswerError::TooMany { .. })));
}

#[test]
fn a_login_gives_a_token_that_can_be_sent() {
    let login = |auth: Value| Login::parse(json!({ "data": null, "auth": auth }).to_string().as_bytes());
    let good =
        login(json!({ "client_token": "hvs.CAES", "lease_duration": 3600, "renewable": true, "mfa_requirement": null })).unwrap();
    assert_eq!((good.token.as_str(), good.life, good.renewable), ("hvs.CAES", Some(Duration::from_secs(3600)), true));
    let root = login(json!({ "client_token": "s.1", "lease_duration": 0, "renewable": false })).unwrap();
    assert_eq!((root.life, root.renewable), (None, false));
    for (refused, auth) in [
        (AnswerError::Missing("auth"), Value::Null),
        (AnswerError::Token { found: 0 }, json!({})),
        (AnswerError::Token { found: 3 }, json!({ "client_token": "a b" })),
        (AnswerError::Token { found: 2 }, json!({ "client_token": "\r\n" })),
        (AnswerError::Token { found: 8193 }, json!({ "client_token": "a".repeat(8193) })),
        (AnswerError::SecondFactor, json!({ "client_token": "", "mfa_requirement": { "mfa_request_id": "d0" } })),
    ] {
        assert_eq!(login(auth).err().unwrap(), refused);
    }
    assert_eq!(answer::lookup(br#"{"data":{"ttl":60,"renewable":true}}"#).unwrap(), (Some(Duration::from_secs(60)), true));
    assert_eq!(answer::lookup(br#"{"data":{"ttl":0}}"#).unwrap(), (None, false));
    assert_eq!(answer::reasons(br#"{"errors":["permission denied"]}"#).to_string(), "permission denied");
    for nothing in ["", "<html>sealed</html>", "{\"errors\":null}", "{\"errors\":{}}"] {
        assert_eq!(answer::reasons(nothing.as_bytes()).to_string(), "it gives no reason", "{nothing}");
    }
}

#[test]
fn requests_say_what_the_api_documents() {
    let text = "mount = \"team/pki\"\naddress = \"https://v\"\nroots = \"/r\"\n[auth]\nmethod = \"token\"\ntoken_file = \"/t\"\n";
    let document = runtime::config::Document::parse("f", text).unwrap();
    let mut config = VaultConfig::read(&document.root()).unwrap();
    let mut leaf = LeafRequest {
        role: "web".parse().unwrap(),
        csr_der: vec![1],
        uri: "spiffe://example.org/web".to_owned(),
        dns_names: Vec::new(),
        ttl: None,
    };
    let csr = "-----BEGIN CERTIFICATE REQUEST-----\nAQ==\n-----END CERTIFICATE REQUEST-----\n";
    let question = leaf.question(&config);
    assert_eq!(question.path, "team/pki/sign/web");
    let uri = "spiffe://example.org/web";
    assert_eq!(question.body, json!({ "csr": csr, "format": "pem", "uri_sans": uri, "exclude_cn_from_sans": true }));
    config.issuer = Some("new".parse().unwrap());
    leaf.dns_names = vec!["a.example".to_owned(), "b.example".to_owned()];
    leaf.ttl = Some(Duration::from_secs(7200));
    let question = leaf.question(&config);
    assert_eq!(question.path, "team/pki/issuer/new/sign/web");
    assert_eq!(
        (question.body["alt_names"].as_str(), question.body["ttl"].as_str()),
        (Some("a.example,b.example"), Some("7200s"))
    );

    let request = IntermediateRequest {
        csr_der: vec![1],
        common_name: "Signet issuing CA".to_owned(),
        organization: Some("example.org".to_owned()),
        subject_serial: "0a".to_owned(),
        uri: "spiffe://example.org".to_owned(),
        path_len: 0,
        ttl: Duration::from_secs(3600),
    };
    let question = request.question(&config);
    assert_eq!(question.path, "team/pki/issuer/new/sign-intermediate");
    let body = json!({
        "csr": csr, "format": "pem", "use_csr_values": false, "common_name": "Signet issuing CA", "organization": "example.org",
        "serial_number": "0a", "exclude_cn_from_sans": true, "uri_sans": "spiffe://example.org", "max_path_length": 0, "ttl": "3600s"
    });
    assert_eq!(question.body, body);
    config.issuer = None;
    assert_eq!(request.question(&config).path, "team/pki/root/sign-intermediate");
}
