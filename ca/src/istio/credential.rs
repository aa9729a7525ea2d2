//! What a call shows for itself: a bearer token, or the certificate of its connection.

use mtls::VerifiedPeer;

use super::error::CallError;

/// What is judged. One thing: a call that shows two is judged by its token, and no bad credential is passed over for another.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// A bearer token, without its scheme.
    Token(&'a str),
    /// The client certificate.
    Certificate(&'a VerifiedPeer),
}

impl<'a> Credential<'a> {
    /// Chooses from the values of `authorization` (as bytes, as they came) and the peer of the connection.
    ///
    /// # Errors
    /// [`CallError::NoCredential`] when there is none, [`CallError::Authorization`] when the header is not one bearer token.
    pub(crate) fn of(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        peer: Option<&'a VerifiedPeer>,
    ) -> Result<Self, CallError> {
        let mut values = authorization.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => bearer(value).map(Self::Token).ok_or(CallError::Authorization),
            (Some(_), Some(_)) => Err(CallError::Authorization),
            (None, _) => peer.map(Self::Certificate).ok_or(CallError::NoCredential),
        }
    }

    /// For metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Certificate(_) => "certificate",
        }
    }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1), whose scheme is read in any case (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_one).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(values: &[&str]) -> Result<String, CallError> {
        match Credential::of(values.iter().map(|value| value.as_bytes()), None)? {
            Credential::Token(token) => Ok(token.to_owned()),
            Credential::Certificate(_) => panic!("there is no peer"),
        }
    }

    #[test]
    fn one_bearer_token_is_taken_and_nothing_that_only_looks_like_one() {
        assert_eq!(token(&["Bearer a.b.c"]).unwrap(), "a.b.c");
        assert_eq!(token(&["bearer  a.b.c"]).unwrap(), "a.b.c");
        assert!(matches!(token(&[]), Err(CallError::NoCredential)));
        for bad in ["", "a.b.c", "Bearer", "Bearer ", "Basic YTpi", "Istio a.b.c", "Bearer a b", "Bearer a.b.c,d\u{e9}"] {
            assert!(matches!(token(&[bad]), Err(CallError::Authorization)), "{bad:?}");
        }
        assert!(matches!(token(&["Bearer a.b.c", "Bearer a.b.c"]), Err(CallError::Authorization)), "two are one too many");
    }
}
