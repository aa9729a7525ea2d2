//! What Vault or OpenBao answers. The server is verified by TLS; what it signed is taken only when it is exactly what was asked for, under
//! the operator's bundle; and its words for people are few and printable.

use std::sync::LazyLock;
use std::time::Duration;

use ::vault::answer::{self, Login, MAX_CERTIFICATES, SignedCertificate};
use arbitrary::{Result, Unstructured};
use identity::DnsName;
use node_agent::ca_client::{AskedLeaf, checked_chain};
use pki::{Certificate, PrivateKey, TrustBundle, certificates_to_pem};
use serde_json::{Value, json};

use crate::authority::{Authority, DAY};
use crate::fixture::{CHAINS, JWT_KEY_PEM, now, trust_domain, web};

/// What answers are put together from: the leaf that is asked for first.
struct Parts {
    certificates: Vec<Certificate>,
    bundle: TrustBundle,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let (ours, foreign) = (Authority::new(11), Authority::new(12));
    let key = PrivateKey::from_pem(JWT_KEY_PEM).expect("a test key is a key");
    let leaves = [
        ours.leaf("web", 1, DAY / 2, &key),
        ours.leaf("web", 2, DAY, &key),
        ours.leaf("api", 3, DAY / 2, &key),
        foreign.leaf("web", 4, DAY / 2, &key),
    ];
    let bundle = TrustBundle::new(trust_domain(), vec![ours.root.clone()], 1).expect("it is a root");
    let authorities = [ours.issuer, ours.root, foreign.issuer, foreign.root];
    Parts { certificates: leaves.into_iter().chain(authorities).collect(), bundle }
});

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 4 {
        0 => {
            let dns = ["web.example.org".parse().expect("it is a name")];
            signed(bytes, &dns, DAY, &CHAINS.bundle);
        }
        1 => _ = assembled(&mut Unstructured::new(bytes)).map(|body| taken_as_asked(body.to_string().as_bytes())),
        2 => login(bytes),
        _ => {
            let words = answer::reasons(bytes).to_string();
            assert!(words.chars().count() < 1000 && words.chars().all(|c| !c.is_control()), "words that nobody can read");
        }
    }
}

/// An answer, read and judged. Gives the leaf when it is taken.
fn signed(body: &[u8], dns_names: &[DnsName], ttl: Duration, bundle: &TrustBundle) -> Option<Certificate> {
    if let Ok(roots) = answer::roots_of_issuer(body) {
        assert!(!roots.is_empty() && roots.iter().all(|root| root.verify_signed_by(root.public_key()).is_ok()));
    }
    let read = SignedCertificate::parse(body).ok()?;
    assert!((1..=MAX_CERTIFICATES).contains(&read.above.len()));
    let (chain, roots) = (read.chain(), read.roots());
    assert!(chain.first() == Some(&read.certificate) && chain.len() + roots.len() == read.above.len() + 1, "one was lost");
    let id = web();
    let asked = AskedLeaf { spiffe_id: &id, dns_names, ttl: Some(ttl) };
    let taken = checked_chain(&read, asked, bundle, now()).ok()?;
    assert_eq!(taken, chain);
    let leaf = taken.into_iter().next()?;
    assert_eq!((leaf.uri_sans(), leaf.dns_sans().len(), leaf.other_sans()), (&[id.to_string()][..], dns_names.len(), 0));
    assert!(leaf.is_valid_at(now()) && !leaf.is_ca() && leaf.not_after() <= now().plus(ttl).plus(Duration::from_secs(300)));
    Some(leaf)
}

/// Of what was issued here one leaf alone is for whom it is asked, as long as it may live, and under the bundle.
fn taken_as_asked(body: &[u8]) {
    if let Some(leaf) = signed(body, &[], DAY / 2, &PARTS.bundle) {
        assert_eq!(PARTS.certificates.first(), Some(&leaf), "another certificate was taken");
    }
}

/// An answer with some of the certificates in each place, and any text now and then.
fn assembled(plan: &mut Unstructured<'_>) -> Result<Value> {
    let text = |plan: &mut Unstructured<'_>| -> Result<String> {
        if plan.ratio(1, 16)? {
            return plan.arbitrary();
        }
        let certificate = plan.choose(&PARTS.certificates)?;
        Ok(certificates_to_pem([certificate]))
    };
    let (certificate, issuing_ca) = (text(plan)?, text(plan)?);
    let mut ca_chain = Vec::new();
    for _ in 0..plan.int_in_range(0..=4)? {
        ca_chain.push(text(plan)?);
    }
    Ok(json!({ "data": { "certificate": certificate, "issuing_ca": issuing_ca, "ca_chain": ca_chain } }))
}

fn login(body: &[u8]) {
    if let Ok(Login { token, life, renewable: _ }) = Login::parse(body) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "a token that no header can hold");
        assert!(life.is_none_or(|life| !life.is_zero()));
    }
    if let Ok((life, _)) = answer::lookup(body) {
        assert!(life.is_none_or(|life| !life.is_zero()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were nothing put together that is good, nothing would be learned from what is accepted.
    #[test]
    fn good_answers_are_put_together() {
        let leaf = certificates_to_pem(PARTS.certificates.first());
        let issuer = certificates_to_pem(PARTS.certificates.get(4));
        let body = json!({ "data": { "certificate": leaf, "issuing_ca": issuer } }).to_string();
        assert!(signed(body.as_bytes(), &[], DAY / 2, &PARTS.bundle).is_some());
        let body = assembled(&mut Unstructured::new(&[1, 0, 1, 4, 0])).unwrap().to_string();
        let taken = signed(body.as_bytes(), &[], DAY / 2, &PARTS.bundle);
        assert!(taken.is_some(), "{body}");
    }
}
