//! What stands between an agent and its CA in some tests: a relay that counts, and a server that is no CA.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mtls::{ClientAuthentication, ServerTls};
use pki::{TrustBundle, X509Svid};
use runtime::clock::SystemClock;
use tests::{Ca, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Passes bytes on to a CA and counts what the client says after its first flight.
pub(crate) struct RecordingRelay {
    pub(crate) address: SocketAddr,
    later_bytes: Arc<AtomicUsize>,
    flights: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl RecordingRelay {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (later_bytes, flights) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (later, count) = (later_bytes.clone(), flights.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (later, count) = (later.clone(), count.clone());
                connections.spawn(async move {
                    let server = TcpStream::connect(upstream).await.unwrap();
                    relay(client, server, &later, &count).await;
                });
            }
        });
        Self { address, later_bytes, flights, _task: task }
    }

    /// Bytes that clients sent after their hellos, once one has said hello.
    pub(crate) async fn bytes_after_first_flight(&self) -> usize {
        eventually("a client hello", async || (self.flights.load(Ordering::SeqCst) > 0).then_some(())).await;
        self.later_bytes.load(Ordering::SeqCst)
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, later: &AtomicUsize, flights: &AtomicUsize) {
    let (mut client_read, mut client_write) = client.split();
    let (mut server_read, mut server_write) = server.split();
    let forward = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut first = true;
        while let Ok(count) = client_read.read(&mut buffer).await {
            if count == 0 || server_write.write_all(&buffer[..count]).await.is_err() {
                break;
            }
            if first {
                flights.fetch_add(1, Ordering::SeqCst);
            } else {
                later.fetch_add(count, Ordering::SeqCst);
            }
            first = false;
        }
        drop(server_write.shutdown().await);
    };
    let back = async { drop(tokio::io::copy(&mut server_read, &mut client_write).await) };
    tokio::join!(forward, back);
}

/// A TLS server with an SVID that is no CA's.
pub(crate) struct Impostor {
    pub(crate) address: SocketAddr,
    failures: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    _task: JoinSet<()>,
}

impl Impostor {
    pub(crate) async fn start(svid: Arc<X509Svid>, ca: &Ca) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let trust_domain = svid.id().trust_domain().clone();
        let bundle = TrustBundle::from_pem(trust_domain, &std::fs::read(ca.root_certificate()).unwrap(), 1).unwrap();
        let (svid, bundle) = (watch::channel(svid).1, watch::channel(Arc::new(bundle)).1);
        let tls = ServerTls::new(svid, bundle, ClientAuthentication::Optional, &[b"h2"], SystemClock::shared()).sending_root();
        let (sender, failures) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let said = match tls.accept(stream).await {
                    Ok(mut stream) => match stream.read(&mut [0; 1024]).await {
                        Ok(count) => format!("the client finished the handshake and sent {count} bytes"),
                        Err(error) => format!("{error}"),
                    },
                    Err(error) => format!("{error}"),
                };
                drop(sender.send(said));
            }
        });
        Self { address, failures: tokio::sync::Mutex::new(failures), _task: task }
    }

    /// How the first handshake ended, from the impostor's view.
    pub(crate) async fn handshake_failure(&self) -> String {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(60), async { self.failures.lock().await.recv().await });
        wait.await.expect("the agent connects").expect("the impostor is up")
    }
}
