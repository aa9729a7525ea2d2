//! What one decision knows, brought into its form once.

use std::net::IpAddr;

use super::peers::PeerFields;
use crate::decision::Reason;
use crate::mesh::{Mesh, TcpReading};
use crate::path::{NormalPath, normalize};
use crate::request::{Connection, PresentedToken, Request, Role, Target, VerifiedToken};

/// What one decision knows.
pub(crate) struct Facts<'a> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) connection: &'a Connection<'a>,
    pub(crate) peer: Option<PeerFields<'a>>,
    pub(crate) http: Option<HttpFacts<'a>>,
    /// How rules are read that ask for what is not there to be asked for.
    pub(super) tcp: TcpReading,
}

/// What is known of a request.
pub(crate) struct HttpFacts<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(super) path: Option<NormalPath<'a>>,
    pub(super) token: Option<&'a VerifiedToken>,
}

impl<'a> Facts<'a> {
    /// Reads the request; a reason where it cannot be read in one way only.
    pub(crate) fn of(
        mesh: &'a Mesh,
        target: &Target<'_>,
        connection: &'a Connection<'a>,
        request: Option<&'a Request<'a>>,
    ) -> Result<Self, Reason> {
        let tcp = if target.role == Role::Node { TcpReading::Ztunnel } else { mesh.tcp };
        let http = request.map(|request| HttpFacts::of(mesh, request)).transpose()?;
        Ok(Self { mesh, connection, peer: connection.identity().map(PeerFields::of), http, tcp })
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.http.is_none()
    }

    pub(super) fn source_ip(&self) -> Option<IpAddr> {
        self.connection.source_ip
    }

    /// Whoever tells no client's address has nobody between.
    pub(super) fn remote_ip(&self) -> Option<IpAddr> {
        self.connection.remote_ip.or(self.connection.source_ip)
    }
}

impl<'a> HttpFacts<'a> {
    fn of(mesh: &Mesh, request: &'a Request<'a>) -> Result<Self, Reason> {
        request.headers.check().map_err(Reason::HeaderRefused)?;
        let path = request.path.map(|raw| normalize(raw, mesh.path_normalization, mesh.fragment)).transpose();
        let token = match request.token {
            PresentedToken::Verified(token) => Some(token),
            PresentedToken::Absent | PresentedToken::Refused(_) => None,
        };
        Ok(Self { request, path: path.map_err(Reason::PathRefused)?, token })
    }

    /// The path without its query.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        self.path.as_ref().map(NormalPath::path)
    }

    /// The path and its query.
    pub(crate) fn path_and_query(&self) -> Option<&[u8]> {
        self.path.as_ref().map(NormalPath::whole)
    }

    /// The values of a header, or of what HTTP/2 tells beside headers.
    pub(crate) fn lines(&self, name: &str) -> Vec<&[u8]> {
        match name.to_ascii_lowercase().as_str() {
            ":method" => self.request.method.into_iter().collect(),
            ":path" => self.path.iter().map(NormalPath::whole).collect(),
            ":authority" | "host" => self.request.authority.into_iter().collect(),
            _ => self.request.headers.lines(name).collect(),
        }
    }
}
