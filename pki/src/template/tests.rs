use proptest::prelude::*;

use super::*;
use crate::{AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, prepare_authority};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400 + second)
}

fn profile(default_ttl: u64, max_ttl: u64) -> LeafProfile {
    LeafProfile::new(seconds(default_ttl), seconds(max_ttl)).unwrap()
}

fn validity(
    profile: &LeafProfile,
    ttl: Option<u64>,
    now: u64,
    issuer: (u64, u64),
) -> Result<(Timestamp, Timestamp), TemplateError> {
    leaf_validity(profile, ttl.map(seconds), at(now), at(issuer.0), at(issuer.1))
}

#[test]
fn a_leaf_lives_its_ttl_and_is_back_dated() {
    let profile = profile(3600, 7200);
    assert_eq!(validity(&profile, None, 1000, (0, 90_000)).unwrap(), (at(940), at(4599)));
    assert_eq!(validity(&profile, Some(7200), 1000, (0, 90_000)).unwrap(), (at(940), at(8199)));
    // Not before its issuer.
    assert_eq!(validity(&profile, None, 1000, (980, 90_000)).unwrap(), (at(980), at(4599)));
}

#[test]
fn a_ttl_outside_the_bounds_is_refused_and_never_cut() {
    let profile = profile(3600, 7200);
    let above = validity(&profile, Some(7201), 1000, (0, 90_000)).unwrap_err();
    assert!(matches!(&above, TemplateError::TtlAboveMax { asked, max } if (*asked, *max) == (seconds(7201), seconds(7200))));
    assert_eq!(above.to_string(), "the TTL asked for, 7201s, is above the maximum, 7200s; ask for at most the maximum");
    for ttl in [0, 1] {
        assert!(matches!(validity(&profile, Some(ttl), 1000, (0, 90_000)), Err(TemplateError::TtlTooShort { .. })));
    }
    assert!(validity(&profile, Some(2), 1000, (0, 90_000)).is_ok());
}

#[test]
fn the_issuers_end_cuts_a_leaf_down_to_the_floor_and_no_further() {
    let profile = profile(3600, 7200);
    assert_eq!(validity(&profile, None, 0, (0, 3599)).unwrap().1, at(3599));
    assert_eq!(validity(&profile, None, 0, (0, 3598)).unwrap().1, at(3598));
    // Half the default TTL: 1800 s, the last of them included.
    assert_eq!(validity(&profile, None, 0, (0, 1799)).unwrap().1, at(1799));
    let error = validity(&profile, None, 0, (0, 1798)).unwrap_err();
    let text = error.to_string();
    for fact in [at(1798).to_string(), at(3599).to_string(), "signet ca issuer renew".to_owned()] {
        assert!(text.contains(&fact), "{text}");
    }
    // A short leaf that the issuer's end does not cut is whole, and issued.
    assert_eq!(validity(&profile, Some(60), 0, (0, 1000)).unwrap().1, at(59));
    assert!(matches!(validity(&profile, Some(60), 0, (0, 50)), Err(TemplateError::IssuerEndsTooSoon { .. })));
    assert!(matches!(validity(&profile, None, 5000, (0, 1000)), Err(TemplateError::IssuerEndsTooSoon { .. })));
}

#[test]
fn an_issuer_of_the_future_issues_nothing() {
    let profile = profile(60, 60);
    assert!(matches!(validity(&profile, None, 99, (100, 9999)), Err(TemplateError::IssuerNotYetValid { .. })));
    assert!(validity(&profile, None, 100, (100, 9999)).is_ok());
}

#[test]
fn readiness_looks_at_whole_leaves() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let trust_domain = identity::TrustDomain::parse("example.org").unwrap();
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain,
        public_key: key.public_key(),
        lifetime: seconds(1000),
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [1; SERIAL_RANDOM_BYTES]),
        now: at(0),
    };
    let issuer = prepare_authority(&spec, None).unwrap().dummy_signed().clone();
    let profile = profile(100, 100);
    for (now, covered) in [(0, true), (900, true), (901, false), (2000, false)] {
        assert_eq!(covers_default_ttl(&profile, at(now), &issuer), covered, "{now}");
    }
}

