//! `envoy bootstrap`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use identity::{HostPort, SpiffeId};

use super::{DEFAULT_API_SOCKET, span};

/// `envoy ...`
#[derive(Debug, Subcommand)]
pub(crate) enum EnvoyVerb {
    /// Print a bootstrap configuration (JSON) that takes its identity from the agent
    #[command(after_help = BOOTSTRAP_HELP)]
    Bootstrap(BootstrapArgs),
}

/// `envoy bootstrap`
#[derive(Args, Clone, Debug)]
pub(crate) struct BootstrapArgs {
    /// The identity to ask the agent for: a SPIFFE ID, or `default` for the only one that the process has
    #[arg(long, value_name = "ID")]
    pub(crate) id: CertificateName,

    /// Inbound: accept mTLS here
    #[arg(long, value_name = "ADDR", requires_all = ["upstream", "client_ids"])]
    pub(crate) listen: Option<SocketAddr>,
    /// Inbound: pass it on, in plain text, to this service
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    pub(crate) upstream: Option<HostPort>,
    /// Inbound: a client that may come in, by its exact SPIFFE ID; repeat for more
    #[arg(long = "client-id", value_name = "ID", requires = "listen")]
    pub(crate) client_ids: Vec<SpiffeId>,

    /// Outbound: accept plain text of the own program here (loopback)
    #[arg(long, value_name = "ADDR", requires_all = ["outbound_upstream", "server_ids"], value_parser = loopback)]
    pub(crate) outbound_listen: Option<SocketAddr>,
    /// Outbound: carry it over mTLS to this server
    #[arg(long, value_name = "HOST:PORT", requires = "outbound_listen")]
    pub(crate) outbound_upstream: Option<HostPort>,
    /// Outbound: who the server must be, by its exact SPIFFE ID; repeat when several may stand behind the address
    #[arg(long = "server-id", value_name = "ID", requires = "outbound_listen")]
    pub(crate) server_ids: Vec<SpiffeId>,

    /// What the listeners carry; `http` drains a connection before it ends it, `tcp` cuts it
    #[arg(long, value_enum, value_name = "NAME", default_value_t = ProxyProtocol::Http)]
    pub(crate) protocol: ProxyProtocol,
    /// The longest life of a connection, so that none outlives the certificate it was made with for long
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
    pub(crate) max_connection_duration: Duration,
    /// Ask the agent for changes only (`DeltaSecrets`): Envoy is told of a certificate taken away
    #[arg(long)]
    pub(crate) delta: bool,
    /// Envoy's own admin page (loopback); left out: none
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    pub(crate) admin: Option<SocketAddr>,
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_API_SOCKET)]
    pub(crate) api_socket: PathBuf,
    /// Envoy's node id; left out: made from the identity
    #[arg(long, value_name = "TEXT")]
    pub(crate) node_id: Option<String>,
}

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyProtocol {
    /// HTTP/1.1 and HTTP/2
    Http,
    /// Bytes
    Tcp,
}

/// The name under which Envoy asks for its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateName {
    /// `default`: the one identity of the process.
    Default,
    /// A SPIFFE ID.
    Id(SpiffeId),
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl FromStr for CertificateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let id = SpiffeId::parse(text).map_err(|error| format!("{error}; write a SPIFFE ID or `default`"))?;
        if id.path().is_empty() {
            return Err("a trust domain is no workload: the SPIFFE ID needs a path".to_owned());
        }
        Ok(Self::Id(id))
    }
}

/// An address that only this machine reaches: the admin page stops Envoy, and the outbound listener lends its identity
/// to whoever connects.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write an address such as 127.0.0.1:9901".to_owned())?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("{} is not a loopback address", address.ip())) }
}

pub(super) const ENVOY_HELP: &str = "\
Example:
  signet envoy bootstrap --id spiffe://example.org/web \\
      --outbound-listen 127.0.0.1:9001 --outbound-upstream api.example.org:8443 --server-id spiffe://example.org/api";

const BOOTSTRAP_HELP: &str = "\
Examples:
  In front of a server: mTLS in from `web` alone, plain text on to the program
    signet envoy bootstrap --id spiffe://example.org/api --listen 0.0.0.0:8443 --upstream 127.0.0.1:8080 \\
        --client-id spiffe://example.org/web > envoy.json

  Beside a client: plain text in on loopback, mTLS out to `api` alone
    signet envoy bootstrap --id spiffe://example.org/web --outbound-listen 127.0.0.1:9001 \\
        --outbound-upstream api.example.org:8443 --server-id spiffe://example.org/api > envoy.json

  Check it: envoy --mode validate -c envoy.json";
