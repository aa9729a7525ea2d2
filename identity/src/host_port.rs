//! Where to connect: a host and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::DnsName;

/// A host (DNS name or address) with a port that is not 0. It only finds a peer: it is never what makes one trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    text: Arc<str>,
    host: Host,
    port: u16,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By address.
    Ip(IpAddr),
    /// By name; whoever connects resolves it.
    Dns(DnsName),
}

/// Why a text is no host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected <host>:<port> such as ca.example.org:8443, found {found:?}")]
pub struct HostPortError {
    /// The text met.
    pub found: String,
}

impl HostPort {
    /// The text, as parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = match text.parse::<SocketAddr>() {
            Ok(address) => Some((Host::Ip(address.ip()), address.port())),
            Err(_) => {
                text.rsplit_once(':').and_then(|(name, port)| Some((Host::Dns(DnsName::parse(name).ok()?), port.parse().ok()?)))
            }
        };
        match parts {
            Some((host, port)) if port != 0 => Ok(Self { text: text.into(), host, port }),
            _ => Err(HostPortError { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Dns(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_both_needed() {
        for (good, host, port) in
            [("ca.example.org:1", "ca.example.org", 1), ("127.0.0.1:65535", "127.0.0.1", 65535), ("[::1]:8443", "::1", 8443)]
        {
            let parsed: HostPort = good.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.host().to_string().as_str(), parsed.port()), (good, host, port));
        }
        for bad in ["", "ca", "ca:", "ca:0", "ca:65536", "127.0.0.1:0", "127.0.0.1", "127.0.0.1:70000", "a b:1", ":1", "::1:1x"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }
}
