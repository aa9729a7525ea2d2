//! In the place of an API server: HTTP/2 over TLS, with one answer after the other as a test wants them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::{SpiffeId, TrustDomain};
use mtls::{ClientAuthentication, ServerTls};
use pki::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, Timestamp, TrustBundle, X509Svid, certificates_to_pem, prepare_authority, prepare_leaf,
};
use runtime::clock::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

const HOUR: Duration = Duration::from_secs(3600);

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        fields: Vec<(&'static str, &'static str)>,
        body: String,
    },
    /// An answer in pieces, after which it ends or stays open without a word.
    Pieces {
        pieces: Vec<String>,
        ends: bool,
    },
    /// The stream ends without an answer.
    Reset,
    Never,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) authorization: String,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    seen: Vec<Seen>,
    connections: usize,
}

/// The server; it takes every token unless it is told otherwise.
pub(crate) struct Double {
    address: SocketAddr,
    roots: String,
    state: Arc<Mutex<State>>,
    carried: Arc<tokio::sync::Mutex<JoinSet<()>>>,
    _serving: JoinSet<()>,
}

impl Reply {
    pub(crate) fn of(status: u16, body: &str) -> Self {
        Self::Answer { status, fields: Vec::new(), body: body.to_owned() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        if let Self::Answer { fields, .. } = &mut self {
            fields.push((name, value));
        }
        self
    }
}

impl Double {
    pub(crate) async fn start(protocols: &[&[u8]]) -> Self {
        let (svid, roots) = server_identity();
        let bundle = TrustBundle::new(svid.id().trust_domain().clone(), pki::certificates_from_pem(roots.as_bytes()).unwrap(), 1);
        let (svid, bundle) = (watch::channel(Arc::new(svid)).1, watch::channel(Arc::new(bundle.unwrap())).1);
        let tls = ServerTls::new(svid, bundle, ClientAuthentication::Optional, protocols, SystemClock::shared());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let carried = Arc::<tokio::sync::Mutex<JoinSet<()>>>::default();
        let mut serving = JoinSet::new();
        let (told, connections) = (Arc::clone(&state), Arc::clone(&carried));
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = tls.accept(stream).await else { continue };
                told.lock().unwrap().connections += 1;
                let told = Arc::clone(&told);
                connections.lock().await.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&told), request));
                    // A client that goes away ends its connection with an error, which is its own affair.
                    drop(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { address, roots, state, carried, _serving: serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// PEM.
    pub(crate) fn roots(&self) -> &str {
        &self.roots
    }

    /// The answer to the next request.
    pub(crate) fn next(&self, reply: Reply) {
        self.state.lock().unwrap().replies.push_back(reply);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many finished their handshake.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Ends every connection at once.
    pub(crate) async fn cut(&self) {
        self.carried.lock().await.shutdown().await;
    }
}

/// What is sent of a body, and whether it ends then.
struct Pieces(VecDeque<Bytes>, bool);

impl Pieces {
    fn whole(body: String) -> Self {
        Self(VecDeque::from([Bytes::from(body)]), true)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.1 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Pieces>, &'static str> {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let line = format!("{} {target}", request.method());
    let field = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (authorization, content_type, accept) = (field("authorization"), field("content-type"), field("accept"));
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen { line, authorization, content_type, accept, body });
        state.replies.pop_front()
    };
    let taken = r#"{"kind":"TokenReview","status":{"authenticated":true,"audiences":["istio-ca"],"user":{"username":"u"}}}"#;
    match reply.unwrap_or_else(|| Reply::of(201, taken)) {
        Reply::Answer { status, fields, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(name, value);
            }
            Ok(response.body(Pieces::whole(body)).unwrap())
        }
        Reply::Pieces { pieces, ends } => Ok(Response::new(Pieces(pieces.into_iter().map(Bytes::from).collect(), ends))),
        Reply::Reset => Err("the stream ends here"),
        Reply::Never => std::future::pending().await,
    }
}

/// A server certificate for 127.0.0.1, and the root above it as PEM.
pub(crate) fn server_identity() -> (X509Svid, String) {
    let now = || Timestamp::from(SystemClock::shared().now());
    let trust_domain = TrustDomain::parse("cluster.example").unwrap();
    let serial = |last| SerialNumber::new(ReplicaByte::new(1).unwrap(), [last; SERIAL_RANDOM_BYTES]);
    let [root_key, key] = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain,
        public_key: root_key.public_key(),
        lifetime: HOUR * 24,
        serial: serial(1),
        now: now(),
    };
    let root = prepare_authority(&spec, None).unwrap().sign(&root_key).unwrap();
    let request = LeafRequest {
        id: &SpiffeId::parse("spiffe://cluster.example/apiserver").unwrap(),
        dns_names: &[],
        ip_addresses: &[Ipv4Addr::LOCALHOST.into()],
        public_key: key.public_key(),
        ttl: None,
        serial: serial(2),
        now: now(),
    };
    let leaf = prepare_leaf(&LeafProfile::new(HOUR, HOUR).unwrap(), &request, &root).unwrap().sign(&root_key).unwrap();
    (X509Svid::new(vec![leaf], key, now()).unwrap(), certificates_to_pem([&root]))
}
