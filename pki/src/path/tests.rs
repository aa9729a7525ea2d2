use std::time::Duration;

use identity::SpiffeIdError;
use rcgen::{
    BasicConstraints, CidrSubnet, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, SanType,
};

use super::*;
use crate::bundle::AnchorError;
use crate::test_pki::{Hierarchy, Holder, Plan, bundle_of, extension, extension_with, now, replace, trust_domain, uri};
use crate::{CertificateError, KeyAlgorithm, PrivateKey, sha256};

const ID: &str = "spiffe://example.org/web";
const UNKNOWN: &[u64] = &[1, 2, 3, 4];
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const EACH: [Usage; 3] = [Usage::Client, Usage::Server, Usage::Both];

fn check(chain: &[CertificateDer<'_>], bundle: &TrustBundle) -> Result<ValidatedSvid, SvidError> {
    let [client, server, both] = EACH.map(|usage| validate_svid(chain, bundle, usage, now()));
    assert_eq!((client.is_ok(), client.is_ok()), (server.is_ok(), both.is_ok()));
    client
}

fn refusal(chain: &[CertificateDer<'_>], bundle: &TrustBundle) -> SvidError {
    check(chain, bundle).unwrap_err()
}

#[test]
fn a_good_chain_gives_the_identity_with_or_without_its_root() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    for chain in [vec![leaf.der(), h.issuer.der()], vec![leaf.der(), h.issuer.der(), h.root.der()]] {
        let proof = check(&chain, &h.bundle).unwrap();
        assert_eq!(proof.id().as_str(), ID);
        assert_eq!(proof.serial(), leaf.certificate.serial());
        assert_eq!(proof.not_after(), leaf.certificate.not_after());
        assert_eq!(proof.leaf(), &leaf.certificate);
    }
    // Straight under the root, too.
    let leaf = Plan::leaf(ID).under(&h.root);
    assert!(check(&[leaf.der()], &h.bundle).is_ok());
}

#[test]
fn what_was_read_before_is_held_once_and_judged_all_the_same() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    let chain = [leaf.der(), h.issuer.der()];
    let read = [Certificate::from_der(&h.issuer.der()).unwrap()];
    let proof = validate_svid_sharing(&chain, &read, &h.bundle, Usage::Client, now()).unwrap();
    assert_eq!(proof.intermediates, read);
    assert_eq!(proof.intermediates[0].der().as_ptr(), read[0].der().as_ptr());
    // Having been read is no vouching for.
    let stranger = Hierarchy::new();
    let read = [Certificate::from_der(&stranger.issuer.der()).unwrap()];
    let foreign = [Plan::leaf(ID).under(&stranger.issuer).der(), stranger.issuer.der()];
    let expected = refusal(&foreign, &h.bundle);
    let refused = validate_svid_sharing(&foreign, &read, &h.bundle, Usage::Client, now()).unwrap_err();
    assert_eq!(refused.to_string(), expected.to_string());
}

