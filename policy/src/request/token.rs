//! Tokens, after whoever knows the keys looked at them.

use std::collections::{BTreeMap, BTreeSet};

/// A JSON value of a token (RFC 7519 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimValue {
    /// `null`.
    Null,
    /// `true` or `false`, which no condition matches.
    Bool(bool),
    /// A number as it was written, which no condition matches.
    Number(String),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<ClaimValue>),
    /// An object. Whoever reads JSON refuses a name that comes twice.
    Object(BTreeMap<String, ClaimValue>),
}

/// The claims of a token whose signature, times, issuer and audience were found good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Its claims.
    pub claims: BTreeMap<String, ClaimValue>,
    /// Claims at the top whose text is a list parted by spaces (Istio RequestAuthentication `spaceDelimitedClaims`), beside `scope` and
    /// `permission`, which always are.
    pub space_delimited: BTreeSet<String>,
}

/// What is known of the token of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresentedToken<'a> {
    /// None came where one is looked for.
    #[default]
    Absent,
    /// One came and was found good.
    Verified(&'a VerifiedToken),
    /// One came and was not.
    Refused(TokenFault),
}

/// Why a token was not found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenFault {
    /// It is no JWT (RFC 7519 section 7.2), several came, or it is larger than what is read.
    #[error("the token cannot be read")]
    Malformed,
    /// No rule names its issuer.
    #[error("the issuer of the token is not configured")]
    UnknownIssuer,
    /// No key of its issuer made its signature.
    #[error("the signature of the token does not verify")]
    BadSignature,
    /// It ended.
    #[error("the token is expired")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It has no end.
    #[error("the token has no expiry")]
    NoExpiry,
    /// It is for somebody else.
    #[error("the audience of the token is not allowed")]
    Audience,
    /// The keys of its issuer are not known.
    #[error("the keys of the issuer are not available")]
    KeysUnavailable,
    /// The rules about tokens could not be read, so that none is good.
    #[error("the rules about tokens cannot be read")]
    RulesUnreadable,
}

const ALWAYS_SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

impl VerifiedToken {
    /// The issuer (`iss`), if it is text.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(ClaimValue::text)
    }

    /// The subject (`sub`), if it is text.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(ClaimValue::text)
    }

    /// What conditions are held against: the text of a claim, or each text of a list of them. The path goes through objects alone, and
    /// what is neither text nor a list of texts has no values.
    #[must_use]
    pub fn values(&self, path: &[String]) -> Vec<&str> {
        let mut values = Vec::new();
        self.any_value(path, |value| {
            values.push(value);
            false
        });
        values
    }

    /// Whether any of [`Self::values`] is as wanted.
    pub(crate) fn any_value<'t>(&'t self, path: &[impl AsRef<str>], mut wanted: impl FnMut(&'t str) -> bool) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let mut found = self.claims.get(first.as_ref());
        for name in rest {
            found = match found {
                Some(ClaimValue::Object(members)) => members.get(name.as_ref()),
                _ => None,
            };
        }
        match found {
            Some(ClaimValue::Text(text)) if rest.is_empty() && self.is_space_delimited(first.as_ref()) => {
                text.split(' ').any(wanted)
            }
            Some(ClaimValue::Text(text)) => wanted(text),
            Some(ClaimValue::List(items)) => items.iter().filter_map(ClaimValue::text).any(wanted),
            _ => false,
        }
    }

    fn is_space_delimited(&self, claim: &str) -> bool {
        ALWAYS_SPACE_DELIMITED.contains(&claim) || self.space_delimited.contains(claim)
    }
}

impl ClaimValue {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> ClaimValue {
        ClaimValue::Text(value.to_owned())
    }

    fn object(members: &[(&str, ClaimValue)]) -> ClaimValue {
        ClaimValue::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn values(name: &str, value: ClaimValue, path: &[&str]) -> Vec<String> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let token = VerifiedToken { claims: [(name.to_owned(), value)].into(), space_delimited: ["roles".to_owned()].into() };
        token.values(&path).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn texts_and_lists_of_texts_have_values() {
        let list = ClaimValue::List(vec![text("a"), ClaimValue::Bool(true), text("b"), ClaimValue::List(vec![text("c")])]);
        assert_eq!(values("g", text("a b"), &["g"]), ["a b"]);
        assert_eq!(values("g", list.clone(), &["g"]), ["a", "b"]);
        assert_eq!(values("scope", text("a b"), &["scope"]), ["a", "b"]);
        assert_eq!(values("permission", text("a b"), &["permission"]), ["a", "b"]);
        assert_eq!(values("roles", text("a b"), &["roles"]), ["a", "b"]);
        for value in [ClaimValue::Null, ClaimValue::Bool(true), ClaimValue::Number("1".to_owned()), object(&[])] {
            assert!(values("g", value, &["g"]).is_empty());
        }
        assert_eq!(values("a", object(&[("b", list)]), &["a", "b"]), ["a", "b"]);
        assert_eq!(values("a", object(&[("scope", text("x y"))]), &["a", "scope"]), ["x y"]);
        assert!(values("a", ClaimValue::List(vec![object(&[("b", text("v"))])]), &["a", "b"]).is_empty());
        assert!(values("a.b", text("v"), &["a", "b"]).is_empty());
        assert!(values("a", text("v"), &["a", "b"]).is_empty());
        assert!(values("a", text("v"), &[]).is_empty());
    }
}
