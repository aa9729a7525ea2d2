//! `probe`: one question to the telemetry listener of a service on this host.

use std::io;
use std::time::Duration;

use runtime::admin_http::AdminAddress;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::args::{ProbeArgs, ProbeCheck};
use crate::failure::Failure;
use crate::output::{Answer, printable};
use crate::output_format::OutputFormat;

/// How long connection and answer may take together.
const LIMIT: Duration = Duration::from_secs(5);
/// More than a service ever says of its readiness.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;

pub(super) async fn run(args: &ProbeArgs, format: OutputFormat) -> Result<(), Failure> {
    let unreachable = || Failure::unreachable("the service does not answer");
    let answer = tokio::time::timeout(LIMIT, ask(&args.at, args.check)).await;
    let answer = answer.map_err(|_| unreachable().because(format!("nothing came within {LIMIT:?}")))?;
    let answer = answer.map_err(|error| unreachable().because(error).advise("compare --at with [telemetry] address"))?;
    let (status, said) = read(&answer).ok_or_else(|| unreachable().because("what answers there is no telemetry listener"))?;
    if status == 200 {
        return Answer::text(said.clone(), json!({ "ok": true, "said": said })).print(format);
    }
    Err(Failure::failed(format!("the answer is {status}")).because(said))
}

async fn ask(address: &AdminAddress, check: ProbeCheck) -> io::Result<Vec<u8>> {
    match address {
        AdminAddress::Loopback(address) => exchange(TcpStream::connect(address).await?, check).await,
        AdminAddress::Unix(path) => exchange(UnixStream::connect(path).await?, check).await,
    }
}

/// One request a connection (RFC 9112 section 9.3), so that the answer ends with it.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, check: ProbeCheck) -> io::Result<Vec<u8>> {
    let path = match check {
        ProbeCheck::Livez => "/livez",
        ProbeCheck::Readyz => "/readyz",
    };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status code and the text of an answer (RFC 9112 section 4).
fn read(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let lines: Vec<_> = body.lines().map(printable).collect();
    Some((status, lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_answer_is_read_and_nothing_else_is() {
        let good = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\na\x07\nb";
        let (status, said) = read(good).unwrap();
        assert_eq!(status, 503);
        assert!(said.starts_with('a') && said.ends_with("\nb") && !said.contains('\x07'), "{said:?}");
        for bad in [&b"HTTP/1.1 200 OK\r\n"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2\r\n\r\n", b""] {
            assert_eq!(read(bad), None);
        }
    }
}
