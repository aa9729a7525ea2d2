//! The gRPC service.

use std::sync::Arc;

use proto::workload;
use proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use runtime::clock::Clock;
use sds::SdsConnection;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::content::{Content, JwtBundles, X509Bundles, X509Svids};
use super::follow::{Messages, follow};
use super::header;
use super::jwt::JwtCalls;
use super::jwt_svids::JwtSvids;
use super::metrics::{Call, WorkloadApiMetrics};
use super::open_streams::OpenStreams;
use crate::secrets::CallerSecrets;
use crate::workload::Caller;

/// The largest request read, in bytes.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// `SpiffeWorkloadAPI` over what the node holds for each caller.
pub(crate) struct WorkloadApi {
    secrets: Arc<CallerSecrets>,
    /// `None` where the CA signs none.
    jwt: Option<JwtCalls>,
    streams: OpenStreams,
    metrics: WorkloadApiMetrics,
}

impl WorkloadApi {
    /// A service over `secrets`; without `jwt_svids`, which a CA may not sign, the calls about them are UNIMPLEMENTED.
    pub(crate) fn new(
        secrets: Arc<CallerSecrets>,
        jwt_svids: Option<JwtSvids>,
        clock: Arc<dyn Clock>,
        metrics: WorkloadApiMetrics,
    ) -> Self {
        let jwt = jwt_svids.map(|svids| JwtCalls::new(Arc::clone(&secrets), svids, clock));
        Self { secrets, jwt, streams: OpenStreams::new(metrics.clone()), metrics }
    }

    /// The streams that are open.
    pub(crate) fn streams(&self) -> OpenStreams {
        self.streams.clone()
    }

    /// Adds the service to others of the socket. The header is asked for here alone, and before anything else is looked at.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let metrics = self.metrics.clone();
        let server = SpiffeWorkloadApiServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES);
        routes.add_service(InterceptedService::new(server, move |request: Request<()>| {
            header::check(request.metadata()).inspect_err(|_| metrics.without_header())?;
            Ok(request)
        }))
    }

    fn jwt(&self) -> Result<&JwtCalls, Status> {
        self.jwt.as_ref().ok_or_else(|| Status::unimplemented("the CA of this node signs no JWT-SVIDs"))
    }

    fn open<C: Content, T>(&self, request: &Request<T>, call: Call) -> Result<Response<Messages<C::Message>>, Status> {
        let caller = caller_of(request)?;
        let open = self.streams.take(caller).inspect_err(|refusal| self.metrics.answered(call, Some(refusal)))?;
        let states = self.secrets.follow(caller);
        Ok(Response::new(follow::<C>(states, caller.clone(), call, self.metrics.clone(), open)))
    }
}

/// Who calls. The socket knows it of each connection, so its absence is a fault of the agent, not of the caller.
fn caller_of<T>(request: &Request<T>) -> Result<&Caller, Status> {
    let connection = request.extensions().get::<SdsConnection<Caller>>();
    connection.map(SdsConnection::caller).ok_or_else(|| Status::internal("this connection has no attested caller"))
}

/// WIT-SVIDs are optional (SPIFFE Workload API section 7), and not served.
fn no_wit() -> Status {
    Status::unimplemented("WIT-SVIDs are not served")
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Messages<workload::X509svidResponse>;
    type FetchX509BundlesStream = Messages<workload::X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<workload::JwtBundlesResponse>;
    type FetchWITSVIDStream = Messages<workload::WitsvidResponse>;
    type FetchWITBundlesStream = Messages<workload::WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<workload::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.open::<X509Svids, _>(&request, Call::X509Svid)
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<workload::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.open::<X509Bundles, _>(&request, Call::X509Bundles)
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<workload::JwtsvidRequest>,
    ) -> Result<Response<workload::JwtsvidResponse>, Status> {
        let caller = caller_of(&request)?.clone();
        let answer = self.jwt()?.fetch(&caller, request.into_inner()).await;
        self.metrics.answered(Call::JwtSvid, answer.as_ref().err());
        answer.map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<workload::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.jwt()?;
        self.open::<JwtBundles, _>(&request, Call::JwtBundles)
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<workload::ValidateJwtsvidRequest>,
    ) -> Result<Response<workload::ValidateJwtsvidResponse>, Status> {
        let caller = caller_of(&request)?.clone();
        let answer = self.jwt()?.validate(&caller, request.into_inner());
        self.metrics.answered(Call::ValidateJwtSvid, answer.as_ref().err());
        answer.map(Response::new)
    }

    async fn fetch_witsvid(
        &self,
        _request: Request<workload::WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        Err(no_wit())
    }

    async fn fetch_wit_bundles(
        &self,
        _request: Request<workload::WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        Err(no_wit())
    }
}
