//! The suite's client over the crates `spiffe` and `spiffe-rustls`; `../README.md` tells its verbs.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use spiffe::workload_api::WorkloadApiError;
use spiffe::{JwtSvid, SpiffeId, WorkloadApiClient, X509Context, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::CommonState;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn Error + Send + Sync>;

const CALL_DEADLINE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["fetch-x509"] => within(fetch_x509()).await,
        ["watch-x509"] => tokio::select! {
            outcome = watch_x509() => outcome,
            () = until_input_ends() => Ok(()),
        },
        ["fetch-jwt", audience] => within(fetch_jwt(audience)).await,
        ["validate-jwt", audience, token] => within(validate_jwt(audience, token)).await,
        ["serve", ref ids @ ..] if !ids.is_empty() => tokio::select! {
            outcome = serve(ids) => outcome,
            () = until_input_ends() => Ok(()),
        },
        ["dial"] => dial().await,
        _ => Err("unknown verb or number of words; see the README beside".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

async fn within(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::time::timeout(CALL_DEADLINE, work).await?
}

fn say(line: &Value) {
    println!("{line}");
}

fn describe(context: &X509Context) -> Value {
    let svids = context.svids().iter().map(|svid| {
        let serial = svid.cert_chain().first().map(|leaf| serial_of(leaf.as_bytes())).unwrap_or_default();
        json!({ "id": svid.spiffe_id().to_string(), "serial": serial, "hint": svid.hint().unwrap_or_default() })
    });
    let svids: Vec<_> = svids.collect();
    let bundles = context.bundle_set().iter().map(|(domain, bundle)| (domain.to_string(), json!(bundle.authorities().len())));
    json!({ "svids": svids, "bundles": bundles.collect::<serde_json::Map<_, _>>() })
}

fn serial_of(der: &[u8]) -> String {
    x509_parser::parse_x509_certificate(der).map(|(_, leaf)| format!("{:x}", leaf.tbs_certificate.serial)).unwrap_or_default()
}

async fn fetch_x509() -> Result<(), Failure> {
    let client = WorkloadApiClient::connect_env().await?;
    say(&describe(&client.fetch_x509_context().await?));
    Ok(())
}

async fn watch_x509() -> Result<(), Failure> {
    let client = WorkloadApiClient::connect_env().await?;
    loop {
        match client.stream_x509_contexts().await {
            Ok(mut states) => {
                while let Some(state) = states.next().await {
                    match state {
                        Ok(context) => say(&describe(&context)),
                        Err(error) => say(&json!({ "error": code(&error) })),
                    }
                }
            }
            Err(error) => say(&json!({ "error": code(&error) })),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The gRPC code by the name that all peers use, or what the library says instead.
fn code(error: &WorkloadApiError) -> String {
    match error {
        WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued => "PermissionDenied".to_owned(),
        other => other.to_string(),
    }
}

async fn fetch_jwt(audience: &str) -> Result<(), Failure> {
    let client = WorkloadApiClient::connect_env().await?;
    let svid = client.fetch_jwt_svid([audience], None).await?;
    say(&json!({ "id": svid.spiffe_id().to_string(), "token": svid.token() }));
    Ok(())
}

/// Checks with the library against the JWT bundles, and asks the Workload API too: both must agree.
async fn validate_jwt(audience: &str, token: &str) -> Result<(), Failure> {
    let client = WorkloadApiClient::connect_env().await?;
    let bundles = client.fetch_jwt_bundles().await?;
    let here = JwtSvid::parse_and_validate(token, &bundles, &[audience])?;
    let there = client.validate_jwt_token(audience, token).await?;
    if here.spiffe_id() != there.spiffe_id() {
        return Err(format!("the library says {}, the Workload API says {}", here.spiffe_id(), there.spiffe_id()).into());
    }
    say(&json!({ "id": here.spiffe_id().to_string() }));
    Ok(())
}

async fn serve(ids: &[&str]) -> Result<(), Failure> {
    let source = tokio::time::timeout(CALL_DEADLINE, X509Source::new()).await??;
    let server = mtls_server(source).authorize(authorizer::exact(ids.iter().copied())?).build()?;
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&json!({ "port": listener.local_addr()?.port() }));
    loop {
        let (connection, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let outcome = tokio::time::timeout(CALL_DEADLINE, async {
                let tls = acceptor.accept(connection).await?;
                say(&json!({ "peer": peer_of(tls.get_ref().1)? }));
                echo(tls).await
            });
            if let Ok(Err(error)) = outcome.await {
                say(&json!({ "error": error.to_string() }));
            }
        });
    }
}

async fn echo(connection: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Failure> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 0 {
        connection.write_all(line.as_bytes()).await?;
        connection.flush().await?;
        line.clear();
    }
    Ok(())
}

async fn dial() -> Result<(), Failure> {
    let source = tokio::time::timeout(CALL_DEADLINE, X509Source::new()).await??;
    let mut peers = BufReader::new(tokio::io::stdin()).lines();
    while let Some(peer) = peers.next_line().await? {
        match tokio::time::timeout(CALL_DEADLINE, ask(&peer, &source)).await {
            Ok(Ok((peer, answer))) => say(&json!({ "peer": peer, "answer": answer })),
            Ok(Err(error)) => say(&json!({ "error": error.to_string() })),
            Err(late) => say(&json!({ "error": late.to_string() })),
        }
    }
    Ok(())
}

async fn ask(peer: &str, source: &X509Source) -> Result<(String, String), Failure> {
    let (address, id) = peer.split_once(' ').ok_or("a line is ADDRESS ID")?;
    let client = Arc::new(mtls_client(source.clone()).authorize(authorizer::exact([id])?).build()?);
    let connection = TcpStream::connect(address).await?;
    // The name is not compared with anything: the identity is the SPIFFE ID.
    let name = ServerName::try_from("peer.invalid")?;
    let tls = TlsConnector::from(client).connect(name, connection).await?;
    let peer = peer_of(tls.get_ref().1)?;
    let mut tls = BufReader::new(tls);
    tls.write_all(b"hello from rust\n").await?;
    tls.flush().await?;
    let mut answer = String::new();
    if tls.read_line(&mut answer).await? == 0 {
        return Err("no answer: the connection ended".into());
    }
    Ok((peer, answer.trim_end().to_owned()))
}

fn peer_of(connection: &CommonState) -> Result<String, Failure> {
    let chain: &[CertificateDer<'_>] = connection.peer_certificates().ok_or("the peer showed no certificate")?;
    let leaf = chain.first().ok_or("the peer showed no certificate")?;
    let id: SpiffeId = spiffe::cert::spiffe_id_from_der(leaf)?;
    Ok(id.to_string())
}

async fn until_input_ends() {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = input.next_line().await {}
}
