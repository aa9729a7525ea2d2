//! What is compiled decides as the objects do when they are read as they are.

#![allow(clippy::unwrap_used, reason = "what cannot be generated fails the test")]

mod generate;

use generate::{Question, Workload};
use policy::compile::{Scratch, View, compile};
use policy::decision::Decision;
use policy::evaluation::{Policies, decide};
use policy::mesh::Mesh;
use policy::objects::{AuthorizationPolicy, PeerAuthentication};
use policy::request::Target;
use proptest::collection::vec;
use proptest::prelude::*;

/// Asks both, and the compiled one in both of its ways, with a scratch that other questions were decided with.
fn ask<'a>(
    (policies, mesh, target): (Policies<'a>, &Mesh, &Target<'_>),
    view: &View,
    question: &Question,
    scratch: &mut Scratch,
) -> Result<Decision<'a>, TestCaseError> {
    question.with(|connection, request| {
        let expected = decide(policies, mesh, target, connection, request);
        let found = policy::compile::evaluate(view, connection, request, scratch);
        prop_assert_eq!(&found, &expected);
        let accepted = view.accept(connection);
        for _ in 0..2 {
            prop_assert_eq!(&accepted.decide(request, scratch), &expected);
        }
        Ok(expected)
    })
}

fn agree(
    mesh: &Mesh,
    workload: &Workload,
    (peer, authorization): (&[PeerAuthentication], &[AuthorizationPolicy]),
    questions: &[Question],
) -> Result<(), TestCaseError> {
    let policies = Policies { peer, authorization, ..Policies::default() };
    workload.with(|target| {
        let view = compile(policies, mesh).view(target);
        let mut scratch = Scratch::default();
        for question in questions {
            ask((policies, mesh, target), &view, question, &mut scratch)?;
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    #[test]
    fn it_decides_as_the_objects_do(
        mesh in generate::mesh(),
        workload in generate::workload(),
        peer in vec(generate::peer_authentication(), 0..3),
        authorization in vec(generate::policy(3), 0..8),
        questions in vec(generate::question(), 1..12),
    ) {
        agree(&mesh, &workload, (&peer, &authorization), &questions)?;
    }

    /// Rules with one field each, of which many share a stage: here every kind of value leads somewhere.
    #[test]
    fn each_kind_of_value_leads_to_its_rules(
        mesh in generate::mesh(),
        workload in generate::workload(),
        authorization in vec(generate::narrow_policy(), 1..24),
        questions in vec(generate::question(), 1..12),
    ) {
        agree(&mesh, &workload, (&[], &authorization), &questions)?;
    }

    /// What came about by changes is what is compiled at once.
    #[test]
    fn changes_lead_to_what_is_compiled_at_once(
        mesh in generate::mesh(),
        workload in generate::workload(),
        before in vec(generate::policy(1), 0..6),
        after in vec(generate::policy(1), 0..6),
        questions in vec(generate::question(), 1..6),
    ) {
        let (before, after) = (generate::distinct(before), generate::distinct(after));
        let set = compile(Policies { authorization: &before, ..Policies::default() }, &mesh);
        let mut one_by_one = set.clone();
        for policy in before.iter().filter(|old| !after.iter().any(|new| new.metadata == old.metadata)) {
            one_by_one = one_by_one.without_policy(&policy.metadata.namespace, &policy.metadata.name);
        }
        for policy in &after {
            one_by_one = one_by_one.with_policy(policy);
        }
        let policies = Policies { authorization: &after, ..Policies::default() };
        let mut by_namespace = set.clone();
        for namespace in generate::NAMESPACES {
            by_namespace = by_namespace.with_namespace(namespace, policies);
        }
        prop_assert_eq!(by_namespace.generation(), set.generation() + 3);
        workload.with(|target| {
            let mut scratch = Scratch::default();
            for set in [&one_by_one, &by_namespace] {
                let view = set.view(target);
                prop_assert_eq!(view.generation(), set.generation());
                for question in &questions {
                    ask((policies, &mesh, target), &view, question, &mut scratch)?;
                }
            }
            Ok(())
        })?;
    }
}
