//! Whether a request over HTTP is authenticated as a Policy of Istio 1.1 asks: `peers`, `origins`, `triggerRules`, `principalBinding`.

use crate::authentication::is_cors_preflight;
use crate::authorization::HttpFacts;
use crate::decision::{Reason, Stage};
use crate::objects::{AuthnPolicy, MtlsMode, OriginJwt, PeerMethod, PrincipalBinding, StringMatch, Tokens, TriggerRule};
use crate::request::{ClaimValue, Connection, PresentedToken, Role, TokenFault, VerifiedToken};

/// Who is asking, as roles see it beside the identity of the connection. Over TCP, and where no Policy holds, nobody tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller<'a> {
    /// `request.auth.principal`.
    pub(super) principal: Option<String>,
    /// The token of the end user.
    pub(super) origin: Option<&'a VerifiedToken>,
}

/// Where a request is not authenticated: the stage, the reason, and the place of the first method that was tried.
pub(super) type Failure = (Stage, Reason, usize);

/// Which connections a Policy takes, and the place of the method that says so. A gateway is asked by clients beyond the mesh, so that it
/// takes any.
pub(super) fn mtls_mode(policy: &AuthnPolicy, role: Role) -> (MtlsMode, usize) {
    let methods = policy.peers.iter().enumerate().filter(|_| role != Role::Gateway);
    let modes = methods.filter_map(|(place, method)| match method {
        PeerMethod::Mtls { permissive: false } => Some((MtlsMode::Strict, place)),
        PeerMethod::Mtls { permissive: true } => Some((MtlsMode::Permissive, place)),
        PeerMethod::Jwt(_) => None,
    });
    // Whichever is first: Istio 1.1 opened one listener by it.
    modes.min_by_key(|(_, place)| *place).unwrap_or((MtlsMode::Permissive, 0))
}

/// Peers, then origins.
pub(super) fn authenticate<'a>(
    policy: &AuthnPolicy,
    role: Role,
    connection: &Connection<'_>,
    http: &HttpFacts<'a>,
) -> Result<Caller<'a>, Failure> {
    let presented = http.request.origin;
    let peer = peer_principal(policy, role, connection, presented);
    let peer = peer.map_err(|place| (Stage::PeerAuthentication, Reason::PeerNotAuthenticated(fault(presented)), place))?;
    let origin = origin_token(policy, http);
    let origin =
        origin.map_err(|place| (Stage::RequestAuthentication, Reason::OriginNotAuthenticated(fault(presented)), place))?;
    let principal = match policy.binding {
        PrincipalBinding::UsePeer => peer,
        PrincipalBinding::UseOrigin => origin.and_then(principal),
    };
    Ok(Caller { principal, origin })
}

/// What was wrong with the token, if that is why.
fn fault(presented: PresentedToken<'_>) -> Option<TokenFault> {
    match presented {
        PresentedToken::Refused(fault) => Some(fault),
        PresentedToken::Verified(_) => Some(TokenFault::UnknownIssuer),
        PresentedToken::Absent => None,
    }
}

/// The name by which the first method succeeds that does; none where nobody is asked for, or need not answer.
///
/// A token gives no `source.principal`, as it did in Istio 1.1: whoever signs tokens would choose identities of the mesh.
fn peer_principal(
    policy: &AuthnPolicy,
    role: Role,
    connection: &Connection<'_>,
    presented: PresentedToken<'_>,
) -> Result<Option<String>, usize> {
    let identity = connection.identity().and_then(|id| id.as_str().strip_prefix("spiffe://")).map(str::to_owned);
    let asked = policy.peers.iter().enumerate();
    let mut asked = asked.filter(|(_, method)| role != Role::Gateway || matches!(method, PeerMethod::Jwt(_))).peekable();
    let Some((first, _)) = asked.peek().copied() else { return Ok(None) };
    let mut succeeded = asked.filter_map(|(_, method)| match method {
        PeerMethod::Mtls { permissive } => (*permissive || identity.is_some()).then(|| identity.clone()),
        PeerMethod::Jwt(jwt) => token_of(jwt, presented).map(principal),
    });
    match succeeded.next() {
        Some(name) => Ok(name),
        None if policy.peer_is_optional => Ok(None),
        None => Err(first),
    }
}

/// The token of the first rule that is triggered and has one.
fn origin_token<'a>(policy: &AuthnPolicy, http: &HttpFacts<'a>) -> Result<Option<&'a VerifiedToken>, usize> {
    let rules = match &policy.origins {
        Tokens::Rules(rules) => rules.as_slice(),
        Tokens::AllInvalid if is_cors_preflight(http.request) || policy.origin_is_optional => return Ok(None),
        Tokens::AllInvalid => return Err(0),
    };
    if rules.is_empty() {
        // Nobody can be whom the principal is to be taken from.
        return if policy.binding == PrincipalBinding::UseOrigin { Err(0) } else { Ok(None) };
    }
    if is_cors_preflight(http.request) {
        return Ok(None);
    }
    let mut triggered = rules.iter().enumerate().filter(|(_, jwt)| is_triggered(&jwt.triggers, http.path())).peekable();
    let Some((first, _)) = triggered.peek().copied() else { return Ok(None) };
    match triggered.find_map(|(_, jwt)| token_of(jwt, http.request.origin)) {
        Some(token) => Ok(Some(token)),
        None if policy.origin_is_optional => Ok(None),
        None => Err(first),
    }
}

