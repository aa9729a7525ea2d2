//! A proxy on its node, and everything about it changed once.

use kubernetes::pods::Phase;

use super::*;

fn domain() -> TrustDomain {
    TrustDomain::parse("cluster.local").unwrap()
}

fn account(namespace: &str, name: &str) -> AccountName {
    AccountName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn proxy() -> ReviewedAccount {
    let pod = BoundPod {
        name: "ztunnel-a".to_owned(),
        uid: "z1".to_owned(),
        node: Some("n1".to_owned()),
        node_uid: Some("nu".to_owned()),
    };
    ReviewedAccount {
        cluster: "Kubernetes".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "ztunnel".to_owned(),
        pod: Some(pod),
    }
}

fn by(account: ReviewedAccount) -> Authenticated {
    let id = account.id(&domain()).unwrap();
    Authenticated::Account { id, account }
}

fn pod(namespace: &str, name: &str, account: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: if name == "ztunnel-a" { "z1".to_owned() } else { format!("uid-{name}") },
        node: Some("n1".to_owned()),
        service_account: Some(account.to_owned()),
        phase: Phase::Running,
        is_terminating: false,
        version: "1".to_owned(),
    }
}

fn pods() -> Vec<Pod> {
    vec![pod("istio-system", "ztunnel-a", "ztunnel"), pod("shop", "web-1", "web.front")]
}

fn judge(wanted: &Impersonation, pods: &[Pod]) -> Result<PodOfNode, ImpersonationRefusal> {
    wanted.judge(&pods.iter().collect::<Vec<_>>())
}

fn asked(caller: Authenticated, asked: &str) -> Result<Impersonation, ImpersonationRefusal> {
    let trusted = [account("istio-system", "ztunnel"), account("other", "proxy")].into();
    Impersonation::of(caller, asked, &trusted, &domain())
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web.front";

#[test]
fn a_trusted_proxy_has_the_identity_of_a_live_pod_of_its_node() {
    let wanted = asked(by(proxy()), WEB).unwrap();
    assert_eq!(wanted.node(), "n1");
    let PodOfNode { id, by, pod } = judge(&wanted, &pods()).unwrap();
    assert_eq!((id.as_str(), by, pod.as_str()), (WEB, proxy(), "shop/web-1 uid-web-1"));
}

#[test]
fn nobody_else_may_ask_and_nobody_at_all_while_nobody_is_trusted() {
    let refused = |caller: Authenticated| asked(caller, WEB).unwrap_err();
    for (namespace, name) in [("istio-system", "web"), ("shop", "ztunnel"), ("istio-system", "proxy")] {
        let account = ReviewedAccount { namespace: namespace.to_owned(), name: name.to_owned(), ..proxy() };
        assert_eq!(refused(by(account)), ImpersonationRefusal::NotTrusted { account: format!("{namespace}/{name}") });
    }
    let nobody = Impersonation::of(by(proxy()), WEB, &BTreeSet::new(), &domain()).unwrap_err();
    assert!(matches!(nobody, ImpersonationRefusal::NotTrusted { .. }), "{nobody}");
    let unbound = ReviewedAccount { pod: None, ..proxy() };
    assert_eq!(refused(by(unbound)), ImpersonationRefusal::NotBound);
    let homeless = ReviewedAccount { pod: proxy().pod.map(|pod| BoundPod { node: None, ..pod }), ..proxy() };
    assert_eq!(refused(by(homeless)), ImpersonationRefusal::NotBound);
}

#[test]
fn only_an_account_of_this_trust_domain_can_be_asked_for() {
    for bad in [
        "spiffe://cluster.remote/ns/shop/sa/web.front",
        "spiffe://cluster.local",
        "spiffe://cluster.local/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/web/front",
        "spiffe://cluster.local/ns/shop/sa/web/sa/front",
        "spiffe://cluster.local/ns/sh.op/sa/web",
        "spiffe://cluster.local/ns/shop/sa/Web",
        "spiffe://cluster.local/x/ns/shop/sa/web",
        "spiffe://cluster.local/signet/agent/n1",
        "spiffe://cluster.local/ns/shop/sa/web.front/",
        "spiffe://cluster.local/ns//sa/web",
        "spiffe://cluster.local/ns/shop/sa/",
        "cluster.local/ns/shop/sa/web",
        " spiffe://cluster.local/ns/shop/sa/web",
        "web",
    ] {
        let refused = asked(by(proxy()), bad).map(drop);
        assert!(matches!(refused, Err(ImpersonationRefusal::NoPodIdentity { .. })), "{bad}: {refused:?}");
    }
    let long = asked(by(proxy()), &"x".repeat(5000)).unwrap_err().to_string();
    assert!(long.len() < 500, "{long}");
}

/// What is changed of a pod, and what is said then.
type Change = (fn(&mut Pod), NoLivePod);

#[test]
fn both_pods_must_be_there_alive_and_on_that_node() {
    let judged = |change: &dyn Fn(&mut Vec<Pod>)| {
        let mut pods = pods();
        change(&mut pods);
        judge(&asked(by(proxy()), WEB).unwrap(), &pods).map(drop)
    };
    assert_eq!(judged(&|_| ()), Ok(()));
    let of_caller = |why| Err(ImpersonationRefusal::Caller { pod: "ztunnel-a".to_owned(), node: "n1".to_owned(), why });
    let of_pod = |why| Err(ImpersonationRefusal::Pod { account: "shop/web.front".to_owned(), node: "n1".to_owned(), why });
    let changes: [Change; 4] = [
        (|pod| pod.is_terminating = true, NoLivePod::Terminating),
        (|pod| pod.phase = Phase::Failed, NoLivePod::Ended),
        (|pod| pod.phase = Phase::Succeeded, NoLivePod::Ended),
        (|pod| pod.node = Some("n2".to_owned()), NoLivePod::OtherNode),
    ];
    for (change, why) in changes {
        assert_eq!(judged(&|pods| change(&mut pods[0])), of_caller(why));
        assert_eq!(judged(&|pods| change(&mut pods[1])), of_pod(why));
    }
    assert_eq!(judged(&|pods| drop(pods.remove(0))), of_caller(NoLivePod::NotThere));
    assert_eq!(judged(&|pods| drop(pods.remove(1))), of_pod(NoLivePod::NotThere));
    assert_eq!(judged(&|pods| pods[0].uid = "z2".to_owned()), of_caller(NoLivePod::OtherUid));
    assert_eq!(judged(&|pods| pods[0].service_account = Some("web".to_owned())), of_caller(NoLivePod::OtherAccount));
    assert_eq!(judged(&|pods| pods[1].service_account = None), of_pod(NoLivePod::NotThere));
}
