//! The URLs that are fetched: https alone, whole, and nothing in them that a reader could misread.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use identity::DnsName;

/// The longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// `https://host[:port][/path][?query]` (RFC 3986, RFC 9110 section 4.2.2), without user information and without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    text: String,
    host: UrlHost,
    port: u16,
    /// Path and query, as they go into the request line; begins with `/`.
    target: String,
}

/// Whose certificate is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlHost {
    Name(DnsName),
    Address(IpAddr),
}

/// Why a text is no URL that is fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpsUrlError {
    /// Empty or over [`MAX_URL_BYTES`].
    #[error("the URL has {found} bytes, 1 to {MAX_URL_BYTES} are allowed")]
    Length {
        /// The length met, in bytes.
        found: usize,
    },
    /// Another scheme, or none.
    #[error("the URL does not begin with \"https://\": what is fetched in the clear could be anybody's")]
    Scheme,
    /// A name or password before the host.
    #[error("the URL holds user information before an \"@\": it would be a secret in a configuration file, and is never sent")]
    UserInformation,
    /// A fragment, which is never sent.
    #[error("the URL has a fragment (\"#\"), which no server sees")]
    Fragment,
    /// The host is neither a DNS name in lower case nor an IP address.
    #[error("the host of the URL, {found:?}, is neither a DNS name in lower case nor an IP address")]
    Host {
        /// The text met.
        found: String,
    },
    /// The port is no number from 1 to 65535.
    #[error("the port of the URL, {found:?}, is no number from 1 to 65535")]
    Port {
        /// The text met.
        found: String,
    },
    /// A character that must be percent-encoded.
    #[error("the URL holds {found:?}, which must be percent-encoded")]
    Character {
        /// The first character refused.
        found: char,
    },
}

impl HttpsUrl {
    /// The URL, as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names a server and nothing on it.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        self.target == "/"
    }

    /// The URL of `target` (path and query, beginning with `/`) on the same server.
    ///
    /// # Errors
    /// [`HttpsUrlError`] when the text is no part of a URL.
    pub fn on_same_server(&self, target: &str) -> Result<Self, HttpsUrlError> {
        // Without the slash the text would go on with the host's name.
        match target.strip_prefix('/') {
            Some(rest) => format!("https://{}/{rest}", self.authority()).parse(),
            None => Err(HttpsUrlError::Character { found: target.chars().next().unwrap_or(' ') }),
        }
    }

    pub(super) fn host(&self) -> &UrlHost {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Host and port as the `Host` field says them (RFC 9110 section 7.2).
    pub(super) fn authority(&self) -> String {
        let port = if self.port == DEFAULT_PORT { String::new() } else { format!(":{}", self.port) };
        match &self.host {
            UrlHost::Name(name) => format!("{name}{port}"),
            UrlHost::Address(IpAddr::V4(address)) => format!("{address}{port}"),
            UrlHost::Address(IpAddr::V6(address)) => format!("[{address}]{port}"),
        }
    }
}

impl FromStr for HttpsUrl {
    type Err = HttpsUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_URL_BYTES {
            return Err(HttpsUrlError::Length { found: text.len() });
        }
        let rest = text.strip_prefix("https://").ok_or(HttpsUrlError::Scheme)?;
        if rest.contains('#') {
            return Err(HttpsUrlError::Fragment);
        }
        if let Some(found) = rest.chars().find(|c| !is_url_character(*c)) {
            return Err(HttpsUrlError::Character { found });
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(HttpsUrlError::UserInformation);
        }
        let (host, port) = host_and_port(authority)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { text: text.to_owned(), host, port, target })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// RFC 3986 section 2, and `%` as the start of an encoded byte; not the delimiters of authorities, which are looked at apart.
fn is_url_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?[]@!$&'()*+,;=%".contains(c)
}

