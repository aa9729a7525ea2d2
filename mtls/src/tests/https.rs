//! The client for documents on the web against a TLS server on loopback. Each refusal stands beside the same fetch succeeding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use identity::DnsName;
use runtime::clock::TestClock;
use rustls::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::fixture::{Authority, clock};
use crate::backend;
use crate::https::{
    AddressClass, AddressRange, FetchError, FetchFault, FieldValueError, HttpsBounds, HttpsClient, HttpsRequest, HttpsUrl,
    MAX_DOCUMENT_BYTES, WebRoots, WebRootsError,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server named `issuer.example` and 127.0.0.1, its authority, and a client that may connect to loopback.
struct Bench {
    clock: Arc<TestClock>,
    authority: Authority,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Bench {
    async fn new() -> Self {
        Self::of_versions(&[&TLS13]).await
    }

    async fn of_versions(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let clock = clock();
        let authority = Authority::new("example.org", &clock);
        let svid = authority.svid_named("/issuer", &[DnsName::parse("issuer.example").unwrap()], &[LOOPBACK]);
        let chain = svid.chain().iter().map(|certificate| certificate.der().clone()).collect();
        let key = backend::signing_key(svid.key().pkcs8_der()).unwrap();
        let config = ServerConfig::builder_with_provider(backend::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        Self { clock, authority, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn roots(&self) -> WebRoots {
        WebRoots::configured(pki::certificates_to_pem([&self.authority.root]).as_bytes()).unwrap()
    }

    fn client(&self, allowed: &[&str]) -> HttpsClient {
        let allowed = allowed.iter().map(|range| range.parse::<AddressRange>().unwrap()).collect();
        HttpsClient::new(self.roots(), allowed, self.clock.clone()).resolving_to(vec![LOOPBACK])
    }

    fn url(&self, host: &str) -> HttpsUrl {
        let port = self.listener.local_addr().unwrap().port();
        format!("https://{host}:{port}/keys?of=all").parse().unwrap()
    }

    /// Answers one connection and gives the request as it came.
    async fn answer(&self, response: &[u8]) -> Option<String> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = self.acceptor.accept(stream).await.ok()?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.ok()?);
        }
        // A client that has seen enough closes while this is being written.
        drop(stream.write_all(response).await);
        drop(stream.shutdown().await);
        Some(String::from_utf8(request).unwrap())
    }

    async fn fetch(&self, client: &HttpsClient, host: &str, response: &[u8]) -> Result<Vec<u8>, FetchFault> {
        let url = self.url(host);
        let (fetched, _) = tokio::join!(client.get(&url), self.answer(response));
        fetched.map_err(|FetchError { why, .. }| why)
    }

    async fn fetch_allowed(&self, response: &[u8]) -> Result<Vec<u8>, FetchFault> {
        self.fetch(&self.client(&["127.0.0.1"]), "issuer.example", response).await
    }

    /// Whether a connection was made to the server: one that was would be waiting to be accepted.
    async fn was_connected_to(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.listener.accept()).await.is_ok()
    }
}

fn document(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_document_comes_by_one_plain_get() {
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let bench = Bench::of_versions(versions).await;
        let (url, client) = (bench.url("issuer.example"), bench.client(&["127.0.0.0/8"]));
        let response = document("{}");
        let (fetched, request) = tokio::join!(client.get(&url), bench.answer(&response));
        assert_eq!(fetched.unwrap(), b"{}");
        let port = bench.listener.local_addr().unwrap().port();
        let request = request.unwrap();
        let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
        lines[1..].sort_unstable();
        assert_eq!(lines, ["GET /keys?of=all HTTP/1.1", "connection: close", &format!("host: issuer.example:{port}")]);
    }
}

#[tokio::test]
async fn a_configured_server_is_asked_wherever_it_lies_and_answers_with_any_status() {
    let bench = Bench::new().await;
    let url = bench.url("issuer.example");
    let client = HttpsClient::of_configured_server(bench.roots(), bench.clock.clone()).resolving_to(vec![LOOPBACK]);
    let bounds = HttpsBounds { answer_bytes: 8, deadline: Duration::from_secs(60) };
    let request = HttpsRequest::post_json(&url, b"{}".to_vec().into()).with_field("x-token", "secret").unwrap();
    let refusal = b"HTTP/1.1 429 Slower\r\nretry-after: 7\r\ncontent-length: 8\r\n\r\n{\"e\":[]}";
    let (answer, seen) = tokio::join!(client.send(&request, bounds), bench.answer(refusal));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after, answer.body.as_slice()),
        (429, Some(Duration::from_secs(7)), &b"{\"e\":[]}"[..])
    );
    let seen = seen.unwrap();
    assert!(seen.starts_with("POST /keys?of=all HTTP/1.1\r\n") && seen.contains("x-token: secret\r\n"), "{seen}");
    assert!(seen.contains("content-type: application/json\r\n") && seen.contains("content-length: 2\r\n"), "{seen}");

    let longer = b"HTTP/1.1 400 No\r\ncontent-length: 9\r\n\r\n123456789";
    let get = HttpsRequest::get(&url);
    let (answer, _) = tokio::join!(client.send(&get, bounds), bench.answer(longer));
    assert!(matches!(answer.err().unwrap().why, FetchFault::TooLarge { max: 8 }));
    let elsewhere = b"HTTP/1.1 307 There\r\nlocation: https://localhost/\r\ncontent-length: 0\r\n\r\n";
    let (answer, _) = tokio::join!(client.send(&get, bounds), bench.answer(elsewhere));
    assert!(matches!(answer.err().unwrap().why, FetchFault::Redirected { status: 307 }));
    let bad = HttpsRequest::get(&url).with_field("x-token", "a\r\nb: c").err();
    assert_eq!(bad, Some(FieldValueError));
}

