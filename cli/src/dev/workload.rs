//! The demo workloads. What they do is small on purpose; how they get their identity and whom they let in is not: over
//! SDS, and by exact SPIFFE ID.
//!
//! The service is one line in, one line out, over mTLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use mtls::{ClientAuthentication, ClientTls, PeerMatcher, ServerTls, ServerTrust, TlsStream, VerifiedPeer};
use runtime::clock::{Clock, SystemClock};
use runtime::shutdown;
use runtime::tasks::TaskGroup;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::events::Event;
use super::sds_client::{Credentials, SdsClient};
use crate::args::{WorkloadArgs, WorkloadRole};
use crate::failure::Failure;

/// A connection, read line by line.
type Conversation = BufReader<TlsStream<TcpStream>>;

/// Plays a part until told to stop.
///
/// # Errors
/// [`Failure`] when it cannot go on.
pub(crate) async fn run(args: WorkloadArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signals().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
    let clock = SystemClock::shared();
    let node = match args.role {
        WorkloadRole::Api => "api",
        WorkloadRole::Web => "web",
        WorkloadRole::Stranger => "stranger",
    };
    let trust_domain = args.expect.trust_domain().clone();
    let (client, credentials) = SdsClient::new(args.api_socket.clone(), node, trust_domain, clock.clone());
    let play = async {
        let credentials = credentials.await.map_err(|_| Failure::failed("the SDS client is gone"))?;
        match (args.role, args.connect) {
            (WorkloadRole::Api, _) => serve(credentials, args.expect, clock).await,
            (WorkloadRole::Web, Some(address)) => call(&credentials, address, args.expect, clock).await,
            (WorkloadRole::Web, None) => Err(Failure::usage("web needs `--connect ADDR`")),
            (WorkloadRole::Stranger, _) => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = client.run() => outcome.map(|never| match never {}),
        outcome = play => outcome,
        () = shutdown.fired() => Ok(()),
    }
}

async fn serve(credentials: Credentials, expect: SpiffeId, clock: Arc<dyn Clock>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::failed("the API cannot listen").because(error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
    let tls = ServerTls::new(credentials.svid, credentials.bundle, ClientAuthentication::Required, &[], clock);
    Event::Listening { address: listener.local_addr().map_err(cannot)?.to_string() }.tell()?;
    let (_trigger, ending) = shutdown::channel();
    let mut connections = TaskGroup::new(ending.clone());
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let seat = seats.clone().acquire_owned().await.expect("nobody closes the semaphore");
        if connections.shutdown().is_fired() {
            return connections.join(Duration::ZERO).await.map_err(|failure| Failure::failed(failure.to_string()));
        }
        match listener.accept().await {
            Ok((stream, remote)) => {
                let (tls, expect) = (tls.clone(), expect.clone());
                connections.spawn(format!("connection from {remote}"), async move {
                    let outcome = answer(stream, &tls, &expect).await;
                    drop(seat);
                    outcome.map_err(|failure| failure.one_line())
                });
            }
            // Such as too many open files: worth a pause, not an end.
            Err(_) => tokio::time::sleep(CALL_PERIOD).await,
        }
    }
}

/// One connection: who it is, then line by line.
async fn answer(stream: TcpStream, tls: &ServerTls, expect: &SpiffeId) -> Result<(), Failure> {
    let stream = match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Event::HandshakeFailed { error: error.to_string() }.tell(),
        Err(_) => return Event::HandshakeFailed { error: "no handshake in time".to_owned() }.tell(),
    };
    let Some(peer) = stream.peer().cloned() else {
        return Event::HandshakeFailed { error: "no client certificate".to_owned() }.tell();
    };
    // That the certificate is good says who calls; whether that one may call is decided here.
    if peer.id() != expect {
        return Event::CallerRefused { peer: peer.id().to_string(), expected: expect.to_string() }.tell();
    }
    let mut stream = BufReader::with_capacity(MAX_LINE, stream);
    while let Some(line) = read_line(&mut stream).await {
        let said = format!("hello {}, you said {line:?}\n", peer.id());
        if stream.write_all(said.as_bytes()).await.and(stream.flush().await).is_err() {
            break;
        }
        Event::Served { peer: peer.id().to_string(), peer_serial: peer.serial().to_string() }.tell()?;
    }
    Ok(())
}

/// Calls each second over one connection. After a renewal the old connection serves once more (it goes on), and the next
/// call opens a new one, with the new certificate.
async fn call(credentials: &Credentials, address: SocketAddr, expect: SpiffeId, clock: Arc<dyn Clock>) -> Result<(), Failure> {
    let trust = ServerTrust::Bundle { bundle: credentials.bundle.clone(), expect: PeerMatcher::Exact(expect) };
    let tls = ClientTls::new(trust, Some(credentials.svid.clone()), &[], clock);
    let mut renewals = credentials.svid.clone();
    let mut connection: Option<Conversation> = None;
    let (mut calls, mut connections) = (0_u64, 0_u64);
    loop {
        let stream = match connection.take() {
            Some(stream) => Ok(stream),
            None => {
                connections += 1;
                renewals.mark_unchanged();
                open(&tls, address).await
            }
        };
        calls += 1;
        let renewed = renewals.has_changed().unwrap_or(false);
        match stream {
            Err(error) => Event::CallFailed { error }.tell()?,
            Ok(mut stream) => match ask(&mut stream, &format!("call {calls}")).await {
                Err(error) => Event::CallFailed { error }.tell()?,
                Ok((peer, text)) => {
                    let (id, serial) = (peer.id().to_string(), peer.serial().to_string());
                    Event::Answered { connection: connections, peer: id, peer_serial: serial, text }.tell()?;
                    connection = (!renewed).then_some(stream);
                }
            },
        }
        tokio::time::sleep(CALL_PERIOD).await;
    }
}

async fn open(tls: &ClientTls, address: SocketAddr) -> Result<Conversation, String> {
    let connecting = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let stream = tls.connect(stream).await.map_err(|error| error.to_string())?;
        Ok(BufReader::with_capacity(MAX_LINE, stream))
    };
    tokio::time::timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err("no handshake in time".to_owned()))
}

async fn ask(stream: &mut Conversation, question: &str) -> Result<(Arc<VerifiedPeer>, String), String> {
    let peer = stream.get_ref().peer().cloned().ok_or("the server showed no certificate")?;
    let asking = async {
        stream.write_all(format!("{question}\n").as_bytes()).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        read_line(stream).await.ok_or_else(|| "the API hung up".to_owned())
    };
    let text = tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))?;
    Ok((peer, text))
}

/// A line of bounded length; `None` at the end, on an error, or when it has no end.
async fn read_line(stream: &mut Conversation) -> Option<String> {
    let mut line = String::new();
    stream.take(MAX_LINE_BYTES).read_line(&mut line).await.ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}

const CALL_PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
const MAX_CONNECTIONS: usize = 16;
const MAX_LINE: usize = 1024;
const MAX_LINE_BYTES: u64 = 1024;
