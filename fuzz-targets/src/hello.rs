//! What each side says first: its hello, and what an agent keeps of the CA's audit chain. The CA reads the hello before it knows who
//! speaks, and both ends read checkpoints with parsers of their own.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use ca::rpc::{checkpoint_wire, hello};
use node_agent::ca_client::{checkpoints, wire};
use pki::checkpoint::{Checkpoint, CheckpointKey, SignedCheckpoint};
use pki::{PrivateKey, Timestamp};
use prost::Message;
use proto::v1;

use crate::fixture::{JWT_KEY_PEM, NOW, now, trust_domain};

/// An error repeats at most two texts of the peer, 64 characters each, of which each may be written as an escape.
const MAX_ERROR_BYTES: usize = 64 * 10 * 2 + 400;

/// Most checkpoints of a chain that is put together here.
const MAX_CHECKPOINTS: usize = 6;

static KEYS: LazyLock<[CheckpointKey; 2]> = LazyLock::new(|| {
    [JWT_KEY_PEM, include_bytes!("../../pki/testdata/p256-sec1.pem")].map(|pem| {
        let key = PrivateKey::from_pem(pem).expect("a test key is a key");
        CheckpointKey::new(key).expect("a test key is on P-256")
    })
});

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 3 {
        0 => _ = v1::Hello::decode(bytes).map(greeted),
        1 => _ = v1::AuditCheckpoint::decode(bytes).map(|message| told(vec![message])),
        _ => _ = chain(&mut Unstructured::new(bytes)).map(told),
    }
}

fn greeted(hello: v1::Hello) {
    let (protocol, required) = (hello.protocol, hello.required_features.clone());
    let by_ca = hello::check(Some(hello.clone()), &trust_domain(), now());
    let by_agent = wire::check_hello(Some(hello));
    assert_eq!(by_agent.is_ok(), protocol == v1::PROTOCOL_VERSION && required.is_empty());
    assert!(by_ca.is_ok() || by_agent.is_err(), "whoever requires nothing is taken by both");
    assert!(by_ca.is_err() || (protocol == v1::PROTOCOL_VERSION && required.len() <= 64));
    let errors = [by_ca.err().map(|error| error.to_string()), by_agent.err().map(|error| error.to_string())];
    assert!(errors.iter().flatten().all(|error| error.len() <= MAX_ERROR_BYTES), "a peer's text is repeated at length");
}

/// Both ends take the same checkpoints, and what an agent keeps of a chain continues each one before.
fn told(chain: Vec<v1::AuditCheckpoint>) {
    let read: Vec<_> = chain.iter().cloned().map(checkpoint_wire::signed).collect();
    for (message, signed) in chain.iter().zip(&read) {
        let by_agent = checkpoints::judge(None, vec![message.clone()], &trust_domain());
        let ours = signed.as_ref().is_ok_and(|signed| signed.checkpoint().trust_domain == trust_domain());
        assert_eq!(by_agent.is_ok(), ours, "one end takes what the other refuses");
        if let (Ok(signed), Ok(Some(kept))) = (signed, by_agent) {
            assert_eq!(*signed, kept);
            assert_eq!(checkpoints::to_wire(&kept), checkpoint_wire::checkpoint(signed));
            assert_eq!(checkpoint_wire::signed(checkpoint_wire::checkpoint(signed)).as_ref(), Ok(signed));
        }
    }
    let Ok(kept) = checkpoints::judge(None, chain, &trust_domain()) else { return };
    let read: Vec<SignedCheckpoint> = read.into_iter().map_while(std::result::Result::ok).collect();
    assert_eq!(kept.as_ref(), read.last(), "the newest is kept");
    // One that was signed twice is the same: its digest covers all but the signature, its key too.
    let moves = read.iter().zip(read.iter().skip(1)).filter(|(before, after)| before.digest() != after.digest());
    for (before, after) in moves {
        let (held, next) = (before.checkpoint(), after.checkpoint());
        assert!(next.previous == *before.digest() && next.sequence > held.sequence && after.key_id() == before.key_id());
    }
}

/// A chain that is signed here, in which each checkpoint may go wrong.
fn chain(plan: &mut Unstructured<'_>) -> Result<Vec<v1::AuditCheckpoint>> {
    let mut chain = Vec::new();
    let (mut sequence, mut previous) = (0_u64, [0; 32]);
    let [own, other] = &*KEYS;
    while !plan.is_empty() && chain.len() < MAX_CHECKPOINTS {
        sequence = sequence.saturating_add(plan.int_in_range(0..=3)?);
        let fault = plan.arbitrary::<u8>()? % 16;
        let checkpoint = Checkpoint {
            trust_domain: if fault == 1 { "example.com".parse().expect("it is a name") } else { trust_domain() },
            sequence: if fault == 2 { plan.arbitrary()? } else { sequence },
            head: [plan.arbitrary()?; 32],
            time: Timestamp::from_unix_seconds(NOW.saturating_add(sequence)),
            previous: if fault == 3 { plan.arbitrary()? } else { previous },
        };
        let signed = if fault == 4 { other } else { own }.sign(checkpoint).expect("a test key signs");
        previous = *signed.digest();
        let mut message = checkpoint_wire::checkpoint(&signed);
        match fault {
            5 => message.sequence = plan.arbitrary()?,
            6 => message.signature.truncate(plan.arbitrary::<u8>()?.into()),
            7 => message.time = None,
            8 => chain.extend(chain.last().cloned()),
            _ => {}
        }
        chain.push(message);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_chains_are_put_together() {
        let chain = chain(&mut Unstructured::new(&[1, 0, 7, 2, 0, 8, 3, 0, 9])).unwrap();
        assert_eq!(chain.len(), 3);
        assert!(checkpoints::judge(None, chain, &trust_domain()).unwrap().is_some());
    }
}
