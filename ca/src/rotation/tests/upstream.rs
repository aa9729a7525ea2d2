//! A driver whose issuing CAs are signed by an upstream that does as the test says.

use identity::TrustDomain;
use pki::{
    AuthorityRole, AuthoritySpec, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, VerifiedRequest,
    certificates_from_pem, prepare_authority,
};
use runtime::entropy;

use super::*;
use crate::upstream::desk::{DeskParts, UpstreamDesk};
use crate::upstream::metrics::UpstreamKind;
use crate::upstream::{IssuerRequest, UpstreamAnswer, UpstreamAuthority, UpstreamError, UpstreamRoots};

/// Longer than any wait between two tries.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the next answer is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoil {
    Nothing,
    Away,
    AnotherKey,
}

/// An upstream. Its first root is the one that the test's CA began with.
pub(super) struct Fake {
    pub(super) roots: Mutex<Vec<(Certificate, Arc<PrivateKey>)>>,
    /// Which of them signs.
    pub(super) signing: Mutex<usize>,
    pub(super) spoil: Mutex<Spoil>,
}

#[derive(Clone)]
pub(super) struct Above(pub(super) Arc<Fake>);

pub(super) fn signed(
    role: AuthorityRole,
    key: &pki::PublicKey,
    issuer: Option<&(Certificate, Arc<PrivateKey>)>,
    own: Option<&PrivateKey>,
    now: Timestamp,
) -> Certificate {
    let spec = AuthoritySpec {
        role,
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key,
        lifetime: Duration::from_secs(if issuer.is_some() { 30 } else { 900 } * 86_400),
        serial: SerialNumber::new(ReplicaByte::new(9).unwrap(), entropy::bytes::<SERIAL_RANDOM_BYTES>(&SystemEntropy)),
        now,
    };
    let unsigned = prepare_authority(&spec, issuer.map(|issuer| &issuer.0)).unwrap();
    let key = issuer.map_or_else(|| own.unwrap(), |issuer| &*issuer.1);
    unsigned.sign(key).unwrap()
}

impl UpstreamAuthority for Above {
    fn name(&self) -> &str {
        "fake"
    }

    fn sign_issuer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<UpstreamAnswer, UpstreamError>> {
        Box::pin(async move {
            let spoil = *self.0.spoil.lock().unwrap();
            if spoil == Spoil::Away {
                return Err(UpstreamError::Unreachable("nobody there".to_owned()));
            }
            let request = VerifiedRequest::parse(&request.csr_der).unwrap();
            let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let key = if spoil == Spoil::AnotherKey { other.public_key() } else { request.public_key() };
            let roots = self.0.roots.lock().unwrap();
            let root = roots.get(*self.0.signing.lock().unwrap()).unwrap();
            let certificate = signed(AuthorityRole::Issuer, key, Some(root), None, start_time());
            let ders = roots.iter().map(|(root, _)| root.der().to_vec()).collect();
            Ok(UpstreamAnswer { chain: vec![certificate.der().to_vec()], roots: ders })
        })
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<UpstreamRoots>, UpstreamError>> {
        let roots = self.0.roots.lock().unwrap();
        let signing = roots.get(*self.0.signing.lock().unwrap()).map(|(root, _)| root.fingerprint());
        let told = UpstreamRoots { roots: roots.iter().map(|(root, _)| root.der().to_vec()).collect(), signing };
        Box::pin(future::ready(Ok(Some(told))))
    }
}

/// A CA that was made with a root of its own, whose key is the fake's now.
async fn bed() -> (Bed, Above, Arc<UpstreamDesk>) {
    let mut bed = Bed::new("[rotation]\npropagation_hold = \"0s\"\n").await;
    let read = |name: &str| std::fs::read(bed.config.state_dir.join(name)).unwrap();
    let root = certificates_from_pem(&read("root-cert.pem")).unwrap().remove(0);
    let key = PrivateKey::from_pem(&read("root-key.pem")).unwrap();
    std::fs::remove_file(bed.config.state_dir.join("root-key.pem")).unwrap();
    let (above, desk) = desk_of(&bed, root, key);
    bed.upstream = Some(Arc::clone(&desk));
    (bed, above, desk)
}

/// An upstream with this root, and the desk where it is asked.
pub(super) fn desk_of(bed: &Bed, root: Certificate, key: PrivateKey) -> (Above, Arc<UpstreamDesk>) {
    let above = Above(Arc::new(Fake {
        roots: Mutex::new(vec![(root, Arc::new(key))]),
        signing: Mutex::new(0),
        spoil: Mutex::new(Spoil::Nothing),
    }));
    let clock = Arc::new(IssuanceClock::new(bed.clock.clone(), start_time()));
    clock.look().unwrap();
    let desk = Arc::new(UpstreamDesk::new(DeskParts {
        authority: Box::new(above.clone()),
        kind: UpstreamKind::Signet,
        trust_domain: bed.config.trust_domain.clone(),
        profile: bed.config.leaf.clone(),
        ttl: Duration::from_secs(30 * 86_400),
        interval: Duration::from_secs(1),
        clock,
        metrics: UpstreamMetrics::default(),
    }));
    (above, desk)
}

pub(super) fn new_root() -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    (signed(AuthorityRole::Root, key.public_key(), None, Some(&key), start_time()), key)
}

