//! Which version counts: by example, and against a model.

use proptest::prelude::*;

use super::*;
use crate::objects::{Action, MtlsMode, ReadOptions, Rule, Scope, Tokens, read};

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let kind = "AuthorizationPolicy";
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

const GOOD: &str = "{action: DENY, rules: [{}]}";
const BETTER: &str = "{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}";
const BAD: &str = "{action: ALLOW, rules: [{form: []}]}";

fn id(namespace: &str, name: &str) -> ObjectId {
    ObjectId { kind: Kind::AuthorizationPolicy, namespace: namespace.to_owned(), name: name.to_owned() }
}

fn reading(text: &str) -> Reading {
    read(text, &ReadOptions::default())
}

fn codes(diagnostics: &[Diagnostic]) -> Vec<Code> {
    diagnostics.iter().map(|one| one.code).collect()
}

fn basis(admission: &Admission, namespace: &str, name: &str) -> Option<Basis> {
    admission.get(&id(namespace, name)).map(|standing| standing.basis)
}

fn rules(admission: &Admission, namespace: &str, name: &str) -> (Action, usize) {
    let Some(Standing { object: Object::AuthorizationPolicy(policy), .. }) = admission.get(&id(namespace, name)) else {
        panic!("{namespace}/{name} does not count");
    };
    (policy.action.clone(), policy.rules.len())
}

#[test]
fn the_last_good_version_stays_until_there_is_a_better_one() {
    let mut admission = Admission::default();
    assert_eq!(codes(&admission.apply(reading(&policy("a", "x", GOOD)))), []);
    assert_eq!(codes(&admission.apply(reading(&policy("a", "x", BAD)))), [Code::UnknownField, Code::LastGoodStands]);
    assert_eq!((basis(&admission, "a", "x"), rules(&admission, "a", "x")), (Some(Basis::LastGood), (Action::Deny, 1)));
    admission.apply(reading(&policy("a", "x", BAD)));
    assert_eq!(basis(&admission, "a", "x"), Some(Basis::LastGood));
    assert_eq!(codes(&admission.apply(reading(&policy("a", "x", BETTER)))), [Code::HttpOnly; 0]);
    assert_eq!(basis(&admission, "a", "x"), Some(Basis::AsWritten));
}

#[test]
fn what_was_never_good_is_the_strictest_and_never_becomes_a_last_good_version() {
    let mut admission = Admission::default();
    for _ in 0..2 {
        assert_eq!(codes(&admission.replace(reading(&policy("a", "x", BAD)))), [Code::UnknownField, Code::StrictestStands]);
        assert_eq!((basis(&admission, "a", "x"), rules(&admission, "a", "x")), (Some(Basis::Strictest), (Action::Allow, 0)));
    }
    let deny = BAD.replace("ALLOW", "DENY");
    admission.apply(reading(&policy("a", "x", &deny)));
    assert_eq!((basis(&admission, "a", "x"), rules(&admission, "a", "x")), (Some(Basis::Strictest), (Action::Deny, 1)));
}

#[test]
fn an_object_that_is_gone_leaves_nothing_behind() {
    let mut admission = Admission::default();
    admission.apply(reading(&policy("a", "x", GOOD)));
    admission.replace(reading(""));
    assert_eq!(admission.objects().count(), 0);
    admission.apply(reading(&policy("a", "x", BAD)));
    assert_eq!(basis(&admission, "a", "x"), Some(Basis::Strictest));
}

#[test]
fn nothing_is_gone_while_a_document_cannot_be_told() {
    let mut admission = Admission::default();
    admission.apply(reading(&policy("a", "x", GOOD)));
    let broken = format!("{}---\nkind: [\n", policy("a", "z", GOOD));
    assert_eq!(codes(&admission.replace(reading(&broken))), [Code::Syntax, Code::KeptWhileUnread]);
    assert_eq!((basis(&admission, "a", "x"), basis(&admission, "a", "z")), (Some(Basis::LastGood), Some(Basis::AsWritten)));
    admission.replace(reading(&policy("a", "z", GOOD)));
    assert_eq!((basis(&admission, "a", "x"), basis(&admission, "a", "z")), (None, Some(Basis::AsWritten)));
}

