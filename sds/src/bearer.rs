//! Tokens that streams bring in their metadata, as Istio's agents took them.

use std::fmt;

use pki::{Sha256Digest, sha256};
use tonic::metadata::MetadataMap;
use zeroize::Zeroizing;

/// A JWT of the peer, unread. Never shown.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

/// Why the host takes no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerRefusal {
    /// It takes none: UNAUTHENTICATED.
    #[error("tokens are not taken by this agent; leave the token out, or have the operator set [sds] bearer_tokens = true")]
    Off,
    /// Too many, or too fast: RESOURCE_EXHAUSTED.
    #[error("too many tokens are at work for this user, or they came too fast; close streams or wait")]
    TooMany,
}

/// What in the metadata is no token: UNAUTHENTICATED, whoever the caller is by its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// More than one, of which each may be meant.
    #[error("more than one credential in the stream's metadata; send one")]
    Several,
    /// Not three parts of base64url behind `Bearer`, or longer than any token.
    #[error(
        "the credential in the stream's metadata is no JWT: expected \"Bearer\" and three parts of base64url with dots between"
    )]
    Malformed,
}

impl BearerToken {
    /// Its text, for the CA alone.
    #[must_use]
    pub fn into_text(self) -> Zeroizing<String> {
        self.0
    }

    /// What tells it from others without keeping it.
    pub(crate) fn digest(&self) -> Sha256Digest {
        sha256(self.0.as_bytes())
    }

    /// The token of a call; `None` when it brings none.
    ///
    /// # Errors
    /// [`TokenFault`] for anything but one JWT: it is never taken for no token.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Option<Self>, TokenFault> {
        let mut found = Vec::new();
        for value in metadata.get_all(AUTHORIZATION) {
            let text = value.to_str().ok().and_then(|text| text.split_once(' '));
            let token = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
            found.push(Zeroizing::new(token.unwrap_or_default().as_bytes().to_vec()));
        }
        for value in metadata.get_all_bin(CREDENTIALS_HEADER) {
            let bytes = Zeroizing::new(value.to_bytes().map_err(|_| TokenFault::Malformed)?.to_vec());
            found.push(bytes);
        }
        match found.as_slice() {
            [] => Ok(None),
            [token] => Self::parse(token).map(Some).ok_or(TokenFault::Malformed),
            _ => Err(TokenFault::Several),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let of_a_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut parts = bytes.split(|byte| *byte == b'.');
        let sound = bytes.len() <= MAX_TOKEN_BYTES
            && parts.clone().count() == 3
            && parts.all(|part| !part.is_empty() && part.iter().all(of_a_token));
        let text = std::str::from_utf8(bytes).ok().filter(|_| sound)?;
        Some(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

const AUTHORIZATION: &str = "authorization";

/// What Istio's Envoys sent their token in.
const CREDENTIALS_HEADER: &str = "istio_sds_credentials_header-bin";

/// Far more than a token has; all headers together are bounded at twice that.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    fn read(ascii: &[&str], binary: &[&[u8]]) -> Result<Option<String>, TokenFault> {
        let mut metadata = MetadataMap::new();
        for value in ascii {
            metadata.append(AUTHORIZATION, value.parse().unwrap());
        }
        for value in binary {
            metadata.append_bin(CREDENTIALS_HEADER, MetadataValue::from_bytes(value));
        }
        let token = BearerToken::from_metadata(&metadata)?;
        assert!(!format!("{token:?}").contains("aaa"));
        Ok(token.map(|token| token.into_text().to_string()))
    }

    #[test]
    fn one_token_in_either_place_is_taken() {
        assert_eq!(read(&[], &[]), Ok(None));
        let binary: &[u8] = b"aaa.b-b.c_c";
        for (ascii, binary) in [(&["Bearer aaa.b-b.c_c"][..], &[][..]), (&["bearer aaa.b-b.c_c"], &[]), (&[], &[binary])] {
            assert_eq!(read(ascii, binary), Ok(Some("aaa.b-b.c_c".to_owned())));
        }
    }

    #[test]
    fn several_and_malformed_ones_are_refused_never_ignored() {
        assert_eq!(read(&["Bearer a.b.c", "Bearer a.b.c"], &[]), Err(TokenFault::Several));
        assert_eq!(read(&["Bearer a.b.c"], &[b"a.b.c"]), Err(TokenFault::Several));
        for bad in
            ["", "a.b.c", "Basic a.b.c", "Bearer", "Bearer ", "Bearer a.b", "Bearer a.b.c.d", "Bearer a..c", "Bearer a.b. c"]
        {
            assert_eq!(read(&[bad], &[]), Err(TokenFault::Malformed), "{bad}");
        }
        for bad in [&b""[..], b"a.b", b"Bearer a.b.c", b"a.b.\xff", b"a.b.c\n"] {
            assert_eq!(read(&[], &[bad]), Err(TokenFault::Malformed));
        }
        let long = |bytes: usize| format!("Bearer a.b.{}", "c".repeat(bytes - 4));
        assert!(read(&[&long(MAX_TOKEN_BYTES)], &[]).is_ok());
        assert_eq!(read(&[&long(MAX_TOKEN_BYTES + 1)], &[]), Err(TokenFault::Malformed));
    }
}
