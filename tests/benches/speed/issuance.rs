//! Issuance: certificates per CPU-second of the CA process, against the bare crypto loop of the same run, with full syncs on a real
//! file system, every check and the audit chain on.

use std::sync::Arc;
use std::time::Duration;

use pki::{KeyAlgorithm, PrivateKey, build_request};
use proto::v1;
use runtime::clock::{Clock, SystemClock};
use tests::{Ca, CaConnection, CaOptions, TestBed, attested_connection};
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::figures::{Figures, Latencies, median, milliseconds};
use crate::{bare, cpu, disk};

/// Connections that are kept, each of a node of its own.
const CLIENTS: usize = 64;
/// Rounds of bare loop and load in turn, of which the middle one counts.
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(2);
const LOAD: Duration = Duration::from_secs(8);
/// Items of a batch, as an agent of a busy node sends them.
const BATCH: usize = 100;

/// A node asks as fast as it can here, which no rate of a real one allows.
const NO_RATES: &str = "[limits]\nissuances_per_minute = 1000000\nissuance_burst = 1000000";

/// A node that is connected, and what it asks for.
struct Client {
    connection: CaConnection,
    request: v1::BatchIssueRequest,
}

/// What a load of some seconds showed.
struct Load {
    certificates: f64,
    elapsed: Duration,
    processor: Duration,
    latencies: Latencies,
}

pub(crate) async fn measure(figures: &mut Figures) {
    let bed = TestBed::new();
    let options = CaOptions { log_level: "info".to_owned(), extra: NO_RATES.to_owned(), ..CaOptions::default() };
    let ca = Ca::start(&bed, options).await;
    let clock = SystemClock::shared();
    let key = Arc::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
    let csr = build_request(&key, None).unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(client(&ca, number, &csr).await);
    }
    let tbs = tbs_of(&clients[0]).await;
    let clients = Arc::new(clients);

    let mut ratios = Vec::new();
    let mut bare_rates = Vec::new();
    let mut rates = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let (key, csr, tbs) = (Arc::clone(&key), csr.clone(), tbs.clone());
        let bare_rate = tokio::task::spawn_blocking(move || bare::rate(&key, &csr, &tbs)).await.unwrap();
        let load = load(&ca, &clients, 1, clock.as_ref()).await;
        let rate = load.certificates / load.processor.as_secs_f64();
        ratios.push(rate / bare_rate);
        bare_rates.push(bare_rate);
        rates.push(rate);
        last = Some(load);
    }
    let single = last.unwrap();
    let null = null_calls(&clients, clock.as_ref()).await;
    let syncs = disk::syncs(bed.path(), clock.as_ref());
    let batch = load(&ca, &clients, BATCH, clock.as_ref()).await;

    let bare_rate = median(bare_rates);
    figures.row("bare loop: parse, verify, one signature", &format!("{bare_rate:.0} per CPU-second"), "1");
    figures.row(
        &format!("CA, {CLIENTS} connections, one certificate a call"),
        &format!("{:.0} per CPU-second of the CA", median(rates)),
        &format!("{:.2} of the bare loop (at least 0.5 wanted)", median(ratios)),
    );
    figures.row(
        "the same, by the clock",
        &format!("{:.0} per second", single.certificates / single.elapsed.as_secs_f64()),
        "load generator on the same processors",
    );
    let bound = null.quantile(990) + 10 * syncs.quantile(990) + Duration::from_millis(10);
    figures.row("time to a certificate", &single.latencies.text(), &format!("p99 wanted below {}", milliseconds(bound)));
    figures.row("a call that does nothing (health)", &null.text(), "same connections");
    figures.row("fdatasync after 4 KiB", &syncs.text(), "same file system");
    let rate = batch.certificates / batch.processor.as_secs_f64();
    figures.row(
        &format!("CA, batches of {BATCH}"),
        &format!("{rate:.0} per CPU-second of the CA"),
        &format!("{:.2} of the bare loop", rate / bare_rate),
    );
    figures.row("time to a batch", &batch.latencies.text(), "");
}

