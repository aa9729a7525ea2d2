//! Chains: whoever has not the authority's key gets nothing accepted but what the authority signed, while it is valid.

use arbitrary::{Result, Unstructured};
use pki::{Certificate, CertificateDer, Timestamp, Usage, validate_svid, validate_under_pinned_root};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fixture::{CHAINS, NOW, trust_domain};

/// The first byte says how the rest is read: as certificates, each after its length in two bytes, or as changes to good chains.
pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, certificates)) => judge(&lengths(certificates), now(0)),
        Some((_, plan)) => _ = change(&mut Unstructured::new(plan)),
        None => {}
    }
}

fn lengths(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (certificate, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into()).unwrap_or((behind, &[]));
        found.push(certificate.to_vec());
        rest = behind;
    }
    found
}

fn now(offset: i32) -> Timestamp {
    Timestamp::from_unix_seconds(NOW.saturating_add_signed(offset.into()))
}

fn change(plan: &mut Unstructured<'_>) -> Result<()> {
    let known: Vec<&[Certificate]> = CHAINS.genuine.iter().chain(&CHAINS.refused).map(Vec::as_slice).collect();
    let pick = |plan: &mut Unstructured<'_>| Ok(known.get(usize::from(plan.arbitrary::<u8>()?) % known.len()).copied());
    let mut chain: Vec<Vec<u8>> = pick(plan)?.into_iter().flatten().map(|certificate| certificate.der().to_vec()).collect();
    let offset = i32::from(plan.arbitrary::<i16>()?);
    while !plan.is_empty() && !chain.is_empty() {
        let (what, which) = (plan.arbitrary::<u8>()?, usize::from(plan.arbitrary::<u8>()?) % chain.len());
        match what % 8 {
            0 => drop(chain.remove(which)),
            1 => chain.rotate_left(which),
            2 => chain.extend(pick(plan)?.and_then(<[_]>::last).map(|certificate| certificate.der().to_vec())),
            3 => chain.extend(CHAINS.bundle.authorities().iter().map(|root| root.der().to_vec())),
            _ => edit(plan, chain.get_mut(which).map_or(&mut Vec::new(), |certificate| certificate), what)?,
        }
        if chain.len() > 16 {
            break;
        }
    }
    judge(&chain, now(offset));
    Ok(())
}

fn edit(plan: &mut Unstructured<'_>, certificate: &mut Vec<u8>, what: u8) -> Result<()> {
    let (at, byte) = (usize::from(plan.arbitrary::<u16>()?) % certificate.len().max(1), plan.arbitrary::<u8>()?);
    match what % 8 {
        4 => certificate.truncate(at),
        5 => certificate.insert(at, byte),
        _ => {
            if let Some(place) = certificate.get_mut(at) {
                *place ^= byte;
            }
        }
    }
    Ok(())
}

fn judge(chain: &[Vec<u8>], now: Timestamp) {
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let [client, server, both] =
        [Usage::Client, Usage::Server, Usage::Both].map(|usage| validate_svid(&ders, &CHAINS.bundle, usage, now));
    assert_eq!(client.is_ok(), server.is_ok(), "an SVID is both or neither");
    assert_eq!(client.is_ok(), both.is_ok(), "for both at once as for each");
    if let Ok(proof) = client {
        let signed = CHAINS.genuine.iter().chain(&CHAINS.refused).filter_map(|chain| chain.first());
        assert!(signed.into_iter().any(|leaf| leaf == proof.leaf()), "a leaf was accepted that nobody signed");
        assert_eq!(chain.first().map(Vec::as_slice), Some(proof.leaf().der().as_ref()));
        second_reading(proof.leaf(), proof.id().as_str(), now);
        assert!(proof.validate_again(&CHAINS.bundle, Usage::Client, now).is_ok());
        assert!(proof.validate_again(&CHAINS.foreign, Usage::Client, now).is_err(), "accepted under two roots");
        assert!(proof.not_after() >= now);
    }
    // Under a pinned root, the one that was sent along and is in no bundle.
    if let Some(root) = CHAINS.bundle.authorities().first()
        && let Ok((proof, pinned)) = validate_under_pinned_root(&ders, &root.fingerprint(), &trust_domain(), Usage::Server, now)
    {
        assert_eq!(&pinned, root);
        second_reading(proof.leaf(), proof.id().as_str(), now);
    }
}

/// X509-SVID sections 2, 4 and 5.2, with another reader's eyes.
fn second_reading(leaf: &Certificate, id: &str, now: Timestamp) {
    let (rest, leaf) = X509Certificate::from_der(leaf.der()).expect("a second reader reads what was accepted");
    assert!(rest.is_empty());
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().ok().flatten().expect("an SVID says what its key is for");
    assert!(usage.value.digital_signature() && !usage.value.key_cert_sign() && !usage.value.crl_sign());
    let now = i64::try_from(now.unix_seconds()).expect("a Timestamp ends with the year 9999");
    assert!(leaf.validity().not_before.timestamp() <= now && now <= leaf.validity().not_after.timestamp());
    let names = leaf.subject_alternative_name().ok().flatten().expect("an SVID has names");
    let is_uri = |name: &&x509_parser::extensions::GeneralName<'_>| matches!(name, x509_parser::extensions::GeneralName::URI(_));
    let uris: Vec<_> = names.value.general_names.iter().filter(is_uri).collect();
    assert!(
        matches!(uris.as_slice(), [x509_parser::extensions::GeneralName::URI(uri)] if *uri == id),
        "not one URI SAN: {uris:?}"
    );
    assert!(id.starts_with("spiffe://example.org/"));
}
