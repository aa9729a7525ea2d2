//! Every combination of what an account and its Secret can be.

use pki::Timestamp;

use super::*;
use crate::cluster_objects::secrets::content::tests::{Issuer, encoded};

fn account(uid: &str, is_terminating: bool) -> Account {
    Account { uid: uid.to_owned(), is_terminating }
}

pub(in super::super) fn kept() -> Kept {
    Kept {
        uid: "s".to_owned(),
        version: "1".to_owned(),
        is_ours: true,
        is_annotated: true,
        owner: Some("a".to_owned()),
        is_immutable: false,
        is_terminating: false,
        content: Err(IssueReason::Unreadable),
    }
}

fn good() -> Verdict {
    Verdict::Good { due: Timestamp::from_unix_seconds(0) }
}

fn old() -> Verdict {
    Verdict::OldRoots { due: Timestamp::from_unix_seconds(0) }
}

const BAD: Verdict = Verdict::Bad(IssueReason::Tainted);

#[test]
fn each_case_has_its_action() {
    let live = account("a", false);
    let going = account("a", true);
    let again = account("b", false);
    let web = |account: Option<&Account>, secret: Option<(&Kept, Verdict)>| plan(true, "web", account, secret);
    let nothing = Action::Nothing;

    assert_eq!(web(None, None), nothing(Idle::Nobody));
    assert_eq!(web(Some(&live), None), Action::Issue(IssueReason::Missing));
    assert_eq!(web(Some(&going), None), nothing(Idle::Going));
    let with = |account: Option<&Account>, verdict: Verdict| web(account, Some((&kept(), verdict)));
    assert_eq!(with(Some(&live), good()), nothing(Idle::Good));
    assert_eq!(with(Some(&live), old()), Action::Rewrite(RewriteReason::Roots));
    assert_eq!(with(Some(&live), BAD), Action::Issue(IssueReason::Tainted));
    for verdict in [good(), old(), BAD] {
        assert_eq!(with(None, verdict), Action::Delete(DeleteReason::AccountGone), "{verdict:?}");
        assert_eq!(with(Some(&again), verdict), Action::Delete(DeleteReason::FormerAccount), "{verdict:?}");
        assert_eq!(with(Some(&going), verdict), nothing(Idle::Going), "{verdict:?}");
    }
    let unsigned = Kept { is_annotated: false, ..kept() };
    assert_eq!(web(Some(&live), Some((&unsigned, good()))), Action::Rewrite(RewriteReason::Annotation));
    let nobodys = Kept { owner: None, ..kept() };
    assert_eq!(web(Some(&live), Some((&nobodys, good()))), Action::Issue(IssueReason::NoOwner));
    assert_eq!(web(Some(&live), Some((&nobodys, BAD))), Action::Issue(IssueReason::Tainted));
    let fixed = Kept { is_immutable: true, ..kept() };
    assert_eq!(web(Some(&live), Some((&fixed, good()))), nothing(Idle::Good));
    assert_eq!(web(Some(&live), Some((&fixed, old()))), Action::Delete(DeleteReason::Immutable));
    assert_eq!(web(Some(&live), Some((&fixed, BAD))), Action::Delete(DeleteReason::Immutable));
}

/// What is not ours is never written and never deleted, and nothing is done in a namespace that is not managed.
#[test]
fn what_is_not_ours_is_left_alone_whatever_else_is_so() {
    let accounts = [None, Some(account("a", false)), Some(account("b", false)), Some(account("a", true))];
    for bits in 0..16_u8 {
        let is = |bit: u8| bits & (1 << bit) != 0;
        let alien = Kept {
            is_ours: false,
            is_annotated: is(0),
            owner: is(1).then(|| "a".to_owned()),
            is_immutable: is(2),
            is_terminating: is(3),
            ..kept()
        };
        for account in &accounts {
            for verdict in [good(), old(), BAD] {
                let action = plan(true, "web", account.as_ref(), Some((&alien, verdict)));
                let expected = if account.is_some() { Action::LeaveAlien } else { Action::Nothing(Idle::Nobody) };
                assert_eq!(action, expected, "{alien:?}");
                for secret in [&alien, &Kept { is_ours: true, ..alien.clone() }] {
                    let action = plan(false, "web", account.as_ref(), Some((secret, verdict)));
                    assert_eq!(action, Action::Nothing(Idle::Unmanaged));
                }
            }
        }
    }
    assert_eq!(plan(false, "web", Some(&account("a", false)), None), Action::Nothing(Idle::Unmanaged));
}

#[test]
fn a_secret_that_goes_is_waited_for_and_a_name_that_is_too_long_has_none() {
    let live = account("a", false);
    let going = Kept { is_terminating: true, ..kept() };
    for account in [None, Some(&live)] {
        assert_eq!(plan(true, "web", account, Some((&going, BAD))), Action::Nothing(Idle::Going));
    }
    let name = "a".repeat(MAX_ACCOUNT_BYTES + 1);
    assert_eq!(plan(true, &name, Some(&live), None), Action::TooLong);
    assert_eq!(plan(true, &name, None, None), Action::Nothing(Idle::Nobody));
    assert_eq!(plan(true, &name[1..], Some(&live), None), Action::Issue(IssueReason::Missing));
}

#[test]
fn a_secret_is_ours_by_its_type_and_who_wrote_it_and_its_account_is_that_of_its_name() {
    let secret = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::json!({
            "type": SECRET_TYPE,
            "metadata": {
                "namespace": "shop", "name": "istio.web", "uid": "s", "resourceVersion": "1",
                "annotations": { ACCOUNT_ANNOTATION: "web" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ServiceAccount", "name": "web", "uid": "a" }],
                "managedFields": [{ "manager": FIELD_MANAGER }],
            },
        });
        change(&mut value);
        let secret: Secret = serde_json::from_value(value).unwrap();
        Kept::of(&secret, "web", |certificate| certificate)
    };
    // What is not ours is not looked into, not even for what is wrong with it.
    let looked_into = |value: &mut serde_json::Value| {
        let (issuer, at) = (Issuer::root(), value.as_object_mut().unwrap());
        at.insert("data".to_owned(), encoded(&issuer));
    };
    assert!(secret(&looked_into).content.is_ok());
    let theirs = secret(&|value| {
        looked_into(value);
        value["type"] = "Opaque".into();
    });
    assert!(theirs.content.is_err());
    let kept = secret(&|_| {});
    assert!(kept.is_ours && kept.is_annotated && kept.owner.as_deref() == Some("a"));
    assert!(!secret(&|value| value["type"] = "Opaque".into()).is_ours);
    assert!(!secret(&|value| value["metadata"]["managedFields"][0]["manager"] = "kubectl".into()).is_ours);
    assert!(!secret(&|value| value["metadata"]["annotations"][ACCOUNT_ANNOTATION] = "api".into()).is_annotated);
    for (key, other) in [("name", "api"), ("kind", "Pod")] {
        let kept = secret(&|value| value["metadata"]["ownerReferences"][0][key] = other.into());
        assert_eq!(kept.owner, None, "{key}");
    }
}