async fn client(ca: &Ca, number: usize, csr: &[u8]) -> Client {
    let node = format!("node-{number}");
    let (connection, _) = attested_connection(ca, &node).await;
    let entry = ca.create_entry(&format!("spiffe://example.org/bench/{number}"), &["unix:uid:0"], &node);
    let item = v1::batch_issue_request::Item { entry_id: entry, csr: csr.to_vec(), service_account: None };
    Client { connection, request: v1::BatchIssueRequest { items: vec![item] } }
}

/// The to-be-signed bytes of a leaf as this CA makes them, so that the bare loop signs as much.
async fn tbs_of(client: &Client) -> Vec<u8> {
    let answer = client.connection.node().batch_issue(client.request.clone()).await.unwrap().into_inner();
    let Some(v1::batch_issue_response::item::Outcome::Svid(svid)) = answer.items[0].outcome.clone() else {
        panic!("no certificate: {answer:?}")
    };
    let certificate = pki::Certificate::from_der(&svid.chain[0]).unwrap();
    certificate.tbs_der().to_vec()
}

/// Every client asks as soon as it was answered, for some seconds; what comes in the first two does not count.
async fn load(ca: &Ca, clients: &Arc<Vec<Client>>, batch: usize, clock: &dyn Clock) -> Load {
    let (begin, pid) = (clock.boottime() + WARM_UP, ca.process.id());
    let end = begin + LOAD;
    let mut tasks = JoinSet::new();
    for index in 0..clients.len() {
        let clients = Arc::clone(clients);
        tasks.spawn(async move { ask(&clients[index], batch, begin, end).await });
    }
    tokio::time::sleep(WARM_UP).await;
    let (wall, processor) = (clock.boottime(), cpu::of_process(pid));
    tokio::time::sleep(LOAD).await;
    let (elapsed, processor) = (clock.boottime() - wall, cpu::of_process(pid) - processor);
    let mut latencies = Latencies::default();
    while let Some(times) = tasks.join_next().await {
        latencies.extend(times.unwrap());
    }
    let certificates = u32::try_from(latencies.count() * batch).unwrap();
    Load { certificates: f64::from(certificates), elapsed, processor, latencies }
}

async fn ask(client: &Client, batch: usize, begin: Duration, end: Duration) -> Latencies {
    let clock = SystemClock::shared();
    let items = client.request.items.iter().cycle().take(batch).cloned().collect();
    let request = v1::BatchIssueRequest { items };
    let mut node = client.connection.node();
    let mut latencies = Latencies::default();
    loop {
        let sent = clock.boottime();
        if sent >= end {
            return latencies;
        }
        let answer = node.batch_issue(request.clone()).await.unwrap().into_inner();
        let issued = |item: &v1::batch_issue_response::Item| {
            matches!(item.outcome, Some(v1::batch_issue_response::item::Outcome::Svid(_)))
        };
        assert!(answer.items.len() == batch && answer.items.iter().all(issued), "refused: {answer:?}");
        let answered = clock.boottime();
        if answered >= begin && answered < end {
            latencies.push(answered - sent);
        }
    }
}

/// The same connections with calls that do nothing, for as long as it takes to see their tail.
async fn null_calls(clients: &Arc<Vec<Client>>, clock: &dyn Clock) -> Latencies {
    let end = clock.boottime() + Duration::from_secs(3);
    let mut tasks = JoinSet::new();
    for index in 0..clients.len() {
        let channel = clients[index].connection.channel.clone();
        tasks.spawn(async move {
            let clock = SystemClock::shared();
            let mut health = HealthClient::new(channel);
            let mut latencies = Latencies::default();
            while clock.boottime() < end {
                let sent = clock.boottime();
                health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
                latencies.push(clock.boottime() - sent);
            }
            latencies
        });
    }
    let mut latencies = Latencies::default();
    while let Some(times) = tasks.join_next().await {
        latencies.extend(times.unwrap());
    }
    latencies
}
