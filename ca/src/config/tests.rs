use super::*;

const SMALLEST: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn the_smallest_file_takes_every_default() {
    let config = CaConfig::parse("ca.toml", SMALLEST).unwrap();
    assert_eq!(config.replica.as_str(), "ca-1");
    assert_eq!(config.admin_socket, Path::new("/run/signet/ca/admin.sock"));
    assert_eq!(config.leaf.default_ttl(), Duration::from_secs(86_400));
    assert_eq!(config.leaf.max_ttl(), Duration::from_secs(86_400));
    assert_eq!(config.agent_ttl, Duration::from_secs(86_400));
    assert_eq!(config.reattest_window, Duration::from_secs(30 * 86_400));
    assert_eq!(config.token_ttl, Duration::from_secs(600));
    assert_eq!(config.jwt_ttl, Duration::from_secs(300));
    assert_eq!(config.jwt_key_path(), Path::new("/s/jwt-key.pem"));
    assert_eq!(config.telemetry, None);
    assert_eq!(config.generations_dir(), Path::new("/s/authority"));
    assert_eq!(config.store_path(), Path::new("/s/store.db"));
}

#[test]
fn a_full_file_is_read_key_by_key() {
    let text = format!(
        "{SMALLEST}replica = \"ca-2\"\nreplica_byte = 2\nadmin_socket = \"/s/admin.sock\"\n\
         server_names = [\"ca.example.org\", \"10.0.0.1\"]\nadvertise = \"ca.example.org:8443\"\n\
         [authority]\ndirectory = \"/etc/cacerts\"\n[leaf]\ndefault_ttl = \"10m\"\nmax_ttl = \"1h\"\nagent_ttl = \"20m\"\n\
         [attestation]\nreattest_window = \"1h\"\ntoken_ttl = \"1m\"\n[telemetry]\naddress = \"127.0.0.1:0\"\n\
         [log]\nformat = \"json\"\nlevel = \"debug\"\n[jwt]\ndefault_ttl = \"2m\"\nmax_ttl = \"10m\"\n"
    );
    let config = CaConfig::parse("ca.toml", &text).unwrap();
    assert_eq!(config.replica.as_str(), "ca-2");
    assert_eq!(config.server_dns_names.len(), 1);
    assert_eq!(config.server_ip_addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.advertise.unwrap().as_str(), "ca.example.org:8443");
    assert_eq!(config.plugged_authority.unwrap(), Path::new("/etc/cacerts"));
    assert_eq!(config.leaf.default_ttl(), Duration::from_secs(600));
    assert_eq!(config.agent_ttl, Duration::from_secs(1200));
    assert_eq!(config.jwt_ttl, Duration::from_secs(120));
    assert_eq!(config.reattest_window, Duration::from_secs(3600));
    assert!(config.telemetry.is_some());
    assert_eq!(config.log_level, tracing::Level::DEBUG);
}

#[test]
fn jwt_svids_live_an_hour_at_most() {
    let ttl = |jwt: &str| CaConfig::parse("ca.toml", &format!("{SMALLEST}[jwt]\n{jwt}")).map(|config| config.jwt_ttl);
    assert_eq!(ttl("default_ttl = \"1h\"").unwrap(), Duration::from_secs(3600));
    assert_eq!(ttl("max_ttl = \"1m\"").unwrap(), Duration::from_secs(60));
    for (bad, key) in [
        ("default_ttl = \"61m\"", "default_ttl"),
        ("default_ttl = \"9s\"", "default_ttl"),
        ("max_ttl = \"61m\"", "max_ttl"),
        ("max_ttl = \"0s\"", "max_ttl"),
        ("default_ttl = \"2m\"\nmax_ttl = \"1m\"", "default_ttl"),
    ] {
        let told = ttl(bad).unwrap_err().to_string();
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn checkpoints_are_made_every_thousand_events_or_minute_unless_configured_within_bounds() {
    let schedule =
        |audit: &str| CaConfig::parse("ca.toml", &format!("{SMALLEST}[audit]\n{audit}")).map(|config| config.audit_schedule);
    let schedule_of = |events, seconds| CheckpointSchedule { events, interval: Duration::from_secs(seconds) };
    assert_eq!(schedule("").unwrap(), schedule_of(1_000, 60));
    assert_eq!(schedule("checkpoint_events = 1\ncheckpoint_interval = \"1h\"").unwrap(), schedule_of(1, 3600));
    for (bad, key) in [
        ("checkpoint_events = 0", "checkpoint_events"),
        ("checkpoint_events = 1000001", "checkpoint_events"),
        ("checkpoint_interval = \"0s\"", "checkpoint_interval"),
        ("checkpoint_interval = \"61m\"", "checkpoint_interval"),
    ] {
        let told = schedule(bad).unwrap_err().to_string();
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn authorities_are_replaced_by_themselves_unless_told_otherwise() {
    let read = |text: &str| CaConfig::parse("ca.toml", &format!("{SMALLEST}[rotation]\n{text}")).map(|config| config.rotation);
    let default = read("").unwrap();
    assert!(default.automatic);
    assert_eq!((default.policy.jwt_key_life.as_secs(), default.propagation_hold.as_secs()), (90 * 86_400, 60));
    let changed = read("automatic = false\njwt_key_life = \"1d\"\npropagation_hold = \"0s\"").unwrap();
    assert!(!changed.automatic);
    assert_eq!((changed.policy.jwt_key_life.as_secs(), changed.propagation_hold.as_secs()), (86_400, 0));
    for (bad, key) in [
        ("automatic = 1", "automatic"),
        ("jwt_key_life = \"119m\"", "jwt_key_life"),
        ("jwt_key_life = \"3651d\"", "jwt_key_life"),
        ("propagation_hold = \"25h\"", "propagation_hold"),
    ] {
        let told = read(bad).unwrap_err().to_string();
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let text = "trust_domain = \"EXAMPLE\"\nstate_dir = \"here\"\nreplica_byte = 128\nadvertise = \"ca:0\"\nlisten_on = 1\n\
                [leaf]\nagent_ttl = \"48h\"\n[attestation]\ntoken_ttl = \"25h\"\nreattest_window = \"1000d\"\n";
    let text = CaConfig::parse("ca.toml", text).unwrap_err().to_string();
    for key in [
        "trust_domain",
        "state_dir",
        "listen",
        "replica_byte",
        "advertise",
        "listen_on",
        "agent_ttl",
        "token_ttl",
        "reattest_window",
    ] {
        assert!(text.contains(key), "{key} is not among:\n{text}");
    }
}
