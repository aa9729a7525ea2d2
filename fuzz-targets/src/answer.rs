//! What a CA answers an agent: certificates, tokens, bundles, of Signet's own protocol and of Istio's. The CA is verified by TLS; its
//! answer is still taken only when it is for the key and the identity that were asked for, and leads to a root that is trusted.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use node_agent::ca_client::{IstioAnswer, wire};
use pki::{
    AudienceSet, Certificate, JwtKey, PrivateKey, Timestamp, TrustBundle, TrustedRoots, X509Svid, certificates_to_pem,
    prepare_jwt_svid,
};
use prost::Message;
use proto::{istio, v1};

use crate::authority::{Authority, DAY};
use crate::fixture::{JWT_KEY_PEM, JWT_KEYS, NOW, now, trust_domain, web};

/// Most certificates of an answer that is put together here.
const MAX_PARTS: usize = 10;

/// What answers are put together from.
struct Parts {
    /// The chain for `web` under the known key first, its leaf first.
    certificates: Vec<Certificate>,
    bundle: TrustBundle,
    roots: TrustedRoots,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let (ours, foreign) = (Authority::new(1), Authority::new(2));
    let known = || PrivateKey::from_pem(JWT_KEY_PEM).expect("a test key is a key");
    let other = || PrivateKey::from_pem(include_bytes!("../../pki/testdata/p256-sec1.pem")).expect("a test key is a key");
    let leaves = [
        ours.leaf("web", 1, DAY, &known()),
        ours.leaf("api", 2, DAY, &known()),
        ours.leaf("web", 3, DAY, &other()),
        foreign.leaf("web", 4, DAY, &known()),
        ours.leaf("signet/agent/n1", 5, DAY, &known()),
    ];
    let [web, others @ ..] = leaves;
    let authorities = [ours.issuer, ours.root.clone(), foreign.issuer, foreign.root];
    let bundle = TrustBundle::new(trust_domain(), vec![ours.root.clone()], 1).expect("it is a root");
    let [token_key, _] = &*JWT_KEYS;
    let bundle = bundle.with_jwt_authorities(vec![token_key.authority().clone()]).expect("it is a key");
    let roots = TrustedRoots::new(vec![ours.root]).expect("it is a root");
    Parts { certificates: [web].into_iter().chain(authorities).chain(others).collect(), bundle, roots }
});

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let mut plan = Unstructured::new(bytes);
    match which % 7 {
        0 => _ = v1::X509Svid::decode(bytes).map(|answer| certificate(answer, now())),
        1 => _ = assembled(&mut plan).map(|(answer, at)| certificate(answer, at)),
        2 => _ = v1::IssueJwtSvidResponse::decode(bytes).map(|answer| token(answer, now())),
        3 => _ = issued(&mut plan).map(|(answer, at)| token(answer, at)),
        4 => _ = v1::Bundle::decode(bytes).map(bundle),
        5 => _ = istio::IstioCertificateResponse::decode(bytes).map(|answer| of_istio(&answer)),
        _ => _ = elements(&mut plan).map(|answer| of_istio(&answer)),
    }
}

fn known_key() -> PrivateKey {
    PrivateKey::from_pem(JWT_KEY_PEM).expect("a test key is a key")
}

fn holds(svid: &X509Svid) {
    let known = known_key();
    assert!(svid.key().public_key() == known.public_key() && svid.leaf().public_key() == known.public_key(), "for another key");
    assert!(PARTS.certificates.contains(svid.leaf()), "a certificate that nobody issued");
}

fn certificate(answer: v1::X509Svid, at: Timestamp) {
    let Ok(svid) = wire::svid(answer, &web(), known_key(), &PARTS.bundle, at) else { return };
    holds(&svid);
    assert!(*svid.id() == web() && svid.leaf().is_valid_at(at) && svid.issued() <= at);
    assert_eq!(PARTS.certificates.first(), Some(svid.leaf()), "only one of the certificates is the one asked for");
}

fn assembled(plan: &mut Unstructured<'_>) -> Result<(v1::X509Svid, Timestamp)> {
    let (issued, at) = (plan.arbitrary::<i32>()?, plan.arbitrary::<i32>()?);
    let mut chain: Vec<Vec<u8>> = picked(plan)?.into_iter().map(|certificate| certificate.der().to_vec()).collect();
    if let (Some(first), Ok(place)) = (chain.first_mut(), plan.arbitrary::<u16>())
        && let Some(byte) = first.get_mut(usize::from(place))
    {
        *byte ^= plan.arbitrary::<u8>()?;
    }
    let seconds = i64::try_from(NOW).unwrap_or_default().saturating_add(issued.into());
    let issued_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
    let at = Timestamp::from_unix_seconds(NOW.saturating_add_signed((at / 4096).into()));
    Ok((v1::X509Svid { spiffe_id: String::new(), chain, issued_at }, at))
}

