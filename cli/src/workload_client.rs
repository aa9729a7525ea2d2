//! A client of the SPIFFE Workload API: what any workload of this node does, done for this process.

use std::path::{Path, PathBuf};

use identity::{SpiffeId, TrustDomain};
use pki::{Audience, Certificate, PrivateKey, TrustBundle};
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use proto::workload::{self, JwtBundlesRequest, JwtsvidRequest, X509BundlesRequest, X509svidRequest};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use zeroize::Zeroizing;

use crate::admin_client::{ANSWER_DEADLINE, connect};
use crate::args::{DEFAULT_API_SOCKET, WorkloadSocketArgs};
use crate::failure::Failure;

/// A connection to the agent's socket for workloads.
pub(crate) struct WorkloadClient {
    client: SpiffeWorkloadApiClient<Channel>,
}

/// One X509-SVID as it came, checked to be one.
pub(crate) struct FetchedX509Svid {
    pub(crate) id: SpiffeId,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: PrivateKey,
    pub(crate) bundle: Vec<Certificate>,
    pub(crate) hint: String,
}

impl WorkloadClient {
    /// Connects to the socket that was named, or that `SPIFFE_ENDPOINT_SOCKET` names, or to the usual one.
    ///
    /// # Errors
    /// [`Failure`] of the unreachable kind, or of wrong usage when the environment names no Unix socket.
    pub(crate) async fn connect(args: &WorkloadSocketArgs) -> Result<Self, Failure> {
        let socket = match &args.api_socket {
            Some(path) => path.clone(),
            None => match runtime::workload_endpoint::from_environment() {
                Ok(named) => named.unwrap_or_else(|| PathBuf::from(DEFAULT_API_SOCKET)),
                Err(error) => return Err(Failure::usage(error.to_string()).advise("name the socket with `--api-socket PATH`")),
            },
        };
        Self::at(&socket).await
    }

    /// Connects to this socket.
    ///
    /// # Errors
    /// [`Failure`] of the unreachable kind.
    pub(crate) async fn at(socket: &Path) -> Result<Self, Failure> {
        let channel = connect(socket).await.map_err(|error| {
            Failure::unreachable(format!("cannot reach the agent at {}", socket.display()))
                .because(error)
                .advise("start the agent with `signet agent run --config FILE`, or name its socket with `--api-socket PATH`")
        })?;
        Ok(Self { client: SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES) })
    }

    /// The states of this process's X509-SVIDs, one after the other.
    ///
    /// # Errors
    /// [`Failure`] as the agent says it.
    pub(crate) async fn watch_x509(&mut self) -> Result<Streaming<workload::X509svidResponse>, Failure> {
        let answer = self.client.fetch_x509svid(asking(X509svidRequest {})).await;
        Ok(answer.map_err(|status| refused("svid", &status))?.into_inner())
    }

    /// The first state.
    ///
    /// # Errors
    /// [`Failure`] as the agent says it, or when what it sent is not what it should be.
    pub(crate) async fn fetch_x509(&mut self) -> Result<Vec<FetchedX509Svid>, Failure> {
        let first = async { next(&mut self.watch_x509().await?).await };
        let state = tokio::time::timeout(ANSWER_DEADLINE, first).await.map_err(|_| late())??;
        read_x509(state)
    }

    /// Tokens for these audiences: of one identity, or of each that this process has.
    ///
    /// # Errors
    /// [`Failure`] as the agent says it.
    pub(crate) async fn fetch_jwt(
        &mut self,
        audiences: &[Audience],
        id: Option<&SpiffeId>,
    ) -> Result<Vec<workload::Jwtsvid>, Failure> {
        let message = JwtsvidRequest {
            audience: audiences.iter().map(|audience| audience.as_str().to_owned()).collect(),
            spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        };
        let mut request = asking(message);
        request.set_timeout(ANSWER_DEADLINE);
        let answer = self.client.fetch_jwtsvid(request).await;
        Ok(answer.map_err(|status| refused("svid fetch jwt", &status))?.into_inner().svids)
    }

    /// The trust bundles that the agent gives this process: of its own trust domain and of those that it federates with, in the order of their
    /// names, at least one. The Workload API does not say which is the own.
    ///
    /// # Errors
    /// [`Failure`] as the agent says it, or when what it sent are no bundles.
    pub(crate) async fn fetch_bundles(&mut self) -> Result<Vec<TrustBundle>, Failure> {
        let fetch = async {
            let mut x509 = self
                .client
                .fetch_x509_bundles(asking(X509BundlesRequest {}))
                .await
                .map_err(|status| refused("bundle", &status))?
                .into_inner();
            let mut jwt = self
                .client
                .fetch_jwt_bundles(asking(JwtBundlesRequest {}))
                .await
                .map_err(|status| refused("bundle", &status))?
                .into_inner();
            Ok((next(&mut x509).await?.bundles, next(&mut jwt).await?.bundles))
        };
        let (mut x509, jwt) = tokio::time::timeout(ANSWER_DEADLINE, fetch).await.map_err(|_| late())??;
        let bundle = |(name, keys): (String, Vec<u8>)| {
            let domain = SpiffeId::parse(&name).map_err(strange)?.trust_domain().clone();
            let keys = TrustBundle::from_jwks(domain.clone(), &keys).map_err(strange)?;
            // A trust domain without X.509 authorities is left out of their list.
            let Some(certificates) = x509.remove(&name) else { return Ok(keys) };
            let certificates = Certificate::all_from_der(&certificates).map_err(strange)?;
            TrustBundle::new(domain, certificates, keys.sequence())
                .and_then(|bundle| bundle.with_jwt_authorities(keys.jwt_authorities().to_vec()))
                .map_err(strange)
        };
        let mut bundles = jwt.into_iter().map(bundle).collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = x509.keys().next() {
            return Err(strange(format!("it sent no JWT bundle of {name}")));
        }
        if bundles.is_empty() {
            return Err(strange("it sent no bundle"));
        }
        bundles.sort_by(|a, b| a.trust_domain().cmp(b.trust_domain()));
        Ok(bundles)
    }
}

