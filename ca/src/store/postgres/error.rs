//! What a server or the way to it said, and why a database is not used.

use runtime::secret_source::SecretSourceError;
use tokio_postgres::error::SqlState;

use crate::store::{FaultKind, StoreFault, StoreState};

/// What a failure means for the session that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum LinkErrorKind {
    /// The session is gone, or its answers are: what was not answered may have been done.
    Gone,
    /// Somebody else holds a lock, or was faster.
    Busy,
    /// No room in the server's file system.
    Full,
    /// The server takes no writes: it may have become a standby.
    ReadOnly,
    /// The server met an error of its disk.
    Disk,
    /// The statement alone.
    Statement,
}

/// What a server or the way to it said. Never the values of a statement.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(in crate::store) struct LinkError {
    pub(in crate::store) kind: LinkErrorKind,
    text: String,
}

impl LinkError {
    /// No answer came in time.
    pub(super) fn silent(seconds: u64) -> Self {
        Self { kind: LinkErrorKind::Gone, text: format!("the server did not answer within {seconds} s") }
    }

    /// What the fault is called.
    pub(super) fn fault_kind(&self) -> FaultKind {
        match self.kind {
            LinkErrorKind::Full => FaultKind::Full,
            LinkErrorKind::ReadOnly => FaultKind::ReadOnly,
            LinkErrorKind::Disk => FaultKind::Disk,
            LinkErrorKind::Gone => FaultKind::Server,
            LinkErrorKind::Busy | LinkErrorKind::Statement => FaultKind::Undone,
        }
    }
}

impl From<&tokio_postgres::Error> for LinkError {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            return Self { kind: LinkErrorKind::Gone, text: format!("{error}{source}") };
        };
        let code = told.code();
        // Its message alone: the detail may quote what a row holds.
        Self { kind: kind_of(code), text: format!("the server says: {} (SQLSTATE {})", told.message(), code.code()) }
    }
}

fn kind_of(code: &SqlState) -> LinkErrorKind {
    if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) {
        LinkErrorKind::Busy
    } else if *code == SqlState::DISK_FULL {
        LinkErrorKind::Full
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        LinkErrorKind::ReadOnly
    } else if *code == SqlState::IO_ERROR {
        LinkErrorKind::Disk
    } else if ["08", "28", "3D", "53", "57P"].iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
    {
        // Connections, logins, missing databases, too many clients, a server that ends.
        LinkErrorKind::Gone
    } else {
        LinkErrorKind::Statement
    }
}

/// Why a database is not used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The password was not read.
    #[error("the password of the database {database}: {cause}")]
    Password {
        /// Which database, and where.
        database: String,
        /// Why not.
        cause: SecretSourceError,
    },
    /// The roots for TLS were not read.
    #[error("the TLS roots of the database {database}: {cause}")]
    Roots {
        /// Which database, and where.
        database: String,
        /// Why not.
        cause: String,
    },
    /// The server is not reached, refuses the login, or does not answer.
    #[error("the database {database} cannot be opened: {cause}")]
    Server {
        /// Which database, and where.
        database: String,
        /// What the server or the system said.
        cause: String,
    },
    /// A setting that durability stands on is another.
    #[error("the database {database} does not run with {setting}={wanted} (it says {found}); {advice}")]
    Setting {
        /// Which database, and where.
        database: String,
        /// The setting.
        setting: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What the server says that it is.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A later build made its schema.
    #[error(
        "the database {database} has schema version {found}, this build knows up to {known}; run the build that wrote it, or a newer one"
    )]
    Newer {
        /// Which database, and where.
        database: String,
        /// The version met.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
}

impl PostgresError {
    /// What a store that was open is, which met this when it came back.
    pub(super) fn as_state(&self) -> StoreState {
        StoreState::Refusing(StoreFault { kind: FaultKind::Server, cause: self.to_string() })
    }
}
