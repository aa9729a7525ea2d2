//! Which tokens are good: Istio RequestAuthentication. It never demands one; that is for an AuthorizationPolicy to do.

use super::bearer::{default_tokens, is_cors_preflight, tokens_for};
use crate::mesh::Mesh;
use crate::objects::{JwtRule, RequestAuthentication, Tokens};
use crate::request::{ClaimValue, Request, Target, TokenFault, VerifiedToken};
use crate::selection::selects;

/// Whoever knows keys. Signature, form, times and header are for it to judge; issuer, audience and that there is an expiry are judged here
/// as well, by the claims that it gives back.
pub trait TokenVerifier {
    /// Verifies a token by the keys of a rule.
    ///
    /// # Errors
    /// [`TokenFault`]; [`TokenFault::UnknownIssuer`] where the token names another issuer than the rule.
    fn verify(&self, token: &[u8], rule: &JwtRule) -> Result<VerifiedToken, TokenFault>;
}

/// What came of the tokens of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenJudgement {
    /// None came.
    Absent,
    /// One came and is good.
    Verified(VerifiedToken),
    /// One came and is not.
    Refused(TokenFault),
}

/// The policies about tokens that select a workload. They all hold together.
#[must_use]
pub fn token_policies<'p>(
    policies: &'p [RequestAuthentication],
    mesh: &Mesh,
    target: &Target<'_>,
) -> Vec<&'p RequestAuthentication> {
    policies.iter().filter(|policy| selects(&policy.metadata.namespace, &policy.scope, mesh, target)).collect()
}

/// The rules of all policies that select a workload, by issuer. `None` where those of one could not be read, so that no token is good.
#[must_use]
pub fn token_rules<'p>(selected: &[&'p RequestAuthentication]) -> Option<Vec<&'p JwtRule>> {
    let mut rules = Vec::new();
    for policy in selected {
        match &policy.tokens {
            Tokens::Rules(own) => rules.extend(own),
            Tokens::AllInvalid => return None,
        }
    }
    rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
    Some(rules)
}

/// Judges the tokens of a request.
///
/// A request without a token passes. One rule that finds its token good is enough; where none does, and any token came, the request is
/// refused, also if nobody knows its issuer (CVE-2021-21378). Two different tokens for one rule are none that can be relied on.
#[must_use]
pub fn judge_tokens(selected: &[&RequestAuthentication], request: &Request<'_>, verifier: &dyn TokenVerifier) -> TokenJudgement {
    if selected.is_empty() || is_cors_preflight(request) {
        return TokenJudgement::Absent;
    }
    let Some(rules) = token_rules(selected) else { return all_invalid(selected, request) };
    let mut fault: Option<TokenFault> = None;
    for rule in rules {
        let judged = match tokens_for(rule, request)[..] {
            [] => continue,
            [token] => judge(token, rule, verifier),
            [..] => Err(TokenFault::Malformed),
        };
        match (judged, fault) {
            (Ok(token), _) => return TokenJudgement::Verified(token),
            // What the rule of its issuer says of a token tells more than that others do not know it.
            (Err(found), None | Some(TokenFault::UnknownIssuer)) => fault = Some(found),
            (Err(_), Some(_)) => {}
        }
    }
    fault.map_or(TokenJudgement::Absent, TokenJudgement::Refused)
}

pub(crate) fn judge(token: &[u8], rule: &JwtRule, verifier: &dyn TokenVerifier) -> Result<VerifiedToken, TokenFault> {
    let mut verified = verifier.verify(token, rule)?;
    if !rule.issuer.is_empty() && verified.issuer() != Some(&rule.issuer) {
        return Err(TokenFault::UnknownIssuer);
    }
    if !matches!(verified.claims.get("exp"), Some(ClaimValue::Number(_))) {
        return Err(TokenFault::NoExpiry);
    }
    let audiences = verified.values(&["aud".to_owned()]);
    let for_us = |wanted: &String| audiences.iter().any(|found| bare_audience(found) == bare_audience(wanted));
    if !rule.audiences.is_empty() && !rule.audiences.iter().any(for_us) {
        return Err(TokenFault::Audience);
    }
    verified.space_delimited.extend(rule.space_delimited_claims.iter().cloned());
    Ok(verified)
}