#[test]
fn leaves_that_say_the_wrong_thing_are_refused_each_by_its_own_error() {
    let h = Hierarchy::new();
    let tried = |plan: Plan| check(&[plan.der_under(&h.issuer), h.issuer.der()], &h.bundle).map(|proof| proof.id().to_string());
    let refused = |plan: Plan| tried(plan).unwrap_err();
    let leaf = || Plan::leaf(ID);
    let sans = |names: Vec<SanType>| leaf().with(|params| params.subject_alt_names = names);
    let usages = |usages: Vec<KeyUsagePurpose>| leaf().with(|params| params.key_usages = usages);
    let ekus = |usages: Vec<Eku>| leaf().with(|params| params.extended_key_usages = usages);
    let dns = || SanType::DnsName("web.example.org".try_into().unwrap());
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign};

    // The passing twins.
    for good in [
        leaf(),
        sans(vec![uri(ID), dns(), SanType::IpAddress([10, 0, 0, 1].into())]),
        leaf().with(|params| params.is_ca = IsCa::NoCa),
        ekus(vec![]),
        ekus(vec![Eku::ServerAuth, Eku::ClientAuth, Eku::CodeSigning]),
        usages(vec![DigitalSignature, KeyAgreement]),
        leaf().with(|params| params.custom_extensions = vec![extension(UNKNOWN, false)]),
        leaf().with(|params| params.distinguished_name.push(DnType::CommonName, "web")),
        leaf().dates(now(), now()),
        leaf().with_key(PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap()),
        leaf().with_key(PrivateKey::from_pem(include_bytes!("../../testdata/rsa2048-pkcs8.pem")).unwrap()),
        leaf().with_key(PrivateKey::from_pem(include_bytes!("../../testdata/ed25519-pkcs8.pem")).unwrap()),
    ] {
        assert_eq!(tried(good).as_deref(), Ok(ID));
    }

    let spiffe_id = |source| SvidError::SpiffeId { source };
    let not_critical = extension_with(&[2, 5, 29, 15], false, &[0x03, 0x02, 0x07, 0x80]);
    for (plan, error) in [
        (sans(vec![]), SvidError::UriSanCount { found: 0 }),
        (sans(vec![dns()]), SvidError::UriSanCount { found: 0 }),
        (sans(vec![uri(ID), uri(ID)]), SvidError::UriSanCount { found: 2 }),
        (sans(vec![uri(ID), uri("https://example.org/")]), SvidError::UriSanCount { found: 2 }),
        (sans(vec![uri("https://example.org/web")]), spiffe_id(SpiffeIdError::Scheme)),
        (sans(vec![uri("spiffe://example.org/web/")]), spiffe_id(SpiffeIdError::EmptySegment)),
        (sans(vec![uri("spiffe://example.org/a\0b")]), spiffe_id(SpiffeIdError::Character { found: '\0' })),
        (
            sans(vec![uri("spiffe://other.org/web")]),
            SvidError::TrustDomain { id: SpiffeId::parse("spiffe://other.org/web").unwrap(), expected: trust_domain() },
        ),
        (sans(vec![uri("spiffe://example.org")]), SvidError::NoPath { id: trust_domain().id() }),
        (leaf().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), SvidError::LeafIsCa),
        (usages(vec![]), SvidError::KeyUsageMissing),
        (usages(vec![]).with(|params| params.custom_extensions = vec![not_critical]), SvidError::KeyUsageNotCritical),
        (usages(vec![KeyAgreement]), SvidError::DigitalSignatureMissing),
        (usages(vec![DigitalSignature, KeyCertSign]), SvidError::LeafMaySignCertificates),
        (usages(vec![DigitalSignature, CrlSign]), SvidError::LeafMaySignRevocations),
        (ekus(vec![Eku::ClientAuth]), SvidError::ExtendedKeyUsage),
        (ekus(vec![Eku::ServerAuth]), SvidError::ExtendedKeyUsage),
        (ekus(vec![Eku::Any]), SvidError::ExtendedKeyUsage),
        (
            leaf().with(|params| params.custom_extensions = vec![extension(UNKNOWN, true)]),
            SvidError::UnknownCriticalExtension { position: ChainPosition::Leaf, oid: "1.2.3.4".to_owned() },
        ),
        (
            leaf().dates(now().minus(HOUR), now().minus(SECOND)),
            SvidError::Expired { position: ChainPosition::Leaf, not_after: now().minus(SECOND), now: now() },
        ),
        (
            leaf().dates(now().plus(SECOND), now().plus(HOUR)),
            SvidError::NotYetValid { position: ChainPosition::Leaf, not_before: now().plus(SECOND), now: now() },
        ),
    ] {
        assert_eq!(refused(plan), error);
    }
}

#[test]
fn leaves_that_do_not_parse_are_refused_as_the_leaf() {
    let h = Hierarchy::new();
    let good = Plan::leaf(ID).der_under(&h.issuer);
    let refused = |der: Vec<u8>| {
        let refusal = refusal(&[der.into(), h.issuer.der()], &h.bundle);
        let SvidError::Certificate { position: ChainPosition::Leaf, source } = refusal else { panic!("{refusal}") };
        source
    };
    let serial_zero = Plan::leaf(ID).with(|params| params.serial_number = Some(vec![0].into()));
    assert!(matches!(refused(serial_zero.der_under(&h.issuer).to_vec()), CertificateError::Serial(_)));
    assert!(matches!(refused([&good, &[0][..]].concat()), CertificateError::Der(_)));
    // ecdsa-with-SHA1 has the identifier 1.2.840.10045.4.1; one byte shorter than the one it replaces, so ...4.3.1 stands in.
    let weak = replace(&good, &[0x3d, 0x04, 0x03, 0x02], &[0x3d, 0x04, 0x03, 0x01]);
    let weak = replace(&weak, &[0x3d, 0x04, 0x03, 0x02], &[0x3d, 0x04, 0x03, 0x01]);
    assert_eq!(refused(weak), CertificateError::SignatureAlgorithm { oid: "1.2.840.10045.4.3.1".to_owned() });
    assert!(check(&[good, h.issuer.der()], &h.bundle).is_ok());
}

