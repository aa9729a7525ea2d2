//! What a tenant gets of a namespace, and what not.

use kubernetes::identity_entries::EntryStatus;
use proptest::prelude::*;

use super::*;

/// An object that asks for what it may have.
pub(in crate::cluster_objects::entries) fn object(namespace: &str, name: &str) -> IdentityEntry {
    IdentityEntry {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{namespace}-{name}"),
        version: "1".to_owned(),
        generation: 1,
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        is_terminating: false,
        spec: Ok(EntrySpec { path: name.to_owned(), selectors: vec!["k8s:sa:web".to_owned()], ..EntrySpec::default() }),
        status: EntryStatus::default(),
    }
}

fn ours() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn judged(change: impl FnOnce(&mut EntrySpec)) -> Result<NewEntry, Refusal> {
    let mut object = object("shop", "web");
    change(object.spec.as_mut().unwrap());
    let federations = [TrustDomain::parse("partner.example").unwrap()].into();
    let rules = Rules { cluster: "east", trust_domain: &ours(), max_ttl: Duration::from_secs(3600), federations: &federations };
    judge(&object, &rules)
}

fn refused(change: impl FnOnce(&mut EntrySpec)) -> (&'static str, String) {
    let Refusal { reason, message } = judged(change).expect_err("it is refused");
    (reason, message)
}

#[test]
fn an_object_has_a_name_below_its_namespace_for_pods_of_it() {
    let entry = judged(|spec| {
        spec.path = "team/api".to_owned();
        spec.selectors =
            ["k8s:sa:web", "k8s:pod-label:tier:front", "k8s:container-name:app", "k8s:sa:web"].map(str::to_owned).into();
        spec.ttl_seconds = Some(600);
        spec.hint = Some("internal".to_owned());
        spec.federates_with = Some(vec!["partner.example".to_owned()]);
    })
    .unwrap();
    assert_eq!(entry.spiffe_id.as_str(), "spiffe://example.org/ns/shop/team/api");
    let selectors: Vec<_> = entry.selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["k8s:container-name:app", "k8s:ns:shop", "k8s:pod-label:tier:front", "k8s:sa:web"]);
    assert_eq!((entry.ttl, entry.hint.as_str(), entry.federates_with.len()), (Some(Duration::from_secs(600)), "internal", 1));
    assert!(entry.dns_names.is_empty() && entry.expires_at.is_none());
    assert_eq!(entry.parent.to_string(), "IdentityEntry shop/web uid-of-shop-web of east");
}

#[test]
fn what_belongs_to_service_accounts_or_lies_elsewhere_is_nobodys() {
    for path in ["sa", "sa/web", "sa/", "sa//web"] {
        let (reason, message) = refused(|spec| spec.path = path.to_owned());
        assert!(reason == "InvalidPath" && message.contains("service accounts"), "{path}: {message}");
    }
    // What only begins like it is another name.
    for path in ["sales", "s/sa", "SA/web", "sa-1"] {
        assert!(judged(|spec| spec.path = path.to_owned()).is_ok(), "{path}");
    }
    let long = "a".repeat(4096);
    let odd = [
        "",
        "/",
        "/web",
        "web/",
        "a//b",
        "..",
        "../sa/web",
        "a/../../other/web",
        ".",
        "a/./b",
        "a b",
        "a%2fb",
        "a?b",
        "a#b",
        "\u{e9}",
        "a\n",
    ];
    for path in odd.into_iter().chain([long.as_str()]) {
        assert_eq!(refused(|spec| spec.path = path.to_owned()).0, "InvalidPath", "{path:?}");
    }
}

#[test]
fn pods_of_other_namespaces_and_what_is_no_pod_are_not_spoken_of() {
    for (selectors, told) in [
        (vec![], "no selector"),
        (vec!["k8s:ns:shop"], "added by the CA"),
        (vec!["k8s:sa:web", "k8s:ns:other"], "added by the CA"),
        (vec!["unix:uid:0"], "k8s: selectors alone"),
        (vec!["k8s:sa:web", "unix:path:/bin/sh"], "k8s: selectors alone"),
        (vec!["systemd:unit:a.service"], "k8s: selectors alone"),
        (vec!["signet:file:web"], "k8s: selectors alone"),
        (vec!["k8s:other:a"], ""),
        (vec!["k8s:sa:"], ""),
        (vec!["web"], ""),
        (vec!["k8s:sa:web"; MAX_SELECTORS + 1], "at most 16"),
    ] {
        let (reason, message) = refused(|spec| spec.selectors = selectors.iter().map(|text| (*text).to_owned()).collect());
        assert!(reason == "InvalidSelector" && message.contains(told), "{selectors:?}: {message}");
    }
}

