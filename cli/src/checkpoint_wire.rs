//! Between the messages of `signet.v1` and checkpoints of the audit chain.

use std::time::SystemTime;

use identity::TrustDomain;
use pki::Timestamp;
use pki::checkpoint::{Checkpoint, SignedCheckpoint};
use proto::v1::AuditCheckpoint;

/// Takes a checkpoint whose signature holds.
///
/// # Errors
/// Why it is none.
pub(crate) fn signed(message: &AuditCheckpoint) -> Result<SignedCheckpoint, String> {
    let AuditCheckpoint { trust_domain, sequence, head, time, previous, public_key, signature } = message;
    let digest = |bytes: &[u8]| bytes.try_into().map_err(|_| "a digest in it is not 32 bytes long".to_owned());
    let time = time.as_ref().and_then(|time| u64::try_from(time.seconds).ok()).ok_or("it has no time")?;
    let checkpoint = Checkpoint {
        trust_domain: TrustDomain::parse(trust_domain).map_err(|error| error.to_string())?,
        sequence: *sequence,
        head: digest(head)?,
        time: Timestamp::from_unix_seconds(time),
        previous: digest(previous)?,
    };
    SignedCheckpoint::verified(checkpoint, public_key, signature.clone()).map_err(|error| error.to_string())
}

/// As it goes over the wire.
pub(crate) fn message(signed: &SignedCheckpoint) -> AuditCheckpoint {
    let Checkpoint { trust_domain, sequence, head, time, previous } = signed.checkpoint();
    AuditCheckpoint {
        trust_domain: trust_domain.to_string(),
        sequence: *sequence,
        head: head.to_vec(),
        time: Some(SystemTime::from(*time).into()),
        previous: previous.to_vec(),
        public_key: signed.public_key().spki_der().to_vec(),
        signature: signed.signature().to_vec(),
    }
}