#[tokio::test]
async fn an_address_in_the_url_is_judged_and_verified_like_a_name() {
    let bench = Bench::new().await;
    let fetched = bench.fetch(&bench.client(&["127.0.0.1"]), "127.0.0.1", &document("x")).await;
    assert_eq!(fetched.unwrap(), b"x");
    let refused = bench.client(&[]).get(&bench.url("127.0.0.1")).await.unwrap_err();
    assert!(matches!(refused.why, FetchFault::AddressRefused { class: AddressClass::Loopback, .. }), "{refused}");
    assert!(!bench.was_connected_to().await);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_connected_to() {
    let bench = Bench::new().await;
    assert!(bench.fetch_allowed(&document("x")).await.is_ok());
    let refused = bench.client(&["10.0.0.0/8"]).get(&bench.url("issuer.example")).await.unwrap_err();
    let FetchFault::AddressRefused { address, class } = refused.why else { panic!("{refused}") };
    assert_eq!((address, class), (LOOPBACK, AddressClass::Loopback));
    assert!(!bench.was_connected_to().await);

    // The system's own resolver is judged just so.
    let client = HttpsClient::new(bench.roots(), Vec::new(), bench.clock.clone());
    let refused = client.get(&bench.url("localhost")).await.unwrap_err();
    assert!(matches!(refused.why, FetchFault::AddressRefused { class: AddressClass::Loopback, .. }), "{refused}");
    assert!(refused.to_string().contains("allow_addresses"), "{refused}");
    assert!(!bench.was_connected_to().await);
}

#[tokio::test]
async fn an_answer_that_mixes_allowed_and_forbidden_addresses_is_refused_whole() {
    let bench = Bench::new().await;
    let metadata = IpAddr::from([169, 254, 169, 254]);
    let mapped = IpAddr::V6(Ipv4Addr::new(169, 254, 169, 254).to_ipv6_mapped());
    for (addresses, refused) in [
        (vec![LOOPBACK, metadata], metadata),
        (vec![metadata, LOOPBACK], metadata),
        (vec![LOOPBACK, mapped], mapped),
        (vec![LOOPBACK, Ipv6Addr::LOCALHOST.into()], Ipv6Addr::LOCALHOST.into()),
    ] {
        let client = bench.client(&["127.0.0.1"]).resolving_to(addresses);
        let error = client.get(&bench.url("issuer.example")).await.unwrap_err();
        let FetchFault::AddressRefused { address, .. } = error.why else { panic!("{error}") };
        assert_eq!(address, refused);
        assert!(!bench.was_connected_to().await);
    }
    let none = bench.client(&["127.0.0.1"]).resolving_to(Vec::new()).get(&bench.url("issuer.example")).await;
    assert!(matches!(none.unwrap_err().why, FetchFault::Resolution { .. }));
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_does_not_answer() {
    let bench = Bench::new().await;
    let nobody = IpAddr::from([127, 0, 0, 9]);
    let client = bench.client(&["127.0.0.0/8"]).resolving_to(vec![nobody, LOOPBACK]);
    assert_eq!(bench.fetch(&client, "issuer.example", &document("x")).await.unwrap(), b"x");
    let gone = bench.client(&["127.0.0.0/8"]).resolving_to(vec![nobody]).get(&bench.url("issuer.example")).await;
    assert!(matches!(gone.unwrap_err().why, FetchFault::Connect { .. }));
}

#[tokio::test]
async fn the_certificate_must_name_the_host_stand_under_the_roots_and_be_valid_by_the_services_clock() {
    let bench = Bench::new().await;
    assert!(bench.fetch_allowed(&document("x")).await.is_ok());
    let tls_fault = async |client: &HttpsClient, host: &str| match bench.fetch(client, host, &document("x")).await {
        Err(FetchFault::Tls { cause }) => cause.to_string(),
        other => panic!("{other:?}"),
    };
    let client = bench.client(&["127.0.0.1"]);
    let fault = tls_fault(&client, "other.example").await;
    assert!(fault.contains("not valid for name"), "{fault}");

    let stranger = Authority::new("example.org", &bench.clock);
    let roots = WebRoots::configured(pki::certificates_to_pem([&stranger.root]).as_bytes()).unwrap();
    let other = HttpsClient::new(roots, vec!["127.0.0.1".parse().unwrap()], bench.clock.clone()).resolving_to(vec![LOOPBACK]);
    let fault = tls_fault(&other, "issuer.example").await;
    assert!(fault.contains("invalid peer certificate"), "{fault}");

    bench.clock.advance(Duration::from_secs(2 * 3600));
    let fault = tls_fault(&client, "issuer.example").await;
    assert!(fault.contains("expired"), "{fault}");
}

#[tokio::test]
async fn only_200_without_a_coding_is_a_document() {
    let bench = Bench::new().await;
    let elsewhere = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let there = elsewhere.local_addr().unwrap();
    for code in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
        let response = format!("HTTP/1.1 {code}\r\nlocation: https://{there}/\r\ncontent-length: 0\r\n\r\n");
        let refused = bench.fetch_allowed(response.as_bytes()).await.unwrap_err();
        assert!(matches!(refused, FetchFault::Redirected { .. }), "{refused}");
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await.is_err(), "the redirect was followed");
    for code in ["201 Created", "204 No Content", "206 Partial", "404 Not Found", "500 Oops"] {
        let response = format!("HTTP/1.1 {code}\r\n\r\n");
        let refused = bench.fetch_allowed(response.as_bytes()).await.unwrap_err();
        assert!(matches!(refused, FetchFault::Status { .. }), "{refused}");
    }
    let coded = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx";
    assert!(matches!(bench.fetch_allowed(coded).await, Err(FetchFault::Encoded)));
}

#[tokio::test]
async fn bodies_and_headers_are_bounded() {
    let bench = Bench::new().await;
    let longest = "x".repeat(MAX_DOCUMENT_BYTES);
    assert_eq!(bench.fetch_allowed(&document(&longest)).await.unwrap().len(), MAX_DOCUMENT_BYTES);
    let unsized_body = [b"HTTP/1.1 200 OK\r\n\r\n", longest.as_bytes()].concat();
    assert_eq!(bench.fetch_allowed(&unsized_body).await.unwrap().len(), MAX_DOCUMENT_BYTES);
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n{longest}x\r\n0\r\n\r\n");
    let longer = [&unsized_body[..], b"x"].concat();
    for response in [document(&format!("{longest}x")), longer, chunked.into_bytes()] {
        assert!(matches!(bench.fetch_allowed(&response).await, Err(FetchFault::TooLarge { .. })));
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 1\r\n\r\nx", "a: b\r\n".repeat(64));
    assert!(matches!(bench.fetch_allowed(many.as_bytes()).await, Err(FetchFault::Http { .. })));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\ncontent-length: 1\r\n\r\nx", "b".repeat(32 * 1024));
    assert!(matches!(bench.fetch_allowed(long.as_bytes()).await, Err(FetchFault::Http { .. })));
    // Cut short: what is there is not the document.
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
    assert!(matches!(bench.fetch_allowed(short).await, Err(FetchFault::Http { .. })));
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_is_left_after_five_seconds() {
    let bench = Bench::new().await;
    let url = bench.url("issuer.example");
    let stalls = async {
        let (stream, _) = bench.listener.accept().await.unwrap();
        let mut stream = bench.acceptor.accept(stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
        stream.flush().await.unwrap();
        // From here on only the deadline can end the fetch.
        tokio::time::pause();
        stream
    };
    let client = bench.client(&["127.0.0.1"]);
    let (fetched, _open) = tokio::join!(client.get(&url), stalls);
    assert!(matches!(fetched.unwrap_err().why, FetchFault::Timeout { .. }));
}

#[test]
fn roots_that_were_chosen_are_all_usable_and_those_of_the_system_as_far_as_they_are() {
    let clock = clock();
    let good = pki::certificates_to_pem([&Authority::new("example.org", &clock).root]);
    let bad = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let both = format!("{good}{bad}");
    assert!(WebRoots::configured(good.as_bytes()).is_ok());
    assert!(matches!(WebRoots::configured(both.as_bytes()), Err(WebRootsError::Certificate { number: 2, .. })));
    assert_eq!(format!("{:?}", WebRoots::of_system(both.as_bytes()).unwrap()), "WebRoots(1)");
    for roots in [WebRoots::configured, WebRoots::of_system] {
        assert!(matches!(roots(b""), Err(WebRootsError::Empty)));
        assert!(matches!(roots(b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"), Err(WebRootsError::Pem { .. })));
    }
    assert!(matches!(WebRoots::of_system(bad.as_bytes()), Err(WebRootsError::Empty)));
}