#[test]
fn what_would_hold_for_the_mesh_is_refused_with_an_alarm_unless_asked_for() {
    let text = policy("istio-system", "x", BAD);
    let mut admission = Admission::default();
    assert_eq!(codes(&admission.replace(reading(&text))), [Code::UnknownField, Code::RootRefused]);
    assert_eq!((admission.objects().count(), admission.refused().collect::<Vec<_>>()), (0, vec![&id("istio-system", "x")]));
    admission.replace(reading(&policy("istio-system", "x", GOOD)));
    assert_eq!((basis(&admission, "istio-system", "x"), admission.refused().count()), (Some(Basis::AsWritten), 0));
    admission.replace(reading(&text));
    assert_eq!((basis(&admission, "istio-system", "x"), admission.refused().count()), (Some(Basis::LastGood), 0));
    admission.replace(reading(""));
    admission.replace(reading(&text));
    admission.replace(reading(""));
    assert_eq!(admission.refused().count(), 0);

    let mut strict = Admission::new(AdmissionOptions { strict_root: true, ..AdmissionOptions::default() });
    assert_eq!(codes(&strict.replace(reading(&text))), [Code::UnknownField, Code::StrictestStands]);
    assert_eq!(basis(&strict, "istio-system", "x"), Some(Basis::Strictest));
    let other = AdmissionOptions { root_namespace: "mesh".to_owned(), strict_root: false };
    assert_eq!(codes(&Admission::new(other).replace(reading(&text))), [Code::UnknownField, Code::StrictestStands]);
}

#[test]
fn one_object_in_two_documents_is_none() {
    let mut admission = Admission::default();
    let (one, other) = (policy("a", "x", GOOD), policy("a", "x", BETTER));
    assert_eq!(codes(&admission.replace(reading(&format!("{one}{one}")))), []);
    let text = format!("{one}{other}{other}");
    assert_eq!(codes(&admission.replace(reading(&text))), [Code::ObjectTwice, Code::LastGoodStands]);
    assert_eq!(basis(&admission, "a", "x"), Some(Basis::LastGood));
    let mut fresh = Admission::default();
    fresh.replace(reading(&text));
    assert_eq!((basis(&fresh, "a", "x"), rules(&fresh, "a", "x")), (Some(Basis::Strictest), (Action::Deny, 1)));
}

/// Objects of Istio 1.1 in the root namespace hold for that namespace alone, apart from those of which there is one for the mesh.
#[test]
fn only_what_reaches_beyond_its_namespace_is_refused_in_the_root() {
    for kind in Kind::ALL {
        let mut admission = Admission::default();
        let (group, version) = (kind.group(), kind.versions()[0]);
        let metadata = if kind.is_cluster_scoped() { "{name: x}" } else { "{name: x, namespace: istio-system}" };
        let text = format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {metadata}\nspec: {{nonsense: 1}}\n");
        let last = codes(&admission.replace(reading(&text))).pop();
        let own = matches!(kind, Kind::Policy | Kind::ServiceRole | Kind::ServiceRoleBinding);
        assert_eq!(last, Some(if own { Code::StrictestStands } else { Code::RootRefused }), "{kind}");
    }
}

/// Two files of a folder are one set: what stands in both stands twice, and what cannot be read in one keeps what the other lacks.
#[test]
fn texts_are_joined_into_one_set() {
    let join = |texts: [&str; 2]| {
        let mut whole = reading(texts[0]);
        whole.append(reading(texts[1]));
        whole
    };
    let mut admission = Admission::default();
    let (one, other) = (policy("a", "x", GOOD), policy("a", "x", BETTER));
    assert_eq!(codes(&admission.replace(join([&one, &other]))), [Code::ObjectTwice, Code::StrictestStands]);
    assert_eq!(codes(&admission.replace(join([&one, &policy("a", "z", GOOD)]))), []);
    assert_eq!(codes(&admission.replace(join([&one, "kind: ["]))), [Code::Syntax, Code::KeptWhileUnread]);
    assert_eq!(basis(&admission, "a", "z"), Some(Basis::LastGood));
}

