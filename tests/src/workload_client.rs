//! A bare client of the SPIFFE Workload API, for tests that look at the calls themselves.

use std::path::Path;

use pki::{Certificate, PrivateKey, Timestamp, TrustBundle, X509Svid};
use proto::workload;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::sds_client::UnixConnector;

/// One connection to an agent's socket.
#[derive(Clone)]
pub struct WorkloadClient {
    channel: Channel,
    /// What the security header says; `None`: it is not sent.
    header: Option<String>,
}

/// An open `FetchX509SVID`.
pub struct WorkloadSvidStream {
    responses: Streaming<workload::X509svidResponse>,
}

/// One SVID of a response, checked as a client checks it: the chain parses, the key is the leaf's, the ID is the one in the leaf.
#[derive(Debug)]
pub struct WorkloadSvid {
    /// Chain and key.
    pub svid: X509Svid,
    /// The bundle beside it.
    pub bundle: TrustBundle,
    /// Its hint.
    pub hint: String,
}

impl WorkloadClient {
    /// Connects; its calls carry the header.
    ///
    /// # Errors
    /// The text of the failure.
    pub async fn connect(socket: &Path) -> Result<Self, String> {
        let connector = UnixConnector { socket: socket.to_owned() };
        let channel = Endpoint::from_static("http://workload").connect_with_connector(connector).await;
        Ok(Self { channel: channel.map_err(|error| format!("{error:?}"))?, header: Some("true".to_owned()) })
    }

    /// The same connection with another header, or none.
    #[must_use]
    pub fn with_header(&self, header: Option<&str>) -> Self {
        Self { channel: self.channel.clone(), header: header.map(str::to_owned) }
    }

    /// The connection itself, for clients of other services on it.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The service, for calls that have no method here; see [`Self::request`].
    #[must_use]
    pub fn service(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(self.channel.clone())
    }

    /// A message with the header.
    ///
    /// # Panics
    /// When the header is not one.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(header) = &self.header {
            request.metadata_mut().insert("workload.spiffe.io", MetadataValue::try_from(header).expect("a header value"));
        }
        request
    }

    /// Opens `FetchX509SVID`.
    ///
    /// # Errors
    /// The server's refusal, when it comes before the stream.
    pub async fn x509_svids(&self) -> Result<WorkloadSvidStream, Status> {
        let responses = self.service().fetch_x509svid(self.request(workload::X509svidRequest {})).await?.into_inner();
        Ok(WorkloadSvidStream { responses })
    }

    /// The first answer of `FetchX509SVID`.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn fetch_x509_svids(&self) -> Result<Vec<WorkloadSvid>, Status> {
        self.x509_svids().await?.next().await
    }
}

impl WorkloadSvidStream {
    /// The next answer.
    ///
    /// # Errors
    /// How the stream ended.
    ///
    /// # Panics
    /// When an SVID in it does not hold together.
    pub async fn next(&mut self) -> Result<Vec<WorkloadSvid>, Status> {
        let response = self.responses.message().await?.ok_or_else(|| Status::cancelled("the server ended the stream"))?;
        assert!(!response.svids.is_empty(), "a response has at least one SVID");
        assert!(response.federated_bundles.is_empty());
        Ok(response.svids.into_iter().map(check).collect())
    }
}

fn check(message: workload::X509svid) -> WorkloadSvid {
    let workload::X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = message;
    let key = PrivateKey::from_pkcs8_der(&x509_svid_key).expect("the key is PKCS#8");
    let svid = X509Svid::new(certificates(&x509_svid), key, Timestamp::from_unix_seconds(0)).expect("the SVID holds together");
    assert_eq!(svid.id().to_string(), spiffe_id);
    let bundle = TrustBundle::new(svid.id().trust_domain().clone(), certificates(&bundle), 0).expect("the bundle holds together");
    assert!(svid.chain().iter().all(|certificate| !bundle.authorities().contains(certificate)), "no root in the chain");
    WorkloadSvid { svid, bundle, hint }
}

/// Certificates one behind the other, each a DER SEQUENCE with a length of two bytes.
fn certificates(mut der: &[u8]) -> Vec<Certificate> {
    let mut found = Vec::new();
    while let [0x30, 0x82, high, low, ..] = der {
        let (one, rest) = der.split_at(4 + usize::from(u16::from_be_bytes([*high, *low])));
        found.push(Certificate::from_der(one).expect("DER of a certificate"));
        der = rest;
    }
    assert!(der.is_empty() && !found.is_empty(), "certificates one behind the other and nothing else");
    found
}
