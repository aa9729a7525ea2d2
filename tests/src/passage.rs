//! A way to a server that a test can block: TCP, byte for byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of bytes on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// They stay where they are, and nobody is told.
    Stalled,
    /// Connections end, and new ones at once.
    Shut,
}

/// What becomes of bytes, and of which.
#[derive(Clone, Copy, Debug)]
struct State {
    way: Way,
    /// The one connection whose bytes go on whatever becomes of others, counted from 1.
    but: Option<usize>,
}

/// The way. It is shut for good when this is dropped.
pub struct Passage {
    address: SocketAddr,
    way: watch::Sender<State>,
    taken: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Passage {
    /// An open way to a server on loopback.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (way, state) = watch::channel(State { way: Way::Open, but: None });
        let taken = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        let count = Arc::clone(&taken);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if state.borrow().way != Way::Shut {
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    connections.spawn(carry(stream, server, number, state.clone()));
                }
            }
        });
        Self { address, way, taken, _task: task }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were let in.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Lets everything pass, what was held back first.
    pub fn open(&self) {
        self.way.send_replace(State { way: Way::Open, but: None });
    }

    /// Holds everything back, and ends nothing.
    pub fn stall(&self) {
        self.way.send_replace(State { way: Way::Stalled, but: None });
    }

    /// Holds everything back but what is on one connection, counted from 1 as they were let in; ends nothing.
    pub fn stall_but(&self, connection: usize) {
        self.way.send_replace(State { way: Way::Stalled, but: Some(connection) });
    }

    /// Ends every connection, and each new one.
    pub fn shut(&self) {
        self.way.send_replace(State { way: Way::Shut, but: None });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, number: usize, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever ends first ends both, as a router that fails does.
    tokio::select! {
        () = pump(from_client, to_server, number, state.clone()) => {}
        () = pump(from_server, to_client, number, state) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let State { way, but } = *state.borrow_and_update();
        let passes = way == Way::Open || but == Some(number);
        tokio::select! {
            changed = state.changed() => if changed.is_err() || state.borrow().way == Way::Shut { return },
            read = from.read(&mut buffer), if passes => {
                let Ok(length @ 1..) = read else { return };
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