#[test]
fn chains_that_lead_nowhere_are_refused() {
    let h = Hierarchy::new();
    let foreign = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    let stolen = Plan::leaf(ID).under(&foreign.issuer);
    let unknown = |issuer: &str| SvidError::UnknownAuthority { trust_domain: trust_domain(), issuer: issuer.to_owned() };
    let other_name = Plan::authority("other").self_signed();
    let under_other = Plan::leaf(ID).under(&other_name);

    assert_eq!(refusal(&[], &h.bundle), SvidError::EmptyChain);
    assert_eq!(refusal(&[leaf.der()], &h.bundle), unknown("CN=issuer"));
    assert_eq!(refusal(&[under_other.der()], &h.bundle), unknown("CN=other"));
    // Same names everywhere, other keys: our names do not make a foreign authority ours.
    assert_eq!(refusal(&[stolen.der(), foreign.issuer.der()], &h.bundle), SvidError::Signature);
    assert_eq!(refusal(&[stolen.der(), h.issuer.der()], &h.bundle), SvidError::Signature);
    let many = vec![h.issuer.der(); MAX_CHAIN];
    let too_long = [&[leaf.der()], &many[..]].concat();
    assert_eq!(refusal(&too_long, &h.bundle), SvidError::ChainTooLong { found: 7, limit: 6 });
    assert!(check(&too_long[..6], &h.bundle).is_ok());
    // The foreign one is good under its own bundle, and under both.
    assert!(check(&[stolen.der(), foreign.issuer.der()], &foreign.bundle).is_ok());
    assert!(check(&[stolen.der(), foreign.issuer.der()], &bundle_of(&[&h.root, &foreign.root])).is_ok());
    // One flipped bit in the leaf's signature.
    let mut broken = leaf.der().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let refused = refusal(&[broken.into(), h.issuer.der()], &h.bundle);
    assert!(matches!(refused, SvidError::Signature), "{refused}");
}

#[test]
fn intermediates_are_refused_each_by_its_own_error() {
    let h = Hierarchy::new();
    let tried = |issuer: Plan| {
        let issuer = issuer.under(&h.root);
        let leaf = Plan::leaf(ID).with(|params| params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into())));
        check(&[leaf.der_under(&issuer), issuer.der()], &h.bundle).map(|proof| proof.id().to_string())
    };
    let issuer = || Plan::authority("other issuer");
    let with_extensions = |extensions: Vec<CustomExtension>| issuer().with(|params| params.custom_extensions = extensions);
    let constraints = |permitted_subtrees: Vec<GeneralSubtree>| {
        issuer().with(|params| {
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
        })
    };
    let network = |network: [u8; 4]| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(network, 8));
    // nameConstraints permitting the URI host ".example.org", which rcgen does not write.
    let uri_constraint = [&[0x30, 0x12, 0xa0, 0x10, 0x30, 0x0e, 0x86, 0x0c], &b".example.org"[..]].concat();

    for good in [
        issuer(),
        issuer().with(|params| params.subject_alt_names.clear()),
        issuer().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        issuer().with(|params| params.extended_key_usages = vec![Eku::ServerAuth, Eku::ClientAuth]),
        constraints(vec![network([10, 0, 0, 0])]),
        with_extensions(vec![extension(UNKNOWN, false)]),
    ] {
        assert_eq!(tried(good).as_deref(), Ok(ID));
    }
    let position = ChainPosition::Intermediate(1);
    for (plan, error) in [
        (
            issuer().dates(now().minus(HOUR), now().minus(SECOND)),
            SvidError::Expired { position, not_after: now().minus(SECOND), now: now() },
        ),
        (
            issuer().dates(now().plus(SECOND), now().plus(HOUR)),
            SvidError::NotYetValid { position, not_before: now().plus(SECOND), now: now() },
        ),
        (issuer().with(|params| params.is_ca = IsCa::ExplicitNoCa), SvidError::IntermediateNotCa),
        (issuer().with(|params| params.is_ca = IsCa::NoCa), SvidError::IntermediateNotCa),
        (
            issuer().with(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            SvidError::IntermediateKeyUsage { position },
        ),
        (issuer().with(|params| params.key_usages.clear()), SvidError::IntermediateKeyUsage { position }),
        (
            issuer().with(|params| params.subject_alt_names = vec![uri("spiffe://other.org")]),
            SvidError::IntermediateUriSan {
                position,
                found: "spiffe://other.org".to_owned(),
                expected: "spiffe://example.org".to_owned(),
            },
        ),
        (
            with_extensions(vec![extension(UNKNOWN, true)]),
            SvidError::UnknownCriticalExtension { position, oid: "1.2.3.4".to_owned() },
        ),
        (with_extensions(vec![extension(&[2, 5, 29, 56], false)]), SvidError::IntermediateNoRevocation { position }),
        (issuer().with(|params| params.extended_key_usages = vec![Eku::CodeSigning]), SvidError::IssuerExtendedKeyUsage),
        (constraints(vec![network([11, 0, 0, 0])]), SvidError::NameConstraints),
        (with_extensions(vec![extension_with(&[2, 5, 29, 30], true, &uri_constraint)]), SvidError::NameConstraints),
    ] {
        assert_eq!(tried(plan).unwrap_err(), error);
    }
}