/// What the general encoder makes of the same leaf.
fn by_the_general_encoder(request: &LeafRequest<'_>, validity: (Timestamp, Timestamp), issuer: &Certificate) -> Vec<u8> {
    use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
    let mut params = blank_params(&request.serial, validity.0, validity.1, request.public_key).unwrap();
    params.subject_alt_names = vec![SanType::URI(request.id.as_str().try_into().unwrap())];
    let dns_names = request.dns_names.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
    params.subject_alt_names.extend(dns_names);
    params.subject_alt_names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Unsigned::encode(&params, request.public_key, Some(issuer)).unwrap().tbs_der().to_vec()
}

/// A CA of each kind of key, and keys for leaves.
fn parties() -> &'static (Vec<Certificate>, Vec<PrivateKey>) {
    static PARTIES: std::sync::LazyLock<(Vec<Certificate>, Vec<PrivateKey>)> = std::sync::LazyLock::new(|| {
        let trust_domain = identity::TrustDomain::parse("example.org").unwrap();
        let keys = || {
            vec![
                PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
                PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap(),
                PrivateKey::from_pem(include_bytes!("../../testdata/rsa2048-pkcs1.pem")).unwrap(),
                PrivateKey::from_pem(include_bytes!("../../testdata/ed25519-pkcs8.pem")).unwrap(),
            ]
        };
        let ca = |key: PrivateKey| {
            let spec = AuthoritySpec {
                role: AuthorityRole::Root,
                trust_domain: &trust_domain,
                public_key: key.public_key(),
                lifetime: seconds(100_000_000_000),
                serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [1; SERIAL_RANDOM_BYTES]),
                now: Timestamp::from_unix_seconds(0),
            };
            prepare_authority(&spec, None).unwrap().dummy_signed().clone()
        };
        (keys().into_iter().map(ca).collect(), keys())
    });
    &PARTIES
}

proptest! {
    /// The encoder of leaves and the general one know nothing of each other.
    #[test]
    fn a_leaf_is_what_the_general_encoder_makes_of_it(
        issuer in 0_usize..4,
        key in 0_usize..4,
        serial in prop::collection::vec(any::<u8>(), 1..=20).prop_filter("a serial", |bytes| bytes[0] != 0),
        path in "/[a-z]{1,200}",
        dns_names in prop::collection::vec("[a-z]{1,60}[.]local", 0..8),
        addresses in prop::collection::vec(any::<IpAddr>(), 0..4),
        now in 100_u64..90_000_000_000,
    ) {
        let (cas, keys) = parties();
        let dns_names: Vec<DnsName> = dns_names.iter().map(|name| DnsName::parse(name).unwrap()).collect();
        let request = LeafRequest {
            id: &SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
            dns_names: &dns_names,
            ip_addresses: &addresses,
            public_key: keys[key].public_key(),
            ttl: None,
            serial: SerialNumber::from_bytes(&serial).unwrap(),
            now: Timestamp::from_unix_seconds(now),
        };
        let profile = profile(3600, 3600);
        let issuer = &cas[issuer];
        let leaf = prepare_leaf(&profile, &request, issuer).unwrap();
        let validity = leaf_validity(&profile, None, request.now, issuer.not_before(), issuer.not_after()).unwrap();
        prop_assert_eq!(leaf.tbs_der(), by_the_general_encoder(&request, validity, issuer));
        prop_assert_eq!(leaf.dummy_signed().public_key(), request.public_key);
    }

    /// Whatever the clock, the TTL and the issuer: a leaf lies within its issuer, holds `now`, and lives no longer than asked for.
    #[test]
    fn a_leaf_lies_within_its_issuer(
        now in 0_u64..200_000_000_000,
        ttl in 2_u64..7_776_000,
        before in 0_u64..100_000,
        after in 0_u64..100_000_000,
    ) {
        let now = Timestamp::from_unix_seconds(now);
        let issuer = (now.minus(seconds(before)), now.plus(seconds(after)));
        let profile = profile(ttl, 7_776_000);
        if let Ok((not_before, not_after)) = leaf_validity(&profile, None, now, issuer.0, issuer.1) {
            prop_assert!(issuer.0 <= not_before && not_after <= issuer.1);
            prop_assert!(not_before <= now && now <= not_after);
            prop_assert!(not_after.since(now) < seconds(ttl));
            prop_assert!(not_after.since(now) + seconds(1) >= profile.min_ttl());
            prop_assert!(now.since(not_before) <= seconds(60));
        }
    }
}
