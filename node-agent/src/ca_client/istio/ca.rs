//! One call: `CreateCertificate` with one credential, on a connection of its own.
//!
//! Roots are read anew for each call, so that a new root in their file counts without a restart, and a connection never
//! outlives the trust under which it was made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use identity::{HostPort, SpiffeId};
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::{TrustBundle, TrustedRoots, X509Svid};
use prost_types::value::Kind;
use proto::istio;
use runtime::clock::Clock;
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};

use super::super::connection::{CaConnection, HTTP2};
use super::super::fault::{CallFault, RefusalReason, call};
use super::super::told::Told;
use super::super::view::NodeView;
use super::{IstioAnswer, IstioCredential};

/// The most bytes of a file of roots.
const MAX_ROOTS_BYTES: usize = 512 * 1024;
/// The largest answer taken, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The key of the request's metadata that every agent of Istio sends; empty: the CA itself signs.
const CERT_SIGNER: &str = "CertSigner";

/// What makes the CA trusted, and which roots it may name.
#[derive(Clone, Debug)]
pub(crate) enum CaTrust {
    /// The roots of a PEM file.
    File {
        /// Where they stand.
        roots: PathBuf,
        /// Who the CA must be; `None`: its certificate must bear the name that it is connected to (RFC 9525).
        server_id: Option<SpiffeId>,
    },
    /// The CA that this node is attested to, under the bundle of now.
    Node(watch::Receiver<Arc<NodeView>>),
}

/// A CA that speaks Istio's certificate API.
#[derive(Clone)]
pub(crate) struct IstioCa {
    address: HostPort,
    trust: CaTrust,
    clock: Arc<dyn Clock>,
}

impl IstioCa {
    pub(crate) fn new(address: HostPort, trust: CaTrust, clock: Arc<dyn Clock>) -> Self {
        Self { address, trust, clock }
    }

    /// Asks for a certificate for the key of `csr_pem`, for whom the credential proves. `validity`: the life asked for, in whole
    /// seconds; `None` leaves it to the CA.
    ///
    /// The credential is dropped with the call. Nothing is sent before the CA is verified.
    ///
    /// # Errors
    /// [`CallFault`]; a refusal of the credential is [`CallFault::Refused`].
    pub(crate) async fn create_certificate(
        &self,
        credential: IstioCredential,
        csr_pem: String,
        validity: Option<Duration>,
    ) -> Result<IstioAnswer, CallFault> {
        let (trust, roots) = self.trust().await?;
        let (shown, bearer) = match credential {
            IstioCredential::Certificate(svid) => (Some(svid), None),
            IstioCredential::Bearer(token) => (None, Some(bearer_value(&token)?)),
        };
        let svid = shown.map(|svid: Arc<X509Svid>| watch::channel(svid).1);
        let tls = ClientTls::new(trust, svid, &[HTTP2], Arc::clone(&self.clock));
        let connection = CaConnection::open_for_one_call(&self.address, &tls).await;
        let CaConnection { channel, exporter: _, told } =
            connection.map_err(|fault| CallFault::Unavailable(fault.to_string()))?;
        let seconds = validity.map_or(0, |validity| i64::try_from(validity.as_secs()).unwrap_or(i64::MAX));
        let mut request = tonic::Request::new(istio::IstioCertificateRequest {
            csr: csr_pem,
            subject_id: String::new(),
            validity_duration: seconds,
            metadata: Some(metadata()),
        });
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut client = istio::istio_certificate_service_client::IstioCertificateServiceClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let answer = call(client.create_certificate(request)).await.map_err(|fault| explain(fault, &told))?;
        let now = self.clock.now().into();
        IstioAnswer::parse(&answer, &roots, now).map_err(|fault| CallFault::Answer(fault.to_string()))
    }

    async fn trust(&self) -> Result<(ServerTrust, TrustedRoots), CallFault> {
        match &self.trust {
            CaTrust::File { roots, server_id } => {
                let path = roots.clone();
                let read = tokio::task::spawn_blocking(move || read_roots(&path)).await;
                let roots = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                let roots = roots.map_err(CallFault::Unavailable)?;
                let trust = match server_id {
                    None => ServerTrust::ServerName { name: self.address.host().clone(), roots: roots.clone() },
                    Some(id) => {
                        let bundle = TrustBundle::new(id.trust_domain().clone(), roots.certificates().to_vec(), 0);
                        let bundle = bundle.map_err(|error| CallFault::Unavailable(format!("its roots are refused: {error}")))?;
                        ServerTrust::Bundle { bundle: watch::channel(Arc::new(bundle)).1, expect: PeerMatcher::Exact(id.clone()) }
                    }
                };
                Ok((trust, roots))
            }
            CaTrust::Node(views) => {
                let bundle = views.borrow().bundle.clone();
                let bundle = bundle.ok_or_else(|| CallFault::Unavailable("no trust bundle yet".to_owned()))?;
                let roots = TrustedRoots::of_bundle(&bundle);
                let expect = PeerMatcher::SignetCa(bundle.trust_domain().clone());
                Ok((ServerTrust::Bundle { bundle: watch::channel(bundle).1, expect }, roots))
            }
        }
    }
}

/// Reads a file of roots.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn read_roots(path: &Path) -> Result<TrustedRoots, String> {
    let pem = runtime::private_files::read_bounded(path, MAX_ROOTS_BYTES).map_err(|error| error.to_string())?;
    TrustedRoots::from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))
}

fn metadata() -> prost_types::Struct {
    let empty = prost_types::Value { kind: Some(Kind::StringValue(String::new())) };
    prost_types::Struct { fields: [(CERT_SIGNER.to_owned(), empty)].into() }
}

/// The header's value is marked so that nothing on the way logs it or keeps it for compression.
fn bearer_value(token: &str) -> Result<MetadataValue<Ascii>, CallFault> {
    let text = zeroize::Zeroizing::new(format!("Bearer {token}"));
    let mut value = MetadataValue::try_from(text.as_str())
        .map_err(|_| CallFault::Unavailable("the token holds characters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A connection lost because the CA refuses the certificate shown is a refusal.
fn explain(fault: CallFault, told: &Told) -> CallFault {
    match (&fault, told.refusal()) {
        (CallFault::Unavailable(_) | CallFault::Deadline(_), Some(alert)) => CallFault::Refused {
            reason: RefusalReason::Other,
            reason_text: String::new(),
            message: format!("the certificate shown, in the TLS handshake: {alert}"),
        },
        (_, Some(_) | None) => fault,
    }
}
