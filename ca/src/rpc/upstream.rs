//! The service `signet.v1.Upstream`: issuing CAs for other CAs.

use std::sync::Arc;
use std::time::Duration;

use pki::Certificate;
use proto::v1;
use proto::v1::upstream_server::Upstream;
use tonic::{Request, Response, Status};

use crate::error_reason::{ErrorReason, Told};
use crate::rpc::connection::ConnectInfo;
use crate::rpc::status::told_with_retry;
use crate::upstream::metrics::UpstreamMetrics;
use crate::upstream::parent::{Parent, ParentError};

/// The service.
pub(crate) struct UpstreamService {
    pub(crate) parent: Parent,
    pub(crate) metrics: UpstreamMetrics,
}

/// The service behind an `Arc`.
#[derive(Clone)]
pub(crate) struct SharedUpstreamService(pub(crate) Arc<UpstreamService>);

impl UpstreamService {
    fn told(&self, info: &ConnectInfo, error: &ParentError) -> Status {
        let peer = info.peer.as_ref().map(|peer| peer.id().to_string());
        let reason = error.reason().map(ErrorReason::as_str);
        tracing::warn!(remote = %info.remote, peer, reason, %error, "an issuing CA was not signed");
        self.metrics.downstream(false);
        told_with_retry(error, peer.unwrap_or_else(|| info.remote.to_string()))
    }

    async fn sign(&self, info: &ConnectInfo, message: v1::SignIssuerRequest) -> Result<v1::SignIssuerResponse, ParentError> {
        let child = self.parent.admit(info.peer.as_deref()).await?;
        let v1::SignIssuerRequest { csr, ttl_seconds, path_length } = message;
        let ttl = (ttl_seconds > 0).then(|| Duration::from_secs(ttl_seconds));
        let chain = self.parent.sign(child, &csr, ttl, path_length).await?;
        let (roots, _, _) = self.parent.roots();
        Ok(v1::SignIssuerResponse { chain: ders(&chain), roots: ders(&roots) })
    }
}

fn ders(certificates: &[Certificate]) -> Vec<Vec<u8>> {
    certificates.iter().map(|certificate| certificate.der().to_vec()).collect()
}

#[tonic::async_trait]
impl Upstream for SharedUpstreamService {
    async fn sign_issuer(&self, request: Request<v1::SignIssuerRequest>) -> Result<Response<v1::SignIssuerResponse>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let _in_use = info.begin_call();
        let answer = self.0.sign(&info, request.into_inner()).await.map_err(|error| self.0.told(&info, &error))?;
        self.0.metrics.downstream(true);
        Ok(Response::new(answer))
    }

    async fn get_upstream_roots(
        &self,
        request: Request<v1::GetUpstreamRootsRequest>,
    ) -> Result<Response<v1::GetUpstreamRootsResponse>, Status> {
        let info = ConnectInfo::of(request.extensions())?;
        let _in_use = info.begin_call();
        let child = self.0.parent.admit(info.peer.as_deref()).await.map_err(|error| self.0.told(&info, &error))?;
        tracing::debug!(child = %child.id(), "another CA asks for the roots");
        let (roots, bundle_sequence, signing) = self.0.parent.roots();
        let signing_root = signing.fingerprint().to_vec();
        Ok(Response::new(v1::GetUpstreamRootsResponse { roots: ders(&roots), bundle_sequence, signing_root }))
    }
}
