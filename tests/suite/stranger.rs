//! A client with an SVID of another trust domain that trusts the server it knocks at, to see the server's own check.

use std::net::SocketAddr;
use std::sync::Arc;

use identity::{SpiffeId, TrustDomain};
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::TrustBundle;
use runtime::clock::SystemClock;
use tests::{Agent, Ca, attested_connection, issue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Knocks with an SVID of `theirs` at a server of the mesh of `ours`, and says how that ended.
pub(crate) async fn knock(theirs: &Ca, ours: &Agent, server: SocketAddr) -> String {
    let (connection, _node) = attested_connection(theirs, "knocker").await;
    let entry = theirs.create_entry("spiffe://stranger.example/knocker", &["unix:uid:0"], "knocker");
    let svid = Arc::new(issue(&connection, &[&entry]).await.unwrap().remove(0));
    let domain = TrustDomain::parse("example.org").unwrap();
    let bundle = std::fs::read(ours.state_dir().join("bundle.json")).unwrap();
    let bundle = Arc::new(TrustBundle::from_jwks(domain, &bundle).unwrap());
    let trust = ServerTrust::Bundle {
        bundle: watch::channel(bundle).1,
        expect: PeerMatcher::Exact(SpiffeId::parse("spiffe://example.org/api").unwrap()),
    };
    let tls = ClientTls::new(trust, Some(watch::channel(svid).1), &[], SystemClock::shared());
    let tcp = TcpStream::connect(server).await.unwrap();
    let mut stream = match tls.connect(tcp).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // In TLS 1.3 the server's refusal of the client reaches the client after its own handshake is done.
    let spoken = async {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await?;
        let mut answer = vec![0; 1024];
        let count = stream.read(&mut answer).await?;
        Ok::<_, std::io::Error>(format!("answered with {:?}", String::from_utf8_lossy(&answer[..count])))
    };
    spoken.await.unwrap_or_else(|error| error.to_string())
}
