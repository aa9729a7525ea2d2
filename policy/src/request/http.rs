//! What is known of a request over HTTP.

use super::PresentedToken;

/// A request over HTTP, as its codec read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The method.
    pub method: Option<&'a [u8]>,
    /// `:path` as it came, query included: it is brought into its form here.
    pub path: Option<&'a [u8]>,
    /// `:authority`, or `Host`.
    pub authority: Option<&'a [u8]>,
    /// The other headers.
    pub headers: Headers<'a>,
    /// The token that policies of Istio RequestAuthentication look at, after whoever knows the keys looked at it.
    pub token: PresentedToken<'a>,
    /// The token that objects of Istio 1.1 look at ([`crate::v1alpha1::judge_tokens`]). One that is not good ends nothing by itself.
    pub origin: PresentedToken<'a>,
}

/// Header lines in their order: names and values, a name as often as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a>(pub &'a [(&'a [u8], &'a [u8])]);

/// Why the headers of a request are refused, which is answered by 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header value holds the byte {found:#04x}")]
pub struct HeaderFault {
    /// The first byte refused: NUL, CR or LF.
    pub found: u8,
}

impl<'a> Headers<'a> {
    /// The values of the lines of this name, without the blanks around them (CVE-2019-18802).
    pub fn lines(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| trim(value))
    }

    /// Looks for bytes that no value can hold (RFC 9110 section 5.5, CVE-2019-9900).
    ///
    /// # Errors
    /// [`HeaderFault`]: the request is to be answered by 400.
    pub fn check(self) -> Result<(), HeaderFault> {
        let mut bytes = self.0.iter().flat_map(|(name, value)| name.iter().chain(value.iter()));
        bytes.find(|byte| matches!(byte, b'\0' | b'\r' | b'\n')).map_or(Ok(()), |found| Err(HeaderFault { found: *found }))
    }
}

impl Request<'_> {
    /// Whether it is gRPC, which is answered in its own way (`application/grpc`, with or without `+proto` and the like).
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.headers.lines("content-type").next().is_some_and(|value| {
            let rest = value.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc")).and(value.get(16..));
            matches!(rest, Some([] | [b'+' | b';', ..]))
        })
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(|byte| !blank(byte)) else { return &[] };
    let last = value.iter().rposition(|byte| !blank(byte)).unwrap_or(first);
    value.get(first..=last).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_in_any_case_and_trimmed() {
        let headers = Headers(&[(b"X-Foo", b" admin\t"), (b"y", b"b"), (b"x-foo", b"c"), (b"x-foo", b" \t ")]);
        assert_eq!(headers.lines("x-FOO").collect::<Vec<_>>(), [b"admin".as_slice(), b"c", b""]);
        assert_eq!(headers.lines("z").next(), None);
    }

    #[test]
    fn bytes_that_end_a_line_or_a_string_are_refused() {
        assert_eq!(Headers(&[(b"x", b"a\x80\xff\x01")]).check(), Ok(()));
        for found in [b'\0', b'\r', b'\n'] {
            assert_eq!(Headers(&[(b"y", b"b"), (b"x", &[b'a', found])]).check(), Err(HeaderFault { found }));
            assert_eq!(Headers(&[(&[found], b"a")]).check(), Err(HeaderFault { found }));
        }
    }

    #[test]
    fn grpc_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            let lines: &[(&[u8], &[u8])] = &[(b"Content-Type", value.as_bytes())];
            assert_eq!(Request { headers: Headers(lines), ..Request::default() }.is_grpc(), expected, "{value}");
        }
        assert!(!Request::default().is_grpc());
    }
}
