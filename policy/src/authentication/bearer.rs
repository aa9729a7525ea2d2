//! Where tokens are looked for in a request: Istio JWTRule `fromHeaders`, `fromParams`, `fromCookies`.

use crate::objects::JwtRule;
use crate::request::Request;

/// The tokens that a request shows to a rule, each once.
///
/// A rule that names no place looks into `Authorization: Bearer ` and the query parameter `access_token` (RFC 6750 sections 2.1 and 2.3).
/// What is empty is no token.
pub(super) fn tokens_for<'a>(rule: &JwtRule, request: &Request<'a>) -> Vec<&'a [u8]> {
    let mut found: Vec<&[u8]> = Vec::new();
    let default = rule.from_headers.is_empty() && rule.from_params.is_empty() && rule.from_cookies.is_empty();
    if default {
        found.extend(default_tokens(request));
    }
    for header in &rule.from_headers {
        found.extend(request.headers.lines(&header.name).filter_map(|value| value.strip_prefix(header.prefix.as_bytes())));
    }
    for name in &rule.from_params {
        found.extend(parameters(request).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value));
    }
    for name in &rule.from_cookies {
        found.extend(cookies(request).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value));
    }
    let mut distinct: Vec<&[u8]> = Vec::new();
    for token in found.into_iter().map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
        if !distinct.contains(&token) {
            distinct.push(token);
        }
    }
    distinct
}

/// The tokens at the places where one is looked for unless a rule says otherwise.
pub(super) fn default_tokens<'a>(request: &Request<'a>) -> Vec<&'a [u8]> {
    let bearer = request.headers.lines("authorization").filter_map(|value| value.strip_prefix(b"Bearer "));
    let parameter = parameters(request).filter(|(name, _)| *name == b"access_token").map(|(_, value)| value);
    bearer.chain(parameter).map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()).collect()
}

/// Whether it is a question of a browser that cannot carry a token (Fetch, CORS-preflight request), which every rule lets pass.
#[must_use]
pub fn is_cors_preflight(request: &Request<'_>) -> bool {
    let has = |name| request.headers.lines(name).any(|value| !value.is_empty());
    request.method == Some(b"OPTIONS") && has("origin") && has("access-control-request-method")
}

pub(crate) fn parameters<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let path = request.path.unwrap_or_default();
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let query = path.iter().position(|byte| *byte == b'?').and_then(|at| path.get(at + 1..)).unwrap_or_default();
    query.split(|byte| *byte == b'&').map(pair_of)
}

fn cookies<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    request.headers.lines("cookie").flat_map(|value| value.split(|byte| *byte == b';')).map(|pair| pair_of(pair.trim_ascii()))
}

fn pair_of(pair: &[u8]) -> (&[u8], &[u8]) {
    let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let (name, value) = pair.split_at(at);
    (name, value.strip_prefix(b"=").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::TokenHeader;
    use crate::request::Headers;

    fn found(rule: &JwtRule, path: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let request = Request { path: Some(path.as_bytes()), headers: Headers(&headers), ..Request::default() };
        tokens_for(rule, &request).into_iter().map(|token| String::from_utf8_lossy(token).into_owned()).collect()
    }

    #[test]
    fn tokens_are_found_where_a_rule_looks() {
        let anywhere = JwtRule::default();
        let header = |name: &str, prefix: &str| TokenHeader { name: name.to_owned(), prefix: prefix.to_owned() };
        let own = JwtRule {
            from_headers: vec![header("x-jwt", "Token "), header("x-raw", "")],
            from_params: vec!["t".to_owned()],
            from_cookies: vec!["c".to_owned()],
            ..JwtRule::default()
        };
        for (rule, path, headers, expected) in [
            (&anywhere, "/", &[][..], &[][..]),
            (&anywhere, "/", &[("Authorization", "Bearer a")], &["a"]),
            (&anywhere, "/", &[("Authorization", "bearer a")], &[]),
            (&anywhere, "/", &[("Authorization", "Basic a")], &[]),
            (&anywhere, "/", &[("Authorization", "Bearer ")], &[]),
            (&anywhere, "/", &[("Authorization", "Bearer a"), ("authorization", "Bearer b")], &["a", "b"]),
            (&anywhere, "/?access_token=a&x=y", &[("Authorization", "Bearer a")], &["a"]),
            (&anywhere, "/?x&access_token=a#b", &[], &["a"]),
            (&anywhere, "/access_token=a", &[], &[]),
            (&own, "/?access_token=a", &[("Authorization", "Bearer a")], &[]),
            (&own, "/?t=a", &[("x-jwt", "Token b"), ("X-Raw", "d"), ("cookie", "x=y; c=e")], &["b", "d", "a", "e"]),
            (&own, "/?t=", &[("x-jwt", "b"), ("cookie", "xc=e; c")], &[]),
        ] {
            assert_eq!(found(rule, path, headers), expected, "{path} {headers:?}");
        }
    }

    #[test]
    fn a_preflight_has_a_method_and_two_headers() {
        let full: [(&[u8], &[u8]); 2] = [(b"Origin", b"https://a"), (b"Access-Control-Request-Method", b"PUT")];
        for (method, headers, expected) in
            [("OPTIONS", &full[..], true), ("GET", &full, false), ("OPTIONS", &full[..1], false), ("OPTIONS", &full[1..], false)]
        {
            let request = Request { method: Some(method.as_bytes()), headers: Headers(headers), ..Request::default() };
            assert_eq!(is_cors_preflight(&request), expected, "{method} {}", headers.len());
        }
    }
}
