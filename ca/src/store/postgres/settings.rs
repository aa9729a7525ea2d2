//! Where the database server is, and who speaks to it.

use std::fmt;
use std::path::PathBuf;

use identity::HostPort;
use runtime::secret_source::SecretSource;

/// The port of a server that names none; for a Unix socket it is a part of the name.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPlace {
    /// The directory of its Unix socket (absolute), and the port that the socket is named after.
    Socket {
        /// The directory.
        directory: PathBuf,
        /// The port.
        port: u16,
    },
    /// An address, always with TLS 1.3: the certificate names the host, under these roots.
    Address {
        /// Host and port.
        address: HostPort,
        /// PEM file with the roots. Absolute.
        tls_roots: PathBuf,
    },
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
            Self::Address { address, tls_roots: _ } => f.write_str(address.as_str()),
        }
    }
}

/// A database of a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Where the server is.
    pub place: ServerPlace,
    /// The role to log in as.
    pub user: String,
    /// The database, which holds one trust domain.
    pub database: String,
    /// Where its password is, read anew for each session; `None` where the server knows the role by other means.
    pub password: Option<SecretSource>,
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, user: _, database, password: _ } = self;
        write!(f, "{database} at {place}")
    }
}