/// The bundle of a trust domain among those that an agent gave; with no name, the only one.
///
/// # Errors
/// [`Failure`] that names those which are there.
pub(crate) fn bundle_of(bundles: Vec<TrustBundle>, wanted: Option<&TrustDomain>) -> Result<TrustBundle, Failure> {
    let there: Vec<_> = bundles.iter().map(|bundle| bundle.trust_domain().to_string()).collect();
    let there = format!("it gave those of: {}", there.join(", "));
    let mut fitting = bundles.into_iter().filter(|bundle| wanted.is_none_or(|wanted| bundle.trust_domain() == wanted));
    match (fitting.next(), fitting.next(), wanted) {
        (Some(bundle), None, _) => Ok(bundle),
        (None, _, Some(wanted)) => Err(Failure::failed(format!("the agent gave this process no bundle of {wanted}"))
            .because(there)
            .advise("it gives foreign ones to those whose entry names them: `signet entry update ENTRY --federates-with NAME`")),
        (_, _, _) => Err(Failure::usage("the agent gave more than one bundle")
            .because(there)
            .advise("name the one that you mean with `--trust-domain NAME`")),
    }
}

/// Reads a state whole.
///
/// # Errors
/// [`Failure`] when a part of it is not what it should be.
pub(crate) fn read_x509(state: workload::X509svidResponse) -> Result<Vec<FetchedX509Svid>, Failure> {
    let read = |svid: workload::X509svid| {
        let workload::X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, hint } = svid;
        let key = Zeroizing::new(x509_svid_key);
        Ok(FetchedX509Svid {
            id: SpiffeId::parse(&spiffe_id).map_err(strange)?,
            chain: Certificate::all_from_der(&x509_svid).map_err(strange)?,
            key: PrivateKey::from_pkcs8_der(&key).map_err(strange)?,
            bundle: Certificate::all_from_der(&bundle).map_err(strange)?,
            hint,
        })
    };
    state.svids.into_iter().map(read).collect()
}

/// The next state of a stream.
///
/// # Errors
/// [`Failure`] when the stream ends.
pub(crate) async fn next<T>(states: &mut Streaming<T>) -> Result<T, Failure> {
    let state = states.message().await.map_err(|status| refused("svid", &status))?;
    state.ok_or_else(|| Failure::unreachable("the agent ended the stream").advise("the same line again"))
}

/// The Workload API is for programs that say so (SPIFFE Workload Endpoint section 3): a browser cannot be made to.
fn asking<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

fn refused(doing: &str, status: &Status) -> Failure {
    let failure = Failure::from_status(doing, status);
    if status.code() == tonic::Code::PermissionDenied {
        return failure
            .advise("see which identity this process lacks: `signet entry explain --pid PID`, as the agent's operator");
    }
    failure
}

fn late() -> Failure {
    Failure::unreachable("the agent did not answer in time").because(format!("nothing came within {ANSWER_DEADLINE:?}"))
}

fn strange(what: impl std::fmt::Display) -> Failure {
    Failure::failed("the agent's answer is not what it should be").because(what)
}

const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
