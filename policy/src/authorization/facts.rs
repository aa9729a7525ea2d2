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
    pub(crate) tcp: TcpReading,
}

/// What is known of a request.
pub(crate) struct HttpFacts<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(super) path: Option<NormalPath<'a>>,
    pub(crate) token: Option<&'a VerifiedToken>,
}

impl<'a> Facts<'a> {
    /// Reads the request; a reason where it cannot be read in one way only.
    pub(crate) fn of(
        mesh: &'a Mesh,
        target: &Target<'_>,
        connection: &'a Connection<'a>,
        request: Option<&'a Request<'a>>,
    ) -> Result<Self, Reason> {
        Self::of_connection(mesh, target.role, connection).with(request)
    }

    /// What is known before there is a request.
    pub(crate) fn of_connection(mesh: &'a Mesh, role: Role, connection: &'a Connection<'a>) -> Self {
        let tcp = if role == Role::Node { TcpReading::Ztunnel } else { mesh.tcp };
        Self { mesh, connection, peer: connection.identity().map(PeerFields::of), http: None, tcp }
    }

    /// The same, with a request.
    pub(crate) fn with<'r>(&self, request: Option<&'r Request<'r>>) -> Result<Facts<'r>, Reason>
    where
        'a: 'r,
    {
        let http = request.map(|request| HttpFacts::of(self.mesh, request)).transpose()?;
        Ok(Facts { mesh: self.mesh, connection: self.connection, peer: self.peer, http, tcp: self.tcp })
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.http.is_none()
    }

    pub(crate) fn source_ip(&self) -> Option<IpAddr> {
        self.connection.source_ip
    }

    /// Whoever tells no client's address has nobody between.
    pub(crate) fn remote_ip(&self) -> Option<IpAddr> {
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
    pub(crate) fn with_lines<T>(&self, name: &str, read: impl FnOnce(&[&[u8]]) -> T) -> T {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let told = if is(":method") {
            self.request.method
        } else if is(":path") {
            self.path.as_ref().map(NormalPath::whole)
        } else if is(":authority") || is("host") {
            self.request.authority
        } else {
            return self.with_header_lines(name, read);
        };
        read(told.as_slice())
    }

    /// Nothing is allocated where a header has as few lines as headers have.
    fn with_header_lines<T>(&self, name: &str, read: impl FnOnce(&[&[u8]]) -> T) -> T {
        const FEW: usize = 8;
        let mut few: [&[u8]; FEW] = [&[]; FEW];
        let mut count = 0;
        for line in self.request.headers.lines(name) {
            match few.get_mut(count) {
                Some(place) => *place = line,
                None => return read(&self.request.headers.lines(name).collect::<Vec<_>>()),
            }
            count += 1;
        }
        read(few.get(..count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Headers;

    #[test]
    fn every_line_of_a_header_is_read_however_many_there_are() {
        let mesh = Mesh::default();
        for count in [0, 1, 8, 9, 20] {
            let headers: Vec<(&[u8], &[u8])> = vec![(b"X-A", b"1"); count];
            let request = Request { headers: Headers(&headers), ..Request::default() };
            let facts = HttpFacts::of(&mesh, &request).unwrap();
            assert_eq!(facts.with_lines("x-a", |lines| lines.len()), count);
            assert_eq!(facts.with_lines("x-b", |lines| lines.len()), 0);
        }
    }

    #[test]
    fn what_http2_tells_beside_headers_is_read_as_headers_are() {
        let mesh = Mesh::default();
        let request = Request { method: Some(b"GET"), path: Some(b"/a?b"), authority: Some(b"c"), ..Request::default() };
        let facts = HttpFacts::of(&mesh, &request).unwrap();
        for (name, value) in [(":Method", b"GET".as_slice()), (":path", b"/a?b"), (":authority", b"c"), ("Host", b"c")] {
            assert!(facts.with_lines(name, |lines| lines == [value]), "{name}");
        }
        let request = Request::default();
        let facts = HttpFacts::of(&mesh, &request).unwrap();
        assert!(facts.with_lines(":method", |lines| lines.is_empty()));
    }
}