/// What is left of each kind when it cannot be read.
#[test]
fn the_strictest_of_each_kind() {
    let strict = AdmissionOptions { strict_root: true, ..AdmissionOptions::default() };
    for kind in Kind::ALL {
        let mut admission = Admission::new(strict.clone());
        let (group, version) = (kind.group(), kind.versions()[0]);
        let selector = "selector: {matchLabels: {app: web}}, targets: [{name: web}], host: web";
        let text =
            format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{nonsense: 1, {selector}}}\n");
        admission.replace(reading(&text));
        let (_, standing) = admission.objects().next().unwrap();
        assert_eq!(standing.basis, Basis::Strictest, "{kind}");
        let labels = [("app".to_owned(), "web".to_owned())].into();
        let holds = match &standing.object {
            Object::AuthorizationPolicy(policy) => policy.rules == [Rule::default()] && policy.scope == Scope::Workloads(labels),
            Object::PeerAuthentication(peers) => peers.mode == MtlsMode::Strict && peers.selector == Some(labels),
            Object::RequestAuthentication(tokens) => {
                tokens.tokens == Tokens::AllInvalid && tokens.scope == Scope::Workloads(labels)
            }
            Object::Policy(policy) => policy.origins == Tokens::AllInvalid && policy.targets.len() == 1,
            Object::MeshPolicy(policy) => policy.origins == Tokens::AllInvalid && policy.targets.is_empty(),
            Object::ClusterRbacConfig(config) | Object::RbacConfig(config) => config.mode == crate::objects::RbacMode::On,
            Object::ServiceRole(role) => role.rules.is_empty(),
            Object::ServiceRoleBinding(binding) => binding.subjects.is_empty(),
            Object::DestinationRule(rule) => {
                let mode = rule.policy.tls.as_ref().map(|tls| tls.mode);
                mode == Some(crate::objects::ClientTlsMode::IstioMutual) && rule.host == "web"
            }
        };
        assert!(holds, "{:?}", standing.object);
    }
}

proptest! {
    /// The model: for each name, what was good last and whether it is there.
    #[test]
    fn any_history_ends_as_the_model_says(history in prop::collection::vec(prop::collection::vec(0_usize..4, 3), 1..8)) {
        const SPECS: [Option<&str>; 4] = [None, Some(GOOD), Some(BETTER), Some(BAD)];
        let mut admission = Admission::default();
        let mut model: [Option<(Basis, usize)>; 3] = [None; 3];
        for state in &history {
            let specs: Vec<_> = state.iter().map(|index| SPECS[*index]).collect();
            let texts = specs.iter().enumerate().filter_map(|(name, spec)| Some(policy("a", &format!("x{name}"), (*spec)?)));
            admission.replace(reading(&texts.collect::<String>()));
            for (stands, index) in model.iter_mut().zip(state) {
                *stands = match (*index, *stands) {
                    (0, _) => None,
                    (3, Some((Basis::AsWritten | Basis::LastGood, good))) => Some((Basis::LastGood, good)),
                    (3, _) => Some((Basis::Strictest, 3)),
                    (good, _) => Some((Basis::AsWritten, good)),
                };
            }
        }
        for (name, stands) in model.iter().enumerate() {
            let found = admission.get(&id("a", &format!("x{name}"))).map(|standing| {
                let Object::AuthorizationPolicy(policy) = &standing.object else { panic!("it is no policy") };
                let version = match &policy.rules[..] {
                    [] => 3,
                    [rule] if *rule == Rule::default() => 1,
                    _ => 2,
                };
                (standing.basis, version)
            });
            prop_assert_eq!(found, *stands);
        }
    }
}