fn picked(plan: &mut Unstructured<'_>) -> Result<Vec<Certificate>> {
    let count = plan.int_in_range(0..=MAX_PARTS)?;
    let certificates = &PARTS.certificates;
    (0..count).map(|_| plan.choose(certificates).cloned()).collect()
}

fn audiences() -> AudienceSet {
    AudienceSet::parse(&["db"]).expect("it is an audience")
}

fn token(answer: v1::IssueJwtSvidResponse, at: Timestamp) {
    let end = answer.expires_at.map(|end| end.seconds);
    let Ok(svid) = wire::jwt_svid(answer, &web(), &audiences(), &PARTS.bundle, at) else { return };
    assert!(*svid.id() == web() && *svid.audiences() == audiences() && svid.issued_at() <= at);
    assert_eq!(end, i64::try_from(svid.expires_at().unix_seconds()).ok(), "its end is another than was told");
    assert!(svid.expires_at().since(at) <= pki::MAX_JWT_TTL + pki::JWT_CLOCK_SKEW, "a token for ever");
}

fn issued(plan: &mut Unstructured<'_>) -> Result<(v1::IssueJwtSvidResponse, Timestamp)> {
    let [own, other]: &[JwtKey; 2] = &JWT_KEYS;
    let key = if plan.ratio(1, 8)? { other } else { own };
    let id = if plan.ratio(1, 8)? { trust_domain().id() } else { web() };
    let audiences =
        if plan.ratio(1, 8)? { AudienceSet::parse(&["db", "mail"]).expect("they are audiences") } else { audiences() };
    let life = std::time::Duration::from_secs(plan.int_in_range(1..=2 * 3600)?);
    let at = Timestamp::from_unix_seconds(NOW.saturating_add_signed(plan.arbitrary::<i16>()?.into()));
    let Ok(unsigned) = prepare_jwt_svid(key.authority(), &id, &audiences, life, now()) else {
        return Ok((v1::IssueJwtSvidResponse::default(), at));
    };
    let token = unsigned.sign(key).expect("a test key signs");
    let end = token.expires_at().unix_seconds().saturating_add_signed(plan.int_in_range(0..=1)?);
    let time = |seconds: u64| Some(prost_types::Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 });
    Ok((v1::IssueJwtSvidResponse { token: token.token().to_owned(), issued_at: time(NOW), expires_at: time(end) }, at))
}

fn bundle(message: v1::Bundle) {
    let sent = message.clone();
    let Ok(taken) = wire::bundle(message, &trust_domain()) else { return };
    assert!(sent.trust_domain == trust_domain().as_str() && sent.sequence == taken.sequence());
    let authorities: Vec<_> = taken.authorities().iter().map(|authority| authority.der().to_vec()).collect();
    assert_eq!(authorities, sent.x509_authorities, "an authority was left out or changed");
    assert_eq!(taken.jwt_authorities().len(), sent.jwt_authorities.len());
}

fn of_istio(answer: &istio::IstioCertificateResponse) {
    let Ok(answer) = IstioAnswer::parse(answer, &PARTS.roots, now()) else { return };
    let bundle = answer.bundle(&trust_domain(), 0);
    if let Ok((svid, under)) = answer.into_svid(&trust_domain(), known_key(), now()) {
        holds(&svid);
        assert!(bundle.is_ok_and(|bundle| bundle == *under) && !svid.id().is_reserved());
        let vouched = |root: &Certificate| PARTS.roots.vouch_for(root, now());
        assert!(under.authorities().iter().all(vouched), "a root that nobody trusts");
        assert_eq!(svid.verify(&under, now()), Ok(()));
    }
}

/// An answer of Istio's: a text for each of some picks, and any text now and then.
fn elements(plan: &mut Unstructured<'_>) -> Result<istio::IstioCertificateResponse> {
    let mut cert_chain = Vec::new();
    for _ in 0..plan.int_in_range(0..=4)? {
        cert_chain.push(if plan.ratio(1, 8)? { plan.arbitrary::<String>()? } else { certificates_to_pem(&picked(plan)?) });
    }
    Ok(istio::IstioCertificateResponse { cert_chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were nothing put together that is good, nothing would be learned from what is accepted.
    #[test]
    fn good_answers_are_put_together() {
        let (answer, at) = assembled(&mut Unstructured::new(&[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])).unwrap();
        assert!(wire::svid(answer, &web(), known_key(), &PARTS.bundle, at).is_ok());
        let (answer, at) = issued(&mut Unstructured::new(&[1, 1, 1, 0, 60])).unwrap();
        wire::jwt_svid(answer, &web(), &audiences(), &PARTS.bundle, at).unwrap();
        let answer = elements(&mut Unstructured::new(&[3, 1, 1, 0, 1, 1, 1, 1, 1, 2])).unwrap();
        let answer = IstioAnswer::parse(&answer, &PARTS.roots, now()).unwrap();
        assert!(answer.into_svid(&trust_domain(), known_key(), now()).is_ok());
    }
}
