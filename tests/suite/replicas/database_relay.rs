//! What stands between a replica and its database: a socket that passes bytes on, or holds them back without a word, as a network does that was
//! cut.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// As PostgreSQL calls its socket.
const NAME: &str = ".s.PGSQL.5432";

/// The relay, which ends with this value.
pub(super) struct DatabaseRelay {
    pub(super) directory: PathBuf,
    passes: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl DatabaseRelay {
    /// In front of the server whose socket lies in `server`.
    pub(super) fn start(directory: PathBuf, server: &Path) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join(NAME)).unwrap();
        let (passes, may_pass) = watch::channel(true);
        let (server, mut task) = (server.join(NAME), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, may_pass) = (server.clone(), may_pass.clone());
                connections.spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = UnixStream::connect(server).await.unwrap().into_split();
                    tokio::join!(pass(from_client, to_server, may_pass.clone()), pass(from_server, to_client, may_pass));
                });
            }
        });
        Self { directory, passes, _task: task }
    }

    /// Holds everything back from now on, and closes nothing.
    pub(super) fn cut(&self) {
        self.passes.send_replace(false);
    }

    /// Passes on what was held back, and what comes.
    pub(super) fn mend(&self) {
        self.passes.send_replace(true);
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut may_pass: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        if may_pass.wait_for(|passes| *passes).await.is_err() || count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    drop(to.shutdown().await);
}
