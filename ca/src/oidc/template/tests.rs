use proptest::prelude::*;

use super::*;

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn claims(pairs: &[(&str, &str)]) -> UsedClaims {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn account(subject: &str) -> Result<SpiffeId, MappingError> {
    IdentityTemplate::service_account().id(&domain(), &claims(&[("sub", subject)]))
}

#[test]
fn a_service_account_is_exactly_four_parts_with_two_labels() {
    assert_eq!(account("system:serviceaccount:shop:web").unwrap().as_str(), "spiffe://example.org/ns/shop/sa/web");
    assert_eq!(account("system:serviceaccount:1:2-b").unwrap().as_str(), "spiffe://example.org/ns/1/sa/2-b");
    let longest = "a".repeat(63);
    assert!(account(&format!("system:serviceaccount:{longest}:{longest}")).is_ok());
    for subject in [
        "",
        "system:serviceaccount",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::web",
        "system:serviceaccount:shop:web:x",
        "system:serviceaccount:shop:web/x",
        "system:serviceaccount:shop/x:web",
        "system:serviceaccount:..:web",
        "system:serviceaccount:shop:..",
        "system:serviceaccount:shop:a.b",
        "system:serviceaccount:Shop:web",
        "system:serviceaccount:shop:-web",
        "system:serviceaccount:shop:w%65b",
        "system:serviceaccount:shop:web ",
        " system:serviceaccount:shop:web",
        "System:serviceaccount:shop:web",
        "system:serviceaccounts:shop:web",
        "system:node:shop:web",
        &format!("system:serviceaccount:{}:web", "a".repeat(64)),
    ] {
        assert!(matches!(account(subject), Err(MappingError::NotServiceAccount { .. })), "{subject}");
    }
}

#[test]
fn claims_fill_whole_segments_and_whole_labels() {
    let template = IdentityTemplate::parse("/team/{claim:https://x.example/team}/job/{claim:job_id}").unwrap();
    assert_eq!(template.claims().collect::<Vec<_>>(), ["https://x.example/team", "job_id"]);
    let mut given = claims(&[("https://x.example/team", "Payments_1"), ("job_id", "4.2")]);
    assert_eq!(template.id(&domain(), &given).unwrap().as_str(), "spiffe://example.org/team/Payments_1/job/4.2");
    for value in ["", ".", "..", "a/b", "a%2fb", "%2e%2e", "a b", "a\0", "\u{e4}", "{claim:x}", "a?b", "a#b", "a:b"] {
        given.insert("job_id".to_owned(), value.to_owned());
        assert!(matches!(template.id(&domain(), &given), Err(MappingError::ClaimValue { .. })), "{value}");
    }
    given.insert("job_id".to_owned(), "a".repeat(2048));
    assert!(matches!(template.id(&domain(), &given), Err(MappingError::Identity(SpiffeIdError::TooLong { .. }))));
    given.remove("job_id");
    assert_eq!(template.id(&domain(), &given), Err(MappingError::ClaimMissing { claim: "job_id".to_owned() }));

    let name = DnsTemplate::parse("{claim:job}.jobs.example.org").unwrap();
    assert_eq!(name.name(&claims(&[("job", "a-1")])).unwrap().as_str(), "a-1.jobs.example.org");
    for value in ["", "a.b", "*", "A", "-a", "a_b", "..", &"a".repeat(64)] {
        assert!(matches!(name.name(&claims(&[("job", value)])), Err(MappingError::ClaimValue { .. })), "{value}");
    }
    let account = DnsTemplate::parse("{k8s:service_account}.{k8s:namespace}.svc").unwrap();
    assert_eq!(account.name(&claims(&[("sub", "system:serviceaccount:shop:web")])).unwrap().as_str(), "web.shop.svc");
}

#[test]
fn a_template_that_leaves_the_choice_of_the_name_to_a_claim_is_refused() {
    use TemplateError as E;
    let identity = |text: &str| IdentityTemplate::parse(text).unwrap_err();
    assert_eq!(identity("team/{claim:a}"), E::NoPath);
    assert_eq!(identity(""), E::NoPath);
    assert_eq!(identity("/{claim:a}"), E::Unrooted);
    assert_eq!(identity("/{claim:a}/b"), E::Unrooted);
    assert_eq!(identity("/signet/{claim:a}"), E::Reserved);
    assert_eq!(identity("/team/a"), E::NoPlaceholder);
    for text in ["/a/x{claim:b}", "/a/{claim:b}x", "/a/{claim:b}{claim:c}", "/a/x}", "/a/x{"] {
        assert!(matches!(identity(text), E::Mixed { .. }), "{text}");
    }
    for text in ["/a/{claim:}", "/a/{b}", "/a/{claim:b", "/a/{k8s:pod}", "/a/{}", "/a/{claim:{b}", "/a/{claim:a b}"] {
        assert!(matches!(identity(text), E::Placeholder { .. }), "{text}");
    }
    for text in ["/a//{claim:b}", "/a/{claim:b}/", "/a/../{claim:b}", "/a%/{claim:b}", "//{claim:b}", "/./{claim:b}"] {
        assert!(matches!(identity(text), E::Path(_)), "{text}");
    }
    assert_eq!(identity(&format!("/a{}", "/{claim:b}".repeat(16))), E::TooManyParts);
    let name = |text: &str| DnsTemplate::parse(text).unwrap_err();
    assert_eq!(name("a.{claim:b}"), E::Unrooted);
    assert_eq!(name("{claim:b}"), E::Unrooted);
    assert_eq!(name("a.example"), E::NoPlaceholder);
    assert!(matches!(name("{claim:b}.Example"), E::Name(_)));
    assert!(matches!(name("*.{claim:b}.example"), E::Name(_)));
}

proptest! {
    /// Whatever a token says, what comes out is below the written-out beginning, and has as many segments as the template.
    #[test]
    fn no_claim_leaves_its_segment(first in "(signet|\\PC{0,12}|\\.\\.|[a-z/%.]{0,8})", second in "(\\PC{0,12}|[a-z/%.]{0,8})") {
        let template = IdentityTemplate::parse("/team/{claim:a}/x/{claim:b}").unwrap();
        if let Ok(id) = template.id(&domain(), &claims(&[("a", &first), ("b", &second)])) {
            let segments: Vec<_> = id.path().split('/').collect();
            prop_assert_eq!(&segments[..], ["", "team", &first, "x", &second]);
            prop_assert!(!id.is_reserved() && !id.path().contains('%'));
        }
    }

    #[test]
    fn no_subject_gives_anything_but_two_labels(subject in "(system:serviceaccount:)?[a-zA-Z0-9:/.%_-]{0,24}") {
        if let Ok(id) = account(&subject) {
            let parts: Vec<_> = subject.split(':').collect();
            prop_assert_eq!(parts.len(), 4);
            prop_assert_eq!(id.path(), format!("/ns/{}/sa/{}", parts[2], parts[3]));
        }
    }

    #[test]
    fn reading_a_template_never_panics(text in "[/{}a-z:.k8s]{0,40}") {
        drop(IdentityTemplate::parse(&text));
        drop(DnsTemplate::parse(&text));
    }
}
