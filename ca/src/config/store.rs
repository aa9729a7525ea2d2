//! `[store]`: where the CA keeps what must survive.

use std::str::FromStr;

use identity::HostPort;
use runtime::config::{Section, absolute_path};
use runtime::secret_source::SecretSource;

use crate::store::{DEFAULT_PORT, PostgresConfig, ServerPlace};

/// The longest name of a role or a database that a server takes (NAMEDATALEN - 1).
const MAX_NAME_BYTES: usize = 63;

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// The file `store.db` in the state directory, for this CA alone.
    Sqlite,
    /// A database, which other replicas may share.
    Postgres(PostgresConfig),
}

/// Reads the table.
pub(super) fn read(section: &Section<'_>) -> StoreConfig {
    let is_postgres = section.optional("kind", |text| match text {
        "sqlite" => Ok(false),
        "postgres" => Ok(true),
        other => Err(format!("\"{other}\" is not \"sqlite\" or \"postgres\"")),
    });
    if is_postgres != Some(true) {
        return StoreConfig::Sqlite;
    }
    // A fault is told by `finish`, and the configuration is not used then.
    read_postgres(section).map_or(StoreConfig::Sqlite, StoreConfig::Postgres)
}

fn read_postgres(section: &Section<'_>) -> Option<PostgresConfig> {
    let socket = section.optional("socket", absolute_path);
    let port = section.integer("port", 1..=65_535);
    let address = section.optional("address", HostPort::from_str);
    let tls_roots = section.optional("tls_roots", absolute_path);
    let user = section.required("user", name);
    let database = section.required("database", name);
    let password = SecretSource::from_config(section, "password_file", "password_credential");
    let place = match (socket, address, tls_roots) {
        (Some(directory), None, None) => {
            let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
            Some(ServerPlace::Socket { directory, port })
        }
        (None, Some(address), Some(tls_roots)) => {
            if port.is_some() {
                section.fault("port", "the address has one; this names the Unix socket of a server");
            }
            Some(ServerPlace::Address { address, tls_roots })
        }
        (None, Some(_), None) => {
            section.fault("tls_roots", "missing: a server at an address is spoken to by TLS alone, under roots that this names");
            None
        }
        (Some(_), None, Some(_)) => {
            section.fault("tls_roots", "a Unix socket is spoken to without TLS");
            None
        }
        (Some(_), Some(_), _) => {
            section.fault("socket", "there is an address too; name one place");
            None
        }
        (None, None, _) => {
            section.fault("kind", "\"postgres\" needs the directory of the server's socket, or its address and tls_roots");
            None
        }
    };
    Some(PostgresConfig { place: place?, user: user?, database: database?, password })
}

fn name(text: &str) -> Result<String, &'static str> {
    if (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("not a name of 1 to 63 bytes")
    }
}

#[cfg(test)]
mod tests {
    use runtime::config::Document;

    use super::*;

    fn parse(text: &str) -> Result<StoreConfig, String> {
        let document = Document::parse("ca.toml", text).unwrap();
        let root = document.root();
        let store = read(&root.section("store"));
        drop(root);
        document.finish().map(|()| store).map_err(|errors| errors.to_string())
    }

    const BASE: &str = "[store]\nkind = \"postgres\"\nuser = \"signet\"\ndatabase = \"ca\"\n";

    #[test]
    fn the_store_is_a_file_unless_a_database_is_named_whole() {
        assert_eq!(parse("").unwrap(), StoreConfig::Sqlite);
        assert_eq!(parse("[store]\nkind = \"sqlite\"").unwrap(), StoreConfig::Sqlite);
        let StoreConfig::Postgres(read) = parse(&format!("{BASE}socket = \"/run/postgresql\"\npassword_file = \"/p\"")).unwrap()
        else {
            panic!("a database")
        };
        assert_eq!(read.to_string(), "ca at /run/postgresql/.s.PGSQL.5432");
        assert_eq!(read.password, Some(SecretSource::File("/p".into())));
        let StoreConfig::Postgres(read) = parse(&format!("{BASE}address = \"db.example:5433\"\ntls_roots = \"/r.pem\"")).unwrap()
        else {
            panic!("a database")
        };
        assert_eq!(read.to_string(), "ca at db.example:5433");
    }

    #[test]
    fn a_server_without_tls_and_what_does_not_fit_together_are_faults() {
        for (bad, key) in [
            ("[store]\nkind = \"mysql\"".to_owned(), "kind"),
            (BASE.to_owned(), "kind"),
            (format!("{BASE}address = \"db.example:5432\""), "tls_roots"),
            (format!("{BASE}socket = \"/s\"\ntls_roots = \"/r.pem\""), "tls_roots"),
            (format!("{BASE}socket = \"/s\"\naddress = \"db:1\""), "socket"),
            (format!("{BASE}socket = \"relative\""), "socket"),
            (format!("{BASE}address = \"db:1\"\ntls_roots = \"/r\"\nport = 5"), "port"),
            (format!("{BASE}socket = \"/s\"\npassword_file = \"/p\"\npassword_credential = \"c\""), "password_credential"),
            (format!("{BASE}socket = \"/s\"\npassword = \"secret\""), "password"),
            ("[store]\nkind = \"postgres\"\nsocket = \"/s\"\nuser = \"\"\ndatabase = \"d\"".to_owned(), "user"),
            ("[store]\nuser = \"u\"".to_owned(), "user"),
        ] {
            let told = parse(&bad).unwrap_err();
            assert!(told.contains(&format!("store.{key}")), "{bad}: {told}");
        }
    }
}