/// The token, if it is one of this issuer.
fn token_of<'a>(jwt: &OriginJwt, presented: PresentedToken<'a>) -> Option<&'a VerifiedToken> {
    match presented {
        PresentedToken::Verified(token) if token.issuer() == Some(&jwt.issuer) => Some(token),
        PresentedToken::Verified(_) | PresentedToken::Refused(_) | PresentedToken::Absent => None,
    }
}

/// `iss/sub`, if both are there.
fn principal(token: &VerifiedToken) -> Option<String> {
    let subject = token.subject().filter(|subject| !subject.is_empty())?;
    token.issuer().filter(|issuer| !issuer.is_empty()).map(|issuer| format!("{issuer}/{subject}"))
}

/// Whether a path asks for a token. It is compared in its form and without query and fragment (CVE-2020-8595); where it is not known, a
/// token is asked for.
fn is_triggered(rules: &[TriggerRule], path: Option<&[u8]>) -> bool {
    let Some(path) = path.and_then(|path| std::str::from_utf8(path).ok()) else { return true };
    // What cannot be compared lets nobody pass.
    let excluded = |rule: &TriggerRule| rule.excluded.iter().any(|wanted| is(wanted, path) == Some(true));
    let included =
        |rule: &TriggerRule| rule.included.is_empty() || rule.included.iter().any(|wanted| is(wanted, path) != Some(false));
    rules.is_empty() || rules.iter().any(|rule| !excluded(rule) && included(rule))
}

fn is(wanted: &StringMatch, path: &str) -> Option<bool> {
    match wanted {
        StringMatch::Exact(text) => Some(path == text),
        StringMatch::Prefix(prefix) => Some(path.starts_with(prefix.as_str())),
        StringMatch::Suffix(suffix) => Some(path.ends_with(suffix.as_str())),
        StringMatch::Regex(expression) => StringMatch::compile(expression).ok().map(|regex| regex.is_match(path)),
    }
}

impl Caller<'_> {
    /// The texts of a claim. A text is one value, and is not parted at spaces; a list is one of texts alone.
    pub(super) fn claim(&self, name: &str) -> Vec<&str> {
        match self.origin.and_then(|token| token.claims.get(name)) {
            Some(ClaimValue::Text(found)) => vec![found],
            Some(ClaimValue::List(items)) => items.iter().map(text_of).collect::<Option<_>>().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

fn text_of(value: &ClaimValue) -> Option<&str> {
    match value {
        ClaimValue::Text(text) => Some(text),
        ClaimValue::Null | ClaimValue::Bool(_) | ClaimValue::Number(_) | ClaimValue::List(_) | ClaimValue::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Metadata;
    use crate::request::{Peer, Transport};

    fn policy(peers: Vec<PeerMethod>, peer_is_optional: bool) -> AuthnPolicy {
        AuthnPolicy {
            metadata: Metadata::default(),
            targets: Vec::new(),
            peers,
            peer_is_optional,
            origins: Tokens::Rules(Vec::new()),
            origin_is_optional: false,
            binding: PrincipalBinding::UsePeer,
        }
    }

    /// Also where nobody judged the connection before.
    #[test]
    fn strict_asks_for_an_identity() {
        let plain = Connection::default();
        let peer = Peer::of_uri_names(&[b"spiffe://td/ns/a/sa/b"]);
        let mutual = Connection { peer, transport: Transport::Tls, ..Connection::default() };
        for (permissive, optional, connection, expected) in [
            (false, false, &plain, Err(0)),
            (false, true, &plain, Ok(None)),
            (true, false, &plain, Ok(None)),
            (false, false, &mutual, Ok(Some("td/ns/a/sa/b".to_owned()))),
            (true, false, &mutual, Ok(Some("td/ns/a/sa/b".to_owned()))),
        ] {
            let policy = policy(vec![PeerMethod::Mtls { permissive }], optional);
            let found = peer_principal(&policy, Role::Sidecar, connection, PresentedToken::Absent);
            assert_eq!(found, expected, "{permissive} {optional}");
        }
    }

    #[test]
    fn the_first_mutual_tls_of_a_policy_opens_the_port() {
        let (strict, permissive) = (PeerMethod::Mtls { permissive: false }, PeerMethod::Mtls { permissive: true });
        let jwt = PeerMethod::Jwt(OriginJwt::default());
        for (peers, expected) in [
            (vec![], (MtlsMode::Permissive, 0)),
            (vec![jwt.clone()], (MtlsMode::Permissive, 0)),
            (vec![jwt, strict.clone()], (MtlsMode::Strict, 1)),
            (vec![permissive.clone(), strict.clone()], (MtlsMode::Permissive, 0)),
            (vec![strict, permissive], (MtlsMode::Strict, 0)),
        ] {
            let policy = policy(peers, false);
            assert_eq!(mtls_mode(&policy, Role::Sidecar), expected);
            assert_eq!(mtls_mode(&policy, Role::Gateway), (MtlsMode::Permissive, 0));
        }
    }
}