#[test]
fn life_hint_and_trust_domains_are_those_of_the_ca() {
    for seconds in [0, 1, 3601, u64::MAX] {
        assert_eq!(refused(|spec| spec.ttl_seconds = Some(seconds)).0, "InvalidTTL", "{seconds}");
    }
    assert_eq!(refused(|spec| spec.hint = Some("\u{1b}".to_owned())).0, "InvalidHint");
    for (domain, reason) in
        [("other.example", "UnknownTrustDomain"), ("example.org", "InvalidFederation"), ("NOT A DOMAIN", "InvalidFederation")]
    {
        let found = refused(|spec| spec.federates_with = Some(vec!["partner.example".to_owned(), domain.to_owned()]));
        assert_eq!(found.0, reason, "{domain}");
    }
    let mut unread = object("shop", "web");
    unread.spec = Err("unknown field `dnsNames`".to_owned());
    let rules = Rules { cluster: "east", trust_domain: &ours(), max_ttl: Duration::from_secs(60), federations: &BTreeSet::new() };
    assert_eq!(judge(&unread, &rules).unwrap_err().reason, "InvalidSpec");
}

#[test]
fn of_too_many_those_that_were_made_first_have_theirs_and_what_is_refused_takes_no_room() {
    let made = |namespace: &str, name: &str, at: u32| {
        let created_at = format!("2026-01-01T00:00:{at:02}Z");
        Arc::new(IdentityEntry { created_at, ..object(namespace, name) })
    };
    let mut bad = object("shop", "bad");
    bad.spec.as_mut().unwrap().path = "sa/web".to_owned();
    let objects = vec![
        made("shop", "c", 3),
        made("shop", "a", 9),
        Arc::new(bad),
        made("shop", "b", 1),
        made("team", "a", 4),
        made("team", "b", 5),
        made("void", "a", 6),
    ];
    let federations = BTreeSet::new();
    let rules = Rules { cluster: "east", trust_domain: &ours(), max_ttl: Duration::from_secs(60), federations: &federations };
    let bounds = ObjectEntriesConfig { max_per_namespace: 2, max: 4 };
    let refused = |objects: &[Arc<IdentityEntry>]| {
        let judged = judge_all(objects.to_vec(), &rules, &bounds);
        assert_eq!(judged.len(), objects.len());
        let told =
            judged.into_iter().filter_map(|((namespace, name), (_, judged))| Some((namespace, name, judged.err()?.reason)));
        told.map(|(namespace, name, reason)| format!("{namespace}/{name} {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(refused(&objects), ["shop/a TooMany", "shop/bad InvalidPath", "void/a TooMany"]);
    // Of a second, the names decide: the same each time.
    let of_one = ["c", "a", "b"].map(|name| made("shop", name, 1));
    assert_eq!(refused(&of_one), ["shop/c TooMany"]);
}

proptest! {
    /// Whatever a tenant writes, what comes of it is a name of the namespace, outside of service accounts, for its pods.
    #[test]
    fn no_object_leads_out_of_its_namespace(
        path in prop_oneof![".{0,24}", "[a-zA-Z0-9./_%-]{0,24}", "(\\.\\./){1,3}ns/[a-z]{1,4}/[a-z]{1,4}", "(sa|\\.|ns)/[a-z/]{0,8}"],
        selectors in prop::collection::vec(prop_oneof!["k8s:[a-z-]{1,14}:[a-z:/]{1,10}", "k8s:ns:[a-z]{1,8}", ".{0,16}"], 0..4),
    ) {
        let judged = judged(|spec| (spec.path, spec.selectors) = (path.clone(), selectors));
        if let Ok(entry) = judged {
            let below = entry.spiffe_id.path().strip_prefix("/ns/shop/");
            prop_assert_eq!(entry.spiffe_id.trust_domain(), &ours());
            prop_assert_eq!(below, Some(path.as_str()));
            prop_assert!(below.is_some_and(|below| below != "sa" && !below.starts_with("sa/")));
            let namespaces: Vec<_> = entry.selectors.iter().filter(|one| one.is(SelectorKind::PodNamespace)).collect();
            prop_assert_eq!(namespaces, [&"k8s:ns:shop".parse::<Selector>().unwrap()]);
            prop_assert!(entry.selectors.len() > 1);
        }
    }
}
