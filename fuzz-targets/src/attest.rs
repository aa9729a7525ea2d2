//! What comes before and after attestation: messages of `signet.v1` from a peer that nobody knows yet, and entries from a CA that is
//! trusted and still checked.

use arbitrary::{Result, Unstructured};
use ca::records::JoinToken;
use identity::NodeName;
use node_agent::entry::Entry;
use pki::proof::{certificate_transcript, join_token_transcript, reattestation_transcript};
use pki::{Certificate, PublicKey, VerifiedRequest};
use prost::Message;
use proto::v1;
use proto::v1::{attest_certificate_request, reattest_request};

use crate::fixture::{JWT_KEYS, csr_of, der, trust_domain};

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 6 {
        0 => with(bytes, |message: v1::AttestJoinTokenRequest| {
            if let Ok(token) = JoinToken::parse(&message.token) {
                assert!(token.expose() == message.token && message.token.len() == 32, "a token is taken as it is or not at all");
            }
            proof(&message.node_public_key, &message.csr, &message.proof);
        }),
        1 => with(bytes, |message: v1::ReattestRequest| match message.step {
            Some(reattest_request::Step::Begin(begin)) => proof(&begin.node_public_key, &[], &[]),
            Some(reattest_request::Step::Proof(step)) => proof(&[], &step.csr, &step.proof),
            None => {}
        }),
        2 => with(bytes, |message: v1::AttestCertificateRequest| match message.step {
            Some(attest_certificate_request::Step::Begin(begin)) => {
                begin.chain.iter().filter_map(|der| Some((der, Certificate::from_der(der).ok()?))).for_each(|(der, read)| {
                    assert_eq!(read.der().as_ref(), der, "a certificate is never normalised");
                });
            }
            Some(attest_certificate_request::Step::Proof(step)) => proof(&[], &step.csr, &step.node_proof),
            None => {}
        }),
        3 => with(bytes, entry),
        4 => with(bytes, |message: v1::SyncUpdate| message.upserted.into_iter().for_each(entry)),
        _ => _ = bound(&mut Unstructured::new(bytes)),
    }
}

/// Decodes, and writes back what was decoded: a message means the same to whoever it is passed on to.
fn with<M: Message + Default + PartialEq + Clone>(bytes: &[u8], judge: impl FnOnce(M)) {
    let Ok(message) = M::decode(bytes) else { return };
    let again = M::decode(message.encode_to_vec().as_slice());
    assert!(again.is_ok_and(|again| again == message), "a message changes when it is written back");
    judge(message);
}

fn proof(node_key: &[u8], csr: &[u8], signature: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(node_key) {
        assert_eq!(key.spki_der(), node_key, "a key is never normalised");
        let transcript = join_token_transcript(&[1; 32], &[2; 32], csr);
        assert!(key.verify(&transcript, signature).is_err(), "a proof out of nowhere");
    }
    if let Ok(request) = VerifiedRequest::parse(csr) {
        assert_eq!(PublicKey::from_spki_der(request.public_key().spki_der()).ok().as_ref(), Some(request.public_key()));
    }
}

/// An entry that an agent takes is one of its own node and trust domain, and is shown as it was taken.
fn entry(message: v1::Entry) {
    let node = NodeName::parse("n1").expect("it is a name");
    let Ok(taken) = Entry::from_wire(message, &trust_domain(), &node) else { return };
    assert!(taken.spiffe_id.trust_domain() == &trust_domain() && !taken.spiffe_id.is_reserved());
    assert!(!taken.spiffe_id.path().is_empty() && !taken.selectors.is_empty(), "an entry for everybody");
    let shown = taken.to_wire(Some(&node));
    assert_eq!(Entry::from_wire(shown, &trust_domain(), &node).ok(), Some(taken));
}

/// A proof holds for the connection, the token or nonce, and the request that it was made for, and for no other.
fn bound(plan: &mut Unstructured<'_>) -> Result<()> {
    let [key, _] = &*JWT_KEYS;
    let key = key.private_key();
    let (exporter, nonce) = (plan.arbitrary::<[u8; 32]>()?, plan.arbitrary::<[u8; 32]>()?);
    let (other_exporter, other_nonce) = (plan.arbitrary::<[u8; 32]>()?, plan.arbitrary::<[u8; 32]>()?);
    let length = plan.len() / 2;
    let (csr, other_csr) = (csr_of(&der(0x30, &[]), plan.bytes(length)?), plan.bytes(plan.len())?);
    let spki = key.public_key().spki_der();
    let transcripts = |exporter: &[u8; 32], nonce: &[u8; 32], csr: &[u8]| {
        [
            join_token_transcript(exporter, nonce, csr),
            reattestation_transcript(exporter, nonce, csr),
            certificate_transcript(exporter, nonce, csr, spki, csr),
        ]
    };
    let signed = transcripts(&exporter, &nonce, &csr);
    let shown = transcripts(&other_exporter, &other_nonce, other_csr);
    let same = exporter == other_exporter && nonce == other_nonce && csr == other_csr;
    for (place, transcript) in signed.iter().enumerate() {
        let signature = key.sign(transcript).expect("a test key signs");
        for (other_place, other) in shown.iter().enumerate() {
            let holds = key.public_key().verify(other, &signature).is_ok();
            assert_eq!(holds, same && place == other_place, "a proof holds elsewhere");
        }
    }
    Ok(())
}
