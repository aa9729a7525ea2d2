//! Reviews as API servers answer them, and such as none should.

use super::*;

fn audiences() -> Vec<String> {
    vec!["istio-ca".to_owned(), "signet".to_owned()]
}

/// What an API server says of a token that is bound to a pod.
fn good() -> TokenReview {
    let extra = [(POD_NAME, "web-1"), (POD_UID, "0f1e-2d"), (NODE_NAME, "node-1.example"), (NODE_UID, "77")];
    TokenReview {
        authenticated: true,
        audiences: vec!["istio-ca".to_owned()],
        user: UserInfo {
            username: "system:serviceaccount:shop:web.front".to_owned(),
            uid: "1".to_owned(),
            groups: vec![GROUP.to_owned(), "system:serviceaccounts:shop".to_owned(), "system:authenticated".to_owned()],
            extra: extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).into(),
        },
        error: String::new(),
    }
}

fn judged(change: impl FnOnce(&mut TokenReview)) -> Result<ReviewedAccount, ReviewRefusal> {
    let mut review = good();
    change(&mut review);
    ReviewedAccount::of(review, "Kubernetes", &audiences())
}

#[test]
fn a_review_names_the_account_its_pod_and_its_node() {
    let account = judged(|_| ()).unwrap();
    let domain = TrustDomain::parse("example.org").unwrap();
    assert_eq!(account.id(&domain).unwrap().as_str(), "spiffe://example.org/ns/shop/sa/web.front");
    assert_eq!(account.to_string(), "Kubernetes shop/web.front pod web-1 0f1e-2d node node-1.example 77");
    let unbound = judged(|review| review.user.extra.clear()).unwrap();
    assert_eq!((unbound.pod.clone(), unbound.to_string().as_str()), (None, "Kubernetes shop/web.front"));
    // The node object may not have been there when the token was made.
    let homeless = judged(|review| drop(review.user.extra.remove(NODE_UID))).unwrap();
    assert_eq!(homeless.pod.unwrap().node_uid, None);
}

#[test]
fn who_is_not_authenticated_for_us_is_refused_whatever_else_is_said() {
    let refused = judged(|review| {
        review.authenticated = false;
        review.error = "token has\nexpired".to_owned();
    });
    assert_eq!(refused, Err(ReviewRefusal::NotAuthenticated { why: Message::of("token has expired") }));
    for audiences in [&[][..], &["https://kubernetes.default.svc"], &["istio-ca2", ""]] {
        let refused = judged(|review| review.audiences = audiences.iter().map(ToString::to_string).collect());
        assert!(matches!(refused, Err(ReviewRefusal::Audience { .. })), "{audiences:?}");
    }
    assert!(judged(|review| review.audiences = vec!["other".to_owned(), "signet".to_owned()]).is_ok(), "one of ours is enough");
}

#[test]
fn only_a_name_of_four_parts_in_the_group_of_accounts_is_one() {
    for user in [
        "",
        "web",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::web",
        "system:serviceaccount:shop:web:more",
        "system:node:shop:web",
        "System:serviceaccount:shop:web",
        " system:serviceaccount:shop:web",
        "system:serviceaccount:shop:we/b",
        "system:serviceaccount:shop:..",
        "system:serviceaccount:shop:.web",
        "system:serviceaccount:shop:Web",
        "system:serviceaccount:shop:web-",
        "system:serviceaccount:sh.op:web",
        "system:serviceaccount:sh%2fop:web",
        "system:serviceaccount:shop:web\n",
    ] {
        let refused = judged(|review| review.user.username = user.to_owned());
        assert!(matches!(refused, Err(ReviewRefusal::NotAnAccount { .. })), "{user:?}");
    }
    for (namespace, name, good) in [(63, 253, true), (64, 1, false), (1, 254, false)] {
        let user = format!("system:serviceaccount:{}:{}", "n".repeat(namespace), "a".repeat(name));
        assert_eq!(judged(|review| review.user.username = user).is_ok(), good, "{namespace} {name}");
    }
    for groups in [&[][..], &["system:serviceaccounts:shop", "system:authenticated"], &["system:serviceaccounts "]] {
        let refused = judged(|review| review.user.groups = groups.iter().map(ToString::to_string).collect());
        assert!(matches!(refused, Err(ReviewRefusal::NotAnAccount { .. })), "{groups:?}");
    }
}

#[test]
fn what_a_token_is_bound_to_is_told_whole_or_not_at_all() {
    for (key, values) in [
        (POD_NAME, &[][..]),
        (POD_NAME, &["web-1", "web-2"]),
        (POD_NAME, &["../web"]),
        (POD_UID, &["a b"]),
        (POD_UID, &[""]),
        (NODE_NAME, &["node-1", "node-2"]),
        (NODE_NAME, &["Node"]),
        (NODE_UID, &["7\n7"]),
    ] {
        let values = values.iter().map(ToString::to_string).collect();
        let refused = judged(|review| drop(review.user.extra.insert(key.to_owned(), values)));
        assert_eq!(refused, Err(ReviewRefusal::Bound { key }));
    }
    for (absent, key) in [(POD_NAME, POD_NAME), (POD_UID, POD_UID)] {
        let refused = judged(|review| drop(review.user.extra.remove(absent)));
        assert_eq!(refused, Err(ReviewRefusal::Bound { key }), "half a pod");
    }
}

#[test]
fn what_cannot_be_a_token_is_not_asked_about() {
    let long = |bytes: usize| format!("a.{}.c", "b".repeat(bytes - 4));
    for good in ["a.b.c", "eyJ-_9.x.y", &long(pki::MAX_TOKEN_BYTES)] {
        assert_eq!(ReviewedAccount::may_be_token(good), Ok(()));
    }
    for bad in
        ["", "a", "a.b", "a.b.c.d", "a..c", ".b.c", "a.b.", "a.b=.c", "a.b c.d", "a.b.\u{e9}", &long(pki::MAX_TOKEN_BYTES + 1)]
    {
        assert!(matches!(ReviewedAccount::may_be_token(bad), Err(ReviewRefusal::Malformed { .. })), "{bad}");
    }
}