#[test]
fn a_path_longer_than_its_constraint_is_refused() {
    let h = Hierarchy::new();
    let chain_under = |top: Plan| {
        let top = top.under(&h.root);
        let low = Plan::authority("low").under(&top);
        check(&[Plan::leaf(ID).der_under(&low), low.der(), top.der()], &h.bundle).map(|proof| proof.id().to_string())
    };
    let constrained =
        |length| Plan::authority("top").with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    assert_eq!(chain_under(constrained(0)), Err(SvidError::PathLength));
    assert_eq!(chain_under(constrained(1)).as_deref(), Ok(ID));
}

#[test]
fn what_a_root_says_of_the_paths_below_it_holds() {
    let tried = |root: Plan| {
        let root = root.self_signed();
        let issuer = Plan::authority("issuer").under(&root);
        let below = Plan::leaf(ID).der_under(&issuer);
        let chain = [below, issuer.der()];
        EACH.map(|usage| validate_svid(&chain, &bundle_of(&[&root]), usage, now()).map(|_| ()))
    };
    let root = || Plan::authority("root");
    let length = |length| root().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    let purpose = |purpose: Vec<Eku>| root().with(|params| params.extended_key_usages = purpose);
    const GOOD: [Result<(), SvidError>; 3] = [Ok(()), Ok(()), Ok(())];
    assert_eq!(tried(length(1)), GOOD);
    assert_eq!(tried(length(0)), EACH.map(|_| Err(SvidError::PathLength)));
    let refused = || Err(SvidError::IssuerExtendedKeyUsage);
    assert_eq!(tried(purpose(vec![Eku::ClientAuth, Eku::ServerAuth])), GOOD);
    assert_eq!(tried(purpose(vec![Eku::ClientAuth])), [Ok(()), refused(), refused()]);
    assert_eq!(tried(purpose(vec![Eku::ServerAuth])), [refused(), Ok(()), refused()]);

    // The same of an issuing CA between.
    let tried = |purposes: Vec<Eku>| {
        let root = root().self_signed();
        let issuer = Plan::authority("issuer").with(|params| params.extended_key_usages = purposes).under(&root);
        let chain = [Plan::leaf(ID).der_under(&issuer), issuer.der()];
        EACH.map(|usage| validate_svid(&chain, &bundle_of(&[&root]), usage, now()).map(|_| ()))
    };
    assert_eq!(tried(Vec::new()), GOOD);
    assert_eq!(tried(vec![Eku::CodeSigning, Eku::ServerAuth, Eku::ClientAuth]), GOOD);
    assert_eq!(tried(vec![Eku::ClientAuth]), [Ok(()), refused(), refused()]);
    assert_eq!(tried(vec![Eku::ServerAuth]), [refused(), Ok(()), refused()]);
    assert_eq!(tried(vec![Eku::CodeSigning]), EACH.map(|_| refused()));

    // The same name and key without the limit: the path to that one is found, whichever stands first.
    let narrow = length(0).self_signed();
    let key = PrivateKey::from_pkcs8_der(narrow.key.pkcs8_der()).unwrap();
    let wide = root().with_key(key).self_signed();
    let issuer = Plan::authority("issuer").under(&narrow);
    let chain = [Plan::leaf(ID).der_under(&issuer), issuer.der()];
    assert_eq!(refusal(&chain, &bundle_of(&[&narrow])), SvidError::PathLength);
    for both in [[&narrow, &wide], [&wide, &narrow]] {
        assert!(check(&chain, &bundle_of(&both)).is_ok());
    }
    // A root renewed under its own name is no level of its own.
    let renewed = Plan::authority("root").under(&narrow);
    let chain = [Plan::leaf(ID).der_under(&renewed), renewed.der()];
    assert!(check(&chain, &bundle_of(&[&narrow])).is_ok());
}

