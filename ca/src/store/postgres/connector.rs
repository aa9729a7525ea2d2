//! Sessions with the server: opened, and refused where they would not keep what they confirm.

use std::future::poll_fn;
use std::time::Duration;

use mtls::{ClientTls, ServerTrust};
use pki::TrustedRoots;
use runtime::clock::SystemClock;
use runtime::private_files::read_bounded;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification};
use zeroize::Zeroizing;

use super::error::{LinkError, PostgresError};
use super::link::Link;
use super::settings::{PostgresConfig, ServerPlace};
use super::tls::Secure;

/// For the connection to one address, and for the whole of a login.
const CONNECT: Duration = Duration::from_secs(5);
const LOGIN: Duration = Duration::from_secs(10);

/// The most bytes of a password, and of a file with roots.
const MAX_PASSWORD_BYTES: usize = 1024;
const MAX_ROOTS_BYTES: usize = 256 * 1024;

/// Notifications that wait to be looked at; when more come, everything is looked at.
pub(super) const HEARD: usize = 1024;

/// What every session is told. Names are looked up in the schema of the store alone (and in the system's). The server gives up a statement
/// before we stop to wait, a lock before that, and sooner than that a transaction whose other end says nothing: it may hold what the groups of
/// other replicas wait for.
const SESSION: &str = "SET search_path = signet; SET statement_timeout = '20s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '4s'; SET client_min_messages = warning; SET bytea_output = hex";

/// What durability stands on, with what may be said of it and what to do otherwise.
const REQUIRED: [(&str, &[&str], &str); 4] = [
    (
        "synchronous_commit",
        &["on", "remote_apply"],
        "set it for the database or the server: a commit that is confirmed must be on disk",
    ),
    ("fsync", &["on"], "set it in postgresql.conf: without it a crash of the machine loses what was confirmed"),
    ("full_page_writes", &["on"], "set it in postgresql.conf: without it a crash of the machine tears pages"),
    ("server_encoding", &["UTF8"], "make the database with ENCODING 'UTF8'"),
];

/// What a session hears.
pub(super) type Heard = mpsc::Receiver<Notification>;

/// Opens sessions.
pub(super) struct Connector {
    config: PostgresConfig,
    network: Handle,
}

impl Connector {
    pub(super) fn new(config: PostgresConfig, network: Handle) -> Self {
        Self { config, network }
    }

    pub(super) fn network(&self) -> &Handle {
        &self.network
    }

    /// Which database, and where.
    pub(super) fn database(&self) -> String {
        self.config.to_string()
    }

    /// A session whose settings are those that durability needs. Not to be called on a thread that serves tasks.
    ///
    /// # Errors
    /// [`PostgresError`].
    pub(super) fn open(&self) -> Result<(Link, Heard), PostgresError> {
        let (login, tls) = (self.login()?, self.tls()?);
        let opened = self.network.block_on(async {
            let connect = async {
                match tls {
                    None => login.connect(NoTls).await.map(|(client, connection)| (client, self.drive(connection))),
                    Some(tls) => login.connect(tls).await.map(|(client, connection)| (client, self.drive(connection))),
                }
            };
            tokio::time::timeout(LOGIN, connect).await
        });
        let (client, heard): (Client, Heard) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(self.failed(&LinkError::from(&error))),
            Err(_) => return Err(self.failed(&LinkError::silent(LOGIN.as_secs()))),
        };
        let link = Link::new(client, self.network.clone());
        self.prepare(&link)?;
        Ok((link, heard))
    }

    pub(super) fn failed(&self, cause: &LinkError) -> PostgresError {
        PostgresError::Server { database: self.database(), cause: cause.to_string() }
    }

    fn login(&self) -> Result<Config, PostgresError> {
        let PostgresConfig { place, user, database, password } = &self.config;
        let mut login = Config::new();
        login.user(user).dbname(database).application_name("signet-ca").connect_timeout(CONNECT);
        login.target_session_attrs(TargetSessionAttrs::ReadWrite);
        match place {
            ServerPlace::Socket { directory, port } => {
                login.host_path(directory).port(*port).ssl_mode(SslMode::Disable);
            }
            ServerPlace::Address { address, tls_roots: _ } => {
                login.host(address.host().to_string()).port(address.port()).ssl_mode(SslMode::Require);
                // A way that is cut is noticed before we stop to wait for an answer.
                login.keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
                login.tcp_user_timeout(Duration::from_secs(20));
            }
        }
        if let Some(source) = password {
            let unread = |cause| PostgresError::Password { database: self.database(), cause };
            let text = Zeroizing::new(source.read(MAX_PASSWORD_BYTES).map_err(unread)?);
            login.password(text.strip_suffix(b"\n").unwrap_or(&text));
        }
        Ok(login)
    }

    fn tls(&self) -> Result<Option<Secure>, PostgresError> {
        let ServerPlace::Address { address, tls_roots } = &self.config.place else { return Ok(None) };
        let unread = |cause: String| PostgresError::Roots { database: self.database(), cause };
        let pem = read_bounded(tls_roots, MAX_ROOTS_BYTES).map_err(|error| unread(error.to_string()))?;
        let roots = TrustedRoots::from_pem(&pem).map_err(|error| unread(format!("{}: {error}", tls_roots.display())))?;
        let trust = ServerTrust::ServerName { name: address.host().clone(), roots };
        Ok(Some(Secure(ClientTls::new(trust, None, &[b"postgresql"], SystemClock::shared()))))
    }

    /// Carries the session until its client is dropped or the way ends.
    fn drive<S, T>(&self, mut connection: Connection<S, T>) -> Heard
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (heard, queue) = mpsc::channel(HEARD);
        let carried = async move {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    // Whoever does not listen hears nothing, and who is slow looks at everything.
                    Some(Ok(AsyncMessage::Notification(told))) => drop(heard.try_send(told)),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a session with the database server ended");
                        return;
                    }
                    None => return,
                }
            }
        };
        // It ends with the client that it carries for, or with the network.
        drop(self.network.spawn(carried));
        queue
    }

    fn prepare(&self, link: &Link) -> Result<(), PostgresError> {
        let failed = |error: LinkError| self.failed(&error);
        link.control(SESSION).map_err(failed)?;
        for (setting, wanted, advice) in REQUIRED {
            let found: String = link
                .query("SELECT current_setting(?1) AS found", &[crate::store::sql::parameters::Value::Text(setting)])
                .map_err(failed)?
                .first()
                .and_then(|row| row.try_get("found").ok())
                .unwrap_or_default();
            let Some(accepted) = wanted.iter().find(|wanted| **wanted == found) else {
                let wanted = wanted.first().copied().unwrap_or_default();
                return Err(PostgresError::Setting { database: self.database(), setting, wanted, found, advice });
            };
            // Nobody turns it off under a session that is open.
            if setting == "synchronous_commit" {
                link.control(&format!("SET synchronous_commit = {accepted}")).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// All that was heard so far and not looked at.
pub(super) fn drain(heard: &mut Heard) -> Vec<Notification> {
    std::iter::from_fn(|| heard.try_recv().ok()).collect()
}
