//! HTTP/2 by the frame (RFC 9113), for clients that do what no library does.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node_client::client_tls;
use crate::{Ca, JoinToken};

/// A frame to send: type, flags, stream and payload are written as they are, whatever the standard says of them.
#[derive(Clone, Debug)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// Any frame.
    ///
    /// # Panics
    /// When the payload is longer than a frame can say.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("a payload fits its length").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        Self(bytes)
    }

    /// HEADERS, with its block whole (END_HEADERS).
    #[must_use]
    pub fn headers(stream: u32, block: &[u8]) -> Self {
        Self::new(1, 4, stream, block)
    }

    /// DATA.
    #[must_use]
    pub fn data(stream: u32, payload: &[u8]) -> Self {
        Self::new(0, 0, stream, payload)
    }

    /// DATA that ends its stream.
    #[must_use]
    pub fn last_data(stream: u32, payload: &[u8]) -> Self {
        Self::new(0, 1, stream, payload)
    }

    /// RST_STREAM with CANCEL.
    #[must_use]
    pub fn reset(stream: u32) -> Self {
        Self::new(3, 0, stream, &8_u32.to_be_bytes())
    }

    /// SETTINGS with one parameter.
    #[must_use]
    pub fn setting(identifier: u16, value: u32) -> Self {
        Self::new(4, 0, 0, &[identifier.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat())
    }

    /// PING.
    #[must_use]
    pub fn ping() -> Self {
        Self::new(6, 0, 0, &[7; 8])
    }

    /// WINDOW_UPDATE.
    #[must_use]
    pub fn window_update(stream: u32, increment: u32) -> Self {
        Self::new(8, 0, stream, &increment.to_be_bytes())
    }

    /// CONTINUATION without END_HEADERS.
    #[must_use]
    pub fn continuation(stream: u32, block: &[u8]) -> Self {
        Self::new(9, 0, stream, block)
    }
}