#[test]
fn a_chain_that_was_good_is_judged_anew_by_the_bundle_and_the_time_of_now() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    let proof = check(&[leaf.der(), h.issuer.der()], &h.bundle).unwrap();
    let again = proof.validate_again(&h.bundle, Usage::Client, now()).unwrap();
    assert_eq!((again.id(), again.serial()), (proof.id(), proof.serial()));
    let late = leaf.certificate.not_after().plus(SECOND);
    let ended = proof.validate_again(&h.bundle, Usage::Client, late).unwrap_err();
    assert!(matches!(ended, SvidError::Expired { position: ChainPosition::Leaf, .. }), "{ended}");
    let other = bundle_of(&[&Plan::authority("other").self_signed()]);
    let left = proof.validate_again(&other, Usage::Client, now()).unwrap_err();
    assert!(matches!(left, SvidError::UnknownAuthority { .. } | SvidError::Path { .. }), "{left}");
}

#[test]
fn authorities_outside_their_dates_are_refused_by_name_and_do_not_break_the_others() {
    let old_dates = |plan: Plan| plan.dates(now().minus(HOUR), now().minus(SECOND));
    let old = old_dates(Plan::authority("old")).self_signed();
    let young = Plan::authority("young").dates(now().plus(SECOND), now().plus(HOUR)).self_signed();
    let good = Plan::authority("good").self_signed();
    let leaf = |issuer: &Holder| [Plan::leaf(ID).der_under(issuer)];
    let bundle = bundle_of(&[&old, &young, &good]);
    let position = ChainPosition::Authority;
    assert_eq!(refusal(&leaf(&old), &bundle), SvidError::Expired { position, not_after: now().minus(SECOND), now: now() });
    assert_eq!(refusal(&leaf(&young), &bundle), SvidError::NotYetValid { position, not_before: now().plus(SECOND), now: now() });
    assert!(check(&leaf(&good), &bundle).is_ok());
}

#[test]
fn cross_signed_issuers_validate_under_either_root() {
    let [one, two] = ["one", "two"].map(|name| Plan::authority(name).self_signed());
    let under_one = Plan::authority("issuer").under(&one);
    let key = PrivateKey::from_pkcs8_der(under_one.key.pkcs8_der()).unwrap();
    let under_two = Plan::authority("issuer").with_key(key).under(&two);
    let leaf = Plan::leaf(ID).der_under(&under_one);
    let chain = [leaf, under_one.der(), under_two.der()];
    for root in [&one, &two] {
        assert!(check(&chain, &bundle_of(&[root])).is_ok());
    }
    let neither = Plan::authority("three").self_signed();
    assert!(matches!(refusal(&chain, &bundle_of(&[&neither])), SvidError::UnknownAuthority { .. }));
}

