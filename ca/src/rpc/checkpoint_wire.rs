//! Between the messages of `signet.v1` and checkpoints, findings and orphans.

use std::time::Duration;

use identity::TrustDomain;
use pki::Timestamp;
use pki::checkpoint::{Checkpoint, SignedCheckpoint};
use proto::v1;

use crate::audit::{AuditFinding, AuditVerdict};
use crate::rpc::wire::timestamp;
use crate::store::{Orphan, OrphanKind};

/// How long a result may be on its way: rows are written behind the answers.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Takes a checkpoint whose signature holds.
///
/// # Errors
/// Why it is none.
pub fn signed(message: v1::AuditCheckpoint) -> Result<SignedCheckpoint, String> {
    let v1::AuditCheckpoint { trust_domain, sequence, head, time, previous, public_key, signature } = message;
    let digest = |bytes: Vec<u8>| bytes.try_into().map_err(|_| "a digest in it is not 32 bytes long".to_owned());
    let checkpoint = Checkpoint {
        trust_domain: TrustDomain::parse(&trust_domain).map_err(|error| error.to_string())?,
        sequence,
        head: digest(head)?,
        time: seconds(time).ok_or_else(|| "it has no time".to_owned())?,
        previous: digest(previous)?,
    };
    SignedCheckpoint::verified(checkpoint, &public_key, signature).map_err(|error| error.to_string())
}

/// A time from a message; `None` when it is absent or before 1970.
pub(crate) fn seconds(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|time| u64::try_from(time.seconds).ok()).map(Timestamp::from_unix_seconds)
}

/// As it goes over the wire.
#[must_use]
pub fn checkpoint(signed: &SignedCheckpoint) -> v1::AuditCheckpoint {
    let Checkpoint { trust_domain, sequence, head, time, previous } = signed.checkpoint();
    v1::AuditCheckpoint {
        trust_domain: trust_domain.to_string(),
        sequence: *sequence,
        head: head.to_vec(),
        time: Some(timestamp(*time)),
        previous: previous.to_vec(),
        public_key: signed.public_key().spki_der().to_vec(),
        signature: signed.signature().to_vec(),
    }
}

/// As the admin service tells it; also for who verified a file without the CA.
impl From<AuditVerdict> for v1::AuditVerdict {
    fn from(verdict: AuditVerdict) -> Self {
        let AuditVerdict { events, head, findings, findings_total, checkpoints, covered, keys } = verdict;
        Self {
            events,
            head: head.hash.to_vec(),
            findings: findings.iter().map(finding).collect(),
            findings_total,
            checkpoints,
            covered_until: covered.map_or(0, |(sequence, _)| sequence),
            covered_at: covered.map(|(_, time)| timestamp(time)),
            keys: keys.into_iter().map(|key| key.to_vec()).collect(),
        }
    }
}

fn finding(finding: &AuditFinding) -> v1::AuditFinding {
    v1::AuditFinding {
        kind: finding.kind().to_owned(),
        sequence: finding.sequence(),
        text: finding.to_string(),
        advice: finding.advice().to_owned(),
    }
}

impl Orphan {
    /// As the admin service tells it; also for who reads a file without the CA.
    #[must_use]
    pub fn into_message(self, now: Timestamp) -> v1::Orphan {
        let Self { kind, name, subject, caller, reason, intended_at, not_after } = self;
        let kind = match kind {
            OrphanKind::X509 => v1::orphan::Kind::X509,
            OrphanKind::Jwt => v1::orphan::Kind::Jwt,
        };
        v1::Orphan {
            kind: kind.into(),
            name,
            subject,
            caller,
            reason,
            intended_at: Some(timestamp(intended_at)),
            not_after: Some(timestamp(not_after)),
            may_be_under_way: now.since(intended_at) < UNDER_WAY,
        }
    }
}
