use super::*;

const LEAST: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nca_address = \"ca.example.org:8443\"\n";

#[test]
fn the_least_file_gets_the_defaults() {
    let config = AgentConfig::parse("agent.toml", LEAST).unwrap();
    assert_eq!(config.api_socket, Path::new(DEFAULT_API_SOCKET));
    assert_eq!(config.sds.validation_context, ::sds::ValidationContextKind::SpiffeValidator);
    assert_eq!((config.first_trust, config.first_proof, config.telemetry), (None, None, None));
}

#[test]
fn a_node_knows_one_address_or_one_for_each_replica() {
    let several = LEAST.replace("ca_address = \"ca.example.org:8443\"", "ca_addresses = [\"a:1\", \"b:2\"]");
    let Provider::Signet { ca_address, other_addresses } = AgentConfig::parse("agent.toml", &several).unwrap().provider else {
        panic!("another provider")
    };
    assert_eq!((ca_address.as_str(), other_addresses), ("a:1", vec!["b:2".parse().unwrap()]));
    let many = format!("ca_addresses = [{}]", "\"a:1\",".repeat(17));
    for bad in ["ca_addresses = []", "ca_addresses = [\"a\"]", "ca_address = \"a:1\"\nca_addresses = [\"b:1\"]", many.as_str()] {
        let text = LEAST.replace("ca_address = \"ca.example.org:8443\"", bad);
        let refused = AgentConfig::parse("agent.toml", &text).unwrap_err().to_string();
        assert!(refused.contains("ca_addresses"), "{bad}: {refused}");
    }
    let flag = AgentOverrides { ca_address: Some("flag:1".into()), ..AgentOverrides::default() };
    let file = Document::parse("agent.toml", &several).unwrap();
    let Provider::Signet { ca_address, other_addresses } = AgentConfig::read(file, &flag).unwrap().provider else {
        panic!("another provider")
    };
    assert_eq!((ca_address.as_str(), other_addresses.len()), ("flag:1", 0));
}

#[test]
fn every_fault_is_told_at_once() {
    let text =
        "trust_domain = \"A\"\nca_address = \"x\"\nca_fingerprint = \"00\"\nconfusing = 1\n[sds]\nvalidation_context = \"x\"\n";
    let text = AgentConfig::parse("agent.toml", text).unwrap_err().to_string();
    for key in ["trust_domain", "state_dir", "ca_address", "ca_fingerprint", "confusing", "validation_context"] {
        assert!(text.contains(key), "{key} in {text}");
    }
}

#[test]
fn flags_stand_above_the_file_and_alone_suffice() {
    let flags = AgentOverrides {
        trust_domain: Some("flag.org".into()),
        state_dir: Some("/f".into()),
        ca_address: Some("[::1]:1".into()),
        ca_fingerprint: Some("ab".repeat(32)),
        join_token_file: Some("-".into()),
        ..AgentOverrides::default()
    };
    let config = AgentConfig::from_parts(None, &flags).unwrap();
    assert_eq!(config.trust_domain.as_str(), "flag.org");
    assert_eq!(config.first_trust, Some(FirstTrust::Fingerprint([0xab; 32])));
    assert_eq!(config.first_proof, Some(FirstProof::Token(TokenSource::Stdin)));
    let file = Document::parse("agent.toml", &format!("{LEAST}trust_bundle = \"/b.pem\"\n")).unwrap();
    let config = AgentConfig::read(file, &flags).unwrap();
    assert_eq!(config.first_trust, Some(FirstTrust::Fingerprint([0xab; 32])));
    let bad = AgentOverrides { ca_address: Some("ca:0".into()), ..flags };
    assert!(AgentConfig::from_parts(None, &bad).unwrap_err().to_string().contains("ca_address"));
}

#[test]
fn several_ways_to_prove_the_node_are_refused_and_each_alone_passes() {
    let (token, directory) = ("join_token_file = \"/t\"\n", "[attestation]\ncertificate_directory = \"/etc/certs\"\n");
    let faults = AgentConfig::parse("f", &format!("{LEAST}{token}{directory}")).unwrap_err().to_string();
    assert!(faults.contains("attestation.certificate_directory: "), "{faults}");
    let config = AgentConfig::parse("f", &format!("{LEAST}{directory}")).unwrap();
    assert_eq!(config.first_proof, Some(FirstProof::CertificateDirectory("/etc/certs".into())));
    let account = "service_account_token_file = \"/run/token\"\n";
    let config = AgentConfig::parse("f", &format!("{LEAST}[attestation]\n{account}")).unwrap();
    assert_eq!(config.first_proof, Some(FirstProof::ServiceAccountTokenFile("/run/token".into())));
    for other in [format!("{LEAST}{directory}{account}"), format!("{LEAST}{token}[attestation]\n{account}")] {
        let faults = AgentConfig::parse("f", &other).unwrap_err().to_string();
        assert!(faults.contains("attestation.service_account_token_file: "), "{faults}");
    }
    let flags = AgentOverrides { join_token_file: Some("-".into()), ..AgentOverrides::default() };
    let file = Document::parse("f", &format!("{LEAST}{directory}{account}")).unwrap();
    assert_eq!(AgentConfig::read(file, &flags).unwrap().first_proof, Some(FirstProof::Token(TokenSource::Stdin)));
    let istio = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nprovider = \"istio\"\n";
    let faults = AgentConfig::parse("f", &format!("{istio}{directory}[istio]\naddress = \"a:1\"\nroots = \"/r\"\n"));
    assert!(faults.unwrap_err().to_string().contains("attestation: "), "a node does not attest to such a CA");
}

#[test]
fn the_svid_cache_is_off_unless_it_is_asked_for_with_a_secret() {
    let parse = |text: &str| AgentConfig::parse("f", &format!("{LEAST}{text}")).map(|config| config.svid_cache_secret);
    let key = "svid_cache_key_file = \"/k\"\n";
    assert_eq!(parse("").unwrap(), None);
    assert_eq!(parse("svid_cache = \"off\"\n").unwrap(), None);
    assert_eq!(parse(&format!("svid_cache = \"encrypted\"\n{key}")).unwrap(), Some(SecretSource::File("/k".into())));
    let credential = "svid_cache = \"encrypted\"\nsvid_cache_key_credential = \"cache-key\"\n";
    assert_eq!(parse(credential).unwrap(), Some(SecretSource::Credential("cache-key".to_owned())));
    for refused in ["svid_cache = \"encrypted\"\n", key, &format!("svid_cache = \"off\"\n{key}"), "svid_cache = \"plain\"\n"] {
        assert!(parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn two_ways_to_trust_the_ca_are_refused_and_each_alone_passes() {
    let pin = format!("ca_fingerprint = \"{}\"\n", "0f".repeat(32));
    let bundle = "trust_bundle = \"/b.pem\"\n";
    assert!(AgentConfig::parse("f", &format!("{LEAST}{pin}{bundle}")).is_err());
    assert!(AgentConfig::parse("f", &format!("{LEAST}{pin}")).is_ok());
    assert!(AgentConfig::parse("f", &format!("{LEAST}{bundle}")).is_ok());
}
