//! Opening the file: its permissions, its schema version, and the settings that durability stands on, each read back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::private_files::{PrivateFileError, check_private_dir};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::recovery;

/// The schema, as steps from one version to the next. `user_version` counts the steps taken. A step that was released is never
/// changed: a new one is added.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
    include_str!("schema_11.sql"),
    include_str!("schema_12.sql"),
    include_str!("schema_13.sql"),
    include_str!("schema_14.sql"),
    include_str!("schema_15.sql"),
];

/// How long a statement waits for a lock: only a foreign tool that looks at the file can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that a connection keeps compiled: more than the store has, so that none is compiled for each certificate.
const KEPT_STATEMENTS: usize = 128;

/// Why the store is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory is not private.
    #[error(transparent)]
    Directory(#[from] PrivateFileError),
    /// The file cannot be made or looked at.
    #[error("the store {path} cannot be opened: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It is no regular file of ours.
    #[error("the store {path} is not a regular file owned by the user that runs this process; move it away or correct its owner")]
    NotOurs {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("the store {path} is open to others (mode {mode:04o}); run `chmod 600` on it, and look who read or wrote it")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A later build made its schema.
    #[error(
        "the store {path} has schema version {found}, this build knows up to {known}; run the build that wrote it, or a newer one"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version met.
        found: usize,
        /// The newest version that this build knows.
        known: usize,
    },
    /// An earlier build made its schema, and it was to be read only.
    #[error(
        "the store {path} has schema version {found}, this build reads {known}; a start of the CA with this build brings it up to date"
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// The version met.
        found: usize,
        /// The version that this build reads.
        known: usize,
    },
    /// SQLite did not take a setting that durability stands on.
    #[error(
        "the store {path} does not run with {setting}={wanted} (it says {found}); is it on a file system that SQLite's WAL can use?"
    )]
    Setting {
        /// Which file.
        path: PathBuf,
        /// The pragma.
        setting: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What SQLite says that it is.
        found: String,
    },
    /// The disk does not confirm what the log of the store holds.
    #[error(
        "the store {path} is not used: the disk does not confirm what it holds: {cause}; look at the kernel's log and at the disk"
    )]
    Unconfirmed {
        /// Which file.
        path: PathBuf,
        /// What the system or SQLite said.
        cause: String,
    },
    /// The database of a server.
    #[error(transparent)]
    Server(#[from] crate::store::PostgresError),
    /// SQLite refused the file.
    #[error("the store {path} cannot be opened: {cause}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
}

/// The connection of the writer, with the schema of this build, after the disk confirmed what the log holds.
pub(super) fn writable(path: &Path) -> Result<Connection, OpenError> {
    check_private_dir(directory_of(path))?;
    ensure_private_file(path)?;
    let mut connection = connect(path)?;
    recovery::confirm(path, &mut connection)
        .map_err(|error| OpenError::Unconfirmed { path: path.to_owned(), cause: error.to_string() })?;
    migrate(path, &mut connection)?;
    Ok(connection)
}

/// A further connection of the writer to a file that was opened before: none is made where it is gone.
pub(super) fn existing(path: &Path) -> Result<Connection, OpenError> {
    check_private_dir(directory_of(path))?;
    check_private_file(path)?;
    connect(path)
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let database = |cause| OpenError::Database { path: path.to_owned(), cause };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database)?;
    configure(&connection).map_err(database)?;
    check_settings(path, &connection)?;
    Ok(connection)
}

/// A connection of a reader. The writer's has been opened before, so the schema is that of this build.
pub(super) fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        keep_statements(&connection)?;
        // SQLite opens the log at the first read, which would fail when the process has no descriptor left by then.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    open().map_err(|cause| OpenError::Database { path: path.to_owned(), cause })
}

/// Statements stay compiled, whatever values they are run with: SQLite would compile some of them anew for each other value.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(KEPT_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_statements(connection)?;
    // Answers with the mode now in force, which `check_settings` reads again.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // In WAL mode NORMAL syncs at checkpoints only: a commit could be lost, and with it the record of a certificate.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer merges the log itself, between groups: SQLite would do it within a commit, and keep its failure to itself.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Whoever plants a view or trigger in the file does not get functions with side effects.
    connection.pragma_update(None, "trusted_schema", "OFF")
}

/// Reads back what [`configure`] set: SQLite ignores what it cannot do, without an error.
pub(super) fn check_settings(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    // `synchronous` answers with its number: 2 is FULL.
    let wanted = [("journal_mode", "wal", "wal"), ("synchronous", "FULL", "2"), ("foreign_keys", "ON", "1")];
    for (setting, wanted, answer) in wanted {
        let found: rusqlite::types::Value = connection
            .pragma_query_value(None, setting, |row| row.get(0))
            .map_err(|cause| OpenError::Database { path: path.to_owned(), cause })?;
        let found = match found {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other @ (rusqlite::types::Value::Null | rusqlite::types::Value::Real(_) | rusqlite::types::Value::Blob(_)) => {
                format!("{other:?}")
            }
        };
        if found != answer {
            return Err(OpenError::Setting { path: path.to_owned(), setting, wanted, found });
        }
    }
    Ok(())
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let database = |cause| OpenError::Database { path: path.to_owned(), cause };
    let found: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
        .map_err(database)?;
    let steps =
        MIGRATIONS.get(found..).ok_or_else(|| OpenError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() })?;
    for (version, step) in (found + 1..).zip(steps) {
        // The step and its number in one transaction: a crash leaves the one before.
        let mut apply = || {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.execute_batch(&format!("PRAGMA user_version = {version}"))?;
            transaction.commit()
        };
        apply().map_err(database)?;
    }
    Ok(())
}

/// Makes the file with mode 0600 before SQLite sees it, or checks the one that is there. SQLite gives the same mode to the files
/// that it puts beside it.
fn ensure_private_file(path: &Path) -> Result<(), OpenError> {
    let file_error = |cause| OpenError::File { path: path.to_owned(), cause };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // The umask may have taken bits from the mode.
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(file_error)?;
            return File::open(directory_of(path)).and_then(|directory| directory.sync_all()).map_err(file_error);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_error(error)),
    }
    check_private_file(path)
}

fn check_private_file(path: &Path) -> Result<(), OpenError> {
    let file_error = |cause| OpenError::File { path: path.to_owned(), cause };
    let metadata = path.symlink_metadata().map_err(file_error)?;
    if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
