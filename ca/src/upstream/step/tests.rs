use std::time::Duration;

use identity::{NodeName, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, prepare_authority,
};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

struct Pair(Certificate, PrivateKey);

fn make(issuer: Option<&Pair>, number: u8, life: Duration) -> Pair {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let spec = AuthoritySpec {
        role: if issuer.is_some() { AuthorityRole::Issuer } else { AuthorityRole::Root },
        trust_domain: &TrustDomain::parse("example.org").unwrap(),
        public_key: key.public_key(),
        lifetime: life,
        serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; SERIAL_RANDOM_BYTES]),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, issuer.map(|issuer| &issuer.0)).unwrap();
    let certificate = unsigned.sign(issuer.map_or(&key, |issuer| &issuer.1)).unwrap();
    Pair(certificate, key)
}

/// Two roots with an issuing CA each; A is in use.
struct Case {
    a: Certificate,
    b: Certificate,
    under_a: Certificate,
    under_b: Certificate,
    signers: Vec<(Sha256Digest, Timestamp)>,
    roots_of: BTreeMap<Sha256Digest, Sha256Digest>,
    gate: Gate,
    is_urgent: bool,
    now: Timestamp,
}

impl Case {
    fn new() -> Self {
        let (a, b) = (make(None, 1, DAY * 10), make(None, 2, DAY * 30));
        let (under_a, under_b) = (make(Some(&a), 3, DAY * 5).0, make(Some(&b), 4, DAY * 20).0);
        let (a, b) = (a.0, b.0);
        let of = |issuer: &Certificate, root: &Certificate| (issuer.public_key().fingerprint(), root.fingerprint());
        let roots_of = BTreeMap::from([of(&under_a, &a), of(&under_b, &b)]);
        Self { a, b, under_a, under_b, signers: Vec::new(), roots_of, gate: Gate::Open, is_urgent: false, now: now() }
    }

    fn signed(&mut self, issuer: &Certificate, until: Timestamp) {
        self.signers.push((issuer.public_key().fingerprint(), until));
    }

    fn waiting(&mut self) {
        let behind = [NodeName::parse("n1").unwrap()].into();
        self.gate = Gate::Waits(vec![Waiting::Agents { sequence: 7, behind, absent: [].into(), of: 2 }]);
    }

    /// From these roots and an issuing CA under this one of them, to others.
    fn decide(&self, trusted: &[&Certificate], root: &Certificate, roots: &[&Certificate], to: &Certificate) -> Decision {
        let trusted: Vec<_> = trusted.iter().map(|root| (*root).clone()).collect();
        let roots: Vec<_> = roots.iter().map(|root| (*root).clone()).collect();
        let issuer = if *to == self.a { &self.under_a } else { &self.under_b };
        let in_use = InUse { trusted: &trusted, root, is_urgent: self.is_urgent };
        let known = Known { signers: &self.signers, roots_of: &self.roots_of, distributed: &self.gate };
        decide(in_use, Offered { roots: &roots, root: to, issuer }, known, self.now)
    }
}

#[test]
fn a_new_issuing_ca_under_the_same_roots_is_taken_whoever_has_which_bundle() {
    let mut case = Case::new();
    case.waiting();
    assert_eq!(case.decide(&[&case.a], &case.a, &[&case.a], &case.a), Decision::Take);
}

#[test]
fn roots_go_from_a_to_both_to_b_and_each_step_waits_for_what_it_needs() {
    let mut case = Case::new();
    let (a, b) = (case.a.clone(), case.b.clone());
    // A to A+B, still under A, or under B at once: the bundle first either way.
    assert_eq!(case.decide(&[&a], &a, &[&a, &b], &a), Decision::Publish);
    assert_eq!(case.decide(&[&a], &a, &[&a, &b], &b), Decision::Publish);
    assert_eq!(case.decide(&[&a, &b], &a, &[&a, &b], &a), Decision::Take);
    // The change of the issuing CA waits until everybody has it, but not beyond the end of the old one.
    case.waiting();
    assert!(matches!(case.decide(&[&a, &b], &a, &[&a, &b], &b), Decision::Wait(waits) if waits.len() == 1));
    case.is_urgent = true;
    assert_eq!(case.decide(&[&a, &b], &a, &[&a, &b], &b), Decision::Take);
    (case.is_urgent, case.now) = (false, a.not_after().plus(Duration::from_secs(1)));
    assert_eq!(case.decide(&[&a, &b], &a, &[&a, &b], &b), Decision::Take, "what has ended is waited for by nobody");
    (case.now, case.gate) = (now(), Gate::Open);
    assert_eq!(case.decide(&[&a, &b], &a, &[&a, &b], &b), Decision::Take);
    // A goes when nothing rests on it.
    let (under_a, under_b) = (case.under_a.clone(), case.under_b.clone());
    case.signed(&under_b, now().plus(DAY));
    assert_eq!(case.decide(&[&a, &b], &b, &[&b], &b), Decision::Publish);
    let until = now().plus(DAY / 2);
    case.signed(&under_a, until);
    let Decision::Refuse(refusal) = case.decide(&[&a, &b], &b, &[&b], &b) else { panic!("certificates rest on A") };
    assert_eq!(refusal, StepRefusal::RestsUpon { root: named(&a), until });
    assert!(refusal.to_string().contains(&until.to_string()), "{refusal}");
    // The way back is always open: nothing is withdrawn.
    assert_eq!(case.decide(&[&a, &b], &b, &[&a, &b], &a), Decision::Take);
}

#[test]
fn who_signed_and_is_not_known_may_rest_on_any_root() {
    let mut case = Case::new();
    let (a, b) = (case.a.clone(), case.b.clone());
    case.signers.push(([7; 32], now().plus(DAY)));
    assert!(matches!(case.decide(&[&a, &b], &b, &[&b], &b), Decision::Refuse(StepRefusal::RestsUpon { .. })));
    // Adding roots takes nothing from anybody.
    assert_eq!(case.decide(&[&b], &b, &[&b, &a], &b), Decision::Publish);
}

#[test]
fn one_root_for_another_in_one_step_is_refused_with_the_way_out() {
    let mut case = Case::new();
    let (a, b) = (case.a.clone(), case.b.clone());
    let Decision::Refuse(refusal) = case.decide(&[&a], &a, &[&b], &b) else { panic!("one step") };
    assert_eq!(refusal, StepRefusal::OneStep { old: named(&a), new: named(&b) });
    assert!(refusal.to_string().contains("Put both into the file of roots"), "{refusal}");
    // Everybody has B, but what signs is under A.
    let refused = case.decide(&[&a, &b], &a, &[&b], &b);
    assert_eq!(refused, Decision::Refuse(StepRefusal::SignsUnder { root: named(&a) }));
    // Once A has ended there is nothing to protect.
    case.now = a.not_after().plus(Duration::from_secs(1));
    assert_eq!(case.decide(&[&a], &a, &[&b], &b), Decision::Publish);
    assert_eq!(case.decide(&[&b], &a, &[&b], &b), Decision::Take);
}

#[test]
fn what_has_ended_while_it_waited_is_not_taken() {
    let mut case = Case::new();
    let (a, b) = (case.a.clone(), case.b.clone());
    case.now = case.under_b.not_after();
    assert_eq!(case.decide(&[&a, &b], &a, &[&a, &b], &b), Decision::Take);
    case.now = case.now.plus(Duration::from_secs(1));
    let refused = case.decide(&[&a, &b], &a, &[&a, &b], &b);
    assert_eq!(refused, Decision::Refuse(StepRefusal::Ended { not_after: case.under_b.not_after() }));
}
