use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::shutdown::{self, ShutdownTrigger};
use crate::telemetry;

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    trigger: ShutdownTrigger,
    tasks: JoinSet<io::Result<()>>,
}

async fn start() -> Running {
    let admin = AdminHttp::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = admin.local_addr().unwrap();
    assert_eq!(admin.address(), address.to_string());
    let (trigger, shutdown) = shutdown::channel();
    let readiness = Readiness::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.run(Arc::new(telemetry::registry()), readiness.clone(), shutdown));
    Running { address, readiness, trigger, tasks }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request_line: &str) -> String {
    stream.write_all(format!("{request_line} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn only_loopback_and_absolute_unix_paths_are_addresses() {
    assert_eq!("unix:/run/x.sock".parse(), Ok(AdminAddress::Unix("/run/x.sock".into())));
    for good in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:9000"] {
        assert!(matches!(good.parse(), Ok(AdminAddress::Loopback(_))), "{good}");
    }
    for remote in ["0.0.0.0:9000", "[::]:9000", "10.0.0.1:9000", "[::ffff:10.0.0.1]:1"] {
        assert!(matches!(remote.parse::<AdminAddress>(), Err(AdminAddressError::NotLoopback { .. })), "{remote}");
    }
    for bad in ["localhost:9000", "9000", "", "unix:relative", "127.0.0.1"] {
        assert!(matches!(bad.parse::<AdminAddress>(), Err(AdminAddressError::Malformed { .. })), "{bad}");
    }
}

#[tokio::test]
async fn an_address_made_by_hand_is_checked_too() {
    let address = AdminAddress::Loopback(SocketAddr::from(([0, 0, 0, 0], 0)));
    assert!(matches!(AdminHttp::bind(&address).await, Err(AdminBindError::Address(_))));
}

#[tokio::test]
async fn the_three_paths_answer_and_nothing_else_does() {
    let mut running = start().await;
    let ask = async |line: &str| exchange(TcpStream::connect(running.address).await.unwrap(), line).await;
    assert!(ask("GET /livez").await.starts_with("HTTP/1.1 200"));
    assert!(ask("GET /readyz").await.starts_with("HTTP/1.1 200"));
    running.readiness.warn(vec!["half of its life is over".to_owned()]);
    let warned = ask("GET /readyz").await;
    assert!(
        warned.starts_with("HTTP/1.1 200") && warned.ends_with("\r\n\r\nready\nwarning: half of its life is over\n"),
        "{warned}"
    );
    running.readiness.warn(Vec::new());
    running.readiness.unmet("store", "sync failed");
    running.readiness.unmet("authority", "ends too soon");
    let unready = ask("GET /readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    assert!(unready.ends_with("\r\n\r\nauthority: ends too soon\nstore: sync failed\n"), "{unready}");
    assert!(ask("GET /livez").await.starts_with("HTTP/1.1 200"), "alive though not ready");
    let metrics = ask("GET /metrics").await;
    assert!(metrics.contains("signet_build_info{") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(ask("GET /debug").await.starts_with("HTTP/1.1 404"));
    let posted = ask("POST /metrics").await;
    assert!(posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET"), "{posted}");

    running.trigger.fire();
    running.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn more_peers_than_places_wait_and_silent_ones_lose_theirs() {
    let running = start().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let begin =
        tokio::time::timeout(HEADER_TIMEOUT * 4, exchange(TcpStream::connect(running.address).await.unwrap(), "GET /livez"));
    assert!(begin.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_unix_socket_serves_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("telemetry.sock");
    let admin = AdminHttp::bind(&AdminAddress::Unix(path.clone())).await.unwrap();
    assert_eq!(admin.local_addr(), None);
    assert_eq!(admin.address(), format!("unix:{}", path.display()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (_trigger, shutdown) = shutdown::channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.run(Arc::new(telemetry::registry()), Readiness::default(), shutdown));
    assert!(exchange(UnixStream::connect(&path).await.unwrap(), "GET /livez").await.starts_with("HTTP/1.1 200"));
}

struct OneDocument;

impl Documents for OneDocument {
    fn document(&self, path: &str) -> Option<Document> {
        (path == "/own").then(|| Document { content_type: "application/x-own", body: vec![1, 2] })
    }

    fn names(&self) -> &'static str {
        "/own"
    }
}

#[test]
fn documents_of_a_service_stand_beside_the_three_pages() {
    let (registry, readiness) = (Arc::new(telemetry::registry()), Readiness::default());
    let served = Served { registry, readiness, documents: Some(Arc::new(OneDocument)) };
    let own = respond(&Method::GET, "/own", &served);
    assert_eq!((own.status(), own.headers()[CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, "application/x-own"));
    assert_eq!(own.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(respond(&Method::GET, "/livez", &served).status(), StatusCode::OK);
    assert_eq!(respond(&Method::GET, "/other", &served).status(), StatusCode::NOT_FOUND);
    assert_eq!(respond(&Method::POST, "/own", &served).status(), StatusCode::METHOD_NOT_ALLOWED);
}
