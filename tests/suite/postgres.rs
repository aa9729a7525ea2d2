//! A CA whose store is a database of a real PostgreSQL server.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::{
    Agent, Ca, CaOptions, Cli, Database, PostgresServer, Requirement, SdsClient, TestBed, eventually_within, http_get, needs,
    server_files_at,
};

/// How long anything may take that waits for a server.
const LIMIT: Duration = Duration::from_secs(60);

/// `[store]` of a CA in this database.
fn store_table(database: &Database) -> String {
    format!(
        "[store]\nkind = \"postgres\"\nsocket = \"{}\"\nuser = \"signet\"\ndatabase = \"{}\"\n",
        database.socket().display(),
        database.name()
    )
}

fn options(database: &Database) -> CaOptions {
    CaOptions { extra: store_table(database), ..CaOptions::default() }
}

async fn until_readiness_says(ca: &Ca, status: u16, words: &str) {
    eventually_within(&format!("readiness {status} with {words:?}"), LIMIT, async || {
        let answer = http_get(ca.telemetry(), "/readyz").await;
        (answer.status == status && answer.body.contains(words)).then_some(())
    })
    .await;
}

fn results(database: &Database) -> u64 {
    database.sql("SELECT count(*) FROM signet.issuance_results").parse().unwrap()
}

fn check(config: &Path) -> tests::CliOutput {
    Cli::run(&["ca".as_ref(), "check".as_ref(), "--config".as_ref(), config.as_os_str()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_in_a_database_issues_and_outlives_the_server_and_its_own_end() {
    let name = "a_ca_in_a_database_issues_and_outlives_the_server_and_its_own_end";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let server = PostgresServer::start(&[]).unwrap();
    let database = server.new_database();
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, options(&database)).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let uid = nix::unistd::getuid();
    ca.create_entry("spiffe://example.org/web", &[&format!("unix:uid:{uid}")], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&["default"]).await.unwrap();
    let served = stream.next().await.unwrap();
    assert!(served.secrets.iter().any(|secret| secret.key_pem.is_some()), "{served:?}");
    stream.acknowledge(&served).await;
    eventually_within("the result of the signature to be recorded", LIMIT, async || (results(&database) >= 3).then_some(()))
        .await;
    assert!(!ca.state_dir().join("store.db").exists());

    // Without the server nothing is recorded, and so nothing is signed; what is served goes on.
    server.end();
    let refused = ca.operate(&["token", "create", "--node", "node-2"]);
    assert!(refused.stderr.contains("nothing is signed") || refused.stderr.contains("store"), "{}", refused.stderr);
    until_readiness_says(&ca, 503, "the database server of the store cannot be used").await;
    server.run();
    until_readiness_says(&ca, 200, "").await;
    let before = results(&database);
    ca.create_entry("spiffe://example.org/api", &[&format!("unix:uid:{uid}")], "node-1");
    eventually_within("an SVID for the new entry", LIMIT, async || (results(&database) > before).then_some(())).await;

    // Killed and started again, it goes on with what the database holds.
    ca.kill_hard().await;
    ca.start_again().await;
    let entries = ca.operate(&["entry", "list"]).ok().json().to_string();
    assert!(entries.contains("example.org/web") && entries.contains("example.org/api"), "{entries}");
    let _verdict = ca.operate(&["audit", "verify"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_must_not_be_used_is_refused_by_check_and_start_alike() {
    if !needs("a_database_that_must_not_be_used_is_refused_by_check_and_start_alike", Requirement::Postgres) {
        return;
    }
    let database = PostgresServer::database().unwrap();
    let bed = TestBed::new();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &options(&database));
    let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
    let _good = check(&config).ok();
    database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name()));
    let run = Cli::run(&["ca".as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()]);
    for refused in [check(&config), run] {
        assert!(refused.stderr.contains("synchronous_commit=on (it says off)"), "{}", refused.stderr);
    }
    let plain = "[store]\nkind = \"postgres\"\naddress = \"127.0.0.1:5432\"\nuser = \"u\"\ndatabase = \"d\"\n";
    let plain = CaOptions { extra: plain.to_owned(), ..CaOptions::default() };
    let refused = check(&Ca::configure(&bed, "plain", "127.0.0.1:0", &plain));
    assert!(refused.stderr.contains("tls_roots"), "{}", refused.stderr);
}

/// Has a server take connections at an address, by TLS alone; the path of the root above its certificate.
pub(crate) fn serve_at(address: IpAddr, bed: &TestBed, server: &PostgresServer) -> PathBuf {
    let (certificate, key, roots) = server_files_at(bed, "database", address);
    let data = server.data();
    let owner = std::fs::metadata(&data).unwrap();
    for (file, name) in [(certificate, "server.crt"), (key, "server.key")] {
        let place = data.join(name);
        std::fs::copy(file, &place).unwrap();
        std::fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
        chown(&place, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let more = |name: &str, text: String| {
        OpenOptions::new().append(true).open(data.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    more("postgresql.conf", format!("listen_addresses = '{address}'\nssl = on\n"));
    more("pg_hba.conf", "hostssl all all 0.0.0.0/0 trust\n".to_owned());
    server.end();
    server.run();
    roots
}

/// At an address, by TLS alone, and at no server that stands in for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_at_an_address_is_used_by_tls_and_one_under_another_root_or_without_tls_is_refused() {
    let name = "a_database_at_an_address_is_used_by_tls_and_one_under_another_root_or_without_tls_is_refused";
    if !needs(name, Requirement::Postgres) {
        return;
    }
    let bed = TestBed::new();
    let server = PostgresServer::start(&[]).unwrap();
    // A loopback address for each test process, where nobody else has the server's usual port.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = IpAddr::from([127, high.max(1), middle, low.clamp(2, 250)]);
    let roots = serve_at(address, &bed, &server);
    let database = server.new_database();
    let options = |roots: &Path| {
        let (roots, database) = (roots.display(), database.name());
        let place =
            format!("address = \"{address}:5432\"\ntls_roots = \"{roots}\"\nuser = \"signet\"\ndatabase = \"{database}\"\n");
        CaOptions { extra: format!("[store]\nkind = \"postgres\"\n{place}"), ..CaOptions::default() }
    };
    let (_, _, others) = server_files_at(&bed, "others", address);
    let stranger = Ca::configure(&bed, "ca-x", "127.0.0.1:0", &options(&others));
    let made = |config: &Path| Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]);
    let refused = made(&stranger);
    assert!(refused.code != 0, "a server under another root: {}{}", refused.stdout, refused.stderr);

    let ca = Ca::start(&bed, options(&roots)).await;
    assert_eq!(
        database.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"),
        "t"
    );
    let _token = ca.create_token("node-1");
    drop(ca);

    let settings = server.data().join("postgresql.conf");
    OpenOptions::new().append(true).open(settings).unwrap().write_all(b"ssl = off\n").unwrap();
    let hosts = server.data().join("pg_hba.conf");
    OpenOptions::new().append(true).open(hosts).unwrap().write_all(b"host all all 127.0.0.0/8 trust\n").unwrap();
    server.end();
    server.run();
    let without = check(&bed.path().join("ca.toml"));
    assert!(without.code != 0 && without.stderr.to_lowercase().contains("tls"), "{}{}", without.stdout, without.stderr);
}
