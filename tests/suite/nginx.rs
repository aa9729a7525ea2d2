//! A program that knows nothing but files: nginx, as Debian has it, on the agent's files through rotations.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::{PrivateKey, Timestamp, TrustBundle, X509Svid};
use runtime::clock::SystemClock;
use tests::{
    Agent, AgentOptions, Ca, CaOptions, HttpConnection, HttpResponse, PeerKind, Process, Requirement, TestBed, eventually, needs,
    nginx_binary,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

const SERVER: &str = "spiffe://example.org/nginx";
const CLIENT: &str = "spiffe://example.org/client";

/// A port that nobody else gets while this lives: bound and not listened at, in a way that lets nginx bind it too.
struct Port(TcpSocket);

impl Port {
    fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// `more` stands in the block of the server.
fn write_config(bed: &TestBed, address: SocketAddr, certs: &Path, more: &str) -> PathBuf {
    let (place, certs) = (bed.path().display(), certs.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/tmp-{kind};\n"))
        .concat();
    bed.write(
        "nginx.conf",
        &format!(
            "daemon off;\nuser nobody nogroup;\nworker_processes 1;\npid {place}/nginx.pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n access_log off;\n {temporary}\
             server {{\n listen {address} ssl;\n ssl_protocols TLSv1.2 TLSv1.3;\n\
             ssl_certificate {certs}/cert-chain.pem;\n ssl_certificate_key {certs}/key.pem;\n\
             ssl_client_certificate {certs}/root-cert.pem;\n ssl_verify_client on;\n ssl_verify_depth 3;\n {more}\n\
             location / {{ return 200 \"client $ssl_client_verify\"; }}\n }}\n}}\n"
        ),
    )
}

/// A set of files in the agent's configuration.
fn set(name: &str, id: &str, directory: &Path, reload: &str) -> String {
    format!("[[files]]\nname = \"{name}\"\nspiffe_id = \"{id}\"\ndirectory = \"{}\"\n{reload}\n", directory.display())
}

fn reload_of(bed: &TestBed, nginx: &Path, config: &Path) -> String {
    format!(
        "reload = {{ command = [\"{}\", \"-p\", \"{}\", \"-c\", \"{}\", \"-s\", \"reload\"], timeout = \"10s\" }}",
        nginx.display(),
        bed.path().display(),
        config.display()
    )
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A client of the trust domain, with what the agent wrote for it.
fn client_of(certs: &Path, shown: bool) -> ClientTls {
    let now = Timestamp::from(SystemClock::shared().now());
    let key = PrivateKey::from_pem(&read(certs.join("key.pem"))).unwrap();
    let chain = pki::certificates_from_pem(&read(certs.join("cert-chain.pem"))).unwrap();
    let svid = X509Svid::new(chain, key, now).unwrap();
    let domain = TrustDomain::parse("example.org").unwrap();
    let bundle = TrustBundle::from_pem(domain, &read(certs.join("root-cert.pem")), 1).unwrap();
    let (_, bundle) = watch::channel(Arc::new(bundle));
    let (_, svid) = watch::channel(Arc::new(svid));
    let expect = PeerMatcher::Exact(SpiffeId::parse(SERVER).unwrap());
    ClientTls::new(ServerTrust::Bundle { bundle, expect }, shown.then_some(svid), &[b"http/1.1"], SystemClock::shared())
}

/// One request on a connection of its own, and the serial of the certificate that was served.
async fn request(client: &ClientTls, address: SocketAddr) -> Result<(String, HttpResponse), String> {
    let asking = async {
        let tcp = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        let tls = client.connect(tcp).await.map_err(|error| format!("handshake: {error}"))?;
        let serial = tls.peer().map(|peer| peer.serial().to_string()).ok_or("the server was not verified")?;
        let answer = HttpConnection::over(tls).await?.get("/").await;
        Ok((serial, answer))
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.map_err(|_| "no answer in 30 s".to_owned())?
}

/// Requests, each on a connection of its own, until the certificate has changed so often and a hundred were answered; none may fail. The
/// serials seen, and how many.
async fn through_rotations(rotations: usize, client: &ClientTls, address: SocketAddr) -> (BTreeSet<String>, u32) {
    let (mut serials, mut requests) = (BTreeSet::new(), 0_u32);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let rotating = async {
        while serials.len() <= rotations || requests <= 100 {
            pace.tick().await;
            match request(client, address).await {
                Ok((serial, answer)) => {
                    assert_eq!((answer.status, answer.body.as_str()), (200, "client SUCCESS"), "request {requests}");
                    serials.insert(serial);
                }
                Err(why) => panic!("request {requests} failed after {} certificates: {why}", serials.len()),
            }
            requests += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), rotating).await.expect("the rotations in 180 s");
    (serials, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_through_three_rotations_without_a_failed_request() {
    if !needs("nginx_serves_through_three_rotations_without_a_failed_request", Requirement::Nginx) {
        return;
    }
    let nginx = nginx_binary().unwrap();
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (certs, own) = (bed.path().join("certs"), bed.path().join("client-certs"));
    let port = Port::reserve();
    let config = write_config(&bed, port.address(), &certs, "");
    let reload = reload_of(&bed, &nginx, &config);
    let extra = set("nginx", SERVER, &certs, &reload) + &set("client", CLIENT, &own, "");
    let options = AgentOptions { extra, ..AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-1", &ca.create_token("node-1"), options).await;
    agent.ready().await;
    ca.create_entry_with(SERVER, &["signet:file:nginx"], "node-1", &["--ttl", "12s"]);
    ca.create_entry(CLIENT, &["signet:file:client"], "node-1");
    eventually("both sets of files", async || {
        [&certs, &own].iter().all(|place| place.join("root-cert.pem").exists() && place.join("key.pem").exists()).then_some(())
    })
    .await;

    let mut command = Command::new(&nginx);
    command.arg("-p").arg(bed.path()).arg("-c").arg(&config);
    let mut server = Process::start("nginx", &mut command, bed.path());
    let client = client_of(&own, true);
    eventually("nginx to serve", async || {
        assert!(server.is_running(), "nginx ended: {}", server.stderr());
        request(&client, port.address()).await.ok()
    })
    .await;

    let (serials, requests) = through_rotations(3, &client, port.address()).await;
    println!("nginx: {requests} requests, none failed, over {} certificates", serials.len());
    // nginx serves the newest before the command that told it so has ended.
    eventually("three reloads to be counted", async || {
        (agent.metric("signet_files_reloads_total{outcome=\"done\"}").await? >= 3.0).then_some(())
    })
    .await;
    // What was served is what was issued, and the client's certificate was demanded all the while.
    let recorded = ca.recorded_serials();
    assert!(serials.iter().all(|serial| recorded.contains(serial)), "{serials:?} in {recorded:?}");
    let (_, refused) = request(&client_of(&own, false), port.address()).await.unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    server.stop().await;
}

/// The files and the signal come from spiffe-helper, which takes the identity over the Workload API.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_with_the_files_of_spiffe_helper_through_two_rotations() {
    let test = "nginx_serves_with_the_files_of_spiffe_helper_through_two_rotations";
    if !needs(test, Requirement::Nginx) || !needs(test, Requirement::Peer(PeerKind::SpiffeHelper)) {
        return;
    }
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let (certs, own) = (bed.path().join("helped"), bed.path().join("client-certs"));
    std::fs::create_dir(&certs).unwrap();
    let port = Port::reserve();
    let config = write_config(&bed, port.address(), &certs, "");
    let extra = format!("[[files]]\nname = \"client\"\nspiffe_id = \"{CLIENT}\"\ndirectory = \"{}\"\n", own.display());
    let options = AgentOptions { extra, ..AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-1", &ca.create_token("node-1"), options).await;
    agent.ready().await;
    let helper = PeerKind::SpiffeHelper.program().unwrap();
    ca.create_entry_with(SERVER, &[&format!("unix:path:{}", helper.display())], "node-1", &["--ttl", "12s"]);
    ca.create_entry(CLIENT, &["signet:file:client"], "node-1");

    let helper_config = bed.write(
        "helper.conf",
        &format!(
            "agent_address = \"{socket}\"\ncert_dir = \"{certs}\"\nsvid_file_name = \"cert-chain.pem\"\n\
             svid_key_file_name = \"key.pem\"\nsvid_bundle_file_name = \"root-cert.pem\"\n\
             pid_file_name = \"{place}/nginx.pid\"\nrenew_signal = \"SIGHUP\"\n",
            socket = agent.api_socket().display(),
            certs = certs.display(),
            place = bed.path().display(),
        ),
    );
    let mut command = Command::new(&helper);
    command.arg("-config").arg(helper_config);
    let _helper = Process::start("spiffe-helper", &mut command, bed.path());
    eventually("the files of the helper and of the client", async || {
        [&certs, &own].iter().all(|place| place.join("root-cert.pem").exists() && place.join("key.pem").exists()).then_some(())
    })
    .await;
    let mut command = Command::new(nginx_binary().unwrap());
    command.arg("-p").arg(bed.path()).arg("-c").arg(&config);
    let mut server = Process::start("nginx", &mut command, bed.path());
    let client = client_of(&own, true);
    eventually("nginx to serve", async || {
        assert!(server.is_running(), "nginx ended: {}", server.stderr());
        request(&client, port.address()).await.ok()
    })
    .await;
    let (serials, requests) = through_rotations(2, &client, port.address()).await;
    println!("nginx and spiffe-helper: {requests} requests, none failed, over {} certificates", serials.len());
    server.stop().await;
}

/// `crl.pem` among the files: nginx refuses what was revoked once it was reloaded, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_refuses_a_revoked_client_by_the_list_in_its_files() {
    if !needs("nginx_refuses_a_revoked_client_by_the_list_in_its_files", Requirement::Nginx) {
        return;
    }
    let nginx = nginx_binary().unwrap();
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let [certs, own, others] = ["certs", "client-certs", "other-certs"].map(|name| bed.path().join(name));
    let port = Port::reserve();
    let config = write_config(&bed, port.address(), &certs, &format!("ssl_crl {}/crl.pem;", certs.display()));
    let other = "spiffe://example.org/other";
    let extra = set("nginx", SERVER, &certs, &reload_of(&bed, &nginx, &config))
        + &set("client", CLIENT, &own, "")
        + &set("other", other, &others, "");
    let options = AgentOptions { extra, ..AgentOptions::default() };
    let agent = Agent::launch(&bed, &ca, "node-1", &ca.create_token("node-1"), options).await;
    agent.ready().await;
    for (id, name) in [(SERVER, "nginx"), (CLIENT, "client"), (other, "other")] {
        ca.create_entry(id, &[&format!("signet:file:{name}")], "node-1");
    }
    eventually("three sets of files with their lists", async || {
        [&certs, &own, &others].iter().all(|place| place.join("crl.pem").exists() && place.join("key.pem").exists()).then_some(())
    })
    .await;
    let (client, other) = (client_of(&own, true), client_of(&others, true));
    let mut command = Command::new(&nginx);
    command.arg("-p").arg(bed.path()).arg("-c").arg(&config);
    let mut server = Process::start("nginx", &mut command, bed.path());
    let status = async |client: &ClientTls| request(client, port.address()).await.ok().map(|(_, answer)| answer.status);
    eventually("nginx to serve both", async || {
        assert!(server.is_running(), "nginx ended: {}", server.stderr());
        (status(&client).await == Some(200) && status(&other).await == Some(200)).then_some(())
    })
    .await;
    let _revoked = ca.operate(&["revoke", "--spiffe-id", CLIENT]).ok();
    // Workers from before the reload serve until the last of them is gone: in a row, so that none is left.
    eventually("the revoked client to be refused by every worker", async || {
        for _ in 0..10 {
            assert_eq!(status(&other).await, Some(200), "nobody else is refused");
            if status(&client).await != Some(400) {
                return None;
            }
        }
        Some(())
    })
    .await;
    server.stop().await;
}