fn host_and_port(authority: &str) -> Result<(UrlHost, u16), HttpsUrlError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (UrlHost::Address(IpAddr::V6(v6(address)?)), None),
        Some((address, port)) => {
            let port = port.strip_prefix(':').ok_or_else(|| HttpsUrlError::Port { found: port.to_owned() })?;
            (UrlHost::Address(IpAddr::V6(v6(address)?)), Some(port))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (name_or_v4(host)?, Some(port)),
            None => (name_or_v4(authority)?, None),
        },
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| HttpsUrlError::Port { found: digits.to_owned() })?,
    };
    Ok((host, port))
}

fn v6(text: &str) -> Result<Ipv6Addr, HttpsUrlError> {
    text.parse().map_err(|_| HttpsUrlError::Host { found: text.to_owned() })
}

fn name_or_v4(text: &str) -> Result<UrlHost, HttpsUrlError> {
    match text.parse() {
        Ok(address) => Ok(UrlHost::Address(IpAddr::V4(address))),
        // A name whose last label is a number is refused here: a resolver could read it as an address.
        Err(_) => DnsName::parse(text).map(UrlHost::Name).map_err(|_| HttpsUrlError::Host { found: text.to_owned() }),
    }
}

const DEFAULT_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url() {
        for (text, authority, port, target) in [
            ("https://issuer.example", "issuer.example", 443, "/"),
            ("https://issuer.example:443/a/b?c=d%20e", "issuer.example", 443, "/a/b?c=d%20e"),
            ("https://issuer.example:8443?x", "issuer.example:8443", 8443, "/?x"),
            ("https://192.0.2.1/jwks", "192.0.2.1", 443, "/jwks"),
            ("https://[2001:db8::1]:9/jwks", "[2001:db8::1]:9", 9, "/jwks"),
            ("https://localhost/a@b", "localhost", 443, "/a@b"),
        ] {
            let url: HttpsUrl = text.parse().unwrap();
            assert_eq!((url.authority().as_str(), url.port(), url.target()), (authority, port, target), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn a_target_is_put_on_the_same_server_and_never_leads_to_another() {
        let server: HttpsUrl = "https://vault.example:8200".parse().unwrap();
        assert!(server.is_of_server());
        let url = server.on_same_server("/v1/pki/sign/web").unwrap();
        assert_eq!(url.as_str(), "https://vault.example:8200/v1/pki/sign/web");
        assert!(!url.is_of_server());
        let v6: HttpsUrl = "https://[2001:db8::1]:9".parse().unwrap();
        assert_eq!(v6.on_same_server("/a").unwrap().as_str(), "https://[2001:db8::1]:9/a");
        for refused in ["", ".evil.example/a", "1/a", "@evil.example/", "/a b", "/a#b"] {
            assert!(server.on_same_server(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        use HttpsUrlError as E;
        let refused = |text: &str| text.parse::<HttpsUrl>().unwrap_err();
        for text in
            ["http://a.example/", "HTTPS://a.example/", "a.example", "https:/a", "file:///etc/passwd", " https://a.example"]
        {
            assert_eq!(refused(text), E::Scheme, "{text}");
        }
        for text in ["https://user@a.example/", "https://user:pass@a.example/", "https://a.example:443@b.example/"] {
            assert_eq!(refused(text), E::UserInformation, "{text}");
        }
        for text in [
            "https://",
            "https:///a",
            "https://A.example",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://a..b/",
        ] {
            assert!(matches!(refused(text), E::Host { .. }), "{text}");
        }
        for text in
            ["https://a.example:", "https://a.example:0", "https://a.example:65536", "https://a.example:+1", "https://[::1]1"]
        {
            assert!(matches!(refused(text), E::Port { .. }), "{text}");
        }
        assert_eq!(refused("https://a.example/#x"), E::Fragment);
        for text in [
            "https://a.example/ b",
            "https://a.example/\r\nx: y",
            "https://a.example/\u{fc}",
            "https://a.example\\b",
            "https://a.example/\0",
        ] {
            assert!(matches!(refused(text), E::Character { .. }), "{text}");
        }
        assert_eq!(refused(""), E::Length { found: 0 });
        assert!(matches!(refused(&format!("https://a.example/{}", "a".repeat(2048))), E::Length { .. }));
    }
}