/// A header block (RFC 7541) for a gRPC call of `path`, with further fields, all as literals that no table keeps.
#[must_use]
pub fn request_block(path: &str, further: &[(&str, &str)]) -> Vec<u8> {
    // :method POST and :scheme http stand in the static table.
    let mut block = vec![0x83, 0x86];
    let fields = [(":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")];
    for (name, value) in fields.iter().chain(further) {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1), after a zero bit.
fn integer(block: &mut Vec<u8>, value: usize) {
    let byte = |value: usize| u8::try_from(value).expect("it was cut to a byte");
    if value < 127 {
        return block.push(byte(value));
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    block.push(byte(rest));
}

/// What the server has said so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The code of its GOAWAY, once it sent one.
    pub goaway: Option<u32>,
    /// The last of our streams that it took up, as its GOAWAY says.
    pub last_stream: Option<u32>,
    /// Whether the connection is closed.
    pub closed: bool,
    /// Its answers to PING.
    pub pongs: u64,
    /// Streams that it has reset.
    pub resets: u64,
    /// Streams that it has begun to answer.
    pub answers: u64,
    /// Of the last of these answers the first byte of its header block: 0x88 where the status is 200, by the static table (RFC 7541 appendix A).
    pub first_of_last_answer: Option<u8>,
}

/// A connection on which nothing is sent but what a test says, after preface and SETTINGS. What comes is read and counted all the
/// while, unless it is deaf.
pub struct RawHttp2 {
    writer: WriteHalf<Box<dyn Wire>>,
    seen: watch::Receiver<Heard>,
    reader: Reader,
}

enum Reader {
    Task(JoinHandle<()>),
    /// Nobody reads; the half is kept so that the connection stays.
    Nobody {
        _half: ReadHalf<Box<dyn Wire>>,
        _seen: watch::Sender<Heard>,
    },
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl RawHttp2 {
    /// To an agent's socket.
    ///
    /// # Panics
    /// When it does not accept.
    pub async fn to_socket(path: &Path) -> Self {
        Self::over(Box::new(UnixStream::connect(path).await.expect("the socket accepts")), true).await
    }

    /// To a CA, by TLS without a certificate, as anybody who reaches its port.
    ///
    /// # Panics
    /// When the CA does not finish the handshake.
    pub async fn to_ca(ca: &Ca, token: &JoinToken) -> Self {
        Self::over(tls_to(ca, token).await, true).await
    }

    /// The same; what the CA says is never read.
    ///
    /// # Panics
    /// As [`Self::to_ca`].
    pub async fn deaf_to_ca(ca: &Ca, token: &JoinToken) -> Self {
        Self::over(tls_to(ca, token).await, false).await
    }

    /// To an agent's socket; what it says is never read.
    ///
    /// # Panics
    /// As [`Self::to_socket`].
    pub async fn deaf_to_socket(path: &Path) -> Self {
        Self::over(Box::new(UnixStream::connect(path).await.expect("the socket accepts")), false).await
    }

    async fn over(wire: Box<dyn Wire>, reads: bool) -> Self {
        let (half, writer) = split(wire);
        let (sender, seen) = watch::channel(Heard::default());
        let reader = if reads {
            #[expect(clippy::disallowed_methods, reason = "the harness ends it with the connection")]
            Reader::Task(tokio::spawn(read(half, sender)))
        } else {
            Reader::Nobody { _half: half, _seen: sender }
        };
        let mut connection = Self { writer, seen, reader };
        connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        connection.send(&[Frame::new(4, 0, 0, &[])]).await;
        connection
    }

    /// Sends frames in one write; false when the server does not take them any more.
    pub async fn send(&mut self, frames: &[Frame]) -> bool {
        let bytes: Vec<_> = frames.iter().flat_map(|frame| frame.0.iter().copied()).collect();
        self.write(&bytes).await && !self.has_ended()
    }

    /// The same, given up after `limit`: `None` when the server stopped reading.
    pub async fn send_within(&mut self, frames: &[Frame], limit: Duration) -> Option<bool> {
        tokio::time::timeout(limit, self.send(frames)).await.ok()
    }

    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok()
    }

    /// What the server has said so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.seen.borrow().clone()
    }

    /// Waits until the server has said something that satisfies `enough`, for at most `limit`.
    ///
    /// # Panics
    /// When the time is over, with `what` was awaited.
    pub async fn wait(&mut self, what: &str, limit: Duration, enough: impl FnMut(&Heard) -> bool) -> Heard {
        let heard =
            tokio::time::timeout(limit, self.seen.wait_for(enough)).await.ok().and_then(Result::ok).map(|heard| heard.clone());
        heard.unwrap_or_else(|| panic!("waited in vain for {what}: {:?}", self.heard()))
    }

    fn has_ended(&self) -> bool {
        let seen = self.seen.borrow();
        seen.closed || seen.goaway.is_some_and(|code| code != 0)
    }
}

impl Drop for RawHttp2 {
    fn drop(&mut self) {
        if let Reader::Task(task) = &self.reader {
            task.abort();
        }
    }
}

async fn tls_to(ca: &Ca, token: &JoinToken) -> Box<dyn Wire> {
    let tls = client_tls(&ca.trust_domain, &token.ca_fingerprint, None);
    let stream = TcpStream::connect(ca.address).await.expect("the CA accepts");
    Box::new(tls.connect(stream).await.expect("the CA finishes the handshake"))
}

async fn read(mut half: ReadHalf<Box<dyn Wire>>, seen: watch::Sender<Heard>) {
    let (mut head, mut answered) = ([0; 9], BTreeSet::new());
    while half.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits fit");
        let mut payload = vec![0; length];
        if half.read_exact(&mut payload).await.is_err() {
            break;
        }
        match kind {
            // A padded or prioritised block would begin later; no server of ours sends one. The second of a stream are trailers.
            1 if flags & 0x28 == 0 && answered.insert(stream) => seen.send_modify(|seen| {
                seen.answers += 1;
                seen.first_of_last_answer = payload.first().copied();
            }),
            3 => seen.send_modify(|seen| seen.resets += 1),
            6 if flags & 1 == 1 => seen.send_modify(|seen| seen.pongs += 1),
            7 => {
                let word = |at| payload.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
                seen.send_modify(|seen| (seen.last_stream, seen.goaway) = (word(0), word(4)));
            }
            _ => {}
        }
    }
    seen.send_modify(|seen| seen.closed = true);
}