pub(super) fn add_root(above: &Above) {
    let (root, key) = new_root();
    above.0.roots.lock().unwrap().push((root, Arc::new(key)));
}

pub(super) fn acknowledge(bed: &Bed, running: &Running) {
    let sequence = running.bundle.borrow().sequence();
    bed.agents.lock().unwrap().iter_mut().for_each(|agent| agent.acknowledged = sequence);
}

#[tokio::test]
async fn upstream_signs_what_verifies_and_what_does_not_is_never_written() {
    let (bed, above, desk) = bed().await;
    desk.look().await;
    bed.with_driver(async |running| {
        let first = running.authority.borrow().certificate().clone();
        for (spoil, words) in [(Spoil::Away, "nobody there"), (Spoil::AnotherKey, "does not verify")] {
            *above.0.spoil.lock().unwrap() = spoil;
            bed.clock.advance(PATIENCE);
            let refused = running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
            assert!(desk.refusal().is_some_and(|why| why.contains(words)));
            assert!(!bed.config.state_dir.join("authority/0002").exists());
            assert_eq!(*running.authority.borrow().certificate(), first, "the one in use goes on");
        }
        *above.0.spoil.lock().unwrap() = Spoil::Nothing;
        bed.clock.advance(PATIENCE);
        running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        running.handle.activate(name("issuer-2"), Accepted::default(), OPERATOR).await.unwrap();
        assert_ne!(*running.authority.borrow().certificate(), first);
        assert_eq!(*running.authority.borrow().root(), above.0.roots.lock().unwrap()[0].0);
        assert_eq!(desk.refusal(), None);
    })
    .await;
}

#[tokio::test]
async fn a_root_of_upstream_comes_as_both_then_signs_then_is_the_only_one() {
    let (bed, above, desk) = bed().await;
    desk.look().await;
    bed.with_driver(async |running| {
        let refused = running.handle.prepare(AuthorityKind::Root, OPERATOR).await.unwrap_err();
        assert!(refused.to_string().contains("upstream has no other root"), "{refused}");
        bed.agents.lock().unwrap().push(commands::agent("n1", 1));

        add_root(&above);
        desk.look().await;
        running.until(|_| running.bundle.borrow().authorities().len() == 2).await;
        acknowledge(&bed, running);
        // Upstream does not sign under it yet: nothing is asked for.
        let view = running.until(|view| view.faults.iter().any(|fault| fault.contains("does not sign under"))).await;
        assert_eq!(slot(&view.lifecycle, "root-1"), Some(Slot::Active));
        *above.0.signing.lock().unwrap() = 1;
        desk.look().await;
        bed.clock.advance(PATIENCE);
        let second = above.0.roots.lock().unwrap()[1].0.clone();
        running.until(|view| slot(&view.lifecycle, "root-2") == Some(Slot::Active)).await;
        assert_eq!(*running.authority.borrow().root(), second);

        // Upstream still has the first one, so others may rest on it.
        for _ in 0..3 {
            running.handle.view().changed().await.unwrap();
            assert_eq!(slot(&running.lifecycle(), "root-1"), Some(Slot::Old));
        }
        above.0.roots.lock().unwrap().remove(0);
        *above.0.signing.lock().unwrap() = 0;
        desk.look().await;
        running.until(|view| slot(&view.lifecycle, "root-1") == Some(Slot::Revoked)).await;
        assert_eq!(running.bundle.borrow().authorities(), [second]);
    })
    .await;
}