/// An audience without its scheme and the slash at its end, as Envoy's JWT filter compares them.
fn bare_audience(text: &str) -> &str {
    let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text)
}

/// Where rules cannot be read, so cannot the places be in which they look: the usual ones count, and those of all rules that can be read.
fn all_invalid(selected: &[&RequestAuthentication], request: &Request<'_>) -> TokenJudgement {
    let readable = selected.iter().filter_map(|policy| match &policy.tokens {
        Tokens::Rules(rules) => Some(rules),
        Tokens::AllInvalid => None,
    });
    let came = !default_tokens(request).is_empty() || readable.flatten().any(|rule| !tokens_for(rule, request).is_empty());
    if came { TokenJudgement::Refused(TokenFault::RulesUnreadable) } else { TokenJudgement::Absent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Metadata, Scope, TokenHeader};
    use crate::request::Headers;

    /// Takes `issuer,audience` for a token, and some words for faults.
    struct Known;

    impl TokenVerifier for Known {
        fn verify(&self, token: &[u8], rule: &JwtRule) -> Result<VerifiedToken, TokenFault> {
            let text = std::str::from_utf8(token).map_err(|_| TokenFault::Malformed)?;
            let (issuer, audience) = text.split_once(',').ok_or(TokenFault::Malformed)?;
            match audience {
                "expired" if issuer == rule.issuer => return Err(TokenFault::Expired),
                "nokeys" if issuer == rule.issuer => return Err(TokenFault::KeysUnavailable),
                _ => {}
            }
            let text = |value: &str| ClaimValue::Text(value.to_owned());
            let mut claims: std::collections::BTreeMap<_, _> =
                [("iss".to_owned(), text(issuer)), ("aud".to_owned(), text(audience)), ("roles".to_owned(), text("a b"))].into();
            if audience != "endless" {
                claims.insert("exp".to_owned(), ClaimValue::Number("1".to_owned()));
            }
            Ok(VerifiedToken { claims, ..VerifiedToken::default() })
        }
    }

    fn policy(tokens: Tokens<JwtRule>) -> RequestAuthentication {
        RequestAuthentication { metadata: Metadata::default(), scope: Scope::Namespace, tokens }
    }

    fn rule(issuer: &str, audiences: &[&str]) -> JwtRule {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        JwtRule { issuer: issuer.to_owned(), audiences, space_delimited_claims: vec!["roles".to_owned()], ..JwtRule::default() }
    }

    fn judged(policies: &[RequestAuthentication], headers: &[(&str, &str)]) -> Result<Option<String>, TokenFault> {
        let selected: Vec<_> = policies.iter().collect();
        let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let request = Request { method: Some(b"OPTIONS"), headers: Headers(&headers), ..Request::default() };
        match judge_tokens(&selected, &request, &Known) {
            TokenJudgement::Absent => Ok(None),
            TokenJudgement::Verified(token) => Ok(token.issuer().map(str::to_owned)),
            TokenJudgement::Refused(fault) => Err(fault),
        }
    }

    #[test]
    fn policies_of_the_root_and_of_the_workload_hold_together() {
        let of = |namespace: &str| {
            let metadata = Metadata { namespace: namespace.to_owned(), ..Metadata::default() };
            RequestAuthentication { metadata, ..policy(Tokens::AllInvalid) }
        };
        let policies = [of("istio-system"), of("foo"), of("bar")];
        let labels = crate::objects::Labels::new();
        let target = Target { namespace: "foo", labels: &labels, ..Target::default() };
        let selected = token_policies(&policies, &Mesh::default(), &target);
        assert_eq!(selected, [&policies[0], &policies[1]]);
    }

    /// Rows 54 and 80 of the conformance table: none, good, and each that is not.
    #[test]
    fn one_rule_takes_its_tokens_or_none() {
        let one = [policy(Tokens::Rules(vec![rule("i", &["x", "audA"])]))];
        for (token, expected) in [
            (None, Ok(None)),
            (Some("Basic abc"), Ok(None)),
            (Some("Bearer i,x"), Ok(Some("i".to_owned()))),
            (Some("Bearer i,https://audA/"), Ok(Some("i".to_owned()))),
            (Some("Bearer j,x"), Err(TokenFault::UnknownIssuer)),
            (Some("Bearer i,y"), Err(TokenFault::Audience)),
            (Some("Bearer i,expired"), Err(TokenFault::Expired)),
            (Some("Bearer i,endless"), Err(TokenFault::NoExpiry)),
            (Some("Bearer i,nokeys"), Err(TokenFault::KeysUnavailable)),
            (Some("Bearer junk"), Err(TokenFault::Malformed)),
        ] {
            let headers: Vec<_> = token.iter().map(|token| ("authorization", *token)).collect();
            assert_eq!(judged(&one, &headers), expected, "{token:?}");
        }
        assert_eq!(judged(&one, &[("authorization", "Bearer i,x"), ("authorization", "Bearer i,z")]), Err(TokenFault::Malformed));
        assert_eq!(judged(&[], &[("authorization", "Bearer junk")]), Ok(None));
    }

    #[test]
    fn several_rules_take_the_tokens_of_any() {
        let several = [policy(Tokens::Rules(vec![rule("i", &[])])), policy(Tokens::Rules(vec![rule("j", &[])]))];
        assert_eq!(judged(&several, &[("authorization", "Bearer i,x")]), Ok(Some("i".to_owned())));
        assert_eq!(judged(&several, &[("authorization", "Bearer j,x")]), Ok(Some("j".to_owned())));
        assert_eq!(judged(&several, &[("authorization", "Bearer k,x")]), Err(TokenFault::UnknownIssuer));
        assert_eq!(judged(&several, &[("authorization", "Bearer i,expired")]), Err(TokenFault::Expired));
        assert_eq!(judged(&several, &[("authorization", "Bearer j,expired")]), Err(TokenFault::Expired));
        assert_eq!(judged(&several, &[]), Ok(None));
    }

    #[test]
    fn rules_that_cannot_be_read_make_every_token_invalid() {
        let headers = vec![TokenHeader { name: "x-jwt".to_owned(), prefix: String::new() }];
        let own = policy(Tokens::Rules(vec![JwtRule { from_headers: headers, ..rule("i", &[]) }]));
        let mixed = [own, policy(Tokens::AllInvalid)];
        assert_eq!(judged(&mixed, &[]), Ok(None));
        assert_eq!(judged(&mixed, &[("authorization", "Bearer i,x")]), Err(TokenFault::RulesUnreadable));
        assert_eq!(judged(&mixed, &[("x-jwt", "i,x")]), Err(TokenFault::RulesUnreadable));
        assert_eq!(judged(&mixed[..1], &[("x-jwt", "i,x")]), Ok(Some("i".to_owned())));
    }

    #[test]
    fn a_preflight_passes_and_claims_are_parted_as_the_rule_says() {
        let one = [policy(Tokens::Rules(vec![rule("i", &[])]))];
        let preflight = [("origin", "a"), ("access-control-request-method", "PUT"), ("authorization", "Bearer junk")];
        assert_eq!(judged(&one, &preflight), Ok(None));
        let selected: Vec<_> = one.iter().collect();
        let headers: [(&[u8], &[u8]); 1] = [(b"authorization", b"Bearer i,x")];
        let request = Request { headers: Headers(&headers), ..Request::default() };
        let TokenJudgement::Verified(token) = judge_tokens(&selected, &request, &Known) else { panic!("it is good") };
        assert_eq!(token.values(&["roles".to_owned()]), ["a", "b"]);
    }

    #[test]
    fn a_rule_without_an_issuer_takes_any() {
        let any = [policy(Tokens::Rules(vec![rule("", &[])]))];
        assert_eq!(judged(&any, &[("authorization", "Bearer whoever,x")]), Ok(Some("whoever".to_owned())));
    }
}
