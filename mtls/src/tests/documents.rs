//! The server of one document, asked by the client of this crate. Each refusal stands beside the same question answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use identity::DnsName;
use runtime::clock::TestClock;
use runtime::shutdown::ShutdownTrigger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::fixture::{Authority, clock, id};
use crate::https::{DocumentOutcome, DocumentServer, FetchFault, HttpsClient, HttpsUrl, Publication, ServerPair, WebRoots};
use crate::{ClientTls, PeerMatcher, ServerTrust};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Published {
    document: Mutex<Vec<u8>>,
    ended: mpsc::UnboundedSender<DocumentOutcome>,
}

impl Publication for Published {
    fn document(&self) -> Vec<u8> {
        self.document.lock().unwrap().clone()
    }

    fn ended(&self, outcome: DocumentOutcome) {
        // Nobody listens once the test is over.
        self.ended.send(outcome).ok();
    }
}

struct Bench {
    clock: Arc<TestClock>,
    authority: Authority,
    address: SocketAddr,
    published: Arc<Published>,
    outcomes: mpsc::UnboundedReceiver<DocumentOutcome>,
    shown: watch::Sender<Option<ServerPair>>,
    _end: ShutdownTrigger,
    _serving: JoinSet<()>,
}

impl Bench {
    async fn new() -> Self {
        let clock = clock();
        let authority = Authority::new("example.org", &clock);
        let svid = authority.svid_named("/ca", &[DnsName::parse("bundles.example").unwrap()], &[LOOPBACK]);
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, outcomes) = mpsc::unbounded_channel();
        let published = Arc::new(Published { document: Mutex::new(b"{}".to_vec()), ended });
        let shown = watch::Sender::new(Some(ServerPair::of_svid(&svid).unwrap()));
        let server = DocumentServer::new(listener, shown.subscribe(), published.clone(), clock.clone());
        let (end, shutdown) = runtime::shutdown::channel();
        let mut serving = JoinSet::new();
        serving.spawn(server.run(shutdown));
        Self { clock, authority, address, published, outcomes, shown, _end: end, _serving: serving }
    }

    fn url(&self, path: &str) -> HttpsUrl {
        format!("https://127.0.0.1:{}{path}", self.address.port()).parse().unwrap()
    }

    fn web(&self) -> HttpsClient {
        let roots = WebRoots::configured(pki::certificates_to_pem([&self.authority.root]).as_bytes()).unwrap();
        HttpsClient::new(roots, vec!["127.0.0.1".parse().unwrap()], self.clock.clone())
    }

    fn spiffe(&self, expect: &str) -> HttpsClient {
        let allowed = vec!["127.0.0.1".parse().unwrap()];
        HttpsClient::of_spiffe_server(self.authority.bundle(), id(expect), allowed, self.clock.clone())
    }

    async fn get(&mut self, client: &HttpsClient, path: &str) -> (Result<Vec<u8>, FetchFault>, DocumentOutcome) {
        let fetched = client.get(&self.url(path)).await.map_err(|error| error.why);
        (fetched, self.outcomes.recv().await.unwrap())
    }
}

#[tokio::test]
async fn one_document_is_given_to_whoever_knows_the_server_by_name_or_by_id() {
    let mut bench = Bench::new().await;
    for client in [bench.web(), bench.spiffe("spiffe://example.org/ca")] {
        let (fetched, outcome) = bench.get(&client, "/").await;
        assert_eq!((fetched.unwrap(), outcome), (b"{}".to_vec(), DocumentOutcome::Served));
        let (fetched, outcome) = bench.get(&client, "/other").await;
        assert!(matches!(fetched, Err(FetchFault::Status { status: 404 })), "{fetched:?}");
        assert_eq!(outcome, DocumentOutcome::NotThere);
    }
    *bench.published.document.lock().unwrap() = b"{\"keys\":[]}".to_vec();
    let client = bench.web();
    assert_eq!(bench.get(&client, "/").await.0.unwrap(), b"{\"keys\":[]}", "a change is served at once");
    let short = client.get_up_to(&bench.url("/"), 4).await.map_err(|error| error.why);
    assert!(matches!(short, Err(FetchFault::TooLarge { max: 4 })));
}

#[tokio::test]
async fn a_server_of_another_id_or_under_another_authority_gives_nothing() {
    let mut bench = Bench::new().await;
    let (good, other) = (bench.spiffe("spiffe://example.org/ca"), bench.spiffe("spiffe://example.org/other"));
    assert!(bench.get(&good, "/").await.0.is_ok());
    let (refused, outcome) = bench.get(&other, "/").await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("spiffe://example.org/other"), "{refused}");
    assert_eq!(outcome, DocumentOutcome::Failed);
    let foreign = Authority::new("example.org", &bench.clock);
    bench.shown.send_replace(Some(ServerPair::of_svid(&foreign.svid("/ca")).unwrap()));
    assert!(matches!(bench.get(&good, "/").await.0, Err(FetchFault::Tls { .. })));
    bench.shown.send_replace(None);
    assert!(bench.get(&good, "/").await.0.is_err(), "without a certificate nobody is answered");
}

#[tokio::test]
async fn other_methods_are_refused_and_one_address_takes_not_all_places() {
    let mut bench = Bench::new().await;
    let trust = ServerTrust::Bundle {
        bundle: watch::channel(bench.authority.bundle()).1,
        expect: PeerMatcher::Exact(id("spiffe://example.org/ca")),
    };
    let tls = ClientTls::new(trust, None, &[b"http/1.1"], bench.clock.clone());
    let mut stream = tls.connect(TcpStream::connect(bench.address).await.unwrap()).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(bench.outcomes.recv().await, Some(DocumentOutcome::NotThere));

    let mut silent = Vec::new();
    for _ in 0..33 {
        silent.push(TcpStream::connect(bench.address).await.unwrap());
    }
    assert_eq!(bench.outcomes.recv().await, Some(DocumentOutcome::Refused), "the 33rd is closed while the others are silent");
    drop(silent);
    for _ in 0..32 {
        assert_eq!(bench.outcomes.recv().await, Some(DocumentOutcome::Failed));
    }
    let client = bench.web();
    assert!(bench.get(&client, "/").await.0.is_ok(), "their places are free again");
}

#[test]
fn a_pair_is_a_chain_with_its_own_key() {
    let authority = Authority::new("example.org", &clock());
    let (one, two) = (authority.svid("/a"), authority.svid("/b"));
    let chain = pki::certificates_to_pem(one.chain());
    assert!(ServerPair::from_pem(chain.as_bytes(), one.key().to_pkcs8_pem().as_bytes()).is_ok());
    assert!(ServerPair::from_pem(chain.as_bytes(), two.key().to_pkcs8_pem().as_bytes()).is_err());
}
