//! The file by which the CA was trusted at the first contact, looked at from then on.
//!
//! Whoever may write it (a ConfigMap, say) decides whom a node without a bundle trusts, and nothing any more once the node has one: bundles come
//! by the authenticated stream alone. A file that names somebody else is told as an alarm, since the next node would trust it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use pki::TrustBundle;
use runtime::clock::{Clock, Ticker};
use tokio::sync::watch;

use super::node::{NodeFailure, NodeStatus, read_bundle_file};
use super::view::NodeView;
use crate::metrics::{AgentMetrics, Alarm};

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// For how long it may differ: in a rotation the stream and the file bring a new root one after the other.
const STANDING: Duration = Duration::from_secs(30);

/// Looks at the file.
pub(super) struct AnchorWatch {
    pub(super) path: PathBuf,
    pub(super) views: watch::Receiver<Arc<NodeView>>,
    pub(super) status: watch::Sender<NodeStatus>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: AgentMetrics,
}

/// How long it has differed. Pure.
#[derive(Debug, Default)]
struct AnchorJudge {
    since: Option<Duration>,
}

impl AnchorWatch {
    /// Looks until it is dropped.
    ///
    /// # Errors
    /// [`NodeFailure::Timer`].
    pub(super) async fn run(self) -> Result<(), NodeFailure> {
        let mut ticker = Ticker::new(PERIOD).map_err(NodeFailure::Timer)?;
        let mut judge = AnchorJudge::default();
        loop {
            ticker.tick().await.map_err(NodeFailure::Timer)?;
            let Some(held) = self.views.borrow().bundle.clone() else { continue };
            let (path, trust_domain) = (self.path.clone(), held.trust_domain().clone());
            let read = tokio::task::spawn_blocking(move || read_bundle_file(&path, &trust_domain)).await;
            let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let alarm = judge.judge(read.map_err(|error| error.to_string()).as_ref(), &held, self.clock.boottime());
            self.tell(alarm);
        }
    }

    /// Says so once when it begins, and once when it is over.
    fn tell(&self, alarm: Option<String>) {
        let before = self.status.borrow().anchor.clone();
        match (&before, &alarm) {
            (None, Some(alarm)) => {
                self.metrics.alarm(Alarm::AnchorDiffers);
                tracing::error!(
                    alarm,
                    "the file by which nodes first trust the CA is not to be trusted; nothing changes for this node"
                );
            }
            (Some(_), None) => tracing::info!("the file by which nodes first trust the CA is in order again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if before != alarm {
            self.status.send_modify(|status| status.anchor = alarm);
        }
    }
}

impl AnchorJudge {
    /// What is wrong with the file, once it has been so for a while; `now` is time since boot.
    fn judge(&mut self, file: Result<&TrustBundle, &String>, held: &TrustBundle, now: Duration) -> Option<String> {
        let Some(difference) = difference(file, held) else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        (now.saturating_sub(since) >= STANDING).then_some(difference)
    }
}

/// A file with fewer authorities than the bundle is in order: a node that trusts those gets the others from the CA.
fn difference(file: Result<&TrustBundle, &String>, held: &TrustBundle) -> Option<String> {
    let file = match file {
        Ok(file) => file,
        Err(why) => return Some(format!("{why}; a node without a bundle could not join by it")),
    };
    let known: Vec<_> = held.authorities().iter().map(|authority| authority.der()).collect();
    let strange = file.authorities().iter().find(|authority| !known.contains(&authority.der()))?;
    Some(format!(
        "trust_bundle names an authority (SHA-256 {}) that is not in the trust bundle which the CA gave this node (sequence {}): it is forged, \
         or of another time; this node does not use it, but one without a bundle would",
        HEXLOWER.encode(&pki::sha256(strange.der())),
        held.sequence(),
    ))
}

#[cfg(test)]
mod tests {
    use identity::TrustDomain;
    use pki::{AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, PrivateKey, ReplicaByte, SerialNumber, Timestamp};

    use super::*;

    fn root(byte: u8) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &TrustDomain::parse("example.org").unwrap(),
            public_key: key.public_key(),
            lifetime: Duration::from_secs(86_400),
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [byte; pki::SERIAL_RANDOM_BYTES]),
            now: Timestamp::from_unix_seconds(1_700_000_000),
        };
        pki::prepare_authority(&spec, None).unwrap().sign(&key).unwrap()
    }

    fn bundle(roots: &[&Certificate], sequence: u64) -> TrustBundle {
        let pem = pki::certificates_to_pem(roots.iter().copied());
        TrustBundle::from_pem(TrustDomain::parse("example.org").unwrap(), pem.as_bytes(), sequence).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_that_names_a_stranger_is_told_after_a_while_and_not_during_a_rotation() {
        let [a, b] = [1, 2].map(root);
        let (held, file) = (bundle(&[&a], 7), bundle(&[&a, &b], 0));
        let mut judge = AnchorJudge::default();
        assert_eq!(judge.judge(Ok(&bundle(&[&a], 0)), &held, at(0)), None);
        assert_eq!(judge.judge(Ok(&file), &held, at(100)), None, "the stream may bring it in a moment");
        assert_eq!(judge.judge(Ok(&file), &held, at(129)), None);
        let told = judge.judge(Ok(&file), &held, at(130)).unwrap();
        assert!(told.contains(&HEXLOWER.encode(&pki::sha256(b.der()))) && told.contains("sequence 7"), "{told}");
        assert_eq!(judge.judge(Ok(&file), &bundle(&[&a, &b], 8), at(131)), None);
        assert_eq!(judge.judge(Ok(&file), &held, at(150)), None, "it counts anew");
        // The file is behind, as it may be: both are trusted.
        assert_eq!(judge.judge(Ok(&bundle(&[&a], 0)), &bundle(&[&a, &b], 8), at(500)), None);
        // It is so far behind that what it names is trusted no more.
        assert_eq!(judge.judge(Ok(&bundle(&[&a], 0)), &bundle(&[&b], 9), at(501)), None);
        assert!(judge.judge(Ok(&bundle(&[&a], 0)), &bundle(&[&b], 9), at(531)).is_some());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_too() {
        let held = bundle(&[&root(1)], 7);
        let why = "trust_bundle /f: no certificate in it".to_owned();
        let mut judge = AnchorJudge::default();
        assert_eq!(judge.judge(Err(&why), &held, at(0)), None);
        assert!(judge.judge(Err(&why), &held, at(30)).unwrap().starts_with(&why));
    }
}
