//! `signet revoke` and what becomes of it everywhere: agents, workloads, proxies, files, the CA itself.

mod agents;
mod proxies;
mod speed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::{TrustBundle, X509Svid};
use runtime::clock::SystemClock;
use serde_json::Value;
use tests::{Agent, Ca, HttpConnection, WorkloadClient, WorkloadSvid, WorkloadSvidStream, eventually};
use tokio::net::TcpStream;
use tokio::sync::watch;

const MINE: &str = "spiffe://example.org/mine";

fn own_uid() -> String {
    format!("unix:uid:{}", nix::unistd::getuid())
}

/// A workload of this process: its stream, and what came first.
async fn served(agent: &Agent) -> (WorkloadClient, WorkloadSvidStream, Vec<WorkloadSvid>) {
    eventually("this process to be served", async || {
        let client = WorkloadClient::connect(&agent.api_socket()).await.ok()?;
        let mut stream = client.x509_svids().await.ok()?;
        let svids = stream.next().await.ok()?;
        Some((client, stream, svids))
    })
    .await
}

/// A client that goes on showing an SVID, whatever became of that.
struct Bearer(ClientTls);

impl Bearer {
    fn new(svid: X509Svid, bundle: TrustBundle, server: &str) -> Self {
        let (_, bundle) = watch::channel(Arc::new(bundle));
        let (_, svid) = watch::channel(Arc::new(svid));
        let expect = PeerMatcher::Exact(SpiffeId::parse(server).unwrap());
        Self(ClientTls::new(ServerTrust::Bundle { bundle, expect }, Some(svid), &[b"http/1.1"], SystemClock::shared()))
    }

    /// The status of one request on a connection of its own: 0 when that was refused or broke.
    async fn ask(&self, address: SocketAddr) -> u16 {
        let asking = async {
            let tcp = TcpStream::connect(address).await.ok()?;
            let mut connection = HttpConnection::over(self.0.connect(tcp).await.ok()?).await.ok()?;
            Some(connection.get("/").await.status)
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("an answer or a refusal").unwrap_or(0)
    }
}

fn serial(svid: &WorkloadSvid) -> String {
    svid.svid.leaf().serial().to_string()
}

/// What `revocation list` tells.
fn listed(ca: &Ca) -> Value {
    ca.operate(&["revocation", "list"]).ok().json()
}

fn revoked_serials(ca: &Ca) -> Vec<String> {
    let listed = listed(ca);
    let certificates = listed["certificates"].as_array().unwrap();
    certificates.iter().map(|one| one["serial"].as_str().unwrap().to_owned()).collect()
}