#[test]
fn under_a_pinned_root() {
    let h = Hierarchy::new();
    let leaf = Plan::leaf(ID).under(&h.issuer);
    let chain = [leaf.der(), h.issuer.der(), h.root.der()];
    let pinned = |chain: &[CertificateDer<'_>], pin: &Sha256Digest, at: Timestamp| {
        validate_under_pinned_root(chain, pin, &trust_domain(), Usage::Server, at)
            .map(|(proof, root)| (proof.id().to_string(), root))
    };
    let pin = sha256(&h.root.der());
    assert_eq!(pinned(&chain, &pin, now()), Ok((ID.to_owned(), h.root.certificate.clone())));

    // Any other hash, with both values in the answer; also when the pinned one stands in another place.
    let hex = |der: &[u8]| HEXLOWER.encode(&sha256(der));
    let differs = |found: &CertificateDer<'_>| SvidError::PinnedRootDiffers { expected: hex(&h.root.der()), found: hex(found) };
    assert_eq!(pinned(&chain[..2], &pin, now()), Err(differs(&chain[1])));
    assert_eq!(pinned(&[leaf.der(), h.root.der(), h.issuer.der()], &pin, now()), Err(differs(&chain[1])));
    assert_eq!(pinned(&[], &pin, now()), Err(SvidError::EmptyChain));
    assert_eq!(pinned(&chain[2..], &pin, now()), Err(SvidError::EmptyChain));

    // Sending the true root along does not help a chain that it did not issue.
    let foreign = Hierarchy::new();
    let stolen = Plan::leaf(ID).der_under(&foreign.issuer);
    assert_eq!(pinned(&[stolen, foreign.issuer.der(), h.root.der()], &pin, now()), Err(SvidError::Signature));

    // Nor is a pinned certificate trusted when it is no authority, of another trust domain, or outside its dates.
    let not_ca = Plan::authority("root").with(|params| params.is_ca = IsCa::NoCa).self_signed();
    let under = Plan::leaf(ID).der_under(&not_ca);
    assert_eq!(
        pinned(&[under, not_ca.der()], &sha256(&not_ca.der()), now()),
        Err(SvidError::PinnedRoot { source: AnchorError::NotCa })
    );
    let other = validate_under_pinned_root(&chain, &pin, &"other.org".parse().unwrap(), Usage::Server, now());
    assert!(matches!(other, Err(SvidError::PinnedRoot { source: AnchorError::UriSan { .. } })));
    let not_after = h.root.certificate.not_after();
    let late = not_after.plus(SECOND);
    assert_eq!(pinned(&chain, &pin, late), Err(SvidError::Expired { position: ChainPosition::Authority, not_after, now: late }));
}

#[test]
fn a_pinned_root_counts_from_its_first_to_its_last_second() {
    let pinned = |from: Timestamp, to: Timestamp| {
        let root = Plan::authority("root").dates(from, to).self_signed();
        let chain = [Plan::leaf(ID).der_under(&root), root.der()];
        validate_under_pinned_root(&chain, &sha256(&root.der()), &trust_domain(), Usage::Server, now()).map(drop)
    };
    let position = ChainPosition::Authority;
    assert_eq!(pinned(now(), now()), Ok(()));
    let not_before = now().plus(SECOND);
    assert_eq!(pinned(not_before, now().plus(HOUR)), Err(SvidError::NotYetValid { position, not_before, now: now() }));
    let not_after = now().minus(SECOND);
    assert_eq!(pinned(now().minus(HOUR), not_after), Err(SvidError::Expired { position, not_after, now: now() }));
}

#[test]
fn a_refusal_says_which_certificate_it_means() {
    let told = |position| SvidError::Expired { position, not_after: now(), now: now() }.to_string();
    for (position, name) in [
        (ChainPosition::Leaf, "leaf certificate"),
        (ChainPosition::Intermediate(2), "intermediate certificate 2"),
        (ChainPosition::Authority, "authority's certificate"),
    ] {
        assert!(told(position).contains(name), "{}", told(position));
    }
}

#[test]
fn a_leaf_without_a_name_needs_nothing_else_and_garbage_never_panics() {
    let h = Hierarchy::new();
    let nameless = Plan::leaf(ID).with(|params| params.distinguished_name = DistinguishedName::new());
    let good = [nameless.der_under(&h.issuer), h.issuer.der()];
    assert!(check(&good, &h.bundle).is_ok());
    for at in 0..good[0].len() {
        let mut der = good[0].to_vec();
        der[at] ^= 0x01;
        // Every byte of a certificate is signed, or is the signature, or its length.
        assert!(check(&[der.into(), h.issuer.der()], &h.bundle).is_err(), "byte {at}");
    }
}