#[tokio::test]
async fn a_root_that_upstream_gives_up_before_it_signed_is_dropped() {
    let (bed, above, desk) = bed().await;
    desk.look().await;
    bed.with_driver(async |running| {
        add_root(&above);
        desk.look().await;
        running.until(|_| running.bundle.borrow().authorities().len() == 2).await;
        above.0.roots.lock().unwrap().pop();
        desk.look().await;
        running.until(|view| slot(&view.lifecycle, "root-2") == Some(Slot::Revoked)).await;
        assert_eq!(running.bundle.borrow().authorities().len(), 1);
        assert_eq!(slot(&running.lifecycle(), "root-1"), Some(Slot::Active));
    })
    .await;
}

/// A key that is in the way of tokens, or anything else that may pass, is nothing that going back to the former issuing CA would mend.
#[tokio::test]
async fn a_fault_beside_the_successor_sends_nobody_back() {
    let (bed, _above, desk) = bed().await;
    desk.look().await;
    bed.with_driver(async |running| {
        let first = running.authority.borrow().certificate().clone();
        std::fs::write(bed.config.jwt_key_path(), "no key").unwrap();
        bed.agents.lock().unwrap().push(commands::agent("n1", 1));
        running.handle.start(AuthorityKind::Issuer, Pace::Natural, Accepted::default(), OPERATOR).await.unwrap();
        let told = |view: &Arc<RotationView>| view.faults.iter().any(|fault| fault.contains("jwt-key.pem"));
        running.until(|view| slot(&view.lifecycle, "issuer-2") == Some(Slot::Active) && told(view)).await;
        for _ in 0..3 {
            running.handle.view().changed().await.unwrap();
            assert_eq!(slot(&running.lifecycle(), "issuer-2"), Some(Slot::Active));
            assert!(running.handle.view().borrow().rotation(AuthorityKind::Issuer).is_none_or(|it| !it.rotation.aborting));
        }
        assert_ne!(*running.authority.borrow().certificate(), first, "leaves are signed by it all the same");
    })
    .await;
}

#[tokio::test]
async fn what_does_not_verify_when_it_shall_sign_gives_way_to_what_signed_before() {
    let (bed, above, desk) = bed().await;
    desk.look().await;
    bed.with_driver(async |running| {
        let first = running.authority.borrow().certificate().clone();
        bed.agents.lock().unwrap().push(commands::agent("n1", 1));
        add_root(&above);
        *above.0.signing.lock().unwrap() = 1;
        desk.look().await;
        let prepared = |view: &Arc<RotationView>| slot(&view.lifecycle, "issuer-2") == Some(Slot::Prepared);
        running.until(prepared).await;
        // What lies there is another one's by the time it shall sign.
        let place = bed.config.state_dir.join("authority/0002/ca-cert.pem");
        std::fs::copy(bed.config.state_dir.join("authority/0001/ca-cert.pem"), place).unwrap();
        acknowledge(&bed, running);
        let is_back = |view: &Arc<RotationView>| {
            let ended = view.rotation(AuthorityKind::Root).and_then(|standing| standing.outcome);
            ended == Some(Outcome::RolledBack)
        };
        let view = running
            .until(|view| {
                // Whatever the bundle is now, the agent has it.
                acknowledge(&bed, running);
                is_back(view)
            })
            .await;
        assert_eq!(slot(&view.lifecycle, "root-1"), Some(Slot::Active));
        assert_eq!(*running.authority.borrow().certificate(), first);
    })
    .await;
}
