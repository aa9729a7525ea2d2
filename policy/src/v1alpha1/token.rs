//! Which token objects of Istio 1.1 look at, and whether it is good: `jwt` of `peers` and `origins`.

use super::Policies;
use super::selection::authn_policy;
use crate::authentication::{TokenJudgement, TokenVerifier, judge_token, parameters};
use crate::objects::{AuthnPolicy, JwtRule, OriginJwt, PeerMethod, Tokens};
use crate::request::{Request, Service, Target, TokenFault};

/// A place in which a token is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// `Authorization: Bearer ` (RFC 6750 section 2.1).
    Bearer,
    /// A header, its name in small letters; what stands before the first space does not belong to the token.
    Header(String),
    /// A query parameter.
    Parameter(String),
}

/// Judges the token that the Policies of a workload look at.
///
/// The first token that is found counts, and no other: in `Authorization`, then in headers, then in query parameters, each in the order of
/// their names. It is good if the rule of its issuer looks there and finds it good; where several services stand behind the port, every
/// rule of that issuer. Two different tokens in one place are none. A token that is not good is for the Policies to refuse, by what they
/// ask of the path.
#[must_use]
pub fn judge_tokens(
    policies: Policies<'_>,
    target: &Target<'_>,
    request: &Request<'_>,
    verifier: &dyn TokenVerifier,
) -> TokenJudgement {
    let rules = rules_of(policies, target);
    let mut places: Vec<Place> = rules.iter().flat_map(|rule| places_of(rule)).collect();
    places.sort();
    places.dedup();
    let found = places.iter().find_map(|place| tokens_at(place, request).map(|tokens| (place, tokens)));
    let (place, token) = match found.as_ref().map(|(place, tokens)| (place, &tokens[..])) {
        None => return TokenJudgement::Absent,
        Some((place, [token])) => (place, *token),
        Some(_) => return TokenJudgement::Refused(TokenFault::Malformed),
    };
    let judged = rules.iter().map(|rule| {
        let looks_there = places_of(rule).contains(place);
        let known = JwtRule {
            issuer: rule.issuer.clone(),
            audiences: rule.audiences.clone(),
            keys: rule.keys.clone(),
            ..JwtRule::default()
        };
        judge_token(token, &known, verifier)
            .and_then(|token| if looks_there { Ok(token) } else { Err(TokenFault::UnknownIssuer) })
    });
    let judged: Vec<_> = judged.collect();
    let refused =
        judged.iter().filter_map(|judged| judged.as_ref().err().copied()).find(|fault| *fault != TokenFault::UnknownIssuer);
    let good = judged.iter().zip(&rules).find_map(|(judged, rule)| judged.as_ref().ok().map(|token| (token, rule)));
    match (refused, good) {
        (Some(fault), _) => TokenJudgement::Refused(fault),
        (None, None) => TokenJudgement::Refused(TokenFault::UnknownIssuer),
        (None, Some((token, rule))) => {
            let of_issuer = judged.iter().zip(&rules).filter(|(_, other)| other.issuer == rule.issuer);
            let all_good = of_issuer.clone().all(|(judged, _)| judged.is_ok());
            if all_good { TokenJudgement::Verified(token.clone()) } else { TokenJudgement::Refused(TokenFault::UnknownIssuer) }
        }
    }
}

/// The rules of the Policies of all services.
fn rules_of<'p>(policies: Policies<'p>, target: &Target<'_>) -> Vec<&'p OriginJwt> {
    let of = |service: Option<&Service<'_>>| authn_policy(policies.authentication, target, service);
    let mut selected: Vec<&AuthnPolicy> = target.services.iter().filter_map(|service| of(Some(service))).collect();
    if target.services.is_empty() {
        selected.extend(of(None));
    }
    let mut rules = Vec::new();
    for policy in selected {
        rules.extend(policy.peers.iter().filter_map(|method| match method {
            PeerMethod::Jwt(jwt) => Some(jwt),
            PeerMethod::Mtls { .. } => None,
        }));
        if let Tokens::Rules(origins) = &policy.origins {
            rules.extend(origins);
        }
    }
    rules
}

fn places_of(rule: &OriginJwt) -> Vec<Place> {
    if rule.headers.is_empty() && rule.params.is_empty() {
        return vec![Place::Bearer, Place::Parameter("access_token".to_owned())];
    }
    let headers = rule.headers.iter().map(|name| Place::Header(name.to_ascii_lowercase()));
    headers.chain(rule.params.iter().cloned().map(Place::Parameter)).collect()
}

/// The tokens in a place, each once; absent where there is none.
fn tokens_at<'a>(place: &Place, request: &Request<'a>) -> Option<Vec<&'a [u8]>> {
    let found: Vec<&[u8]> = match place {
        Place::Bearer => request.headers.lines("authorization").filter_map(|value| value.strip_prefix(b"Bearer ")).collect(),
        Place::Header(name) => {
            let behind =
                |value: &'a [u8]| value.iter().position(|byte| *byte == b' ').and_then(|at| value.get(at + 1..)).unwrap_or(value);
            request.headers.lines(name).map(behind).collect()
        }
        Place::Parameter(name) => {
            parameters(request).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value).collect()
        }
    };
    let mut distinct: Vec<&[u8]> = Vec::new();
    for token in found.into_iter().map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
        if !distinct.contains(&token) {
            distinct.push(token);
        }
    }
    (!distinct.is_empty()).then_some(distinct)
}
