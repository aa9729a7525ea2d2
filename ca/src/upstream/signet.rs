//! Another Signet CA as upstream: one verified connection for each question, under the X.509-SVID and the roots that lie in files now.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use identity::TrustDomain;
use mtls::{ClientTls, PeerMatcher, ServerTrust, TlsStream};
use pki::{PrivateKey, TrustBundle, X509Svid, certificates_from_pem};
use proto::v1;
use proto::v1::upstream_client::UpstreamClient;
use runtime::clock::Clock;
use runtime::private_files::{read_bounded, read_private};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::{IssuerRequest, UpstreamAnswer, UpstreamAuthority, UpstreamError, UpstreamRoots};
use crate::config::SignetUpstreamConfig;

/// From the first packet to a finished handshake, and from a question to its answer: the other CA may sign with a key in a token.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// More than any set of roots and any chain.
const MAX_ANSWER_BYTES: usize = 512 * 1024;
/// More than any chain, key or set of roots in PEM.
const MAX_FILE_BYTES: usize = 256 * 1024;
const HTTP2: &[u8] = b"h2";
/// What points to the newest set in a directory of an agent.
const NEWEST: &str = "..data";
/// What HTTP/2 calls the other CA. It is decoration: who it is was settled by its SPIFFE ID.
const AUTHORITY: &str = "http://signet-ca";

/// The other CA.
pub(crate) struct SignetUpstream {
    config: SignetUpstreamConfig,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
}

impl SignetUpstream {
    /// As configured; nothing is read or asked yet.
    pub(crate) fn new(config: SignetUpstreamConfig, trust_domain: TrustDomain, clock: Arc<dyn Clock>) -> Self {
        Self { config, trust_domain, clock }
    }

