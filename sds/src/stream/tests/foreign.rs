//! Bundles of other trust domains: beside the own one, never in it.

use identity::TrustDomain;

use super::super::*;
use super::fixture::{Authority, Bench, bundle, bundle_of, federating, foreign, state};

const OTHER: &str = "spiffe://other.org";

fn other() -> Authority {
    Authority::of(&TrustDomain::parse("other.org").unwrap())
}

/// The trust domains of the one validation context in a response: its own first, then those beside it.
fn domains(response: &Response) -> Vec<&str> {
    let [Resource { secret: Secret::ValidationContext { bundle, foreign, .. }, .. }] = response.resources.as_slice() else {
        panic!("not one validation context: {response:?}")
    };
    std::iter::once(bundle).chain(foreign).map(|bundle| bundle.trust_domain().as_str()).collect()
}

#[test]
fn all_holds_each_trust_domain_and_every_other_name_its_own_alone() {
    let (authority, other) = (Authority::new(), other());
    let (web, trust, theirs) = (authority.fresh("web"), bundle(&[&authority]), foreign("other.org", &[&other]));
    let mut bench = Bench::new(federating(&state(&[&web], &trust), &[&theirs]));
    for (name, expected) in [
        ("ALL", &["example.org", "other.org"][..]),
        ("ROOTCA", &["example.org"]),
        ("spiffe://example.org", &["example.org"]),
        (OTHER, &["other.org"]),
    ] {
        let stream = bench.open(&[name]);
        assert_eq!(domains(&bench.sent(stream)), expected, "{name}");
    }
    let stream = bench.open(&["spiffe://third.org"]);
    bench.silent(&[stream]);
}

#[test]
fn plain_roots_are_tied_to_no_name_and_so_hold_the_own_trust_domain_alone() {
    let (authority, other) = (Authority::new(), other());
    let (web, trust, theirs) = (authority.fresh("web"), bundle(&[&authority]), foreign("other.org", &[&other]));
    let state = federating(&state(&[&web], &trust), &[&theirs]);
    let mut bench = Bench::of(ValidationContextKind::TrustedCa, state);
    let stream = bench.open(&["ALL"]);
    let response = bench.sent(stream);
    assert_eq!((domains(&response), bundle_of(&response)), (vec!["example.org"], &*trust));
    let stream = bench.open(&[OTHER]);
    let response = bench.sent(stream);
    let Secret::ValidationContext { kind, .. } = &response.resources[0].secret else { panic!("no context") };
    assert_eq!((*kind, domains(&response)), (ValidationContextKind::SpiffeValidator, vec!["other.org"]));
}

#[test]
fn a_foreign_bundle_that_changes_or_goes_is_a_new_content_of_all_and_of_nothing_else() {
    let (authority, [other, another]) = (Authority::new(), [other(), other()]);
    let (web, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let (one, two) = (foreign("other.org", &[&other]), foreign("other.org", &[&other, &another]));
    let alone = state(&[&web], &trust);
    let mut bench = Bench::new(federating(&alone, &[&one]));
    let (all, own) = (bench.open(&["ALL"]), bench.open(&["ROOTCA"]));
    for stream in [all, own] {
        let name = if stream == all { "ALL" } else { "ROOTCA" };
        let response = bench.sent(stream);
        bench.ack(stream, &[name], &response);
    }
    bench.update(&federating(&alone, &[&two]));
    let response = bench.sent(all);
    assert_eq!(domains(&response), ["example.org", "other.org"]);
    bench.ack(all, &["ALL"], &response);
    bench.silent(&[own]);
    // Nothing of it is valid any more, by its own word.
    bench.update(&federating(&alone, &[&foreign("other.org", &[])]));
    let response = bench.sent(all);
    assert_eq!(domains(&response), ["example.org"]);
    bench.ack(all, &["ALL"], &response);
    bench.update(&alone);
    bench.silent(&[all, own]);
    let stream = bench.open(&[OTHER]);
    bench.silent(&[stream]);
}

#[test]
fn a_trust_domain_that_went_comes_back_with_no_last_good() {
    let (authority, stranger, other) = (Authority::new(), Authority::new(), other());
    let (web, trust, theirs) = (authority.fresh("web"), bundle(&[&authority]), foreign("other.org", &[&other]));
    let mut bench = Bench::new(federating(&state(&[&web], &trust), &[&theirs]));
    let stream = bench.open(&["ALL"]);
    let response = bench.sent(stream);
    bench.ack(stream, &["ALL"], &response);
    // A bundle under which nothing verifies leaves the last good pair in place, without what is followed no more.
    let broken = state(&[&web], &bundle(&[&stranger]));
    bench.update(&broken);
    let response = bench.sent(stream);
    assert_eq!((domains(&response), bundle_of(&response)), (vec!["example.org"], &*trust));
}

#[test]
fn of_the_last_good_trust_domains_those_stay_that_are_followed_and_say_something() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let named = ["other.org", "third.org", "void.org"];
    let theirs = named.map(|name| foreign(name, &[&Authority::of(&TrustDomain::parse(name).unwrap())]));
    let [other, third, void] = &theirs;
    let (web, trust) = (authority.fresh("web"), bundle(&[&authority]));
    let mut bench = Bench::new(federating(&state(&[&web], &trust), &[other, third, void]));
    let stream = bench.open(&["ALL"]);
    let response = bench.sent(stream);
    assert_eq!(domains(&response), ["example.org", "other.org", "third.org", "void.org"]);
    bench.ack(stream, &["ALL"], &response);
    // One is followed no more, and one says that nothing of it is valid.
    let broken = state(&[&web], &bundle(&[&stranger]));
    bench.update(&federating(&broken, &[other, &foreign("void.org", &[])]));
    assert_eq!(domains(&bench.sent(stream)), ["example.org", "other.org"]);
}