    async fn connect(&self) -> Result<UpstreamClient<Channel>, UpstreamError> {
        let tls = self.tls()?;
        let address = &self.config.address;
        let unreachable = |why: String| UpstreamError::Unreachable(format!("{address}: {why}"));
        let handshake = async {
            let tcp = TcpStream::connect(address.as_str()).await.map_err(|error| unreachable(error.to_string()))?;
            tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            tls.connect(tcp).await.map_err(|error| unreachable(error.to_string()))
        };
        let stream: TlsStream<TcpStream> = tokio::time::timeout(CONNECT_DEADLINE, handshake)
            .await
            .map_err(|_| unreachable(format!("no handshake within {CONNECT_DEADLINE:?}")))??;
        if stream.alpn() != Some(HTTP2) {
            return Err(unreachable("it does not speak HTTP/2".to_owned()));
        }
        let mut once = Some(TokioIo::new(stream));
        let channel = Endpoint::from_static(AUTHORITY).connect_with_connector(Once(move || once.take())).await;
        let channel = channel.map_err(|error| unreachable(error.to_string()))?;
        Ok(UpstreamClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    /// What is shown and trusted, read anew: an agent replaces both.
    fn tls(&self) -> Result<ClientTls, UpstreamError> {
        let SignetUpstreamConfig { address: _, directory } = &self.config;
        // By the one link to the newest set, so that all three are of one; a directory that somebody else fills may have none.
        let set = std::fs::read_link(directory.join(NEWEST)).map_or_else(|_| directory.clone(), |set| directory.join(set));
        let [certificate, key, roots] = ["cert-chain.pem", "key.pem", "root-cert.pem"].map(|name| set.join(name));
        let (certificate, key, roots) = (&certificate, &key, &roots);
        let credential = |path: &Path, why: String| {
            UpstreamError::Credential(format!(
                "{}: {why}. The agent of the other CA writes it ([[files]]); without it this CA is nobody there",
                path.display()
            ))
        };
        let chain = read_bounded(certificate, MAX_FILE_BYTES).map_err(|error| credential(certificate, error.to_string()))?;
        let chain = certificates_from_pem(&chain).map_err(|error| credential(certificate, error.to_string()))?;
        let pem = read_private(key, MAX_FILE_BYTES).map(Zeroizing::new).map_err(|error| credential(key, error.to_string()))?;
        let private = PrivateKey::from_pem(&pem).map_err(|error| credential(key, error.to_string()))?;
        let now = self.clock.now().into();
        let svid = X509Svid::new(chain, private, now).map_err(|error| credential(certificate, error.to_string()))?;
        let pem = read_bounded(roots, MAX_FILE_BYTES).map_err(|error| credential(roots, error.to_string()))?;
        let bundle = TrustBundle::from_pem(self.trust_domain.clone(), &pem, 1);
        let bundle = Arc::new(bundle.map_err(|error| credential(roots, error.to_string()))?);
        svid.verify(&bundle, now).map_err(|error| credential(certificate, error.to_string()))?;
        let expect = PeerMatcher::SignetCa(self.trust_domain.clone());
        let trust = ServerTrust::Bundle { bundle: watch::channel(bundle).1, expect };
        Ok(ClientTls::new(trust, Some(watch::channel(Arc::new(svid)).1), &[HTTP2], Arc::clone(&self.clock)))
    }

    async fn ask_to_sign(&self, request: IssuerRequest) -> Result<UpstreamAnswer, UpstreamError> {
        let IssuerRequest { csr_der, trust_domain, ttl, path_len } = request;
        if trust_domain != self.trust_domain {
            return Err(UpstreamError::Refused(format!("it is of {}, and signs for no other trust domain", self.trust_domain)));
        }
        let message = v1::SignIssuerRequest { csr: csr_der, ttl_seconds: ttl.as_secs(), path_length: u32::from(path_len) };
        let mut client = self.connect().await?;
        let answer = tokio::time::timeout(CALL_DEADLINE, client.sign_issuer(message)).await;
        let v1::SignIssuerResponse { chain, roots } = told(answer)?;
        Ok(UpstreamAnswer { chain, roots })
    }

    async fn ask_for_roots(&self) -> Result<UpstreamRoots, UpstreamError> {
        let mut client = self.connect().await?;
        let answer = tokio::time::timeout(CALL_DEADLINE, client.get_upstream_roots(v1::GetUpstreamRootsRequest {})).await;
        let v1::GetUpstreamRootsResponse { roots, bundle_sequence: _, signing_root } = told(answer)?;
        let signing = signing_root.as_slice().try_into().map_err(|_| {
            UpstreamError::Malformed(format!("{} bytes name the root that signs, and 32 are needed", signing_root.len()))
        })?;
        Ok(UpstreamRoots { roots, signing: Some(signing) })
    }
}

impl UpstreamAuthority for SignetUpstream {
    fn name(&self) -> &str {
        "signet"
    }

    fn sign_issuer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<UpstreamAnswer, UpstreamError>> {
        Box::pin(self.ask_to_sign(request))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<UpstreamRoots>, UpstreamError>> {
        Box::pin(async { self.ask_for_roots().await.map(Some) })
    }
}

fn told<T>(answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>) -> Result<T, UpstreamError> {
    let answer = answer.map_err(|_| UpstreamError::Unreachable(format!("no answer within {CALL_DEADLINE:?}")))?;
    answer.map(tonic::Response::into_inner).map_err(|status| {
        let text = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => UpstreamError::Credential(text),
            Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted | Code::Unimplemented => {
                UpstreamError::Refused(text)
            }
            Code::OutOfRange | Code::DataLoss => UpstreamError::Malformed(text),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable => UpstreamError::Unreachable(text),
        }
    })
}

/// A connector that gives away one finished stream, and refuses ever after.
struct Once<F>(F);

impl<T, F: FnMut() -> Option<T>> tower_service::Service<Uri> for Once<F> {
    type Response = T;
    type Error = io::Error;
    type Future = std::future::Ready<Result<T, io::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = (self.0)();
        std::future::ready(stream.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection is lost")))
    }
}
